//! The one table of actions. Help, footer and palette are made from it, so they cannot disagree
//! with what the keys do.
//!
//! Rules, each tested: no verb on Ctrl or Enter; lower case is safe or undoable, upper case
//! interrupts service or ends something; a letter keeps one idea on all screens; within what a
//! screen sees no two actions share a key.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::Screen;
use crate::model::data::Role;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Press {
    pub(crate) code: Code,
    pub(crate) ctrl: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Code {
    Char(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What a key can mean outside of dialogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Act {
    Overview,
    Backends,
    Keys,
    Events,
    NextPanel,
    PreviousPanel,
    Open,
    Back,
    Up,
    Down,
    HalfUp,
    HalfDown,
    First,
    Last,
    Zoom,
    RangeShorter,
    RangeLonger,
    Filter,
    Sort,
    Palette,
    Pause,
    Copy,
    CopyRow,
    Reconnect,
    Redraw,
    Help,
    Quit,
    Follow,
    LinkLog,
    Unlock,
    Probe,
    Cordon,
    Uncordon,
    Weight,
    Drain,
    NewKey,
    Limits,
    Revoke,
}

/// Where an action can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everywhere,
    On(Screen),
}

/// How hard an action asks before it acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// At once.
    None,
    /// `y`, with Cancel focused.
    Yes,
    /// The object's name and a reason.
    Name,
    /// A form of its own.
    Form,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Action {
    pub(crate) act: Act,
    /// The word of overrides and of the palette.
    pub(crate) id: &'static str,
    /// Default keys, the first is the shown one; none = palette only.
    pub(crate) keys: &'static [Press],
    pub(crate) scope: Scope,
    pub(crate) role: Role,
    pub(crate) level: Level,
    /// Changes something at the daemon.
    pub(crate) changes: bool,
    /// The footer's word; empty = not in the footer.
    pub(crate) label: &'static str,
    pub(crate) help: &'static str,
    /// Other names in the palette.
    pub(crate) aliases: &'static [&'static str],
}

/// The table with the overrides of the settings file.
#[derive(Clone, Debug)]
pub(crate) struct Keymap {
    overrides: BTreeMap<Act, Press>,
}

/// Why an override is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeymapError {
    #[error("[keys] has no action '{0}'")]
    NoAction(String),
    #[error("[keys] {action} = \"{key}\" is not a key: write one character, or ctrl-x")]
    NoKey { action: String, key: String },
    #[error("[keys] {key} would be both {first} and {second}")]
    Clash { key: String, first: &'static str, second: &'static str },
    #[error("[keys] {0} changes things and must not be on Ctrl")]
    VerbOnCtrl(&'static str),
}

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
        Act::Cordon,
        "cordon",
        &[c('c')],
        Screen::Backends,
        Role::Operator,
        Level::Yes,
        "cordon",
        "new requests go elsewhere, what runs goes on",
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
    view(Act::Overview, "overview", &[c('1')], "", "is it healthy, what needs me", &["home"]),
    view(
        Act::Backends,
        "backends",
        &[c('3')],
        "",
        "which server answers, breaker states",
        &["servers", "engines"],
    ),
    view(Act::Keys, "keys", &[c('5')], "", "who uses what, who hits limits", &["usage"]),
    view(Act::Events, "events", &[c('9')], "", "what happened, who did it", &["audit", "log"]),
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

impl Press {
    #[cfg(test)]
    pub(crate) const fn plain(code: Code) -> Self {
        k(code)
    }

    pub(crate) const fn ctrl(c: char) -> Self {
        ctrl(c)
    }

    #[cfg(test)]
    pub(crate) const fn char(c: char) -> Self {
        Self { code: Code::Char(c), ctrl: false }
    }
}

impl fmt::Display for Press {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("^")?;
        }
        match self.code {
            Code::Char(' ') => f.write_str("space"),
            Code::Char(c) => write!(f, "{c}"),
            Code::Enter => f.write_str("enter"),
            Code::Esc => f.write_str("esc"),
            Code::Tab => f.write_str("tab"),
            Code::BackTab => f.write_str("S-tab"),
            Code::Backspace => f.write_str("backspace"),
            Code::Delete => f.write_str("delete"),
            Code::Up => f.write_str("up"),
            Code::Down => f.write_str("down"),
            Code::Left => f.write_str("left"),
            Code::Right => f.write_str("right"),
            Code::PageUp => f.write_str("page-up"),
            Code::PageDown => f.write_str("page-down"),
            Code::Home => f.write_str("home"),
            Code::End => f.write_str("end"),
        }
    }
}

impl Action {
    pub(crate) fn of(act: Act) -> &'static Self {
        // The table holds every act; a test proves it.
        ACTIONS.iter().find(|action| action.act == act).unwrap_or(&ACTIONS[0])
    }

    pub(crate) const fn visible_on(&self, screen: Screen) -> bool {
        match self.scope {
            Scope::Everywhere => true,
            Scope::On(on) => on as u8 == screen as u8,
        }
    }
}

impl Keymap {
    /// The defaults with overrides `id -> key` (one character, or `ctrl-x`).
    ///
    /// # Errors
    /// The first override that names no action or no key, or that clashes.
    pub(crate) fn with(overrides: &BTreeMap<String, String>) -> Result<Self, KeymapError> {
        let mut map = Self { overrides: BTreeMap::new() };
        for (id, key) in overrides {
            let action = ACTIONS
                .iter()
                .find(|action| action.id == id)
                .ok_or_else(|| KeymapError::NoAction(id.clone()))?;
            let press = read(key)
                .ok_or_else(|| KeymapError::NoKey { action: id.clone(), key: key.clone() })?;
            if press.ctrl && action.changes {
                return Err(KeymapError::VerbOnCtrl(action.id));
            }
            map.overrides.insert(action.act, press);
        }
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), KeymapError> {
        for screen in Screen::ALL {
            let mut taken: BTreeMap<Press, &'static str> = BTreeMap::new();
            for action in ACTIONS.iter().filter(|action| action.visible_on(screen)) {
                for press in self.keys(action) {
                    if let Some(first) = taken.insert(press, action.id) {
                        return Err(KeymapError::Clash {
                            key: press.to_string(),
                            first,
                            second: action.id,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn keys(&self, action: &Action) -> impl Iterator<Item = Press> + use<> {
        let own = self.overrides.get(&action.act).copied();
        let defaults = if own.is_some() { &[] } else { action.keys };
        own.into_iter().chain(defaults.iter().copied())
    }

    /// What a key means on a screen.
    pub(crate) fn act(&self, screen: Screen, press: Press) -> Option<Act> {
        ACTIONS
            .iter()
            .filter(|action| action.visible_on(screen))
            .find(|action| self.keys(action).any(|key| key == press))
            .map(|action| action.act)
    }

    /// The key to show for an action.
    pub(crate) fn shown(&self, action: &Action) -> Option<Press> {
        self.keys(action).next()
    }
}

fn read(key: &str) -> Option<Press> {
    let (name, is_ctrl) = match key.strip_prefix("ctrl-") {
        Some(rest) => (rest, true),
        None => (key, false),
    };
    let mut chars = name.chars();
    match (chars.next(), chars.next()) {
        (Some(only), None) if !only.is_control() => {
            Some(Press { code: Code::Char(only), ctrl: is_ctrl })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(id, key)| ((*id).to_owned(), (*key).to_owned())).collect()
    }

    #[test]
    fn no_two_actions_of_a_screen_share_a_key() {
        Keymap::with(&BTreeMap::new()).unwrap();
    }

    #[test]
    fn each_action_has_help_and_an_id_of_its_own() {
        let ids: std::collections::BTreeSet<_> = ACTIONS.iter().map(|action| action.id).collect();
        let acts: std::collections::BTreeSet<_> = ACTIONS.iter().map(|action| action.act).collect();
        assert_eq!((ids.len(), acts.len()), (ACTIONS.len(), ACTIONS.len()));
        for action in ACTIONS {
            assert!(!action.help.is_empty() && !action.id.contains(' '), "{}", action.id);
            assert_eq!(Action::of(action.act).id, action.id);
        }
    }

    #[test]
    fn verbs_are_plain_letters_and_capitals_interrupt() {
        for action in ACTIONS.iter().filter(|action| action.changes) {
            assert!(action.role > Role::Viewer, "{}", action.id);
            for press in action.keys {
                let Code::Char(letter) = press.code else { panic!("{} on {press}", action.id) };
                assert!(!press.ctrl && letter.is_ascii_alphabetic(), "{}", action.id);
                let asks_most = action.level == Level::Name || action.act == Act::Weight;
                assert_eq!(letter.is_ascii_uppercase(), asks_most, "{}", action.id);
            }
        }
    }

    #[test]
    fn a_letter_keeps_one_idea_on_all_screens() {
        let mut ideas: BTreeMap<Press, &str> = BTreeMap::new();
        for action in ACTIONS {
            for press in action.keys {
                assert_eq!(*ideas.entry(*press).or_insert(action.id), action.id, "{press}");
            }
        }
    }

    #[test]
    fn overrides_are_checked() {
        let map = Keymap::with(&overrides(&[("cordon", "o"), ("redraw", "ctrl-k")])).unwrap();
        assert_eq!(map.act(Screen::Backends, Press::char('o')), Some(Act::Cordon));
        assert_eq!(map.act(Screen::Backends, Press::char('c')), None);
        assert_eq!(map.act(Screen::Keys, Press::ctrl('k')), Some(Act::Redraw));
        let wrong = |pairs: &[(&str, &str)]| Keymap::with(&overrides(pairs)).unwrap_err();
        assert_eq!(wrong(&[("fly", "f")]), KeymapError::NoAction("fly".into()));
        assert!(matches!(wrong(&[("cordon", "cc")]), KeymapError::NoKey { .. }));
        assert!(matches!(wrong(&[("cordon", "q")]), KeymapError::Clash { .. }));
        assert_eq!(wrong(&[("cordon", "ctrl-o")]), KeymapError::VerbOnCtrl("cordon"));
    }
}
