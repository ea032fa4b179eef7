//! The one task that stores events, and follows what other replicas stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ring::{RING_MAX, Ring};
use super::{Event, EventKind, QUEUE_MAX, Severity, new_event};
use crate::store::{NewEvent, Store, StoreError};

/// Events stored by one commit.
const BATCH_MAX: usize = 256;
/// Wait after the store failed; doubled each time, up to the second one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// How often events of other replicas are looked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Stores what was told, in the order it was told. Exactly one runs for each [`super::Events`].
#[derive(Debug)]
pub struct EventWriter {
    store: Store,
    waiting: mpsc::Receiver<NewEvent>,
    ring: Arc<Ring>,
    lost: Arc<AtomicU64>,
}

impl EventWriter {
    pub(super) const fn new(
        store: Store,
        waiting: mpsc::Receiver<NewEvent>,
        ring: Arc<Ring>,
        lost: Arc<AtomicU64>,
    ) -> Self {
        Self { store, waiting, ring, lost }
    }

    /// Stores events until stopped; then stores what still waits, once, and ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut follow = tokio::time::interval(FOLLOW_EVERY);
        follow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                count = self.waiting.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = follow.tick() => {
                    if self.ring.is_watched() && let Err(error) = self.follow().await {
                        tracing::debug!(%error, "events cannot be read");
                    }
                    continue;
                }
            }
            self.say_what_was_lost(&mut batch);
            self.store_until(batch, &stop).await;
        }
        self.drain().await;
    }

    async fn drain(&mut self) {
        self.waiting.close();
        let mut rest = Vec::new();
        while let Ok(event) = self.waiting.try_recv() {
            rest.push(event);
        }
        self.say_what_was_lost(&mut rest);
        for batch in rest.chunks(BATCH_MAX) {
            if let Err(error) = self.commit(batch.to_vec()).await {
                tracing::warn!(%error, events = rest.len(), "events were not stored");
                return;
            }
        }
    }

    /// The count of lost events becomes an event.
    fn say_what_was_lost(&self, batch: &mut Vec<NewEvent>) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, bound = QUEUE_MAX, "events were lost");
            let text =
                format!("{lost} events were lost: more than {QUEUE_MAX} waited to be stored");
            batch.push(new_event(EventKind::EventsLost, Severity::Warning, "", &text));
        }
    }

    async fn store_until(&self, batch: Vec<NewEvent>, stop: &CancellationToken) {
        let mut wait = RETRY_FIRST;
        while let Err(error) = self.commit(batch.clone()).await {
            tracing::warn!(%error, events = batch.len(), "events cannot be stored, trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_LAST),
            }
        }
    }

    async fn commit(&self, batch: Vec<NewEvent>) -> Result<(), StoreError> {
        self.store.append_events(batch).await?;
        if let Err(error) = self.follow().await {
            // They are stored; the next look finds them.
            tracing::debug!(%error, "events cannot be read");
        }
        Ok(())
    }

    /// Takes what the store has beyond the ring, whoever stored it. Numbers have no gaps and are
    /// in the order of commits, so nothing can appear before what was seen.
    async fn follow(&self) -> Result<(), StoreError> {
        let page = u32::try_from(RING_MAX).unwrap_or(u32::MAX);
        loop {
            let newer = self.store.events_since(self.ring.newest(), page).await?;
            let last = newer.len() < RING_MAX;
            for event in newer {
                self.ring.push(Event::from(event));
            }
            if last {
                return Ok(());
            }
        }
    }
}
