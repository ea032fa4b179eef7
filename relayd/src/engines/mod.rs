//! Speaking to inference servers.
//!
//! An [`Engine`] is one server: a dialect (its wire format), a kind (which server it is) and a
//! transport. It sends bodies that were written for its dialect, judges status, content type and
//! first event of the answer, and says of every failure who is to blame and whether another
//! server may be tried. It reads no more of an answer than that: tokens, text and usage belong to
//! the translator. It knows no customers, prices, queues or retries.
//!
//! Invariants: no header of a client reaches an engine except those on the list of
//! `transport`; no word of an engine is in an error but for the client that caused it; redirects are never followed; dropping a call or its stream cancels the
//! engine's work; an answer that began is never retried here.

mod call;
mod cause;
mod credential;
mod detect;
mod error;
mod first;
mod kind;
mod load;
mod probe;
mod reuse;
mod size;
#[cfg(test)]
mod tests;
mod timed;
mod tokenize;
mod transport;
mod uplink;

use std::path::PathBuf;
use std::sync::Arc;

pub use crate::wire::{Dialect, EngineKind, KindError};
pub use call::{ChatCall, Reply, ReplyStream, WHOLE_MAX_BYTES};
pub use detect::{DetectError, Detected, USUAL, detect, detect_usual};
pub use error::{Blame, EngineError, Message, Retry};
pub use load::EngineLoad;
pub use probe::{ListedModel, PROBE_TIMEOUT, Probe};
pub use size::{EngineSize, size};
pub use timed::Timed;
pub use transport::SetupError;
pub use uplink::{
    AgentAddress, AgentAddressError, ENGINE_NAME_MAX_BYTES, Filled, Uplink, UplinkBody, UplinkSlot,
    is_engine_name,
};

use transport::{Pool, Transport};
use uplink::Reversed;

/// How to reach an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSpec {
    /// Its origin, with a path where it is mounted under one; with or without `/v1`.
    pub base_url: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// What it is.
    pub kind: EngineKind,
    /// File with the credential it asks for: sent as a bearer token, or as `x-api-key` in
    /// Anthropic's dialect. Read when the engine is set up and again with each probe.
    pub credential_file: Option<PathBuf>,
}

/// One inference server.
#[derive(Debug)]
pub struct Engine {
    spec: EngineSpec,
    transport: Transport,
}

impl Engine {
    /// Sets up an engine. Opens no connection; reads the credential file.
    ///
    /// # Errors
    /// When the base URL is no URL of a server or the credential cannot be read.
    pub fn new(spec: &EngineSpec) -> Result<Self, SetupError> {
        let pool = Pool::new(&spec.base_url, spec.dialect, spec.credential_file.as_deref())?;
        Ok(Self { spec: spec.clone(), transport: Transport::Pool(pool) })
    }

    /// Sets up an engine behind an agent, over whatever connection stands in the slot then.
    #[must_use]
    pub fn over(spec: &EngineSpec, slot: Arc<UplinkSlot>, engine: &str) -> Self {
        Self { spec: spec.clone(), transport: Transport::Reversed(Reversed::new(slot, engine)) }
    }

    /// What it was set up from.
    #[must_use]
    pub const fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    /// What it speaks.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.spec.dialect
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> EngineKind {
        self.spec.kind
    }
}
