//! The model as characters. Reads only; the same model always draws the same page.
//!
//! Line 0 is the header, line 1 the tabs, the last line the keys; the panels stand between, where
//! the pure layout puts them.

mod chart;
mod facts;
mod footer;
mod glyphs;
mod header;
mod overlays;
mod pen;
mod plain;
mod screens;
mod table;
mod theme;

use ratatui::buffer::Buffer;
use ratatui::layout::Position;

use self::pen::{Frame, Pen, width};
pub(crate) use self::plain::page as plain;
use self::theme::Tone;
use crate::model::Model;
use crate::model::layout::{self, Area, LEAST};

/// Draws the page; where the terminal's cursor belongs, when it belongs anywhere.
pub(crate) fn draw(model: &Model, buffer: &mut Buffer) -> Option<Position> {
    let page = Area { x: 0, y: 0, width: model.size.width, height: model.size.height };
    let mut pen = Pen::new(model, buffer);
    if !model.size.is_enough() {
        too_small(&mut pen, page);
        return None;
    }
    header::draw(&mut pen, model);
    let focus = model.focused();
    for slot in layout::panels(model.size, model.screen, focus, model.zoomed) {
        let focused = slot.panel == focus && model.screen.panels().len() > 1;
        screens::panel(&mut pen, model, slot, focused);
        if stale(model) {
            pen.fade(slot.area);
        }
    }
    footer::draw(&mut pen, model);
    if let Some(overlay) = &model.overlay {
        pen.cursor = None;
        overlays::draw(&mut pen, model, overlay);
    }
    pen.cursor
}

/// Something is shown that may be old.
fn stale(model: &Model) -> bool {
    model.is_stale() && model.has_data()
}

fn too_small(pen: &mut Pen<'_>, page: Area) {
    let lines = [
        format!("too small: {}x{}", page.width, page.height),
        format!("needs {}x{}", LEAST.width, LEAST.height),
    ];
    for (line, text) in (0..page.height).zip(lines) {
        pen.text(0, line, page.width, &text, Tone::Plain);
    }
}

/// A panel's frame, with the marks that every panel has.
fn framed(
    pen: &mut Pen<'_>,
    model: &Model,
    area: Area,
    title: &str,
    right: &str,
    focused: bool,
) -> Area {
    pen.frame(area, Frame { title, right, focused, stale: stale(model) })
}

/// What an empty list says: not asked yet, not to be had, nothing there, or nothing that fits.
fn empty_line(model: &Model, loaded: bool, filter: &str, nothing: &str) -> String {
    if !filter.is_empty() {
        format!("nothing fits '{filter}'; esc clears the filter")
    } else if let Some((stream, why)) = crate::update::missing(model) {
        format!("{}: {why}", stream.word())
    } else if loaded {
        nothing.to_owned()
    } else {
        "waiting for relayd".to_owned()
    }
}

fn fits(area: Area, texts: &[&str]) -> bool {
    texts.iter().map(|text| width(text)).sum::<u16>() <= area.width
}
