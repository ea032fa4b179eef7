//! What runs now: the requests in flight, those that just ended, and the rates of the last minute.
//!
//! The inference path feeds it, the admin plane reads it, and nothing else depends on it: it is a
//! view for people and never decides anything. It must not know the store, the faces or the
//! backends' state, and it is lost with the process.
//!
//! Invariants: every map and ring has a bound (below); no lock is held across an await, and each
//! critical section is a few memory writes; a request that is dropped without an end still leaves
//! the list, as a failure.

mod histogram;
mod keys;
mod live;
mod trouble;
mod view;
mod window;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::{KeyId, RequestId};

pub use live::{End, LiveRequest, NewRequest, Outcome};
pub use trouble::Trouble;
pub use view::{KeyActivity, Phase, RequestView, Traffic};

use histogram::Histogram;
use keys::Keys;
use live::Slot;
use window::{Count, Window};

/// Most requests listed as running; further ones are counted only. Far above what one process
/// serves at once, and 16,384 slots of about 300 bytes are 5 MB.
const RUNNING_MAX: usize = 16_384;
/// Most ended requests kept: what one answer of the admin plane shows.
const ENDED_MAX: usize = 200;
/// How long an ended request stays listed, in milliseconds.
const ENDED_FOR_MS: u64 = 60_000;
/// Counters are spread over this many locks, so that streams on several cores do not meet.
const SHARDS: usize = 16;

/// The registry of live requests. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Observe(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: Instant,
    running: Mutex<HashMap<RequestId, Arc<Slot>>>,
    ended: Mutex<VecDeque<(u64, RequestView)>>,
    windows: [Mutex<Window>; SHARDS],
    next_shard: AtomicUsize,
    ttft: Mutex<TtftRing>,
    keys: Mutex<Keys>,
    unlisted: AtomicU64,
    check: Mutex<Option<LedgerCheck>>,
    trouble: Mutex<Trouble>,
    troubled: Notify,
}

/// The last check of the ledger's invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerCheck {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// How many invariants did not hold, each object counted.
    pub breaches: u64,
}

/// Times to first token, a histogram for each second of the last minute.
#[derive(Debug)]
struct TtftRing {
    seconds: Vec<(u64, Histogram)>,
}

impl Default for Observe {
    fn default() -> Self {
        Self::new()
    }
}

impl Observe {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            epoch: Instant::now(),
            running: Mutex::default(),
            ended: Mutex::default(),
            windows: std::array::from_fn(|_| Mutex::default()),
            next_shard: AtomicUsize::new(0),
            ttft: Mutex::new(TtftRing::new()),
            keys: Mutex::default(),
            unlisted: AtomicU64::new(0),
            check: Mutex::default(),
            trouble: Mutex::default(),
            troubled: Notify::new(),
        }))
    }

    /// A request begins; it is listed as queued. The guard that comes back follows it to its end.
    #[must_use]
    pub fn begin(&self, request: NewRequest) -> LiveRequest {
        let inner = &self.0;
        let shard = inner.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS;
        inner.count(shard, Count::Requests, 1);
        if let Some(key) = &request.key {
            lock(&inner.keys).begin(key, inner.now_ms());
        }
        let slot = Arc::new(Slot::new(request, inner.now_ms(), wall_ms(), shard));
        let mut running = lock(&inner.running);
        let listed = running.len() < RUNNING_MAX;
        if listed {
            running.insert(slot.request.request_id, Arc::clone(&slot));
        } else {
            inner.unlisted.fetch_add(1, Ordering::Relaxed);
        }
        drop(running);
        LiveRequest::new(self.clone(), slot, listed)
    }

    /// A request of this key was refused with 429.
    pub fn limited(&self, key: &KeyId) {
        lock(&self.0.keys).limited(key, self.0.now_ms(), wall_ms());
        self.0.trouble(|trouble| trouble.limited(key));
    }

    /// A request was refused for want of capacity.
    pub fn shed(&self) {
        self.0.count(0, Count::Shed, 1);
        self.0.trouble(|trouble| trouble.shed += 1);
    }

    /// Waits until something went wrong that was not taken yet. For one waiter.
    pub async fn troubled(&self) {
        loop {
            let told = self.0.troubled.notified();
            if !lock(&self.0.trouble).is_none() {
                return;
            }
            told.await;
        }
    }

    /// What went wrong since it was last taken.
    #[must_use]
    pub fn take_trouble(&self) -> Trouble {
        std::mem::take(&mut *lock(&self.0.trouble))
    }

    /// The ledger was checked now, and this many breaches were found.
    pub fn ledger_checked(&self, breaches: u64) {
        *lock(&self.0.check) = Some(LedgerCheck { at_ms: wall_ms(), breaches });
    }

    /// The last check of the ledger since the start.
    #[must_use]
    pub fn last_check(&self) -> Option<LedgerCheck> {
        *lock(&self.0.check)
    }

    /// Rates, shares and percentiles at this moment.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        view::traffic(&self.0)
    }

    /// The requests that run, newest first, then those that ended in the last minute, newest
    /// first; at most `limit` in all.
    #[must_use]
    pub fn requests(&self, limit: usize) -> Vec<RequestView> {
        view::requests(&self.0, limit)
    }

    /// What each key that was seen lately does now. At most 10,000 keys.
    #[must_use]
    pub fn keys(&self) -> HashMap<KeyId, KeyActivity> {
        lock(&self.0.keys).activity(self.0.now_ms(), wall_ms())
    }
}

impl Inner {
    fn trouble(&self, note: impl FnOnce(&mut Trouble)) {
        note(&mut lock(&self.trouble));
        // Keeps one permit where nobody waits just now.
        self.troubled.notify_one();
    }

    /// Milliseconds since this registry was made; never goes back.
    fn now_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn count(&self, shard: usize, count: Count, by: u64) {
        lock(&self.windows[shard % SHARDS]).add(self.now_ms() / 1_000, count, by);
    }

    fn first_token(&self, key: Option<&KeyId>, ttft_ms: u32) {
        let now = self.now_ms();
        lock(&self.ttft).record(now / 1_000, ttft_ms);
        if let Some(key) = key {
            lock(&self.keys).first_token(key, ttft_ms, wall_ms());
        }
    }
}

impl TtftRing {
    const SECONDS: u64 = 60;

    fn new() -> Self {
        Self { seconds: (0..Self::SECONDS).map(|_| (0, Histogram::default())).collect() }
    }

    fn record(&mut self, second: u64, ttft_ms: u32) {
        let index = usize::try_from(second % Self::SECONDS).unwrap_or(0);
        let (at, histogram) = &mut self.seconds[index];
        if *at != second {
            (*at, *histogram) = (second, Histogram::default());
        }
        histogram.record(ttft_ms);
    }

    fn last_minute(&self, second: u64) -> Histogram {
        let mut all = Histogram::default();
        for (at, histogram) in &self.seconds {
            if *at <= second && second - *at < Self::SECONDS {
                all.merge(histogram);
            }
        }
        all
    }
}

/// A thread that panicked inside one of these tiny sections left counters, not broken promises.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since the Unix epoch, for people.
fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
