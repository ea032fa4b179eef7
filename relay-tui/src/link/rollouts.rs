//! Models and rollouts of the protocol as the console's own. Every text passes the sanitizer here.

use std::io::Read as _;

use relay_proto::admin::v1 as proto;
use serde::Deserialize;

use crate::model::call::{Canaries, GateLimit, RevisionDraft, RolloutStart};
use crate::model::rollouts::{
    Figures, Gate, GateKind, ModelRow, Note, Revision, Rollout, RolloutState, Traffic, Verdict,
};
use crate::text::clean;

/// The gates of a plan that names none, as the protocol says. Naming one names them all.
const USUAL_GATES: proto::Gates = proto::Gates {
    errors_ppm: Some(5_000),
    ttft_ppm: Some(200_000),
    tokens_per_second_ppm: Some(200_000),
    finish_reasons_ppm: Some(100_000),
    canary_ppm: Some(100_000),
};
/// Bytes of a file of canary prompts: more than the daemon takes.
const CANARIES_MAX_BYTES: u64 = 1 << 20;

/// What the ids of deployments begin with; no backend's name does.
const DEPLOYMENT_PREFIX: &str = "dep_";

/// A prompt of a file, as `relayd admin rollouts start --canaries` reads it.
#[derive(Deserialize)]
struct Canary {
    prompt: String,
    expect: String,
}

/// The plan that is asked for; what it leaves out is the daemon's own.
///
/// # Errors
/// One sentence: the file of canary prompts cannot be read.
pub(super) fn plan(start: &RolloutStart) -> Result<proto::RolloutPlan, String> {
    let canaries = match &start.canaries {
        Canaries::Typed(pairs) => pairs.clone(),
        Canaries::File(file) => read(file).map_err(|error| format!("{file}: {error}"))?,
    };
    let canary = |(prompt, expect)| proto::CanaryPrompt { prompt, expect };
    Ok(proto::RolloutPlan {
        steps_permille: start.steps_permille.clone(),
        window_ms: start.window_ms,
        min_samples: start.min_samples,
        patience_windows: start.patience_windows,
        alpha_ppm: start.alpha_ppm,
        shadow_permille: start.shadow_permille,
        gates: (!start.gates.is_empty()).then(|| gates(&start.gates)),
        canary_prompts: canaries.into_iter().map(canary).collect(),
    })
}

fn gates(said: &[(GateKind, GateLimit)]) -> proto::Gates {
    let mut gates = USUAL_GATES;
    for (kind, limit) in said {
        let place = match kind {
            GateKind::Errors => &mut gates.errors_ppm,
            GateKind::Ttft => &mut gates.ttft_ppm,
            GateKind::TokensPerSecond => &mut gates.tokens_per_second_ppm,
            GateKind::FinishReasons => &mut gates.finish_reasons_ppm,
            GateKind::Canary => &mut gates.canary_ppm,
        };
        *place = match limit {
            GateLimit::Off => None,
            GateLimit::Ppm(ppm) => Some(*ppm),
        };
    }
    gates
}

fn read(file: &str) -> Result<Vec<(String, String)>, String> {
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| error.to_string())?;
    opened
        .take(CANARIES_MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > CANARIES_MAX_BYTES {
        return Err(format!("is longer than {CANARIES_MAX_BYTES} bytes"));
    }
    let all: Vec<Canary> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    Ok(all.into_iter().map(|Canary { prompt, expect }| (prompt, expect)).collect())
}

/// The revision that is asked for.
pub(super) fn revise(
    change: Option<proto::Change>,
    model: String,
    draft: &RevisionDraft,
) -> proto::CreateRevisionRequest {
    let target = |(backend_id, upstream): &(String, String)| proto::RevisionTarget {
        backend_id: backend_id.clone(),
        upstream: upstream.clone(),
    };
    // A deployment is named like a backend, and stands alone.
    let (targets, deployment_id) = match draft.targets.as_slice() {
        [(id, upstream)] if id.starts_with(DEPLOYMENT_PREFIX) && upstream.is_empty() => {
            (Vec::new(), id.clone())
        }
        targets => (targets.iter().map(target).collect(), String::new()),
    };
    proto::CreateRevisionRequest {
        change,
        model,
        note: draft.note.clone(),
        targets,
        deployment_id,
        parameters: Some(proto::RevisionParameters {
            temperature_milli: draft.temperature_milli,
            top_p_milli: draft.top_p_milli,
            max_tokens: draft.max_tokens,
        }),
    }
}

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
    let deployed = (!r.deployment_id.is_empty()).then(|| (clean(&r.deployment_id), String::new()));
    Revision {
        number: r.number,
        note: clean(&r.note),
        targets: r.targets.iter().map(target).chain(deployed).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gate_changes_itself_alone_and_none_says_none() {
        let start = RolloutStart {
            gates: vec![
                (GateKind::Errors, GateLimit::Ppm(20_000)),
                (GateKind::Canary, GateLimit::Off),
            ],
            canaries: Canaries::Typed(vec![("2+2?".into(), "4".into())]),
            ..RolloutStart::default()
        };
        let plan = plan(&start).unwrap();
        let gates = plan.gates.unwrap();
        assert_eq!((gates.errors_ppm, gates.canary_ppm), (Some(20_000), None));
        assert_eq!(gates.ttft_ppm, USUAL_GATES.ttft_ppm);
        assert_eq!(plan.canary_prompts[0].expect, "4");
        assert_eq!(super::plan(&RolloutStart::default()).unwrap(), proto::RolloutPlan::default());
    }

    #[test]
    fn canaries_come_from_a_file_or_the_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("canaries.json").display().to_string();
        let of = |file: &str| {
            plan(&RolloutStart { canaries: Canaries::File(file.into()), ..RolloutStart::default() })
        };
        assert!(of(&file).unwrap_err().starts_with(&file), "it is not there");
        std::fs::write(&file, r#"[{"prompt": "say \"a | b\"", "expect": "a | b"}]"#).unwrap();
        assert_eq!(of(&file).unwrap().canary_prompts[0].expect, "a | b");
        std::fs::write(&file, "[1]").unwrap();
        assert!(of(&file).is_err());
    }
}
