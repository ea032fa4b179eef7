//! The provider's side: an agent that stands before local engines and dials out to a Relay.
//!
//! It opens no port. On the connection that it opened it serves HTTP/2 to relayd: inference below
//! `/engine/NAME/`, on a list of routes, and the questions of `AgentService`. It uses the rooms that
//! hold no state of a Relay and nothing else: there is no store and no customer here. Its telemetry
//! tells how the engines and the host itself are, GPUs among it; a host without them says so.
//!
//! Invariants: nothing but the listed routes of this host's engines, all on loopback, can be
//! reached through it; no file of the host can be read by whoever is on the other end, and no
//! program started but those that a template of the owner's describes; headers pass in either
//! direction only by name.

mod config;
mod dial;
mod forward;
mod provision;
mod relays;
mod serve;
mod telemetry;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::{AgentConfig, ConfigError, ENGINES_MAX, EngineConfig};
pub use dial::DialError;
pub use provision::{Parameter, Template};

use crate::gpu::Sampler;
use crate::handshake::ProviderKey;
use crate::launch::Guard;
use forward::Engines;
use provision::Provision;
use relays::{Dialled, Replicas};

/// What the agent tells of itself while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A session stands.
    Connected {
        /// With which relay.
        relay: String,
        /// As whom.
        provider: String,
        /// In which state.
        state: String,
    },
    /// A session ended, or could not be had; it dials again.
    Away {
        /// Which address.
        address: String,
        /// Why.
        why: String,
    },
}

/// Why an agent ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The TLS side cannot be set up.
    #[error("{0}")]
    Setup(String),
    /// The relay will never let it in; its own words.
    #[error("the relay refuses this agent: {0}")]
    Refused(String),
}

/// Runs an agent until `stop`. `tell` hears what happens.
///
/// # Errors
/// When the relay refuses it for good, or its own settings cannot be used.
pub async fn run(
    config: AgentConfig,
    key: ProviderKey,
    version: &'static str,
    stop: CancellationToken,
    tell: impl Fn(Told) + Clone + Send + Sync + 'static,
) -> Result<(), AgentError> {
    let engines = Arc::new(Engines::new(&config.engines));
    let setup = |error: &dyn std::error::Error| AgentError::Setup(error.to_string());
    // Its threads end with it.
    let sampler = Sampler::start(&config.gpu, &config.folder).map_err(|error| setup(&error))?;
    let guard = Guard::own().map_err(|error| setup(&error))?;
    let provision = Arc::new(Provision::new(&config.templates, Arc::clone(&engines), guard));
    let asked = telemetry::Asked {
        engines: Arc::clone(&engines),
        host: sampler.host(),
        provision: Arc::clone(&provision),
        replicas: Replicas::new(),
    };
    let dialled = Dialled { config, key: Arc::new(key), version, asked };
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let (engines, stop) = (Arc::clone(&engines), stop.clone());
        async move {
            engines.watch(stop).await;
            Ok(())
        }
    });
    // The first look at the engines is over before anybody is told of them.
    engines.looked().await;
    tasks.spawn(relays::keep(dialled, stop.clone(), tell));
    let mut ended = Ok(());
    while let Some(task) = tasks.join_next().await {
        // A task that panicked says so itself.
        if let Ok(Err(error)) = task {
            ended = Err(error);
            stop.cancel();
        }
    }
    // Nobody is connected any more: what was started for the relay ends.
    provision.end_all().await;
    ended
}
