//! Questions before a change, forms, and the one look at a new secret.

use ratatui::layout::Position;

use super::boxed;
use crate::keymap::Level;
use crate::model::Model;
use crate::model::call::{Secret, Verb};
use crate::model::input::Input;
use crate::model::layout::Area;
use crate::model::overlay::{Confirm, FieldKind, Focus, Form};
use crate::update::matching_customers;
use crate::view::pen::{Pen, Span, cut, plain, span, width};
use crate::view::screens::wrapped;
use crate::view::theme::Tone;

const WIDTH: u16 = 66;
/// Customers that are offered at a time.
const OFFERED: usize = 3;

pub(super) fn confirm(pen: &mut Pen<'_>, model: &Model, dialog: &Confirm) {
    let verb = match dialog.call.verb {
        Verb::Drain => "Drain",
        Verb::Cordon => "Cordon",
        Verb::Uncordon => "Uncordon",
        Verb::RevokeKey => "Revoke",
        Verb::Approve => "Approve",
        Verb::Reject => "Reject",
        Verb::Suspend => "Suspend",
        Verb::Reconsider => "Reconsider",
        Verb::Advance => "Advance",
        Verb::Resume => "Resume",
        Verb::RollBack => "Roll back",
        _ => "Change",
    };
    let title = format!("{verb} {}?", dialog.call.name);
    let by_name = dialog.level == Level::Name;
    let lines = text_lines(&dialog.lines);
    let own = match dialog.level {
        Level::Name => 5,
        Level::Reason => 4,
        Level::None | Level::Yes | Level::Form => 2,
    };
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(own + 2);
    let inside = boxed(pen, model, WIDTH, height, &title, "esc leaves");
    let mut line = put_lines(pen, inside, &lines) + 1;
    if by_name {
        field(pen, inside, line, "its name", &dialog.typed, dialog.focus == Focus::Name);
        let hint = format!("type {}", cut(&dialog.call.name, 24));
        if width(&hint) + width(dialog.typed.text()) + 16 < inside.width {
            pen.line_right(inside, line, &[span(hint, Tone::Quiet)]);
        }
        line += 1;
    }
    if dialog.wants_reason() {
        field(pen, inside, line, "reason", &dialog.reason, dialog.focus == Focus::Reason);
        line += 2;
    }
    let act = if dialog.wants_reason() { verb.to_owned() } else { format!("{verb} (y)") };
    let ready = dialog.is_complete();
    buttons(
        pen,
        inside,
        line,
        dialog.focus == Focus::Cancel,
        dialog.focus == Focus::Confirm,
        &act,
        ready,
    );
}

pub(super) fn form(pen: &mut Pen<'_>, model: &Model, form: &Form) {
    let lines = text_lines(&form.lines);
    let customers: Vec<(usize, Vec<&str>)> = form
        .fields
        .iter()
        .filter_map(|field| match field.kind {
            FieldKind::Text => None,
            FieldKind::Customer { at } => {
                let all = matching_customers(model, field.input.text());
                let first = at.saturating_sub(OFFERED - 1);
                Some((
                    at - first,
                    all.into_iter()
                        .skip(first)
                        .take(OFFERED)
                        .map(|customer| customer.name.as_str())
                        .collect(),
                ))
            }
        })
        .collect();
    let offered = if customers.is_empty() { 0 } else { OFFERED };
    let rows = lines.len() + form.fields.len() + offered + 6;
    let height = u16::try_from(rows).unwrap_or(u16::MAX);
    let inside = boxed(pen, model, WIDTH, height, &form.title, "tab next  esc leaves");
    let mut line = put_lines(pen, inside, &lines) + 1;
    // On a page that is too short for all of them the focused one stays in sight, and the buttons.
    let room = usize::from(inside.height.saturating_sub(line + 2)).max(1);
    let focus = form.focus.min(form.fields.len().saturating_sub(1));
    let skip = if form.fields.len() > room { (focus + 1).saturating_sub(room) } else { 0 };
    for (at, one) in form.fields.iter().enumerate().skip(skip).take(room.max(OFFERED)) {
        let focused = form.focus == at;
        field(pen, inside, line, one.label, &one.input, focused);
        if one.input.text().is_empty() || focused {
            let hint = span(one.hint, Tone::Quiet);
            if width(one.hint) + width(one.input.text()) + 16 < inside.width {
                pen.line_right(inside, line, &[hint]);
            }
        }
        line += 1;
        if let (FieldKind::Customer { .. }, Some((chosen, names))) = (one.kind, customers.first()) {
            offer(pen, model, inside, line, *chosen, names);
            line += u16::try_from(OFFERED).unwrap_or(0);
        }
    }
    if let Some(problem) = &form.problem {
        pen.line(inside, line, &[span(format!("! {problem}"), Tone::Bad)]);
    }
    let cancel = form.focus == form.cancel_at();
    buttons(pen, inside, line + 1, cancel, form.focus == form.confirm_at(), "Do it", true);
}

fn offer(pen: &mut Pen<'_>, model: &Model, area: Area, line: u16, chosen: usize, names: &[&str]) {
    let quiet = |text: &str| [span(format!("{:14}{text}", ""), Tone::Quiet)];
    match &model.customers {
        None => pen.line(area, line, &quiet("asking relayd for customers")),
        Some(Err(why)) => pen.line(area, line, &quiet(why)),
        Some(Ok(_)) if names.is_empty() => pen.line(area, line, &quiet("no customer matches")),
        Some(Ok(_)) => {
            for (row, (at, name)) in (line..).zip(names.iter().enumerate()) {
                let mark = if at == chosen { ">" } else { " " };
                let tone = if at == chosen { Tone::Strong } else { Tone::Quiet };
                pen.line(area, row, &[span(format!("{:12}{mark} {name}", ""), tone)]);
            }
        }
    }
}

pub(super) fn secret(pen: &mut Pen<'_>, model: &Model, name: &str, secret: &Secret, copied: bool) {
    let title = format!("New key {name}");
    let room = WIDTH.saturating_sub(4);
    let parts = wrapped(&secret.0, room);
    let height = u16::try_from(parts.len()).unwrap_or(u16::MAX).saturating_add(7);
    let inside = boxed(pen, model, WIDTH, height, &title, "");
    pen.line(inside, 0, &[plain("This is its secret. It is shown once, now, and stored nowhere.")]);
    let mut line = 2;
    for part in parts {
        pen.line(inside, line, &[span(part, Tone::Strong)]);
        line += 1;
    }
    let copy = if copied { "copied" } else { "y copy" };
    pen.line(
        inside,
        line + 1,
        &[
            span(copy, Tone::Strong),
            plain("    "),
            span("esc", Tone::Strong),
            plain(" forget it and close"),
        ],
    );
}

pub(super) fn quit(pen: &mut Pen<'_>, model: &Model) {
    let count = model.calls.len();
    let inside = boxed(pen, model, 56, 6, "Leave?", "");
    let what = if count == 1 { "1 change has".to_owned() } else { format!("{count} changes have") };
    pen.line(inside, 0, &[plain(format!("{what} no answer yet; you would not see it."))]);
    pen.line(
        inside,
        2,
        &[span("y", Tone::Strong), plain(" leave    "), span("n", Tone::Strong), plain(" stay")],
    );
}

fn text_lines(lines: &[String]) -> Vec<String> {
    lines.iter().flat_map(|line| wrapped(line, WIDTH - 4)).collect()
}

fn put_lines(pen: &mut Pen<'_>, inside: Area, lines: &[String]) -> u16 {
    let mut at = 0;
    for text in lines {
        let tone = if text.starts_with('!') { Tone::Bad } else { Tone::Plain };
        pen.line(inside, at, &[span(text.as_str(), tone)]);
        at += 1;
    }
    at
}

fn field(pen: &mut Pen<'_>, area: Area, line: u16, label: &str, input: &Input, focused: bool) {
    let mark = if focused { "> " } else { "  " };
    let head = format!("{mark}{label:<10} ");
    let tone = if focused { Tone::Focus } else { Tone::Quiet };
    let start = width(&head);
    let room = area.width.saturating_sub(start + 1);
    // The end that is being typed stays in sight.
    let before: String = input.text().chars().take(input.cursor()).collect();
    let skip = width(&before).saturating_sub(room);
    let shown: String = input.text().chars().skip(usize::from(skip)).collect();
    pen.line(area, line, &[span(head, tone), Span { text: shown, tone: Tone::Strong }]);
    if focused {
        let x = area.x + start + width(&before).saturating_sub(skip);
        pen.cursor = Some(Position { x: x.min(area.x + area.width), y: area.y + line });
    }
}

/// The focused button stands in angle brackets; one that cannot act yet is faint.
fn buttons(
    pen: &mut Pen<'_>,
    area: Area,
    line: u16,
    cancel: bool,
    confirm: bool,
    act: &str,
    ready: bool,
) {
    let button = |text: &str, focused: bool, tone: Tone| {
        if focused {
            span(format!("<{text}>"), Tone::Selected)
        } else {
            span(format!(" {text} "), tone)
        }
    };
    let tone = if ready { Tone::Plain } else { Tone::Quiet };
    let spans = [button("Cancel", cancel, Tone::Plain), plain("   "), button(act, confirm, tone)];
    pen.line_right(area, line, &spans);
}
