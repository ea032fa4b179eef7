//! What each action does, and why it may not.

use super::{dialogs, plans, providers, rollouts};
use crate::keymap::{Act, Action, Level};
use crate::model::call::{Call, Read, Verb};
use crate::model::columns;
use crate::model::data::{Backend, BackendState, Severity};
use crate::model::layout::Panel;
use crate::model::list::List;
use crate::model::overlay::{Overlay, Palette};
use crate::model::table::Move;
use crate::model::{Model, OpenCall, RANGES_S, Screen, Typing};
use crate::msg::{Ask, Cmd};

/// Why an action cannot be used now; `None` when it can.
pub(crate) fn refusal(model: &Model, action: &Action) -> Option<String> {
    if !action.changes {
        return match action.act {
            Act::Unlock if model.is_hard_read_only() => {
                Some("the context or --read-only forbids changes".to_owned())
            }
            Act::Unlock if !model.is_read_only() => Some("changes are allowed already".to_owned()),
            Act::Export if model.focused_list().is_none_or(|list| list.names().is_empty()) => {
                Some("this list has no rows".to_owned())
            }
            _ => None,
        };
    }
    if model.role() < action.role {
        return Some(format!("needs the role {}", action.role.word()));
    }
    if model.is_read_only() {
        let unlock = if model.is_hard_read_only() { "" } else { " (:unlock)" };
        return Some(format!("read-only{unlock}"));
    }
    if model.is_stale() {
        return Some("the link is down, what is shown may be old".to_owned());
    }
    match action.act {
        Act::Probe | Act::Cordon | Act::Uncordon | Act::Drain | Act::Weight => {
            let Some(backend) = model.backends.selected() else {
                return Some("no backend is selected".to_owned());
            };
            busy(model, &backend.id).or_else(|| not_now(backend, action.act))
        }
        Act::Approve | Act::Reject | Act::Suspend | Act::Reconsider | Act::Bound => {
            let Some(provider) = model.providers.selected() else {
                return Some("no provider is selected".to_owned());
            };
            busy(model, &provider.id).or_else(|| providers::refusal(provider, action.act))
        }
        Act::Revise
        | Act::StartRollout
        | Act::Advance
        | Act::Hold
        | Act::Resume
        | Act::RollBack => rollouts::refusal(model, action.act),
        Act::Limits | Act::Revoke => {
            let Some(key) = model.keys.selected() else {
                return Some("no key is selected".to_owned());
            };
            busy(model, &key.id).or_else(|| {
                if key.system {
                    Some("a system key stays as it is".to_owned())
                } else if key.revoked {
                    Some("the key is revoked".to_owned())
                } else {
                    None
                }
            })
        }
        _ => None,
    }
}

pub(super) fn busy(model: &Model, object: &str) -> Option<String> {
    let open = model.open_call(object)?;
    Some(format!("{} has no answer yet", open.verb.word()))
}

fn not_now(backend: &Backend, act: Act) -> Option<String> {
    let refused = match (act, backend.state) {
        (Act::Cordon, BackendState::Cordoned | BackendState::Draining | BackendState::Drained)
        | (Act::Drain, BackendState::Draining | BackendState::Drained) => true,
        (Act::Uncordon, state) => !matches!(
            state,
            BackendState::Cordoned | BackendState::Draining | BackendState::Drained
        ),
        _ => false,
    };
    refused.then(|| format!("{} is {}", backend.id, backend.state.word().to_lowercase()))
}

/// Does an action, or says why not.
pub(crate) fn perform(model: &mut Model, act: Act) -> Vec<Cmd> {
    let action = Action::of(act);
    if let Some(why) = refusal(model, action) {
        model.say(Severity::Warning, format!("{}: {why}", action.id));
        return Vec::new();
    }
    match act {
        Act::Go(screen) => to(model, screen),
        Act::NextPanel => return next_panel(model, 1),
        Act::PreviousPanel => return next_panel(model, -1),
        Act::Open => open(model),
        Act::Back => back(model),
        Act::Up => super::go(model, Move::Up),
        Act::Down => super::go(model, Move::Down),
        Act::HalfUp => super::go(model, Move::HalfUp),
        Act::HalfDown => super::go(model, Move::HalfDown),
        Act::First => super::go(model, Move::First),
        Act::Last => super::go(model, Move::Last),
        Act::Zoom => model.zoomed = !model.zoomed,
        Act::Columns => other_columns(model),
        Act::RangeShorter => range(model, -1),
        Act::RangeLonger => range(model, 1),
        Act::Filter => {
            model.typing = Typing::Filter;
            model.filter_input = crate::model::input::Input::with(filter_text(model));
        }
        Act::Sort => model.typing = Typing::SortKey,
        Act::Palette => model.overlay = Some(Overlay::Palette(Palette::default())),
        Act::Pause => return pause(model),
        Act::Copy => return copy(model, false),
        Act::CopyRow => return copy(model, true),
        Act::Reconnect => {
            model.say(Severity::Info, "asking again");
            return vec![Cmd::Link(Ask::Again)];
        }
        Act::Redraw => return vec![Cmd::Redraw],
        Act::Help => model.overlay = Some(Overlay::Help { scroll: 0 }),
        Act::Quit => return quit(model),
        Act::Follow => {
            model.follow = !model.follow;
            if model.follow {
                model.events.go(Move::First);
            }
        }
        Act::LinkLog => model.overlay = Some(Overlay::LinkLog),
        Act::Export => dialogs::export(model),
        Act::Unlock => dialogs::unlock(model),
        Act::Probe => {
            if let Some(call) = backend_call(model, Verb::Probe) {
                return send(model, call);
            }
        }
        Act::Cordon => dialogs::confirm(model, Verb::Cordon, Level::Yes),
        Act::Uncordon => dialogs::confirm(model, Verb::Uncordon, Level::Yes),
        Act::Drain => dialogs::confirm(model, Verb::Drain, Level::Name),
        Act::Revoke => dialogs::confirm(model, Verb::RevokeKey, Level::Name),
        Act::Approve => dialogs::confirm(model, Verb::Approve, Level::Yes),
        Act::Reject => dialogs::confirm(model, Verb::Reject, Level::Name),
        Act::Suspend => dialogs::confirm(model, Verb::Suspend, Level::Name),
        Act::Reconsider => dialogs::confirm(model, Verb::Reconsider, Level::Reason),
        Act::Bound => providers::bounds(model),
        Act::Revise => plans::revise(model),
        Act::StartRollout => plans::start(model),
        Act::Advance => dialogs::confirm(model, Verb::Advance, rollouts::advance_level(model)),
        Act::Hold => {
            if let Some(call) = rollouts::decision(model, Verb::Hold) {
                return send(model, call);
            }
        }
        Act::Resume => dialogs::confirm(model, Verb::Resume, Level::Yes),
        Act::RollBack => dialogs::confirm(model, Verb::RollBack, Level::Name),
        Act::GroupBy => {
            model.grouping = model.grouping.next();
            model.arrange_gpus();
            model.gpus.go(Move::First);
        }
        Act::Weight => dialogs::weight(model),
        Act::Limits => dialogs::limits(model),
        Act::NewKey => {
            dialogs::new_key(model);
            model.customers = None;
            return vec![Cmd::Link(Ask::Read(Read::Customers))];
        }
    }
    Vec::new()
}

pub(crate) fn to(model: &mut Model, screen: Screen) {
    model.screen = screen;
    model.zoomed = false;
    model.typing = Typing::Nothing;
    model.dirty_input = true;
}

fn next_panel(model: &mut Model, step: isize) -> Vec<Cmd> {
    let order = model.screen.panels();
    let at = order.iter().position(|panel| *panel == model.focused()).unwrap_or(0);
    let len = order.len().cast_signed();
    let next = (at.cast_signed() + step).rem_euclid(len).cast_unsigned();
    model.focus.insert(model.screen, order[next]);
    if order[next] == Panel::AuditList {
        return vec![Cmd::Link(Ask::Read(Read::Audit))];
    }
    Vec::new()
}

/// Opens what is selected: the place where it is decided, or the row in full.
fn open(model: &mut Model) {
    match model.focused() {
        Panel::Attention => {
            let Some(item) = model.overview.attention.selected().cloned() else {
                return;
            };
            let Some(screen) = Screen::from_word(&item.screen) else {
                model.say(Severity::Info, item.text);
                return;
            };
            to(model, screen);
            if item.subject.is_empty() {
                return;
            }
            if screen == Screen::Events {
                model.events.set_filter(&format!("subject:{}", item.subject));
            } else if !select_named(model, screen, &item.subject) {
                model.say(Severity::Info, format!("{} is not in the list yet", item.subject));
            }
        }
        Panel::Fleet => to(model, Screen::Backends),
        Panel::Running => {
            let Some(key) = model.requests.selected().map(|request| request.key_id.clone()) else {
                return;
            };
            to(model, Screen::Keys);
            if !key.is_empty() && !model.keys.select(&key) {
                model.keys.set_filter(&format!("id:{key}"));
            }
        }
        Panel::Happenings => to(model, Screen::Events),
        _ => {
            if model.focused_list().is_some_and(|list| list.copied().is_some()) {
                model.overlay = Some(Overlay::Detail { scroll: 0 });
            }
        }
    }
}

/// Selects a row of a screen's own list by its id or its name.
pub(crate) fn select_named(model: &mut Model, screen: Screen, word: &str) -> bool {
    model.list_mut(screen.list()).is_some_and(|list| list.select_named(word))
}

fn back(model: &mut Model) {
    if model.zoomed {
        model.zoomed = false;
    } else if !filter_text(model).is_empty() {
        if let Some(list) = model.focused_list_mut() {
            list.set_filter("");
        }
    } else {
        model.toast = None;
    }
}

/// The filter of the focused list.
pub(crate) fn filter_text(model: &Model) -> &str {
    model.focused_list().map_or("", List::filter_text)
}

/// On a narrow page: the columns that it leaves out, and back.
fn other_columns(model: &mut Model) {
    let panel = model.focused();
    if columns::has_more(panel, model.size.width.saturating_sub(2)) {
        model.other_columns = !model.other_columns;
    } else {
        model.say(Severity::Info, "every column of this list is on the page");
    }
}

fn range(model: &mut Model, step: isize) {
    let at = RANGES_S.iter().position(|range| *range == model.range_s).unwrap_or(0);
    let next = at.saturating_add_signed(step).min(RANGES_S.len() - 1);
    model.range_s = RANGES_S[next];
}

/// Paused updates are counted and dropped; going on asks for every snapshot again.
fn pause(model: &mut Model) -> Vec<Cmd> {
    match model.paused.take() {
        None => {
            model.paused = Some(0);
            Vec::new()
        }
        Some(_) => vec![Cmd::Link(Ask::Again)],
    }
}

fn copy(model: &mut Model, whole: bool) -> Vec<Cmd> {
    let list = model.focused_list();
    let text = if whole {
        list.and_then(List::json)
    } else {
        list.and_then(|list| list.copied().map(str::to_owned))
    };
    match text.filter(|text| !text.is_empty()) {
        Some(text) => {
            let shown: String = text.chars().take(40).collect();
            model.say(Severity::Info, format!("copied {shown}"));
            vec![Cmd::Copy(text)]
        }
        None => Vec::new(),
    }
}

fn quit(model: &mut Model) -> Vec<Cmd> {
    if model.calls.is_empty() {
        return vec![Cmd::Quit];
    }
    model.overlay = Some(Overlay::Quit { opened_ms: model.now.mono_ms });
    Vec::new()
}

/// A change of the selected backend.
pub(super) fn backend_call(model: &mut Model, verb: Verb) -> Option<Call> {
    let backend = model.backends.selected()?;
    let (id, version) = (backend.id.clone(), backend.version);
    Some(call(model, verb, id.clone(), id, version))
}

pub(super) fn call(
    model: &mut Model,
    verb: Verb,
    object: String,
    name: String,
    expected_version: u64,
) -> Call {
    let no = model.next_call;
    model.next_call += 1;
    Call { no, verb, object, name, expected_version, reason: String::new() }
}

/// Sends a confirmed change. Asked again here whether it may: the link or the role can have gone
/// while the dialog was open.
pub(super) fn send(model: &mut Model, call: Call) -> Vec<Cmd> {
    let act = match call.verb {
        Verb::Probe => Act::Probe,
        Verb::Cordon => Act::Cordon,
        Verb::Uncordon => Act::Uncordon,
        Verb::Drain => Act::Drain,
        Verb::Weight(_) => Act::Weight,
        Verb::Approve => Act::Approve,
        Verb::Reject => Act::Reject,
        Verb::Suspend => Act::Suspend,
        Verb::Reconsider => Act::Reconsider,
        Verb::LimitProvider(_) => Act::Bound,
        Verb::Revise(_) => Act::Revise,
        Verb::StartRollout(_) => Act::StartRollout,
        Verb::Advance => Act::Advance,
        Verb::Hold => Act::Hold,
        Verb::Resume => Act::Resume,
        Verb::RollBack => Act::RollBack,
        Verb::CreateKey(_) => Act::NewKey,
        Verb::LimitKey(_) => Act::Limits,
        Verb::RevokeKey => Act::Revoke,
    };
    let action = Action::of(act);
    let why = if model.role() < action.role {
        Some(format!("needs the role {}", action.role.word()))
    } else if model.is_read_only() {
        Some("read-only".to_owned())
    } else if model.is_stale() {
        Some("the link is down, nothing was sent".to_owned())
    } else {
        None
    };
    if let Some(why) = why {
        model.say(Severity::Warning, format!("{}: {why}", action.id));
        return Vec::new();
    }
    model.calls.push(OpenCall {
        no: call.no,
        verb: call.verb.clone(),
        object: call.object.clone(),
        name: call.name.clone(),
        unknown: false,
    });
    vec![Cmd::Link(Ask::Call(call))]
}
