//! Ending what still runs on a backend when the bound of its drain is over.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::notice::{FleetEvent, What};
use super::{Fleet, Intake};
use crate::domain::BackendId;

/// How often it is looked: how late an end may come.
const TICK: Duration = Duration::from_millis(250);

/// Looks after every drain with a bound until stopped. One such task a fleet.
pub(super) async fn run(fleet: &Fleet, stop: &CancellationToken) {
    let mut told = BTreeMap::new();
    while stop.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
        look(fleet, now_ms(), &mut told);
    }
}

/// Ends what runs where the time is over, and says of each drain once how much that was. What had
/// just been handed out is ended with the next look.
fn look(fleet: &Fleet, now_ms: i64, told: &mut BTreeMap<BackendId, i64>) {
    let snapshot = fleet.snapshot();
    told.retain(|id, until| {
        let drains = snapshot.backend(id).and_then(|backend| backend.spec.drain_until_ms);
        drains == Some(*until)
    });
    for backend in snapshot.backends() {
        let Some(until) = backend.spec.drain_until_ms.filter(|until| *until <= now_ms) else {
            continue;
        };
        let running = backend.runtime.running();
        if backend.spec.intake != Intake::Draining || running == 0 {
            continue;
        }
        backend.runtime.cut();
        if told.insert(backend.id().clone(), until).is_none() {
            let what = What::Cut { running };
            fleet.shared.notices.tell(FleetEvent { backend: backend.id().clone(), what });
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::spec;
    use crate::fleet::{BackendSpec, Outcome};

    #[tokio::test]
    async fn what_outlives_the_bound_is_ended_and_told_once() {
        let fleet = Fleet::new();
        let draining =
            |until| BackendSpec { intake: Intake::Draining, drain_until_ms: until, ..spec("a") };
        fleet.apply(vec![spec("a"), spec("b")]).unwrap();
        let snapshot = fleet.snapshot();
        let runtime = &snapshot.backend(&"a".parse().unwrap()).unwrap().runtime;
        let ticket = runtime.enter(tokio::time::Instant::now());
        let mut events = fleet.events();
        let mut told = BTreeMap::new();
        fleet.apply(vec![draining(Some(1_000)), spec("b")]).unwrap();
        let mut cuts = || {
            let told = std::iter::from_fn(|| events.try_recv().ok());
            told.filter(|event| matches!(event.what, What::Cut { running: 1 })).count()
        };
        look(&fleet, 999, &mut told);
        assert_eq!(cuts(), 0, "its time is not over");
        let ended = runtime.ended();
        look(&fleet, 1_000, &mut told);
        ended.await;
        look(&fleet, 1_250, &mut told);
        assert_eq!(cuts(), 1);
        runtime.leave(ticket, &Outcome::Cancelled, false);
        let ticket = runtime.enter(tokio::time::Instant::now());
        fleet.apply(vec![draining(None), spec("b")]).unwrap();
        look(&fleet, 9_000, &mut told);
        assert_eq!(cuts(), 0, "a drain without a bound waits");
        fleet.apply(vec![draining(Some(2_000)), spec("b")]).unwrap();
        look(&fleet, 2_000, &mut told);
        assert_eq!(cuts(), 1, "another drain is told of again");
        runtime.leave(ticket, &Outcome::Cancelled, false);
    }
}
