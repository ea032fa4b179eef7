//! The whole story on one page.

use std::time::Duration;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::overview_service_server::OverviewService;
use relay_proto::admin::v1::overview_update::Update;
use tonic::{Request, Response, Status};

use super::attention::{Waiting, about_cards, about_rollout};
use super::hosts::HostsView;
use super::providers::ProvidersView;
use super::rollouts::RolloutsView;
use crate::admin::error::status;
use crate::admin::today::Today;
use crate::admin::watch::{Shared, Watched, interval};
use crate::admin::{Streams, UpdateStream, convert, now_ms};
use crate::domain::Fault;
use crate::fleet::{Backend, Fleet, StateWord};
use crate::observe::Observe;
use crate::store::Store;

/// One page asked for by a call may be this old.
const PAGE_AGE: Duration = Duration::from_millis(250);
/// Refusals and failures above these shares of the last minute want a person.
const ERRORS_WARN_PPM: u32 = 50_000;

#[derive(Clone)]
pub(in crate::admin) struct OverviewView {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) fleet: Fleet,
    pub(in crate::admin) observe: Observe,
    pub(in crate::admin) today: Today,
    pub(in crate::admin) providers: ProvidersView,
    pub(in crate::admin) waiting: Waiting,
    pub(in crate::admin) hosts: HostsView,
    pub(in crate::admin) rollouts: RolloutsView,
}

pub(in crate::admin) struct Overview {
    pub(in crate::admin) view: Shared<OverviewView>,
    pub(in crate::admin) streams: Streams,
}

#[tonic::async_trait]
impl OverviewService for Overview {
    async fn get_overview(
        &self,
        _: Request<proto::GetOverviewRequest>,
    ) -> Result<Response<proto::Overview>, Status> {
        let view = self.view.view(PAGE_AGE).await.map_err(|fault| status(&fault))?;
        Ok(Response::new(view.as_ref().clone()))
    }

    type WatchOverviewStream = UpdateStream<proto::OverviewUpdate>;

    async fn watch_overview(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchOverviewStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.view.clone(), interval)
    }
}

impl Watched for OverviewView {
    type View = proto::Overview;
    type Update = proto::OverviewUpdate;

    async fn view(&self) -> Result<proto::Overview, Fault> {
        let snapshot = self.fleet.snapshot();
        let backends: Vec<_> = snapshot.backends().collect();
        let traffic = self.observe.traffic();
        let money = self.money().await?;
        let mut attention: Vec<_> =
            backends.iter().filter_map(|backend| about_backend(backend)).collect();
        attention.extend(self.waiting.of(&self.store, &self.providers).await?);
        attention.extend(self.hosts.view().await?.iter().flat_map(about_cards));
        let now_ms = now_ms();
        let models = self.rollouts.view().await?;
        attention.extend(models.iter().filter_map(|model| about_rollout(model, now_ms)));
        attention.extend(about_traffic(traffic.errors_ppm, traffic.shed));
        attention.extend(about_money(&money));
        attention.sort_by_key(|item| std::cmp::Reverse(item.severity));
        Ok(proto::Overview {
            traffic: Some(convert::traffic(&traffic)),
            money: Some(money),
            fleet: Some(fleet(&backends)),
            attention,
        })
    }

    fn snapshot(seq: u64, view: &proto::Overview) -> proto::OverviewUpdate {
        proto::OverviewUpdate { seq, update: Some(Update::Snapshot(view.clone())) }
    }

    fn delta(
        seq: u64,
        old: &proto::Overview,
        new: &proto::Overview,
    ) -> Option<proto::OverviewUpdate> {
        if old == new {
            return None;
        }
        let attention = (old.attention != new.attention)
            .then(|| proto::AttentionList { items: new.attention.clone() });
        let delta = proto::OverviewDelta {
            traffic: new.traffic.filter(|_| old.traffic != new.traffic),
            money: new.money.filter(|_| old.money != new.money),
            fleet: new.fleet.filter(|_| old.fleet != new.fleet),
            attention,
        };
        Some(proto::OverviewUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::OverviewUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::OverviewUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

impl OverviewView {
    async fn money(&self) -> Result<proto::Money, Fault> {
        let totals = self.store.totals().await?;
        let check = self.observe.last_check();
        Ok(proto::Money {
            charged_today_ncr: self.today.totals().await?.charged.get(),
            held_ncr: totals.held.get(),
            balances_ncr: totals.balances.get(),
            open_holds: totals.open_holds,
            checked_at_ms: check.map_or(0, |check| check.at_ms),
            breaches: check.map_or(0, |check| check.breaches),
        })
    }
}

fn fleet(backends: &[&std::sync::Arc<Backend>]) -> proto::Fleet {
    let count = |wanted: &[StateWord]| {
        let many = backends.iter().filter(|backend| wanted.contains(&backend.state())).count();
        u32::try_from(many).unwrap_or(u32::MAX)
    };
    proto::Fleet {
        backends: u32::try_from(backends.len()).unwrap_or(u32::MAX),
        up: count(&[StateWord::Up]),
        down: count(&[StateWord::Down]),
        cordoned: count(&[StateWord::Cordoned, StateWord::Draining, StateWord::Drained]),
    }
}

fn about_backend(backend: &Backend) -> Option<proto::Attention> {
    if backend.state() != StateWord::Down {
        return None;
    }
    let shown = convert::backend(backend);
    Some(proto::Attention {
        severity: proto::Severity::Critical.into(),
        text: format!("{} is down: {}", shown.backend_id, shown.state_reason),
        screen: "backends".to_owned(),
        since_ms: shown.state_since_ms,
        subject: shown.backend_id,
    })
}

fn about_traffic(errors_ppm: u32, shed: u64) -> Vec<proto::Attention> {
    let warning = |text: String| proto::Attention {
        severity: proto::Severity::Warning.into(),
        text,
        screen: "backends".to_owned(),
        ..proto::Attention::default()
    };
    let mut found = Vec::new();
    if errors_ppm > ERRORS_WARN_PPM {
        found.push(warning(format!(
            "{} % of the last minute's requests failed",
            errors_ppm / 10_000
        )));
    }
    if shed > 0 {
        found.push(warning(format!(
            "{shed} requests were refused for want of capacity in the last minute"
        )));
    }
    found
}

fn about_money(money: &proto::Money) -> Option<proto::Attention> {
    (money.breaches > 0).then(|| proto::Attention {
        severity: proto::Severity::Critical.into(),
        text: format!(
            "{} invariants of the ledger do not hold: relayd ledger audit",
            money.breaches
        ),
        screen: "events".to_owned(),
        subject: String::new(),
        since_ms: money.checked_at_ms,
    })
}
