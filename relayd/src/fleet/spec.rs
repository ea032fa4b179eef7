//! What a backend is: its description, and the immutable picture of all of them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::{BackendId, Mode, ModelName, ProviderId, Scope, Source};
use crate::engines::{AgentAddress, Dialect, Engine, EngineKind, EngineSpec};

use super::runtime::Runtime;

/// Largest weight.
pub const WEIGHT_MAX: u32 = 1000;

/// Most requests that one backend may run at once.
pub const CONCURRENCY_MAX: u32 = 65_535;

/// Most requests that may wait for one backend.
pub const QUEUE_MAX: u32 = 65_535;

/// Whether a backend takes new requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Intake {
    /// It does.
    #[default]
    Open,
    /// It does not; what runs goes on.
    Cordoned,
    /// It does not, and is to be empty; with nothing running it is drained.
    Draining,
}

/// Who runs a backend and is believed how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The operator: its counts are ours.
    Own,
    /// A commercial API that bills for what it runs, also when nobody reads it.
    Commercial,
    /// An independent provider, reached over its own connection.
    Provider,
}

/// One model on a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    /// The Relay name.
    pub model: ModelName,
    /// What the engine calls it.
    pub upstream: String,
    /// The families of routes it serves there.
    pub sources: Vec<Source>,
}

/// A backend as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSpec {
    /// Its name.
    pub id: BackendId,
    /// Its origin, with or without `/v1`.
    pub base_url: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// What it is.
    pub kind: EngineKind,
    /// File with the credential it asks for.
    pub credential_file: Option<PathBuf>,
    /// What it serves.
    pub models: Vec<ServedModel>,
    /// Requests it runs at once, 1 to [`CONCURRENCY_MAX`].
    pub max_concurrency: u32,
    /// Requests that may wait for it, at most [`QUEUE_MAX`].
    pub queue_limit: u32,
    /// Its share against other backends, 0 to [`WEIGHT_MAX`]; 0 takes no new requests.
    pub weight: u32,
    /// Who runs it.
    pub trust: Trust,
    /// Whether it takes new requests.
    pub intake: Intake,
    /// When a drain ends what still runs, milliseconds since the epoch; none lets it run to its end.
    pub drain_until_ms: Option<i64>,
    /// The deployment that it is an instance of; empty where it is none.
    pub deployment: String,
    /// Version of its row, for changes that name the version they saw.
    pub version: u64,
}

/// The backends that a request is for, where not all that serve its model are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// These.
    pub backends: Vec<BackendId>,
    /// And whatever instances this deployment has.
    pub deployment: Option<String>,
}

impl Members {
    /// Whether a backend is one of them.
    #[must_use]
    pub fn holds(&self, backend: &Backend) -> bool {
        self.backends.contains(backend.id())
            || self.deployment.as_ref().is_some_and(|ours| *ours == backend.spec.deployment)
    }
}

impl BackendSpec {
    /// Whether another differs at most in what operators do day by day: intake and weight.
    pub(crate) fn is_described_as(&self, other: &Self) -> bool {
        let Self { intake, drain_until_ms, weight, version, .. } = *other;
        Self { intake, drain_until_ms, weight, version, ..self.clone() } == *other
    }
}

/// A backend that can be called. The description never changes; the runtime is shared by all
/// pictures the backend is in.
#[derive(Debug)]
pub struct Backend {
    /// What it was made from.
    pub spec: BackendSpec,
    /// How to call it.
    pub engine: Arc<Engine>,
    /// What happens on it.
    pub runtime: Arc<Runtime>,
    /// Where it is, if an agent fronts it.
    pub(super) agent: Option<AgentAddress>,
}

/// The backends of one scope.
pub(crate) type Pool = Arc<[Arc<Backend>]>;

/// The same while it is put together.
type Gathered = (Source, Vec<Arc<Backend>>);

/// All backends at one moment. Never changes; a change makes a new one.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub(crate) backends: BTreeMap<BackendId, Arc<Backend>>,
    pools: HashMap<ModelName, Vec<(Source, Pool)>>,
}

/// Why a backend was not taken in or not changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Two have one name.
    #[error("backend '{0}' is given twice")]
    Twice(BackendId),
    /// A number is out of its bounds.
    #[error("backend '{id}': {what} is {is}, allowed are {least} to {most}")]
    Bound {
        /// Which backend.
        id: BackendId,
        /// Which number.
        what: &'static str,
        /// What it is.
        is: u32,
        /// The least allowed.
        least: u32,
        /// The most allowed.
        most: u32,
    },
    /// Its engine cannot be set up.
    #[error("backend '{id}': {error}")]
    Engine {
        /// Which backend.
        id: BackendId,
        /// Why.
        error: crate::engines::SetupError,
    },
    /// No backend of that name.
    #[error("no backend '{0}'")]
    Unknown(BackendId),
}

impl BackendSpec {
    /// How to reach its engine.
    #[must_use]
    pub fn engine(&self) -> EngineSpec {
        EngineSpec {
            base_url: self.base_url.clone(),
            dialect: self.dialect,
            kind: self.kind,
            credential_file: self.credential_file.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ApplyError> {
        let bounds = [
            ("max_concurrency", self.max_concurrency, 1, CONCURRENCY_MAX),
            ("queue_limit", self.queue_limit, 0, QUEUE_MAX),
            ("weight", self.weight, 0, WEIGHT_MAX),
        ];
        match bounds.into_iter().find(|(_, is, least, most)| !(least..=most).contains(&is)) {
            None => Ok(()),
            Some((what, is, least, most)) => {
                Err(ApplyError::Bound { id: self.id.clone(), what, is, least, most })
            }
        }
    }
}

impl Backend {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &BackendId {
        &self.spec.id
    }

    /// What its engine calls a model; `None` when it does not serve it.
    #[must_use]
    pub fn upstream(&self, model: &ModelName) -> Option<&str> {
        let served = self.spec.models.iter().find(|served| served.model == *model);
        served.map(|served| served.upstream.as_str())
    }

    /// The independent provider whose engine it is.
    #[must_use]
    pub fn provider(&self) -> Option<ProviderId> {
        self.agent.as_ref().map(|agent| agent.provider.clone())
    }

    /// The weight by which it is drawn now: its own, less by how far it can be relied on. One that
    /// takes requests at all keeps a share, so that it can show what it does.
    #[must_use]
    pub fn effective_weight(&self) -> u32 {
        let weighed = u64::from(self.spec.weight) * u64::from(self.runtime.rank()) / 1_000;
        u32::try_from(weighed).unwrap_or(u32::MAX).max(self.spec.weight.min(1))
    }

    /// Whether its description lets new requests in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.spec.intake == Intake::Open && self.spec.weight > 0
    }
}

impl Snapshot {
    pub(crate) fn new(backends: BTreeMap<BackendId, Arc<Backend>>) -> Self {
        let mut members: HashMap<ModelName, Vec<Gathered>> = HashMap::new();
        for backend in backends.values() {
            for served in &backend.spec.models {
                let pools = members.entry(served.model.clone()).or_default();
                for source in &served.sources {
                    let place = pools.iter().position(|(of, _)| of == source);
                    let place = place.unwrap_or_else(|| {
                        pools.push((*source, Vec::new()));
                        pools.len() - 1
                    });
                    let pool = &mut pools[place].1;
                    if !pool.iter().any(|member| member.id() == backend.id()) {
                        pool.push(Arc::clone(backend));
                    }
                }
            }
        }
        let shared = |pools: Vec<Gathered>| {
            pools.into_iter().map(|(source, pool)| (source, pool.into())).collect()
        };
        let pools = members.into_iter().map(|(model, pools)| (model, shared(pools))).collect();
        Self { backends, pools }
    }

    /// All backends, by name.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.backends.values()
    }

    /// The backend of that name.
    #[must_use]
    pub fn backend(&self, id: &BackendId) -> Option<&Arc<Backend>> {
        self.backends.get(id)
    }

    /// The backends that are set up to serve a scope, in whatever state they are. Empty for
    /// scopes that are not served by calling a backend.
    #[must_use]
    pub fn serving(&self, scope: &Scope) -> &[Arc<Backend>] {
        if scope.mode != Mode::Direct {
            return &[];
        }
        let pools = self.pools.get(&scope.model).map_or(&[][..], Vec::as_slice);
        pools.iter().find(|(source, _)| *source == scope.source).map_or(&[], |(_, pool)| pool)
    }
}
