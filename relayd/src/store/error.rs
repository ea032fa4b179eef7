//! What can go wrong in the store, as far as a caller can act on it.

use crate::domain::{Code, Fault};

/// A failure of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No row has that id.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A row with that name, id or secret exists.
    #[error("{0} is already taken")]
    Taken(Unique),
    /// The row changed since it was read.
    #[error("{noun} has version {found}, expected {expected}")]
    Version {
        /// What.
        noun: &'static str,
        /// The version the caller had read; 0 is absent.
        expected: u64,
        /// The version it has; 0 is absent.
        found: u64,
    },
    /// The customer has as many keys as allowed.
    #[error("the limit of {0} keys is reached")]
    KeyLimit(u32),
    /// The row's state does not allow the change.
    #[error("{0}")]
    Precondition(&'static str),
    /// The database was opened for reading only.
    #[error("the database was opened for reading only")]
    ReadOnly,
    /// Another relayd uses the file.
    #[error("another relayd has {0} open")]
    Locked(String),
    /// The database cannot be reached, is too busy, or its disk failed.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The database holds what it should not, or refused what it should take.
    #[error("the database failed: {0}")]
    Internal(String),
}

/// Which uniqueness was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// A customer's key of that name.
    KeyName,
    /// A customer's active superkey.
    Superkey,
    /// An audited request id: the change was already made.
    RequestId,
    /// An id, a secret or a name of another kind.
    Other,
}

impl std::fmt::Display for Unique {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KeyName => "a key of that name",
            Self::Superkey => "the place of the active superkey",
            Self::RequestId => "the request id",
            Self::Other => "the id",
        })
    }
}

impl StoreError {
    /// A row that this build cannot read.
    pub(super) fn corrupt(what: impl std::fmt::Display) -> Self {
        Self::Internal(format!("unreadable row: {what}"))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error.to_string()),
            sqlx::Error::Database(inner) if inner.is_unique_violation() => {
                let text = inner.message();
                let named = |name: &str| text.contains(name) || inner.constraint() == Some(name);
                Self::Taken(if named("api_key_name") {
                    Unique::KeyName
                } else if named("api_key_superkey") || named("api_key.customer_id") {
                    Unique::Superkey
                } else if named("audit_request_id_key") || named("audit.request_id") {
                    Unique::RequestId
                } else {
                    Unique::Other
                })
            }
            sqlx::Error::Database(inner) if is_passing(inner.code().as_deref()) => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}

/// Whether an error code says "later": SQLite busy, locked, full or failing I/O; PostgreSQL's
/// classes of connection, resources, operator intervention and serialization.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    if let Ok(number) = code.parse::<u32>()
        && code.len() < 5
    {
        return matches!(number & 0xff, 5 | 6 | 10 | 13);
    }
    ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
}

/// How a caller hears of it. The text of a driver never leaves the log.
impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::NotFound("customer") => Code::CustomerNotFound,
            StoreError::NotFound("key") => Code::KeyNotFound,
            StoreError::NotFound("model") => Code::ModelNotFound,
            StoreError::NotFound(_) => Code::NotFound,
            StoreError::Taken(Unique::Superkey) => Code::SuperkeyConflict,
            // Somebody made the same change at this moment: asked again, it is answered.
            StoreError::Taken(Unique::RequestId) => Code::IdempotencyInProgress,
            StoreError::Taken(_) | StoreError::Precondition(_) => Code::FailedPrecondition,
            StoreError::Version { .. } => Code::VersionConflict,
            StoreError::KeyLimit(_) => Code::KeyLimitReached,
            StoreError::Unavailable(_) | StoreError::Locked(_) => {
                tracing::warn!(%error, "the store is unavailable");
                return Self::store_unavailable();
            }
            StoreError::ReadOnly | StoreError::Internal(_) => {
                tracing::error!(%error, "the store failed");
                return Self::internal();
            }
        };
        Self::new(code, error.to_string())
    }
}
