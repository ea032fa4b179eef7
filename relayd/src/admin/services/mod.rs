//! One service a noun. Each holds only the handles that it needs.

pub(super) mod attention;
pub(super) mod audit;
pub(super) mod backends;
pub(super) mod catalogue;
pub(super) mod customers;
pub(super) mod deployments;
pub(super) mod events;
pub(super) mod hosts;
pub(super) mod keys;
pub(super) mod models;
pub(super) mod operators;
pub(super) mod overview;
pub(super) mod providers;
pub(super) mod rollouts;
pub(super) mod session;
pub(super) mod usage;
