//! The backends: what they are, how they are, who of them can serve what now.
//!
//! The [`Snapshot`] is immutable and swapped whole; what happens on a backend (load, health,
//! breaker, figures) lives in its [`Runtime`], which survives every swap, so that no change of
//! configuration and no probe ever resets a count of running requests. The fleet does not choose
//! among backends and holds no request: that is routing's work.
//!
//! Invariants: a backend that cannot be taken in keeps no other from it, and is told of; a count of
//! running requests goes down exactly once for each time it went up.

mod breaker;
mod drain;
mod gauges;
mod health;
mod notice;
mod providers;
mod runtime;
mod sketch;
mod spec;
#[cfg(test)]
pub(crate) mod tests;
mod uplinks;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use breaker::BreakerState;
pub(crate) use breaker::Ticket;
pub use notice::{FleetEvent, What};
pub use providers::{
    Answer, Benchmark, Canary, Conduct, ContextEvidence, Decision, Deployment, DeploymentReport,
    Dimension, Ending, EngineEvidence, EngineReport, Evidence, Greeting, IdentityEvidence,
    IdentityState, InstanceReport, Likeness, LiveProvider, Measured, Mishap, ModelEvidence, Note,
    Order, Policy, Provider, Providers, Question, Record, Refusal, RefusalKind, Report, Reputation,
    Score, Sending, Session, Standing, TakenStep, Thresholds, Token, Unanswered, Verdict, Watching,
    ask, mark,
};
pub(crate) use runtime::Fitness;
pub use runtime::{Health, LastError, Outcome, PROBES_TO_DOWN, Runtime, RuntimeView};
pub use spec::{
    ApplyError, Backend, BackendSpec, CONCURRENCY_MAX, Intake, Members, QUEUE_MAX, ServedModel,
    Snapshot, Trust, WEIGHT_MAX,
};

use crate::domain::{BackendId, ProviderId};
use crate::engines::{AgentAddress, Engine, EngineLoad, UplinkSlot};
use notice::Notices;
use uplinks::Uplinks;

/// A backend's state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateWord {
    /// Not probed yet.
    Unknown,
    /// It serves.
    Up,
    /// It loads its model.
    Loading,
    /// It does not serve.
    Down,
    /// It takes no new requests.
    Cordoned,
    /// It takes no new requests and some still run.
    Draining,
    /// It takes no new requests and none runs.
    Drained,
}

/// What a provider's agent says of one of its engines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineWord<'a> {
    /// How loaded it is.
    pub(crate) load: &'a EngineLoad,
    /// Whether it takes no more requests.
    pub(crate) withdrawn: bool,
}

/// The backends of this relayd. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Held while a new snapshot is made, so that two changes do not undo one another.
    changing: Mutex<()>,
    /// Why each backend was not taken in as it is described, as told last.
    refused: Mutex<BTreeMap<BackendId, String>>,
    notices: Notices,
    uplinks: Uplinks,
}

impl StateWord {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Loading => "loading",
            Self::Down => "down",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

impl Backend {
    /// Its state in one word; what the operator asked for outranks what probes say.
    #[must_use]
    pub fn state(&self) -> StateWord {
        match (self.spec.intake, self.runtime.health()) {
            (Intake::Cordoned, _) => StateWord::Cordoned,
            (Intake::Draining, _) if self.runtime.running() == 0 => StateWord::Drained,
            (Intake::Draining, _) => StateWord::Draining,
            (Intake::Open, Health::Unknown) => StateWord::Unknown,
            (Intake::Open, Health::Up) => StateWord::Up,
            (Intake::Open, Health::Loading) => StateWord::Loading,
            (Intake::Open, Health::Down { .. }) => StateWord::Down,
        }
    }
}

impl Backend {
    /// Begins or ends to wait for the end of what runs, where the intake changed. One that was
    /// stored as draining before relayd started has told its end already.
    fn taken_in(&self, before: &Self) {
        if self.spec.intake != before.spec.intake {
            self.runtime.drains(self.spec.intake == Intake::Draining);
        }
    }
}

impl Fleet {
    /// A fleet without backends.
    #[must_use]
    pub fn new() -> Self {
        let snapshot = ArcSwap::from_pointee(Snapshot::default());
        let (changing, notices) = (Mutex::new(()), Notices::new());
        let (refused, uplinks) = (Mutex::default(), Uplinks::default());
        Self { shared: Arc::new(Shared { snapshot, changing, refused, notices, uplinks }) }
    }

    /// All backends as they are set up now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Takes a set of backends in place of the one before. A backend that was there keeps its
    /// load, health and figures, and its connections unless it is reached differently. Reads
    /// credential files.
    ///
    /// # Errors
    /// Each backend that cannot be taken in; all others are. One that was there before stays as it
    /// was then, but for its intake: a cordon holds whatever else is wrong.
    pub fn apply(&self, specs: Vec<BackendSpec>) -> Result<(), Vec<ApplyError>> {
        let _changing = self.changing();
        let old = self.snapshot();
        let mut backends = BTreeMap::new();
        let (mut events, mut refused) = (Vec::new(), BTreeMap::new());
        for spec in specs {
            let id = spec.id.clone();
            let known = old.backend(&id);
            let built = match known {
                _ if backends.contains_key(&id) => Err(ApplyError::Twice(id.clone())),
                Some(known) if known.spec == spec => Ok(Arc::clone(known)),
                known => self.build(&spec, known).map(|built| {
                    let what = match known {
                        None => What::Added,
                        Some(known) if known.spec.is_described_as(&spec) => What::Changed,
                        Some(_) => What::Described,
                    };
                    events.push(FleetEvent { backend: id.clone(), what });
                    Arc::new(built)
                }),
            };
            match (built, known) {
                (Ok(backend), _) => {
                    backends.insert(id, backend);
                }
                (Err(error), Some(known)) if !backends.contains_key(&id) => {
                    let BackendSpec { intake, drain_until_ms, .. } = spec;
                    let kept = BackendSpec { intake, drain_until_ms, ..known.spec.clone() };
                    let kept = self.build(&kept, Some(known)).map(Arc::new);
                    backends.insert(id.clone(), kept.unwrap_or_else(|_| Arc::clone(known)));
                    refused.insert(id, error);
                }
                (Err(error), _) => {
                    refused.insert(id, error);
                }
            }
        }
        for id in old.backends.keys().filter(|id| !backends.contains_key(*id)) {
            events.push(FleetEvent { backend: id.clone(), what: What::Removed });
        }
        let fresh = Arc::new(Snapshot::new(backends));
        self.shared.snapshot.store(Arc::clone(&fresh));
        for backend in fresh.backends() {
            let before = old.backend(backend.id());
            if let Some(before) = before {
                backend.taken_in(before);
            }
            if before.is_some_and(|before| !Arc::ptr_eq(&before.engine, &backend.engine)) {
                backend.runtime.engine_replaced();
            }
        }
        events.extend(self.news_of(&refused));
        for event in events {
            self.shared.notices.tell(event);
        }
        if refused.is_empty() { Ok(()) } else { Err(refused.into_values().collect()) }
    }

    /// What of these refusals was not told yet.
    fn news_of(&self, refused: &BTreeMap<BackendId, ApplyError>) -> Vec<FleetEvent> {
        let now = refused.iter().map(|(id, error)| (id.clone(), error.to_string())).collect();
        let mut told = self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *told, now);
        let news = told.iter().filter(|(id, reason)| before.get(*id) != Some(reason));
        news.map(|(id, reason)| {
            let what = What::Refused { reason: reason.clone() };
            FleetEvent { backend: id.clone(), what }
        })
        .collect()
    }

    /// Opens or closes the intake of one backend. The stored row is the caller's business.
    ///
    /// # Errors
    /// [`ApplyError::Unknown`].
    pub fn set_intake(&self, id: &BackendId, intake: Intake) -> Result<(), ApplyError> {
        self.change(id, |spec| spec.intake = intake)
    }

    /// Sets the weight of one backend. The stored row is the caller's business.
    ///
    /// # Errors
    /// [`ApplyError::Unknown`], [`ApplyError::Bound`].
    pub fn set_weight(&self, id: &BackendId, weight: u32) -> Result<(), ApplyError> {
        self.change(id, |spec| spec.weight = weight)
    }

    /// Closes the intake of a backend and waits, at most `wait`, until nothing runs on it. Whether
    /// it is empty now.
    ///
    /// # Errors
    /// [`ApplyError::Unknown`].
    pub async fn drain(&self, id: &BackendId, wait: Duration) -> Result<bool, ApplyError> {
        self.set_intake(id, Intake::Draining)?;
        let snapshot = self.snapshot();
        let Some(backend) = snapshot.backend(id) else { return Ok(true) };
        let runtime = &backend.runtime;
        let empty = async {
            loop {
                let emptied = runtime.emptied.notified();
                if runtime.running() == 0 {
                    return;
                }
                emptied.await;
            }
        };
        Ok(tokio::time::timeout(wait, empty).await.is_ok())
    }

    /// Probes one backend now and takes the answer.
    ///
    /// # Errors
    /// [`ApplyError::Unknown`].
    pub async fn probe(&self, id: &BackendId) -> Result<Arc<Backend>, ApplyError> {
        let snapshot = self.snapshot();
        let backend = snapshot.backend(id).ok_or_else(|| ApplyError::Unknown(id.clone()))?;
        let found = backend.engine.probe().await;
        backend.runtime.probed(found);
        Ok(Arc::clone(backend))
    }

    /// Probes all backends and writes their gauges until stopped. One such task a fleet.
    pub async fn run(&self, stop: CancellationToken) {
        let probing = health::run(self, rand::random(), &stop);
        tokio::join!(probing, gauges::run(self, &stop), drain::run(self, &stop));
    }

    /// The place of a provider's connection; its engines are reached over what stands there.
    #[must_use]
    pub fn uplink(&self, provider: &ProviderId) -> Arc<UplinkSlot> {
        self.shared.uplinks.slot(provider)
    }

    /// A provider's connection came or went: its backends are asked at once, and without a
    /// connection they are down without being asked.
    pub fn uplink_changed(&self, provider: &ProviderId) {
        let here = self.uplink(provider).is_filled();
        for backend in self.snapshot().backends() {
            if backend.agent.as_ref().is_some_and(|agent| agent.provider == *provider) {
                backend.runtime.uplink_changed(here);
            }
        }
    }

    /// A provider's agent tells how loaded its engines are. It is believed only where it says that
    /// they are busier than we know, or take no more: routing adds what it says to what it counted
    /// itself, so that nobody attracts requests by telling of an idle engine.
    pub(crate) fn engines_say<'a>(
        &self,
        provider: &ProviderId,
        of: impl Fn(&str) -> Option<EngineWord<'a>>,
    ) {
        for backend in self.snapshot().backends() {
            let Some(agent) = backend.agent.as_ref().filter(|agent| agent.provider == *provider)
            else {
                continue;
            };
            if let Some(word) = of(&agent.engine) {
                backend.runtime.engine_says(*word.load);
                backend.runtime.withdrawn(word.withdrawn);
            }
        }
    }

    /// Counts changes of what backends are and how they are (not of their load and figures, which
    /// change with every request: read those when you show them).
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.notices.watch()
    }

    /// What happens to backends from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<FleetEvent> {
        self.shared.notices.events()
    }

    fn change(
        &self,
        id: &BackendId,
        edit: impl FnOnce(&mut BackendSpec),
    ) -> Result<(), ApplyError> {
        let _changing = self.changing();
        let old = self.snapshot();
        let known = old.backend(id).ok_or_else(|| ApplyError::Unknown(id.clone()))?;
        let mut spec = known.spec.clone();
        edit(&mut spec);
        if spec == known.spec {
            return Ok(());
        }
        let backend = Arc::new(self.build(&spec, Some(known))?);
        let mut backends = old.backends.clone();
        backends.insert(id.clone(), Arc::clone(&backend));
        self.shared.snapshot.store(Arc::new(Snapshot::new(backends)));
        self.shared.notices.tell(FleetEvent { backend: id.clone(), what: What::Changed });
        backend.taken_in(known);
        Ok(())
    }

    fn build(
        &self,
        spec: &BackendSpec,
        known: Option<&Arc<Backend>>,
    ) -> Result<Backend, ApplyError> {
        spec.check()?;
        let engine = match known {
            Some(known) if *known.engine.spec() == spec.engine() => Arc::clone(&known.engine),
            _ => Arc::new(self.engine(spec)?),
        };
        let runtime = match known {
            Some(known) => Arc::clone(&known.runtime),
            None => Arc::new(Runtime::new(spec.id.clone(), self.shared.notices.clone())),
        };
        let agent = spec.base_url.parse().ok();
        Ok(Backend { spec: spec.clone(), engine, runtime, agent })
    }

    fn engine(&self, spec: &BackendSpec) -> Result<Engine, ApplyError> {
        if let Ok(AgentAddress { provider, engine }) = spec.base_url.parse() {
            return Ok(Engine::over(&spec.engine(), self.uplink(&provider), &engine));
        }
        Engine::new(&spec.engine())
            .map_err(|error| ApplyError::Engine { id: spec.id.clone(), error })
    }

    fn changing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}
