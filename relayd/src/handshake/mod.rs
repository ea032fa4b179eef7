//! How an agent and relayd greet each other: what both sides must do alike.
//!
//! The agent proves its key over the TLS connection itself, so that a hello can neither be
//! replayed nor passed on by somebody in the middle. This room knows bytes, keys and frames; it
//! must not know who is let in (the fleet decides that) nor what is said afterwards.
//!
//! Invariants: nothing of a hello is believed before its signature holds on this connection; no
//! frame is read beyond [`FRAME_MAX_BYTES`].

mod frame;
mod key;

pub use frame::{FRAME_MAX_BYTES, FrameError, read, write};
pub use key::{KeyError, ProviderKey, provider_id, verify};

/// The protocol that both sides offer in the TLS handshake.
pub const ALPN: &[u8] = b"relay-fleet/1";

/// The version that a hello names.
pub const PROTOCOL: u32 = 1;

/// The label under which the TLS connection exports what is signed.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-relay-fleet-1";

/// What a TLS connection exports for the signature, in bytes.
pub const EXPORTER_BYTES: usize = 32;

/// Receive window of one HTTP/2 stream, in bytes: what one stalled reader may keep in the air.
pub const STREAM_WINDOW: u32 = 64 * 1024;

/// Streams of one connection at once.
pub const STREAMS_MAX: u32 = 256;

/// Receive window of the connection, in bytes: every stream may stall at once and none of the
/// others waits for it.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;

/// Time between two pings; one that is not answered before the next is due ends the session.
pub const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a ping may stay unanswered: with [`PING_EVERY`] a peer that vanished is known after
/// ten seconds.
pub const PING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// How long the greeting may take, from the TLS handshake to the reply.
pub const GREETING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Most replicas of one relay: an agent keeps a session with each.
pub const REPLICAS_MAX: usize = 16;
