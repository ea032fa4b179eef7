//! Starts the real things that tests need: the daemon as built, a real engine, a real database,
//! official SDK clients. Everything listens on loopback, on a free port, and ends with its handle.

mod llama;
mod place;
mod postgres;
mod python;
mod relay;
/// A stand-in for upstreams that cannot be had.
#[path = "../engines/scripted.rs"]
pub mod scripted;

pub use llama::Llama;
pub use place::{binary, engines_dir, repository};
pub use postgres::Database;
pub use python::{Python, grpcurl};
pub use relay::{Ready, Relay, RelayOptions};
