//! From an admitted request to the engine's first content, with one retry elsewhere before it.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use super::Inner;
use super::answer::{self, Whole};
use super::task::Task;
use super::{conduct, stages};
use crate::domain::{BackendId, Code, Fault, FieldError};
use crate::engines::{Blame, ChatCall, EngineError, Reply, ReplyStream, Retry, Timed};
use crate::fleet::{Outcome, Trust};
use crate::observe::LiveRequest;
use crate::rollouts::{Assignment, SampleEnd};
use crate::routing::{Permit, Refusal};
use crate::telemetry::{names, trace};
use crate::wire::{Defaults, Translator, Upstream, WireError};

/// Attempts at most: the first, and one more, elsewhere unless the first went into a connection
/// that the backend had closed.
const ATTEMPTS_MAX: u32 = 2;

/// An answer that has begun.
pub(super) struct Begun {
    /// The revision that answers.
    pub(super) assignment: Assignment,
    /// The place on the backend; held until the answer ends.
    pub(super) permit: Permit,
    /// Which attempt it was, from 1.
    pub(super) attempt: u32,
    /// When the request was sent to this backend.
    pub(super) sent: Instant,
    /// Time to its first content and from there to its end, where it was read to its end before it
    /// was chosen.
    pub(super) measured: Option<(Duration, Duration)>,
    /// What came.
    pub(super) body: Body,
}

/// The body of an answer.
pub(super) enum Body {
    /// All of it.
    Whole(Box<Whole>),
    /// The first content and what follows.
    Stream {
        /// Turns the engine's stream into the client's.
        translator: Box<Translator>,
        /// The rest.
        upstream: Box<Timed<ReplyStream>>,
        /// Frames up to the first content, not handed out yet.
        frames: Vec<Bytes>,
    },
}

/// An answer that did not begin.
pub(super) struct Failure {
    /// What the caller is told.
    pub(super) fault: Fault,
    /// Whose fault it is; none where no backend was reached.
    pub(super) blame: Option<Blame>,
    /// The backend that failed last.
    pub(super) backend: Option<BackendId>,
    /// Attempts made.
    pub(super) attempt: u32,
}

/// Finds a backend and reads until the first content. What a new revision fails goes to the one
/// that serves, and counts against the new one all the same.
pub(super) async fn dispatch(
    inner: &Inner,
    task: &Task,
    live: &LiveRequest,
    (mut permit, mut assignment): (Permit, Assignment),
) -> Result<Begun, Failure> {
    let mut excluded = Vec::new();
    let (mut attempt, mut fresh) = (1, false);
    loop {
        let backend = permit.backend().id().clone();
        live.dispatched(&backend);
        let sent = Instant::now();
        task.copies.begin_wait(&assignment);
        let span = stages::dispatch(task, &backend, attempt);
        let trying = attempt_on(inner, task, &assignment, &permit, &span, fresh);
        let tried = trying.instrument(span.clone()).await;
        task.copies.end_wait();
        let error = match tried {
            Ok(body) => {
                let measured = None;
                return Ok(Begun { assignment, permit, attempt, sent, measured, body });
            }
            Err(Miss::Engine(error)) => error,
            Err(Miss::Inexpressible(fields)) => {
                return Err(inexpressible(fields, backend, attempt));
            }
        };
        trace::failed(&span, error.code.as_str());
        drop(span);
        tell(task, &backend, attempt, &error);
        let scope = &task.offer.scope;
        let may =
            error.retry != Retry::Never && attempt < ATTEMPTS_MAX && inner.router.may_retry(scope);
        if may && error.retry == Retry::SafeAgain {
            // Nothing is wrong with the backend; its place is kept.
            metrics::counter!(names::RECONNECTS).increment(1);
            (attempt, fresh) = (attempt + 1, true);
            continue;
        }
        if task.copies.tell() {
            inner.rollouts.observed(&scope.model, &assignment, sample_of(error.blame));
        }
        let failure = count_miss(inner, &permit, attempt, &error);
        drop(permit);
        excluded.push(backend);
        if !may {
            return Err(failure);
        }
        live.queued();
        if let Some(running) = assignment.fallback() {
            // The same backend may serve both revisions, under two names.
            assignment = running;
            excluded.clear();
        }
        let elsewhere = task.copies.on();
        let apart = if elsewhere.is_empty() {
            excluded.clone()
        } else {
            [inner.router.beside(scope, &elsewhere).as_slice(), &excluded].concat()
        };
        let ask = task.ask(assignment.backends(), &apart, task.queue_until(inner));
        permit = match inner.router.admit(&ask).await {
            Ok(permit) => permit,
            // There is nowhere else: the first failure is the better answer.
            Err(_) => return Err(failure),
        };
        metrics::counter!(names::FAILOVERS).increment(1);
        attempt += 1;
    }
}

/// One attempt that is not made again elsewhere: of a request that runs elsewhere as well.
pub(super) async fn once(
    inner: &Inner,
    task: &Task,
    (permit, assignment): (Permit, Assignment),
    attempt: u32,
) -> Result<Begun, Failure> {
    let backend = permit.backend().id().clone();
    let sent = Instant::now();
    let span = stages::dispatch(task, &backend, attempt);
    let trying = attempt_on(inner, task, &assignment, &permit, &span, false);
    match trying.instrument(span.clone()).await {
        Ok(body) => Ok(Begun { assignment, permit, attempt, sent, measured: None, body }),
        Err(Miss::Inexpressible(fields)) => Err(inexpressible(fields, backend, attempt)),
        Err(Miss::Engine(error)) => {
            trace::failed(&span, error.code.as_str());
            Err(missed(inner, task, &permit, attempt, &error))
        }
    }
}

/// An attempt brought no answer: told to whom it concerns. What the caller would be told.
pub(super) fn missed(
    inner: &Inner,
    task: &Task,
    permit: &Permit,
    attempt: u32,
    error: &EngineError,
) -> Failure {
    tell(task, permit.backend().id(), attempt, error);
    count_miss(inner, permit, attempt, error)
}

fn tell(task: &Task, backend: &BackendId, attempt: u32, error: &EngineError) {
    tracing::info!(
        request_id = %task.request_id,
        backend = %backend,
        attempt,
        code = error.code.as_str(),
        status = error.status,
        cause = error.cause,
        "the backend did not answer"
    );
}

fn count_miss(inner: &Inner, permit: &Permit, attempt: u32, error: &EngineError) -> Failure {
    permit.report(outcome_of(error));
    conduct::failed(&inner.conduct, permit.backend(), error);
    let backend = Some(permit.backend().id().clone());
    Failure { fault: error.fault(), blame: Some(error.blame), backend, attempt }
}

fn inexpressible(fields: Vec<FieldError>, backend: BackendId, attempt: u32) -> Failure {
    let (fault, backend) = (Fault::validation(fields), Some(backend));
    Failure { fault, blame: Some(Blame::Client), backend, attempt }
}

/// What the caller is told when no backend could be had.
pub(super) fn refused(refusal: Refusal) -> Failure {
    Failure { fault: refusal.fault(), blame: None, backend: None, attempt: 0 }
}

/// Why an attempt brought no answer.
pub(super) enum Miss {
    /// The engine failed.
    Engine(EngineError),
    /// The engine's format has no word for something that the client asked for.
    Inexpressible(Vec<FieldError>),
}

impl From<EngineError> for Miss {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// One attempt, until its first content or until the backend is to be empty.
pub(super) async fn attempt_on(
    inner: &Inner,
    task: &Task,
    assignment: &Assignment,
    permit: &Permit,
    span: &Span,
    fresh: bool,
) -> Result<Body, Miss> {
    let _on = task.copies.enter(permit.backend());
    tokio::select! {
        biased;
        found = asked(inner, task, assignment, permit, span, fresh) => found,
        () = permit.backend().runtime.ended() => Err(EngineError::taken_away().into()),
    }
}

async fn asked(
    inner: &Inner,
    task: &Task,
    assignment: &Assignment,
    permit: &Permit,
    span: &Span,
    fresh: bool,
) -> Result<Body, Miss> {
    let backend = permit.backend();
    let parameters = assignment.parameters();
    let listed = || backend.upstream(&task.offer.scope.model).unwrap_or(task.request.model());
    let cap = task.ceiling.output_cap;
    let target = Upstream {
        model: assignment.upstream(backend.id()).unwrap_or_else(listed),
        output_cap: match parameters.max_tokens {
            Some(usual) if task.request.output_cap().is_none() => cap.min(usual.into()),
            _ => cap,
        },
        engine: backend.engine.kind(),
        defaults: Defaults {
            temperature_milli: parameters.temperature_milli,
            top_p_milli: parameters.top_p_milli,
        },
    };
    let dialect = backend.engine.dialect();
    let body = task.request.upstream(dialect, &target).map_err(Miss::Inexpressible)?;
    let streams = task.request.stream();
    let first_byte = if streams { inner.bounds.first_byte } else { inner.bounds.total };
    let call = ChatCall {
        body,
        stream: streams,
        traceparent: task.trace.traceparent(span),
        tracestate: task.trace.tracestate().map(str::to_owned),
        request_id: task.request_id.to_string(),
        first_byte_timeout: first_byte.min(task.left()),
        fresh,
    };
    let started = Instant::now();
    match backend.engine.chat(call).await? {
        Reply::Whole(body) => {
            let trust = backend.spec.trust;
            Ok(Body::Whole(Box::new(answer::read(task, dialect, &body, trust)?)))
        }
        Reply::Stream(stream) => {
            let translator = match backend.spec.trust {
                Trust::Own | Trust::Commercial if !task.compares() => task.translator(dialect),
                _ => task.translator(dialect).transcribed(),
            };
            let mut translator = Box::new(translator);
            let mut upstream = Box::new(Timed::new(stream, inner.bounds.idle, task.until));
            let left = first_byte.saturating_sub(started.elapsed());
            let first = first_content(&mut translator, &mut upstream);
            match tokio::time::timeout(left, first).await {
                Ok(Ok(frames)) => Ok(Body::Stream { translator, upstream, frames }),
                Ok(Err(error)) => Err(nothing_shown(error).into()),
                Err(_) => Err(EngineError::first_byte_timeout().into()),
            }
        }
    }
}

/// A stream that broke before its first content: nobody saw anything of it, so another backend
/// may be tried whatever the engine's own rule for broken streams is.
fn nothing_shown(error: EngineError) -> EngineError {
    match error.blame {
        Blame::Backend => EngineError { retry: Retry::SafeElsewhere, ..error },
        Blame::Client | Blame::Relay => error,
    }
}

/// Reads until there is content to show; what came before it is kept with it.
async fn first_content(
    translator: &mut Translator,
    upstream: &mut Timed<ReplyStream>,
) -> Result<Vec<Bytes>, EngineError> {
    let mut frames = Vec::new();
    while !translator.seen().first_content && !translator.seen().finished {
        match upstream.next().await {
            Some(chunk) => translator.push(&chunk?, &mut frames).map_err(engine_error)?,
            None => {
                translator.end_of_input().map_err(engine_error)?;
                break;
            }
        }
    }
    Ok(frames)
}

/// An answer that is not in shape, as an engine's failure.
pub(super) fn engine_error(error: WireError) -> EngineError {
    match error {
        WireError::Upstream { status, kind, message } => {
            EngineError::reported(status.unwrap_or(500), &kind, &message)
        }
        WireError::Truncated => EngineError::cut("the stream ended without its end marker"),
        WireError::Garbage(what) => EngineError::mismatch(what),
    }
}

/// The status of an engine that lives, took the request and failed at it. Engines answer so when
/// they are broken, and of requests that they cannot take.
const FAILED: u16 = 500;

/// What the backend's breaker is told.
pub(super) fn outcome_of(error: &EngineError) -> Outcome {
    if let Some(wait) = error.busy_for {
        return Outcome::Busy { wait };
    }
    match error.blame {
        Blame::Backend => {
            let reason = error.to_string();
            match error.status {
                Some(FAILED) => Outcome::Doubtful { reason },
                _ => Outcome::BackendFailed { reason },
            }
        }
        Blame::Client => Outcome::ClientFault,
        Blame::Relay => Outcome::Cancelled,
    }
}

/// What the revision is told of a request that did not begin.
pub(super) const fn sample_of(blame: Blame) -> SampleEnd {
    match blame {
        Blame::Backend => SampleEnd::Failed,
        Blame::Client => SampleEnd::Refused,
        Blame::Relay => SampleEnd::Cancelled,
    }
}

/// Told when a request's own time is over before it reached an engine.
pub(super) fn out_of_time(total: Duration) -> Fault {
    Fault::new(
        Code::UpstreamTimeout,
        format!(
            "the request took longer than {} seconds; ask for less or use a stream",
            total.as_secs()
        ),
    )
}
