//! Models of the daemon's story: one that stands, one that waits for a person, one that went back.

use super::world::NOON;
use crate::model::rollouts::{
    Figures, Gate, GateKind, ModelRow, Note, Revision, Rollout, RolloutState, Traffic, Verdict,
};

fn figures(requests: u64, failed: u64, ttft_ms: u32, tokens_per_ks: u64) -> Figures {
    Figures {
        requests,
        failed,
        ttft_p50_ms: ttft_ms / 2,
        ttft_p95_ms: ttft_ms,
        tokens_per_ks_p50: tokens_per_ks,
        finish_stop: (requests - failed) * 9 / 10,
        finished: requests - failed,
        tokens_out: requests * 120,
        ..Figures::default()
    }
}

fn traffic(revision: u32, figures: Figures) -> Traffic {
    let history = (0..60_u32).map(|at| if at < 6 { 0 } else { figures.ttft_p95_ms - at % 7 * 20 });
    Traffic { revision, figures, span_ms: 60_000, ttft_p95_ms: history.collect() }
}

fn revision(number: u32, targets: &[(&str, &str)], note: &str) -> Revision {
    let own = |(backend, upstream): &(&str, &str)| ((*backend).into(), (*upstream).into());
    Revision {
        number,
        note: note.into(),
        targets: targets.iter().map(own).collect(),
        parameters: if number == 4 { "temperature 0.700".into() } else { String::new() },
        created_by: "maria".into(),
        created_at_ms: NOON - 86_400_000,
    }
}

fn note(age_s: i64, by: &str, state: RolloutState, share_permille: u32, reason: &str) -> Note {
    Note {
        at_ms: NOON - age_s * 1_000,
        by: by.into(),
        state,
        share_permille,
        reason: reason.into(),
    }
}

fn gate(kind: GateKind, verdict: Verdict, tolerance_ppm: u32, worse_ppm: i64, words: &str) -> Gate {
    Gate { kind, verdict, words: words.into(), tolerance_ppm, worse_ppm }
}

const TOO_FEW: &str = "too few requests to judge by in 6 windows: 188 on the new revision and \
                       1,702 on the old one, 500 are needed of each";

/// Waits for a person at the second of five steps: nobody asks it enough for its gates to judge.
fn paused() -> Rollout {
    use GateKind::{Canary, Errors, FinishReasons, TokensPerSecond, Ttft};
    let waits = |kind, tolerance_ppm, worse_ppm, words: &str| {
        gate(kind, Verdict::Waiting, tolerance_ppm, worse_ppm, words)
    };
    let gates = vec![
        waits(Errors, 5_000, 3_600, "errors 0.5 % against 0.2 %, 188 and 1,702 requests, p = 0.35"),
        waits(Ttft, 200_000, 380_000, "95th percentile of the first content 980 ms against 710 ms"),
        waits(TokensPerSecond, 200_000, 10_300, "median of tokens a second 57.4 against 58.0"),
        waits(FinishReasons, 100_000, 8_000, "0.8 % of answers end for another reason"),
        gate(Canary, Verdict::Off, 100_000, 0, "the plan has no canary prompts"),
    ];
    Rollout {
        id: "ro_00000000000000a4".into(),
        from: 3,
        to: 4,
        state: RolloutState::Paused,
        reason: TOO_FEW.into(),
        since_ms: NOON - 60_000,
        steps_permille: vec![10, 100, 250, 500, 1_000],
        window_ms: 600_000,
        min_samples: 500,
        patience_windows: 6,
        alpha_ppm: 1_000,
        step: 1,
        step_since_ms: NOON - 3_660_000,
        share_permille: 100,
        gates,
        from_figures: figures(1_702, 3, 710, 58_000),
        to_figures: figures(188, 1, 980, 57_400),
        history: vec![
            note(7_380, "maria", RolloutState::Running, 10, "newer weights"),
            note(3_660, "gates", RolloutState::Running, 100, "every gate passed at 1 %"),
            note(60, "gates", RolloutState::Paused, 100, TOO_FEW),
        ],
        created_by: "maria".into(),
        version: 3,
        ..Rollout::default()
    }
}

/// The same while it runs and one of its gates says no: at the end of the window it goes back.
pub(super) fn failing() -> ModelRow {
    let mut row = models().remove(1);
    if let Some(rollout) = &mut row.rollout {
        rollout.state = RolloutState::Running;
        rollout.reason = String::new();
        rollout.history.pop();
        rollout.to_figures = figures(1_388, 3, 980, 57_400);
        for gate in &mut rollout.gates {
            gate.verdict = match (gate.kind, gate.verdict) {
                (_, Verdict::Off) => Verdict::Off,
                (GateKind::Ttft, _) => Verdict::Failed,
                _ => Verdict::Passed,
            };
        }
    }
    row
}

/// Went back at its first step.
fn back() -> Rollout {
    let words = "errors 20.8 % against 0.1 %, 240 and 4,800 requests, p < 0.0001";
    Rollout {
        id: "ro_00000000000000b2".into(),
        from: 1,
        to: 2,
        state: RolloutState::RolledBack,
        reason: words.into(),
        since_ms: NOON - 7_200_000,
        steps_permille: vec![50, 1_000],
        window_ms: 60_000,
        min_samples: 200,
        gates: vec![gate(GateKind::Errors, Verdict::Failed, 5_000, 207_300, words)],
        from_figures: figures(4_800, 5, 40, 0),
        to_figures: figures(240, 50, 42, 0),
        history: vec![
            note(7_300, "jo", RolloutState::Running, 50, ""),
            note(7_200, "gates", RolloutState::RolledBack, 0, words),
        ],
        created_by: "jo".into(),
        version: 2,
        ..Rollout::default()
    }
}

pub(super) fn models() -> Vec<ModelRow> {
    let row = |name: &str, targets: u32, targets_up: u32| ModelRow {
        name: name.into(),
        targets,
        targets_up,
        ..ModelRow::default()
    };
    let served = ModelRow {
        traffic: vec![traffic(0, figures(5_766, 6, 900, 48_000))],
        ..row("llama-3.3", 3, 3)
    };
    let compared = ModelRow {
        live: 3,
        next: 4,
        share_permille: 100,
        revisions: vec![
            revision(4, &[("sgl-b", "qwen3-32b-v2")], "new weights"),
            revision(3, &[("sgl-a", "qwen3-32b"), ("prov-3", "qwen3-32b")], ""),
            revision(2, &[("sgl-a", "qwen3-32b-old")], "before the move"),
        ],
        rollout: Some(paused()),
        traffic: vec![
            traffic(3, figures(28, 0, 710, 58_000)),
            traffic(4, figures(3, 0, 980, 57_400)),
        ],
        version: 2,
        ..row("qwen3-32b", 3, 3)
    };
    let went_back = ModelRow {
        live: 1,
        revisions: vec![
            revision(2, &[("emb-b", "bge-m3-int8")], "smaller"),
            revision(1, &[("emb-a", "bge-m3")], ""),
        ],
        rollout: Some(back()),
        traffic: vec![traffic(1, figures(1_860, 0, 140, 0))],
        version: 1,
        ..row("bge-m3", 1, 1)
    };
    let ready = ModelRow {
        live: 1,
        revisions: vec![revision(2, &[("old-one", "gemma-3")], ""), revision(1, &[], "")],
        version: 5,
        ..row("gemma-3", 2, 1)
    };
    vec![served, compared, went_back, row("flux.1", 2, 0), ready, row("whisper", 0, 0)]
}
