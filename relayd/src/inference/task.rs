//! One request as it stands from its first step to its last.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use uuid::Uuid;

use super::copies::Copies;
use super::count::{self, Count};
use super::plan::{Ceiling, Size};
use super::profile::Profile;
use super::{Call, Inner, stages};
use crate::catalogue::Offer;
use crate::domain::{Code, Execution, Fault, RequestId};
use crate::identity::Principal;
use crate::rollouts::Assignment;
use crate::telemetry::trace::TraceContext;
use crate::wire::{ChatRequest, Dialect, Stamp, Timing, Translator};

/// What a request is, unchanging from its first step to its last.
pub(super) struct Task {
    pub(super) principal: Principal,
    pub(super) request_id: RequestId,
    pub(super) request: ChatRequest,
    pub(super) offer: Arc<Offer>,
    pub(super) trace: TraceContext,
    pub(super) span: tracing::Span,
    pub(super) ceiling: Ceiling,
    /// What routing is told.
    pub(super) profile: Profile,
    /// When it must be over.
    pub(super) until: Instant,
    /// The revision that it is for.
    pub(super) assignment: Assignment,
    /// What decided that.
    pub(super) key: Box<[u8]>,
    /// On how many backends it runs.
    pub(super) execution: Execution,
    /// Whether its answers can be compared: they leave nothing to chance.
    pub(super) comparable: bool,
    /// Where it runs.
    pub(super) copies: Copies,
    pub(super) began: Instant,
    pub(super) created_ms: i64,
    pub(super) task_id: String,
}

impl Task {
    /// Works out all that follows from a call.
    pub(super) fn new(inner: &Inner, call: Call) -> Self {
        let model = &call.offer.model;
        let size = Size {
            context_tokens: model.context_tokens,
            template_tokens: model.template_overhead_tokens,
            default_output: model.max_output_default,
        };
        let request = &call.request;
        let ceiling =
            Ceiling::of(size, request.prompt_bytes(), request.output_cap(), request.choices());
        let span = stages::chat(
            &call.request_id.to_string(),
            &call.offer.scope.to_string(),
            &call.offer.scope.model.to_string(),
            request.stream(),
        );
        let began = Instant::now();
        let profile = Profile::of(&call, &ceiling);
        let assigned = |key: &[u8]| inner.rollouts.assign(&call.offer.scope.model, key);
        let (key, assignment) = match call.session {
            Some(session) => {
                let assignment = assigned(&session).of_session(&session);
                (session, assignment)
            }
            None => {
                let key: Box<[u8]> = (*call.request_id.uuid().as_bytes()).into();
                let assignment = assigned(&key);
                (key, assignment)
            }
        };
        let execution = inner.execution(&call.offer.scope.model);
        let comparable = execution.copies() > 1 && call.request.is_greedy();
        Self {
            execution,
            comparable,
            copies: Copies::default(),
            assignment,
            key,
            until: began + inner.bounds.total,
            began,
            created_ms: now_ms(),
            task_id: format!("{}:{}", call.offer.scope.mode, Uuid::new_v4()),
            principal: call.principal,
            request_id: call.request_id,
            request: call.request,
            offer: call.offer,
            trace: call.trace,
            span,
            ceiling,
            profile,
        }
    }

    /// The same request once more, for nobody: with its own id, and no part of the caller's trace.
    pub(super) fn copied(&self) -> Self {
        Self {
            principal: self.principal.clone(),
            request_id: RequestId::new(Uuid::now_v7()),
            request: self.request.clone(),
            offer: Arc::clone(&self.offer),
            trace: TraceContext::default(),
            span: tracing::Span::none(),
            ceiling: self.ceiling,
            profile: self.profile,
            until: self.until,
            assignment: self.assignment.clone(),
            key: self.key.clone(),
            execution: Execution::Single,
            comparable: false,
            copies: Copies::default(),
            began: self.began,
            created_ms: self.created_ms,
            task_id: String::new(),
        }
    }

    /// Whether several answers to it are compared before one is handed out.
    pub(super) const fn compares(&self) -> bool {
        self.comparable && matches!(self.execution, Execution::Quorum { .. })
    }

    /// What is left of the request's time.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// A count cut down to what the request was allowed to use.
    pub(super) fn capped(&self, counted: Count) -> Count {
        let (meters, cut) = count::cap(counted.meters, self.ceiling.input, self.ceiling.output());
        if cut {
            tracing::warn!(reported = ?counted.meters, billed = ?meters, "the engine reports more than it was allowed");
        }
        Count { meters, ..counted }
    }

    /// Until when it may wait for a backend.
    pub(super) fn queue_until(&self, inner: &Inner) -> Instant {
        self.until.min(Instant::now() + inner.bounds.queue)
    }

    /// What is written into every answer.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            model: self.offer.scope.model.to_string(),
            task_id: self.task_id.clone(),
            mode: self.offer.scope.mode,
            request_id: self.request_id.to_string(),
            created: self.created_ms / 1000,
        }
    }

    pub(super) fn translator(&self, dialect: Dialect) -> Translator {
        let usage = self.request.include_usage();
        Translator::new(self.request.surface(), dialect, self.stamp(), usage)
    }

    /// How long the parts of an answer took, whose first content came `first` after the start.
    pub(super) fn timing(&self, first: Duration) -> Timing {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let total = self.began.elapsed();
        Timing {
            total_ns: nanos(total),
            load_ns: 0,
            prompt_ns: nanos(first),
            eval_ns: nanos(total.saturating_sub(first)),
        }
    }

    pub(super) fn model_label(&self) -> String {
        self.offer.scope.model.to_string()
    }
}

/// The caller went away.
pub(super) fn left() -> Fault {
    Fault::new(Code::Cancelled, "the caller went away")
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
