//! The models, which revision serves each, and what its revisions are.

use crate::format;
use crate::model::Model;
use crate::model::columns::{self, Column};
use crate::model::layout::{Area, Panel};
use crate::model::rollouts::{ModelRow, Standing};
use crate::model::series::Series;
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::theme::Tone;
use crate::view::{chart, empty_line, framed, table};

/// Cells of the bar of a share.
const SHARE_CELLS: u16 = 5;
/// Values of a revision's history: ten minutes, a value for each ten seconds.
const HISTORY: usize = 60;
const HISTORY_A_MINUTE: usize = 6;

fn state_cell(model: &Model, row: &ModelRow) -> Span {
    let rollout = row.rollout.as_ref().map_or("", |rollout| rollout.id.as_str());
    if let Some(call) = model.open_call(&row.name).or_else(|| model.open_call(rollout)) {
        return span(if call.unknown { "UNKNOWN?" } else { "..." }, Tone::Warn);
    }
    let standing = row.standing();
    let tone = match standing {
        Standing::Down | Standing::RolledBack => Tone::Bad,
        Standing::Paused | Standing::Degraded => Tone::Warn,
        Standing::Rolling | Standing::Shadow => Tone::Focus,
        Standing::Stable => Tone::Good,
        Standing::Unserved => Tone::Quiet,
    };
    span(standing.word(), tone)
}

pub(super) fn list(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = format!("Models {}", table::counted(&model.models));
    let paused = model.models.all().iter().filter(|row| row.standing() == Standing::Paused).count();
    let sort = table::state(pen, &model.models, area.width.saturating_sub(36));
    let right = if paused > 0 { format!("{paused} paused  {sort}") } else { sort };
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    let glyphs = pen.glyphs;
    table::rows(pen, model, Panel::ModelList, inside, &model.models, |row, column, _| {
        cell(model, row, column, glyphs.share(seen(row.share_permille), SHARE_CELLS))
    });
    if model.models.shown_len() == 0 {
        let table = &model.models;
        let none = "no models yet; relayd admin apply adds them";
        let text = empty_line(model, table.loaded, table.filter_text(), none);
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

/// The percentage of a bar: any share at all is one cell of it.
fn seen(permille: u32) -> u32 {
    let least = if permille > 0 { 100 / u32::from(SHARE_CELLS) } else { 0 };
    (permille / 10).max(least)
}

fn cell(model: &Model, row: &ModelRow, column: &Column, gauge: String) -> Span {
    let revision = |number: u32| match number {
        0 => span("-", Tone::Quiet),
        number => plain(format!("r{number}")),
    };
    let live = row.traffic_of(row.live);
    match column.head {
        "state" => state_cell(model, row),
        "model" => plain(row.name.as_str()),
        "live" => revision(row.live),
        "next" => revision(row.next),
        "to next" if row.next == 0 => span("-", Tone::Quiet),
        "to next" => plain(format!("{:>4} [{gauge}]", share(row.share_permille))),
        "shadow" if row.shadow_permille == 0 => span("-", Tone::Quiet),
        "shadow" => plain(share(row.shadow_permille)),
        "up" => {
            let tone = if row.targets_up < row.targets { Tone::Warn } else { Tone::Plain };
            span(format!("{}/{}", row.targets_up, row.targets), tone)
        }
        "req/s" => plain(format::rate(row.requests_per_ks())),
        "ttft50" => plain(format::delay(live.map_or(0, |live| live.figures.ttft_p50_ms))),
        "ttft95" => plain(format::delay(row.ttft_p95_ms())),
        "tok/s" => match live.map_or(0, |live| live.figures.tokens_per_ks_p50) {
            0 => span("-", Tone::Quiet),
            per_ks => plain(format::rate(per_ks)),
        },
        "err%" => match row.failed_ppm() {
            None => span("-", Tone::Quiet),
            Some(0) => span("0", Tone::Quiet),
            Some(ppm) => span(format!("{}.{}", ppm / 10_000, ppm % 10_000 / 1_000), Tone::Warn),
        },
        "why" => row.rollout.as_ref().map_or_else(Span::default, |of| plain(of.reason.as_str())),
        _ => Span::default(),
    }
}

/// `1%`, `2.5%`.
pub(crate) fn share(permille: u32) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        tenth => format!("{}.{tenth}%", permille / 10),
    }
}

/// A model without a rollout: who serves it, and how one begins.
pub(super) fn without(pen: &mut Pen<'_>, area: Area, row: &ModelRow) {
    let serves = match row.live {
        0 => format!("every backend that lists it: {} of {} up", row.targets_up, row.targets),
        live => format!("revision {live}: {} of {} targets up", row.targets_up, row.targets),
    };
    pen.line(area, 0, &[span(" served by ", Tone::Quiet), plain(serves)]);
    let figures =
        row.traffic_of(row.live).map(|traffic| (traffic.requests_per_ks(), traffic.figures));
    let minute = figures.map_or_else(
        || "nothing asked".to_owned(),
        |(rate, figures)| {
            format!(
                "{} req/s, first token {} (95%: {}), {} failed",
                format::rate(rate),
                format::delay(figures.ttft_p50_ms),
                format::delay(figures.ttft_p95_ms),
                figures.failed
            )
        },
    );
    pen.line(area, 1, &[span(" last 60s  ", Tone::Quiet), plain(minute)]);
    let how = match row.candidate() {
        Some(number) => format!("n starts a rollout to revision {number}"),
        None => "e makes a revision to roll out".to_owned(),
    };
    pen.line(area, 3, &[span(format!(" {how}"), Tone::Quiet)]);
}

/// The time to the first token of both revisions, over ten minutes.
pub(super) fn history(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let values = HISTORY.min(usize::from(area.width.saturating_sub(4)));
    let right = format!("{} min", values / HISTORY_A_MINUTE);
    let inside = framed(pen, model, area, "First token, 95%", &right, false);
    let Some(row) = model.compared_model() else { return };
    let air = Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let shown: Vec<_> = [row.live, row.next]
        .into_iter()
        .enumerate()
        .filter(|(at, number)| *at == 0 || *number > 0)
        .filter_map(|(_, number)| row.traffic_of(number))
        .collect();
    if shown.is_empty() {
        pen.line(inside, 0, &[span(" nothing was asked yet", Tone::Quiet)]);
        return;
    }
    let most = shown.iter().flat_map(|traffic| &traffic.ttft_p95_ms).max().copied().unwrap_or(0);
    let each = air.height / u16::try_from(shown.len()).unwrap_or(1);
    let mut y = air.y;
    for traffic in shown {
        let name =
            if traffic.revision == 0 { String::new() } else { format!("r{} ", traffic.revision) };
        let now = format!("{name}now {}", format::delay(traffic.figures.ttft_p95_ms));
        pen.line(Area { y, height: 1, ..air }, 0, &[plain(now)]);
        let mut series = Series::default();
        for value in &traffic.ttft_p95_ms {
            series.push((*value > 0).then(|| height(*value)));
        }
        let area = Area { y: y + 1, height: each.saturating_sub(1), ..air };
        chart::columns(pen, area, &series, values, height(most));
        y += each;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a chart of some dozen steps")]
fn height(ms: u32) -> f32 {
    ms as f32
}

/// Its revisions, newest first, with their targets.
pub(super) fn revisions(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(row) = model.compared_model() else {
        framed(pen, model, area, "Revisions", "", false);
        return;
    };
    let title = format!("Revisions {}", row.revisions.len());
    let inside = framed(pen, model, area, &title, &row.name, false);
    let columns = [
        columns::number("rev", 4),
        columns::column("state", 10),
        columns::number("req/s", 6),
        columns::number("err%", 6),
        columns::number("tok/s", 6),
        columns::column("targets", 0),
        columns::column("note", 0),
    ];
    let widths = columns::widths(inside.width, &columns);
    if row.revisions.is_empty() {
        let text = " none was made: every backend that lists the model serves it";
        pen.line(inside, 0, &[span(text, Tone::Quiet)]);
        return;
    }
    table::headings(pen, inside, None, &columns, &widths);
    for (line, cells) in (1..inside.height).zip(revision_cells(row)) {
        table::put(pen, inside, line, &columns, &widths, &cells);
    }
}

/// `r4  next 10%  5.2  0.19  41.0  gpu-2=qwen3-v2  new weights`.
fn revision_cells(row: &ModelRow) -> impl Iterator<Item = Vec<Span>> {
    row.revisions.iter().map(|revision| {
        let state = match revision.number {
            number if number == row.live => span("live", Tone::Good),
            number if number == row.next => {
                span(format!("next {}", share(row.share_permille)), Tone::Focus)
            }
            _ => span("idle", Tone::Quiet),
        };
        let traffic = row.traffic_of(revision.number).filter(|one| one.figures.requests > 0);
        let or_none = |text: Option<String>| text.map_or_else(|| span("-", Tone::Quiet), plain);
        let targets: Vec<String> = revision.runs_on().collect();
        let note = if revision.note.is_empty() { "-" } else { revision.note.as_str() };
        vec![
            plain(format!("r{}", revision.number)),
            state,
            or_none(traffic.map(|one| format::rate(one.requests_per_ks()))),
            or_none(traffic.and_then(|one| one.figures.failed_ppm()).map(format::percent)),
            or_none(traffic.map(|one| format::rate(one.figures.tokens_per_ks_p50))),
            plain(targets.join(", ")),
            span(note, Tone::Quiet),
        ]
    })
}

/// All there is to know of a model, a line each: for the page of one row.
pub(crate) fn model_lines(model: &Model, row: &ModelRow) -> Vec<String> {
    let mut lines = vec![
        format!("state       {}", row.standing().word()),
        match row.live {
            0 => "live        every backend that lists it".to_owned(),
            live => format!("live        revision {live}"),
        },
        format!("targets     {} of {} up", row.targets_up, row.targets),
    ];
    if let Some(rollout) = &row.rollout {
        let reason =
            if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
        lines.push(format!("rollout     {} r{} to r{}", rollout.id, rollout.from, rollout.to));
        lines.push(format!("            {}{reason}", rollout.state.word()));
        let steps: Vec<_> = rollout.steps_permille.iter().map(|step| share(*step)).collect();
        let (window, least) = (rollout.window_ms / 1_000, rollout.min_samples);
        lines.push(format!(
            "plan        {}; {window} s and {least} requests at each",
            steps.join(", ")
        ));
        lines.push(format!(
            "            paused after {} windows without; alpha {}; shadow {}; {} canary prompts",
            rollout.patience_windows,
            format::percent(rollout.alpha_ppm),
            share(rollout.shadow_permille),
            rollout.canary_prompts
        ));
        let gates = rollout.gates.iter().map(|gate| {
            format!("gate        {}: {} {}", gate.kind.word(), gate.verdict.word(), gate.words)
        });
        lines.extend(gates);
        lines.extend(rollout.history.iter().map(|note| {
            let at = model.zone.moment(note.at_ms);
            let state = note.state.word();
            let share = share(note.share_permille);
            format!("history     {at} {} {state} at {share} {}", note.by, note.reason)
        }));
    }
    for revision in &row.revisions {
        let targets: Vec<_> = revision.runs_on().collect();
        let said = [revision.parameters.as_str(), revision.note.as_str()];
        let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
        let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join("; ")) };
        let when = model.zone.date(revision.created_at_ms);
        lines.push(format!(
            "revision    {} on {}{said}, {} {when}",
            revision.number,
            targets.join(", "),
            revision.created_by
        ));
    }
    lines
}
