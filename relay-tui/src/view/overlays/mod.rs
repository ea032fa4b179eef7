//! What lies over a screen.

mod dialogs;
mod help;
mod palette;
mod reading;

use super::pen::{Frame, Pen};
use crate::model::Model;
use crate::model::layout::Area;
use crate::model::overlay::Overlay;

pub(super) fn draw(pen: &mut Pen<'_>, model: &Model, overlay: &Overlay) {
    match overlay {
        Overlay::Help { scroll } => help::draw(pen, model, *scroll),
        Overlay::Palette(state) => palette::draw(pen, model, state),
        Overlay::Confirm(confirm) => dialogs::confirm(pen, model, confirm),
        Overlay::Form(form) => dialogs::form(pen, model, form),
        Overlay::Secret { name, secret, copied, .. } => {
            dialogs::secret(pen, model, name, secret, *copied);
        }
        Overlay::Detail { scroll } => reading::detail(pen, model, *scroll),
        Overlay::LinkLog => reading::link_log(pen, model),
        Overlay::Quit { .. } => dialogs::quit(pen, model),
    }
}

/// A box in the middle of the page, and what is inside with one column of air.
fn boxed(
    pen: &mut Pen<'_>,
    model: &Model,
    width: u16,
    height: u16,
    title: &str,
    right: &str,
) -> Area {
    let page = model.size;
    let width = width.min(page.width);
    let height = height.min(page.height);
    let area = Area { x: (page.width - width) / 2, y: (page.height - height) / 2, width, height };
    pen.clear(area);
    let inside = pen.frame(area, Frame { title, right, focused: true, stale: false });
    Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside }
}
