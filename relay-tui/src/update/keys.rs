//! Keys: to the dialog that is open, to the line that is typed, else through the table of actions.

use super::{acts, dialogs};
use crate::keymap::{Code, Press};
use crate::model::overlay::{FieldKind, Focus, Overlay, TYPED_AHEAD_MS};
use crate::model::table::Move;
use crate::model::{Model, Typing};
use crate::msg::Cmd;

/// `^c` twice within this time always leaves.
const INTERRUPT_MS: u64 = 2_000;

pub(super) fn press(model: &mut Model, press: Press) -> Vec<Cmd> {
    if press == Press::ctrl('c') {
        return interrupt(model);
    }
    model.interrupted_ms = None;
    if typed_ahead(model) {
        return Vec::new();
    }
    if model.overlay.is_some() {
        return dialogs::press(model, press);
    }
    match model.typing {
        Typing::Filter => filter(model, press),
        Typing::SortKey => sort(model, press),
        Typing::Nothing => match model.keymap.act(model.screen, press) {
            Some(act) => acts::perform(model, act),
            None => Vec::new(),
        },
    }
}

/// What was typed before a dialog could be read does not count, except to leave it.
fn typed_ahead(model: &Model) -> bool {
    model
        .overlay
        .as_ref()
        .and_then(Overlay::guarded_since)
        .is_some_and(|opened| model.now.mono_ms.saturating_sub(opened) < TYPED_AHEAD_MS)
}

fn interrupt(model: &mut Model) -> Vec<Cmd> {
    let now = model.now.mono_ms;
    if model.interrupted_ms.is_some_and(|before| now.saturating_sub(before) <= INTERRUPT_MS) {
        return vec![Cmd::Quit];
    }
    model.interrupted_ms = Some(now);
    model.say(crate::model::data::Severity::Info, "ctrl-c again leaves");
    Vec::new()
}

pub(super) fn paste(model: &mut Model, text: &str) {
    if typed_ahead(model) {
        return;
    }
    match &mut model.overlay {
        Some(Overlay::Palette(palette)) => palette.input.paste(text),
        Some(Overlay::Confirm(confirm)) => match confirm.focus {
            // A name is typed to be thought about; it cannot be pasted.
            Focus::Name | Focus::Cancel | Focus::Confirm => {}
            Focus::Reason => confirm.reason.paste(text),
        },
        Some(Overlay::Form(form)) => {
            let focus = form.focus;
            if let Some(field) = form.fields.get_mut(focus) {
                field.input.paste(text);
                if let FieldKind::Customer { at } = &mut field.kind {
                    *at = 0;
                }
            }
        }
        Some(_) => {}
        None if model.typing == Typing::Filter => {
            model.filter_input.paste(text);
            apply_filter(model);
        }
        None => {}
    }
}

fn filter(model: &mut Model, press: Press) -> Vec<Cmd> {
    match press.code {
        Code::Enter => model.typing = Typing::Nothing,
        Code::Esc => {
            model.typing = Typing::Nothing;
            model.filter_input = Default::default();
            apply_filter(model);
        }
        Code::Up | Code::Down => {
            let to = if press.code == Code::Up { Move::Up } else { Move::Down };
            super::go(model, to);
        }
        _ => {
            model.filter_input.press(press);
            apply_filter(model);
        }
    }
    Vec::new()
}

/// The list narrows as it is typed.
fn apply_filter(model: &mut Model) {
    let text = model.filter_input.text().to_owned();
    if let Some(list) = model.focused_list_mut() {
        list.set_filter(&text);
    }
}

fn sort(model: &mut Model, press: Press) -> Vec<Cmd> {
    model.typing = Typing::Nothing;
    let Code::Char(key) = press.code else { return Vec::new() };
    let known = model.focused_list_mut().is_some_and(|list| {
        let field = list.fields().iter().find(|field| field.key == key);
        field.is_some_and(|field| list.sort_by(field.name))
    });
    if !known {
        model.say(crate::model::data::Severity::Info, format!("no column has the key {key}"));
    }
    Vec::new()
}
