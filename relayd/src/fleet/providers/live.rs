//! Sessions: what is known of a provider only while its agent is connected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Providers, now_ms};
use crate::domain::{HostReport, ProviderId};
use crate::engines::{EngineLoad, Filled, Uplink};
use crate::events::{EventKind, Severity};
use crate::fleet::EngineWord;
use crate::hosts::Heard;
use crate::store::ProviderRow;

/// The agent's word for an instance that is about to go.
const DRAINING: &str = "draining";

/// How one local engine is, by the agent's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineReport {
    /// Its name on that host.
    pub name: String,
    /// up, loading or down.
    pub state: String,
    /// Why it is down.
    pub reason: String,
    /// Requests that the agent forwards to it.
    pub running: u32,
    /// What it lists.
    pub models: Vec<String>,
    /// Its queue and cache, by its own metrics.
    pub load: EngineLoad,
    /// The deployment that it is an instance of; empty for one that the provider offers.
    pub deployment: String,
    /// What an instance is and speaks, and the requests that it runs at once.
    pub kind: String,
    /// See `kind`.
    pub dialect: String,
    /// See `kind`.
    pub max_concurrency: u32,
}

/// How a deployment is, by the agent's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentReport {
    /// Which.
    pub id: String,
    /// How many instances the agent keeps.
    pub replicas: u32,
    /// Each of them.
    pub instances: Vec<InstanceReport>,
}

/// How an instance is, by the agent's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceReport {
    /// Its name among the engines.
    pub engine: String,
    /// starting, loading, pulling, up, resting or stopped.
    pub state: String,
    /// Why, or how far it is.
    pub reason: String,
    /// The last lines of its output.
    pub lines: Vec<String>,
}

/// What an agent tells at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its engines.
    pub engines: Vec<EngineReport>,
    /// Its host; none where it tells nothing of it.
    pub host: Option<Heard>,
    /// What it runs for us.
    pub deployments: Vec<DeploymentReport>,
}

/// Why an agent will not run a deployment, and in which version, by the deployment's id.
pub(super) type Refusals = HashMap<String, (u64, String)>;

/// A provider's session, as it can be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveProvider {
    /// Since when, milliseconds since the epoch.
    pub connected_at_ms: i64,
    /// When it was heard of last.
    pub heard_at_ms: i64,
    /// Its engines, as reported last.
    pub engines: Vec<EngineReport>,
    /// Its host, as told last.
    pub host: Option<Heard>,
}

/// What is kept of a session.
#[derive(Debug)]
pub(super) struct Live {
    /// Told apart from a newer session of the same provider.
    token: CancellationToken,
    /// What its host is called.
    name: String,
    view: LiveProvider,
    /// What it runs for us; none before its first word.
    deployments: Option<Vec<DeploymentReport>>,
    refusals: Refusals,
    /// What is wanted or what is told of deployments changed.
    stirred: Arc<Notify>,
}

/// A session. Dropping it ends what is known of the provider, unless a newer one began.
pub struct Session {
    providers: Providers,
    row: ProviderRow,
    token: CancellationToken,
    stirred: Arc<Notify>,
    filled: Option<Filled>,
}

impl Live {
    pub(super) fn view(&self) -> LiveProvider {
        self.view.clone()
    }

    pub(super) const fn host(&self) -> Option<&Heard> {
        self.view.host.as_ref()
    }

    /// What it runs for us and what it refused; none before its first word.
    pub(super) fn deployed(&self) -> Option<(Vec<DeploymentReport>, Refusals)> {
        Some((self.deployments.clone()?, self.refusals.clone()))
    }

    /// Keeps why a version of a deployment is not run; whether that version was refused before.
    pub(super) fn refuse(&mut self, id: &str, refusal: (u64, String)) -> bool {
        let version = refusal.0;
        let before = self.refusals.insert(id.to_owned(), refusal);
        before.is_some_and(|(refused, _)| refused == version)
    }

    pub(super) fn end(&self) {
        self.token.cancel();
    }
}

impl Providers {
    /// Begins a session over a connection; it ends the one before of the same provider.
    #[must_use]
    pub fn open(&self, row: ProviderRow, uplink: Uplink) -> Session {
        let token = CancellationToken::new();
        let connected_at_ms = now_ms();
        let view = LiveProvider {
            connected_at_ms,
            heard_at_ms: connected_at_ms,
            ..LiveProvider::default()
        };
        let stirred = Arc::new(Notify::new());
        let live = Live {
            token: token.clone(),
            name: row.presented.name.clone(),
            view,
            deployments: None,
            refusals: Refusals::new(),
            stirred: Arc::clone(&stirred),
        };
        if let Some(before) = self.live().insert(row.id.clone(), live) {
            before.end();
        }
        let filled = self.0.fleet.uplink(&row.id).fill(uplink);
        self.0.fleet.uplink_changed(&row.id);
        self.tell(EventKind::ProviderConnected, Severity::Info, &row, "is connected");
        self.changed();
        Session { providers: self.clone(), row, token, stirred, filled: Some(filled) }
    }

    /// The hosts of all providers whose agents are connected and tell of them: whose, what it is
    /// called, and how it is.
    #[must_use]
    pub fn hosts(&self) -> Vec<(ProviderId, String, HostReport)> {
        let now = Instant::now();
        let all = self.live();
        let told = all.iter().filter_map(|(id, live)| {
            let host = live.view.host.as_ref()?;
            Some((id.clone(), live.name.clone(), host.report(now)))
        });
        told.collect()
    }

    /// What is wanted of a provider's agent changed: its session looks at once.
    pub(super) fn stir(&self, id: &ProviderId) {
        if let Some(live) = self.live().get(id) {
            live.stirred.notify_one();
        }
    }

    /// Ends the session of a provider, if there is one.
    pub(super) fn end_session(&self, id: &ProviderId) {
        if let Some(live) = self.live().get(id) {
            live.end();
        }
    }
}

impl Session {
    /// Whose it is.
    #[must_use]
    pub const fn provider(&self) -> &ProviderId {
        &self.row.id
    }

    /// Whether it offered an engine of that name when it greeted.
    pub(super) fn offers(&self, engine: &str) -> bool {
        self.row.presented.engines.iter().any(|offer| offer.name == engine)
    }

    /// Resolves when relayd wants it to end: another session began, or a decision was made.
    pub async fn unwanted(&self) {
        self.token.cancelled().await;
    }

    /// Resolves when what is wanted of the agent, or what it tells of deployments, changed.
    pub async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// The agent will not run a deployment of that version.
    pub fn refused(&self, id: &str, version: u64, why: String) {
        let text = format!("refuses deployment {id}: {why}");
        self.providers.tell(EventKind::DeploymentRefused, Severity::Warning, &self.row, &text);
        let mut all = self.providers.live();
        if let Some(live) = all.get_mut(&self.row.id) {
            live.refuse(id, (version, why));
        }
    }

    /// Takes what the agent reports.
    pub fn heard(&self, report: Report) {
        let engine = |name: &str| report.engines.iter().find(|engine| engine.name == name);
        let word = |name: &str| {
            let engine = engine(name)?;
            Some(EngineWord { load: &engine.load, withdrawn: engine.is_withdrawn() })
        };
        if !self.token.is_cancelled() {
            self.providers.0.fleet.engines_say(&self.row.id, word);
        }
        let differs = {
            let mut all = self.providers.live();
            // A newer session speaks for the provider now.
            if self.token.is_cancelled() {
                return;
            }
            let Some(live) = all.get_mut(&self.row.id) else { return };
            live.view.heard_at_ms = now_ms();
            let Report { engines, host, deployments } = report;
            let same = live.deployments.as_deref().is_some_and(|before| {
                told(before).eq(told(&deployments))
                    && instances(&live.view.engines).eq(instances(&engines))
            });
            if !same {
                live.stirred.notify_one();
            }
            live.deployments = Some(deployments);
            // A host changes with every word; who watches hosts asks for them at their own pace.
            live.view.host = host;
            let differs = live.view.engines != engines;
            live.view.engines = engines;
            differs
        };
        if differs {
            self.providers.changed();
        }
    }
}

impl EngineReport {
    /// Whether it is an instance that is about to go or has no places: nothing is to be sent to it,
    /// although it may answer still.
    pub(super) fn is_withdrawn(&self) -> bool {
        !self.deployment.is_empty() && (self.state == DRAINING || self.max_concurrency == 0)
    }
}

/// What of an agent's instances decides about backends.
fn instances(engines: &[EngineReport]) -> impl Iterator<Item = (&str, &str, u32, &[String])> {
    let ours = engines.iter().filter(|engine| !engine.deployment.is_empty());
    ours.map(|engine| {
        let EngineReport { name, state, max_concurrency, models, .. } = engine;
        (name.as_str(), state.as_str(), *max_concurrency, models.as_slice())
    })
}

/// What of its deployments decides about orders.
fn told(deployments: &[DeploymentReport]) -> impl Iterator<Item = (&str, u32)> {
    deployments.iter().map(|told| (told.id.as_str(), told.replicas))
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.filled.take());
        if self.token.is_cancelled() {
            // Ended by us: by a newer session, whose entry stays, or by a decision.
            let mut all = self.providers.live();
            if all.get(&self.row.id).is_some_and(|live| live.token.is_cancelled()) {
                all.remove(&self.row.id);
            }
        } else {
            self.providers.live().remove(&self.row.id);
        }
        let fleet = &self.providers.0.fleet;
        fleet.uplink_changed(&self.row.id);
        if !fleet.uplink(&self.row.id).is_filled() {
            let kind = EventKind::ProviderDisconnected;
            self.providers.tell(kind, Severity::Warning, &self.row, "is not connected any more");
        }
        self.providers.changed();
    }
}
