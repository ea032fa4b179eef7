//! The last line: what is typed, what has just been said, or what the keys do here.

use ratatui::layout::Position;

use super::pen::{Pen, Span, cut, plain, span, width};
use super::table::sort_keys;
use super::theme::Tone;
use crate::keymap::{ACTIONS, Act, Action};
use crate::model::data::Severity;
use crate::model::filter::Field;
use crate::model::layout::Area;
use crate::model::list::List;
use crate::model::{Model, Typing};
use crate::update;

pub(super) fn draw(pen: &mut Pen<'_>, model: &Model) {
    let y = model.size.height.saturating_sub(1);
    let area = Area { x: 0, y, width: model.size.width, height: 1 };
    match model.typing {
        Typing::Filter => {
            let help = "words  field:value  !not  field:>9   enter keep  esc clear ";
            let typed = model.filter_input.text();
            pen.line(area, 0, &[span(" / ", Tone::Focus), plain(typed)]);
            if width(typed) + width(help) + 6 < area.width {
                pen.line_right(area, 0, &[span(help, Tone::Quiet)]);
            }
            let before: String = typed.chars().take(model.filter_input.cursor()).collect();
            pen.cursor = Some(Position { x: (3 + width(&before)).min(area.width - 1), y });
        }
        Typing::SortKey => {
            let keys = cut(&sort_keys(fields(model)), area.width.saturating_sub(7));
            pen.line(area, 0, &[span(" sort ", Tone::Focus), plain(keys)]);
        }
        Typing::Nothing => match &model.toast {
            Some(toast) => {
                let sign = if toast.severity == Severity::Info { "" } else { "! " };
                let said = cut(&format!("{sign}{}", toast.text), area.width.saturating_sub(2));
                pen.line(area, 0, &[plain(" "), span(said, toast.severity.into())]);
            }
            None => keys(pen, model, area),
        },
    }
}

fn fields(model: &Model) -> &'static [Field] {
    model.focused_list().map_or(&[], List::fields)
}

/// What the keys do here: verbs that are allowed now, then the rest, as far as there is room. Or why
/// there is no link: then few keys do anything.
fn keys(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let last = |action: &&Action| matches!(action.act, Act::Help | Act::Palette | Act::Quit);
    let shown = |action: &&Action| {
        !action.label.is_empty()
            && action.visible_on(model.screen)
            && (action.act != Act::NextPanel || model.screen.panels().len() > 1)
            && (!action.changes || update::refusal(model, action).is_none())
    };
    let key = |action: &Action| {
        let press = model.keymap.shown(action).map(|press| press.to_string()).unwrap_or_default();
        [span(press, Tone::Strong), plain(format!(" {}", action.label))]
    };
    let mut right = Vec::new();
    for action in ACTIONS.iter().filter(shown).filter(last) {
        right.extend(key(action));
        right.push(plain("  "));
    }
    let wide = |spans: &[Span]| spans.iter().map(|span| width(&span.text)).sum::<u16>();
    pen.line_right(area, 0, &right);
    let room = area.width.saturating_sub(wide(&right) + 1);
    if let Some(told) = model.link.told() {
        let told = cut(&format!(" ! {told}"), room);
        pen.line(area, 0, &[span(told, Tone::Warn)]);
        return;
    }
    let mut left = vec![plain(" ")];
    for action in ACTIONS.iter().filter(shown).filter(|action| !last(action)) {
        let more = key(action);
        if wide(&left) + wide(&more) + 2 > room {
            break;
        }
        left.extend(more);
        left.push(plain("  "));
    }
    pen.line(area, 0, &left);
}
