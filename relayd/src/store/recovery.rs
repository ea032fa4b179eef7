//! Holds that nobody will settle: their owner died, or their time is over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::join_all;
use tokio::sync::watch;

use super::Store;
use super::error::StoreError;
use super::ledger::LedgerError;
use super::options::Engine;
use super::row::{Columns, hold};
use crate::domain::Meters;
use crate::ledger::{
    Command, CountSource, HoldRef, HoldRow, HoldState, Outcome, Recover, Usage, UsageStatus, Void,
};

/// Holds taken up at a time: an eighth of the ledger's queue.
const PIECE: i64 = 1_000;
/// How long past its deadline a hold stays with a living owner.
const GRACE: Duration = Duration::from_secs(60);

/// What was done with holds that nobody would settle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Charged by their last checkpoint.
    pub posted: u64,
    /// Released.
    pub released: u64,
}

impl Store {
    /// Looks after holds that nobody will settle, until the store is closed. On SQLite those of
    /// earlier processes are resolved before this returns.
    pub(super) async fn start_upkeep(&self) {
        if self.engine() == Engine::Sqlite {
            self.look_after().await;
        }
        // Held weakly: the task must not keep a dropped store's connections open.
        let weak = std::sync::Arc::downgrade(&self.0);
        let (stop, period) = (self.0.stop.clone(), self.0.upkeep.period);
        self.tasks().spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(period) => {}
                }
                let Some(inner) = weak.upgrade() else { return };
                let store = Self(inner);
                tokio::select! {
                    () = store.0.stop.cancelled() => return,
                    () = store.look_after() => {}
                }
            }
        });
    }

    async fn look_after(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        for done in [self.recover(now_ms).await, self.expire(now_ms).await] {
            if let Err(error) = done {
                tracing::warn!(%error, "could not look after open holds");
            }
        }
    }

    /// Resolves the holds of processes that died: those that streamed are charged by their last
    /// checkpoint, the others released. On SQLite every other process is dead, because this one
    /// has the lock; on PostgreSQL one is dead when it said that it ends, or after a silence of
    /// [`Upkeep::dead_after`](super::Upkeep) during which this process could reach the database.
    ///
    /// # Errors
    /// As every read; what was resolved until then stays resolved.
    pub async fn recover(&self, now_ms: i64) -> Result<Recovered, StoreError> {
        self.recover_after(self.0.upkeep.dead_after, now_ms).await
    }

    pub(super) async fn recover_after(
        &self,
        silence: Duration,
        now_ms: i64,
    ) -> Result<Recovered, StoreError> {
        let clock = sqlx::query(self.engine().now()).fetch_one(self.reader()).await?.int("now")?;
        let silence_ms = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
        // One that reached the database for less time may have missed the others' heartbeats.
        let judge = self.engine() == Engine::Sqlite || self.beating_for() >= silence;
        let dead = sqlx::query(
            "select distinct h.boot from hold h left join instance i on i.boot = h.boot
             where h.state = 'open' and h.boot <> $1
               and ($2 = 1 or i.stopped_ms is not null or ($3 = 1 and i.seen_ms < $4))",
        )
        .bind(self.boot().to_string())
        .bind(i64::from(self.engine() == Engine::Sqlite))
        .bind(i64::from(judge))
        .bind(clock.saturating_sub(silence_ms))
        .fetch_all(self.reader())
        .await?;
        let mut recovered = Recovered::default();
        for boot in &dead {
            let boot = boot.text("boot")?;
            let piece = || {
                sqlx::query(
                    "select * from hold where state = 'open' and boot = $1 order by id limit $2",
                )
                .bind(boot.clone())
                .bind(PIECE)
            };
            let command =
                |hold: &HoldRow| Command::Recover(Recover { hold: reference(hold), at_ms: now_ms });
            recovered.add(self.resolve(piece, command).await?);
        }
        if recovered != Recovered::default() {
            self.0.recovered.send_modify(|sum| sum.add(recovered));
            tracing::info!(
                posted = recovered.posted,
                released = recovered.released,
                "holds of ended processes resolved"
            );
        }
        Ok(recovered)
    }

    /// Holds of ended processes that this one resolved since it opened the store, in all.
    #[must_use]
    pub fn recovered(&self) -> watch::Receiver<Recovered> {
        self.0.recovered.subscribe()
    }

    /// Releases holds whose deadline is well past although their owner lives: a driver is stuck.
    ///
    /// # Errors
    /// As every read; what was released until then stays released.
    pub async fn expire(&self, now_ms: i64) -> Result<Recovered, StoreError> {
        let grace_ms = i64::try_from(GRACE.as_millis()).unwrap_or(i64::MAX);
        let before = now_ms.saturating_sub(grace_ms);
        let piece = || {
            sqlx::query(
                "select * from hold where state = 'open' and deadline_ms < $1
                 order by deadline_ms limit $2",
            )
            .bind(before)
            .bind(PIECE)
        };
        let command = |hold: &HoldRow| {
            let usage = Usage {
                attempt: 0,
                backend: None,
                meters: Meters::default(),
                count: CountSource::Nobody,
                claimed: None,
                estimated: false,
                status: UsageStatus::Lost,
                error_code: None,
                blame: None,
                ttft_ms: None,
                upstream_ms: None,
                done_ms: now_ms,
                task_id: None,
            };
            Command::Void(Void { hold: reference(hold), into: HoldState::Expired, usage })
        };
        let expired = self.resolve(piece, command).await?;
        if expired != Recovered::default() {
            tracing::error!(holds = expired.released, "holds outlived their deadline");
        }
        Ok(expired)
    }

    /// Resolves piece by piece until a piece resolves nothing more.
    async fn resolve<'q>(
        &self,
        piece: impl Fn() -> sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>,
        command: impl Fn(&HoldRow) -> Command,
    ) -> Result<Recovered, StoreError> {
        let mut sum = Recovered::default();
        loop {
            let rows = piece().fetch_all(self.reader()).await?;
            let holds = rows.iter().map(hold).collect::<Result<Vec<_>, _>>()?;
            let answers = holds.iter().map(|hold| self.ledger().submit(command(hold)));
            let mut progress = Recovered::default();
            for answer in join_all(answers).await {
                match answer {
                    Ok(Outcome::Settled { .. }) => progress.posted += 1,
                    Ok(Outcome::Released { .. }) => progress.released += 1,
                    Ok(_) => {}
                    Err(LedgerError::Closed) => {
                        return Err(StoreError::Unavailable("the ledger is closed".to_owned()));
                    }
                    Err(error) => tracing::error!(%error, "a hold could not be resolved"),
                }
            }
            sum.add(progress);
            // Without progress the same piece would come again.
            if i64::try_from(rows.len()).unwrap_or(0) < PIECE || progress == Recovered::default() {
                return Ok(sum);
            }
        }
    }
}

impl Recovered {
    fn add(&mut self, other: Self) {
        self.posted += other.posted;
        self.released += other.released;
    }
}

fn reference(hold: &HoldRow) -> HoldRef {
    HoldRef {
        id: hold.id,
        customer: hold.customer.clone(),
        key: hold.key.clone(),
        boot: hold.boot,
        fence: hold.fence,
    }
}
