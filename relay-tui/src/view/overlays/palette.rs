//! `:`: one line, with at most eight matches above it.

use ratatui::layout::Position;

use crate::model::Model;
use crate::model::layout::Area;
use crate::model::overlay::Palette;
use crate::palette::{MATCHES_MAX, matches};
use crate::view::pen::{Frame, Pen, cut, left, plain, span, width};
use crate::view::theme::Tone;

pub(super) fn draw(pen: &mut Pen<'_>, model: &Model, state: &Palette) {
    let found = matches(model, state.input.text());
    let rows = u16::try_from(found.len().clamp(1, MATCHES_MAX)).unwrap_or(1);
    let height = (rows + 3).min(model.size.height);
    let area = Area { x: 0, y: model.size.height - height, width: model.size.width, height };
    pen.clear(area);
    let inside = pen.frame(area, Frame { title: "go and act", focused: true, ..Frame::default() });
    let line = inside.height.saturating_sub(1);
    let list = Area { height: line, ..inside };
    if found.is_empty() {
        pen.line(list, 0, &[span(" nothing is called that", Tone::Quiet)]);
    }
    for (at, (line, one)) in (0..list.height).zip(&found).enumerate() {
        let tone = if one.refused.is_some() { Tone::Quiet } else { Tone::Plain };
        let title = left(&one.title, 20);
        let end = match &one.refused {
            Some(why) => span(format!(" {why} "), Tone::Warn),
            None => span(format!(" {} ", one.key), Tone::Strong),
        };
        let help = cut(&one.help, inside.width.saturating_sub(24 + width(&end.text)));
        pen.line(list, line, &[plain(" "), span(title, tone), plain(" "), span(help, Tone::Quiet)]);
        pen.line_right(list, line, &[end]);
        if at == state.at {
            pen.text(list.x, list.y + line, 1, ">", Tone::Focus);
            pen.select(list, line, list.width);
        }
    }
    let typed = state.input.text();
    pen.line(inside, line, &[span(" : ", Tone::Focus), plain(typed)]);
    let before: String = typed.chars().take(state.input.cursor()).collect();
    let x = (inside.x + 3 + width(&before)).min(inside.x + inside.width.saturating_sub(1));
    pen.cursor = Some(Position { x, y: inside.y + line });
}
