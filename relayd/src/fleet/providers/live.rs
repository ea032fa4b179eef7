//! Sessions: what is known of a provider only while its agent is connected.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{Providers, now_ms};
use crate::domain::{HostReport, ProviderId};
use crate::engines::{Filled, Uplink};
use crate::events::{EventKind, Severity};
use crate::hosts::Heard;
use crate::store::ProviderRow;

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
}

/// What an agent tells at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its engines.
    pub engines: Vec<EngineReport>,
    /// Its host; none where it tells nothing of it.
    pub host: Option<Heard>,
}

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
}

/// A session. Dropping it ends what is known of the provider, unless a newer one began.
pub struct Session {
    providers: Providers,
    row: ProviderRow,
    token: CancellationToken,
    filled: Option<Filled>,
}

impl Live {
    pub(super) fn view(&self) -> LiveProvider {
        self.view.clone()
    }

    pub(super) const fn host(&self) -> Option<&Heard> {
        self.view.host.as_ref()
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
        let live = Live { token: token.clone(), name: row.presented.name.clone(), view };
        if let Some(before) = self.live().insert(row.id.clone(), live) {
            before.end();
        }
        let filled = self.0.fleet.uplink(&row.id).fill(uplink);
        self.0.fleet.uplink_changed(&row.id);
        self.tell(EventKind::ProviderConnected, Severity::Info, &row, "is connected");
        self.changed();
        Session { providers: self.clone(), row, token, filled: Some(filled) }
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

    /// Resolves when relayd wants it to end: another session began, or a decision was made.
    pub async fn unwanted(&self) {
        self.token.cancelled().await;
    }

    /// Takes what the agent reports.
    pub fn heard(&self, report: Report) {
        let differs = {
            let mut all = self.providers.live();
            // A newer session speaks for the provider now.
            if self.token.is_cancelled() {
                return;
            }
            let Some(live) = all.get_mut(&self.row.id) else { return };
            live.view.heard_at_ms = now_ms();
            let Report { engines, host } = report;
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
