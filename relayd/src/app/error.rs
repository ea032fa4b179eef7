//! Why relayd does not start, or did not run to its end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::store::StoreError;

/// A sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A port that cannot be had.
    #[error(
        "cannot listen on {address} ({key}): {error}; stop what uses it or choose another port (0 = a free one)"
    )]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A secret that cannot be used.
    #[error("cannot use the secret in {}: {error}", file.display())]
    Secret {
        /// Its file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Nobody made the secret that keys are hashed with.
    #[error(
        "there is no pepper, the secret that keys are hashed with. Make it once and keep a copy, \
         for without it no key can be checked: (umask 077; openssl rand -hex 32 > {})",
        .0.display()
    )]
    NoPepper(PathBuf),
    /// Peppers that do not fit together.
    #[error("the peppers cannot be used: {0}")]
    Peppers(String),
    /// The database.
    #[error("the database cannot be used: {0}")]
    Store(StoreError),
    /// A setting that a part refuses.
    #[error("{0}")]
    Setting(String),
    /// A part that ended.
    #[error("stopped because {0}")]
    Ended(String),
}
