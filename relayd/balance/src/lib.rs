//! Who of several backends takes a request, and who of several waiting requests goes next.
//!
//! Pure: no I/O, no clock, no random source of its own. It must not know HTTP, models, prices or
//! what a backend is; its callers tell it the time and what they see, and act on its answers.
//!
//! - [`Gauge`]: what one backend carries and how fast it is.
//! - [`Policy`]: the choice among backends that have room.
//! - [`Shares`]: the order among requests when none has room.

mod ask;
mod dice;
mod gauge;
mod hash;
mod policy;
mod shares;
#[cfg(test)]
mod tests;

pub use ask::{Class, Customer, Demand};
pub use dice::Dice;
pub use gauge::{ENGINE_LOAD_US, EngineLoad, Gauge, Load, SLOW_START_US, Taken};
pub use hash::Hasher;
pub use policy::{Member, Policy, Question, UnknownPolicy, expected_wait_us};
pub use shares::{COUNTERS_MAX, Rank, Shares, is_in_vain, queue_wait_us, retry_after_s};
