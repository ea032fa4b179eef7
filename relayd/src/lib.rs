//! Relay's daemon as a library; `main` is a page over it.
//!
//! The rooms stand in the order of the house: a room imports only from rooms above it here (see
//! ARCHITECTURE.md; a test reads the `use` lines).

pub use relay_domain as domain;
pub use relay_ledger as ledger;
pub use relay_wire as wire;

pub mod config;
pub mod store;
pub mod telemetry;

pub mod pki;

pub mod observe;

pub mod supervisor;

pub mod catalogue;
pub mod cli;
pub mod engines;
pub mod fleet;
pub mod identity;
pub mod inference;
pub mod launch;
pub mod metering;
pub mod routing;
