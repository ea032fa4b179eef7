//! The database: all SQL of relayd, on SQLite or PostgreSQL.
//!
//! Ordinary reads and admin writes have one text for both stores. The ledger writer has its own
//! connections and two files of SQL behind the one `decide` of the ledger crate. Rows are private;
//! what leaves this room are plain values without a driver's type. It must not know HTTP, gRPC,
//! the catalogue's documents, or any rule of money: it stores what the ledger decided.
//!
//! Invariants:
//! - only writer tasks hold write connections; no caller can cancel them, no timeout drops them;
//! - a connection whose transaction erred is closed, never used again;
//! - on SQLite no code opens or closes the database or its `-shm` file except SQLite itself: that
//!   would drop its locks. The sync thread opens the `-wal` file alone;
//! - every listing is paged by key and has a bound.

mod backends;
mod balances;
mod catalogue;
mod checkpoint;
mod connect;
mod customers;
mod deployments;
mod error;
mod events;
mod instance;
mod keys;
mod ledger;
mod lock;
mod metrics;
mod migrate;
mod operators;
mod options;
mod page;
mod providers;
mod rates;
mod recovery;
mod revisions;
mod rollouts;
mod row;
mod settings;
mod sync;
mod trail;
mod usage;
mod write;

pub mod audit;

#[cfg(test)]
pub(crate) mod tests;

pub use backends::{BackendEdit, BackendModel, BackendRow, IntakeRow};
pub use balances::{Available, Balance, Totals, TxnFilter};
pub use catalogue::{CatalogueRows, Model, Versioned};
pub use customers::{Customer, CustomerEdit, CustomerStatus, NewCustomer};
pub use deployments::{BeganAs, DEPLOYMENTS_MAX, DeploymentRow};
pub use error::{StoreError, Unique};
pub use events::{EVENT_BATCH_MAX, Event, EventFilter, NewEvent, Severity};
pub use instance::Replica;
pub use keys::{ApiKey, KeyEdit, KeyFilter, KeyLogin, NewKey, Restrictions};
pub use ledger::{Answer, LedgerError, LedgerWriter, QUEUE_MAX};
pub use metrics::{BucketQuery, BucketRow, BucketWidth, Dims, Percentiles};
pub use operators::{NewOperator, OPERATORS_MAX, Operator, OperatorEdit};
pub use options::{Engine, Place, StoreOptions, Upkeep};
pub use page::{PAGE_MAX, Page, Paged};
pub use providers::{
    INVITATIONS_MAX, InvitationRow, NewInvitation, NewProvider, OfferRow, PROVIDERS_MAX, Presented,
    ProviderEdit, ProviderLimits, ProviderRow,
};
pub use rates::{RATE_WINDOW_MS, RateGrant, RateWish};
pub use recovery::Recovered;
pub use revisions::{LiveRow, NewRevision, REVISIONS_MAX, RevisionRow};
pub use rollouts::{
    NewRollout, ROLLOUT_NOTES_MAX, RolloutEdit, RolloutNoteRow, RolloutRow, SampleRow, Side,
};
pub use settings::Setting;
pub use trail::{Trail, TrailReport, TrailRow};
pub use usage::{DAY_MS, GROUPS_MAX, GroupBy, Span, UsageOf, UsageSum};
pub use write::{Change, Counter};

use std::sync::Arc;

use sqlx::AnyPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::BootId;
use checkpoint::Keeper;
use sync::WalSync;
use write::AdminWriter;

/// The database. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    engine: Engine,
    boot: BootId,
    reader: AnyPool,
    ledger: LedgerWriter,
    admin: Option<AdminWriter>,
    sync: Option<WalSync>,
    /// Since when heartbeats reached the database without a break.
    beating_since: std::sync::Mutex<Option<std::time::Instant>>,
    upkeep: Upkeep,
    /// Holds of ended processes that this one resolved, in all.
    recovered: watch::Sender<Recovered>,
    stop: CancellationToken,
    /// Tasks that live as long as the store: ledger writers, heartbeat, checkpoints.
    tasks: TaskTracker,
    /// Admin writes under way.
    writes: TaskTracker,
    /// SQLite's connection for checkpoints, closed last.
    keeper: Option<Keeper>,
    /// Held until the store is closed: then another relayd may have the file.
    lock: std::sync::Mutex<Option<lock::FileLock>>,
}

impl Store {
    /// Which database it is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.0.engine
    }

    /// The id of this start of relayd, by which it owns its holds.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.0.boot
    }

    /// The ledger's queue.
    #[must_use]
    pub fn ledger(&self) -> &LedgerWriter {
        &self.0.ledger
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1 as one").fetch_one(self.reader()).await?;
        Ok(())
    }

    /// Stops taking commands, commits what is queued, syncs, and closes every connection.
    pub async fn close(&self) {
        let inner = &self.0;
        inner.ledger.close();
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        if let Some(admin) = &inner.admin {
            // Only now: whoever sees the mark may take over holds that are still open.
            self.mark_stopped().await;
            inner.writes.close();
            inner.writes.wait().await;
            admin.close().await;
        }
        inner.reader.close().await;
        if let Some(sync) = &inner.sync {
            sync.close().await;
        }
        if let Some(keeper) = &inner.keeper {
            keeper.close().await;
        }
        *inner.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    fn reader(&self) -> &AnyPool {
        &self.0.reader
    }

    fn admin_writer(&self) -> Option<&AdminWriter> {
        self.0.admin.as_ref()
    }

    fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    fn writes(&self) -> &TaskTracker {
        &self.0.writes
    }

    /// Says that something was committed that the next sync shall cover.
    fn committed(&self) {
        if let Some(sync) = &self.0.sync {
            sync.mark();
        }
    }

    /// Waits until everything committed before this call survives a power cut.
    async fn synced(&self) -> Result<(), StoreError> {
        match &self.0.sync {
            Some(sync) => sync.synced().await,
            None => Ok(()),
        }
    }

    /// Refuses a page whose cursor names no row.
    async fn check_cursor(&self, sql: &'static str, page: &Page) -> Result<(), StoreError> {
        if page.after().is_empty() {
            return Ok(());
        }
        let row = sqlx::query(sql).bind(page.after()).fetch_optional(self.reader()).await?;
        row.map(|_| ()).ok_or(StoreError::NotFound("cursor"))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("engine", &self.0.engine)
            .field("boot", &self.0.boot)
            .finish_non_exhaustive()
    }
}
