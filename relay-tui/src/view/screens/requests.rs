//! Requests that run now, and those that have just ended.

use crate::format;
use crate::model::columns::{self, Column, column, number};
use crate::model::data::{Request, RequestState};
use crate::model::layout::Area;
use crate::model::{Model, Screen};
use crate::view::pen::{Pen, Span, plain, span};
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
    table::body(pen, inside, &model.requests, &columns, focused, |request, column, _| {
        cell(model, request, column)
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
    let widths = columns::widths(inside.width, &columns);
    let mut rows = inside;
    if inside.width >= WIDE && inside.height > 0 {
        table::headings(pen, inside, None, &columns, &widths);
        rows = Area { y: inside.y + 1, height: inside.height - 1, ..inside };
    }
    let mut any = false;
    for (line, request) in (0..rows.height).zip(requests) {
        any = true;
        let cells: Vec<Span> = columns.iter().map(|column| cell(model, request, column)).collect();
        table::put(pen, rows, line, &columns, &widths, &cells);
    }
    if !any {
        nothing(pen, model, rows);
    }
}

fn nothing(pen: &mut Pen<'_>, model: &Model, inside: Area) {
    let filter = if model.screen == Screen::Overview { model.requests.filter_text() } else { "" };
    let text = empty_line(model, model.requests.loaded, filter, "none in the last minute");
    pen.line(inside, 0, &[span(format!(" {text}"), Tone::Quiet)]);
}

/// From here on there is room for the time, the id and the money.
const WIDE: u16 = 90;
/// From here on there is room for how long it took beside the name of the key.
const AGED: u16 = 48;

fn columns(width: u16, with_key: bool, with_backend: bool) -> Vec<Column> {
    if width >= WIDE {
        let all = [
            (true, column("time", 9)),
            (true, column("state", 7)),
            (with_key, column("key", 0)),
            (true, column("scope", 0)),
            (with_backend, column("backend", 0)),
            (true, column("request", 16)),
            (true, number("in", 6)),
            (true, number("out", 7)),
            (true, number("ttft", 6)),
            (true, number("took", 6)),
            (true, number("cost", 11)),
        ];
        return all.into_iter().filter_map(|(shown, column)| shown.then_some(column)).collect();
    }
    let mut columns = vec![column("state", 7)];
    if with_key {
        columns.push(column("key", 0));
    }
    columns.extend([column("model", 0), number("tokens", 7)]);
    if width >= AGED || !with_key {
        columns.push(number("took", 5));
    }
    columns
}

/// What stands under a column.
fn cell(model: &Model, request: &Request, column: &Column) -> Span {
    // What relayd counted itself is marked, as elsewhere what is not exact.
    let about = if request.estimated { "~" } else { "" };
    let out = || format!("{about}{}", format::count(request.tokens_out));
    match column.head {
        "time" => span(model.zone.stamp(request.created_at_ms), Tone::Quiet),
        "state" => span(request.state.word(), tone(request.state)),
        "key" if request.key_name.is_empty() => plain("guest"),
        "key" => plain(request.key_name.as_str()),
        "model" => plain(request.model()),
        "scope" if request.error_code.is_empty() => plain(request.scope.as_str()),
        "scope" => plain(format!("{} {}", request.scope, request.error_code)),
        "backend" => plain(request.backend.as_str()),
        "request" => span(request.id.as_str(), Tone::Quiet),
        "in" => plain(format::count(request.tokens_in)),
        "out" => plain(out()),
        "tokens" => plain(format!("{} tk", out())),
        "ttft" => plain(format::delay(request.ttft_ms)),
        "took" => {
            let lasted = request.lasted_ms(model.daemon_now_ms());
            plain(format::delay(u32::try_from(lasted).unwrap_or(u32::MAX)))
        }
        // Nothing is charged before the end.
        _ if request.state.runs() && request.charged_ncr == 0 => plain(""),
        _ => plain(format::usd(request.charged_ncr)),
    }
}

const fn tone(state: RequestState) -> Tone {
    match state {
        RequestState::Failed => Tone::Bad,
        RequestState::Cancelled | RequestState::Queued => Tone::Warn,
        RequestState::Streaming | RequestState::Prefill | RequestState::Settling => Tone::Good,
        RequestState::Completed => Tone::Quiet,
    }
}
