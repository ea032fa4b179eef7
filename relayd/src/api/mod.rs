//! The public REST face, `/v2/...` (the wire contract).
//!
//! Turns HTTP into calls of the rooms below and their answers into HTTP; holds no rule about money,
//! keys or models. Each group of routes gets only the handles it needs. One file maps faults to
//! statuses and shapes, one lists the routes.
//!
//! Invariants: every answer carries `X-Request-ID`; no failure leaves without the envelope of its
//! surface; no body, header or query is logged; what waits for a slow reader is bounded.

mod access;
mod account;
mod body;
mod chat;
mod cors;
mod edge;
mod error;
mod history;
mod hosts;
mod input;
mod keys;
mod listen;
mod lists;
mod metrics;
mod models;
mod money;
mod proxy;
mod respond;
mod routes;
mod socket;
#[cfg(test)]
mod tests;
mod timespan;
mod tls;
mod usage;

pub use body::BodyBounds;
pub use cors::{Cors, CorsError};
pub use edge::EdgeSettings;
pub use error::{Refused, Row, Shape, render, row};
pub use hosts::{HostError, Hosts};
pub use listen::{ListenBounds, Peer, serve};
pub use money::Usd;
pub use proxy::{Network, NetworkError, TrustedProxies};
pub use routes::{Account, Chat, Face, Health, Reads, router};
pub use tls::{Certificate, TlsError};
