//! Keeps SQLite's write-ahead log short, on a connection of its own.
//!
//! Checkpoints are PASSIVE: they wait for nobody and nobody waits for them. Under a steady stream
//! of writes such a checkpoint never reaches the end of the log, and the log is begun anew only by
//! a writer that finds it fully written back; so when it has grown beyond a bound, the last piece
//! is written back while the writers of this process stand in line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How often the log's length is looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// Log bytes from which pages are written back: about a second of a busy relay.
const BEGIN_BYTES: u64 = 4 << 20;
/// Log bytes from which the writers are held for the last piece, so that the log begins anew.
const HOLD_BYTES: u64 = 64 << 20;

/// The connection. It is opened before all others and closed after them, so that no other
/// connection is ever the last one, which would delete the log.
#[derive(Clone)]
pub(super) struct Keeper(Arc<Mutex<Option<SqliteConnection>>>);

impl Keeper {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self(Arc::new(Mutex::new(Some(connection))))
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.0.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "could not close the checkpoint connection");
        }
    }

    async fn checkpoint(&self) {
        let mut place = self.0.lock().await;
        let Some(connection) = place.as_mut() else { return };
        let done = sqlx::query("pragma wal_checkpoint(passive)").execute(connection).await;
        if let Err(error) = done {
            tracing::warn!(%error, "checkpoint failed");
        }
    }

    /// Keeps the log of `database` short until `stop`. `gate` is where its writers take turns.
    pub(super) async fn run(
        self,
        database: PathBuf,
        gate: Arc<Mutex<()>>,
        stop: CancellationToken,
    ) {
        let mut name = database.into_os_string();
        name.push("-wal");
        let log = PathBuf::from(name);
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if length(&log).await < BEGIN_BYTES {
                continue;
            }
            self.checkpoint().await;
            if length(&log).await >= HOLD_BYTES {
                let _turn = gate.lock().await;
                self.checkpoint().await;
            }
        }
    }
}

/// Only the name is asked, never a descriptor opened.
async fn length(log: &Path) -> u64 {
    tokio::fs::metadata(log).await.map_or(0, |log| log.len())
}
