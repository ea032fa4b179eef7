//! The last events in memory, and readers that follow them.
//!
//! A reader holds a place in the sequence and no queue of its own: what it has not read is in the
//! ring, and where the ring has moved on it is told what it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Event;

/// Events that can be replayed. A reader further behind asks the store.
pub(super) const RING_MAX: usize = 1_000;

#[derive(Debug)]
pub(super) struct Ring {
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    /// Events up to this sequence number are not here.
    gone: u64,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// The next event.
    Event(Arc<Event>),
    /// Events before this sequence number were skipped: the reader was too slow or asked too late.
    Resync {
        /// The first that follows.
        before: u64,
    },
}

/// A reader of events, from its place on.
#[derive(Debug)]
pub struct Subscription {
    ring: Arc<Ring>,
    newest: watch::Receiver<u64>,
    place: u64,
}

impl Ring {
    /// A ring that begins with these events, oldest first; earlier ones are in the store only.
    pub(super) fn new(events: Vec<Event>) -> Self {
        let newest = events.last().map_or(0, |event| event.seq);
        let gone = events.first().map_or(0, |event| event.seq.saturating_sub(1));
        let events = events.into_iter().map(Arc::new).collect();
        Self { kept: Mutex::new(Kept { events, gone }), newest: watch::Sender::new(newest) }
    }

    pub(super) fn push(&self, event: Event) {
        let seq = event.seq;
        let mut kept = self.kept();
        if kept.events.len() >= RING_MAX
            && let Some(oldest) = kept.events.pop_front()
        {
            kept.gone = oldest.seq;
        }
        kept.events.push_back(Arc::new(event));
        drop(kept);
        self.newest.send_replace(seq);
    }

    pub(super) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Whether anybody follows.
    pub(super) fn is_watched(&self) -> bool {
        self.newest.receiver_count() > 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn after(&self, place: u64) -> Option<Update> {
        let kept = self.kept();
        let next = kept.events.partition_point(|event| event.seq <= place);
        let next = kept.events.get(next)?;
        if place < kept.gone {
            return Some(Update::Resync { before: next.seq });
        }
        Some(Update::Event(Arc::clone(next)))
    }
}

impl Subscription {
    /// A reader of what comes after `since`; zero is only what comes from now on.
    pub(super) fn new(ring: Arc<Ring>, since: u64) -> Self {
        let newest = ring.newest.subscribe();
        // A place beyond the newest event is one of another database: nothing came after it here.
        let place = if since == 0 { ring.newest() } else { since.min(ring.newest()) };
        Self { ring, newest, place }
    }

    /// The next update, as soon as there is one. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Update {
        loop {
            self.newest.mark_unchanged();
            match self.ring.after(self.place) {
                Some(Update::Event(event)) => {
                    self.place = event.seq;
                    return Update::Event(event);
                }
                Some(Update::Resync { before }) => {
                    self.place = before.saturating_sub(1);
                    return Update::Resync { before };
                }
                // The ring lives as long as this reader, so the sender does too.
                None if self.newest.changed().await.is_err() => std::future::pending().await,
                None => {}
            }
        }
    }
}
