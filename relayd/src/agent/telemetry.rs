//! What relayd may ask: how this host and its engines are.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use relay_proto::fleet::v1 as proto;
use relay_proto::fleet::v1::agent_service_server::AgentService;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::forward::{EngineFacts, Engines};
use super::provision::{self, Provision};
use super::relays::Replicas;
use crate::domain::DeclaredGpu;
use crate::engines::Probe;
use crate::gpu::LocalHost;
use crate::hosts;

/// Time between two frames.
const EVERY: Duration = Duration::from_secs(1);

/// Longest reason, in characters: a line of a screen.
const REASON_MAX_CHARS: usize = 200;

/// Whatever relayd may ask about.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) engines: Arc<Engines>,
    pub(super) host: LocalHost,
    pub(super) provision: Arc<Provision>,
    /// Hears which replicas there are.
    pub(super) replicas: Replicas,
}

pub(super) struct Telemetry {
    pub(super) asked: Asked,
    pub(super) stop: CancellationToken,
}

#[tonic::async_trait]
impl AgentService for Telemetry {
    type TelemetryStream =
        Pin<Box<dyn Stream<Item = Result<proto::TelemetryFrame, Status>> + Send>>;

    async fn telemetry(
        &self,
        _: Request<proto::TelemetryRequest>,
    ) -> Result<Response<Self::TelemetryStream>, Status> {
        let (asked, stop) = (self.asked.clone(), self.stop.clone());
        let frames = async_stream::stream! {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for seq in 1.. {
                if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                    return;
                }
                yield Ok(frame(seq, &asked));
            }
        };
        Ok(Response::new(Box::pin(frames)))
    }

    async fn replicas(
        &self,
        request: Request<proto::ReplicasRequest>,
    ) -> Result<Response<proto::ReplicasResponse>, Status> {
        let addresses = request.into_inner().addresses;
        self.asked.replicas.told(addresses).map_err(Status::invalid_argument)?;
        Ok(Response::new(proto::ReplicasResponse {}))
    }

    async fn deploy(
        &self,
        request: Request<proto::DeployRequest>,
    ) -> Result<Response<proto::DeployResponse>, Status> {
        let request = request.into_inner();
        let wish = provision::Asked {
            id: request.deployment_id,
            template: request.template,
            model: request.model,
            parameters: request.parameters.into_iter().collect(),
            replicas: request.replicas,
        };
        self.asked.provision.deploy(&wish).map_err(|why| {
            tracing::warn!(why, "a deployment is refused");
            Status::invalid_argument(why)
        })?;
        Ok(Response::new(proto::DeployResponse {}))
    }

    async fn remove(
        &self,
        request: Request<proto::RemoveRequest>,
    ) -> Result<Response<proto::RemoveResponse>, Status> {
        self.asked.provision.remove(&request.get_ref().deployment_id);
        Ok(Response::new(proto::RemoveResponse {}))
    }
}

fn frame(seq: u64, asked: &Asked) -> proto::TelemetryFrame {
    proto::TelemetryFrame {
        seq,
        sampled_at_ms: jiff::Timestamp::now().as_millisecond(),
        engines: asked.engines.facts().iter().map(state).collect(),
        host: Some(hosts::told(asked.host.report())),
        deployments: asked.provision.told(),
    }
}

fn state(facts: &EngineFacts) -> proto::EngineState {
    let cut = |why: &str| why.chars().take(REASON_MAX_CHARS).collect();
    let (state, reason) = match (&facts.seen.probe, &facts.held) {
        _ if facts.draining => ("draining", String::new()),
        // It answers and has not got its model yet.
        (Probe::Up, Some(why)) => ("loading", cut(why)),
        (Probe::Up, None) => ("up", String::new()),
        (Probe::Loading, _) => ("loading", String::new()),
        (Probe::Down(why), _) => ("down", cut(why)),
    };
    let load = facts.seen.load;
    proto::EngineState {
        name: facts.config.name.clone(),
        state: state.to_owned(),
        reason,
        running: facts.running,
        models: facts.seen.models.clone(),
        engine_running: load.running,
        engine_waiting: load.waiting,
        kv_cache_milli: load.kv_milli,
        loaded_models: load.loaded,
        deployment_id: facts.deployment.clone().unwrap_or_default(),
        kind: facts.config.kind.as_str().to_owned(),
        dialect: facts.config.dialect.as_str().to_owned(),
        max_concurrency: u32::from(facts.config.max_concurrency),
    }
}

/// How an engine is offered in a hello.
pub(super) fn offered(facts: &EngineFacts) -> proto::OfferedEngine {
    proto::OfferedEngine {
        name: facts.config.name.clone(),
        kind: facts.config.kind.as_str().to_owned(),
        dialect: facts.config.dialect.as_str().to_owned(),
        models: facts.seen.models.clone(),
        max_concurrency: u32::from(facts.config.max_concurrency),
    }
}

/// How declared cards are told in a hello.
pub(super) fn declared(gpu: &DeclaredGpu) -> proto::DeclaredGpu {
    proto::DeclaredGpu { name: gpu.name.clone(), count: gpu.count, memory_mib: gpu.memory_mib }
}
