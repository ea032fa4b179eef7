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

const SLOWER: &str = "first token 0.98 s against 0.71 s, 1388 and 12411 requests, p < 0.0001";

/// Paused by its gates at the second of five steps.
fn paused() -> Rollout {
    use GateKind::{Canary, Errors, FinishReasons, TokensPerSecond, Ttft};
    let gates = vec![
        gate(Errors, Verdict::Passed, 5_000, 100, "errors 0.2 % against 0.2 %"),
        gate(Ttft, Verdict::Failed, 200_000, 380_000, SLOWER),
        gate(TokensPerSecond, Verdict::Passed, 200_000, 10_300, "57.4 tok/s against 58.0 tok/s"),
        gate(FinishReasons, Verdict::Waiting, 100_000, 0, "too few answers"),
        gate(Canary, Verdict::Off, 0, 0, ""),
    ];
    Rollout {
        id: "ro_00000000000000a4".into(),
        from: 3,
        to: 4,
        state: RolloutState::Paused,
        reason: SLOWER.into(),
        since_ms: NOON - 60_000,
        steps_permille: vec![10, 100, 250, 500, 1_000],
        window_ms: 600_000,
        min_samples: 500,
        step: 1,
        step_since_ms: NOON - 720_000,
        share_permille: 100,
        gates,
        from_figures: figures(12_411, 22, 710, 58_000),
        to_figures: figures(1_388, 3, 980, 57_400),
        history: vec![
            note(2_580, "maria", RolloutState::Running, 10, "newer weights"),
            note(780, "gates", RolloutState::Running, 100, "each gate passed"),
            note(60, "gates", RolloutState::Paused, 100, SLOWER),
        ],
        created_by: "maria".into(),
        version: 3,
        ..Rollout::default()
    }
}

/// Went back at its first step.
fn back() -> Rollout {
    let words = "errors 21.0 % against 0.1 %, 240 and 4800 requests, p < 0.0001";
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
        gates: vec![gate(GateKind::Errors, Verdict::Failed, 5_000, 209_000, words)],
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
            traffic(3, figures(2_790, 5, 710, 58_000)),
            traffic(4, figures(312, 1, 980, 57_400)),
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
