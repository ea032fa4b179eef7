//! Where the database is and how sure an acknowledgement must be.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Durability;

/// What to open.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Which database.
    pub place: Place,
    /// When a commit of the ledger is acknowledged. PostgreSQL decides that itself.
    pub durability: Durability,
    /// How it looks after holds that nobody will settle.
    pub upkeep: Upkeep,
}

/// The times by which processes see one another live. All processes on a database must have the
/// same; they are no setting, and others than the default are for tests, which cannot wait as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// How often a process on PostgreSQL shows that it lives.
    pub beat: Duration,
    /// How long a process on PostgreSQL is silent before it counts as dead. Long, because a hold
    /// only reserves money: slowness here is harmless and haste is not.
    pub dead_after: Duration,
    /// How often holds are looked at that nobody will settle.
    pub period: Duration,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(5),
            dead_after: Duration::from_secs(120),
            period: Duration::from_secs(30),
        }
    }
}

/// Which database.
#[derive(Clone, Debug)]
pub enum Place {
    /// One file on this machine, made when absent. Its folder must exist.
    Sqlite {
        /// The database file.
        path: PathBuf,
    },
    /// A PostgreSQL database, version 15 or later.
    Postgres {
        /// `postgres://user:password@host:port/database`.
        url: String,
        /// Connections for reads, 1 to 128. The writers have their own.
        connections: u32,
        /// Ledger writers, by customer, 1 to 16.
        shards: u8,
    },
}

/// Which store it is, where the two differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

impl StoreOptions {
    /// A SQLite database with the ordinary durability.
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Sqlite { path: path.into() })
    }

    /// A PostgreSQL database with the ordinary number of connections and writers.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::at(Place::Postgres { url: url.into(), connections: 8, shards: 4 })
    }

    fn at(place: Place) -> Self {
        Self { place, durability: Durability::Process, upkeep: Upkeep::default() }
    }

    /// Which store it is.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        match self.place {
            Place::Sqlite { .. } => Engine::Sqlite,
            Place::Postgres { .. } => Engine::Postgres,
        }
    }
}

impl Engine {
    /// The name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    /// How a writing transaction begins. SQLite takes the write lock at once: a transaction that
    /// asks for it later fails without waiting.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "begin immediate",
            Self::Postgres => "begin",
        }
    }

    /// How a transaction begins that reads one state of the whole database.
    pub(super) const fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "begin",
            Self::Postgres => "begin isolation level repeatable read read only",
        }
    }
}
