//! Probing: every backend is asked how it is, at once when it is added and then regularly.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::spec::{Backend, Trust};
use super::{Fleet, Snapshot};
use crate::domain::BackendId;
use crate::engines::{Engine, Probe};

/// Time between two probes of a backend of our own, varied by a fifth.
const INTERVAL: Duration = Duration::from_secs(5);

/// The same for a commercial API, where each probe is a call to somebody else.
const INTERVAL_COMMERCIAL: Duration = Duration::from_secs(60);

/// Time to the next probe of one that just failed, or that loads.
const INTERVAL_UNSETTLED: Duration = Duration::from_secs(1);

/// One task a backend; replaced when its engine changes.
struct Prober {
    engine: Arc<Engine>,
    stop: CancellationToken,
}

/// Probes all backends of the fleet until stopped.
pub(super) async fn run(fleet: &Fleet, seed: u64, stop: &CancellationToken) {
    let mut seeds = SmallRng::seed_from_u64(seed);
    let mut probers: HashMap<BackendId, Prober> = HashMap::new();
    // Owned here; the set is emptied before this ends.
    let mut tasks = JoinSet::new();
    let mut versions = fleet.watch();
    while !stop.is_cancelled() {
        versions.mark_unchanged();
        let snapshot = fleet.snapshot();
        probers.retain(|id, prober| {
            let kept = is_current(&snapshot, id, prober);
            if !kept {
                prober.stop.cancel();
            }
            kept
        });
        for backend in snapshot.backends() {
            if !probers.contains_key(backend.id()) {
                let stop = stop.child_token();
                let engine = Arc::clone(&backend.engine);
                let rng = SmallRng::seed_from_u64(seeds.random());
                tasks.spawn(probe(Arc::clone(backend), rng, stop.clone()));
                probers.insert(backend.id().clone(), Prober { engine, stop });
            }
        }
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { break },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            () = stop.cancelled() => break,
        }
    }
    tasks.shutdown().await;
}

fn is_current(snapshot: &Snapshot, id: &BackendId, prober: &Prober) -> bool {
    let backend = snapshot.backend(id);
    backend.is_some_and(|backend| Arc::ptr_eq(&backend.engine, &prober.engine))
}

async fn probe(backend: Arc<Backend>, mut rng: SmallRng, stop: CancellationToken) {
    let runtime = &backend.runtime;
    let interval = match backend.spec.trust {
        Trust::Own | Trust::Provider => INTERVAL,
        Trust::Commercial => INTERVAL_COMMERCIAL,
    };
    loop {
        let asked = tokio::time::Instant::now();
        let Some(found) = stop.run_until_cancelled(backend.engine.probe()).await else { return };
        if found == Probe::Up {
            runtime.reached(asked.elapsed());
        }
        runtime.probed(found);
        // A provider's engines are told of by its agent, commercial ones tell nothing.
        if backend.spec.trust == Trust::Own {
            let Some(load) = stop.run_until_cancelled(backend.engine.load()).await else { return };
            runtime.engine_says(load);
        }
        let pause = if runtime.is_unsettled() { INTERVAL_UNSETTLED } else { interval };
        let pause = pause.mul_f64(rng.random_range(0.8..1.2));
        let early = async {
            // A failed request is a reason to ask, but not more than once a second.
            tokio::time::sleep(INTERVAL_UNSETTLED.min(pause)).await;
            runtime.probe_soon.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = early => {}
            () = stop.cancelled() => return,
        }
    }
}
