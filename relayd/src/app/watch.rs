//! What a running process looks after by itself: its health and the ledger's invariants.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::events::{EventKind, Events, Severity};
use crate::observe::Observe;
use crate::ops::Readiness;
use crate::store::{Store, audit};
use crate::telemetry::names;

/// Time between two questions to the database.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Longest answer of a healthy database.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the database whether it lives, until `stop`, and says so.
pub(super) async fn health(
    store: Store,
    readiness: Readiness,
    healthy: watch::Sender<bool>,
    events: Events,
    stop: CancellationToken,
) {
    loop {
        let answered = tokio::time::timeout(PING_TIMEOUT, store.ping()).await;
        let lives = matches!(answered, Ok(Ok(())));
        healthy.send_if_modified(|now| {
            let next = lives && !readiness.is_draining();
            let changed = *now != next;
            if changed && !readiness.is_draining() {
                if next {
                    events.emit(
                        EventKind::StoreRecovered,
                        Severity::Info,
                        "",
                        "the database answers",
                    );
                } else {
                    tracing::error!("the database does not answer");
                    let text = "the database does not answer: new requests are refused";
                    events.emit(EventKind::StoreUnavailable, Severity::Critical, "", text);
                }
            }
            *now = next;
            changed
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PING_EVERY) => {}
        }
    }
}

/// Checks the ledger's invariants at once and then at every interval, until `stop`.
pub(super) async fn ledger(
    store: Store,
    every: Duration,
    observe: Observe,
    events: Events,
    stop: CancellationToken,
) {
    loop {
        match audit::verify(&store).await {
            Ok(report) => {
                let breaches = u64::try_from(report.breaches.len()).unwrap_or(u64::MAX);
                metrics::gauge!(names::BREACHES).set(u32::try_from(breaches).unwrap_or(u32::MAX));
                if breaches > 0 {
                    tracing::error!(breaches, "invariants of the ledger do not hold");
                    let text = format!("{breaches} breaches: run relayd ledger audit");
                    events.emit(EventKind::LedgerBreach, Severity::Critical, "ledger", &text);
                } else {
                    events.emit(
                        EventKind::LedgerChecked,
                        Severity::Info,
                        "ledger",
                        "every invariant holds",
                    );
                }
                observe.ledger_checked(breaches);
            }
            Err(error) => tracing::warn!(%error, "the ledger could not be checked"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}
