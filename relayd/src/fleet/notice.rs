//! Telling the rest of relayd what changed in the fleet.

use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::domain::BackendId;

/// Events kept for a slow reader. Every backend of a large fleet may change at once; a reader
/// that falls further behind is told that it missed some.
const EVENTS_KEPT: usize = 1024;

/// Something happened to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetEvent {
    /// Which.
    pub backend: BackendId,
    /// What.
    pub what: What,
}

/// What happened to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was added.
    Added,
    /// An operator changed its intake or weight, or its row was written again.
    Changed,
    /// Its description changed: where it is, what it serves, how much.
    Described,
    /// It was being emptied, and nothing runs on it any more.
    Drained,
    /// It was being emptied for as long as was allowed, and what still ran was ended.
    Cut {
        /// Requests that ran.
        running: u32,
    },
    /// It was removed.
    Removed,
    /// It cannot be set up as it is described.
    Refused {
        /// Why.
        reason: String,
    },
    /// It began to serve.
    Up,
    /// It began to load its model.
    Loading,
    /// It ceased to serve.
    Down {
        /// Why, in one line.
        reason: String,
    },
    /// Its breaker opened.
    BreakerOpened {
        /// For how long.
        time: Duration,
    },
    /// Its breaker closed.
    BreakerClosed,
}

/// Counts changes for those who read the whole, and hands events to those who want each.
#[derive(Clone, Debug)]
pub(crate) struct Notices {
    version: watch::Sender<u64>,
    events: broadcast::Sender<FleetEvent>,
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self { version: watch::Sender::new(0), events: broadcast::Sender::new(EVENTS_KEPT) }
    }

    pub(crate) fn tell(&self, event: FleetEvent) {
        let backend = event.backend.as_str();
        match &event.what {
            What::Down { reason } => tracing::warn!(backend, reason, "backend is down"),
            What::BreakerOpened { time } => {
                tracing::warn!(backend, seconds = time.as_secs(), "breaker opened");
            }
            what => tracing::info!(backend, ?what, "backend changed"),
        }
        // Nobody listening is no error.
        let _ = self.events.send(event);
        self.bump();
    }

    pub(crate) fn bump(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<FleetEvent> {
        self.events.subscribe()
    }
}
