//! Providers and invitations in the protocol's words.

use relay_proto::admin::v1 as proto;

use crate::domain::{DeclaredGpu, Ncr, ProviderState};
use crate::engines::EngineLoad;
use crate::fleet::{
    Benchmark, ContextEvidence, Dimension, EngineReport, IdentityEvidence, Provider, Record,
};
use crate::store::{InvitationRow, OfferRow, ProviderLimits};

pub(super) fn provider(found: &Provider) -> proto::Provider {
    let (row, live) = (&found.row, found.live.as_ref());
    let said = &row.presented;
    // Instances of deployments are described by the agent as a hello would describe them.
    let told = live.into_iter().flat_map(|live| &live.engines);
    let instances: Vec<OfferRow> = told
        .filter(|told| !told.deployment.is_empty())
        .map(|told| OfferRow {
            name: told.name.clone(),
            kind: told.kind.clone(),
            dialect: told.dialect.clone(),
            models: told.models.clone(),
            max_concurrency: told.max_concurrency,
        })
        .collect();
    proto::Provider {
        provider_id: row.id.to_string(),
        name: said.name.clone(),
        state: state(row.state).into(),
        state_reason: row.reason.clone(),
        state_since_ms: row.state_since_ms,
        payout_address: said.payout.to_string(),
        agent_version: said.agent_version.clone(),
        address: said.address.clone(),
        connected: live.is_some(),
        connected_at_ms: live.map_or(0, |live| live.connected_at_ms),
        heard_at_ms: live.map_or(0, |live| live.heard_at_ms),
        engines: said.engines.iter().chain(&instances).map(|offer| engine(found, offer)).collect(),
        examined_at_ms: found.evidence.examined_at_ms,
        missing: found.evidence.missing.clone(),
        max_concurrency: row.limits.max_concurrency.unwrap_or(0),
        joined_at_ms: row.joined_ms,
        version: row.version,
        public_key: hex::encode(&row.public_key),
        gpus: said.gpus.iter().map(gpu).collect(),
        earned_ncr: found.earned.get(),
        models_allowed: allowed(&row.limits),
        price_floor_ncr: row.limits.price_floor.map_or(0, Ncr::get),
        reputation: Some(reputation(&found.record)),
    }
}

fn reputation(record: &Record) -> proto::ProviderReputation {
    let seen = &record.reputation;
    let score = |dimension: Dimension| {
        let score = seen.get(dimension);
        proto::ProviderScore {
            score: dimension.to_string(),
            bound_milli: score.bound(),
            good_milli: thousandths(score.good),
            bad_milli: thousandths(score.bad),
        }
    };
    proto::ProviderReputation {
        standing: record.standing.to_string(),
        rank_milli: seen.rank(),
        scores: Dimension::ALL.into_iter().map(score).collect(),
        steps: record
            .steps
            .iter()
            .map(|step| proto::ProviderStep {
                at_ms: step.at_ms,
                to: step.to.to_string(),
                score: step.dimension.to_string(),
                reason: step.reason.clone(),
            })
            .collect(),
        mishaps: record
            .mishaps
            .iter()
            .map(|mishap| proto::ProviderMishap {
                at_ms: mishap.at_ms,
                score: mishap.dimension.to_string(),
                text: mishap.text.clone(),
            })
            .collect(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a score remembers at most some dozens"
)]
fn thousandths(weight: f64) -> u64 {
    (weight.max(0.0) * 1_000.0).round() as u64
}

fn allowed(limits: &ProviderLimits) -> Vec<String> {
    limits.models.iter().flatten().map(ToString::to_string).collect()
}

fn gpu(declared: &DeclaredGpu) -> proto::ProviderGpu {
    proto::ProviderGpu {
        name: declared.name.clone(),
        count: declared.count,
        memory_mib: declared.memory_mib,
    }
}

fn engine(found: &Provider, offer: &OfferRow) -> proto::ProviderEngine {
    let examined = found.evidence.engines.iter().find(|engine| engine.name == offer.name);
    let reported = found
        .live
        .as_ref()
        .and_then(|live| live.engines.iter().find(|engine| engine.name == offer.name));
    let sold_as = |upstream: &str| {
        let known = examined?.models.iter().find(|model| model.upstream == upstream)?;
        known.model.as_ref().map(ToString::to_string)
    };
    // The newest list there is: the agent's, then the examination's, then the greeting's.
    let listed: Vec<&String> = match (reported, examined) {
        (Some(EngineReport { models, .. }), _) if !models.is_empty() => models.iter().collect(),
        (_, Some(examined)) if !examined.models.is_empty() => {
            examined.models.iter().map(|model| &model.upstream).collect()
        }
        _ => offer.models.iter().collect(),
    };
    let state = match (reported, examined) {
        (Some(reported), _) => reported.state.clone(),
        (None, Some(examined)) => examined.state.clone(),
        (None, None) => String::new(),
    };
    let load = reported.map_or_else(EngineLoad::default, |reported| reported.load);
    proto::ProviderEngine {
        name: offer.name.clone(),
        kind: offer.kind.clone(),
        dialect: offer.dialect.clone(),
        state,
        state_reason: reported.map(|reported| reported.reason.clone()).unwrap_or_default(),
        running: reported.map_or(0, |reported| reported.running),
        engine_running: load.running,
        engine_waiting: load.waiting,
        kv_cache_milli: load.kv_milli,
        loaded_models: load.loaded,
        deployment_id: reported.map(|reported| reported.deployment.clone()).unwrap_or_default(),
        max_concurrency: offer.max_concurrency,
        models: listed
            .into_iter()
            .map(|upstream| proto::ProviderModel {
                model: sold_as(upstream).unwrap_or_default(),
                upstream: upstream.clone(),
            })
            .collect(),
        examined: examined.is_some(),
        identity: examined
            .map(|examined| examined.identity.iter().map(identity).collect())
            .unwrap_or_default(),
        context: examined.and_then(|examined| examined.context.as_ref()).map(context),
        benchmarks: examined
            .map(|examined| examined.benchmarks.iter().map(benchmark).collect())
            .unwrap_or_default(),
    }
}

fn identity(found: &IdentityEvidence) -> proto::ProviderIdentity {
    proto::ProviderIdentity {
        upstream: found.upstream.clone(),
        model: found.model.clone(),
        state: found.state.as_str().to_owned(),
        state_reason: found.reason.clone(),
        asked: found.asked,
        passed: found.passed,
        unsure: found.unsure,
        agreement_milli: found.agreement_milli,
        difference_milli: found.difference_milli,
    }
}

fn context(found: &ContextEvidence) -> proto::ProviderContext {
    proto::ProviderContext {
        upstream: found.upstream.clone(),
        declared_tokens: found.declared_tokens,
        sold_tokens: found.sold_tokens,
        verified_tokens: found.verified_tokens,
        state_reason: found.reason.clone(),
    }
}

fn benchmark(run: &Benchmark) -> proto::ProviderBenchmark {
    proto::ProviderBenchmark {
        upstream: run.upstream.clone(),
        concurrency: run.concurrency,
        requests: run.requests,
        failed: run.failed,
        ttft_p50_ms: run.ttft_p50_ms,
        ttft_max_ms: run.ttft_max_ms,
        tokens_per_ks: run.tokens_per_ks,
    }
}

pub(super) const fn state(state: ProviderState) -> proto::ProviderState {
    match state {
        ProviderState::Joining => proto::ProviderState::Joining,
        ProviderState::Probing => proto::ProviderState::Probing,
        ProviderState::Pending => proto::ProviderState::Pending,
        ProviderState::Approved => proto::ProviderState::Approved,
        ProviderState::Rejected => proto::ProviderState::Rejected,
        ProviderState::Suspended => proto::ProviderState::Suspended,
        ProviderState::Left => proto::ProviderState::Left,
    }
}

pub(super) fn invitation(row: &InvitationRow) -> proto::Invitation {
    proto::Invitation {
        invitation_id: row.id.clone(),
        note: row.note.clone(),
        uses_left: row.uses_left.unwrap_or(0),
        unlimited: row.uses_left.is_none(),
        expires_at_ms: row.expires_ms.unwrap_or(0),
        created_by: row.created_by.clone(),
        created_at_ms: row.created_ms,
        withdrawn_at_ms: row.revoked_ms.unwrap_or(0),
        version: row.version,
    }
}
