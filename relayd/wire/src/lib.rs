//! The wire formats of chat: OpenAI's, Anthropic's and Ollama's.
//!
//! Reads just what is needed of a request and leaves the rest as slices of the body it came in,
//! translates requests, answers and streams where caller and engine speak different formats, and
//! reads usage out of every shape that upstreams report it in.
//!
//! Pure: no I/O, no clock, no random source. It must not know prices, accounts, backends or HTTP.
//! Invariants: no input makes it panic; every buffer has a bound; a text never changes on its way
//! through; usage is read as disjoint meters and never added up.

mod answer;
mod dialect;
mod dialogue;
mod error;
mod finish;
mod frame;
mod json;
mod read;
mod request;
mod stamp;
mod stream;
mod surface;
mod transcript;
mod usage;

pub use answer::{Answer, answer, billed_answer};
pub use dialect::{Dialect, EngineKind, KindError};
pub use dialogue::TranslationNote;
pub use error::WireError;
pub use finish::Finish;
pub use request::{ChatRequest, Defaults, Upstream, request_schema, response_schema};
pub use stamp::{Stamp, Timing};
pub use stream::{
    Seen, TailReason, Translator, stream_error_body, stream_error_frame, stream_error_kind,
};
pub use surface::Surface;
pub use transcript::{TRANSCRIPT_MAX_BYTES, Transcript, transcript};
