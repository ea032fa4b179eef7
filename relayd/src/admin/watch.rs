//! Streams of what changes: a snapshot, then sequenced deltas, conflated.
//!
//! A stream computes its next update when the transport asks for it, out of the newest view and
//! the one it sent last. So a slow reader costs one pending update, gets the newest values, and
//! never a growing queue. Views are computed only while somebody watches and shared by all who do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::error::status;
use crate::domain::{Code, Fault};

const INTERVAL_MS_MIN: u32 = 100;
const INTERVAL_MS_MAX: u32 = 60_000;
const INTERVAL_MS_DEFAULT: u32 = 1_000;
/// How often a stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// What can be watched.
pub(super) trait Watched: Clone + Send + Sync + 'static {
    /// All of it at one moment.
    type View: Send + Sync + 'static;
    /// The message of the stream.
    type Update: Send + 'static;

    /// Computes the view.
    fn view(&self) -> impl Future<Output = Result<Self::View, Fault>> + Send;
    /// The first message.
    fn snapshot(seq: u64, view: &Self::View) -> Self::Update;
    /// What changed between two views; `None` when nothing did.
    fn delta(seq: u64, old: &Self::View, new: &Self::View) -> Option<Self::Update>;
    /// A sign of life.
    fn heartbeat(seq: u64, now_ms: i64) -> Self::Update;
}

/// One noun's newest view, shared by all its watchers.
#[derive(Debug)]
pub(super) struct Shared<W: Watched> {
    source: W,
    newest: Arc<Mutex<Option<Seen<W::View>>>>,
}

/// A view, and when its computation began.
#[derive(Debug)]
struct Seen<V> {
    at: Instant,
    view: Arc<V>,
}

impl<W: Watched> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), newest: Arc::clone(&self.newest) }
    }
}

impl<W: Watched> Shared<W> {
    pub(super) fn new(source: W) -> Self {
        Self { source, newest: Arc::default() }
    }

    /// The newest view, computed again when it is older than `max_age`. One computes, the others
    /// wait for it.
    pub(super) async fn view(&self, max_age: Duration) -> Result<Arc<W::View>, Fault> {
        let mut newest = self.newest.lock().await;
        if let Some(seen) = &*newest
            && seen.at.elapsed() < max_age
        {
            return Ok(Arc::clone(&seen.view));
        }
        let at = Instant::now();
        let view = Arc::new(self.source.view().await?);
        *newest = Some(Seen { at, view: Arc::clone(&view) });
        Ok(view)
    }

    /// The stream of one watcher, until it leaves, `stop` fires or the view cannot be computed.
    /// `lasting` is asked once a second; when it refuses, the stream ends with that.
    pub(super) fn watch<L>(
        self,
        interval: Duration,
        stop: CancellationToken,
        lasting: impl Fn() -> L + Send + 'static,
    ) -> impl Stream<Item = Result<W::Update, Status>> + Send + 'static
    where
        L: Future<Output = Result<(), Fault>> + Send,
    {
        // Half the interval: a watcher's own tick always finds a view that is new to it, and any
        // number of watchers cost at most two computations an interval.
        let max_age = interval / 2;
        async_stream::try_stream! {
            let mut sent = self.view(max_age).await.map_err(|fault| status(&fault))?;
            let mut seq = 1;
            // Set before anything is given out: the time that a reader takes counts too.
            let mut tick = Instant::now() + interval;
            let mut beat = Instant::now() + HEARTBEAT;
            yield W::snapshot(seq, &sent);
            loop {
                let stopped = tokio::select! {
                    () = stop.cancelled() => true,
                    () = tokio::time::sleep_until(tick.min(beat)) => false,
                };
                if stopped {
                    Err(stopping())?;
                }
                if Instant::now() >= tick {
                    let newest = self.view(max_age).await.map_err(|fault| status(&fault))?;
                    tick = Instant::now() + interval;
                    if let Some(delta) = W::delta(seq + 1, &sent, &newest) {
                        seq += 1;
                        sent = newest;
                        yield delta;
                    }
                }
                if Instant::now() >= beat {
                    lasting().await.map_err(|fault| status(&fault))?;
                    beat = Instant::now() + HEARTBEAT;
                    seq += 1;
                    yield W::heartbeat(seq, crate::admin::now_ms());
                }
            }
        }
    }
}

/// The status of streams that end because relayd does.
pub(super) fn stopping() -> Status {
    Status::unavailable("relayd is stopping")
}

/// Checks a watch's interval.
pub(super) fn interval(asked_ms: u32) -> Result<Duration, Fault> {
    match asked_ms {
        0 => Ok(Duration::from_millis(INTERVAL_MS_DEFAULT.into())),
        INTERVAL_MS_MIN..=INTERVAL_MS_MAX => Ok(Duration::from_millis(asked_ms.into())),
        _ => Err(Fault::new(
            Code::ValidationError,
            format!("interval_ms is {asked_ms}, expected {INTERVAL_MS_MIN} to {INTERVAL_MS_MAX}"),
        )),
    }
}

/// Rows that are new or differ, and the ids of rows that went.
pub(super) fn difference<'a, T: PartialEq + Clone>(
    old: &'a [T],
    new: &'a [T],
    id: impl Fn(&'a T) -> &'a str,
) -> Option<(Vec<T>, Vec<String>)> {
    let mut before: HashMap<&str, &T> = old.iter().map(|row| (id(row), row)).collect();
    let changed: Vec<T> =
        new.iter().filter(|row| before.remove(id(row)) != Some(row)).cloned().collect();
    let mut removed: Vec<String> = before.into_keys().map(str::to_owned).collect();
    removed.sort();
    (!changed.is_empty() || !removed.is_empty()).then_some((changed, removed))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::StreamExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Counter {
        value: Arc<AtomicU64>,
        computed: Arc<AtomicU64>,
    }

    #[derive(Debug, PartialEq)]
    enum Update {
        Snapshot(u64, u64),
        Delta(u64, u64),
        Heartbeat(u64),
    }

    impl Watched for Counter {
        type View = u64;
        type Update = Update;

        async fn view(&self) -> Result<u64, Fault> {
            self.computed.fetch_add(1, Ordering::Relaxed);
            Ok(self.value.load(Ordering::Relaxed))
        }

        fn snapshot(seq: u64, view: &u64) -> Update {
            Update::Snapshot(seq, *view)
        }

        fn delta(seq: u64, old: &u64, new: &u64) -> Option<Update> {
            (old != new).then_some(Update::Delta(seq, *new))
        }

        fn heartbeat(seq: u64, _: i64) -> Update {
            Update::Heartbeat(seq)
        }
    }

    fn stream(
        counter: &Counter,
        interval_ms: u64,
        stop: &CancellationToken,
    ) -> impl Stream<Item = Result<Update, Status>> + use<> {
        let interval = Duration::from_millis(interval_ms);
        Shared::new(counter.clone()).watch(interval, stop.clone(), async || Ok(()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_then_sequenced_deltas_and_a_heartbeat_each_second() {
        let (counter, stop) = (Counter::default(), CancellationToken::new());
        let mut updates = std::pin::pin!(stream(&counter, 400, &stop));
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Snapshot(1, 0));
        counter.value.store(5, Ordering::Relaxed);
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Delta(2, 5));
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Heartbeat(3));
        counter.value.store(6, Ordering::Relaxed);
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Delta(4, 6));
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Heartbeat(5));
        stop.cancel();
        let end = updates.next().await.unwrap().unwrap_err();
        assert_eq!(end.code(), tonic::Code::Unavailable);
        assert!(updates.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_one_update_with_the_newest_values() {
        let (counter, stop) = (Counter::default(), CancellationToken::new());
        let mut updates = std::pin::pin!(stream(&counter, 100, &stop));
        updates.next().await.unwrap().unwrap();
        for n in 1..=600 {
            counter.value.store(n, Ordering::Relaxed);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Delta(2, 600));
        assert_eq!(updates.next().await.unwrap().unwrap(), Update::Heartbeat(3));
        assert_eq!(counter.computed.load(Ordering::Relaxed), 2, "nothing is computed for nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn watchers_share_one_view() {
        let (counter, stop) = (Counter::default(), CancellationToken::new());
        let shared = Shared::new(counter.clone());
        let mut all: Vec<_> = (0..50)
            .map(|_| {
                let interval = Duration::from_millis(100);
                Box::pin(shared.clone().watch(interval, stop.clone(), async || Ok(())))
            })
            .collect();
        for updates in &mut all {
            updates.next().await.unwrap().unwrap();
        }
        assert_eq!(counter.computed.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_who_may_no_longer_look_is_let_go() {
        let (counter, stop) = (Counter::default(), CancellationToken::new());
        let refused = async || Err(Fault::new(Code::InvalidToken, "revoked"));
        let interval = Duration::from_secs(60);
        let updates = Shared::new(counter).watch(interval, stop, refused);
        let mut updates = std::pin::pin!(updates);
        updates.next().await.unwrap().unwrap();
        let end = updates.next().await.unwrap().unwrap_err();
        assert_eq!(end.code(), tonic::Code::Unauthenticated);
    }

    #[test]
    fn differences_name_what_changed_and_what_went() {
        let row = |name: &str, value: u32| (name.to_owned(), value);
        let old = [row("a", 1), row("b", 1), row("c", 1)];
        let new = [row("a", 1), row("c", 2), row("d", 1)];
        let (changed, removed) = difference(&old, &new, |row| &row.0).unwrap();
        assert_eq!(changed, [row("c", 2), row("d", 1)]);
        assert_eq!(removed, ["b"]);
        assert_eq!(difference(&new, &new, |row| &row.0), None);
    }

    #[test]
    fn intervals_are_bounded() {
        assert_eq!(interval(0).unwrap(), Duration::from_secs(1));
        assert!(interval(99).is_err() && interval(60_001).is_err());
    }
}
