//! The stages of a request as spans: where its time went, for whoever follows a trace.
//!
//! A stage is open as long as its span lives, so each is moved into what it measures.

use tracing::Span;

use super::driver::Ending;
use super::task::Task;
use crate::domain::BackendId;
use crate::ledger::UsageStatus;
use crate::telemetry::{REQUEST_TARGET, trace};

/// The whole of a chat: from the checked body to the last word.
pub(super) fn chat(request_id: &str, scope: &str, model: &str, stream: bool) -> Span {
    let span = tracing::info_span!(target: REQUEST_TARGET, "chat", request_id, scope, stream);
    trace::note(&span, "gen_ai.operation.name", "chat");
    trace::note(&span, "gen_ai.request.model", model.to_owned());
    span
}

/// Until the reservation is committed or refused.
pub(super) fn hold(task: &Task) -> Span {
    tracing::debug_span!(target: REQUEST_TARGET, parent: &task.span, "hold")
}

/// Until a backend has a place.
pub(super) fn queue(task: &Task) -> Span {
    tracing::debug_span!(target: REQUEST_TARGET, parent: &task.span, "queue")
}

/// One attempt on a backend, until its first content.
pub(super) fn dispatch(task: &Task, backend: &BackendId, attempt: u32) -> Span {
    let span = tracing::debug_span!(
        target: REQUEST_TARGET, parent: &task.span, "dispatch", otel.kind = "client"
    );
    trace::note(&span, "relay.backend", backend.as_str().to_owned());
    trace::note(&span, "relay.attempt", i64::from(attempt));
    span
}

/// From the first content of a stream to its last.
pub(super) fn stream(task: &Task) -> Span {
    tracing::debug_span!(target: REQUEST_TARGET, parent: &task.span, "stream")
}

/// Until the charge is committed, or the reservation released.
pub(super) fn settle(task: &Task) -> Span {
    tracing::debug_span!(target: REQUEST_TARGET, parent: &task.span, "settle")
}

/// What is known of a chat at its end.
pub(super) fn ended(task: &Task, ending: &Ending) {
    let span = &task.span;
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    trace::note(span, "gen_ai.usage.input_tokens", tokens(ending.count.meters.input()));
    trace::note(span, "gen_ai.usage.output_tokens", tokens(ending.count.meters.output()));
    trace::note(span, "relay.outcome", ending.status.as_str());
    match &ending.fault {
        // A client that leaves is no failure of the request.
        Some(fault) if ending.status == UsageStatus::Failed => {
            trace::failed(span, fault.code.as_str());
        }
        _ => {}
    }
}
