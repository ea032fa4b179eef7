//! Makes SQLite's commits survive a power cut: a thread that syncs the write-ahead log.
//!
//! Commits are written with `synchronous=NORMAL`, so they survive the death of the process at
//! once. This thread opens the `-wal` file once, syncs it a bounded time after each commit, and
//! tells those who wait. It never touches the database or `-shm` file: closing any descriptor of
//! those would drop the locks that SQLite holds on them.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::error::StoreError;

/// Least time between two syncs in the ordinary durability: a power cut then loses at most this
/// much of usage charges, and a disk is asked for at most 50 syncs a second.
const INTERVAL: Duration = Duration::from_millis(20);

/// The thread and how far it got.
#[derive(Debug)]
pub(super) struct WalSync {
    shared: Arc<Shared>,
    reached: watch::Receiver<Reached>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    committed: u64,
    stop: bool,
}

/// Commits up to this number are safe; or the log cannot be synced any more, ever: a failed sync
/// may have dropped what it should have written.
#[derive(Clone, Debug)]
enum Reached {
    Safe(u64),
    Failed(String),
}

impl WalSync {
    /// Starts syncing the log of `database`, which must exist and stay open. With `power` there
    /// is no least time between two syncs.
    pub(super) fn start(database: &Path, power: bool) -> Result<Self, StoreError> {
        let mut name = database.as_os_str().to_owned();
        name.push("-wal");
        let path = PathBuf::from(name);
        let unusable =
            |error| StoreError::Unavailable(format!("cannot open {}: {error}", path.display()));
        let file = File::open(&path).map_err(unusable)?;
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new() });
        let (tell, reached) = watch::channel(Reached::Safe(0));
        let interval = if power { Duration::ZERO } else { INTERVAL };
        let thread = thread::Builder::new()
            .name("wal-sync".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || run(&shared, &tell, Log { path, file }, interval)
            })
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { shared, reached, thread: Mutex::new(Some(thread)) })
    }

    /// Something was committed.
    pub(super) fn mark(&self) {
        self.shared.lock().committed += 1;
        self.shared.wake.notify_one();
    }

    /// Waits until all that was marked before this call is safe.
    pub(super) async fn synced(&self) -> Result<(), StoreError> {
        let wanted = self.shared.lock().committed;
        let mut reached = self.reached.clone();
        let there = reached
            .wait_for(|reached| match reached {
                Reached::Safe(number) => *number >= wanted,
                Reached::Failed(_) => true,
            })
            .await;
        match there.as_deref() {
            Ok(Reached::Safe(_)) => Ok(()),
            Ok(Reached::Failed(why)) => Err(StoreError::Unavailable(why.clone())),
            Err(_) => Err(StoreError::Unavailable("the sync thread ended".to_owned())),
        }
    }

    /// A handle to wait by, for a task of its own.
    pub(super) fn handle(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            reached: self.reached.clone(),
            thread: Mutex::new(None),
        }
    }

    /// Syncs what is left and ends the thread.
    pub(super) async fn close(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
            if !joined.unwrap_or(false) {
                tracing::error!("the sync thread panicked");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    fn sync(&mut self) -> std::io::Result<()> {
        if self.file.metadata()?.nlink() == 0 {
            self.file = File::open(&self.path)?;
        }
        self.file.sync_data()
    }
}

fn run(shared: &Shared, tell: &watch::Sender<Reached>, mut log: Log, interval: Duration) {
    let mut safe = 0;
    let mut last: Option<Instant> = None;
    loop {
        let mut state = shared.lock();
        while state.committed == safe && !state.stop {
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.committed == safe {
            return;
        }
        let stopping = state.stop;
        drop(state);
        let rest = last.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()));
        if !rest.is_zero() && !stopping {
            thread::sleep(rest);
        }
        let target = shared.lock().committed;
        last = Some(Instant::now());
        if let Err(error) = log.sync() {
            tracing::error!(%error, "the write-ahead log cannot be synced");
            tell.send_replace(Reached::Failed(error.to_string()));
            return;
        }
        safe = target;
        tell.send_replace(Reached::Safe(safe));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &tempfile::TempDir) -> PathBuf {
        let database = dir.path().join("a.db");
        std::fs::write(dir.path().join("a.db-wal"), b"frames").unwrap();
        database
    }

    #[tokio::test]
    async fn what_was_marked_is_synced_and_nothing_else_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let sync = WalSync::start(&log(&dir), false).unwrap();
        sync.synced().await.unwrap();
        for _ in 0..3 {
            sync.mark();
            sync.handle().synced().await.unwrap();
        }
        sync.mark();
        sync.close().await;
        sync.synced().await.unwrap();
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_synced_is_never_trusted_again() {
        let dir = tempfile::tempdir().unwrap();
        let sync = WalSync::start(&log(&dir), true).unwrap();
        std::fs::remove_file(dir.path().join("a.db-wal")).unwrap();
        sync.mark();
        assert!(matches!(sync.synced().await, Err(StoreError::Unavailable(_))));
        std::fs::write(dir.path().join("a.db-wal"), b"frames").unwrap();
        sync.mark();
        assert!(matches!(sync.synced().await, Err(StoreError::Unavailable(_))));
        sync.close().await;
    }
}
