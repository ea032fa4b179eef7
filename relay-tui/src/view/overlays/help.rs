//! The keys of this screen, from the table of actions.

use super::boxed;
use crate::keymap::{ACTIONS, Action, Level, Scope};
use crate::model::Model;
use crate::update;
use crate::view::pen::{Pen, Span, span};
use crate::view::theme::Tone;

pub(super) fn draw(pen: &mut Pen<'_>, model: &Model, scroll: usize) {
    let lines = lines(model);
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let height = height.min(model.size.height.saturating_sub(2));
    let title = format!("Help: {}", model.screen.title());
    let inside = boxed(pen, model, 78, height, &title, "j k move  esc close");
    let last = lines.len().saturating_sub(usize::from(inside.height));
    for (line, (spans, end)) in (0..inside.height).zip(lines.iter().skip(scroll.min(last))) {
        pen.line(inside, line, spans);
        pen.line_right(inside, line, end);
    }
}

/// What stands left and right on a line.
type Line = (Vec<Span>, Vec<Span>);

fn lines(model: &Model) -> Vec<Line> {
    let mut lines = Vec::new();
    let own = |action: &&Action| action.scope == Scope::On(model.screen);
    let title = |text: &str| (vec![span(text, Tone::Strong)], Vec::new());
    if ACTIONS.iter().any(|action| own(&action)) {
        lines.push(title("on this screen"));
        lines.extend(ACTIONS.iter().filter(own).map(|action| row(model, action)));
        lines.push((Vec::new(), Vec::new()));
    }
    let mut everywhere = title("everywhere");
    everywhere.1 = vec![span("arrows, page up and down, home and end move too", Tone::Quiet)];
    lines.push(everywhere);
    let everywhere = |action: &&Action| action.scope == Scope::Everywhere;
    lines.extend(ACTIONS.iter().filter(everywhere).map(|action| row(model, action)));
    lines
}

/// Key and what it does; for a verb its role and how hard it asks, or why it cannot be used now.
fn row(model: &Model, action: &Action) -> Line {
    let key = match model.keymap.shown(action) {
        Some(press) => press.to_string(),
        None => format!(":{}", action.id),
    };
    let refused = update::refusal(model, action);
    let tone = if refused.is_some() { Tone::Quiet } else { Tone::Plain };
    let mut left = vec![span(format!("{key:>10}  "), Tone::Strong)];
    if action.scope != Scope::Everywhere {
        left = vec![span(format!("{key:>5}  "), Tone::Strong)];
        left.push(span(format!("{:<9} ", action.id), tone));
    }
    left.push(span(action.help, tone));
    let asks = match action.level {
        Level::None => "at once",
        Level::Yes => "asks y",
        Level::Reason => "asks why",
        Level::Name => "asks name",
        Level::Form => "a form",
    };
    let right = match refused {
        Some(why) => vec![span(format!(" {why}"), Tone::Warn)],
        None if action.changes => {
            vec![span(format!(" {}, {asks}", action.role.word()), Tone::Quiet)]
        }
        None => Vec::new(),
    };
    (left, right)
}
