//! Who uses what, and who hits limits.

use crate::format;
use crate::model::Model;
use crate::model::columns::Column;
use crate::model::data::{Key, KeyState};
use crate::model::layout::{Area, Panel};
use crate::view::facts::{self, Fact, fact, toned};
use crate::view::glyphs::Glyphs;
use crate::view::pen::{Pen, Span, cut, plain, span};
use crate::view::theme::Tone;
use crate::view::{chart, empty_line, framed, table};

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
    let state = table::state(pen, &model.keys, area.width.saturating_sub(36));
    let right = format!("today UTC  {state}");
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    let glyphs = pen.glyphs;
    table::rows(pen, model, Panel::KeyList, inside, &model.keys, |key, column, wide| {
        cell(model, glyphs, key, column, wide)
    });
    if model.keys.shown_len() == 0 {
        let table = &model.keys;
        let text = empty_line(model, table.loaded, table.filter_text(), "no keys yet; n makes one");
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

/// What stands under a column of this width.
fn cell(model: &Model, glyphs: &Glyphs, key: &Key, column: &Column, wide: u16) -> Span {
    let today = &key.today;
    let marked = |marked: bool| if marked { Tone::Warn } else { Tone::Quiet };
    match column.head {
        "key" => plain(key.name.as_str()),
        "prefix" => span(key.prefix.as_str(), Tone::Quiet),
        "customer" => plain(key.customer.as_str()),
        "tier" => plain(key.tier.as_str()),
        "req/s" => plain(format::rate(key.requests_per_ks)),
        "tokens" => plain(format::count(key.tokens_today())),
        "cost" => plain(format::usd(today.charged_ncr)),
        "used" => spent(glyphs, wide.saturating_sub(7), key),
        "ttft50" => plain(format::delay(today.ttft_p50_ms)),
        "ttft95" => plain(format::delay(today.ttft_p95_ms)),
        "err%" if today.requests == 0 => span("-", Tone::Quiet),
        "err%" => {
            let share = key.errors_ppm() / 1_000;
            span(format!("{}.{}", share / 10, share % 10), marked(today.errors > 0))
        }
        "429s" => span(format::count(today.limited), marked(today.limited > 0)),
        "state" => state_cell(model, key),
        _ => Span::default(),
    }
}

/// ` 80% [########..]`, the bar of so many cells; a word for a key without a budget.
fn spent(glyphs: &Glyphs, cells: u16, key: &Key) -> Span {
    let Some(percent) = key.spent_percent() else {
        return span(if cells == 0 { "   -" } else { "   - not capped" }, Tone::Quiet);
    };
    let tone = match percent {
        90.. => Tone::Bad,
        75.. => Tone::Warn,
        _ => Tone::Plain,
    };
    if cells == 0 {
        return span(format!("{percent:>3}%"), tone);
    }
    span(format!("{percent:>3}% [{}]", glyphs.share(percent.into(), cells)), tone)
}

pub(super) fn history(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(key) = model.keys.selected() else {
        framed(pen, model, area, "Requests a second", "", false);
        return;
    };
    let right = format!("{}  [ ] range", chart::range(pen, model, area.width.saturating_sub(4)));
    let inside = framed(pen, model, area, "Requests a second", &right, false);
    let air = Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let chart = Area { height: air.height.saturating_sub(1), ..air };
    if let Some(series) = model.key_history.get(&key.id) {
        chart::columns(pen, chart, series, model.range_s, 0.0);
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
    facts::draw(pen, inside, &facts_of(model, key));
}

/// `tier`, or what is set: `direct 600, the rest by tier`.
fn limits(key: &Key) -> String {
    let set = [
        ("direct", key.limits.direct),
        ("opengpu", key.limits.opengpu),
        ("global", key.limits.global),
    ];
    let set: Vec<String> =
        set.iter().filter_map(|(name, limit)| Some(format!("{name} {}", (*limit)?))).collect();
    if set.is_empty() { "as the tier says".to_owned() } else { set.join(", ") }
}

/// What there is to know of a key, the most wanted first.
pub(crate) fn facts_of(model: &Model, key: &Key) -> Vec<Fact> {
    let state = state_cell(model, key);
    let flags = [(key.superkey, "superkey"), (key.system, "system")];
    let flags = flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word);
    let state_text =
        std::iter::once(state.text.as_str()).chain(flags).collect::<Vec<_>>().join(", ");
    let budget = key
        .budget_ncr
        .map_or_else(|| "not capped".to_owned(), |left| format!("{} left", format::usd(left)));
    let today = format!(
        "{} req, {} err, {} 429",
        format::count(key.today.requests),
        format::count(key.today.errors),
        format::count(key.today.limited)
    );
    let tokens = format!(
        "in {}  out {}",
        format::count(key.today.tokens_in),
        format::count(key.today.tokens_out)
    );
    let used = match key.last_used_at_ms {
        0 => "never".to_owned(),
        at => format!("{} ago", format::age(model.daemon_now_ms().saturating_sub(at))),
    };
    let mut facts = vec![
        toned("state", Span { text: state_text, ..state }),
        fact("customer", format!("{} ({})", key.customer, key.tier)),
        fact("now", format!("{}/s, {} running", format::rate(key.requests_per_ks), key.in_flight)),
        fact("limits/min", limits(key)),
        fact("budget", budget),
        fact("today", today),
        fact("tokens", tokens),
        fact("used", used),
        fact("created", model.zone.date(key.created_at_ms)),
    ];
    if key.revoked_at_ms > 0 {
        facts.push(toned("revoked", span(model.zone.moment(key.revoked_at_ms), Tone::Bad)));
    }
    if !key.denied_scopes.is_empty() {
        facts.push(fact("denied", key.denied_scopes.join(" ")));
    }
    facts.push(toned("secret", span("never shown again", Tone::Quiet)));
    facts.push(fact("prefix", key.prefix.as_str()));
    facts.push(fact("id", key.id.as_str()));
    facts
}
