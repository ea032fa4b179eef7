//! The daemon as a stranger meets it: started as a program, spoken to over the wire.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod admin;
mod backends;
mod bounds;
mod canaries;
mod catalogue;
mod console;
mod console_fleet;
mod contract;
mod deployments;
mod dev;
mod dialects;
mod edge;
mod examination;
mod faults;
mod figures;
mod hosts;
mod keys;
mod load;
mod metrics;
mod pki;
mod providers;
mod redundant;
mod refusals;
mod replicas;
mod reuse;
mod rollouts;
mod sdk;
mod start;
mod tokens;
mod traces;
mod trust;
