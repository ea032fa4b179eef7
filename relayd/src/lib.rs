//! Relay's daemon as a library; `main` is a page over it.
//!
//! The rooms stand in the order of the house: a room imports only from rooms above it here (see
//! ARCHITECTURE.md; a test reads the `use` lines).

pub use relay_balance as balance;
pub use relay_domain as domain;
pub use relay_ledger as ledger;
pub use relay_wire as wire;

pub mod config;
pub mod telemetry;

pub mod engines;
pub mod gpu;
pub mod handshake;
pub mod hosts;
pub mod launch;
pub mod pki;
pub mod store;

pub mod audit;
pub mod events;

pub mod catalogue;
pub mod identity;
pub mod tokenizer;

pub mod fleet;
pub mod metering;
pub mod observe;

pub mod rollouts;
pub mod routing;

pub mod inference;

pub mod admin;
pub mod api;

pub mod agent;
pub mod app;
pub mod fleet_edge;
pub mod ops;
pub mod supervisor;

pub mod cli;
