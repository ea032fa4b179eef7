//! Changes and reads: one task each.

use std::time::Duration;

use relay_proto::admin::v1 as proto;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use super::channel::Wire;
use super::{convert, problem, rollouts};
use crate::model::call::{Call, Found, Outcome, Read, Secret, Verb};
use crate::model::data::Limits;
use crate::text::clean;

/// Entries of the audit log that are shown and searched.
const AUDIT_PAGE: u32 = 500;
/// Customers that the creation dialog chooses from, in pages of this size...
const CUSTOMERS_PAGE: u32 = 1_000;
/// ...and at most so many pages; more are found by typing.
const CUSTOMERS_PAGES_MAX: usize = 5;

/// A call with the id that names it on the wire.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    call: Call,
    request_id: Uuid,
}

/// What a task of this file came to.
pub(super) enum Answer {
    Ended {
        no: u64,
        outcome: Outcome,
    },
    /// The audit log could not be asked either.
    StillUnknown(Sent),
    Found(Found),
}

impl Sent {
    pub(super) fn new(call: Call) -> Self {
        Self { call, request_id: Uuid::new_v4() }
    }

    pub(super) fn no(&self) -> u64 {
        self.call.no
    }
}

fn timed<T>(wire: &Wire, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(wire.call_timeout);
    request
}

/// Sends a change, once.
pub(super) async fn make(wire: Wire, sent: Sent) -> Answer {
    let no = sent.no();
    // The server is told the same bound; this one holds when the server is gone.
    let outcome = match tokio::time::timeout(wire.call_timeout, send(&wire, &sent)).await {
        Err(_) => Outcome::Unknown,
        Ok(Ok(outcome)) => outcome,
        Ok(Err(status)) if problem::is_uncertain(&status) => Outcome::Unknown,
        Ok(Err(status)) if status.code() == Code::Aborted => {
            Outcome::Conflict(problem::of_call(&status))
        }
        Ok(Err(status)) => Outcome::Refused(problem::of_call(&status)),
    };
    Answer::Ended { no, outcome }
}

async fn send(wire: &Wire, sent: &Sent) -> Result<Outcome, Status> {
    let call = &sent.call;
    let change = Some(proto::Change {
        request_id: sent.request_id.to_string(),
        expected_version: call.expected_version,
        reason: call.reason.clone(),
    });
    let backend_id = call.object.clone();
    let key_id = call.object.clone();
    let provider_id = call.object.clone();
    let rollout_id = call.object.clone();
    match &call.verb {
        Verb::Probe => {
            let ask = proto::ProbeBackendRequest { change, backend_id };
            wire.backends().probe_backend(timed(wire, ask)).await?;
        }
        Verb::Cordon => {
            let ask = proto::CordonBackendRequest { change, backend_id };
            wire.backends().cordon_backend(timed(wire, ask)).await?;
        }
        Verb::Uncordon => {
            let ask = proto::UncordonBackendRequest { change, backend_id };
            wire.backends().uncordon_backend(timed(wire, ask)).await?;
        }
        Verb::Drain => {
            let ask = proto::DrainBackendRequest { change, backend_id, wait_ms: 0 };
            wire.backends().drain_backend(timed(wire, ask)).await?;
        }
        Verb::Weight(weight) => {
            let ask = proto::SetBackendWeightRequest { change, backend_id, weight: *weight };
            wire.backends().set_backend_weight(timed(wire, ask)).await?;
        }
        Verb::Approve => {
            let ask = proto::ApproveProviderRequest { change, provider_id };
            wire.providers().approve_provider(timed(wire, ask)).await?;
        }
        Verb::Reject => {
            let ask = proto::RejectProviderRequest { change, provider_id };
            wire.providers().reject_provider(timed(wire, ask)).await?;
        }
        Verb::Suspend => {
            let ask = proto::SuspendProviderRequest { change, provider_id };
            wire.providers().suspend_provider(timed(wire, ask)).await?;
        }
        Verb::Reconsider => {
            let ask = proto::ReconsiderProviderRequest { change, provider_id };
            wire.providers().reconsider_provider(timed(wire, ask)).await?;
        }
        Verb::LimitProvider(bounds) => {
            let ask = proto::LimitProviderRequest {
                change,
                provider_id,
                max_concurrency: bounds.max_concurrency,
                models: bounds.models.clone(),
                price_floor_ncr: bounds.price_floor_ncr,
            };
            wire.providers().limit_provider(timed(wire, ask)).await?;
        }
        Verb::Revise(draft) => {
            let ask = rollouts::revise(change, call.object.clone(), draft);
            wire.rollouts().create_revision(timed(wire, ask)).await?;
        }
        Verb::StartRollout(start) => {
            let plan = rollouts::plan(start).map_err(Status::invalid_argument)?;
            let (model, revision) = (call.object.clone(), start.revision);
            let ask = proto::StartRolloutRequest { change, model, revision, plan: Some(plan) };
            wire.rollouts().start_rollout(timed(wire, ask)).await?;
        }
        Verb::Advance => {
            let ask = proto::AdvanceRolloutRequest { change, rollout_id };
            wire.rollouts().advance_rollout(timed(wire, ask)).await?;
        }
        Verb::Hold => {
            let ask = proto::PauseRolloutRequest { change, rollout_id };
            wire.rollouts().pause_rollout(timed(wire, ask)).await?;
        }
        Verb::Resume => {
            let ask = proto::ResumeRolloutRequest { change, rollout_id };
            wire.rollouts().resume_rollout(timed(wire, ask)).await?;
        }
        Verb::RollBack => {
            let ask = proto::RollBackRolloutRequest { change, rollout_id };
            wire.rollouts().roll_back_rollout(timed(wire, ask)).await?;
        }
        Verb::CreateKey(new) => {
            let ask = proto::CreateKeyRequest {
                change,
                customer_id: new.customer_id.clone(),
                name: new.name.clone(),
                denied_scopes: Vec::new(),
                rate_limits: limits(new.limits),
                budget_ncr: new.budget_ncr,
            };
            let made = wire.keys().create_key(timed(wire, ask)).await?.into_inner();
            let name = made.key.map_or_else(|| new.name.clone(), |key| clean(&key.name));
            return Ok(Outcome::KeyMade { name, secret: Secret(clean(&made.secret)) });
        }
        Verb::LimitKey(change_to) => {
            let budget = change_to.budget_ncr.map(|amount_ncr| proto::Budget { amount_ncr });
            let ask = proto::UpdateKeyRequest {
                change,
                key_id,
                // An empty message takes every own limit away; an absent one would keep them.
                rate_limits: Some(limits(change_to.limits).unwrap_or_default()),
                budget,
                ..Default::default()
            };
            wire.keys().update_key(timed(wire, ask)).await?;
        }
        Verb::RevokeKey => {
            let ask = proto::RevokeKeyRequest { change, key_id };
            wire.keys().revoke_key(timed(wire, ask)).await?;
        }
    }
    Ok(Outcome::Done)
}

fn limits(limits: Limits) -> Option<proto::RateLimits> {
    let Limits { direct, opengpu, global } = limits;
    (limits != Limits::default()).then_some(proto::RateLimits { direct, opengpu, global })
}

/// Asks the audit log whether a change whose answer was lost was made.
pub(super) async fn was_it_done(wire: Wire, sent: Sent, pause: Duration) -> Answer {
    let id = sent.request_id.to_string();
    // Twice, because the daemon may still be at it when the console is back.
    for attempt in 0..2 {
        if attempt > 0 {
            tokio::time::sleep(pause).await;
        }
        match audit(&wire).await {
            Ok(page) if page.entries.iter().any(|entry| entry.request_id == id) => {
                return Answer::Ended { no: sent.no(), outcome: Outcome::FoundDone };
            }
            Ok(_) => {}
            Err(_) => return Answer::StillUnknown(sent),
        }
    }
    Answer::Ended { no: sent.no(), outcome: Outcome::FoundAbsent }
}

async fn audit(wire: &Wire) -> Result<proto::ListAuditResponse, Status> {
    let page = Some(proto::Page { page_size: AUDIT_PAGE, page_token: String::new() });
    let ask = proto::ListAuditRequest { page, object: String::new() };
    Ok(wire.audit().list_audit(timed(wire, ask)).await?.into_inner())
}

/// Reads something once.
pub(super) async fn read(wire: Wire, read: Read) -> Answer {
    let found = match &read {
        Read::Customers => customers(&wire).await,
        Read::Audit => audit(&wire)
            .await
            .map(|page| Found::Audit(page.entries.into_iter().map(convert::audit).collect())),
        Read::KeyUsage { key_id } => key_usage(&wire, key_id).await,
    };
    let found = found.unwrap_or_else(|status| Found::Failed(read, problem::of_call(&status)));
    Answer::Found(found)
}

async fn customers(wire: &Wire) -> Result<Found, Status> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    for _ in 0..CUSTOMERS_PAGES_MAX {
        let page = Some(proto::Page { page_size: CUSTOMERS_PAGE, page_token });
        let ask = proto::ListCustomersRequest { page, query: String::new() };
        let answer = wire.customers().list_customers(timed(wire, ask)).await?.into_inner();
        all.extend(answer.customers.into_iter().map(convert::customer));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok(Found::Customers(all))
}

async fn key_usage(wire: &Wire, key_id: &str) -> Result<Found, Status> {
    let ask = proto::SummarizeUsageRequest {
        group_by: vec!["model".to_owned()],
        key_id: key_id.to_owned(),
        ..Default::default()
    };
    let answer = wire.usage().summarize_usage(timed(wire, ask)).await?.into_inner();
    let mut rows: Vec<_> = answer.rows.into_iter().map(convert::model_usage).collect();
    rows.sort_by(|a, b| b.charged_ncr.cmp(&a.charged_ncr).then_with(|| a.model.cmp(&b.model)));
    Ok(Found::KeyUsage { key_id: key_id.to_owned(), rows })
}
