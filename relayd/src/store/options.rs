//! Where the database is and how sure an acknowledgement must be.

use std::path::PathBuf;

use crate::config::Durability;

/// What to open.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Which database.
    pub place: Place,
    /// When a commit of the ledger is acknowledged. PostgreSQL decides that itself.
    pub durability: Durability,
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
        Self { place: Place::Sqlite { path: path.into() }, durability: Durability::Process }
    }

    /// A PostgreSQL database with the ordinary number of connections and writers.
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self {
            place: Place::Postgres { url: url.into(), connections: 8, shards: 4 },
            durability: Durability::Process,
        }
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
