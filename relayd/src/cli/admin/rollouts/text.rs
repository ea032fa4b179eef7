//! Models, revisions and rollouts as people read them.

use relay_proto::Word as _;
use relay_proto::admin::v1 as proto;

use super::super::format::Column::{Left, Right};
use super::super::format::{Table, or_dash, pairs, plain, thousandths, time};

pub(super) const MODELS: Table = Table::new(&[
    Left("MODEL"),
    Right("LIVE"),
    Right("NEXT"),
    Right("SHARE"),
    Left("ROLLOUT"),
    Left("STATE"),
    Right("UP"),
]);

pub(super) const ROLLOUTS: Table = Table::new(&[
    Left("ROLLOUT"),
    Left("MODEL"),
    Left("FROM-TO"),
    Left("STATE"),
    Right("STEP"),
    Left("SINCE"),
    Left("WHY"),
]);

const REVISIONS: Table = Table::new(&[
    Right("REV"),
    Left("STATE"),
    Right("REQ/MIN"),
    Right("ERRORS"),
    Right("TTFT P95"),
    Right("TOK/S"),
    Left("TARGETS"),
    Left("NOTE"),
]);

const GATES: Table =
    Table::new(&[Left("GATE"), Left("SAYS"), Right("MAY BE WORSE"), Right("IS WORSE"), Left("")]);

pub(super) fn cells(model: &proto::ModelRollout) -> Vec<String> {
    let rollout = model.rollout.as_ref();
    vec![
        model.model.clone(),
        number(model.live_revision),
        number(model.next_revision),
        if model.next_revision == 0 { "-".to_owned() } else { share(model.share_permille) },
        or_dash(rollout.map_or("", |rollout| &rollout.rollout_id)),
        or_dash(&rollout.map(|rollout| rollout.state().word()).unwrap_or_default()),
        format!("{}/{}", model.targets_up, model.targets),
    ]
}

pub(super) fn row(rollout: &proto::Rollout) -> Vec<String> {
    vec![
        rollout.rollout_id.clone(),
        rollout.model.clone(),
        format!("{} to {}", rollout.from_revision, rollout.to_revision),
        rollout.state().word(),
        step(rollout),
        time(rollout.state_since_ms),
        or_dash(&rollout.state_reason),
    ]
}

/// One line of a watch.
pub(super) fn line(model: &proto::ModelRollout) -> String {
    let name = plain(&model.model);
    match &model.rollout {
        None => format!("{name}: no rollout"),
        Some(rollout) => format!(
            "{name}: {} to {}, {}, {} on {}{}",
            rollout.from_revision,
            rollout.to_revision,
            rollout.state().word(),
            share(rollout.share_permille),
            rollout.to_revision,
            because(rollout),
        ),
    }
}

/// A model: its revisions side by side, and its rollout.
pub(super) fn model(model: &proto::ModelRollout) -> String {
    let mut text = pairs(&[
        ("model", plain(&model.model)),
        (
            "live",
            match model.live_revision {
                0 => "every backend that lists it: no revision was made yet".to_owned(),
                live => format!("revision {live}"),
            },
        ),
        ("targets", format!("{} of {} up", model.targets_up, model.targets)),
        ("version", model.version.to_string()),
    ]);
    if !model.revisions.is_empty() {
        let rows = model.revisions.iter().map(|revision| side(model, revision)).collect();
        text.push_str(&table(&REVISIONS, rows));
    }
    if let Some(of) = &model.rollout {
        text.push_str("\n\n");
        text.push_str(&rollout(of));
    }
    text
}

/// A rollout, its gates, and how it came where it is.
pub(super) fn rollout(rollout: &proto::Rollout) -> String {
    let plan = rollout.plan.clone().unwrap_or_default();
    let steps: Vec<_> = plan.steps_permille.iter().map(|of| share(*of)).collect();
    let mut text = pairs(&[
        ("rollout", plain(&rollout.rollout_id)),
        ("model", plain(&rollout.model)),
        ("revisions", format!("{} to {}", rollout.from_revision, rollout.to_revision)),
        ("state", format!("{}{}", rollout.state().word(), because(rollout))),
        ("since", time(rollout.state_since_ms)),
        ("step", format!("{}: {} of the requests", step(rollout), share(rollout.share_permille))),
        ("steps", steps.join(", ")),
        ("window", format!("{} s, {} requests", plan.window_ms / 1_000, plan.min_samples)),
        ("shadow", share(plan.shadow_permille)),
        ("by", format!("{}, {}", plain(&rollout.created_by), time(rollout.created_at_ms))),
        ("version", rollout.version.to_string()),
    ]);
    if !rollout.gates.is_empty() {
        text.push_str(&table(&GATES, rollout.gates.iter().map(gate).collect()));
    }
    for note in &rollout.history {
        text.push_str(&format!(
            "\n{} {}: {} at {}{}",
            time(note.at_ms),
            plain(&note.by),
            note.state().word(),
            share(note.share_permille),
            if note.reason.is_empty() {
                String::new()
            } else {
                format!(", {}", plain(&note.reason))
            },
        ));
    }
    text
}

fn side(model: &proto::ModelRollout, revision: &proto::Revision) -> Vec<String> {
    let state = match revision.number {
        number if number == model.live_revision => "live".to_owned(),
        number if number == model.next_revision => format!("next, {}", share(model.share_permille)),
        _ => "idle".to_owned(),
    };
    let traffic = model.traffic.iter().find(|traffic| traffic.revision == revision.number);
    let figures = traffic.and_then(|traffic| traffic.figures).unwrap_or_default();
    let span_ms = u64::from(traffic.map_or(0, |traffic| traffic.span_ms)).max(1);
    let none = figures.requests == 0;
    let or_none = |text: String| if none { "-".to_owned() } else { text };
    let deployed = (!revision.deployment_id.is_empty()).then(|| plain(&revision.deployment_id));
    let targets = revision.targets.iter().map(|at| format!("{}={}", at.backend_id, at.upstream));
    let targets = deployed.into_iter().chain(targets);
    vec![
        revision.number.to_string(),
        state,
        or_none((figures.requests * 60_000 / span_ms).to_string()),
        or_none(share_of(figures.failed, figures.requests)),
        or_none(format!("{} ms", figures.ttft_p95_ms)),
        or_none(thousandths(figures.tokens_per_ks_p50)),
        targets.collect::<Vec<_>>().join(", "),
        or_dash(&revision.note),
    ]
}

fn gate(result: &proto::GateResult) -> Vec<String> {
    let off = result.verdict() == proto::GateVerdict::Off;
    let signed = |ppm: i64| {
        let sign = if ppm < 0 { "-" } else { "" };
        let tenths = ppm.unsigned_abs() / 1_000;
        format!("{sign}{}.{} %", tenths / 10, tenths % 10)
    };
    let of = |ppm: i64| if off { "-".to_owned() } else { signed(ppm) };
    vec![
        result.gate().word(),
        result.verdict().word(),
        of(result.tolerance_ppm.into()),
        of(result.worse_ppm),
        result.words.clone(),
    ]
}

fn table(table: &Table, rows: Vec<Vec<String>>) -> String {
    let widths = table.widths(&rows);
    let mut text = format!("\n\n{}", table.header(&widths));
    for row in rows {
        text.push('\n');
        text.push_str(&table.row(row, &widths));
    }
    text.push('\n');
    text
}

fn because(rollout: &proto::Rollout) -> String {
    if rollout.state_reason.is_empty() {
        String::new()
    } else {
        format!(": {}", plain(&rollout.state_reason))
    }
}

/// Steps are counted from 1 for people.
fn step(rollout: &proto::Rollout) -> String {
    let steps = rollout.plan.as_ref().map_or(0, |plan| plan.steps_permille.len());
    format!("{}/{steps}", rollout.step + 1)
}

fn number(revision: u32) -> String {
    if revision == 0 { "-".to_owned() } else { revision.to_string() }
}

fn share(permille: u32) -> String {
    match permille % 10 {
        0 => format!("{} %", permille / 10),
        tenth => format!("{}.{tenth} %", permille / 10),
    }
}

fn share_of(part: u64, all: u64) -> String {
    let tenths = (part * 1_000).checked_div(all).unwrap_or_default();
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reads_from_its_revisions_to_its_gates() {
        let revision = |number, backend: &str, note: &str| proto::Revision {
            model: "llama".to_owned(),
            number,
            note: note.to_owned(),
            targets: vec![proto::RevisionTarget {
                backend_id: backend.to_owned(),
                upstream: "llama".to_owned(),
            }],
            ..proto::Revision::default()
        };
        let figures = proto::RevisionFigures {
            requests: 120,
            failed: 3,
            ttft_p95_ms: 80,
            tokens_per_ks_p50: 41_500,
            ..proto::RevisionFigures::default()
        };
        let errors = proto::GateResult {
            gate: proto::GateKind::Errors.into(),
            verdict: proto::GateVerdict::Failed.into(),
            words: "errors 20.0 % against 0.0 %".to_owned(),
            tolerance_ppm: 5_000,
            worse_ppm: 200_000,
            p_ppm: 1,
        };
        let rolled = proto::Rollout {
            rollout_id: "ro_0000000000000001".to_owned(),
            model: "llama".to_owned(),
            from_revision: 1,
            to_revision: 2,
            state: proto::RolloutState::RolledBack.into(),
            state_reason: "errors 20.0 %\u{1b}[2J".to_owned(),
            plan: Some(proto::RolloutPlan {
                steps_permille: vec![10, 25, 1_000],
                window_ms: 60_000,
                min_samples: 50,
                ..proto::RolloutPlan::default()
            }),
            gates: vec![errors],
            created_by: "jo".to_owned(),
            version: 2,
            ..proto::Rollout::default()
        };
        let shown = model(&proto::ModelRollout {
            model: "llama".to_owned(),
            live_revision: 1,
            revisions: vec![
                proto::Revision {
                    deployment_id: "dep_0000000000000001".to_owned(),
                    targets: Vec::new(),
                    ..revision(3, "", "")
                },
                revision(2, "b", "newer"),
                revision(1, "a", ""),
            ],
            rollout: Some(rolled),
            traffic: vec![proto::RevisionTraffic {
                revision: 1,
                figures: Some(figures),
                span_ms: 60_000,
                ..proto::RevisionTraffic::default()
            }],
            targets: 2,
            targets_up: 1,
            version: 1,
            ..proto::ModelRollout::default()
        });
        for line in [
            "  1  live       120   2.5 %     80 ms   41.5  a=llama               -",
            "  2  idle         -       -         -      -  b=llama               newer",
            "  3  idle         -       -         -      -  dep_0000000000000001  -",
            "errors  failed         0.5 %    20.0 %  errors 20.0 % against 0.0 %",
            "1 %, 2.5 %, 100 %",
        ] {
            assert!(shown.contains(line), "no line '{line}' in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
