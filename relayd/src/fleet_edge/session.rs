//! A session: relayd is the HTTP/2 client on the connection that the agent opened.

use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::Uri;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use relay_proto::fleet::v1 as proto;
use relay_proto::fleet::v1::agent_service_client::AgentServiceClient;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use tower::Service;

use super::Door;
use super::greeting::Greeted;
use crate::domain::{ProviderId, ProviderState};
use crate::engines::{EngineLoad, Uplink, UplinkBody};
use crate::fleet::{
    DeploymentReport, EngineReport, InstanceReport, Measured, Order, Providers, Report, Session,
};
use crate::handshake::{CONNECTION_WINDOW, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW};
use crate::hosts::{Heard, plain};

/// Largest telemetry frame, in bytes: 32 engines with 100 models each fit many times.
const FRAME_MAX_BYTES: usize = 1024 * 1024;

/// Most engines taken from a report, and most models of one.
const ENGINES_MAX: usize = 32;
const MODELS_MAX: usize = 100;

/// Most deployments taken from a report, and most lines of an instance.
const DEPLOYMENTS_MAX: usize = 16;
const LINES_MAX: usize = 5;

/// Largest count that an engine may tell of itself: no engine runs or queues a million requests.
const COUNT_MAX: u32 = 1_000_000;

/// Time for an agent to take an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two looks at what is wanted, where nothing called for one: another replica may
/// have changed it, or an order have been lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Least time between two looks, whatever an agent tells meanwhile: each reads the store.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Time between two examinations of a provider that still waits for its evidence: the shortest, and
/// the longest that it comes to while its engines leave something open.
const EXAMINE_EVERY: Duration = Duration::from_secs(5);
const EXAMINE_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Serves one provider until the connection ends, relayd stops, or a decision ends it.
pub(super) async fn run(door: &Door, greeted: Greeted, stop: &CancellationToken) {
    let providers = &door.providers;
    let Greeted { row, stream } = greeted;
    let (id, state) = (row.id.clone(), row.state);
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake::<_, UplinkBody>(TokioIo::new(stream));
    let (sender, connection) = match handshake.await {
        Ok(halves) => halves,
        Err(error) => {
            tracing::info!(provider = %id, %error, "the roles did not turn");
            return;
        }
    };
    let session = providers.open(row, Uplink::new(sender.clone()));
    tracing::info!(provider = %id, "a provider's session began");
    let why = tokio::select! {
        ended = connection => match ended {
            Ok(()) => "closed".to_owned(),
            Err(error) => error.to_string(),
        },
        () = inform(door.welcomes.replicas.clone(), sender.clone()) => "relayd stops".to_owned(),
        () = listen(&session, sender.clone()) => "it told nothing any more".to_owned(),
        () = examine(providers, &id, state) => String::new(),
        () = provision(providers, &session, sender) => String::new(),
        () = session.unwanted() => "another session or a decision ended it".to_owned(),
        () = stop.cancelled() => "relayd stops".to_owned(),
    };
    tracing::info!(provider = %id, why, "a provider's session ended");
}

/// Takes the agent's telemetry; ends when the agent sends no more.
async fn listen(session: &Session, sender: SendRequest<UplinkBody>) {
    let origin = Uri::from_static("http://agent");
    let mut client = AgentServiceClient::with_origin(Calls(sender), origin)
        .max_decoding_message_size(FRAME_MAX_BYTES);
    let mut frames = match client.telemetry(proto::TelemetryRequest {}).await {
        Ok(frames) => frames.into_inner(),
        Err(status) => {
            tracing::info!(provider = %session.provider(), code = ?status.code(), "no telemetry");
            return;
        }
    };
    while let Ok(Some(frame)) = frames.message().await {
        session.heard(report(frame));
    }
}

/// Tells the agent which replicas there are, now and at every change.
async fn inform(mut replicas: watch::Receiver<Vec<String>>, sender: SendRequest<UplinkBody>) {
    let origin = Uri::from_static("http://agent");
    let mut client = AgentServiceClient::with_origin(Calls(sender), origin);
    replicas.mark_changed();
    while replicas.changed().await.is_ok() {
        let addresses = replicas.borrow_and_update().clone();
        if let Err(status) = client.replicas(proto::ReplicasRequest { addresses }).await {
            tracing::info!(code = ?status.code(), "an agent was not told of the replicas");
        }
    }
}

/// What an agent says, bounded and fit to be shown.
fn report(frame: proto::TelemetryFrame) -> Report {
    let (at, now_ms) = (Instant::now(), jiff::Timestamp::now().as_millisecond());
    Report {
        engines: frame.engines.into_iter().take(ENGINES_MAX).map(|told| engine(&told)).collect(),
        host: frame.host.map(|host| Heard::read(host, at, now_ms)),
        deployments: frame.deployments.iter().take(DEPLOYMENTS_MAX).map(deployment).collect(),
    }
}

fn deployment(status: &proto::DeploymentStatus) -> DeploymentReport {
    let instance = |told: &proto::InstanceStatus| InstanceReport {
        engine: plain(&told.engine),
        state: plain(&told.state),
        reason: plain(&told.reason),
        lines: told.lines.iter().take(LINES_MAX).map(|line| plain(line)).collect(),
    };
    DeploymentReport {
        id: plain(&status.deployment_id),
        replicas: status.replicas,
        instances: status.instances.iter().take(ENGINES_MAX).map(instance).collect(),
    }
}

fn engine(state: &proto::EngineState) -> EngineReport {
    EngineReport {
        name: plain(&state.name),
        state: plain(&state.state),
        reason: plain(&state.reason),
        running: state.running,
        // A name that would have to be cut is no name: requests would go out under another.
        models: state
            .models
            .iter()
            .take(MODELS_MAX)
            .filter(|model| plain(model) == **model)
            .cloned()
            .collect(),
        load: EngineLoad {
            running: state.engine_running.filter(|count| *count <= COUNT_MAX),
            waiting: state.engine_waiting.filter(|count| *count <= COUNT_MAX),
            kv_milli: state.kv_cache_milli.filter(|share| *share <= 1_000),
            loaded: state.loaded_models.filter(|count| *count <= COUNT_MAX),
        },
        deployment: plain(&state.deployment_id),
        kind: plain(&state.kind),
        dialect: plain(&state.dialect),
        max_concurrency: state.max_concurrency,
    }
}

/// Examines a provider until its evidence is complete; then there is nothing more to do.
async fn examine(providers: &Providers, id: &ProviderId, mut state: ProviderState) {
    let (mut measured, mut pause) = (Measured::default(), EXAMINE_EVERY);
    while matches!(state, ProviderState::Joining | ProviderState::Probing) {
        if let Err(error) = providers.examine(id, &mut measured).await {
            tracing::warn!(provider = %id, %error, "a provider could not be examined");
        }
        state = match providers.get(id).await {
            Ok(provider) => provider.row.state,
            Err(_) => state,
        };
        sleep(pause).await;
        // Without its engines a look costs nothing.
        pause = match measured.is_whole() {
            true => EXAMINE_EVERY,
            false => (pause * 2).min(EXAMINE_AT_LEAST_EVERY),
        };
    }
    pending().await
}

/// Has the agent run what is wanted of it, and makes the backends follow; for as long as the
/// session lasts.
async fn provision(providers: &Providers, session: &Session, sender: SendRequest<UplinkBody>) {
    let origin = Uri::from_static("http://agent");
    let client = AgentServiceClient::with_origin(Calls(sender), origin);
    let provider = session.provider();
    loop {
        match providers.provision(session).await {
            Ok(orders) => {
                for order in orders {
                    give(session, client.clone(), order).await;
                }
            }
            Err(error) => {
                tracing::warn!(%provider, %error, "a provider's deployments could not be looked at");
            }
        }
        sleep(LOOK_PAUSE).await;
        tokio::select! {
            () = session.stirred() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

async fn give(session: &Session, mut client: AgentServiceClient<Calls>, order: Order) {
    let (id, version, given) = match order {
        Order::Deploy(row) => {
            let (id, version) = (row.id.clone(), row.version);
            let request = proto::DeployRequest {
                deployment_id: row.id,
                template: row.template,
                model: row.model,
                parameters: row.parameters.into_iter().collect(),
                replicas: row.replicas,
            };
            let given = timeout(ORDER_TIMEOUT, client.deploy(request)).await;
            (id, Some(version), given.map(|given| given.map(|_| ())))
        }
        Order::Remove(id) => {
            let request = proto::RemoveRequest { deployment_id: id.clone() };
            let given = timeout(ORDER_TIMEOUT, client.remove(request)).await;
            (id, None, given.map(|given| given.map(|_| ())))
        }
    };
    match (given, version) {
        (Ok(Ok(())), _) => {}
        (Ok(Err(status)), Some(version))
            if matches!(status.code(), Code::InvalidArgument | Code::Unimplemented) =>
        {
            session.refused(&id, version, plain(status.message()));
        }
        (Ok(Err(status)), _) => {
            let code = status.code();
            tracing::info!(provider = %session.provider(), id, ?code, "an order was not taken");
        }
        (Err(_), _) => {
            tracing::info!(provider = %session.provider(), id, "an order was not taken in time");
        }
    }
}

/// gRPC over the session's connection.
#[derive(Clone)]
struct Calls(SendRequest<UplinkBody>);

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let request =
            request.map(|body| body.map_err(|status| Box::new(status) as _).boxed_unsync());
        Box::pin(self.0.send_request(request))
    }
}
