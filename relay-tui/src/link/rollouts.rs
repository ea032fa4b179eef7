//! Models and rollouts of the protocol as the console's own. Every text passes the sanitizer here.

use relay_proto::admin::v1 as proto;

use crate::model::rollouts::{
    Figures, Gate, GateKind, ModelRow, Note, Revision, Rollout, RolloutState, Traffic, Verdict,
};
use crate::text::clean;

pub(super) fn model(m: proto::ModelRollout) -> ModelRow {
    ModelRow {
        name: clean(&m.model),
        live: m.live_revision,
        next: m.next_revision,
        share_permille: m.share_permille,
        shadow_permille: m.shadow_permille,
        revisions: m.revisions.iter().map(revision).collect(),
        rollout: m.rollout.map(rollout),
        traffic: m.traffic.into_iter().map(traffic).collect(),
        targets: m.targets,
        targets_up: m.targets_up,
        version: m.version,
    }
}

fn revision(r: &proto::Revision) -> Revision {
    let target = |t: &proto::RevisionTarget| (clean(&t.backend_id), clean(&t.upstream));
    Revision {
        number: r.number,
        note: clean(&r.note),
        targets: r.targets.iter().map(target).collect(),
        parameters: r.parameters.as_ref().map(parameters).unwrap_or_default(),
        created_by: clean(&r.created_by),
        created_at_ms: r.created_at_ms,
    }
}

/// `temperature 0.7, max tokens 512`.
fn parameters(p: &proto::RevisionParameters) -> String {
    let thousandth = |name: &str, value: Option<u32>| {
        value.map(|value| format!("{name} {}.{:03}", value / 1_000, value % 1_000))
    };
    let words = [
        thousandth("temperature", p.temperature_milli),
        thousandth("top_p", p.top_p_milli),
        p.max_tokens.map(|most| format!("max tokens {most}")),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

const fn state(state: proto::RolloutState) -> RolloutState {
    match state {
        proto::RolloutState::Paused => RolloutState::Paused,
        proto::RolloutState::Completed => RolloutState::Completed,
        proto::RolloutState::RolledBack => RolloutState::RolledBack,
        proto::RolloutState::Running | proto::RolloutState::Unspecified => RolloutState::Running,
    }
}

fn rollout(r: proto::Rollout) -> Rollout {
    let state = state(r.state());
    let plan = r.plan.unwrap_or_default();
    Rollout {
        id: clean(&r.rollout_id),
        from: r.from_revision,
        to: r.to_revision,
        state,
        reason: clean(&r.state_reason),
        since_ms: r.state_since_ms,
        steps_permille: plan.steps_permille,
        window_ms: plan.window_ms,
        min_samples: plan.min_samples,
        patience_windows: plan.patience_windows,
        alpha_ppm: plan.alpha_ppm,
        shadow_permille: plan.shadow_permille,
        canary_prompts: plan.canary_prompts.len(),
        step: r.step,
        step_since_ms: r.step_since_ms,
        share_permille: r.share_permille,
        gates: r.gates.iter().filter_map(gate).collect(),
        from_figures: r.from_figures.map(figures).unwrap_or_default(),
        to_figures: r.to_figures.map(figures).unwrap_or_default(),
        shadow_figures: r.shadow_figures.map(figures).unwrap_or_default(),
        history: r.history.iter().map(note).collect(),
        created_by: clean(&r.created_by),
        version: r.version,
    }
}

/// `None` for a gate that this console does not know.
fn gate(g: &proto::GateResult) -> Option<Gate> {
    let kind = match g.gate() {
        proto::GateKind::Unspecified => return None,
        proto::GateKind::Errors => GateKind::Errors,
        proto::GateKind::Ttft => GateKind::Ttft,
        proto::GateKind::TokensPerSecond => GateKind::TokensPerSecond,
        proto::GateKind::FinishReasons => GateKind::FinishReasons,
        proto::GateKind::Canary => GateKind::Canary,
    };
    let verdict = match g.verdict() {
        proto::GateVerdict::Off | proto::GateVerdict::Unspecified => Verdict::Off,
        proto::GateVerdict::Waiting => Verdict::Waiting,
        proto::GateVerdict::Passed => Verdict::Passed,
        proto::GateVerdict::Failed => Verdict::Failed,
    };
    Some(Gate {
        kind,
        verdict,
        words: clean(&g.words),
        tolerance_ppm: g.tolerance_ppm,
        worse_ppm: g.worse_ppm,
    })
}

fn note(n: &proto::RolloutNote) -> Note {
    Note {
        at_ms: n.at_ms,
        by: clean(&n.by),
        state: state(n.state()),
        share_permille: n.share_permille,
        reason: clean(&n.reason),
    }
}

fn figures(f: proto::RevisionFigures) -> Figures {
    let ends = [f.finish_stop, f.finish_length, f.finish_tools, f.finish_filter, f.finish_other];
    Figures {
        requests: f.requests,
        failed: f.failed,
        ttft_p50_ms: f.ttft_p50_ms,
        ttft_p95_ms: f.ttft_p95_ms,
        tokens_per_ks_p50: f.tokens_per_ks_p50,
        finish_stop: f.finish_stop,
        finished: ends.into_iter().fold(0, u64::saturating_add),
        canaries: f.canaries,
        canaries_passed: f.canaries_passed,
        tokens_out: f.tokens_out,
    }
}

fn traffic(t: proto::RevisionTraffic) -> Traffic {
    Traffic {
        revision: t.revision,
        figures: t.figures.map(figures).unwrap_or_default(),
        span_ms: t.span_ms,
        ttft_p95_ms: t.ttft_p95_ms_history,
    }
}
