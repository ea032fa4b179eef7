//! What each thing that happens does to the model, and what it makes the console ask for.
//!
//! Pure apart from the model: the same model and message give the same model and commands. It
//! knows neither terminal nor protocol. Two rules hold whatever is pressed, and are tested: a role
//! that is not enough and a link that is not live never yield a call that changes something.

mod acts;
mod dialogs;
mod keys;
mod plans;
mod providers;
mod rollouts;
mod told;

use crate::model::columns;
use crate::model::layout::{self, Panel, Slot};
use crate::model::table::Move;
use crate::model::{Model, Now, Screen, tabs};
use crate::msg::{Ask, Cmd, Msg};

pub(crate) use self::acts::{perform, refusal, select_named, to};
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

/// Tells each list how many rows its panel shows.
fn fit_pages(model: &mut Model) {
    let (size, zoomed) = (model.size, model.zoomed);
    for slot in layout::panels(size, model.screen, model.focused(), zoomed) {
        if let Some(list) = model.list_mut(slot.panel) {
            list.set_page(usize::from(slot.rows(size, zoomed)));
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
    let panel = model.focused();
    if let Some(list) = model.list_mut(panel) {
        list.go(to);
    }
    if matches!(panel, Panel::Happenings | Panel::EventList) {
        // Who moves away from the newest wants to stay there.
        model.follow = model.events.position() == Some(0);
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
        if let Some(screen) = tabs::at(model, x) {
            to(model, screen);
        }
        return Vec::new();
    }
    let slots = layout::panels(model.size, model.screen, model.focused(), model.zoomed);
    let Some(slot) = slots.into_iter().find(|slot| slot.area.contains(x, y)) else {
        return Vec::new();
    };
    if model.screen.panels().contains(&slot.panel) {
        model.focus.insert(model.screen, slot.panel);
    }
    let Some(line) = y.checked_sub(slot.area.y + 1) else { return Vec::new() };
    let heading = slot.top_lines() - 1;
    if line < heading {
        sort_by_heading(model, slot, x);
    } else if let Some(list) = model.list_mut(slot.panel)
        && list.click(usize::from(line - heading))
        && matches!(slot.panel, Panel::Happenings | Panel::EventList)
    {
        model.follow = false;
    }
    Vec::new()
}

/// A click on a heading sorts by its column, another turns it round.
fn sort_by_heading(model: &mut Model, slot: Slot, x: u16) {
    let inside = slot.area.width.saturating_sub(2);
    let columns = columns::shown(slot.panel, inside, model.other_columns);
    let clicked = x.checked_sub(slot.area.x + 1).and_then(|x| columns::at(inside, &columns, x));
    if let (Some(column), Some(list)) = (clicked, model.list_mut(slot.panel)) {
        list.sort_by(column.field);
    }
}
