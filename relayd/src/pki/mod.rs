//! Certificates: makes an authority, and certificates for servers and clients under it.
//!
//! The admin listener asks for client certificates off loopback, and agents pin the fleet's
//! authority; both come from here. This room alone names `rcgen`. It must not know who uses the
//! certificates or on which listener.
//!
//! Invariants: a private key is written with mode 0600 and only ever to a path that did not exist;
//! an authority signs leaves and never another authority; a server's certificate is useless as a
//! client's and the other way round.

mod authority;
mod files;

#[cfg(test)]
mod tests;

pub use authority::{Authority, Issued, Purpose, Validity};
pub use files::{AUTHORITY_CERT, AUTHORITY_KEY};

use std::path::PathBuf;

/// Why a certificate could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A name that cannot stand in a certificate.
    #[error("'{0}' cannot be a name in a certificate: give a DNS name or an IP address")]
    Name(String),
    /// The authority's certificate and key do not belong together, or are not PEM.
    #[error("the authority in {path} cannot be used: {reason}")]
    Authority {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that would have been overwritten.
    #[error("{0} exists and is not overwritten: move it away, or choose another folder or name")]
    Exists(PathBuf),
    /// A validity outside 1 day to 30 years.
    #[error("a certificate is valid for 1 to {MAX_DAYS} days, not {0}")]
    Days(u32),
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate library refused; not expected with checked input.
    #[error("the certificate could not be made: {0}")]
    Encode(#[from] rcgen::Error),
}

/// Longest validity, in days: 30 years, far beyond any sensible use.
pub const MAX_DAYS: u32 = 10_957;
/// Validity of an authority when none is asked for, in days: ten years.
pub const AUTHORITY_DAYS: u32 = 3_652;
/// Validity of a leaf when none is asked for, in days: a year, so that renewal is practised.
pub const LEAF_DAYS: u32 = 365;
