//! Meaning to style. Colour never carries meaning alone: words and signs do, so `mono` loses
//! nothing.

use ratatui::style::{Color, Modifier, Style};

use crate::model::ThemeName;
use crate::model::data::Severity;

/// What a piece of text means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// Less important than what stands beside it.
    Quiet,
    /// A title or the number that is looked for.
    Strong,
    /// Where the keys go.
    Focus,
    Good,
    Warn,
    Bad,
    /// The selected row.
    Selected,
    /// A chip on the header that wants to be seen.
    Alarm,
}

/// The colours of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Theme(pub(crate) ThemeName);

impl From<Severity> for Tone {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Plain,
            Severity::Warning => Self::Warn,
            Severity::Critical => Self::Bad,
        }
    }
}

impl Theme {
    /// Only the terminal's own 16 colours, on its own background.
    pub(crate) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        match tone {
            Tone::Plain => return plain,
            Tone::Strong => return bold,
            Tone::Selected => return plain.add_modifier(Modifier::REVERSED),
            _ => {}
        }
        match (self.0, tone) {
            (ThemeName::Mono, Tone::Focus | Tone::Warn) => bold,
            (ThemeName::Mono, Tone::Bad) => bold.add_modifier(Modifier::UNDERLINED),
            (ThemeName::Mono, Tone::Alarm) => bold.add_modifier(Modifier::REVERSED),
            (ThemeName::Mono, Tone::Good | Tone::Plain | Tone::Strong | Tone::Selected) => plain,

            (ThemeName::Light, Tone::Focus) => bold.fg(Color::Blue),
            (ThemeName::Light, Tone::Good) => plain.fg(Color::Green),
            (ThemeName::Light, Tone::Warn) => bold.fg(Color::Magenta),
            (ThemeName::Light, Tone::Bad) => bold.fg(Color::Red),

            (ThemeName::ColourBlind, Tone::Focus) => bold.fg(Color::LightCyan),
            (ThemeName::ColourBlind, Tone::Good) => plain.fg(Color::LightBlue),
            (ThemeName::ColourBlind, Tone::Warn) => plain.fg(Color::Yellow),
            (ThemeName::ColourBlind, Tone::Bad) => bold.fg(Color::LightYellow),

            // Not bright black: in some palettes that is the background itself.
            (_, Tone::Quiet) => plain.add_modifier(Modifier::DIM),
            (_, Tone::Focus) => bold.fg(Color::Cyan),
            (_, Tone::Good) => plain.fg(Color::Green),
            (_, Tone::Warn) => plain.fg(Color::Yellow),
            (_, Tone::Bad) => bold.fg(Color::Red),
            (_, Tone::Alarm) => bold.fg(Color::Red).add_modifier(Modifier::REVERSED),
            (_, _) => plain,
        }
    }
}
