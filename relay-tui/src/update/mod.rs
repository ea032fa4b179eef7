//! What each thing that happens does to the model, and what it makes the console ask for.
//!
//! Pure apart from the model: the same model and message give the same model and commands. It
//! knows neither terminal nor protocol. Two rules hold whatever is pressed, and are tested: a role
//! that is not enough and a link that is not live never yield a call that changes something.

mod acts;
mod dialogs;
mod keys;
mod told;

use crate::model::layout::{self, Panel};
use crate::model::table::Move;
use crate::model::{Model, Now, Screen};
use crate::msg::{Ask, Cmd, Msg};

pub(crate) use self::acts::{perform, refusal};
pub(crate) use self::dialogs::matching_customers;
pub(crate) use self::told::missing;

/// How often the usage of the selected key is asked again while it is looked at.
const USAGE_EVERY_MS: u64 = 10_000;

/// Takes one message.
pub(crate) fn update(model: &mut Model, now: Now, msg: Msg) -> Vec<Cmd> {
    model.now = now;
    let screen = model.screen;
    let mut cmds = match msg {
        Msg::Press(press) => {
            model.dirty_input = true;
            keys::press(model, press)
        }
        Msg::Paste(text) => {
            model.dirty_input = true;
            keys::paste(model, &text);
            Vec::new()
        }
        Msg::Click { x, y } => click(model, x, y),
        Msg::Wheel(lines) => wheel(model, lines),
        Msg::Resized(size) => {
            model.size = size;
            model.dirty_input = true;
            Vec::new()
        }
        Msg::Tick => tick(model),
        Msg::Link(told) => told::told(model, told),
        Msg::Leave => vec![Cmd::Quit],
    };
    fit_pages(model);
    if model.screen != screen {
        cmds.push(Cmd::Link(Ask::Watch(model.screen.streams().to_vec())));
    }
    cmds.extend(selected_usage(model));
    cmds
}

/// What to ask for when the console starts.
pub(crate) fn start(model: &Model) -> Vec<Cmd> {
    vec![Cmd::Link(Ask::Watch(model.screen.streams().to_vec()))]
}

fn tick(model: &mut Model) -> Vec<Cmd> {
    model.link.tick();
    model.sample();
    if model.toast.as_ref().is_some_and(|toast| toast.until_ms <= model.now.mono_ms) {
        model.toast = None;
    }
    if model.unlocked_until_ms.is_some() && model.unlocked_ms().is_none() {
        model.unlocked_until_ms = None;
        model.say(crate::model::data::Severity::Info, "read-only again");
    }
    // The clock and the ages have moved on.
    model.dirty_data = true;
    Vec::new()
}

/// Tells each table how many rows its panel shows.
fn fit_pages(model: &mut Model) {
    for slot in layout::panels(model.size, model.screen, model.focused(), model.zoomed) {
        let rows = usize::from(slot.area.height.saturating_sub(slot.panel.frame_lines()));
        match slot.panel {
            Panel::Fleet | Panel::BackendList => model.backends.set_page(rows),
            Panel::Running => model.requests.set_page(rows),
            Panel::Happenings | Panel::EventList => model.events.set_page(rows),
            Panel::KeyList => model.keys.set_page(rows),
            Panel::AuditList => model.audit.set_page(rows),
            _ => {}
        }
    }
}

/// Asks what the selected key used, when it is new or the answer is old.
fn selected_usage(model: &mut Model) -> Option<Cmd> {
    if model.screen != Screen::Keys || !model.link.state.is_live() || !model.size.is_wide() {
        return None;
    }
    let key_id = model.keys.selected_id()?.to_owned();
    let age = model.now.mono_ms.saturating_sub(model.key_usage.asked_ms);
    let same = model.key_usage.key_id == key_id;
    // A selection that runs down the list asks for the row where it stops, not for each.
    let settled = if same { USAGE_EVERY_MS } else { 300 };
    if age < settled {
        return None;
    }
    if !same {
        model.key_usage.rows.clear();
        model.key_usage.key_id.clone_from(&key_id);
    }
    model.key_usage.asked_ms = model.now.mono_ms;
    Some(Cmd::Link(Ask::Read(crate::model::call::Read::KeyUsage { key_id })))
}

/// Moves the selection of the focused panel.
pub(crate) fn go(model: &mut Model, to: Move) {
    match model.focused() {
        Panel::Attention => {
            let last = model.overview.attention.len().saturating_sub(1);
            model.overview.at = match to {
                Move::Up => model.overview.at.saturating_sub(1),
                Move::Down => (model.overview.at + 1).min(last),
                Move::HalfUp | Move::First => 0,
                Move::HalfDown | Move::Last => last,
            };
        }
        Panel::Fleet | Panel::BackendList => model.backends.go(to),
        Panel::Running => model.requests.go(to),
        Panel::Happenings | Panel::EventList => {
            model.events.go(to);
            // Who moves away from the newest wants to stay there.
            model.follow = model.events.position() == Some(0);
        }
        Panel::KeyList => model.keys.go(to),
        Panel::AuditList => model.audit.go(to),
        _ => {}
    }
    model.dirty_input = true;
}

fn wheel(model: &mut Model, lines: i32) -> Vec<Cmd> {
    if model.overlay.is_none() {
        let step = if lines < 0 { Move::Up } else { Move::Down };
        for _ in 0..lines.unsigned_abs().min(10) {
            go(model, step);
        }
    }
    Vec::new()
}

fn click(model: &mut Model, x: u16, y: u16) -> Vec<Cmd> {
    if model.overlay.is_some() {
        return Vec::new();
    }
    model.dirty_input = true;
    if y == 1 {
        if let Some(screen) = crate::view::tab_at(model, x) {
            model.screen = screen;
            model.zoomed = false;
        }
        return Vec::new();
    }
    let slots = layout::panels(model.size, model.screen, model.focused(), model.zoomed);
    let Some(slot) = slots.into_iter().find(|slot| slot.area.contains(x, y)) else {
        return Vec::new();
    };
    if layout::tab_order(model.screen).contains(&slot.panel) {
        model.focus.insert(model.screen, slot.panel);
    }
    let heading = slot.panel.frame_lines() - 1;
    let Some(line) = y.checked_sub(slot.area.y + heading).map(usize::from) else {
        return Vec::new();
    };
    match slot.panel {
        Panel::Attention if line < model.overview.attention.len() => model.overview.at = line,
        Panel::Fleet | Panel::BackendList => {
            model.backends.click(line);
        }
        Panel::Running => {
            model.requests.click(line);
        }
        Panel::Happenings | Panel::EventList => {
            model.events.click(line);
            model.follow = false;
        }
        Panel::KeyList => {
            model.keys.click(line);
        }
        Panel::AuditList => {
            model.audit.click(line);
        }
        _ => {}
    }
    Vec::new()
}
