//! What there is to know of one row: label and value, in one column or two.

use super::pen::{Pen, Span, cut, plain, span};
use super::theme::Tone;
use crate::model::layout::Area;

/// Columns of a label.
const LABEL: u16 = 12;
/// From here on two facts stand beside each other.
const TWO: u16 = 72;

/// One fact. Each is always there, empty ones as `-`, so that nothing below them moves from row to
/// row.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) label: &'static str,
    pub(crate) value: Span,
    /// Long by nature: it has a line of its own.
    pub(crate) long: bool,
}

pub(crate) fn fact(label: &'static str, value: impl Into<String>) -> Fact {
    let text = value.into();
    let value = if text.is_empty() { span("-", Tone::Quiet) } else { plain(text) };
    Fact { label, value, long: false }
}

pub(crate) fn toned(label: &'static str, value: Span) -> Fact {
    Fact { label, value, long: false }
}

impl Fact {
    pub(crate) fn long(self) -> Self {
        Self { long: true, ..self }
    }
}

/// Draws as many facts as there is room for; the lines that were used.
pub(super) fn draw(pen: &mut Pen<'_>, area: Area, facts: &[Fact]) -> u16 {
    let two = area.width >= TWO;
    let half = area.width / 2;
    let mut line = 0;
    let mut beside = false;
    for fact in facts {
        if beside && !fact.long {
            let x = area.x + half;
            one(pen, Area { x, width: area.width - half, ..area }, line, fact);
            beside = false;
            line += 1;
            continue;
        }
        if beside {
            beside = false;
            line += 1;
        }
        if line >= area.height {
            break;
        }
        if two && !fact.long {
            one(pen, Area { width: half, ..area }, line, fact);
            beside = true;
        } else {
            one(pen, area, line, fact);
            line += 1;
        }
    }
    (line + u16::from(beside)).min(area.height)
}

fn one(pen: &mut Pen<'_>, area: Area, line: u16, fact: &Fact) {
    let room = area.width.saturating_sub(LABEL + 1);
    let label = format!(" {:<wide$}", fact.label, wide = usize::from(LABEL) - 1);
    let value = Span { text: cut(&fact.value.text, room), tone: fact.value.tone };
    pen.line(area, line, &[span(label, Tone::Quiet), value]);
}
