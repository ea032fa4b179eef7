//! How a provider has done: its standing, its five sides, and what followed from them.

use crate::format;
use crate::model::Model;
use crate::model::columns;
use crate::model::layout::Area;
use crate::model::providers::{Provider, Reputation, Score, Standing};
use crate::view::glyphs::Glyphs;
use crate::view::pen::{Pen, Span, cut, plain, span};
use crate::view::theme::Tone;
use crate::view::{framed, table};

/// A bound of everything that goes well.
const WHOLE_MILLI: u64 = 1_000;
/// The mark of a side of which nothing was seen yet.
const UNSEEN: &str = "?";

pub(super) const fn tone(standing: Standing) -> Tone {
    match standing {
        Standing::Suspended => Tone::Bad,
        Standing::Probation => Tone::Warn,
        Standing::Good => Tone::Good,
        Standing::Unknown => Tone::Quiet,
    }
}

/// `0.951`: what it is ranked by.
pub(super) fn rank(found: &Reputation) -> Span {
    if found.scores.is_empty() {
        return span("-", Tone::Quiet);
    }
    let tone = match found.standing {
        Standing::Good | Standing::Unknown => Tone::Plain,
        bad => tone(bad),
    };
    span(format::thousandths(found.rank_milli.into()), tone)
}

/// A cell for each side, as high as its bound.
pub(super) fn sides(glyphs: &Glyphs, found: &Reputation) -> Span {
    let heights = glyphs.ramp;
    let last = heights.len().saturating_sub(1);
    let cell = |score: &Score| {
        if score.is_unseen() {
            return UNSEEN;
        }
        let bound = u64::from(score.bound_milli).min(WHOLE_MILLI);
        let at = (bound * u64::try_from(last).unwrap_or(0) + WHOLE_MILLI / 2) / WHOLE_MILLI;
        heights[usize::try_from(at).unwrap_or(last).min(last)]
    };
    let cells: String = found.scores.iter().map(cell).collect();
    if cells.is_empty() { span("-", Tone::Quiet) } else { span(cells, tone(found.standing)) }
}

/// `PROBATION 0.412`.
pub(super) fn standing(found: &Reputation) -> Span {
    let Span { text, .. } = rank(found);
    span(format!("{} {text}", found.standing.word()), tone(found.standing))
}

/// Every side on one line, for a page without a panel of its own for them.
pub(super) fn line(pen: &mut Pen<'_>, area: Area, found: &Reputation) {
    let mut spans = Vec::new();
    for score in &found.scores {
        spans.push(span(format!(" {} ", score.name), Tone::Quiet));
        spans.push(plain(format::thousandths(score.bound_milli.into())));
    }
    if found.scores.is_empty() {
        spans.push(span(" how it has done is not told", Tone::Quiet));
    }
    pen.line(area, 0, &spans);
}

/// The sides as a table, and the newest of what went wrong.
pub(super) fn panel(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let provider = model.examined_provider();
    let right = provider.map_or_else(String::new, |one| standing(&one.reputation).text);
    let inside = framed(pen, model, area, "Reputation", &right, false);
    let Some(Provider { reputation: found, .. }) = provider else { return };
    let columns = [
        columns::column("side", 13),
        columns::number("at least", 8),
        columns::number("good", 9),
        columns::number("bad", 9),
        columns::column("", 0),
    ];
    let widths = columns::widths(inside.width, &columns);
    table::headings(pen, inside, None, &columns, &widths);
    let bar = widths.last().copied().unwrap_or(0).saturating_sub(2);
    let mut used = 1;
    for (line, score) in (1..inside.height).zip(&found.scores) {
        let bad = if score.bad_milli > 0 { Tone::Warn } else { Tone::Quiet };
        let full = if score.is_unseen() {
            "not seen yet".to_owned()
        } else {
            pen.glyphs.share(score.bound_milli / 10, bar)
        };
        let cells = [
            plain(score.name.as_str()),
            plain(format::thousandths(score.bound_milli.into())),
            plain(format::thousandths(score.good_milli)),
            span(format::thousandths(score.bad_milli), bad),
            span(full, Tone::Quiet),
        ];
        table::put(pen, inside, line, &columns, &widths, &cells);
        used = line + 1;
    }
    let room = inside.width.saturating_sub(2);
    for (line, text) in (used..inside.height).zip(told(model, found)) {
        pen.line(inside, line, &[span(format!(" {}", cut(&text, room)), Tone::Quiet)]);
    }
}

/// What followed and what went wrong, newest first, a line each.
fn told(model: &Model, found: &Reputation) -> Vec<String> {
    let when = |at_ms: i64| model.zone.when(at_ms, model.daemon_now_ms());
    let steps = found.steps.iter().map(|step| {
        (step.at_ms, format!("{} {}: {}", when(step.at_ms), step.to.word(), step.reason))
    });
    let mishaps = found
        .mishaps
        .iter()
        .map(|one| (one.at_ms, format!("{} {}: {}", when(one.at_ms), one.score, one.text)));
    let mut all: Vec<_> = steps.chain(mishaps).collect();
    all.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
    all.into_iter().map(|(_, text)| text).collect()
}

/// All of it, a line each: for the page of one row.
pub(crate) fn reputation_lines(model: &Model, provider: &Provider) -> Vec<String> {
    let found = &provider.reputation;
    let scores = found.scores.iter().map(|score| {
        let [bound, good, bad] =
            [score.bound_milli.into(), score.good_milli, score.bad_milli].map(format::thousandths);
        format!("side        {:<13} at least {bound}  {good} good  {bad} bad", score.name)
    });
    let steps = found.steps.iter().map(|step| {
        let at = model.zone.moment(step.at_ms);
        format!("step        {at} {} by {}: {}", step.to.word(), step.score, step.reason)
    });
    let mishaps = found.mishaps.iter().map(|one| {
        format!("mishap      {} {}: {}", model.zone.moment(one.at_ms), one.score, one.text)
    });
    scores.chain(steps).chain(mishaps).collect()
}
