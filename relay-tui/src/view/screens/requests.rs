//! Requests that run now, and those that have just ended.

use crate::format;
use crate::model::Model;
use crate::model::data::{Request, RequestState};
use crate::model::layout::Area;
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::table::{Column, column, number};
use crate::view::theme::Tone;
use crate::view::{empty_line, framed, table};

/// On the overview: newest first, enter goes to the key.
pub(super) fn running(pen: &mut Pen<'_>, model: &Model, area: Area, focused: bool) {
    let running = model.requests.all().iter().filter(|request| request.state.runs()).count();
    let right = format!("{running} running");
    let right = if model.requests.loaded { right.as_str() } else { "" };
    let inside = framed(pen, model, area, "Requests", right, focused);
    if model.requests.shown_len() == 0 {
        nothing(pen, model, inside);
        return;
    }
    let columns = columns(inside.width, true, false);
    table::bare(pen, inside, &model.requests, &columns, focused, |request| {
        cells(model, request, inside.width, true, false)
    });
}

pub(super) fn of_key(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(key) = model.keys.selected() else {
        framed(pen, model, area, "Its live requests", "", false);
        return;
    };
    let right = format!("{} running", key.in_flight);
    let inside = framed(pen, model, area, "Its live requests", &right, false);
    list(pen, model, inside, model.requests_of_key(&key.id), false, true);
}

pub(super) fn on_backend(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(backend) = model.backends.selected() else {
        framed(pen, model, area, "Its live requests", "", false);
        return;
    };
    let right = format!("{} running  {} queued", backend.running, backend.queued);
    let inside = framed(pen, model, area, "Its live requests", &right, false);
    list(pen, model, inside, model.requests_on(&backend.id), true, false);
}

fn list<'a>(
    pen: &mut Pen<'_>,
    model: &Model,
    inside: Area,
    requests: impl Iterator<Item = &'a Request>,
    with_key: bool,
    with_backend: bool,
) {
    let columns = columns(inside.width, with_key, with_backend);
    let widths = table::widths(inside.width, &columns);
    let mut any = false;
    for (line, request) in (0..inside.height).zip(requests) {
        any = true;
        let cells = cells(model, request, inside.width, with_key, with_backend);
        table::put(pen, inside, line, &columns, &widths, &cells);
    }
    if !any {
        nothing(pen, model, inside);
    }
}

fn nothing(pen: &mut Pen<'_>, model: &Model, inside: Area) {
    let filter = if model.screen == crate::model::Screen::Overview {
        model.requests.filter_text()
    } else {
        ""
    };
    let text = empty_line(model, model.requests.loaded, filter, "none in the last minute");
    pen.line(inside, 0, &[span(format!(" {text}"), Tone::Quiet)]);
}

/// From here on there is room for the time, the id and the money.
const WIDE: u16 = 90;
/// From here on there is room for how long it took beside the name of the key.
const AGED: u16 = 48;

fn columns(width: u16, with_key: bool, with_backend: bool) -> Vec<Column> {
    let wide = width >= WIDE;
    let mut columns = Vec::new();
    if wide {
        columns.push(column("", "", 9));
    }
    columns.push(column("", "", 7));
    if with_key {
        columns.push(column("", "", 0));
    }
    columns.push(column("", "", 0));
    if with_backend && wide {
        columns.push(column("", "", 0));
    }
    if wide {
        columns.push(column("", "", 16));
        columns.push(number("", "", 10));
    }
    columns.push(number("", "", if wide { 10 } else { 7 }));
    if width >= AGED || !with_key {
        columns.push(number("", "", 5));
    }
    if wide {
        columns.push(number("", "", 12));
    }
    columns
}

fn cells(
    model: &Model,
    request: &Request,
    width: u16,
    with_key: bool,
    with_backend: bool,
) -> Vec<Span> {
    let wide = width >= WIDE;
    let mut cells = Vec::new();
    if wide {
        cells.push(span(format!("{}Z", format::clock(request.created_at_ms)), Tone::Quiet));
    }
    cells.push(span(request.state.word(), tone(request.state)));
    if with_key {
        let name = if request.key_name.is_empty() { "guest" } else { &request.key_name };
        cells.push(plain(name));
    }
    let model_name = match (wide, request.error_code.as_str()) {
        (true, "") => request.scope.clone(),
        (true, code) => format!("{} {code}", request.scope),
        (false, _) => request.model().to_owned(),
    };
    cells.push(plain(model_name));
    if with_backend && wide {
        cells.push(plain(request.backend.as_str()));
    }
    if wide {
        cells.push(span(request.id.as_str(), Tone::Quiet));
        cells.push(plain(format!("in {}", format::count(request.tokens_in))));
    }
    // What relayd counted itself is marked, as elsewhere what is not exact.
    let about = if request.estimated { "~" } else { "" };
    let out = format!("{about}{}", format::count(request.tokens_out));
    cells.push(plain(if wide { format!("out {out}") } else { format!("{out} tk") }));
    if width >= AGED || !with_key {
        let lasted = u32::try_from(request.lasted_ms(model.daemon_now_ms())).unwrap_or(u32::MAX);
        cells.push(plain(format::delay(lasted)));
    }
    if wide {
        let charged = request.charged_ncr;
        let running = request.state.runs() && charged == 0;
        cells.push(plain(if running { String::new() } else { format::usd(charged) }));
    }
    cells
}

const fn tone(state: RequestState) -> Tone {
    match state {
        RequestState::Failed => Tone::Bad,
        RequestState::Cancelled | RequestState::Queued => Tone::Warn,
        RequestState::Streaming | RequestState::Prefill | RequestState::Settling => Tone::Good,
        RequestState::Completed => Tone::Quiet,
    }
}
