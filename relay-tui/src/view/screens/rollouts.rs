//! One rollout: its steps, both revisions side by side with the gates that judge, and how it came
//! where it is.

use super::events::wrapped;
use super::models::{share, without};
use crate::format;
use crate::model::Model;
use crate::model::columns;
use crate::model::layout::Area;
use crate::model::rollouts::{Figures, Gate, GateKind, Rollout, RolloutState, Verdict};
use crate::view::pen::{Pen, Span, cut, plain, span, width};
use crate::view::theme::Tone;
use crate::view::{framed, table};

/// `Rollout qwen3-32b  r3 -> r4`, with what its plan is.
pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(row) = model.compared_model() else {
        framed(pen, model, area, "Rollout", "", false);
        return;
    };
    let Some(rollout) = &row.rollout else {
        let inside = framed(pen, model, area, &row.name, "no rollout yet", false);
        without(pen, inside, row);
        return;
    };
    let title = format!("Rollout {}  r{} -> r{}", row.name, rollout.from, rollout.to);
    let step = format!("step {} of {}", rollout.step + 1, rollout.steps_permille.len());
    let inside = framed(pen, model, area, &title, &step, false);
    pen.line(inside, 0, &steps(rollout));
    pen.line(inside, 1, &standing(model, rollout, inside.width));
    let from = format!("r{}", rollout.from);
    let to = format!("r{}", rollout.to);
    let columns = [
        columns::column("of this step", 14),
        columns::number("from", 10),
        columns::number("to", 10),
        columns::number("worse by", 10),
        columns::number("may be", 9),
        columns::column("gate", 6),
        columns::column("", 0),
    ];
    let widths = columns::widths(inside.width, &columns);
    let heads = ["of this step", &from, &to, "worse by", "may be", "gate", ""]
        .map(|h| span(h, Tone::Quiet));
    table::put(pen, inside, 2, &columns, &widths, &heads);
    for (line, cells) in (3..inside.height).zip(compared(rollout)) {
        table::put(pen, inside, line, &columns, &widths, &cells);
    }
}

/// `steps  1% ok > [10%] > 25% > 100%`.
fn steps(rollout: &Rollout) -> Vec<Span> {
    let mut spans = vec![span(" steps     ", Tone::Quiet)];
    for (at, permille) in (0..).zip(&rollout.steps_permille) {
        if at > 0 {
            spans.push(span(" > ", Tone::Quiet));
        }
        let percent = share(*permille);
        spans.push(match rollout.state {
            RolloutState::Completed => plain(format!("{percent} ok")),
            _ if at < rollout.step => plain(format!("{percent} ok")),
            RolloutState::RolledBack if at == rollout.step => {
                span(format!("{percent} FAILED"), Tone::Bad)
            }
            state if at == rollout.step => {
                let (word, tone) = match state {
                    RolloutState::Paused => (" PAUSED", Tone::Warn),
                    _ => ("", Tone::Focus),
                };
                span(format!("<{percent}{word}>"), tone)
            }
            _ => span(percent, Tone::Quiet),
        });
    }
    spans
}

/// `PAUSED for 1m by gates: p95 ...`.
fn standing(model: &Model, rollout: &Rollout, room: u16) -> Vec<Span> {
    let tone = match rollout.state {
        RolloutState::Running => Tone::Focus,
        RolloutState::Paused => Tone::Warn,
        RolloutState::Completed => Tone::Good,
        RolloutState::RolledBack => Tone::Bad,
    };
    let age = |since: i64| format::age(model.daemon_now_ms().saturating_sub(since));
    let by = rollout.history.last().map_or(rollout.created_by.as_str(), |note| note.by.as_str());
    let mut words = format!(" for {} by {by}", age(rollout.since_ms));
    if !rollout.reason.is_empty() {
        words.push_str(": ");
        words.push_str(&rollout.reason);
    }
    let head = 11 + width(rollout.state.word());
    let words = cut(&words, room.saturating_sub(head + 1));
    vec![span(" state     ", Tone::Quiet), span(rollout.state.word(), tone), plain(words)]
}

/// What the two revisions did at this step, a line each.
fn compared(rollout: &Rollout) -> Vec<Vec<Span>> {
    let (from, to) = (&rollout.from_figures, &rollout.to_figures);
    let both = |show: &dyn Fn(&Figures) -> String| [show(from), show(to)];
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let line = |label: &str, values: [String; 2], kind: Option<GateKind>, points: bool| {
        let [from, to] = values.map(plain);
        let gate = kind.and_then(|kind| rollout.gate(kind));
        let [worse, limit, verdict] = judged(gate, points);
        vec![plain(label), from, to, worse, limit, verdict, Span::default()]
    };
    let enough = both(&|figures| figures.requests.to_string());
    let mut requests = line("requests", enough, None, false);
    let tone = if to.requests.min(from.requests) < u64::from(rollout.min_samples) {
        Tone::Warn
    } else {
        Tone::Quiet
    };
    requests[4] = span(format!(">= {}", rollout.min_samples), tone);
    let mut lines = vec![
        requests,
        line(
            "failed",
            both(&|figures| or_none(figures.failed_ppm().map(format::percent))),
            Some(GateKind::Errors),
            true,
        ),
        line("first token 50", both(&|figures| format::delay(figures.ttft_p50_ms)), None, false),
        line(
            "first token 95",
            both(&|figures| format::delay(figures.ttft_p95_ms)),
            Some(GateKind::Ttft),
            false,
        ),
        line(
            "tok/s",
            both(&|figures| match figures.tokens_per_ks_p50 {
                0 => "-".to_owned(),
                per_ks => format::rate(per_ks),
            }),
            Some(GateKind::TokensPerSecond),
            false,
        ),
        line(
            "ended by stop",
            both(&|figures| or_none(figures.stopped_ppm().map(format::percent))),
            Some(GateKind::FinishReasons),
            true,
        ),
        line(
            "canaries",
            both(&|figures| match figures.canaries {
                0 => "-".to_owned(),
                all => format!("{}/{all}", figures.canaries_passed),
            }),
            Some(GateKind::Canary),
            true,
        ),
    ];
    let shadow = &rollout.shadow_figures;
    if shadow.requests > 0 {
        let copies = [String::new(), shadow.requests.to_string()];
        lines.push(line("copies unseen", copies, None, false));
    }
    lines
}

/// By how much it is worse, by how much it may be, and what the gate says.
fn judged(gate: Option<&Gate>, points: bool) -> [Span; 3] {
    let none = || span("-", Tone::Quiet);
    let Some(gate) = gate.filter(|gate| gate.verdict != Verdict::Off) else {
        let off = if gate.is_some() { span("off", Tone::Quiet) } else { Span::default() };
        return [none(), none(), off];
    };
    let unit = if points { "pp" } else { "%" };
    let signed = |ppm: i64| {
        let tenths = ppm.unsigned_abs() / 1_000;
        let sign = if ppm < 0 { "-" } else { "+" };
        format!("{sign}{}.{}{unit}", tenths / 10, tenths % 10)
    };
    let (tone, word) = match gate.verdict {
        Verdict::Failed => (Tone::Bad, "FAIL"),
        Verdict::Passed => (Tone::Good, gate.verdict.word()),
        Verdict::Waiting | Verdict::Off => (Tone::Quiet, gate.verdict.word()),
    };
    let worse = match gate.verdict {
        // There is something to see already, if too little to judge by.
        Verdict::Waiting => span(signed(gate.worse_ppm), Tone::Quiet),
        Verdict::Failed => span(signed(gate.worse_ppm), Tone::Bad),
        _ => plain(signed(gate.worse_ppm)),
    };
    [worse, span(signed(gate.tolerance_ppm.into()), Tone::Quiet), span(word, tone)]
}

/// How its rollout came where it is, newest first.
pub(super) fn notes(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let inside = framed(pen, model, area, "History", "", false);
    let Some(rollout) = model.compared_model().and_then(|row| row.rollout.as_ref()) else { return };
    let mut line = 0;
    for note in rollout.history.iter().rev() {
        let at = model.zone.when(note.at_ms, model.daemon_now_ms());
        let reason =
            if note.reason.is_empty() { String::new() } else { format!(": {}", note.reason) };
        let what =
            format!("{} {} at {}{reason}", note.by, note.state.word(), share(note.share_permille));
        for (part, text) in wrapped(&what, inside.width.saturating_sub(11)).into_iter().enumerate()
        {
            let head = if part == 0 { format!(" {at:<8} ") } else { " ".repeat(10) };
            pen.line(inside, line, &[span(head, Tone::Quiet), plain(text)]);
            line += 1;
        }
    }
}
