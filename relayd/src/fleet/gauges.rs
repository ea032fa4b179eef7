//! The fleet as metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use super::{BreakerState, Fleet, Health};
use crate::domain::BackendId;
use crate::telemetry::names;

/// How old the gauges of load may be: well below any scrape interval.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the gauges of all backends until stopped: of their health and breakers at once when they
/// change, of their load regularly.
pub(super) async fn run(fleet: &Fleet, stop: &CancellationToken) {
    let mut known = BTreeSet::new();
    let mut versions = fleet.watch();
    loop {
        versions.mark_unchanged();
        write(fleet, &mut known);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
            changed = versions.changed() => if changed.is_err() { return },
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

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::time::Instant;

    use super::*;
    use crate::engines::Probe;
    use crate::fleet::tests::spec;

    #[tokio::test(start_paused = true)]
    async fn a_change_of_health_is_seen_at_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _here = metrics::set_default_local_recorder(&recorder);
        let fleet = Fleet::new();
        fleet.apply(vec![spec("a")]).unwrap();
        let stop = CancellationToken::new();
        let began = Instant::now();
        let up = |value: &str| {
            let line = format!("relay_backend_up{{backend=\"a\"}} {value}");
            handle.render().lines().any(|found| found == line)
        };
        let checks = async {
            let snapshot = fleet.snapshot();
            let runtime = &snapshot.backend(&"a".parse().unwrap()).unwrap().runtime;
            tokio::task::yield_now().await;
            assert!(up("0"), "{}", handle.render());
            runtime.probed(Probe::Up);
            tokio::task::yield_now().await;
            assert!(up("1"), "{}", handle.render());
            assert_eq!(began.elapsed(), Duration::ZERO, "without waiting for the interval");
            stop.cancel();
        };
        tokio::join!(run(&fleet, &stop), checks);
    }
}
