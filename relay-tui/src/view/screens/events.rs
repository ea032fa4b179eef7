//! What happened, and who did it.

use crate::format;
use crate::model::Model;
use crate::model::columns::{self, Column};
use crate::model::data::{AuditEntry, Event};
use crate::model::layout::{Area, Panel};
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::theme::Tone;
use crate::view::{empty_line, framed, table};

/// What stands under a column.
fn cell(model: &Model, event: &Event, column: &Column) -> Span {
    match column.head {
        "time" => span(model.zone.when(event.at_ms, model.daemon_now_ms()), Tone::Quiet),
        "kind" => span(event.kind.as_str(), Tone::from(event.severity)),
        "subject" => plain(event.subject.as_str()),
        _ => span(event.text.as_str(), Tone::from(event.severity)),
    }
}

fn followed(model: &Model) -> &'static str {
    if model.follow { "follow on" } else { "follow off" }
}

/// On the overview.
pub(super) fn happenings(pen: &mut Pen<'_>, model: &Model, area: Area, focused: bool) {
    let inside = framed(pen, model, area, "Events", followed(model), focused);
    if model.events.shown_len() == 0 {
        nothing(pen, model, inside, 0);
        return;
    }
    let columns = columns::shown(Panel::Happenings, inside.width, false);
    table::body(pen, inside, &model.events, &columns, focused, |event, column, _| {
        cell(model, event, column)
    });
}

fn nothing(pen: &mut Pen<'_>, model: &Model, inside: Area, line: u16) {
    let table = &model.events;
    let text = empty_line(model, table.loaded, table.filter_text(), "nothing has happened yet");
    pen.line(inside, line, &[span(format!(" {text}"), Tone::Quiet)]);
}

pub(super) fn list(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = format!("Events {}", table::counted(&model.events));
    let filter = table::state(pen, &model.events, area.width.saturating_sub(50));
    let right = format!("{}  {filter}  tab audit", followed(model));
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    table::rows(pen, model, Panel::EventList, inside, &model.events, |event, column, _| {
        cell(model, event, column)
    });
    if model.events.shown_len() == 0 {
        nothing(pen, model, inside, 1);
    }
}

pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(event) = model.events.selected() else {
        framed(pen, model, area, "Event", "", false);
        return;
    };
    let right = format!("seq {}", format::grouped(event.seq.into()));
    let inside = framed(pen, model, area, &event.kind, &right, false);
    let head = format!(
        " {}  {}  {}",
        model.zone.moment(event.at_ms),
        event.severity.word(),
        event.subject
    );
    pen.line(inside, 0, &[span(head, Tone::Quiet)]);
    let room = inside.width.saturating_sub(2);
    for (line, part) in (1..inside.height).zip(wrapped(&event.text, room)) {
        pen.line(inside, line, &[span(format!(" {part}"), Tone::from(event.severity))]);
    }
}

pub(super) fn audit(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = format!("Audit {}", table::counted(&model.audit));
    let state = table::state(pen, &model.audit, area.width.saturating_sub(40));
    let right = format!("{state}  tab events");
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    table::rows(pen, model, Panel::AuditList, inside, &model.audit, |entry, column, wide| {
        match column.head {
            "time" if wide >= 20 => span(model.zone.moment(entry.at_ms), Tone::Quiet),
            "time" => span(model.zone.when(entry.at_ms, model.daemon_now_ms()), Tone::Quiet),
            "operator" => plain(entry.operator.as_str()),
            "action" => plain(deed(entry)),
            "object" => plain(entry.object.as_str()),
            _ => plain(entry.reason.as_str()),
        }
    });
    if model.audit.shown_len() == 0 {
        let table = &model.audit;
        let text = match &model.audit_problem {
            Some(why) => why.clone(),
            None => empty_line(model, table.loaded, table.filter_text(), "nothing was changed yet"),
        };
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

pub(super) fn audit_detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(entry) = model.audit.selected() else {
        framed(pen, model, area, "Entry", "", false);
        return;
    };
    let right = format!("seq {}", entry.seq);
    let inside = framed(pen, model, area, deed(entry), &right, false);
    let room = inside.width.saturating_sub(2);
    let lines = audit_lines(model, entry);
    let wrapped = lines.iter().flat_map(|line| wrapped(line, room));
    for (line, part) in (0..inside.height).zip(wrapped) {
        pen.line(inside, line, &[plain(format!(" {part}"))]);
    }
}

/// What was done, without the service that did it: `SetBackendWeight`.
fn deed(entry: &AuditEntry) -> &str {
    entry.action.rsplit('/').next().unwrap_or_default()
}

/// An entry of the audit log in full.
pub(crate) fn audit_lines(model: &Model, entry: &AuditEntry) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {} ({})  {}",
        model.zone.moment(entry.at_ms),
        entry.operator,
        entry.role,
        entry.object
    )];
    for (label, text) in [
        ("reason", &entry.reason),
        ("before", &entry.before),
        ("after", &entry.after),
        ("request", &entry.request_id),
        ("hash", &entry.hash),
    ] {
        if !text.is_empty() {
            lines.push(format!("{label:<8} {text}"));
        }
    }
    lines
}

/// A text in lines of at most this many columns, broken at spaces where there are some.
pub(crate) fn wrapped(text: &str, columns: u16) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let wide = crate::view::pen::width(word);
        // A word that is longer than a line begins where it stands.
        if used > 0 && wide <= columns && used + crate::view::pen::width(word.trim_end()) > columns
        {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if wide <= columns {
            line.push_str(word);
            used += wide;
            continue;
        }
        for c in word.chars() {
            let wide = crate::view::pen::width(c.encode_utf8(&mut [0; 4]));
            if used + wide > columns && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += wide;
        }
    }
    if !line.trim().is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}
