//! From the rooms' values to the protocol's messages.

use std::time::SystemTime;

use relay_proto::admin::v1 as proto;

use crate::domain::{Meters, RateLimits, Role, Tier};
use crate::engines::AgentAddress;
use crate::events::{Event, Severity};
use crate::fleet::{Backend, BreakerState, Health, StateWord};
use crate::ledger::{Price, Rates, UsageRow, UsageStatus};
use crate::observe::{KeyActivity, Phase, RequestView, Traffic};
use crate::store::{ApiKey, Balance, Customer, CustomerStatus, Operator, UsageSum};

pub(super) const fn role(role: Role) -> proto::Role {
    match role {
        Role::Viewer => proto::Role::Viewer,
        Role::Operator => proto::Role::Operator,
        Role::Admin => proto::Role::Admin,
    }
}

/// The role that a message names.
pub(super) fn role_of(number: i32) -> Option<Role> {
    match proto::Role::try_from(number).ok()? {
        proto::Role::Unspecified => None,
        proto::Role::Viewer => Some(Role::Viewer),
        proto::Role::Operator => Some(Role::Operator),
        proto::Role::Admin => Some(Role::Admin),
    }
}

pub(super) fn operator(operator: &Operator) -> proto::Operator {
    proto::Operator {
        name: operator.name.clone(),
        role: role(operator.role).into(),
        revoked: operator.revoked_ms.is_some(),
        created_at_ms: operator.created_ms,
        last_used_at_ms: 0,
        version: operator.version,
    }
}

pub(super) fn customer(
    customer: &Customer,
    balance: &Balance,
    active_keys: u64,
) -> proto::Customer {
    let status = match customer.status {
        CustomerStatus::Active => proto::CustomerStatus::Active,
        CustomerStatus::Suspended => proto::CustomerStatus::Suspended,
    };
    proto::Customer {
        customer_id: customer.id.to_string(),
        name: customer.name.clone(),
        email: customer.email.clone(),
        tier: customer.tier.clone(),
        status: status.into(),
        balance_ncr: balance.balance.get(),
        held_ncr: balance.held.get(),
        consumed_ncr: balance.consumed.get(),
        allocated_ncr: balance.allocated.get(),
        active_keys: u32::try_from(active_keys).unwrap_or(u32::MAX),
        created_at_ms: customer.created_ms,
        version: customer.version,
    }
}

/// A key without what it does today and now.
pub(super) fn key(key: &ApiKey) -> proto::Key {
    let status = match key.revoked_ms {
        None => proto::KeyStatus::Active,
        Some(_) => proto::KeyStatus::Revoked,
    };
    proto::Key {
        key_id: key.id.to_string(),
        customer_id: key.customer.to_string(),
        customer_name: key.customer_name.clone(),
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        status: status.into(),
        superkey: key.superkey,
        system: key.system,
        tier: key.tier.clone(),
        denied_scopes: key.restrictions.denied_scopes.iter().map(ToString::to_string).collect(),
        rate_limits: Some(limits(&key.restrictions.limits)),
        budget_ncr: key.budget.map(crate::domain::Ncr::get),
        created_at_ms: key.created_ms,
        last_used_at_ms: key.last_used_ms.unwrap_or(0),
        revoked_at_ms: key.revoked_ms.unwrap_or(0),
        version: key.version,
        today: None,
        now: None,
    }
}

pub(super) fn key_today(sum: Option<&UsageSum>, activity: &KeyActivity) -> proto::KeyUsage {
    let used = sum.cloned().unwrap_or_default();
    proto::KeyUsage {
        requests: used.requests,
        errors: used.errors,
        limited: activity.limited_today,
        meters: Some(meters(&used.meters)),
        charged_ncr: used.charged.get(),
        ttft_p50_ms: activity.ttft_p50_ms,
        ttft_p95_ms: activity.ttft_p95_ms,
    }
}

pub(super) const fn meters(meters: &Meters) -> proto::Meters {
    proto::Meters {
        in_uncached: meters.in_uncached,
        in_cache_read: meters.in_cache_read,
        in_cache_write_5m: meters.in_cache_write_5m,
        in_cache_write_1h: meters.in_cache_write_1h,
        out_text: meters.out_text,
        out_reasoning: meters.out_reasoning,
    }
}

const fn rates(rates: &Rates) -> proto::Rates {
    proto::Rates {
        in_uncached: rates.in_uncached,
        in_cache_read: rates.in_cache_read,
        in_cache_write_5m: rates.in_cache_write_5m,
        in_cache_write_1h: rates.in_cache_write_1h,
        out_text: rates.out_text,
        out_reasoning: rates.out_reasoning,
    }
}

pub(super) fn price(price: &Price) -> proto::Price {
    proto::Price {
        price_id: price.id.to_string(),
        scope: price.scope.to_string(),
        rates: Some(rates(&price.rates)),
        long_above_tokens: price.long.as_ref().map_or(0, |long| long.above_input_tokens),
        long_rates: price.long.as_ref().map(|long| rates(&long.rates)),
        valid_from_ms: price.valid_from_ms,
    }
}

pub(super) fn tier(tier: &Tier, version: u64) -> proto::Tier {
    proto::Tier {
        name: tier.name.clone(),
        level: tier.level,
        custom: tier.custom,
        max_keys: tier.max_keys,
        weight: tier.weight,
        direct_rpm: tier.limits.direct.unwrap_or(0),
        opengpu_rpm: tier.limits.opengpu.unwrap_or(0),
        global_rpm: tier.limits.global.unwrap_or(0),
        denied_scopes: tier.denied_scopes.iter().map(ToString::to_string).collect(),
        version,
    }
}

pub(super) const fn limits(limits: &RateLimits) -> proto::RateLimits {
    proto::RateLimits { direct: limits.direct, opengpu: limits.opengpu, global: limits.global }
}

pub(super) const fn severity(severity: Severity) -> proto::Severity {
    match severity {
        Severity::Info => proto::Severity::Info,
        Severity::Warning => proto::Severity::Warning,
        Severity::Critical => proto::Severity::Critical,
    }
}

pub(super) fn event(event: &Event) -> proto::Event {
    proto::Event {
        seq: event.seq,
        at_ms: event.at_ms,
        kind: event.kind.clone(),
        severity: severity(event.severity).into(),
        subject: event.subject.clone(),
        text: event.text.clone(),
    }
}

const fn state(state: StateWord) -> proto::BackendState {
    match state {
        StateWord::Unknown => proto::BackendState::Unknown,
        StateWord::Up => proto::BackendState::Up,
        StateWord::Loading => proto::BackendState::Loading,
        StateWord::Down => proto::BackendState::Down,
        StateWord::Cordoned => proto::BackendState::Cordoned,
        StateWord::Draining => proto::BackendState::Draining,
        StateWord::Drained => proto::BackendState::Drained,
    }
}

pub(super) fn backend(backend: &Backend) -> proto::Backend {
    let (spec, view) = (&backend.spec, backend.runtime.view());
    let ms = |time: Option<std::time::Duration>| {
        time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
    };
    let breaker = match view.breaker {
        BreakerState::Closed => proto::BreakerState::Closed,
        BreakerState::Open { .. } => proto::BreakerState::Open,
        BreakerState::HalfOpen => proto::BreakerState::HalfOpen,
    };
    let breaker_until_ms = match view.breaker {
        BreakerState::Open { .. } => {
            let left = i64::try_from(view.breaker_left.as_millis()).unwrap_or(i64::MAX);
            // To the second: a countdown that is computed anew must not look like a change.
            super::now_ms().saturating_add(left) / 1_000 * 1_000
        }
        BreakerState::Closed | BreakerState::HalfOpen => 0,
    };
    let state_reason = match view.health {
        Health::Down { reason } => reason,
        Health::Unknown | Health::Up | Health::Loading => String::new(),
    };
    let load = backend.runtime.engine_load().map(|(load, _)| load).unwrap_or_default();
    proto::Backend {
        backend_id: spec.id.to_string(),
        provider_id: spec
            .base_url
            .parse::<AgentAddress>()
            .map(|address| address.provider.to_string())
            .unwrap_or_default(),
        dialect: spec.dialect.as_str().to_owned(),
        engine: spec.kind.as_str().to_owned(),
        base_url: spec.base_url.clone(),
        state: state(backend.state()).into(),
        state_reason,
        state_since_ms: unix_ms(view.health_since),
        breaker: breaker.into(),
        breaker_until_ms,
        weight: spec.weight,
        effective_weight: backend.effective_weight(),
        max_concurrency: spec.max_concurrency,
        queue_limit: spec.queue_limit,
        running: view.running,
        queued: view.queued,
        ttft_p50_ms: ms(view.ttft_p50),
        ttft_p95_ms: ms(view.ttft_p95),
        requests: view.requests,
        failures: view.failures,
        recent_failures_ppm: view.recent_failures_ppm,
        engine_running: load.running,
        engine_waiting: load.waiting,
        kv_cache_milli: load.kv_milli,
        loaded_models: load.loaded,
        tokens_out: view.tokens_out,
        models: spec
            .models
            .iter()
            .map(|served| proto::BackendModel {
                model: served.model.to_string(),
                upstream: served.upstream.clone(),
                sources: served.sources.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        deployment_id: spec.deployment.clone(),
        drain_until_ms: spec.drain_until_ms.unwrap_or(0),
        version: spec.version,
        probed_at_ms: view.probed_at.map_or(0, unix_ms),
    }
}

pub(super) fn traffic(traffic: &Traffic) -> proto::Traffic {
    proto::Traffic {
        requests_per_ks: traffic.requests_per_ks,
        tokens_in_per_ks: traffic.tokens_in_per_ks,
        tokens_out_per_ks: traffic.tokens_out_per_ks,
        errors_ppm: traffic.errors_ppm,
        shed: traffic.shed,
        in_flight: traffic.in_flight,
        streams: traffic.streams,
        queued: traffic.queued,
        oldest_queued_ms: i64::try_from(traffic.oldest_queued_ms).unwrap_or(i64::MAX),
        ttft_p50_ms: traffic.ttft_p50_ms,
        ttft_p95_ms: traffic.ttft_p95_ms,
        ttft_p99_ms: traffic.ttft_p99_ms,
    }
}

pub(super) const fn key_now(activity: &KeyActivity) -> proto::KeyNow {
    proto::KeyNow { in_flight: activity.in_flight, requests_per_ks: activity.requests_per_ks }
}

pub(super) fn live_request(request: &RequestView) -> proto::Request {
    let state = match request.phase {
        Phase::Queued => proto::RequestState::Queued,
        Phase::Prefill => proto::RequestState::Prefill,
        Phase::Streaming => proto::RequestState::Streaming,
        Phase::Settling => proto::RequestState::Settling,
        Phase::Completed => proto::RequestState::Completed,
        Phase::Failed => proto::RequestState::Failed,
        Phase::Cancelled => proto::RequestState::Cancelled,
    };
    proto::Request {
        request_id: request.request_id.to_string(),
        customer_id: request.customer.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_id: request.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_name: request.key_name.to_string(),
        scope: request.scope.to_string(),
        backend_id: request.backend.as_ref().map(ToString::to_string).unwrap_or_default(),
        state: state.into(),
        error_code: request.error.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        stream: request.stream,
        meters: Some(meters(&request.meters)),
        estimated: request.estimated,
        charged_ncr: request.charged.get(),
        created_at_ms: request.created_at_ms,
        ttft_ms: request.ttft_ms.unwrap_or(0),
        duration_ms: request.duration_ms,
    }
}

pub(super) fn settled_request(row: &UsageRow) -> proto::Request {
    let state = match row.usage.status {
        UsageStatus::Completed => proto::RequestState::Completed,
        UsageStatus::Failed | UsageStatus::Lost => proto::RequestState::Failed,
        UsageStatus::Cancelled => proto::RequestState::Cancelled,
    };
    let ms = |ms: i64| u32::try_from(ms.max(0)).unwrap_or(u32::MAX);
    proto::Request {
        request_id: row.request.to_string(),
        customer_id: row.customer.to_string(),
        key_id: row.key.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_name: String::new(),
        scope: row.scope.to_string(),
        backend_id: row.usage.backend.clone().unwrap_or_default(),
        state: state.into(),
        error_code: row.usage.error_code.clone().unwrap_or_default(),
        stream: row.stream,
        meters: Some(meters(&row.usage.meters)),
        estimated: row.usage.estimated,
        charged_ncr: row.charge.get(),
        created_at_ms: row.created_ms,
        ttft_ms: row.usage.ttft_ms.map_or(0, ms),
        duration_ms: ms(row.usage.done_ms.saturating_sub(row.created_ms)),
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
