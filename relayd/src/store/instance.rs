//! Starts of relayd on this database, and whether they still live.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Store;
use super::error::StoreError;
use super::options::Engine;
use super::row::Columns;
use super::write::{AdminWriter, Counter, bump};
use crate::domain::BootId;

/// After this silence a replica is no longer told to agents. Longer than a few heartbeats.
const SILENT: Duration = Duration::from_secs(15);

/// Most replicas that are told: each agent keeps a connection to each.
const REPLICAS_MAX: i64 = 16;

/// A relayd on this database that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Where agents reach it.
    pub fleet_addr: String,
    /// Agents that it held when it told of itself last.
    pub sessions: u64,
    /// Whether it is this process.
    pub is_this: bool,
}

/// Chain numbers per start: more than there are shards.
const CHAINS: i64 = 64;

impl Engine {
    /// The database's own clock, in milliseconds since the epoch: replicas share no other.
    pub(super) const fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "select cast(unixepoch('subsec') * 1000 as integer) as now",
            Self::Postgres => {
                "select cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as now"
            }
        }
    }
}

/// The number of a hash chain: one per start and shard.
pub(super) fn chain(number: i64, shard: u8) -> i64 {
    number * CHAINS + i64::from(shard)
}

/// Registers a start and tells its number.
pub(super) async fn register(writer: &AdminWriter, boot: BootId) -> Result<i64, StoreError> {
    let engine = writer.engine();
    let host = host();
    writer
        .run(Box::new(move |conn| {
            Box::pin(async move {
                let number = bump(conn, Counter::Instances).await?;
                let now = sqlx::query(engine.now()).fetch_one(&mut *conn).await?.int("now")?;
                sqlx::query(
                    "insert into instance (boot, no, host, started_ms, seen_ms)
                     values ($1, $2, $3, $4, $4)",
                )
                .bind(boot.to_string())
                .bind(number)
                .bind(host)
                .bind(now)
                .execute(&mut *conn)
                .await?;
                Ok(number)
            })
        }))
        .await
}

impl Store {
    /// Shows that this process lives, until the store is closed. On SQLite the file's lock does.
    pub(super) fn start_heartbeat(&self) {
        if self.engine() == Engine::Sqlite {
            return;
        }
        // Held weakly: the task must not keep a dropped store's connections open.
        let weak = std::sync::Arc::downgrade(&self.0);
        let (stop, beat) = (self.0.stop.clone(), self.0.upkeep.beat);
        self.tasks().spawn(async move {
            let mut ticks = tokio::time::interval(beat);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let Some(inner) = weak.upgrade() else { return };
                Self(inner).beat().await;
            }
        });
    }

    /// Tells the other replicas where agents reach this one and how many of them it holds.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn announce(&self, fleet_addr: &str, sessions: usize) -> Result<(), StoreError> {
        let (boot, fleet_addr) = (self.boot().to_string(), fleet_addr.to_owned());
        let sessions = i64::try_from(sessions).unwrap_or(i64::MAX);
        self.quiet_write(move |conn| {
            Box::pin(async move {
                sqlx::query("update instance set fleet_addr = $2, sessions = $3 where boot = $1")
                    .bind(boot)
                    .bind(fleet_addr)
                    .bind(sessions)
                    .execute(&mut *conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// The replicas that live, this one among them, by address. One that fell silent without a
    /// word is among them for fifteen seconds longer.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn replicas(&self) -> Result<Vec<Replica>, StoreError> {
        let now = sqlx::query(self.engine().now()).fetch_one(self.reader()).await?.int("now")?;
        let silent_ms = i64::try_from(SILENT.as_millis()).unwrap_or(i64::MAX);
        // SQLite has one process and no heartbeat.
        let sql = "select fleet_addr, sessions, boot from instance
             where fleet_addr <> '' and (boot = $1 or (stopped_ms is null and seen_ms >= $2))
             order by fleet_addr limit $3";
        let rows = sqlx::query(sql)
            .bind(self.boot().to_string())
            .bind(match self.engine() {
                Engine::Sqlite => i64::MAX,
                Engine::Postgres => now.saturating_sub(silent_ms),
            })
            .bind(REPLICAS_MAX)
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Replica {
                    fleet_addr: row.text("fleet_addr")?,
                    sessions: row.count("sessions")?,
                    is_this: row.text("boot")? == self.boot().to_string(),
                })
            })
            .collect()
    }

    async fn beat(&self) {
        let boot = self.boot();
        let beat = self.touch_instance(boot, "update instance set seen_ms = $2 where boot = $1");
        let reached = beat.await;
        let mut since = self.0.beating_since.lock().unwrap_or_else(PoisonError::into_inner);
        match reached {
            Ok(()) => *since = since.or_else(|| Some(Instant::now())),
            Err(error) => {
                tracing::warn!(%error, "heartbeat did not reach the database");
                *since = None;
            }
        }
    }

    /// For how long heartbeats have reached the database without a break.
    pub(super) fn beating_for(&self) -> Duration {
        let since = self.0.beating_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes that this process ends in order, so that nobody waits for its silence.
    pub(super) async fn mark_stopped(&self) {
        let boot = self.boot();
        let sql = "update instance set seen_ms = $2, stopped_ms = $2 where boot = $1";
        if let Err(error) = self.touch_instance(boot, sql).await {
            tracing::warn!(%error, "could not note the end of this process");
        }
    }

    async fn touch_instance(&self, boot: BootId, sql: &'static str) -> Result<(), StoreError> {
        let engine = self.engine();
        self.quiet_write(move |conn| {
            Box::pin(async move {
                let now = sqlx::query(engine.now()).fetch_one(&mut *conn).await?.int("now")?;
                sqlx::query(sql).bind(boot.to_string()).bind(now).execute(&mut *conn).await?;
                Ok(())
            })
        })
        .await
    }
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
