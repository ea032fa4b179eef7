//! The table itself: what each key means, who may use it, how hard it asks.

use super::{Act, Action, Code, Level, Press, Scope};
use crate::model::Screen;
use crate::model::data::Role;

const fn c(c: char) -> Press {
    Press { code: Code::Char(c), ctrl: false }
}

const fn ctrl(c: char) -> Press {
    Press { code: Code::Char(c), ctrl: true }
}

const fn k(code: Code) -> Press {
    Press { code, ctrl: false }
}

const fn view(
    act: Act,
    id: &'static str,
    keys: &'static [Press],
    label: &'static str,
    help: &'static str,
    aliases: &'static [&'static str],
) -> Action {
    Action {
        act,
        id,
        keys,
        scope: Scope::Everywhere,
        role: Role::Viewer,
        level: Level::None,
        changes: false,
        label,
        help,
        aliases,
    }
}

/// The keys are those of the table of screens; a test compares.
const fn go(screen: Screen, keys: &'static [Press]) -> Action {
    let page = screen.page();
    view(Act::Go(screen), page.word, keys, "", page.question, page.aliases)
}

#[expect(clippy::too_many_arguments, reason = "the columns of one row of the table")]
const fn verb(
    act: Act,
    id: &'static str,
    keys: &'static [Press],
    screen: Screen,
    role: Role,
    level: Level,
    label: &'static str,
    help: &'static str,
    aliases: &'static [&'static str],
) -> Action {
    Action {
        act,
        id,
        keys,
        scope: Scope::On(screen),
        role,
        level,
        changes: true,
        label,
        help,
        aliases,
    }
}

/// Every action.
pub(crate) const ACTIONS: &[Action] = &[
    verb(
        Act::Probe,
        "probe",
        &[c('t')],
        Screen::Backends,
        Role::Operator,
        Level::None,
        "probe",
        "ask the engine now",
        &["test", "ping"],
    ),
    verb(
        Act::Drain,
        "drain",
        &[c('D')],
        Screen::Backends,
        Role::Operator,
        Level::Name,
        "drain",
        "cordon, then wait until nothing runs",
        &[],
    ),
    verb(
        Act::Weight,
        "weight",
        &[c('W')],
        Screen::Backends,
        Role::Operator,
        Level::Form,
        "weight",
        "its share of new requests, 0 to 1000",
        &["share"],
    ),
    verb(
        Act::Cordon,
        "cordon",
        &[c('c')],
        Screen::Backends,
        Role::Operator,
        Level::Yes,
        "cordon",
        "new requests go elsewhere",
        &[],
    ),
    verb(
        Act::Uncordon,
        "uncordon",
        &[c('u')],
        Screen::Backends,
        Role::Operator,
        Level::Yes,
        "uncordon",
        "end a cordon or a drain",
        &["resume"],
    ),
    verb(
        Act::NewKey,
        "new",
        &[c('n')],
        Screen::Keys,
        Role::Admin,
        Level::Form,
        "new",
        "make a key; its secret is shown once",
        &["create", "new-key"],
    ),
    verb(
        Act::Limits,
        "limits",
        &[c('e')],
        Screen::Keys,
        Role::Admin,
        Level::Form,
        "limits",
        "edit request limits and budget",
        &["edit", "budget"],
    ),
    verb(
        Act::Revoke,
        "revoke",
        &[c('X')],
        Screen::Keys,
        Role::Admin,
        Level::Name,
        "revoke",
        "refuse the key from the next second on",
        &["end"],
    ),
    Action {
        act: Act::Follow,
        id: "follow",
        keys: &[c('f')],
        scope: Scope::On(Screen::Events),
        role: Role::Viewer,
        level: Level::None,
        changes: false,
        label: "follow",
        help: "keep the newest in view, or stay where you are",
        aliases: &["tail"],
    },
    go(Screen::Overview, &[c('1')]),
    go(Screen::Backends, &[c('3')]),
    go(Screen::Keys, &[c('5')]),
    go(Screen::Events, &[c('9')]),
    view(Act::NextPanel, "next-panel", &[k(Code::Tab)], "panel", "next panel", &[]),
    view(Act::PreviousPanel, "previous-panel", &[k(Code::BackTab)], "", "previous panel", &[]),
    view(Act::Open, "open", &[k(Code::Enter)], "open", "open the row, or where it is decided", &[]),
    view(
        Act::Back,
        "back",
        &[k(Code::Esc)],
        "",
        "close, clear the filter, leave zoom; never quits",
        &[],
    ),
    view(Act::Down, "down", &[c('j'), k(Code::Down)], "", "next row", &[]),
    view(Act::Up, "up", &[c('k'), k(Code::Up)], "", "row before", &[]),
    view(Act::HalfDown, "page-down", &[ctrl('d'), k(Code::PageDown)], "", "half a page down", &[]),
    view(Act::HalfUp, "page-up", &[ctrl('u'), k(Code::PageUp)], "", "half a page up", &[]),
    view(Act::First, "first", &[c('g'), k(Code::Home)], "", "first row", &[]),
    view(Act::Last, "last", &[c('G'), k(Code::End)], "", "last row", &[]),
    view(
        Act::Filter,
        "filter",
        &[c('/')],
        "filter",
        "words, field:value, !not, field:>90",
        &["find"],
    ),
    view(Act::Sort, "sort", &[c('s')], "sort", "then a column's key; again turns it round", &[]),
    view(Act::Zoom, "zoom", &[c('z')], "", "one panel on the whole page, and back", &[]),
    view(
        Act::Columns,
        "columns",
        &[c('w')],
        "",
        "a narrow list's other columns, and back",
        &["wide"],
    ),
    view(Act::RangeShorter, "range-shorter", &[c('[')], "", "charts over less time", &[]),
    view(Act::RangeLonger, "range-longer", &[c(']')], "", "charts over more time", &[]),
    view(
        Act::Pause,
        "pause",
        &[c('p')],
        "pause",
        "stop drawing data, keys still work",
        &["freeze"],
    ),
    view(Act::Copy, "copy", &[c('y')], "copy", "copy the row's id (OSC 52)", &["yank"]),
    view(Act::CopyRow, "copy-row", &[c('Y')], "", "copy the row as JSON (OSC 52)", &["json"]),
    view(
        Act::Reconnect,
        "reconnect",
        &[ctrl('r')],
        "",
        "connect now, or ask everything again",
        &["refresh"],
    ),
    view(Act::Redraw, "redraw", &[ctrl('l')], "", "draw the whole page again", &[]),
    view(Act::LinkLog, "link-log", &[], "", "what the link did, and bytes a second", &["log link"]),
    view(
        Act::Export,
        "export",
        &[],
        "",
        "the rows of this list into a file, one JSON a line",
        &["save"],
    ),
    view(
        Act::Unlock,
        "unlock",
        &[],
        "",
        "allow changes in a production context for 10 minutes",
        &[],
    ),
    view(Act::Help, "help", &[c('?')], "help", "this page", &[]),
    view(Act::Palette, "palette", &[c(':')], "cmd", "go and act by name", &["command"]),
    view(Act::Quit, "quit", &[c('q')], "quit", "leave; ctrl-c twice always leaves", &["exit"]),
];
