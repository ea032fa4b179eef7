//! A daemon that says what a test wants, behind a door that can be shut.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::audit_service_server::{AuditService, AuditServiceServer};
use relay_proto::admin::v1::backends_service_server::{BackendsService, BackendsServiceServer};
use relay_proto::admin::v1::events_service_server::{EventsService, EventsServiceServer};
use relay_proto::admin::v1::session_service_server::{SessionService, SessionServiceServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

pub(super) type Update = Result<proto::BackendsUpdate, Status>;

/// What the daemon is to do, and what it has seen.
#[derive(Debug, Default)]
pub(super) struct Story {
    scripts: Mutex<VecDeque<Vec<Update>>>,
    apart: Mutex<Duration>,
    refusal: Mutex<Option<Status>>,
    answer: Mutex<Option<Status>>,
    pub(super) tokens: Mutex<Vec<String>>,
    pub(super) changes: Mutex<Vec<proto::Change>>,
    recorded: Mutex<Vec<String>>,
    pub(super) opened: AtomicUsize,
    closed: AtomicUsize,
    pub(super) protocol: AtomicU32,
    /// Changes are taken and never answered.
    pub(super) hang: AtomicBool,
    /// After its script a watch of backends says something new as fast as it is read.
    pub(super) flood: AtomicBool,
    pub(super) flooded: AtomicU64,
    /// The next watch of events says that some were skipped.
    pub(super) skip_events: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Daemon(Arc<Story>);

impl std::ops::Deref for Daemon {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.0
    }
}

impl Daemon {
    /// What the next watch of backends says; then it stays open and says nothing.
    pub(super) fn script(&self, updates: Vec<Update>) {
        self.scripts.lock().unwrap().push_back(updates);
    }

    pub(super) fn beats_apart(&self, apart: Duration) {
        *self.apart.lock().unwrap() = apart;
    }

    /// How "who am I" is answered from now on.
    pub(super) fn refuse(&self, status: Option<Status>) {
        *self.refusal.lock().unwrap() = status;
    }

    /// How changes are answered from now on.
    pub(super) fn answer(&self, answer: Result<(), Status>) {
        *self.answer.lock().unwrap() = answer.err();
    }

    /// Writes every change that was asked for into the audit log.
    pub(super) fn record(&self) {
        let ids = self.changes.lock().unwrap().iter().map(|c| c.request_id.clone()).collect();
        *self.recorded.lock().unwrap() = ids;
    }

    pub(super) async fn until_asked(&self) {
        until(|| !self.changes.lock().unwrap().is_empty()).await;
    }

    pub(super) async fn until_closed(&self) {
        until(|| self.closed.load(Ordering::SeqCst) > 0).await;
    }
}

async fn until(reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, waiting).await.expect("it never happened");
}

#[tonic::async_trait]
impl SessionService for Daemon {
    async fn who_am_i(
        &self,
        request: Request<proto::WhoAmIRequest>,
    ) -> Result<Response<proto::WhoAmIResponse>, Status> {
        let token = request.metadata().get("authorization").and_then(|v| v.to_str().ok());
        self.tokens.lock().unwrap().extend(token.map(str::to_owned));
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        Ok(Response::new(proto::WhoAmIResponse {
            operator: "jo".into(),
            role: proto::Role::Operator.into(),
            relay: "test".into(),
            protocol: self.protocol.load(Ordering::SeqCst).max(1),
            ..Default::default()
        }))
    }
}

#[tonic::async_trait]
impl BackendsService for Daemon {
    type WatchBackendsStream = ReceiverStream<Update>;

    async fn watch_backends(
        &self,
        _request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchBackendsStream>, Status> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let script = self.scripts.lock().unwrap().pop_front().unwrap_or_default();
        if let [Err(status)] = script.as_slice() {
            return Err(status.clone());
        }
        let apart = *self.apart.lock().unwrap();
        let (say, said) = mpsc::channel(4);
        let story = self.clone();
        tokio::spawn(async move {
            for update in script {
                if say.send(update).await.is_err() {
                    break;
                }
                tokio::time::sleep(apart).await;
            }
            while story.flood.load(Ordering::SeqCst) {
                let seq = story.flooded.fetch_add(1, Ordering::SeqCst) + 2;
                let update = delta(seq, vec![backend("a", 1)], Vec::new());
                if say.send(update).await.is_err() {
                    break;
                }
            }
            say.closed().await;
            story.closed.fetch_add(1, Ordering::SeqCst);
        });
        Ok(Response::new(ReceiverStream::new(said)))
    }

    async fn cordon_backend(
        &self,
        request: Request<proto::CordonBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        self.changes.lock().unwrap().extend(request.into_inner().change);
        if self.hang.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.answer.lock().unwrap().clone() {
            Some(status) => Err(status),
            None => Ok(Response::new(backend("vllm-a", 0))),
        }
    }

    async fn list_backends(
        &self,
        request: Request<proto::ListBackendsRequest>,
    ) -> Result<Response<proto::ListBackendsResponse>, Status> {
        let token = request.into_inner().page.unwrap_or_default().page_token;
        let (id, next_page_token) = if token.is_empty() { ("a", "more") } else { ("b", "") };
        let backends = vec![backend(id, 1)];
        let next_page_token = next_page_token.to_owned();
        Ok(Response::new(proto::ListBackendsResponse { backends, next_page_token }))
    }

    async fn get_backend(
        &self,
        _request: Request<proto::GetBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn uncordon_backend(
        &self,
        _request: Request<proto::UncordonBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn drain_backend(
        &self,
        _request: Request<proto::DrainBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn set_backend_weight(
        &self,
        _request: Request<proto::SetBackendWeightRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn probe_backend(
        &self,
        _request: Request<proto::ProbeBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl EventsService for Daemon {
    type WatchEventsStream = ReceiverStream<Result<proto::EventsUpdate, Status>>;

    async fn list_events(
        &self,
        _request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        let event = proto::Event { seq: 3, kind: "relay.started".into(), ..Default::default() };
        Ok(Response::new(proto::ListEventsResponse { events: vec![event], ..Default::default() }))
    }

    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let before = request.into_inner().since_seq + 100;
        let skipped = proto::events_update::Update::ResyncBefore(before);
        let (say, said) = mpsc::channel(1);
        let skips = self.skip_events.swap(false, Ordering::SeqCst);
        tokio::spawn(async move {
            if skips {
                let _ = say.send(Ok(proto::EventsUpdate { update: Some(skipped) })).await;
            }
            say.closed().await;
        });
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

#[tonic::async_trait]
impl AuditService for Daemon {
    async fn list_audit(
        &self,
        _request: Request<proto::ListAuditRequest>,
    ) -> Result<Response<proto::ListAuditResponse>, Status> {
        let ids = self.recorded.lock().unwrap().clone();
        let entries = ids
            .into_iter()
            .map(|request_id| proto::AuditEntry { request_id, ..Default::default() })
            .collect();
        Ok(Response::new(proto::ListAuditResponse { entries, ..Default::default() }))
    }

    async fn verify_audit(
        &self,
        _request: Request<proto::VerifyAuditRequest>,
    ) -> Result<Response<proto::VerifyAuditResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// The address of a daemon. Shut, it refuses connections and breaks those that are open, as if
/// the process had been killed.
pub(super) struct Door {
    addr: SocketAddr,
    inside: SocketAddr,
    server: JoinHandle<()>,
    passing: Option<JoinHandle<()>>,
}

impl Door {
    pub(super) async fn open(daemon: &Daemon) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = listener.local_addr().unwrap();
        let router = Server::builder()
            .add_service(SessionServiceServer::new(daemon.clone()))
            .add_service(BackendsServiceServer::new(daemon.clone()))
            .add_service(EventsServiceServer::new(daemon.clone()))
            .add_service(AuditServiceServer::new(daemon.clone()));
        let server = tokio::spawn(async move {
            router.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        let outside = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = outside.local_addr().unwrap();
        let passing = Some(tokio::spawn(pass(outside, inside)));
        Self { addr, inside, server, passing }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(super) async fn shut(&mut self) {
        if let Some(passing) = self.passing.take() {
            passing.abort();
            // Over when the listener and every connection are gone.
            let _ = passing.await;
        }
    }

    pub(super) async fn again(&mut self) {
        let outside = TcpListener::bind(self.addr).await.unwrap();
        self.passing = Some(tokio::spawn(pass(outside, self.inside)));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(passing) = &self.passing {
            passing.abort();
        }
    }
}

/// Carries bytes both ways. Its connections are its own: they break when it is aborted.
async fn pass(outside: TcpListener, inside: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = outside.accept().await {
        connections.spawn(async move {
            if let Ok(mut to) = TcpStream::connect(inside).await {
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}

pub(super) fn backend(id: &str, running: u32) -> proto::Backend {
    proto::Backend { backend_id: id.into(), running, ..Default::default() }
}

pub(super) fn snapshot(seq: u64, backends: Vec<proto::Backend>) -> Update {
    let snapshot = proto::BackendsSnapshot { backends };
    let update = Some(proto::backends_update::Update::Snapshot(snapshot));
    Ok(proto::BackendsUpdate { seq, update })
}

pub(super) fn delta(seq: u64, changed: Vec<proto::Backend>, removed: Vec<String>) -> Update {
    let delta = proto::BackendsDelta { changed, removed };
    let update = Some(proto::backends_update::Update::Delta(delta));
    Ok(proto::BackendsUpdate { seq, update })
}

pub(super) fn beat(seq: u64) -> Update {
    let beat = proto::Heartbeat { now_ms: 77 };
    let update = Some(proto::backends_update::Update::Heartbeat(beat));
    Ok(proto::BackendsUpdate { seq, update })
}
