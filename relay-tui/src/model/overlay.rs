//! What lies over a screen: help, palette, dialogs, a secret.

use super::call::{Call, ProviderBounds, Secret};
use super::input::Input;
use crate::keymap::Level;

/// What was typed this soon after a dialog opened was meant for the page below.
pub(crate) const TYPED_AHEAD_MS: u64 = 300;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    Help {
        scroll: usize,
    },
    Palette(Palette),
    Confirm(Confirm),
    Form(Form),
    /// A new key's secret: shown once, copied only when asked, wiped on leaving.
    Secret {
        name: String,
        secret: Secret,
        copied: bool,
        opened_ms: u64,
    },
    /// The selected row in full.
    Detail {
        scroll: usize,
    },
    LinkLog,
    /// Calls are open: really leave?
    Quit {
        opened_ms: u64,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Palette {
    pub(crate) input: Input,
    /// Chosen line of the matches.
    pub(crate) at: usize,
}

/// The question before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confirm {
    pub(crate) call: Call,
    pub(crate) level: Level,
    /// What will happen, to how much, and whether it can be undone.
    pub(crate) lines: Vec<String>,
    pub(crate) typed: Input,
    pub(crate) reason: Input,
    pub(crate) focus: Focus,
    pub(crate) opened_ms: u64,
}

/// Where a dialog's typing goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Focus {
    Name,
    Reason,
    #[default]
    Cancel,
    Confirm,
}

/// Several fields and a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) purpose: Purpose,
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    pub(crate) fields: Vec<FormField>,
    /// A field, or beyond them the two buttons: Cancel, then the one that acts.
    pub(crate) focus: usize,
    pub(crate) problem: Option<String>,
    pub(crate) opened_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The rows of the focused list into a file.
    Export,
    NewKey,
    Limits {
        key_id: String,
        name: String,
        version: u64,
    },
    ProviderBounds {
        provider_id: String,
        name: String,
        version: u64,
        now: ProviderBounds,
    },
    Revise {
        model: String,
        version: u64,
    },
    StartRollout {
        model: String,
        version: u64,
    },
    Weight {
        backend: String,
        version: u64,
        now: u32,
    },
    Unlock {
        context: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FormField {
    pub(crate) label: &'static str,
    pub(crate) hint: &'static str,
    pub(crate) input: Input,
    pub(crate) kind: FieldKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldKind {
    Text,
    /// One of the customers that match what is typed; up and down choose.
    Customer {
        at: usize,
    },
}

impl Confirm {
    /// What its level asks for is there: the name letter by letter, a reason.
    pub(crate) fn is_complete(&self) -> bool {
        let named = self.level != Level::Name || self.typed.text() == self.call.name;
        named && (!self.wants_reason() || !self.reason.text().trim().is_empty())
    }

    pub(crate) fn wants_reason(&self) -> bool {
        matches!(self.level, Level::Reason | Level::Name)
    }
}

impl Form {
    pub(crate) fn cancel_at(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn confirm_at(&self) -> usize {
        self.fields.len() + 1
    }
}

impl Overlay {
    /// When a dialog that can change something was opened.
    pub(crate) const fn guarded_since(&self) -> Option<u64> {
        match self {
            Self::Confirm(Confirm { opened_ms, .. })
            | Self::Form(Form { opened_ms, .. })
            | Self::Secret { opened_ms, .. }
            | Self::Quit { opened_ms } => Some(*opened_ms),
            _ => None,
        }
    }
}
