//! Providers of the protocol as the console's own. Every text passes the sanitizer here.

use relay_proto::admin::v1 as proto;

use crate::model::providers::{
    Benchmark, Context, Declared, Engine, Likeness, Mishap, Offer, Provider, ProviderState,
    Reputation, Score, Standing, Step,
};
use crate::text::clean;

pub(super) fn provider(p: proto::Provider) -> Provider {
    let state = match p.state() {
        proto::ProviderState::Probing => ProviderState::Probing,
        proto::ProviderState::Pending => ProviderState::Pending,
        proto::ProviderState::Approved => ProviderState::Approved,
        proto::ProviderState::Rejected => ProviderState::Rejected,
        proto::ProviderState::Suspended => ProviderState::Suspended,
        proto::ProviderState::Left => ProviderState::Left,
        proto::ProviderState::Joining | proto::ProviderState::Unspecified => ProviderState::Joining,
    };
    Provider {
        id: clean(&p.provider_id),
        name: clean(&p.name),
        state,
        reason: clean(&p.state_reason),
        since_ms: p.state_since_ms,
        payout: clean(&p.payout_address),
        agent_version: clean(&p.agent_version),
        address: clean(&p.address),
        connected: p.connected,
        connected_at_ms: p.connected_at_ms,
        heard_at_ms: p.heard_at_ms,
        engines: p.engines.iter().map(engine).collect(),
        examined_at_ms: p.examined_at_ms,
        missing: p.missing.iter().map(|sentence| clean(sentence)).collect(),
        max_concurrency: p.max_concurrency,
        models_allowed: p.models_allowed.iter().map(|model| clean(model)).collect(),
        price_floor_ncr: p.price_floor_ncr,
        joined_at_ms: p.joined_at_ms,
        version: p.version,
        public_key: clean(&p.public_key),
        earned_ncr: p.earned_ncr,
        declared: p.gpus.iter().map(declared).collect(),
        reputation: p.reputation.as_ref().map(reputation).unwrap_or_default(),
    }
}

fn declared(g: &proto::ProviderGpu) -> Declared {
    Declared { name: clean(&g.name), count: g.count, memory_mib: g.memory_mib }
}

fn reputation(r: &proto::ProviderReputation) -> Reputation {
    let score = |s: &proto::ProviderScore| Score {
        name: clean(&s.score),
        bound_milli: s.bound_milli,
        good_milli: s.good_milli,
        bad_milli: s.bad_milli,
    };
    let step = |s: &proto::ProviderStep| Step {
        at_ms: s.at_ms,
        to: standing(&s.to),
        score: clean(&s.score),
        reason: clean(&s.reason),
    };
    let mishap = |m: &proto::ProviderMishap| Mishap {
        at_ms: m.at_ms,
        score: clean(&m.score),
        text: clean(&m.text),
    };
    Reputation {
        standing: standing(&r.standing),
        rank_milli: r.rank_milli,
        scores: r.scores.iter().map(score).collect(),
        steps: r.steps.iter().map(step).collect(),
        mishaps: r.mishaps.iter().map(mishap).collect(),
    }
}

fn standing(word: &str) -> Standing {
    match word {
        "good" => Standing::Good,
        "probation" => Standing::Probation,
        "suspended" => Standing::Suspended,
        _ => Standing::Unknown,
    }
}

fn engine(e: &proto::ProviderEngine) -> Engine {
    let offer =
        |m: &proto::ProviderModel| Offer { upstream: clean(&m.upstream), model: clean(&m.model) };
    let run = |b: &proto::ProviderBenchmark| Benchmark {
        upstream: clean(&b.upstream),
        concurrency: b.concurrency,
        requests: b.requests,
        failed: b.failed,
        ttft_p50_ms: b.ttft_p50_ms,
        ttft_max_ms: b.ttft_max_ms,
        tokens_per_ks: b.tokens_per_ks,
    };
    let identity = |i: &proto::ProviderIdentity| Likeness {
        upstream: clean(&i.upstream),
        model: clean(&i.model),
        state: clean(&i.state),
        reason: clean(&i.state_reason),
        asked: i.asked,
        passed: i.passed,
        unsure: i.unsure,
        agreement_milli: i.agreement_milli,
        difference_milli: i.difference_milli,
    };
    let context = |c: &proto::ProviderContext| Context {
        upstream: clean(&c.upstream),
        declared: c.declared_tokens,
        sold: c.sold_tokens,
        verified: c.verified_tokens,
        reason: clean(&c.state_reason),
    };
    Engine {
        name: clean(&e.name),
        kind: clean(&e.kind),
        dialect: clean(&e.dialect),
        state: clean(&e.state),
        reason: clean(&e.state_reason),
        running: e.running,
        max_concurrency: e.max_concurrency,
        models: e.models.iter().map(offer).collect(),
        benchmarks: e.benchmarks.iter().map(run).collect(),
        identity: e.identity.iter().map(identity).collect(),
        context: e.context.as_ref().map(context),
        own_running: e.engine_running,
        own_waiting: e.engine_waiting,
        kv_cache_milli: e.kv_cache_milli,
        loaded_models: e.loaded_models,
        deployment: clean(&e.deployment_id),
        examined: e.examined,
    }
}
