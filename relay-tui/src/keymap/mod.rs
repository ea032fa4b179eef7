//! The one table of actions. Help, footer and palette are made from it, so they cannot disagree
//! with what the keys do.
//!
//! Rules, each tested: no verb on Ctrl or Enter; lower case is safe or undoable, upper case
//! interrupts service or ends something; a letter keeps one idea on all screens; within what a
//! screen sees no two actions share a key.

mod actions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use self::actions::ACTIONS;
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
    Go(Screen),
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
    Columns,
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
    Export,
    Unlock,
    Probe,
    Cordon,
    Uncordon,
    Weight,
    Drain,
    GroupBy,
    Approve,
    Reject,
    Suspend,
    Reconsider,
    Bound,
    Revise,
    StartRollout,
    Advance,
    Hold,
    Resume,
    RollBack,
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
    /// A reason, then the button.
    Reason,
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

impl Press {
    #[cfg(test)]
    pub(crate) const fn plain(code: Code) -> Self {
        Self { code, ctrl: false }
    }

    pub(crate) const fn ctrl(c: char) -> Self {
        Self { code: Code::Char(c), ctrl: true }
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
