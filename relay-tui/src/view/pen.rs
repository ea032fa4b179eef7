//! Draws text, frames and rows into a buffer, clipped to their place.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};

use super::glyphs::Glyphs;
use super::theme::{Theme, Tone};
use crate::model::Model;
use crate::model::layout::Area;

/// What everything is drawn with.
pub(crate) struct Pen<'a> {
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) theme: Theme,
    pub(crate) glyphs: &'static Glyphs,
    /// Where the terminal's own cursor belongs: the selected row, or what is typed.
    pub(crate) cursor: Option<Position>,
}

/// A piece of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// The line around a panel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    pub(crate) right: &'a str,
    pub(crate) focused: bool,
    /// What stands inside may be old.
    pub(crate) stale: bool,
}

pub(crate) fn span(text: impl Into<String>, tone: Tone) -> Span {
    Span { text: text.into(), tone }
}

pub(crate) fn plain(text: impl Into<String>) -> Span {
    span(text, Tone::Plain)
}

/// The width of a text in columns.
pub(crate) fn width(text: &str) -> u16 {
    u16::try_from(ratatui::text::Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// A text of exactly this many columns, to the left.
pub(crate) fn left(text: &str, columns: u16) -> String {
    let text = cut(text, columns);
    let rest = usize::from(columns.saturating_sub(width(&text)));
    format!("{text}{:rest$}", "")
}

/// A text of exactly this many columns, to the right.
pub(crate) fn right(text: &str, columns: u16) -> String {
    let text = cut(text, columns);
    let rest = usize::from(columns.saturating_sub(width(&text)));
    format!("{:rest$}{text}", "")
}

/// At most this many columns; what is cut ends with two dots.
pub(crate) fn cut(text: &str, columns: u16) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(2);
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = width(c.encode_utf8(&mut [0; 4]));
        if used + wide > room {
            break;
        }
        used += wide;
        kept.push(c);
    }
    for _ in 0..columns.min(2) {
        kept.push('.');
    }
    kept
}

impl<'a> Pen<'a> {
    pub(crate) fn new(model: &Model, buffer: &'a mut Buffer) -> Self {
        let theme = Theme { name: model.theme, own: model.colours };
        Self { buffer, theme, glyphs: Glyphs::of(model.glyphs), cursor: None }
    }

    /// Writes at most `room` columns; the column after what was written.
    pub(crate) fn text(&mut self, x: u16, y: u16, room: u16, text: &str, tone: Tone) -> u16 {
        self.styled(x, y, room, text, self.theme.style(tone))
    }

    fn styled(&mut self, x: u16, y: u16, room: u16, text: &str, style: Style) -> u16 {
        if !self.buffer.area.contains(Position { x, y }) || room == 0 {
            return x;
        }
        // Nothing of what stood there shines through.
        self.buffer.set_stringn(x, y, text, usize::from(room), Style::reset().patch(style)).0
    }

    /// Writes spans one after the other within a line of an area.
    pub(crate) fn line(&mut self, area: Area, line: u16, spans: &[Span]) {
        if line >= area.height {
            return;
        }
        let (y, end) = (area.y + line, area.x + area.width);
        let mut x = area.x;
        for Span { text, tone } in spans {
            x = self.text(x, y, end.saturating_sub(x), text, *tone);
        }
    }

    /// Spans that end at the right edge of a line, if there is room beside what is there.
    pub(crate) fn line_right(&mut self, area: Area, line: u16, spans: &[Span]) {
        let all: u16 = spans.iter().map(|span| width(&span.text)).sum();
        if all <= area.width {
            let x = area.x + area.width - all;
            self.line(Area { x, width: all, ..area }, line, spans);
        }
    }

    /// Draws a frame; the area inside, one column of air at each side where there is room.
    pub(crate) fn frame(&mut self, area: Area, frame: Frame<'_>) -> Area {
        let Area { x, y, width: w, height: h } = area;
        if w < 4 || h < 2 {
            return Area { width: 0, height: 0, ..area };
        }
        let glyphs = self.glyphs;
        let tone = if frame.focused { Tone::Focus } else { Tone::Quiet };
        let across = if frame.focused { glyphs.heavy } else { glyphs.across };
        for column in x + 1..x + w - 1 {
            self.text(column, y, 1, across, tone);
            self.text(column, y + h - 1, 1, glyphs.across, tone);
        }
        for line in y + 1..y + h - 1 {
            self.text(x, line, 1, glyphs.down, tone);
            self.text(x + w - 1, line, 1, glyphs.down, tone);
        }
        let [a, b, c, d] = glyphs.corners;
        for (column, line, corner) in
            [(x, y, a), (x + w - 1, y, b), (x, y + h - 1, c), (x + w - 1, y + h - 1, d)]
        {
            self.text(column, line, 1, corner, tone);
        }
        let mark = if frame.stale { "~ " } else { "" };
        let title = format!(" {mark}{} ", frame.title);
        let title_tone = if frame.focused { Tone::Focus } else { Tone::Strong };
        let end = self.text(x + 2, y, w - 4, &title, title_tone);
        if !frame.right.is_empty() {
            let right = format!(" {} ", frame.right);
            let wide = width(&right);
            if end + wide + 1 < x + w {
                self.text(x + w - 2 - wide, y, wide, &right, Tone::Plain);
            }
        }
        Area { x: x + 1, y: y + 1, width: w - 2, height: h - 2 }
    }

    /// Empties an area: something lies over it.
    pub(crate) fn clear(&mut self, area: Area) {
        let rect = rect(area).intersection(self.buffer.area);
        for position in rect.positions() {
            self.buffer[position].reset();
        }
    }

    /// Draws the first `columns` of a line as the selected one: a bar of one look.
    pub(crate) fn select(&mut self, area: Area, line: u16, columns: u16) {
        if line < area.height {
            let width = columns.min(area.width);
            let row = Area { y: area.y + line, height: 1, width, ..area };
            let style = Style::reset().patch(self.theme.style(Tone::Selected));
            self.buffer.set_style(rect(row).intersection(self.buffer.area), style);
            self.cursor = Some(Position { x: row.x, y: row.y });
        }
    }

    /// Makes an area faint: what stands there may be old.
    pub(crate) fn fade(&mut self, area: Area) {
        let faint = Style::new().add_modifier(Modifier::DIM);
        self.buffer.set_style(rect(area).intersection(self.buffer.area), faint);
    }
}

pub(crate) fn rect(area: Area) -> Rect {
    Rect { x: area.x, y: area.y, width: area.width, height: area.height }
}
