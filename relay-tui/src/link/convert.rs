//! The protocol's messages as the console's rows. Every text passes the sanitizer here.

use relay_proto::admin::v1 as proto;

use crate::model::data::{
    Attention, AuditEntry, Backend, BackendState, Breaker, Customer, Event, Fleet, Key, KeyUsage,
    Limits, ModelUsage, Money, OverviewPatch, Request, RequestState, Role, Served, Session,
    Severity, Traffic,
};
use crate::text::{clean, clean_document};

/// The newest protocol that this console knows all of.
pub(super) const PROTOCOL: u32 = 1;

pub(super) fn session(answer: proto::WhoAmIResponse) -> Session {
    let role = match answer.role() {
        proto::Role::Admin => Role::Admin,
        proto::Role::Operator => Role::Operator,
        proto::Role::Viewer | proto::Role::Unspecified => Role::Viewer,
    };
    Session {
        operator: clean(&answer.operator),
        role,
        relay: clean(&answer.relay),
        version: clean(&answer.version),
        commit: clean(&answer.commit),
        protocol: answer.protocol,
        started_at_ms: answer.started_at_ms,
        now_ms: answer.now_ms,
    }
}

/// A snapshot: every part is there, an absent one is empty.
pub(super) fn overview(all: proto::Overview) -> OverviewPatch {
    OverviewPatch {
        traffic: Some(all.traffic.map(traffic).unwrap_or_default()),
        money: Some(all.money.map(money).unwrap_or_default()),
        fleet: Some(all.fleet.map(fleet).unwrap_or_default()),
        attention: Some(all.attention.into_iter().map(attention).collect()),
    }
}

pub(super) fn overview_delta(delta: proto::OverviewDelta) -> OverviewPatch {
    OverviewPatch {
        traffic: delta.traffic.map(traffic),
        money: delta.money.map(money),
        fleet: delta.fleet.map(fleet),
        attention: delta.attention.map(|list| list.items.into_iter().map(attention).collect()),
    }
}

fn traffic(t: proto::Traffic) -> Traffic {
    Traffic {
        requests_per_ks: t.requests_per_ks,
        tokens_in_per_ks: t.tokens_in_per_ks,
        tokens_out_per_ks: t.tokens_out_per_ks,
        errors_ppm: t.errors_ppm,
        shed: t.shed,
        in_flight: t.in_flight,
        streams: t.streams,
        queued: t.queued,
        oldest_queued_ms: t.oldest_queued_ms,
        ttft_p50_ms: t.ttft_p50_ms,
        ttft_p95_ms: t.ttft_p95_ms,
        ttft_p99_ms: t.ttft_p99_ms,
    }
}

fn money(m: proto::Money) -> Money {
    Money {
        charged_today_ncr: m.charged_today_ncr,
        held_ncr: m.held_ncr,
        balances_ncr: m.balances_ncr,
        open_holds: m.open_holds,
        checked_at_ms: m.checked_at_ms,
        breaches: m.breaches,
    }
}

fn fleet(f: proto::Fleet) -> Fleet {
    Fleet { backends: f.backends, up: f.up, down: f.down, cordoned: f.cordoned }
}

const fn severity(severity: proto::Severity) -> Severity {
    match severity {
        proto::Severity::Critical => Severity::Critical,
        proto::Severity::Warning => Severity::Warning,
        proto::Severity::Info | proto::Severity::Unspecified => Severity::Info,
    }
}

fn attention(a: proto::Attention) -> Attention {
    Attention {
        id: String::new(),
        severity: severity(a.severity()),
        text: clean(&a.text),
        screen: clean(&a.screen),
        subject: clean(&a.subject),
        since_ms: a.since_ms,
    }
}

pub(super) fn backend(b: proto::Backend) -> Backend {
    let state = match b.state() {
        proto::BackendState::Up => BackendState::Up,
        proto::BackendState::Loading => BackendState::Loading,
        proto::BackendState::Down => BackendState::Down,
        proto::BackendState::Cordoned => BackendState::Cordoned,
        proto::BackendState::Draining => BackendState::Draining,
        proto::BackendState::Drained => BackendState::Drained,
        proto::BackendState::Unknown | proto::BackendState::Unspecified => BackendState::Unknown,
    };
    let breaker = match b.breaker() {
        proto::BreakerState::Open => Breaker::Open,
        proto::BreakerState::HalfOpen => Breaker::HalfOpen,
        proto::BreakerState::Closed | proto::BreakerState::Unspecified => Breaker::Closed,
    };
    Backend {
        id: clean(&b.backend_id),
        provider: clean(&b.provider_id),
        dialect: clean(&b.dialect),
        engine: clean(&b.engine),
        base_url: clean(&b.base_url),
        state,
        reason: clean(&b.state_reason),
        since_ms: b.state_since_ms,
        breaker,
        breaker_until_ms: b.breaker_until_ms,
        weight: b.weight,
        max_concurrency: b.max_concurrency,
        queue_limit: b.queue_limit,
        running: b.running,
        queued: b.queued,
        ttft_p50_ms: b.ttft_p50_ms,
        ttft_p95_ms: b.ttft_p95_ms,
        requests: b.requests,
        failures: b.failures,
        recent_failures_ppm: b.recent_failures_ppm,
        tokens_out: b.tokens_out,
        models: b
            .models
            .into_iter()
            .map(|m| Served { model: clean(&m.model), upstream: clean(&m.upstream) })
            .collect(),
        version: b.version,
        probed_at_ms: b.probed_at_ms,
    }
}

const fn tokens(m: &proto::Meters) -> (u64, u64) {
    let read = m.in_uncached.saturating_add(m.in_cache_read);
    let written = m.in_cache_write_5m.saturating_add(m.in_cache_write_1h);
    (read.saturating_add(written), m.out_text.saturating_add(m.out_reasoning))
}

pub(super) fn key(k: proto::Key) -> Key {
    let revoked = k.status() == proto::KeyStatus::Revoked;
    let limits = k.rate_limits.unwrap_or_default();
    let today = k.today.unwrap_or_default();
    let (tokens_in, tokens_out) = tokens(&today.meters.unwrap_or_default());
    let now = k.now.unwrap_or_default();
    Key {
        id: clean(&k.key_id),
        customer_id: clean(&k.customer_id),
        customer: clean(&k.customer_name),
        name: clean(&k.name),
        prefix: clean(&k.prefix),
        revoked,
        superkey: k.superkey,
        system: k.system,
        tier: clean(&k.tier),
        denied_scopes: k.denied_scopes.iter().map(|scope| clean(scope)).collect(),
        limits: Limits { direct: limits.direct, opengpu: limits.opengpu, global: limits.global },
        budget_ncr: k.budget_ncr,
        created_at_ms: k.created_at_ms,
        last_used_at_ms: k.last_used_at_ms,
        revoked_at_ms: k.revoked_at_ms,
        version: k.version,
        today: KeyUsage {
            requests: today.requests,
            errors: today.errors,
            limited: today.limited,
            tokens_in,
            tokens_out,
            charged_ncr: today.charged_ncr,
            ttft_p50_ms: today.ttft_p50_ms,
            ttft_p95_ms: today.ttft_p95_ms,
        },
        in_flight: now.in_flight,
        requests_per_ks: now.requests_per_ks,
    }
}

pub(super) fn request(r: proto::Request) -> Request {
    let state = match r.state() {
        proto::RequestState::Queued | proto::RequestState::Unspecified => RequestState::Queued,
        proto::RequestState::Prefill => RequestState::Prefill,
        proto::RequestState::Streaming => RequestState::Streaming,
        proto::RequestState::Settling => RequestState::Settling,
        proto::RequestState::Completed => RequestState::Completed,
        proto::RequestState::Failed => RequestState::Failed,
        proto::RequestState::Cancelled => RequestState::Cancelled,
    };
    let (tokens_in, tokens_out) = tokens(&r.meters.unwrap_or_default());
    Request {
        id: clean(&r.request_id),
        customer_id: clean(&r.customer_id),
        key_id: clean(&r.key_id),
        key_name: clean(&r.key_name),
        scope: clean(&r.scope),
        backend: clean(&r.backend_id),
        state,
        error_code: clean(&r.error_code),
        stream: r.stream,
        tokens_in,
        tokens_out,
        estimated: r.estimated,
        charged_ncr: r.charged_ncr,
        created_at_ms: r.created_at_ms,
        ttft_ms: r.ttft_ms,
        duration_ms: r.duration_ms,
    }
}

pub(super) fn event(e: proto::Event) -> Event {
    Event {
        seq: e.seq,
        id: e.seq.to_string(),
        at_ms: e.at_ms,
        kind: clean(&e.kind),
        severity: severity(e.severity()),
        subject: clean(&e.subject),
        text: clean(&e.text),
    }
}

pub(super) fn audit(a: proto::AuditEntry) -> AuditEntry {
    AuditEntry {
        seq: a.seq,
        id: a.seq.to_string(),
        at_ms: a.at_ms,
        operator: clean(&a.operator),
        role: clean(&a.role),
        action: clean(&a.action),
        object: clean(&a.object),
        request_id: clean(&a.request_id),
        reason: clean(&a.reason),
        before: clean_document(&a.before),
        after: clean_document(&a.after),
        hash: clean(&a.hash),
    }
}

pub(super) fn customer(c: proto::Customer) -> Customer {
    Customer {
        suspended: c.status() == proto::CustomerStatus::Suspended,
        id: clean(&c.customer_id),
        name: clean(&c.name),
        tier: clean(&c.tier),
        balance_ncr: c.balance_ncr,
    }
}

pub(super) fn model_usage(row: proto::UsageRow) -> ModelUsage {
    ModelUsage {
        model: row.group.first().map(|model| clean(model)).unwrap_or_default(),
        requests: row.requests,
        charged_ncr: row.charged_ncr,
    }
}
