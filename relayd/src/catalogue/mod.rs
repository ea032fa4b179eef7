//! What is sold: models, offers, prices, tiers, and the backends that documents declare.
//!
//! The database is the one truth; documents change it through [`diff`](diff::diff) and `apply`, and
//! `export` prints it as a document that changes nothing. Requests read an immutable snapshot that
//! is swapped whole. Whether a backend is up is not known here.

mod dev;
mod diff;
mod document;
mod near;
mod print;
mod resolve;
mod rows;
mod service;
mod snapshot;
mod spec;
#[cfg(test)]
mod tests;

pub use dev::{DEV_TIER, FoundEngine, FoundModel, SHIPPED_TIERS, dev_document, shipped_tiers};
pub use diff::{Difference, DifferenceKind, Noun, diff};
pub use document::{Document, DocumentError, parse};
pub use print::print;
pub use resolve::Access;
pub use service::{Applied, ApplyError, Catalogue};
pub use snapshot::{CatalogueSnapshot, Listing, Model, Offer};
pub use spec::{BackendSpec, Desired, ModelSpec, OfferSpec, ServedModel};
