//! The whole story on one page: traffic, backends, what needs a person, money.

use crate::format;
use crate::model::Model;
use crate::model::columns::{column, number};
use crate::model::data::{Attention, BackendState, Severity};
use crate::model::layout::{Area, MONEY_LINES, Panel, Slot, has_money};
use crate::view::pen::{Pen, cut, plain, right, span, width};
use crate::view::theme::Tone;
use crate::view::{chart, empty_line, framed, table};

use super::backends::{self, cell, delay_cell};

pub(super) fn traffic(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let range = chart::range(pen, model, area.width.saturating_sub(4));
    let inside = framed(pen, model, area, "Traffic", &range, false);
    if !model.overview.loaded {
        pen.line(inside, 0, &[span(format!(" {}", empty_line(model, false, "", "")), Tone::Quiet)]);
        return;
    }
    let t = model.overview.traffic;
    let air = Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let errors = if t.errors_ppm >= 10_000 { Tone::Bad } else { Tone::Plain };
    let shed = if t.shed > 0 { Tone::Warn } else { Tone::Plain };
    let wide = air.width >= 60;
    let gap = if wide { "    " } else { "  " };
    pen.line(
        air,
        0,
        &[
            plain(if wide { "requests " } else { "req/s " }),
            span(right(&format::rate(t.requests_per_ks), 7), Tone::Strong),
            plain(format!("{}{gap}err ", if wide { "/s" } else { "" })),
            span(format::percent(t.errors_ppm), errors),
            plain(format!("{gap}shed ")),
            span(t.shed.to_string(), shed),
        ],
    );
    let charts = air.height.saturating_sub(4) / 2;
    let at = |y: u16| Area { y: air.y + y, height: charts, ..air };
    chart::columns(pen, at(1), &model.overview.requests, model.range_s, 0.0);
    let tokens = t.tokens_in_per_ks.saturating_add(t.tokens_out_per_ks);
    pen.line(
        air,
        1 + charts,
        &[
            plain(if wide { "tokens   " } else { "tok/s " }),
            span(right(&format::rate(tokens), 7), Tone::Strong),
            plain(format!(
                "{}{gap}in {}{gap}out {}",
                if wide { "/s" } else { "" },
                format::rate(t.tokens_in_per_ks),
                format::rate(t.tokens_out_per_ks)
            )),
        ],
    );
    chart::columns(pen, at(2 + charts), &model.overview.tokens, model.range_s, 0.0);
    let p99 =
        if wide { format!("{gap}p99 {}", format::delay(t.ttft_p99_ms)) } else { String::new() };
    pen.line(
        air,
        2 + 2 * charts,
        &[plain(format!(
            "TTFT{gap}p50 {}{gap}p95 {}{p99}",
            format::delay(t.ttft_p50_ms),
            format::delay(t.ttft_p95_ms)
        ))],
    );
    let queued = if t.queued > 0 { Tone::Warn } else { Tone::Plain };
    let mut last = vec![plain("queue "), span(t.queued.to_string(), queued)];
    if t.queued > 0 {
        last.push(plain(format!("{gap}oldest {}", format::age(t.oldest_queued_ms))));
    }
    last.push(plain(format!("{gap}running {}", t.in_flight)));
    if wide {
        last.push(plain(format!("{gap}streams {}", t.streams)));
    }
    pen.line(air, 3 + 2 * charts, &last);
}

pub(super) fn fleet(pen: &mut Pen<'_>, model: &Model, slot: Slot, focused: bool) {
    let f = model.overview.fleet;
    let mut parts = Vec::new();
    for (count, word) in [(f.down, "down"), (f.cordoned, "cordoned")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if parts.is_empty() && f.backends > 0 {
        parts.push("all up".to_owned());
    }
    let title = format!("Backends {}", table::counted(&model.backends));
    let right = parts.join("  ");
    let inside = framed(pen, model, slot.area, title.trim_end(), &right, focused);
    if model.backends.shown_len() == 0 {
        let text = backends::nothing(model);
        pen.line(inside, 0, &[span(format!(" {text}"), Tone::Quiet)]);
    } else if slot.has_heading() {
        table::rows(pen, model, Panel::Fleet, inside, &model.backends, |backend, column, _| {
            cell(model, backend, column)
        });
    } else {
        let columns = [column("state", 8), column("name", 0), column("model", 0), number("run", 6)];
        table::body(pen, inside, &model.backends, &columns, focused, |backend, column, _| {
            match column.head {
                "run" if backend.state == BackendState::Down => delay_cell(model, backend),
                "run" => plain(format!("{} run", backend.running)),
                _ => cell(model, backend, column),
            }
        });
    }
}

pub(super) fn attention(pen: &mut Pen<'_>, model: &Model, area: Area, focused: bool) {
    let items = &model.overview.attention;
    let count = items.all().len().to_string();
    let right_side = if items.all().is_empty() { "" } else { count.as_str() };
    let inside = framed(pen, model, area, "Needs a person", right_side, focused);
    let with_money = has_money(model.size, model.zoomed);
    let money_lines = if with_money { MONEY_LINES } else { 0 };
    let list = Area { height: inside.height.saturating_sub(money_lines), ..inside };
    if items.shown_len() == 0 {
        let filter = items.filter_text();
        let text = empty_line(model, model.overview.loaded, filter, "nothing, all is well");
        pen.line(list, 0, &[span(format!(" {text}"), Tone::Quiet)]);
    }
    let page = items.page(usize::from(list.height));
    for (line, (item, selected)) in (0..list.height).zip(page) {
        one(pen, model, list, line, item);
        if focused && selected {
            pen.text(list.x, list.y + line, 1, ">", Tone::Focus);
            pen.select(list, line, list.width);
        }
    }
    if with_money && model.overview.loaded {
        let below = Area { y: list.y + list.height, height: money_lines, ..inside };
        let m = model.overview.money;
        pen.line(
            below,
            0,
            &[
                plain(" Money  today "),
                span(format::usd(m.charged_today_ncr), Tone::Strong),
                plain(" charged"),
            ],
        );
        let mut held = vec![plain(format!("        held {}", format::usd(m.held_ncr)))];
        held.extend(breaches(model));
        pen.line(below, 1, &held);
    }
}

/// From here on there is room for how long it has waited.
const WITH_AGE: u16 = 42;

/// `! text   (3) 9m`: the number is the screen where it is decided.
fn one(pen: &mut Pen<'_>, model: &Model, area: Area, line: u16, item: &Attention) {
    let tone = Tone::from(item.severity);
    let sign = if item.severity == Severity::Info { "-" } else { "!" };
    let narrow = area.width < WITH_AGE;
    let place = match crate::model::Screen::from_word(&item.screen) {
        None => String::new(),
        Some(screen) if narrow => screen.number().to_string(),
        Some(screen) => format!("({})", screen.number()),
    };
    let age = match item.since_ms {
        0 => String::new(),
        since => format::age(model.daemon_now_ms().saturating_sub(since)),
    };
    let end = if narrow { place } else { format!("{place} {}", right(&age, 3)) };
    let room = area.width.saturating_sub(width(&end) + 5);
    pen.line(area, line, &[plain(" "), span(sign, tone), plain(" "), plain(cut(&item.text, room))]);
    pen.line_right(
        Area { width: area.width.saturating_sub(1), ..area },
        line,
        &[span(end, Tone::Quiet)],
    );
}

fn breaches(model: &Model) -> Option<crate::view::pen::Span> {
    match model.overview.money.breaches {
        0 => None,
        count => Some(span(format!("  LEDGER {count} BREACHES"), Tone::Bad)),
    }
}

pub(super) fn money(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let inside = framed(pen, model, area, "Money", "UTC day", false);
    if !model.overview.loaded {
        return;
    }
    let m = model.overview.money;
    let checked = match m.checked_at_ms {
        0 => span("not checked yet", Tone::Quiet),
        at if m.breaches == 0 => span(format!("balanced {}", model.zone.stamp(at)), Tone::Good),
        _ => span(format!("{} BREACHES", m.breaches), Tone::Bad),
    };
    let rows = [
        ("charged today", span(format::usd(m.charged_today_ncr), Tone::Strong)),
        ("held", plain(format::usd(m.held_ncr))),
        ("open holds", plain(format::grouped(m.open_holds.into()))),
        ("balances", plain(format::usd(m.balances_ncr))),
        ("ledger", checked),
    ];
    for (line, (label, value)) in (0..).zip(rows) {
        pen.line(inside, line, &[span(format!(" {label}"), Tone::Quiet)]);
        let air = Area { width: inside.width.saturating_sub(1), ..inside };
        pen.line_right(air, line, &[value]);
    }
}
