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

use super::config::DeclaredGpu;
use super::forward::{EngineFacts, Engines};
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
}

fn frame(seq: u64, asked: &Asked) -> proto::TelemetryFrame {
    proto::TelemetryFrame {
        seq,
        sampled_at_ms: jiff::Timestamp::now().as_millisecond(),
        engines: asked.engines.facts().map(|facts| state(&facts)).collect(),
        host: Some(hosts::told(asked.host.report())),
    }
}

fn state(facts: &EngineFacts<'_>) -> proto::EngineState {
    let (state, reason) = match &facts.seen.probe {
        Probe::Up => ("up", String::new()),
        Probe::Loading => ("loading", String::new()),
        Probe::Down(why) => ("down", why.chars().take(REASON_MAX_CHARS).collect()),
    };
    proto::EngineState {
        name: facts.config.name.clone(),
        state: state.to_owned(),
        reason,
        running: facts.running,
        models: facts.seen.models.clone(),
    }
}

/// How an engine is offered in a hello.
pub(super) fn offered(facts: &EngineFacts<'_>) -> proto::OfferedEngine {
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
    proto::DeclaredGpu {
        name: gpu.name.clone(),
        count: gpu.count,
        memory_mib: gpu.memory_mib.unwrap_or(0),
    }
}
