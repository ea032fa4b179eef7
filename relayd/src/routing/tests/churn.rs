//! Backends that come, go, fail and change under requests that come, wait, leave and end.

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::balance::{Class, Demand};

/// An admission of a customer and class, polled by whoever wants to know.
fn begin_as(
    router: &Router,
    scope: Scope,
    exclude: &[&str],
    (customer, class): (u64, Class),
    key: u8,
) -> Admission {
    let router = router.clone();
    let exclude: Vec<BackendId> = exclude.iter().map(|text| id(text)).collect();
    let (deadline, prefix) = (later(), Some(u64::from(key % 16)));
    let demand = Demand { input_tokens: 20 * u64::from(key), output_tokens: u64::from(key) };
    Box::pin(async move {
        let ask = Ask {
            customer: customer.into(),
            class,
            demand,
            prefix,
            ..Ask::new(&scope, &exclude, deadline)
        };
        router.admit(&ask).await
    })
}

#[tokio::test(start_paused = true)]
async fn places_are_conserved_over_long_runs() {
    for seed in 0..4 {
        assert!(conserve(seed, 10_000).await > 100, "hardly anybody was served after waiting");
    }
}

#[tokio::test(start_paused = true)]
async fn places_are_conserved_over_ten_thousand_runs() {
    let mut served_after_waiting = 0;
    for seed in 0..10_000 {
        served_after_waiting += conserve(seed, 25).await;
    }
    assert!(served_after_waiting > 1_000, "{served_after_waiting}");
}

/// Backends with room that somebody waits for although they could take him.
fn idlers(router: &Router) -> Vec<BackendId> {
    let snapshot = router.shared.fleet.snapshot();
    let desk = router.shared.desk();
    let waits_for = |backend: &Arc<Backend>| {
        desk.queue.ranks().iter().any(|rank| {
            let waiter = desk.queue.get(*rank).unwrap();
            let found = survey(&snapshot, waiter.wants.wanted(), Instant::now());
            found.fit.iter().any(|fit| fit.id() == backend.id())
        })
    };
    let idle = snapshot.backends().filter(|backend| has_room(backend) && waits_for(backend));
    idle.map(|backend| backend.id().clone()).collect()
}

/// Random steps; after each, what is counted is what is held. In the end whoever waits is served or
/// told. Gives how many were served after waiting.
async fn conserve(seed: u64, steps: usize) -> usize {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut b = BackendSpec { max_concurrency: 3, ..spec("b") };
    b.models.push(served("n"));
    let specs = vec![spec("a"), b, BackendSpec { max_concurrency: 1, weight: 7, ..spec("c") }];
    let fleet = fleet(specs.clone());
    let router = Router::new(fleet.clone(), seed);
    let scopes = [scope("direct.openai.m"), scope("direct.anthropic.m"), scope("direct.openai.n")];
    let names = ["a", "b", "c"];
    let mut permits: Vec<Permit> = Vec::new();
    let mut waiting: Vec<Admission> = Vec::new();
    let mut served_after_waiting = 0;
    for step in 0..steps {
        match rng.random_range(0..100) {
            0..45 => {
                let exclude: &[&str] = if rng.random_bool(0.2) { &["a"] } else { &[] };
                let who = (rng.random_range(0..3), Class::ALL[rng.random_range(0..4)]);
                let scope = scopes[rng.random_range(0..3)].clone();
                let mut admission = begin_as(&router, scope, exclude, who, rng.random());
                match poll(&mut admission) {
                    Some(Ok(permit)) => permits.push(permit),
                    Some(Err(_)) => {}
                    None => waiting.push(admission),
                }
            }
            45..80 if !permits.is_empty() => {
                let permit = permits.swap_remove(rng.random_range(0..permits.len()));
                match rng.random_range(0..10) {
                    0..2 => permit.report(failed()),
                    2 => permit.report(Outcome::Busy { wait: S }),
                    3 => {}
                    4 => {
                        permit.first_byte(S);
                        permit.report(failed());
                    }
                    _ => permit.report(ok()),
                }
            }
            80..88 if !waiting.is_empty() => {
                // Gone while waiting, or after being served and before knowing it.
                drop(waiting.swap_remove(rng.random_range(0..waiting.len())));
            }
            88..92 => {
                let up = rng.random_bool(0.7);
                let probe = if up { Probe::Up } else { Probe::Down("x".into()) };
                backend(&fleet, names[rng.random_range(0..3)]).runtime.probed(probe);
            }
            92..95 => {
                let intake = if rng.random_bool(0.7) { Intake::Open } else { Intake::Cordoned };
                // One of them may be missing at the moment.
                let _ = fleet.set_intake(&id(names[rng.random_range(0..3)]), intake);
            }
            95..97 => {
                let mut changed = specs.clone();
                changed[1].max_concurrency = rng.random_range(1..5);
                fleet.apply(changed).unwrap();
            }
            _ => tokio::time::advance(Duration::from_millis(rng.random_range(0..2000))).await,
        }
        if rng.random_bool(0.5) {
            router.shared.register_anew();
            router.shared.serve_all();
            assert_eq!(idlers(&router), Vec::<BackendId>::new(), "step {step}");
        }
        let mut undelivered = 0;
        waiting.retain_mut(|admission| {
            match rng.random_bool(0.5).then(|| poll(admission)).flatten() {
                Some(Ok(permit)) => {
                    served_after_waiting += 1;
                    permits.push(permit);
                    false
                }
                Some(Err(_)) => false,
                None => {
                    undelivered += 1;
                    true
                }
            }
        });
        let snapshot = fleet.snapshot();
        let (mut running, mut queued) = (0, 0);
        for backend in snapshot.backends() {
            let held =
                permits.iter().filter(|permit| permit.backend().id() == backend.id()).count();
            let counted = backend.runtime.running() as usize;
            assert!(counted >= held, "step {step}: {counted} < {held}");
            let gauged = router.shared.desk().gauges.running().get(backend.id()).copied();
            assert_eq!(gauged.unwrap_or(0) as usize, counted, "step {step}: the gauge");
            running += counted;
            queued += backend.runtime.queued() as usize;
        }
        // Whatever is not held or queued has been granted to an admission not polled since.
        assert!(running >= permits.len(), "step {step}");
        assert!(running - permits.len() + queued <= undelivered, "step {step}");
    }
    // Everything comes back: nobody is stuck.
    fleet.apply(specs).unwrap();
    for name in names {
        let _ = fleet.set_intake(&id(name), Intake::Open);
        backend(&fleet, name).runtime.probed(Probe::Up);
    }
    permits.clear();
    let mut rounds = 0;
    while !waiting.is_empty() {
        router.shared.register_anew();
        router.shared.serve_all();
        waiting.retain_mut(|admission| poll(admission).is_none());
        tokio::time::advance(S).await;
        rounds += 1;
        assert!(rounds <= 40, "{} wait for ever", waiting.len());
    }
    for backend in fleet.snapshot().backends() {
        assert_eq!(
            (backend.runtime.running(), backend.runtime.queued()),
            (0, 0),
            "{:?}",
            backend.id()
        );
    }
    assert!(router.shared.desk().gauges.running().values().all(|running| *running == 0));
    served_after_waiting
}
