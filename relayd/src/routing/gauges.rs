//! What routing knows of each backend's load and speed, and the choice that follows from it.
//!
//! The rules are those of the balancing crate; here they meet the fleet: names, weights, breakers
//! and the clock. Everything is under the desk's lock.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::ask::Claim;
use crate::balance::{
    Dice, EngineLoad, Gauge, Hasher, Load, Member, Policy, Question, Taken, queue_wait_us,
    retry_after_s,
};
use crate::domain::{BackendId, ModelName};
use crate::fleet::{Backend, Outcome, Snapshot};

/// What a client is told to wait before anybody has shown how fast he works, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// One gauge a backend of the fleet, one turn and at most one policy a model.
pub(super) struct Gauges {
    began: Instant,
    dice: Dice,
    gauges: HashMap<BackendId, Entry>,
    turns: HashMap<ModelName, u64>,
    policies: HashMap<ModelName, Policy>,
}

struct Entry {
    gauge: Gauge,
    key: u64,
    /// Whether it took requests when the fleet was looked at last.
    fit: bool,
}

impl Entry {
    fn new(id: &BackendId) -> Self {
        let key = Hasher::new().part(id.as_str().as_bytes()).end();
        Self { gauge: Gauge::new(), key, fit: false }
    }
}

impl Gauges {
    /// Nothing is known yet. Choices follow from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            began: Instant::now(),
            dice: Dice::new(seed),
            gauges: HashMap::new(),
            turns: HashMap::new(),
            policies: HashMap::new(),
        }
    }

    pub(super) fn set_policies(&mut self, policies: HashMap<ModelName, Policy>) {
        self.policies = policies;
    }

    /// After the fleet changed: whoever takes requests again starts slowly, who is gone is
    /// forgotten. Those of the first look start as they are: there is nobody to spare them for.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, now: Instant) {
        let (first, at) = (self.gauges.is_empty(), self.at(now));
        self.gauges.retain(|id, _| snapshot.backend(id).is_some());
        for backend in snapshot.backends() {
            let fit = backend.is_open() && backend.runtime.is_fit(now);
            let entry = self.entry(backend.id());
            if fit && !entry.fit && !first {
                entry.gauge.came(at);
            }
            entry.fit = fit;
        }
    }

    /// Who of those that have room takes the request.
    pub(super) fn choose<'a>(
        &mut self,
        free: &[&'a Arc<Backend>],
        model: &ModelName,
        claim: &Claim,
        now: Instant,
    ) -> Option<&'a Arc<Backend>> {
        let members: Vec<Member> =
            free.iter().map(|backend| self.member(backend, claim, now)).collect();
        let question =
            Question { demand: claim.demand, prefix: claim.prefix, session: claim.session };
        let policy = self.policies.get(model).copied().unwrap_or_default();
        if !self.turns.contains_key(model) {
            self.turns.insert(model.clone(), 0);
        }
        let turn = self.turns.get_mut(model)?;
        policy.choose(&members, &question, turn, &mut self.dice).map(|place| free[place])
    }

    /// A request begins to run.
    pub(super) fn enter(&mut self, id: &BackendId, claim: &Claim, now: Instant) -> Taken {
        let at = self.at(now);
        self.entry(id).gauge.enter(&claim.demand, claim.prefix, at)
    }

    /// Its answer begins.
    pub(super) fn begun(&mut self, id: &BackendId, taken: &mut Taken, ttft_us: u64, now: Instant) {
        let at = self.at(now);
        if let Some(entry) = self.gauges.get_mut(id) {
            entry.gauge.begun(taken, ttft_us, at);
        }
    }

    /// It ends. Speed is told by what answered, in the terms in which it was expected, so that
    /// waits are predicted in the same terms.
    pub(super) fn leave(
        &mut self,
        id: &BackendId,
        mut taken: Taken,
        claim: &Claim,
        outcome: &Outcome,
        now: Instant,
    ) {
        let at = self.at(now);
        // One that is gone has no figures to keep.
        let Some(entry) = self.gauges.get_mut(id) else { return };
        let used = match outcome {
            Outcome::Ok { ttft } => {
                entry.gauge.begun(&mut taken, micros(*ttft), at);
                Some(claim.demand)
            }
            Outcome::BackendFailed { .. }
            | Outcome::Doubtful { .. }
            | Outcome::Busy { .. }
            | Outcome::ClientFault
            | Outcome::Cancelled => None,
        };
        entry.gauge.leave(taken, used, at);
    }

    /// The expected wait behind so much work on these backends, in microseconds; none before any of
    /// them has shown how fast it works.
    pub(super) fn wait_us(&self, on: &[&Arc<Backend>], ahead: u64, now: Instant) -> Option<u64> {
        let at = self.at(now);
        let load = |backend: &&Arc<Backend>| -> Option<(Load, u32)> {
            let entry = self.gauges.get(backend.id())?;
            Some((entry.gauge.load(at), backend.spec.max_concurrency))
        };
        queue_wait_us(&on.iter().filter_map(load).collect::<Vec<_>>(), ahead)
    }

    /// When to come again, in seconds, with so much work waiting.
    pub(super) fn retry_after_s(&self, on: &[&Arc<Backend>], ahead: u64, now: Instant) -> u32 {
        self.wait_us(on, ahead, now).map_or(RETRY_AFTER_S, retry_after_s)
    }

    fn member(&mut self, backend: &Backend, claim: &Claim, now: Instant) -> Member {
        let at = self.at(now);
        let told = backend.runtime.engine_load().map(|(load, when)| EngineLoad {
            running: load.running.unwrap_or(0),
            waiting: load.waiting.unwrap_or(0),
            kv_milli: load.kv_milli.unwrap_or(0),
            at: self.at(when),
        });
        let entry = self.entry(backend.id());
        if let Some(load) = told {
            entry.gauge.engine_load(load);
        }
        Member {
            key: entry.key,
            weight: backend.effective_weight(),
            running: backend.runtime.running(),
            slots: backend.spec.max_concurrency,
            load: entry.gauge.load(at),
            warm: claim.prefix.is_some_and(|prefix| entry.gauge.is_warm(prefix)),
            distance_us: backend.runtime.distance().map_or(0, micros),
            on_trial: backend.runtime.is_on_trial(now),
        }
    }

    fn entry(&mut self, id: &BackendId) -> &mut Entry {
        self.gauges.entry(id.clone()).or_insert_with(|| Entry::new(id))
    }

    /// The balancing crate's clock.
    fn at(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.began))
    }

    /// Requests that the gauges count.
    #[cfg(test)]
    pub(super) fn running(&self) -> HashMap<BackendId, u32> {
        self.gauges.iter().map(|(id, entry)| (id.clone(), entry.gauge.running())).collect()
    }
}

pub(super) fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
