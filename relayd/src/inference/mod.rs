//! The use case of one chat request: hold, route, dispatch, stream, settle.
//!
//! Each request has a driver, a task that no client can cancel: it owns the hold, the upstream
//! call and the settlement. The face that asked only waits for the driver's first word and then
//! reads from its bounded channel. This room must not know HTTP, the shape of an error answer or
//! any SQL.
//!
//! Invariants:
//! - nothing the engine answered is handed out before the hold that covers it is committed;
//! - after the first content there is no retry, before it at most one, on another backend;
//! - however many backends a request runs on, it is charged once, for the answer handed out;
//! - what an independent provider answered is counted by us, never by its own word;
//! - a driver settles or voids its hold exactly once, whatever happens to the client, the engine
//!   or the process's wish to stop;
//! - the final usage and the end marker are sent after the commit, content never waits for it.

mod answer;
mod canary;
mod client;
mod conduct;
mod contest;
mod copies;
mod count;
mod dispatch;
mod driver;
mod own;
mod plan;
mod profile;
mod quorum;
mod shadow;
mod stages;
mod stream;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::balance::Class;
use crate::catalogue::Offer;
use crate::domain::{Code, Execution, Fault, ModelName, RequestId};
use crate::fleet::{Conduct, Providers};
use crate::identity::Principal;
use crate::metering::Metering;
use crate::observe::Observe;
use crate::rollouts::Rollouts;
use crate::routing::Router;
use crate::telemetry::trace::TraceContext;
use crate::tokenizer::Tokenizers;
use crate::wire::ChatRequest;

use driver::Driver;

/// Frames that wait for a client at most; the engine is not read while they do.
pub const FRAMES_MAX: usize = 32;

/// What the stored keys of how models' requests are run begin with; the model's name follows.
pub const EXECUTION_SETTING: &str = "inference.execution.";

/// Time and size bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Longest wait for a backend.
    pub queue: Duration,
    /// Time to the engine's first content.
    pub first_byte: Duration,
    /// Time between two events of a stream.
    pub idle: Duration,
    /// Time for the whole request.
    pub total: Duration,
    /// A client that takes nothing for this long counts as gone.
    pub write_stall: Duration,
    /// Output tokens reserved at a time on a stream.
    pub window_tokens: u64,
}

/// One request, checked and priced.
#[derive(Debug)]
pub struct Call {
    /// Who asks.
    pub principal: Principal,
    /// The request's id; also its key in the ledger.
    pub request_id: RequestId,
    /// The body.
    pub request: ChatRequest,
    /// What is bought.
    pub offer: Arc<Offer>,
    /// What the caller's requests have in common that shall stay on one revision of the model;
    /// none where each is for itself.
    pub session: Option<Box<[u8]>>,
    /// The caller's trace.
    pub trace: TraceContext,
    /// When it gives way to others.
    pub class: Class,
    /// Its share against others of its class, from 1.
    pub weight: u32,
}

/// The answer, in the format of the request's surface.
#[derive(Debug)]
pub enum Reply {
    /// A whole body.
    Whole(Bytes),
    /// Frames, in order. The channel closes after the last one.
    Stream(mpsc::Receiver<Frame>),
}

/// A piece of a stream: bytes in the surface's format, or the fault that ends it. How a fault looks
/// inside a stream is the face's to say.
pub type Frame = Result<Bytes, Fault>;

/// Serves chat requests. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Inference(Arc<Inner>);

struct Inner {
    metering: Metering,
    rollouts: Rollouts,
    router: Router,
    observe: Observe,
    tokenizers: Tokenizers,
    conduct: Conduct,
    bounds: Bounds,
    /// How models' requests are run, where not on one backend.
    executions: ArcSwap<HashMap<ModelName, Execution>>,
    /// Copies for new revisions: owned here, ended when no new request is taken.
    shadows: TaskTracker,
    shadow_places: Arc<Semaphore>,
    drivers: TaskTracker,
    /// Fires when no new request is taken.
    closing: CancellationToken,
    /// Fires when running streams must end.
    ending: CancellationToken,
}

impl Inference {
    /// Serves with these parts.
    #[must_use]
    pub fn new(
        metering: Metering,
        rollouts: Rollouts,
        router: Router,
        observe: Observe,
        tokenizers: Tokenizers,
        conduct: Conduct,
        bounds: Bounds,
    ) -> Self {
        Self(Arc::new(Inner {
            metering,
            rollouts,
            router,
            shadows: TaskTracker::new(),
            shadow_places: shadow::places(),
            observe,
            tokenizers,
            conduct,
            bounds,
            executions: ArcSwap::default(),
            drivers: TaskTracker::new(),
            closing: CancellationToken::new(),
            ending: CancellationToken::new(),
        }))
    }

    /// Serves one request. Returns with the whole answer, or once the first content of a stream
    /// is there and paid for.
    ///
    /// A caller that drops this future, or later the receiver, has left: the engine is told to
    /// stop, and what was handed out is charged.
    ///
    /// # Errors
    /// What the caller may be told: no credit, no backend, an engine that refused or failed.
    pub async fn chat(&self, call: Call) -> Result<Reply, Fault> {
        if self.0.closing.is_cancelled() {
            return Err(stopping());
        }
        let (head, answer) = oneshot::channel();
        let driver = Driver::new(Arc::clone(&self.0), call);
        self.0.drivers.spawn(driver.run(head));
        // The driver always answers, unless it panicked.
        answer.await.unwrap_or_else(|_| Err(Fault::internal()))
    }

    /// Runs models' requests so from now on, and those of every other model on one backend.
    pub fn set_executions(&self, executions: HashMap<ModelName, Execution>) {
        self.0.executions.store(Arc::new(executions));
    }

    /// Asks the canary prompts of rollouts until stopped. One such task a process.
    pub async fn canaries(&self, stop: CancellationToken) {
        shadow::canaries(&self.0, &stop).await;
    }

    /// Asks hidden questions of the engines of providers that serve, each about once `every`, until
    /// stopped. One such task a process.
    pub async fn question(&self, providers: Providers, every: Duration, stop: CancellationToken) {
        canary::run(&self.0, &providers, every, &stop).await;
    }

    /// Requests that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.drivers.len()
    }

    /// Takes nothing new, lets what runs go on for `patience`, then ends it with an error event,
    /// and returns when every driver has settled.
    pub async fn drain(&self, patience: Duration) {
        self.0.closing.cancel();
        self.0.drivers.close();
        self.0.shadows.close();
        self.0.shadows.wait().await;
        if tokio::time::timeout(patience, self.0.drivers.wait()).await.is_err() {
            tracing::warn!(running = self.running(), "ending the streams that still run");
            self.0.ending.cancel();
            self.0.drivers.wait().await;
        }
    }
}

impl Inner {
    fn execution(&self, model: &ModelName) -> Execution {
        self.executions.load().get(model).copied().unwrap_or_default()
    }
}

fn stopping() -> Fault {
    Fault::new(Code::ServiceUnavailable, "this server is restarting, please retry").retry_after(1)
}
