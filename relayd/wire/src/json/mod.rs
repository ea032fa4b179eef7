//! JSON as slices.
//!
//! A strict scanner that accepts exactly the documents `serde_json` accepts and keeps positions
//! instead of values, a reader over scanned text, and a writer. It knows nothing of chat.
//! Invariant: a [`Raw`] is made from scanned text only; reading it never fails loudly, it answers
//! `None` where the value has another type.

mod raw;
mod scan;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use raw::{Kind, Member, Raw, literal_len, unescape};
pub(crate) use scan::{Span, document};
pub(crate) use write::{Array, Object, put_string};
