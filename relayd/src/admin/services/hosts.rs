//! Hosts and their GPUs: how they are, as they last told.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::hosts_service_server::HostsService;
use relay_proto::admin::v1::hosts_update::Update;
use tonic::{Request, Response, Status};

use crate::admin::error::status;
use crate::admin::watch::{Shared, Watched, difference, interval};
use crate::admin::{Streams, UpdateStream, page};
use crate::domain::{Code, Fault};
use crate::fleet::Providers;
use crate::gpu::{LOCAL, LocalHost};
use crate::hosts::shown;

/// How all hosts are now, ordered by id.
#[derive(Clone)]
pub(in crate::admin) struct HostsView {
    pub(in crate::admin) local: LocalHost,
    pub(in crate::admin) providers: Providers,
}

impl HostsView {
    fn hosts(&self) -> Vec<proto::Host> {
        let mut hosts = vec![shown(LOCAL, "", self.local.name(), self.local.report())];
        // A provider has one host and no id of its own for it.
        let theirs = self.providers.hosts().into_iter();
        hosts.extend(
            theirs.map(|(id, name, report)| shown(id.as_str(), id.as_str(), &name, report)),
        );
        hosts.sort_by(|a, b| a.host_id.cmp(&b.host_id));
        hosts
    }
}

impl Watched for HostsView {
    type View = Vec<proto::Host>;
    type Update = proto::HostsUpdate;

    async fn view(&self) -> Result<Vec<proto::Host>, Fault> {
        Ok(self.hosts())
    }

    fn snapshot(seq: u64, view: &Vec<proto::Host>) -> proto::HostsUpdate {
        let all = proto::HostsSnapshot { hosts: view.clone() };
        proto::HostsUpdate { seq, update: Some(Update::Snapshot(all)) }
    }

    fn delta(
        seq: u64,
        old: &Vec<proto::Host>,
        new: &Vec<proto::Host>,
    ) -> Option<proto::HostsUpdate> {
        let (changed, removed) = difference(old, new, |host| &host.host_id)?;
        let delta = proto::HostsDelta { changed, removed };
        Some(proto::HostsUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::HostsUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::HostsUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

pub(in crate::admin) struct Hosts {
    pub(in crate::admin) view: Shared<HostsView>,
    pub(in crate::admin) hosts: HostsView,
    pub(in crate::admin) streams: Streams,
}

#[tonic::async_trait]
impl HostsService for Hosts {
    async fn list_hosts(
        &self,
        request: Request<proto::ListHostsRequest>,
    ) -> Result<Response<proto::ListHostsResponse>, Status> {
        let asked = page::asked(request.into_inner().page).map_err(|fault| status(&fault))?;
        let all = self.hosts.hosts().into_iter();
        let (hosts, next_page_token) = page::cut(all, &asked, |host| &host.host_id);
        Ok(Response::new(proto::ListHostsResponse { hosts, next_page_token }))
    }

    async fn get_host(
        &self,
        request: Request<proto::GetHostRequest>,
    ) -> Result<Response<proto::Host>, Status> {
        let id = &request.get_ref().host_id;
        let found = self.hosts.hosts().into_iter().find(|host| host.host_id == *id);
        found.map(Response::new).ok_or_else(|| {
            // What was asked for is not repeated: it may hold anything.
            status(&Fault::new(Code::NotFound, "there is no such host"))
        })
    }

    type WatchHostsStream = UpdateStream<proto::HostsUpdate>;

    async fn watch_hosts(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchHostsStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.view.clone(), interval)
    }
}
