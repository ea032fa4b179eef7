//! Opens the database: lock, schema, connections, tasks.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AnyPool, ConnectOptions, Connection};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::checkpoint::Keeper;
use super::error::StoreError;
use super::ledger::{LedgerWriter, PostgresLedger, SqliteLedger};
use super::lock::FileLock;
use super::migrate::migrator;
use super::options::{Engine, Place, StoreOptions};
use super::row::Columns;
use super::sync::WalSync;
use super::write::AdminWriter;
use super::{Inner, Store, instance};
use crate::config::Durability;
use crate::domain::BootId;

/// The first SQLite whose write-ahead log survives a writer and a checkpoint on two connections.
const SQLITE_MIN: (u32, u32, u32) = (3, 51, 3);
/// Connections for reads on SQLite: readers do not wait for the writer, and more than the cores
/// of a small machine would only wait for each other.
const SQLITE_READERS: u32 = 4;
/// How long a read waits for a free connection before the store counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits for a lock. Writers of this process never need it: they take turns.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages that the ledger's connection keeps, as SQLite counts them: 64 MiB. The indexes of usage
/// are written all over, and a page that is not kept is read back from the file.
const LEDGER_CACHE: &str = "-65536";
/// Prepared statements kept per connection of the ledger: each shape of a small batch is one.
const LEDGER_STATEMENTS: usize = 256;

impl Store {
    /// Opens a database for serving: makes it when absent, brings the schema up to this build,
    /// starts the writers, registers this start of relayd, and resolves the holds of processes
    /// that died.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another relayd has the SQLite file open;
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn open(options: &StoreOptions) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let boot = BootId::new(Uuid::now_v7());
        let opened = match &options.place {
            Place::Sqlite { path } => Self::open_sqlite(path, options, boot).await,
            Place::Postgres { url, connections, shards } => {
                Self::open_postgres(url, *connections, *shards, options, boot).await
            }
        };
        let store = opened?;
        store.start_heartbeat();
        store.start_upkeep().await;
        Ok(store)
    }

    /// Opens an existing database for reading, beside whatever else uses it. Writes are refused
    /// with [`StoreError::ReadOnly`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be opened.
    pub async fn open_read_only(options: &StoreOptions) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (reader, connections) = match &options.place {
            Place::Sqlite { path } => {
                if !path.exists() {
                    let missing = format!("{} does not exist", path.display());
                    return Err(StoreError::Unavailable(missing));
                }
                (any_sqlite(&absolute(path)?, "ro")?, SQLITE_READERS)
            }
            Place::Postgres { url, connections, .. } => (any_postgres(url)?, *connections),
        };
        Ok(Self(Arc::new(Inner {
            engine: options.engine(),
            boot: BootId::new(Uuid::now_v7()),
            reader: pool(reader, connections).await?,
            ledger: LedgerWriter::closed(),
            admin: None,
            sync: None,
            beating_since: std::sync::Mutex::new(None),
            upkeep: options.upkeep,
            recovered: watch::Sender::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            writes: TaskTracker::new(),
            keeper: None,
            lock: std::sync::Mutex::new(None),
        })))
    }

    async fn open_sqlite(
        path: &Path,
        options: &StoreOptions,
        boot: BootId,
    ) -> Result<Self, StoreError> {
        let path = &absolute(path)?;
        let lock = FileLock::take(path)?;
        let writing = sqlite(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .statement_cache_capacity(LEDGER_STATEMENTS)
            .pragma("wal_autocheckpoint", "0")
            .pragma("cache_size", LEDGER_CACHE)
            // A statement of many rows notes pages it may have to restore: not in a file.
            .pragma("temp_store", "memory");
        // Open first and closed last: with it the log is never the last closer's to delete.
        let mut keeper = writing.connect().await?;
        check_version(&mut keeper).await?;
        migrator(Engine::Sqlite).run(&mut keeper).await?;
        let gate = Arc::new(Mutex::new(()));
        let admin = AdminWriter::new(any_sqlite(path, "rw")?, Engine::Sqlite, Arc::clone(&gate));
        let reader = pool(any_sqlite(&absolute(path)?, "ro")?, SQLITE_READERS).await?;
        let number = instance::register(&admin, boot).await?;
        let power = options.durability == Durability::Power;
        let sync = WalSync::start(path, power)?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let ledger = SqliteLedger::new(writing, Arc::clone(&gate));
        let chain = instance::chain(number, 0);
        let ledger = LedgerWriter::sqlite(ledger, chain, &stop, &tasks, &sync, power);
        let keeper = Keeper::new(keeper);
        tasks.spawn(keeper.clone().run(path.clone(), gate, stop.clone()));
        Ok(Self(Arc::new(Inner {
            engine: Engine::Sqlite,
            boot,
            reader,
            ledger,
            admin: Some(admin),
            sync: Some(sync),
            beating_since: std::sync::Mutex::new(None),
            upkeep: options.upkeep,
            recovered: watch::Sender::default(),
            stop,
            tasks,
            writes: TaskTracker::new(),
            keeper: Some(keeper),
            lock: std::sync::Mutex::new(Some(lock)),
        })))
    }

    async fn open_postgres(
        url: &str,
        connections: u32,
        shards: u8,
        options: &StoreOptions,
        boot: BootId,
    ) -> Result<Self, StoreError> {
        let writing = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Unavailable("the PostgreSQL URL is malformed".to_owned()))?
            .application_name("relayd")
            .statement_cache_capacity(LEDGER_STATEMENTS)
            // Rows are always named by their ids. Plans are kept, and one that was made while the
            // tables were small would read them whole for ever after.
            .options([("enable_seqscan", "off"), ("jit", "off")])
            .disable_statement_logging();
        let mut first = writing.connect().await?;
        migrator(Engine::Postgres).run(&mut first).await?;
        first.close().await?;
        let admin = AdminWriter::new(any_postgres(url)?, Engine::Postgres, Arc::default());
        let reader = pool(any_postgres(url)?, connections).await?;
        let number = instance::register(&admin, boot).await?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let writers = (0..shards.clamp(1, 16))
            .map(|shard| (PostgresLedger::new(writing.clone()), instance::chain(number, shard)))
            .collect();
        let ledger = LedgerWriter::postgres(writers, &stop, &tasks);
        Ok(Self(Arc::new(Inner {
            engine: Engine::Postgres,
            boot,
            reader,
            ledger,
            admin: Some(admin),
            sync: None,
            beating_since: std::sync::Mutex::new(None),
            upkeep: options.upkeep,
            recovered: watch::Sender::default(),
            stop,
            tasks,
            writes: TaskTracker::new(),
            keeper: None,
            lock: std::sync::Mutex::new(None),
        })))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path).map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn sqlite(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// The same file for the driver that speaks to both stores. It knows a path and a mode, nothing
/// else: pragmas are set by whoever connects.
fn any_sqlite(path: &Path, mode: &str) -> Result<AnyConnectOptions, StoreError> {
    let unusable = || StoreError::Unavailable(format!("{} is no usable path", path.display()));
    let file = url::Url::from_file_path(path).map_err(|()| unusable())?;
    let url = format!("sqlite://{}?mode={mode}", file.path());
    AnyConnectOptions::from_str(&url)
        .map(AnyConnectOptions::disable_statement_logging)
        .map_err(|_| unusable())
}

fn any_postgres(url: &str) -> Result<AnyConnectOptions, StoreError> {
    // The text of the error might hold the password.
    AnyConnectOptions::from_str(url)
        .map(AnyConnectOptions::disable_statement_logging)
        .map_err(|_| StoreError::Unavailable("the PostgreSQL URL is malformed".to_owned()))
}

/// Two connections that write and checkpoint are safe only since [`SQLITE_MIN`].
async fn check_version(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let row = sqlx::query("select sqlite_version() as version").fetch_one(connection).await?;
    let text = row.text("version")?;
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < SQLITE_MIN {
        return Err(StoreError::Unavailable(format!("SQLite {text} is too old, 3.51.3 is needed")));
    }
    Ok(())
}

async fn pool(options: AnyConnectOptions, connections: u32) -> Result<AnyPool, StoreError> {
    Ok(AnyPoolOptions::new()
        .max_connections(connections.max(1))
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await?)
}
