//! Meaning to style. Colour never carries meaning alone: words and signs do, so `mono` loses
//! nothing.

use ratatui::style::{Color, Modifier, Style};

use crate::model::data::Severity;
use crate::model::{Colours, Ink, ThemeName};

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
pub(crate) struct Theme {
    pub(crate) name: ThemeName,
    /// Over the theme's; without colours nothing is over it.
    pub(crate) own: Colours,
}

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
    pub(crate) fn style(self, tone: Tone) -> Style {
        let style = self.of_theme(tone);
        let own = match tone {
            _ if self.name == ThemeName::Mono => None,
            Tone::Quiet => self.own.quiet,
            Tone::Focus => self.own.focus,
            Tone::Good => self.own.good,
            Tone::Warn => self.own.warn,
            Tone::Bad => self.own.bad,
            Tone::Alarm => self.own.alarm,
            Tone::Plain | Tone::Strong | Tone::Selected => None,
        };
        match own {
            None => style,
            // An ink of one's own is meant as it is.
            Some(ink) => style.fg(colour(ink)).remove_modifier(Modifier::DIM),
        }
    }

    /// Only the terminal's own 16 colours, on its own background.
    fn of_theme(self, tone: Tone) -> Style {
        let plain = Style::new();
        let bold = plain.add_modifier(Modifier::BOLD);
        match tone {
            Tone::Plain => return plain,
            Tone::Strong => return bold,
            Tone::Selected => return plain.add_modifier(Modifier::REVERSED),
            _ => {}
        }
        match (self.name, tone) {
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

const fn colour(ink: Ink) -> Color {
    match ink {
        Ink::Numbered(0) => Color::Black,
        Ink::Numbered(1) => Color::Red,
        Ink::Numbered(2) => Color::Green,
        Ink::Numbered(3) => Color::Yellow,
        Ink::Numbered(4) => Color::Blue,
        Ink::Numbered(5) => Color::Magenta,
        Ink::Numbered(6) => Color::Cyan,
        Ink::Numbered(7) => Color::Gray,
        Ink::Numbered(8) => Color::DarkGray,
        Ink::Numbered(9) => Color::LightRed,
        Ink::Numbered(10) => Color::LightGreen,
        Ink::Numbered(11) => Color::LightYellow,
        Ink::Numbered(12) => Color::LightBlue,
        Ink::Numbered(13) => Color::LightMagenta,
        Ink::Numbered(14) => Color::LightCyan,
        Ink::Numbered(15) => Color::White,
        Ink::Numbered(number) => Color::Indexed(number),
        Ink::Exact(red, green, blue) => Color::Rgb(red, green, blue),
    }
}
