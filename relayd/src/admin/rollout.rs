//! Revisions and rollouts in the protocol's words.

use relay_proto::admin::v1 as proto;

use crate::domain::{
    CanaryPrompt, Gate, Gates, ModelName, RevisionParameters, RolloutPlan, RolloutState,
};
use crate::fleet::{Fleet, StateWord};
use crate::rollouts::{
    Bins, Book, Current, GateResult, Revision, Rollouts, Sums, Traffic, Verdict,
};
use crate::store::{RevisionRow, RolloutNoteRow, RolloutRow};

/// Most revisions of a model that are shown with it.
const REVISIONS_SHOWN: usize = 20;

/// A model with its revisions and its newest rollout.
pub(super) fn model(
    rollouts: &Rollouts,
    book: &Book,
    fleet: &Fleet,
    model: &ModelName,
) -> proto::ModelRollout {
    let live = book.live.get(model);
    let current = book.current.get(model);
    let open = current.filter(|current| current.row.state.is_open());
    let known = book.revisions.get(model).map_or(&[][..], Vec::as_slice);
    let numbers = [live.map(|live| live.number), open.map(|open| open.row.to)];
    let serves = known.iter().filter(|revision| numbers.contains(&Some(revision.number)));
    let serves: Vec<_> = serves.map(Revision::new).collect();
    let snapshot = fleet.snapshot();
    let serving: Vec<_> = snapshot
        .backends()
        .filter(|backend| match live {
            Some(_) => serves.iter().any(|revision| revision.backends.holds(backend)),
            None => backend.upstream(model).is_some(),
        })
        .collect();
    let up = serving.iter().filter(|backend| backend.state() == StateWord::Up).count();
    proto::ModelRollout {
        model: model.to_string(),
        live_revision: live.map_or(0, |live| live.number),
        next_revision: open.map_or(0, |open| open.row.to),
        share_permille: open.map_or(0, |open| open.share_permille().into()),
        shadow_permille: open.map_or(0, |open| open.row.plan.shadow_permille.into()),
        revisions: known.iter().take(REVISIONS_SHOWN).map(revision).collect(),
        rollout: current.map(|current| rollout(current)),
        traffic: rollouts.traffic(model).iter().map(traffic).collect(),
        targets: u32::try_from(serving.len()).unwrap_or(u32::MAX),
        targets_up: u32::try_from(up).unwrap_or(u32::MAX),
        version: live.map_or(0, |live| live.version),
    }
}

pub(super) fn revision(row: &RevisionRow) -> proto::Revision {
    let targets = row.targets.iter().map(|target| proto::RevisionTarget {
        backend_id: target.backend.to_string(),
        upstream: target.upstream.clone(),
    });
    proto::Revision {
        model: row.model.to_string(),
        number: row.number,
        note: row.note.clone(),
        targets: targets.collect(),
        parameters: Some(proto::RevisionParameters {
            temperature_milli: row.parameters.temperature_milli,
            top_p_milli: row.parameters.top_p_milli,
            max_tokens: row.parameters.max_tokens,
        }),
        deployment_id: row.deployment.clone(),
        created_by: row.created_by.clone(),
        created_at_ms: row.created_ms,
    }
}

pub(super) fn parameters(said: Option<proto::RevisionParameters>) -> RevisionParameters {
    let said = said.unwrap_or_default();
    RevisionParameters {
        temperature_milli: said.temperature_milli,
        top_p_milli: said.top_p_milli,
        max_tokens: said.max_tokens,
    }
}

/// The plan that a message asks for; what it leaves out is as usual. Not checked.
pub(super) fn plan_of(said: Option<proto::RolloutPlan>) -> RolloutPlan {
    let (said, usual) = (said.unwrap_or_default(), RolloutPlan::default());
    let or = |given: u32, usual: u32| if given == 0 { usual } else { given };
    // Beyond 65,535 is as wrong as 65,535.
    let permille = |share: u32| u16::try_from(share).unwrap_or(u16::MAX);
    RolloutPlan {
        steps_permille: match said.steps_permille.as_slice() {
            [] => usual.steps_permille,
            steps => steps.iter().copied().map(permille).collect(),
        },
        window_ms: if said.window_ms == 0 { usual.window_ms } else { said.window_ms },
        min_samples: or(said.min_samples, usual.min_samples),
        patience_windows: or(said.patience_windows, usual.patience_windows),
        alpha_ppm: or(said.alpha_ppm, usual.alpha_ppm),
        shadow_permille: permille(said.shadow_permille),
        gates: said.gates.map_or(usual.gates, |gates| Gates {
            errors_ppm: gates.errors_ppm,
            ttft_ppm: gates.ttft_ppm,
            tokens_per_second_ppm: gates.tokens_per_second_ppm,
            finish_reasons_ppm: gates.finish_reasons_ppm,
            canary_ppm: gates.canary_ppm,
        }),
        canary_prompts: said
            .canary_prompts
            .into_iter()
            .map(|canary| CanaryPrompt { prompt: canary.prompt, expect: canary.expect })
            .collect(),
    }
}

pub(super) fn plan(plan: &RolloutPlan) -> proto::RolloutPlan {
    let canary = |canary: &CanaryPrompt| proto::CanaryPrompt {
        prompt: canary.prompt.clone(),
        expect: canary.expect.clone(),
    };
    proto::RolloutPlan {
        steps_permille: plan.steps_permille.iter().copied().map(u32::from).collect(),
        window_ms: plan.window_ms,
        min_samples: plan.min_samples,
        patience_windows: plan.patience_windows,
        alpha_ppm: plan.alpha_ppm,
        shadow_permille: plan.shadow_permille.into(),
        gates: Some(proto::Gates {
            errors_ppm: plan.gates.errors_ppm,
            ttft_ppm: plan.gates.ttft_ppm,
            tokens_per_second_ppm: plan.gates.tokens_per_second_ppm,
            finish_reasons_ppm: plan.gates.finish_reasons_ppm,
            canary_ppm: plan.gates.canary_ppm,
        }),
        canary_prompts: plan.canary_prompts.iter().map(canary).collect(),
    }
}

/// A rollout with what is known of it now.
pub(super) fn rollout(current: &Current) -> proto::Rollout {
    proto::Rollout {
        share_permille: current.share_permille().into(),
        gates: current.gates.iter().map(gate).collect(),
        from_figures: Some(figures(&current.live)),
        to_figures: Some(figures(&current.next)),
        shadow_figures: Some(figures(&current.shadow)),
        history: current.notes.iter().map(note).collect(),
        ..row(&current.row)
    }
}

/// A rollout as it is stored.
pub(super) fn row(row: &RolloutRow) -> proto::Rollout {
    let gates: Vec<GateResult> = serde_json::from_str(&row.gates).unwrap_or_default();
    let share_permille = match row.state {
        RolloutState::Running | RolloutState::Paused => row.plan.share_permille(row.step),
        RolloutState::Completed => crate::domain::ALL_PERMILLE,
        RolloutState::RolledBack => 0,
    };
    proto::Rollout {
        rollout_id: row.id.to_string(),
        model: row.model.to_string(),
        from_revision: row.from,
        to_revision: row.to,
        state: state(row.state).into(),
        state_reason: row.reason.clone(),
        state_since_ms: row.state_since_ms,
        plan: Some(plan(&row.plan)),
        step: row.step,
        step_since_ms: row.step_since_ms,
        share_permille: share_permille.into(),
        gates: gates.iter().map(gate).collect(),
        created_by: row.created_by.clone(),
        created_at_ms: row.created_ms,
        version: row.version,
        ..proto::Rollout::default()
    }
}

pub(super) const fn state(state: RolloutState) -> proto::RolloutState {
    match state {
        RolloutState::Running => proto::RolloutState::Running,
        RolloutState::Paused => proto::RolloutState::Paused,
        RolloutState::Completed => proto::RolloutState::Completed,
        RolloutState::RolledBack => proto::RolloutState::RolledBack,
    }
}

pub(super) fn note(note: &RolloutNoteRow) -> proto::RolloutNote {
    proto::RolloutNote {
        at_ms: note.at_ms,
        by: note.actor.clone(),
        state: state(note.state).into(),
        step: note.step,
        share_permille: note.share_permille.into(),
        reason: note.reason.clone(),
    }
}

fn gate(result: &GateResult) -> proto::GateResult {
    let kind = match result.gate {
        Gate::Errors => proto::GateKind::Errors,
        Gate::Ttft => proto::GateKind::Ttft,
        Gate::TokensPerSecond => proto::GateKind::TokensPerSecond,
        Gate::FinishReasons => proto::GateKind::FinishReasons,
        Gate::Canary => proto::GateKind::Canary,
    };
    let verdict = match result.verdict {
        Verdict::Off => proto::GateVerdict::Off,
        Verdict::Waiting => proto::GateVerdict::Waiting,
        Verdict::Passed => proto::GateVerdict::Passed,
        Verdict::Failed => proto::GateVerdict::Failed,
    };
    proto::GateResult {
        gate: kind.into(),
        verdict: verdict.into(),
        words: result.words.clone(),
        tolerance_ppm: result.tolerance_ppm,
        worse_ppm: result.worse_ppm,
        p_ppm: result.p_ppm,
    }
}

fn figures(sums: &Sums) -> proto::RevisionFigures {
    let value = |bins: &Bins, permille: u64, scale: f64| {
        let value = bins.quantile(permille).unwrap_or_default() * scale;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a measure that was taken; saturates beyond"
        )]
        let whole = value.round() as u32;
        whole
    };
    proto::RevisionFigures {
        requests: sums.requests,
        failed: sums.failed,
        refused: sums.refused,
        cancelled: sums.cancelled,
        ttft_p50_ms: value(&sums.ttft, 500, 1.0),
        ttft_p95_ms: value(&sums.ttft, 950, 1.0),
        tokens_per_ks_p50: value(&sums.rate, 500, 1e3).into(),
        finish_stop: sums.finishes.stop,
        finish_length: sums.finishes.length,
        finish_tools: sums.finishes.tools,
        finish_filter: sums.finishes.filter,
        finish_other: sums.finishes.other,
        canaries: sums.canaries,
        canaries_passed: sums.canaries_passed,
        tokens_out: sums.tokens,
    }
}

fn traffic(of: &Traffic) -> proto::RevisionTraffic {
    proto::RevisionTraffic {
        revision: of.revision,
        figures: Some(figures(&of.sums)),
        span_ms: u32::try_from(of.span.as_millis()).unwrap_or(u32::MAX),
        ttft_p95_ms_history: of.ttft_p95_ms.clone(),
    }
}
