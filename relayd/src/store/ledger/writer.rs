//! The loop of one writer: take what is queued, decide, commit, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{gauge, histogram};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::error::StoreError;
use super::super::sync::WalSync;
use super::batch::{Head, is_empty};
use super::postgres::PostgresLedger;
use super::sqlite::SqliteLedger;
use super::{Answer, BATCH_MAX, LedgerError, QUEUE_MAX};
use crate::domain::{CustomerId, Meters};
use crate::ledger::{
    Blame, Command, CountSource, HoldState, Needs, OpenHold, Outcome, Shard, Usage, UsageStatus,
    Void, decide,
};
use crate::telemetry::names;

/// How often a batch that met another writer's is tried again at once.
const COLLISIONS_MAX: u32 = 5;
/// The first and the longest pause between two attempts while the database is away.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a hold may wait for its turn: whoever asked is told to come back rather than kept.
const HOLD_PATIENCE: Duration = Duration::from_secs(2);
/// How long closing waits for a database that is away.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// A command with the place its answer goes to.
#[derive(Debug)]
pub(super) struct Entry {
    command: Command,
    reply: Option<oneshot::Sender<Result<Outcome, LedgerError>>>,
    since: Instant,
}

/// One of the two stores.
pub(super) enum Backend {
    /// SQLite.
    Sqlite(SqliteLedger),
    /// PostgreSQL.
    Postgres(PostgresLedger),
}

/// One writer.
pub(super) struct Writer {
    backend: Backend,
    shard: Shard,
    head: Head,
    sync: Option<Arc<WalSync>>,
    power: bool,
    /// Answers that wait for a sync.
    tasks: TaskTracker,
    /// Settlements and releases that wait for the database to come back.
    backlog: Vec<Entry>,
}

/// Why an attempt failed.
pub(super) enum Attempt {
    /// Another writer changed the same rows; the same batch can be decided anew.
    Collision(String),
    /// Anything else.
    Failed(StoreError),
}

impl Entry {
    pub(super) fn new(command: Command) -> (Self, Answer) {
        let (reply, answer) = oneshot::channel();
        (Self { command, reply: Some(reply), since: Instant::now() }, Answer(answer))
    }

    pub(super) const fn customer(&self) -> &CustomerId {
        self.command.customer()
    }

    fn is_stale(&self) -> bool {
        matches!(self.command, Command::Hold(_)) && self.since.elapsed() > HOLD_PATIENCE
    }

    fn answer(self, outcome: Result<Outcome, LedgerError>) {
        match &self.command {
            Command::Hold(_) => histogram!(names::HOLD).record(self.since.elapsed()),
            Command::Settle(_) => histogram!(names::SETTLE).record(self.since.elapsed()),
            _ => {}
        }
        if let Some(reply) = self.reply {
            // Whoever asked may have gone; the command counts all the same.
            let _gone = reply.send(outcome);
        }
    }
}

impl Writer {
    pub(super) fn new(backend: Backend, shard: Shard, chain: i64, tasks: TaskTracker) -> Self {
        Self {
            backend,
            shard,
            head: Head::start(chain),
            sync: None,
            power: false,
            tasks,
            backlog: Vec::new(),
        }
    }

    pub(super) fn synced_by(self, sync: Arc<WalSync>, power: bool) -> Self {
        Self { sync: Some(sync), power, ..self }
    }

    /// Runs until `stop`, and then until the queue is empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Entry>, stop: CancellationToken) {
        let mut pause = PAUSE.0;
        let mut stopped: Option<Instant> = None;
        loop {
            let mut entries = std::mem::take(&mut self.backlog);
            if entries.is_empty() {
                tokio::select! {
                    count = queue.recv_many(&mut entries, BATCH_MAX) => {
                        if count == 0 {
                            break;
                        }
                    }
                    () = stop.cancelled(), if stopped.is_none() => {
                        stopped = Some(Instant::now());
                        queue.close();
                        continue;
                    }
                }
            } else {
                // New work is refused while the database is away, and must not wait for it.
                while entries.len() < QUEUE_MAX
                    && let Ok(entry) = queue.try_recv()
                {
                    entries.push(entry);
                }
            }
            gauge!(names::LEDGER_QUEUE).set(u32::try_from(queue.len()).unwrap_or(u32::MAX));
            while !entries.is_empty() {
                let rest = entries.split_off(entries.len().min(BATCH_MAX));
                self.batch(std::mem::replace(&mut entries, rest)).await;
            }
            if self.backlog.is_empty() {
                pause = PAUSE.0;
                continue;
            }
            if stop.is_cancelled()
                && stopped.get_or_insert_with(Instant::now).elapsed() > CLOSE_PATIENCE
            {
                tracing::error!(
                    commands = self.backlog.len(),
                    "ledger closed with unsettled requests; the next start recovers them"
                );
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        self.backend.close().await;
    }

    /// Commits one batch and answers it. What must not be lost goes to the backlog on failure.
    async fn batch(&mut self, entries: Vec<Entry>) {
        let (stale, entries): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(Entry::is_stale);
        for entry in stale {
            entry.answer(Err(LedgerError::Unavailable("the ledger is too busy".to_owned())));
        }
        if entries.is_empty() {
            return;
        }
        histogram!(names::BATCH_SIZE).record(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        let commands: Vec<Command> = entries.iter().map(|entry| entry.command.clone()).collect();
        match self.commit(&commands).await {
            Ok(outcomes) => self.answer(entries, outcomes),
            Err(error) if is_passing(&error) => self.postpone(entries, &error),
            Err(error) if entries.len() == 1 => {
                for entry in entries {
                    tracing::error!(%error, command = ?entry.command, "command refused");
                    entry.answer(Err(LedgerError::Internal(error.to_string())));
                }
            }
            Err(error) => {
                // One command's rows are refused; the others must not pay for it.
                tracing::warn!(%error, "batch refused, trying its commands one by one");
                for entry in entries {
                    Box::pin(self.batch(vec![entry])).await;
                }
            }
        }
    }

    async fn commit(&mut self, commands: &[Command]) -> Result<Vec<Outcome>, StoreError> {
        let mut collisions = 0;
        loop {
            match self.attempt(commands).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Attempt::Collision(why)) if collisions < COLLISIONS_MAX => {
                    tracing::debug!(error = %why, "batch met another writer, trying again");
                    collisions += 1;
                }
                Err(Attempt::Collision(why)) => return Err(StoreError::Unavailable(why)),
                Err(Attempt::Failed(error)) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self, commands: &[Command]) -> Result<Vec<Outcome>, Attempt> {
        let needs = Needs::of(commands, self.shard);
        let shard = self.shard;
        let rule = |head: &Head, mut snapshot| {
            let decision = decide(&mut snapshot, shard, commands);
            let link = head.link(&decision);
            (decision, link)
        };
        let decision = match &mut self.backend {
            Backend::Sqlite(backend) => backend.transact(&mut self.head, &needs, rule).await?,
            Backend::Postgres(backend) => backend.transact(&mut self.head, &needs, rule).await?,
        };
        if let Some(sync) = &self.sync
            && !is_empty(&decision)
        {
            sync.mark();
        }
        Ok(decision.outcomes)
    }

    /// Answers a committed batch: at once what survives the process, and after the next sync what
    /// must survive a power cut.
    fn answer(&self, entries: Vec<Entry>, outcomes: Vec<Outcome>) {
        let mut strict = Vec::new();
        for (entry, outcome) in entries.into_iter().zip(outcomes) {
            if self.sync.is_some() && (self.power || entry.command.is_strict()) {
                strict.push((entry, outcome));
            } else {
                entry.answer(Ok(outcome));
            }
        }
        if let Some(sync) = &self.sync
            && !strict.is_empty()
        {
            let sync = Arc::clone(sync);
            self.tasks.spawn(async move {
                let synced = sync.synced().await;
                for (entry, outcome) in strict {
                    let answer = synced.clone().map(|()| outcome);
                    entry.answer(answer.map_err(|why| LedgerError::Unavailable(why.to_string())));
                }
            });
        }
    }

    /// Refuses new work and keeps what must not be lost. A hold whose commit is uncertain is
    /// released once the database is back: nobody was told that it exists.
    fn postpone(&mut self, entries: Vec<Entry>, error: &StoreError) {
        tracing::warn!(%error, commands = entries.len(), "ledger commit failed");
        for entry in entries {
            if entry.command.resolves() {
                self.backlog.push(entry);
                continue;
            }
            if let Command::Hold(hold) = &entry.command {
                let command = Command::Void(unconfirmed(hold));
                self.backlog.push(Entry { command, reply: None, since: entry.since });
            }
            entry.answer(Err(LedgerError::Unavailable(error.to_string())));
        }
    }
}

/// The release of a hold that may or may not have been committed.
fn unconfirmed(hold: &OpenHold) -> Void {
    let usage = Usage {
        attempt: 0,
        backend: None,
        meters: Meters::default(),
        count: CountSource::Nobody,
        claimed: None,
        estimated: false,
        status: UsageStatus::Failed,
        error_code: Some("SERVICE_UNAVAILABLE".to_owned()),
        blame: Some(Blame::Relay),
        ttft_ms: None,
        upstream_ms: None,
        done_ms: hold.created_ms,
        task_id: None,
    };
    Void { hold: hold.to_ref(), into: HoldState::Voided, usage }
}

/// Whether the same batch may succeed later.
const fn is_passing(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Locked(_))
}

impl From<StoreError> for Attempt {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<sqlx::Error> for Attempt {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Backend {
    async fn close(&mut self) {
        match self {
            Self::Sqlite(backend) => backend.close().await,
            Self::Postgres(backend) => backend.close().await,
        }
    }
}
