//! What a host tells of itself, between the domain and the protocol.
//!
//! relayd shows its own host and its providers' hosts in the same words, and an agent sends the same
//! message that an operator is shown. So the two directions stand side by side here: [`told`] and
//! [`shown`] write the message, [`Heard::read`] reads it. What is read came from somebody else's
//! machine: every list, text and number is bounded, and what makes no sense is absent.
//!
//! It knows no sampler, no session and no listing; whose host it is, the caller says.
//!
//! Invariants: what was read holds no more cards and processes than the domain's bounds, no control
//! character, no share above its whole and no time of the other side's clock but those of states,
//! which are never in the future; whatever was written is read as it was.

mod read;
mod write;

pub use read::{Heard, TEXT_MAX_CHARS, plain};
pub use write::{shown, told};
