//! Lists with columns.

use super::pen::{Pen, Span, cut, left, right, span, width};
use super::theme::Tone;
use crate::model::filter::{Field, Row};
use crate::model::layout::Area;
use crate::model::table::{Sort, Table};

/// One column.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) head: &'static str,
    /// The field that a sort by this column uses; empty for none.
    pub(crate) field: &'static str,
    /// Columns of the terminal; 0 = what the others leave.
    pub(crate) width: u16,
    pub(crate) right: bool,
    /// It names the row: the bar of a selected row reaches at least so far.
    pub(crate) names: bool,
}

/// From here on the bar of a selected row spans the page: the eye needs it. Below, the bar ends
/// behind the name, so that one step through a list is a few bytes over a slow line; the panel
/// under the list has the row's numbers.
const WHOLE_BAR: u16 = 160;
/// A list this narrow has the whole bar too.
const SHORT_ROW: u16 = 48;

pub(crate) const fn column(head: &'static str, field: &'static str, width: u16) -> Column {
    Column { head, field, width, right: false, names: false }
}

/// A column of numbers.
pub(crate) const fn number(head: &'static str, field: &'static str, width: u16) -> Column {
    Column { head, field, width, right: true, names: false }
}

impl Column {
    pub(crate) const fn naming(self) -> Self {
        Self { names: true, ..self }
    }
}

/// Draws the heading and the rows of the page. `cells` makes a row's spans, one a column.
pub(crate) fn rows<R: Row>(
    pen: &mut Pen<'_>,
    area: Area,
    table: &Table<R>,
    columns: &[Column],
    focused: bool,
    cells: impl Fn(&R) -> Vec<Span>,
) {
    if area.height == 0 {
        return;
    }
    let widths = widths(area.width, columns);
    heading(pen, area, table.sort, columns, &widths);
    let below = Area { y: area.y + 1, height: area.height - 1, ..area };
    body(pen, below, table, columns, &widths, focused, cells);
}

/// The rows alone.
pub(crate) fn bare<R: Row>(
    pen: &mut Pen<'_>,
    area: Area,
    table: &Table<R>,
    columns: &[Column],
    focused: bool,
    cells: impl Fn(&R) -> Vec<Span>,
) {
    let widths = widths(area.width, columns);
    body(pen, area, table, columns, &widths, focused, cells);
}

fn body<R: Row>(
    pen: &mut Pen<'_>,
    area: Area,
    table: &Table<R>,
    columns: &[Column],
    widths: &[u16],
    focused: bool,
    cells: impl Fn(&R) -> Vec<Span>,
) {
    for (line, (row, selected)) in (0..area.height).zip(table.page(usize::from(area.height))) {
        put(pen, area, line, columns, widths, &cells(row));
        if selected && focused {
            pen.text(area.x, area.y + line, 1, ">", Tone::Focus);
            pen.select(area, line, bar(area.width, columns, widths));
        }
    }
}

/// Columns of the terminal that the bar of a selected row covers.
fn bar(all: u16, columns: &[Column], widths: &[u16]) -> u16 {
    let named = columns.iter().rposition(|column| column.names);
    match named {
        Some(last) if all > SHORT_ROW && all < WHOLE_BAR => {
            1 + widths[..=last].iter().map(|wide| wide + 1).sum::<u16>()
        }
        _ => all,
    }
}

/// One line of spans under columns.
pub(crate) fn put(
    pen: &mut Pen<'_>,
    area: Area,
    line: u16,
    columns: &[Column],
    widths: &[u16],
    cells: &[Span],
) {
    let end = area.x + area.width;
    let mut x = area.x + 1;
    for ((column, &wide), Span { text, tone }) in columns.iter().zip(widths).zip(cells) {
        let text = if column.right { right(text, wide) } else { left(text, wide) };
        pen.text(x, area.y + line, end.saturating_sub(x), &text, *tone);
        x += wide + 1;
    }
}

/// `cost ↓`: the heading with the sign of the sort where it fits.
fn head(pen: &Pen<'_>, column: &Column, sort: Sort, wide: u16) -> Span {
    if column.field.is_empty() || column.field != sort.field {
        return span(column.head, Tone::Quiet);
    }
    let sign = if sort.descending { pen.glyphs.falling } else { pen.glyphs.rising };
    let air = if width(column.head) + 2 <= wide { " " } else { "" };
    span(format!("{}{air}{sign}", column.head), Tone::Strong)
}

fn heading(pen: &mut Pen<'_>, area: Area, sort: Sort, columns: &[Column], widths: &[u16]) {
    let heads: Vec<Span> =
        columns.iter().zip(widths).map(|(column, wide)| head(pen, column, sort, *wide)).collect();
    put(pen, area, 0, columns, widths, &heads);
}

/// The widths, the free ones filled; one column of air before each and at the end.
pub(crate) fn widths(all: u16, columns: &[Column]) -> Vec<u16> {
    let count = u16::try_from(columns.len()).unwrap_or(u16::MAX);
    let fixed: u16 = columns.iter().map(|column| column.width).sum();
    let free =
        u16::try_from(columns.iter().filter(|column| column.width == 0).count()).unwrap_or(1);
    let rest = all.saturating_sub(fixed + count + 1);
    columns
        .iter()
        .map(|column| if column.width == 0 { rest / free.max(1) } else { column.width })
        .collect()
}

/// `sort cost v  filter: none`.
pub(crate) fn state<R: Row>(table: &Table<R>, room: u16) -> String {
    let arrow = if table.sort.descending { "v" } else { "^" };
    let filter = match table.filter_text() {
        "" => "none".to_owned(),
        text => cut(text, 20),
    };
    let long = format!("sort {} {arrow}  filter: {filter}", table.sort.field);
    if long.len() <= usize::from(room) || table.filter_text().is_empty() {
        long
    } else {
        format!("filter: {filter}")
    }
}

/// `41`, or `3 of 41` under a filter.
pub(crate) fn counted<R: Row>(table: &Table<R>) -> String {
    match (table.loaded, table.shown_len(), table.all().len()) {
        (false, ..) => String::new(),
        (true, shown, all) if shown == all => all.to_string(),
        (true, shown, all) => format!("{shown} of {all}"),
    }
}

/// The keys of `s`: `s state  n name`.
pub(crate) fn sort_keys(fields: &[Field]) -> String {
    let keys: Vec<_> = fields.iter().map(|field| format!("{} {}", field.key, field.name)).collect();
    keys.join("  ")
}
