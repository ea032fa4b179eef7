//! Independent owners of GPUs: who may join, how far each has come, and what is known of it.
//!
//! The store holds who they are and the decisions about them; what happens now (sessions, the
//! state of their engines) lives here and is gone with the process. A provider's engines become
//! backends by an operator's approval and by nothing else. This room knows neither TLS nor frames:
//! the face that agents dial into hands it what was proved.
//!
//! Invariants: every change of state is one that [`ProviderState::may_become`] allows, is written
//! together with the backends that it makes or removes, and tells an event; a provider that was
//! not examined is never approved; a decision against a provider ends its sessions.

mod callers;
mod canary;
mod conduct;
mod context;
mod decide;
mod declared;
mod deploy;
mod evidence;
mod examine;
mod greet;
mod identity;
mod instances;
mod live;
mod reputation;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use canary::{Answer, Likeness, Question, Sending, Token, Unanswered, Verdict, ask};
pub use conduct::{Canary, Conduct, Ending, Note, mark};
pub use decide::Decision;
pub use deploy::{Deployment, Order};
pub use evidence::{
    Benchmark, ContextEvidence, EngineEvidence, Evidence, IdentityEvidence, IdentityState,
    ModelEvidence,
};
pub use examine::Measured;
pub use greet::{Greeting, Refusal, RefusalKind};
pub use live::{DeploymentReport, EngineReport, InstanceReport, LiveProvider, Report, Session};
pub use reputation::{Dimension, Policy, Reputation, Score, Standing, Thresholds};
pub use watch::{Mishap, Record, TakenStep};

use super::Fleet;
use crate::catalogue::Catalogue;
use crate::domain::{Fault, Ncr, ProviderId, ProviderState};
use crate::events::{EventKind, Events, Severity};
use crate::identity::Identity;
use crate::store::{
    Change, Counter, ProviderEdit, ProviderLimits, ProviderRow, Store, StoreError, Trail,
};
use crate::tokenizer::Tokenizers;

/// Time between two looks at what other replicas decided.
const LOOK: Duration = Duration::from_secs(1);

/// Looks between two rankings of every provider: what other replicas saw counts here as well.
const RANK_LOOKS: u32 = 3;

/// Questions of examinations that the operator's own engines are asked at once: who is not approved
/// yet must not crowd out customers.
const REFERENCES: usize = 4;

/// How providers are watched.
#[derive(Clone, Debug, Default)]
pub struct Watching {
    /// What requests say about them.
    pub conduct: Conduct,
    /// What follows.
    pub policy: Policy,
}

/// The providers of this relayd. Cheap to clone.
#[derive(Clone)]
pub struct Providers(Arc<Inner>);

struct Inner {
    store: Store,
    identity: Identity,
    catalogue: Catalogue,
    fleet: Fleet,
    tokenizers: Tokenizers,
    events: Events,
    watching: Watching,
    callers: callers::Callers,
    /// Places for the questions of examinations to the operator's own engines.
    references: Semaphore,
    /// The answers that each gave lately.
    remembered: Mutex<HashMap<ProviderId, conduct::Remembered>>,
    live: Mutex<HashMap<ProviderId, live::Live>>,
    /// Counts what changed, of what is stored and of what is live.
    changed: tokio::sync::watch::Sender<u64>,
}

/// A provider, stored and live.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What is stored.
    pub row: ProviderRow,
    /// What was found out about it.
    pub evidence: Evidence,
    /// Its session on this replica; none while it is away.
    pub live: Option<LiveProvider>,
    /// What it earned since it joined.
    pub earned: Ncr,
    /// How it has done, as of now.
    pub record: Record,
}

impl Providers {
    /// The providers of this database and fleet.
    #[must_use]
    pub fn new(
        store: Store,
        identity: Identity,
        catalogue: Catalogue,
        fleet: Fleet,
        tokenizers: Tokenizers,
        events: Events,
        watching: Watching,
    ) -> Self {
        let (live, changed) = (Mutex::default(), tokio::sync::watch::Sender::new(0));
        Self(Arc::new(Inner {
            store,
            identity,
            catalogue,
            fleet,
            tokenizers,
            events,
            watching,
            callers: callers::Callers::default(),
            references: Semaphore::new(REFERENCES),
            remembered: Mutex::default(),
            live,
            changed,
        }))
    }

    /// Every provider, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Provider>, StoreError> {
        let rows = self.0.store.providers().await?;
        let earnings = self.0.store.earnings().await?;
        let live = self.live();
        let known = |row: ProviderRow| {
            let live = live.get(&row.id).map(live::Live::view);
            let earned = earnings.get(&row.id).copied().unwrap_or_default();
            let record = self.record(&row);
            Provider { evidence: Evidence::read(&row.evidence), live, earned, record, row }
        };
        Ok(rows.into_iter().map(known).collect())
    }

    /// One provider.
    ///
    /// # Errors
    /// [`crate::domain::Code::NotFound`], and when the store cannot be read.
    pub async fn get(&self, id: &ProviderId) -> Result<Provider, StoreError> {
        let row = self.0.store.provider(id).await?;
        let earned = self.0.store.earned(id).await?;
        let live = self.live().get(id).map(live::Live::view);
        let record = self.record(&row);
        Ok(Provider { evidence: Evidence::read(&row.evidence), live, earned, record, row })
    }

    fn record(&self, row: &ProviderRow) -> Record {
        let mut record = Record::read(&row.standing);
        let half_life_ms = self.0.watching.policy.half_life_ms;
        record.reputation = record.reputation.faded(now_ms(), half_life_ms);
        record
    }

    /// Sessions on this replica.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.live().len()
    }

    /// Follows what other replicas decide, until `stop`: a provider that may not connect any more
    /// loses its session here as well. What requests said about providers is judged meanwhile.
    pub async fn follow(self, stop: CancellationToken) {
        let mut seen = None;
        let mut reachable = true;
        for looks in 0_u32.. {
            let looked = async {
                self.judge().await?;
                if looks % RANK_LOOKS == 0 {
                    self.rank().await?;
                }
                self.look(&mut seen).await
            };
            let looked = looked.await;
            match looked {
                Ok(()) => reachable = true,
                Err(error) if reachable => {
                    reachable = false;
                    tracing::warn!(%error, "decisions about providers cannot be read");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Has routing draw each provider's backends by how far it can be relied on: the lowest of its
    /// scores' lower bounds.
    async fn rank(&self) -> Result<(), StoreError> {
        let snapshot = self.0.fleet.snapshot();
        let theirs: Vec<_> =
            snapshot.backends().filter_map(|one| Some((one.provider()?, one))).collect();
        if theirs.is_empty() {
            return Ok(());
        }
        let rows = self.0.store.providers().await?;
        let rank = |row: &ProviderRow| (row.id.clone(), self.record(row).reputation.rank());
        let ranks: HashMap<_, _> = rows.iter().map(rank).collect();
        for (provider, backend) in theirs {
            if let Some(rank) = ranks.get(&provider) {
                backend.runtime.set_rank(*rank);
            }
        }
        Ok(())
    }

    async fn look(&self, seen: &mut Option<i64>) -> Result<(), StoreError> {
        let now = self.0.store.counter(Counter::Providers).await?;
        if *seen == Some(now) {
            return Ok(());
        }
        for row in self.0.store.providers().await? {
            if !row.state.may_connect() {
                self.end_session(&row.id);
            }
        }
        *seen = Some(now);
        self.changed();
        Ok(())
    }

    /// Changes whenever something about a provider did.
    #[must_use]
    pub fn watch(&self) -> tokio::sync::watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Bounds what a provider may do.
    ///
    /// # Errors
    /// [`crate::domain::Code::NotFound`], [`crate::domain::Code::VersionConflict`].
    pub async fn limit(
        &self,
        id: &ProviderId,
        limits: ProviderLimits,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Provider, Fault> {
        let row = self.0.store.provider(id).await?;
        let edit = ProviderEdit::Limits(limits.clone());
        let mut changes = vec![Change::EditProvider { id: id.clone(), expected, edit }];
        if row.state.serves() {
            changes.extend(self.backends_of(&ProviderRow { limits, ..row }).await?);
        }
        self.0.store.write(changes, trail).await?;
        self.changed();
        self.stir(id);
        self.0.catalogue.reload().await?;
        Ok(self.get(id).await?)
    }

    fn tell(&self, kind: EventKind, severity: Severity, row: &ProviderRow, text: &str) {
        let text = format!("{} ({}) {text}", row.presented.name, row.id);
        self.0.events.emit(kind, severity, row.id.as_str(), &text);
    }

    fn changed(&self) {
        self.0.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<ProviderId, conduct::Remembered>> {
        // Every section leaves the map whole, so a panic elsewhere spoils nothing.
        self.0.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<ProviderId, live::Live>> {
        // Every section leaves the map whole, so a panic elsewhere spoils nothing.
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers").finish_non_exhaustive()
    }
}

/// The change of a provider's state that no person decides, together with what goes with it.
fn state_change(row: &ProviderRow, to: ProviderState, reason: &str) -> Change {
    let edit =
        ProviderEdit::State { from: row.state, to, reason: reason.to_owned(), at_ms: now_ms() };
    Change::EditProvider { id: row.id.clone(), expected: None, edit }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
