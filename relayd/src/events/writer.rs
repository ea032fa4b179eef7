//! The one task that stores events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ring::Ring;
use super::{Event, EventKind, QUEUE_MAX, Severity, new_event};
use crate::store::{NewEvent, Store};

/// Events stored by one commit.
const BATCH_MAX: usize = 256;
/// Wait after the store failed, doubled up to the second.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(5);

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
            }
            self.say_what_was_lost(&mut batch);
            self.store_until(batch, &stop).await;
        }
        self.waiting.close();
        let mut rest = Vec::new();
        while let Ok(event) = self.waiting.try_recv() {
            rest.push(event);
        }
        self.say_what_was_lost(&mut rest);
        for batch in rest.chunks(BATCH_MAX) {
            if let Err(error) = self.commit(batch).await {
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
            let text = format!("{lost} events were lost: more than {QUEUE_MAX} waited to be stored");
            batch.push(new_event(EventKind::EventsLost, Severity::Warning, "", &text));
        }
    }

    async fn store_until(&self, batch: Vec<NewEvent>, stop: &CancellationToken) {
        let mut wait = RETRY_FIRST;
        while let Err(error) = self.commit(&batch).await {
            tracing::warn!(%error, events = batch.len(), "events cannot be stored, trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY_LAST),
            }
        }
    }

    async fn commit(&self, batch: &[NewEvent]) -> Result<(), crate::store::StoreError> {
        for event in self.store.append_events(batch).await? {
            self.ring.push(Event::from(event));
        }
        Ok(())
    }
}
