//! The fleet as metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use super::{BreakerState, Fleet, Health};
use crate::domain::BackendId;
use crate::telemetry::names;

/// How old a gauge may be: well below any scrape interval.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the gauges of all backends until stopped.
pub(super) async fn run(fleet: &Fleet, stop: &CancellationToken) {
    let mut known = BTreeSet::new();
    loop {
        write(fleet, &mut known);
        if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}

fn write(fleet: &Fleet, known: &mut BTreeSet<BackendId>) {
    let snapshot = fleet.snapshot();
    known.retain(|id| {
        let kept = snapshot.backend(id).is_some();
        if !kept {
            // A recorder forgets nothing: what is gone reads as nothing.
            set(id, [0.0; 4]);
        }
        kept
    });
    for backend in snapshot.backends() {
        let view = backend.runtime.view();
        let up = if view.health == Health::Up { 1.0 } else { 0.0 };
        let breaker = match view.breaker {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open { .. } => 2.0,
        };
        set(backend.id(), [f64::from(view.running), f64::from(view.queued), up, breaker]);
        if !known.contains(backend.id()) {
            known.insert(backend.id().clone());
        }
    }
}

fn set(id: &BackendId, [running, queued, up, breaker]: [f64; 4]) {
    let label = || id.as_str().to_owned();
    gauge!(names::BACKEND_RUNNING, "backend" => label()).set(running);
    gauge!(names::QUEUE_DEPTH, "backend" => label()).set(queued);
    gauge!(names::BACKEND_UP, "backend" => label()).set(up);
    gauge!(names::BREAKER, "backend" => label()).set(breaker);
}
