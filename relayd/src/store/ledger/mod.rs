//! The ledger's queue and its writers.
//!
//! A command goes into a bounded queue and its caller waits for the answer; whether the caller
//! still waits makes no difference to the command. A writer per shard takes what is queued, loads
//! the rows it touches under lock, lets the ledger crate decide, writes and commits, and answers.

mod batch;
mod postgres;
mod sqlite;
mod table;
mod writer;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::sync::WalSync;
use crate::domain::{CustomerId, Fault};
use crate::ledger::{Command, Outcome, Shard};

pub(super) use postgres::PostgresLedger;
pub(super) use sqlite::SqliteLedger;
use writer::{Backend, Entry, Writer};

/// Commands that may wait for one writer. Beyond it new work is refused; at the slowest measured
/// commit rate this is a few seconds of work.
pub const QUEUE_MAX: usize = 8_192;
/// Most commands of one commit.
const BATCH_MAX: usize = 256;

/// The ledger's queue. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct LedgerWriter {
    shards: Arc<[mpsc::Sender<Entry>]>,
    closed: CancellationToken,
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The queue is full.
    #[error("the ledger's queue is full")]
    Full,
    /// The ledger is closing, or was opened for reading only.
    #[error("the ledger is closed")]
    Closed,
    /// The database could not commit. The command may have been applied all the same; asking
    /// again is safe.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// The database refused the command's rows.
    #[error("the ledger failed: {0}")]
    Internal(String),
}

/// The answer to a submitted command, once it is committed.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Result<Outcome, LedgerError>>);

impl LedgerWriter {
    pub(super) fn sqlite(
        backend: SqliteLedger,
        chain: i64,
        stop: &CancellationToken,
        tasks: &TaskTracker,
        sync: &WalSync,
        power: bool,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let writer = Writer::new(Backend::Sqlite(backend), Shard::default(), chain, tasks.clone())
            .synced_by(Arc::new(sync.handle()), power);
        tasks.spawn(writer.run(receiver, stop.clone()));
        Self { shards: Arc::new([sender]), closed: stop.child_token() }
    }

    pub(super) fn postgres(
        backends: Vec<(PostgresLedger, i64)>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let shards = (0_u8..).zip(backends).filter_map(|(number, (backend, chain))| {
            let shard = Shard::new(number).ok()?;
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            let writer = Writer::new(Backend::Postgres(backend), shard, chain, tasks.clone());
            tasks.spawn(writer.run(receiver, stop.clone()));
            Some(sender)
        });
        Self { shards: shards.collect(), closed: stop.child_token() }
    }

    /// A ledger that takes nothing.
    pub(super) fn closed() -> Self {
        let closed = CancellationToken::new();
        closed.cancel();
        Self { shards: Arc::new([]), closed }
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Queues a command if there is room at once: for new work, which is better refused than kept
    /// waiting.
    ///
    /// # Errors
    /// [`LedgerError::Full`] and [`LedgerError::Closed`].
    pub fn try_submit(&self, command: Command) -> Result<Answer, LedgerError> {
        let (entry, answer) = Entry::new(command);
        match self.shard(entry.customer())?.try_send(entry) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(LedgerError::Full),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(LedgerError::Closed),
        }
    }

    /// Queues a command as soon as there is room and waits for its outcome: for what follows work
    /// that already ran. Dropping the future after it queued does not stop the command.
    ///
    /// # Errors
    /// [`LedgerError::Closed`], [`LedgerError::Unavailable`] and [`LedgerError::Internal`].
    pub async fn submit(&self, command: Command) -> Result<Outcome, LedgerError> {
        let (entry, answer) = Entry::new(command);
        let shard = self.shard(entry.customer())?;
        shard.send(entry).await.map_err(|_| LedgerError::Closed)?;
        answer.await
    }

    /// How many commands wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shards.iter().map(|shard| shard.max_capacity() - shard.capacity()).sum()
    }

    fn shard(&self, customer: &CustomerId) -> Result<&mpsc::Sender<Entry>, LedgerError> {
        if self.closed.is_cancelled() {
            return Err(LedgerError::Closed);
        }
        let count = u8::try_from(self.shards.len()).unwrap_or(u8::MAX);
        let shard = Shard::of(customer, count);
        self.shards.get(usize::from(shard.get())).ok_or(LedgerError::Closed)
    }
}

impl Future for Answer {
    type Output = Result<Outcome, LedgerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(LedgerError::Closed)))
    }
}

/// How a caller hears of it.
impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Internal(_) => {
                tracing::error!(%error, "the ledger failed");
                Self::internal()
            }
            LedgerError::Full | LedgerError::Closed | LedgerError::Unavailable(_) => {
                tracing::warn!(%error, "the ledger is unavailable");
                Self::store_unavailable()
            }
        }
    }
}
