//! The characters of lines, bars and charts.

use crate::model::GlyphSet;

/// One set. Each is one column wide.
#[derive(Debug)]
pub(crate) struct Glyphs {
    /// Left top, right top, left bottom, right bottom.
    pub(crate) corners: [&'static str; 4],
    pub(crate) across: &'static str,
    pub(crate) down: &'static str,
    /// The top line of the panel that has the keys.
    pub(crate) heavy: &'static str,
    /// Signs of a sort.
    pub(crate) rising: &'static str,
    pub(crate) falling: &'static str,
    pub(crate) bar: &'static str,
    pub(crate) bar_rest: &'static str,
    /// Heights of one cell, from the lowest that is not nothing.
    pub(crate) steps: &'static [&'static str],
    /// The same for a chart of one line, where more heights can be told apart.
    pub(crate) ramp: &'static [&'static str],
    /// Two samples to a cell, four dots high.
    pub(crate) braille: bool,
}

const UNICODE: Glyphs = Glyphs {
    corners: ["┌", "┐", "└", "┘"],
    across: "─",
    down: "│",
    heavy: "━",
    rising: "↑",
    falling: "↓",
    bar: "█",
    bar_rest: "·",
    steps: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    ramp: &["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    braille: false,
};

const ASCII: Glyphs = Glyphs {
    corners: ["+", "+", "+", "+"],
    across: "-",
    down: "|",
    heavy: "=",
    rising: "^",
    falling: "v",
    bar: "#",
    bar_rest: ".",
    steps: &[".", ":", "#"],
    ramp: &[".", ":", "-", "=", "+", "*", "#"],
    braille: false,
};

const BRAILLE: Glyphs = Glyphs { braille: true, ..UNICODE };

impl Glyphs {
    /// A bar of so many cells, filled by a share in percent.
    pub(crate) fn share(&self, percent: u32, cells: u16) -> String {
        let cells = usize::from(cells);
        let full = usize::try_from(percent).unwrap_or(100).min(100) * cells / 100;
        format!("{}{}", self.bar.repeat(full), self.bar_rest.repeat(cells - full))
    }

    pub(crate) const fn of(set: GlyphSet) -> &'static Self {
        match set {
            GlyphSet::Unicode => &UNICODE,
            GlyphSet::Ascii => &ASCII,
            GlyphSet::Braille => &BRAILLE,
        }
    }
}
