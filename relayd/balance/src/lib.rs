//! Who of several backends takes a request, and who of several waiting requests goes next.
//!
//! Pure: no I/O, no clock, no random source of its own. It must not know HTTP, models, prices or
//! what a backend is; its callers tell it the time and what they see, and act on its answers.

mod ask;
mod hash;

pub use ask::{Class, Demand};
pub use hash::Hasher;
