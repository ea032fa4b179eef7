//! Which server answers, and how the breakers stand.

use crate::format;
use crate::model::Model;
use crate::model::columns::Column;
use crate::model::data::{Backend, BackendState, Breaker};
use crate::model::layout::{Area, Panel};
use crate::view::facts::{self, Fact, fact, toned};
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::theme::Tone;
use crate::view::{chart, empty_line, framed, table};

/// A chart lower than this says nothing.
const CHART_LINES: u16 = 3;

pub(super) fn state_cell(model: &Model, backend: &Backend) -> Span {
    if let Some(call) = model.open_call(&backend.id) {
        return span(if call.unknown { "UNKNOWN?" } else { "..." }, Tone::Warn);
    }
    match (backend.state, backend.breaker) {
        (BackendState::Up, Breaker::Open) => span("BREAKER", Tone::Bad),
        (BackendState::Up, Breaker::HalfOpen) => span("testing", Tone::Warn),
        (state, _) => span(state.word(), tone(state)),
    }
}

const fn tone(state: BackendState) -> Tone {
    match state {
        BackendState::Up => Tone::Good,
        BackendState::Down => Tone::Bad,
        BackendState::Loading | BackendState::Unknown => Tone::Quiet,
        BackendState::Cordoned | BackendState::Draining | BackendState::Drained => Tone::Warn,
    }
}

/// Where there is no heading: the time to the first token; for a server that is down, how long it
/// has been.
pub(super) fn delay_cell(model: &Model, backend: &Backend) -> Span {
    if backend.state == BackendState::Down && backend.since_ms > 0 {
        let down = model.daemon_now_ms().saturating_sub(backend.since_ms);
        span(format::age(down), Tone::Bad)
    } else {
        plain(format::delay(backend.ttft_p95_ms))
    }
}

pub(super) fn list(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = format!("Backends {}", table::counted(&model.backends));
    let right = table::state(pen, &model.backends, area.width.saturating_sub(24));
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    table::rows(pen, model, Panel::BackendList, inside, &model.backends, |backend, column, _| {
        cell(model, backend, column)
    });
    if model.backends.shown_len() == 0 {
        let text = nothing(model);
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

/// Why the list is empty.
pub(super) fn nothing(model: &Model) -> String {
    let table = &model.backends;
    let none = "no backends yet; relayd admin apply adds them";
    empty_line(model, table.loaded, table.filter_text(), none)
}

/// What stands under a column.
pub(super) fn cell(model: &Model, backend: &Backend, column: &Column) -> Span {
    let marked = |marked: bool, tone| if marked { tone } else { Tone::Quiet };
    match column.head {
        "state" => state_cell(model, backend),
        "name" => plain(backend.id.as_str()),
        "model" => plain(backend.model_line()),
        "engine" => plain(backend.engine.as_str()),
        "run" => {
            let full = backend.max_concurrency > 0 && backend.running >= backend.max_concurrency;
            let run = format!("{}/{}", backend.running, backend.max_concurrency);
            span(run, if full { Tone::Warn } else { Tone::Plain })
        }
        "queue" => span(backend.queued.to_string(), marked(backend.queued > 0, Tone::Warn)),
        "ttft50" => plain(format::delay(backend.ttft_p50_ms)),
        "ttft95" => plain(format::delay(backend.ttft_p95_ms)),
        "err%" => span(errors(backend), marked(backend.recent_failures_ppm > 0, Tone::Warn)),
        "weight" => plain(backend.weight.to_string()),
        "breaker" => {
            let open = backend.breaker != Breaker::Closed;
            span(backend.breaker.word(), marked(open, Tone::Bad))
        }
        "requests" => plain(format::count(backend.requests)),
        "tokens out" => plain(format::count(backend.tokens_out)),
        _ => Span::default(),
    }
}

/// `0.1`, in percent of the last requests.
fn errors(backend: &Backend) -> String {
    let tenths = backend.recent_failures_ppm / 1_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

pub(super) fn history(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(backend) = model.backends.selected() else {
        framed(pen, model, area, "Running", "", false);
        return;
    };
    let right = format!("{}  [ ] range", chart::range(pen, model, area.width.saturating_sub(4)));
    let inside = framed(pen, model, area, "Running", &right, false);
    let air = Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let chart = Area { height: air.height.saturating_sub(1), ..air };
    if let Some(series) = model.histories.get(&backend.id) {
        chart::columns(pen, chart, series, model.range_s, slots(backend));
    }
    let now = format!("now {} of {} slots", backend.running, backend.max_concurrency);
    pen.line(air, air.height.saturating_sub(1), &[plain(now)]);
}

/// The top of the chart: every slot taken.
#[expect(clippy::cast_precision_loss, reason = "the top of a chart")]
fn slots(backend: &Backend) -> f32 {
    backend.max_concurrency as f32
}

pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = model.backends.selected().map_or("Backend", |backend| backend.id.as_str());
    let inside = framed(pen, model, area, title, "", false);
    let Some(backend) = model.backends.selected() else { return };
    let used = facts::draw(pen, inside, &facts_of(model, backend));
    // A narrow page has no panel of its own for the chart, and a low one no room for it.
    if !model.size.is_wide() && inside.height >= used + 1 + CHART_LINES {
        let rest = Area { y: inside.y + used, height: inside.height - used, ..inside };
        let now = format!("{} of {} slots", backend.running, backend.max_concurrency);
        facts::draw(pen, rest, &[fact("running", now)]);
        let chart = Area {
            x: rest.x + 1,
            y: rest.y + 1,
            width: rest.width.saturating_sub(2),
            height: rest.height - 1,
        };
        if let Some(series) = model.histories.get(&backend.id) {
            chart::columns(pen, chart, series, model.range_s, slots(backend));
        }
    }
}

/// What there is to know of a backend, the most wanted first.
pub(crate) fn facts_of(model: &Model, backend: &Backend) -> Vec<Fact> {
    let now = model.daemon_now_ms();
    let since = match backend.since_ms {
        0 => String::new(),
        since => format!(" for {}", format::age(now.saturating_sub(since))),
    };
    let state = state_cell(model, backend);
    let breaker = match backend.breaker {
        Breaker::Open if backend.breaker_until_ms > now => {
            let left = format::age(backend.breaker_until_ms - now);
            span(format!("OPEN, tries again in {left}"), Tone::Bad)
        }
        breaker => plain(breaker.word()),
    };
    let why = match backend.reason.as_str() {
        "" => span("-", Tone::Quiet),
        why => span(why, Tone::Bad),
    };
    let probed = match backend.probed_at_ms {
        0 => "never".to_owned(),
        // Probes come every few seconds; a number that always changes says nothing.
        at if now.saturating_sub(at) < 10_000 => "just now".to_owned(),
        at => format!("{} ago", format::age(now.saturating_sub(at))),
    };
    let served = format!(
        "{} requests, {} failed",
        format::count(backend.requests),
        format::count(backend.failures)
    );
    let mut facts = vec![
        toned("state", Span { text: format!("{}{since}", state.text), ..state }),
        toned("breaker", breaker),
        toned("why", why).long(),
        fact("model", backend.model_line()),
        fact("engine", format!("{} ({})", backend.engine, backend.dialect)),
        fact("url", backend.base_url.as_str()).long(),
        fact("served", served),
        fact("queue", format!("{} of {}", backend.queued, backend.queue_limit)),
        fact("probed", probed),
        fact("weight", backend.weight.to_string()),
    ];
    if !backend.provider.is_empty() {
        facts.push(fact("provider", backend.provider.as_str()));
    }
    facts
}
