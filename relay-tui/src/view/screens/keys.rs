//! Who uses what, and who hits limits.

use crate::format;
use crate::model::Model;
use crate::model::data::{Key, KeyState};
use crate::model::layout::Area;
use crate::view::glyphs::Glyphs;
use crate::view::pen::{Pen, Span, cut, plain, span};
use crate::view::screens::overview::range;
use crate::view::table::{column, number};
use crate::view::theme::Tone;
use crate::view::{chart, empty_line, framed, table};

/// From here on the list has all columns.
const WIDE: u16 = 110;

fn state_cell(model: &Model, key: &Key) -> Span {
    if let Some(call) = model.open_call(&key.id) {
        return span(if call.unknown { "UNKNOWN?" } else { "..." }, Tone::Warn);
    }
    let state = key.state();
    let tone = match state {
        KeyState::Ok => Tone::Good,
        KeyState::Unused => Tone::Quiet,
        KeyState::Limited | KeyState::Errors => Tone::Warn,
        KeyState::Spent | KeyState::Revoked => Tone::Bad,
    };
    span(state.word(), tone)
}

pub(super) fn list(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = format!("Keys {}", table::counted(&model.keys));
    let state = table::state(&model.keys, area.width.saturating_sub(36));
    let right = format!("today UTC  {state}");
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    let wide = inside.width >= WIDE;
    let mut columns = vec![column("key", "name", 0)];
    columns.push(column("prefix", "prefix", if wide { 20 } else { 14 }));
    if wide {
        columns.push(column("customer", "customer", 0));
        columns.push(column("tier", "tier", 10));
    }
    columns.extend([number("req/s", "rate", 6), number("tokens", "tokens", 7)]);
    columns.push(number("cost", "cost", 10));
    columns.push(column(if wide { "of budget" } else { "" }, "left", if wide { 17 } else { 5 }));
    if wide {
        columns.extend([number("ttft50", "", 6), number("ttft95", "", 6)]);
    }
    columns.push(number("err%", "err", 5));
    if wide {
        columns.push(number("429s", "limited", 6));
    }
    columns.push(column("state", "state", 8));
    let glyphs = pen.glyphs;
    table::rows(pen, inside, &model.keys, &columns, true, |key| {
        let today = &key.today;
        let mut cells = vec![plain(key.name.as_str()), span(key.prefix.as_str(), Tone::Quiet)];
        if wide {
            cells.push(plain(key.customer.as_str()));
            cells.push(plain(key.tier.as_str()));
        }
        cells.push(plain(format::rate(key.requests_per_ks)));
        cells.push(plain(format::count(key.tokens_today())));
        cells.push(plain(format::usd(today.charged_ncr)));
        cells.push(spent(glyphs, if wide { 10 } else { 0 }, key));
        if wide {
            cells.push(plain(format::delay(today.ttft_p50_ms)));
            cells.push(plain(format::delay(today.ttft_p95_ms)));
        }
        let failing = if today.errors > 0 { Tone::Warn } else { Tone::Quiet };
        let share = key.errors_ppm() / 1_000;
        let share = if today.requests == 0 {
            "-".to_owned()
        } else {
            format!("{}.{}", share / 10, share % 10)
        };
        cells.push(span(share, failing));
        if wide {
            let limited = if today.limited > 0 { Tone::Warn } else { Tone::Quiet };
            cells.push(span(format::count(today.limited), limited));
        }
        cells.push(state_cell(model, key));
        cells
    });
    if model.keys.shown_len() == 0 {
        let table = &model.keys;
        let text = empty_line(model, table.loaded, table.filter_text(), "no keys yet; n makes one");
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

/// ` 80% [########..]`, the bar of so many cells; empty for a key without a budget.
fn spent(glyphs: &Glyphs, cells: u16, key: &Key) -> Span {
    let Some(percent) = key.spent_percent() else { return plain("") };
    let tone = match percent {
        90.. => Tone::Bad,
        75.. => Tone::Warn,
        _ => Tone::Plain,
    };
    if cells == 0 {
        return span(format!("{percent:>3}%"), tone);
    }
    let full = usize::from(u16::from(percent) * cells / 100);
    let rest = usize::from(cells) - full;
    let (bar, left) = (glyphs.bar.repeat(full), glyphs.bar_rest.repeat(rest));
    span(format!("{percent:>3}% [{bar}{left}]"), tone)
}

pub(super) fn history(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(key) = model.keys.selected() else {
        framed(pen, model, area, "Requests", &range(model), false);
        return;
    };
    let title = format!("{}: requests/s", key.name);
    let right = format!("{}  [ ] range", range(model));
    let inside = framed(pen, model, area, &title, &right, false);
    let air = Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let chart = Area { height: air.height.saturating_sub(1), ..air };
    if let Some(series) = model.key_history.get(&key.id) {
        chart::columns(pen, chart, series, model.range_s);
    }
    pen.line(air, air.height.saturating_sub(1), &shares(model, key));
}

/// What the cost of today went to: `llama-3.3 71%  qwen3 24%`.
fn shares(model: &Model, key: &Key) -> Vec<Span> {
    let read = &model.key_usage;
    let total: i128 = read.rows.iter().map(|row| i128::from(row.charged_ncr)).sum();
    if read.key_id != key.id || total <= 0 {
        let now = format!("now {}/s", format::rate(key.requests_per_ks));
        return vec![plain(now)];
    }
    let rows = read.rows.iter().take(4).map(|row| {
        let percent = i128::from(row.charged_ncr) * 100 / total;
        plain(format!("{} {percent}%  ", cut(&row.model, 24)))
    });
    rows.collect()
}

pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = model.keys.selected().map_or("Key", |key| key.name.as_str());
    let inside = framed(pen, model, area, title, "", false);
    let Some(key) = model.keys.selected() else { return };
    for (line, (label, value)) in (0..inside.height).zip(facts(model, key)) {
        let room = inside.width.saturating_sub(13);
        let label = format!(" {label:<11}");
        let text = cut(&value.text, room);
        pen.line(inside, line, &[span(label, Tone::Quiet), Span { text, tone: value.tone }]);
    }
}

/// What there is to know of a key, the most wanted first.
pub(crate) fn facts(model: &Model, key: &Key) -> Vec<(&'static str, Span)> {
    let limit =
        |limit: Option<u32>| limit.map_or_else(|| "tier".to_owned(), |limit| limit.to_string());
    let state = state_cell(model, key);
    let mut flags = Vec::new();
    if key.superkey {
        flags.push("superkey");
    }
    if key.system {
        flags.push("system");
    }
    let state_text =
        std::iter::once(state.text.as_str()).chain(flags).collect::<Vec<_>>().join(", ");
    let mut facts = vec![
        ("state", Span { text: state_text, ..state }),
        ("customer", plain(format!("{} ({})", key.customer, key.tier))),
        (
            "now",
            plain(format!("{}/s, {} running", format::rate(key.requests_per_ks), key.in_flight)),
        ),
        (
            "limits/min",
            plain(format!(
                "{} direct, {} opengpu, {} global",
                limit(key.limits.direct),
                limit(key.limits.opengpu),
                limit(key.limits.global)
            )),
        ),
        (
            "budget",
            plain(key.budget_ncr.map_or_else(
                || "not capped".to_owned(),
                |left| format!("{} left", format::usd(left)),
            )),
        ),
        (
            "today",
            plain(format!(
                "{} requests, {} limited",
                format::grouped(key.today.requests.into()),
                key.today.limited
            )),
        ),
        (
            "tokens",
            plain(format!(
                "in {}  out {}",
                format::count(key.today.tokens_in),
                format::count(key.today.tokens_out)
            )),
        ),
    ];
    let used = match key.last_used_at_ms {
        0 => "never used".to_owned(),
        at => format!("used {} ago", format::age(model.daemon_now_ms().saturating_sub(at))),
    };
    facts.push(("created", plain(format!("{}, {used}", format::date(key.created_at_ms)))));
    if key.revoked_at_ms > 0 {
        facts.push(("revoked", span(format::moment(key.revoked_at_ms), Tone::Bad)));
    }
    if !key.denied_scopes.is_empty() {
        facts.push(("denied", plain(key.denied_scopes.join(" "))));
    }
    facts.push(("secret", span("never shown again", Tone::Quiet)));
    facts.push(("prefix", plain(key.prefix.as_str())));
    facts.push(("id", plain(key.id.as_str())));
    facts
}
