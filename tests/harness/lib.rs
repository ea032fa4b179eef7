//! Starts the real things that tests need: the daemon as built, a real engine, a real database,
//! official SDK clients. Everything listens on loopback, on a free port, and ends with its handle.

mod account;
mod agent;
/// A stand-in for a commercial upstream in Anthropic's format.
#[path = "../engines/anthropic.rs"]
pub mod anthropic;
/// A collector of traces.
#[path = "../bench/mod.rs"]
pub mod bench;
#[path = "../engines/collector.rs"]
pub mod collector;
mod http;
mod llama;
#[path = "../engines/nvml/stand_in.rs"]
mod nvml;
/// Ollama's API over the real llama.cpp server.
#[path = "../engines/ollama.rs"]
mod ollama;
mod place;
mod poll;
mod postgres;
mod pty;
mod python;
mod relay;
mod replica;
/// A stand-in for upstreams that cannot be had.
#[path = "../engines/scripted.rs"]
pub mod scripted;
mod secrets;
#[path = "../engines/served.rs"]
mod served;
/// A stand-in for servers that close kept connections.
#[path = "../engines/stale.rs"]
pub mod stale;

pub use account::{Account, DEV_TIER, Settled, Tokens};
pub use agent::Agent;
pub use http::{Answer, Caller, Route, Streamed};
pub use llama::Llama;
pub use nvml::FakeNvml;
pub use ollama::OllamaAdapter;
pub use place::{binary, engines_dir, repository};
pub use poll::eventually;
pub use postgres::Database;
pub use pty::Terminal;
pub use python::{Conversation, Python, grpcurl};
pub use relay::{Ready, Relay, RelayOptions};
pub use replica::Sockets;
pub use secrets::{CANARY, keep_secret};
pub use served::client;
