//! What happened: told without waiting, stored in order, replayed to whoever watches.
//!
//! Any room above may tell an event; nobody waits for it to be stored. It must not know who tells
//! or who watches, and it is no record of money or of changes: that is the ledger's and the
//! audit's work, which nothing may overflow.
//!
//! Invariants: telling never blocks; sequence numbers come from the store, rise, and are never
//! reused; an event that could not be kept is counted, and the count becomes an event itself; a
//! slow reader is told what it missed and costs nothing.

mod kind;
mod ring;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

pub use kind::EventKind;
pub use ring::{Subscription, Update};
pub use writer::EventWriter;

pub use crate::store::Severity;

use crate::store::{EventFilter, NewEvent, Page, Store, StoreError};
use ring::{RING_MAX, Ring};

/// Events that may wait for the store; beyond it they are counted and lost. A burst of every key
/// and backend at once fits, and 4,096 events are about a megabyte.
const QUEUE_MAX: usize = 4_096;
/// Longest text of an event, in characters: two lines of a screen.
const TEXT_MAX_CHARS: usize = 300;
/// Longest subject, in characters: the longest model name.
const SUBJECT_MAX_CHARS: usize = 160;

/// One event, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the order of events.
    pub seq: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The kind's word. Another version of relayd may have stored one that this one does not know.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: a backend, a key, a customer; may be empty.
    pub subject: String,
    /// A sentence for people.
    pub text: String,
}

/// Tells events. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<NewEvent>,
    ring: Arc<Ring>,
    lost: Arc<AtomicU64>,
}

impl From<crate::store::Event> for Event {
    fn from(stored: crate::store::Event) -> Self {
        let event = stored.event;
        Self {
            seq: stored.seq,
            at_ms: event.at_ms,
            kind: event.kind,
            severity: event.severity,
            subject: event.subject,
            text: event.text,
        }
    }
}

impl Events {
    /// Opens the record: reads the last events for replay. The writer must be run by the caller,
    /// until then events wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(store: Store) -> Result<(Self, EventWriter), StoreError> {
        let last = Page::first(u32::try_from(RING_MAX).unwrap_or(u32::MAX));
        let last = store.events(&EventFilter::default(), &last).await?;
        let ring = Arc::new(Ring::new(last.rows.into_iter().rev().map(Event::from).collect()));
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let writer = EventWriter::new(store, waiting, Arc::clone(&ring), Arc::clone(&lost));
        Ok((Self { queue, ring, lost }, writer))
    }

    /// Tells an event. Never waits: when too many wait already, it is counted as lost.
    pub fn emit(&self, kind: EventKind, severity: Severity, subject: &str, text: &str) {
        let event = new_event(kind, severity, subject, text);
        if self.queue.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Follows the events after a sequence number, of which the last 1,000 are replayed; zero is
    /// only what comes.
    #[must_use]
    pub fn subscribe(&self, since: u64) -> Subscription {
        Subscription::new(Arc::clone(&self.ring), since)
    }
}

fn new_event(kind: EventKind, severity: Severity, subject: &str, text: &str) -> NewEvent {
    NewEvent {
        at_ms: jiff::Timestamp::now().as_millisecond(),
        kind: kind.as_str().to_owned(),
        severity,
        subject: printable(subject, SUBJECT_MAX_CHARS),
        text: printable(text, TEXT_MAX_CHARS),
        json: "{}".to_owned(),
    }
}

/// Foreign text becomes one line without control characters.
fn printable(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
