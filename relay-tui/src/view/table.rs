//! Lists with columns.

use super::pen::{Pen, Span, cut, left, right, span, width};
use super::theme::Tone;
use crate::model::Model;
use crate::model::columns::{self, Column};
use crate::model::filter::{Field, Row};
use crate::model::layout::{Area, Panel};
use crate::model::table::{Sort, Table};

/// From here on the bar of a selected row spans the page: the eye needs it. Below, the bar ends
/// behind the name, so that one step through a list is a few bytes over a slow line; the panel
/// under the list has the row's numbers.
const WHOLE_BAR: u16 = 160;
/// A list this narrow has the whole bar too.
const SHORT_ROW: u16 = 70;

/// Draws the headings and the rows of a panel. `cell` makes what stands in a row under a column of
/// this width.
pub(crate) fn rows<R: Row>(
    pen: &mut Pen<'_>,
    model: &Model,
    panel: Panel,
    area: Area,
    table: &Table<R>,
    cell: impl Fn(&R, &Column, u16) -> Span,
) {
    if area.height == 0 {
        return;
    }
    let columns = columns::shown(panel, area.width, model.other_columns);
    let widths = columns::widths(area.width, &columns);
    headings(pen, area, Some(table.sort), &columns, &widths);
    let below = Area { y: area.y + 1, height: area.height - 1, ..area };
    body(pen, below, table, &columns, model.focused() == panel, cell);
}

/// The rows alone, under columns of the caller's own.
pub(crate) fn body<R: Row>(
    pen: &mut Pen<'_>,
    area: Area,
    table: &Table<R>,
    columns: &[Column],
    focused: bool,
    cell: impl Fn(&R, &Column, u16) -> Span,
) {
    let widths = columns::widths(area.width, columns);
    for (line, (row, selected)) in (0..area.height).zip(table.page(usize::from(area.height))) {
        let cells: Vec<Span> =
            columns.iter().zip(&widths).map(|(column, wide)| cell(row, column, *wide)).collect();
        put(pen, area, line, columns, &widths, &cells);
        if selected && focused {
            pen.text(area.x, area.y + line, 1, ">", Tone::Focus);
            pen.select(area, line, bar(area.width, columns, &widths));
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

/// The line of headings, with the sign of the sort where there is one.
pub(crate) fn headings(
    pen: &mut Pen<'_>,
    area: Area,
    sort: Option<Sort>,
    columns: &[Column],
    widths: &[u16],
) {
    let heads: Vec<Span> =
        columns.iter().zip(widths).map(|(column, wide)| head(pen, column, sort, *wide)).collect();
    put(pen, area, 0, columns, widths, &heads);
}

/// `cost ↓`: a space before the sign where it fits.
fn head(pen: &Pen<'_>, column: &Column, sort: Option<Sort>, wide: u16) -> Span {
    let Some(sort) = sort.filter(|sort| !column.field.is_empty() && column.field == sort.field)
    else {
        return span(column.head, Tone::Quiet);
    };
    let sign = if sort.descending { pen.glyphs.falling } else { pen.glyphs.rising };
    let air = if width(column.head) + 2 <= wide { " " } else { "" };
    span(format!("{}{air}{sign}", column.head), Tone::Strong)
}

/// `sort cost v  filter: none`.
pub(crate) fn state<R: Row>(pen: &Pen<'_>, table: &Table<R>, room: u16) -> String {
    let sign = if table.sort.descending { pen.glyphs.falling } else { pen.glyphs.rising };
    let sort = format!("sort {} {sign}", table.sort.field);
    match table.filter_text() {
        "" => sort,
        text => {
            let filter = format!("filter: {}", cut(text, 24));
            let long = format!("{sort}  {filter}");
            if width(&long) <= room { long } else { filter }
        }
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
