//! `:`: go and act by name.
//!
//! `noun` goes, `verb` acts on the selected row, `verb noun` or `noun words` acts or goes there and
//! filters. The rows are made from the table of actions, the contexts, the themes and what is
//! loaded; each says its key, its role and why it cannot be used now.

use crate::keymap::{ACTIONS, Act, Action, Scope};
use crate::model::list::List;
use crate::model::{Model, Screen, ThemeName};
use crate::msg::Cmd;
use crate::update;
use crate::zone::Zone;

/// Rows above the line.
pub(crate) const MATCHES_MAX: usize = 8;
/// Choices that are remembered.
const RECENT_MAX: usize = 16;

/// What a row of the palette does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Do(Act),
    /// An action on a row of its screen.
    DoOn(Act, String),
    Context(String),
    Theme(ThemeName),
    /// Times in the zone of this machine, or in UTC.
    Zone {
        local: bool,
    },
    /// A screen, narrowed.
    Narrow(Screen, String),
}

/// A row of the palette.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) title: String,
    pub(crate) help: String,
    pub(crate) key: String,
    /// Why it cannot be used now.
    pub(crate) refused: Option<String>,
    pub(crate) choice: Choice,
    score: u32,
}

/// The best matches of what was typed.
pub(crate) fn matches(model: &Model, typed: &str) -> Vec<Match> {
    let typed = typed.trim_start();
    let mut found = Vec::new();
    for action in ACTIONS {
        plain(model, action, typed, &mut found);
    }
    for context in &model.contexts {
        let title = format!("ctx {}", context.name);
        if let Some(score) = score(typed, &title) {
            let here = context.name == model.context.name;
            let choice = Choice::Context(context.name.clone());
            let refused = here.then(|| "you are here".to_owned());
            push(
                model,
                &mut found,
                title,
                context.addr.clone(),
                String::new(),
                refused,
                choice,
                score,
            );
        }
    }
    for theme in ThemeName::ALL {
        let title = format!("theme {}", theme.word());
        if let Some(score) = score(typed, &title) {
            let help = "colours".to_owned();
            push(model, &mut found, title, help, String::new(), None, Choice::Theme(theme), score);
        }
    }
    for (local, title, help) in
        [(true, "tz local", "times as on this machine"), (false, "tz utc", "times in UTC")]
    {
        if let Some(score) = score(typed, title) {
            let choice = Choice::Zone { local };
            let (title, help) = (title.to_owned(), help.to_owned());
            push(model, &mut found, title, help, String::new(), None, choice, score);
        }
    }
    with_words(model, typed, &mut found);
    found.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.title.cmp(&b.title)));
    found.truncate(MATCHES_MAX);
    found
}

#[expect(clippy::too_many_arguments, reason = "the fields of one row")]
fn push(
    model: &Model,
    found: &mut Vec<Match>,
    title: String,
    help: String,
    key: String,
    refused: Option<String>,
    choice: Choice,
    score: u32,
) {
    let recent = model.recent.iter().position(|recent| *recent == title);
    let bonus = recent.map_or(0, |at| u32::try_from(RECENT_MAX.saturating_sub(at)).unwrap_or(0));
    found.push(Match { title, help, key, refused, choice, score: score + bonus });
}

fn plain(model: &Model, action: &Action, typed: &str, found: &mut Vec<Match>) {
    // Moving about is not worth a name.
    let moves = matches!(
        action.act,
        Act::Up
            | Act::Down
            | Act::HalfUp
            | Act::HalfDown
            | Act::First
            | Act::Last
            | Act::Back
            | Act::Open
            | Act::NextPanel
            | Act::PreviousPanel
            | Act::Palette
    );
    if moves {
        return;
    }
    let names = std::iter::once(action.id).chain(action.aliases.iter().copied());
    let Some(score) = names.filter_map(|name| score(typed, name)).max() else { return };
    let key = model.keymap.shown(action).map_or_else(String::new, |press| press.to_string());
    let elsewhere = match action.scope {
        Scope::On(screen) if screen != model.screen => {
            Some(format!("on {} ({})", screen.title(), screen.number()))
        }
        _ => None,
    };
    let refused = elsewhere.or_else(|| update::refusal(model, action));
    let help = action.help.to_owned();
    push(model, found, action.id.to_owned(), help, key, refused, Choice::Do(action.act), score);
}

/// `keys acme`, `key acme`, `cordon vllm-a`.
fn with_words(model: &Model, typed: &str, found: &mut Vec<Match>) {
    let Some((head, rest)) = typed.split_once(' ') else { return };
    let rest = rest.trim();
    if rest.is_empty() {
        return;
    }
    for screen in Screen::ALL {
        if screen != Screen::Overview && screen.word().starts_with(head) {
            let title = format!("{} {rest}", screen.word());
            let choice = Choice::Narrow(screen, rest.to_owned());
            let help = "go there and filter".to_owned();
            push(model, found, title, help, screen.number().to_string(), None, choice, 90);
        }
    }
    for action in ACTIONS.iter().filter(|action| action.changes && action.id.starts_with(head)) {
        let Scope::On(screen) = action.scope else { continue };
        // What is made has no name yet.
        let list = if action.act == Act::NewKey { None } else { model.list(screen.list()) };
        let names = list.map_or_else(Vec::new, List::names);
        let names = names.into_iter().filter(|name| name.contains(rest)).take(MATCHES_MAX);
        for name in names {
            let title = format!("{} {name}", action.id);
            let choice = Choice::DoOn(action.act, name.to_owned());
            let refused = (model.role() < action.role)
                .then(|| format!("needs the role {}", action.role.word()));
            let help = action.help.to_owned();
            push(model, found, title, help, String::new(), refused, choice, 95);
        }
    }
}

/// How well a name fits: whole, beginning, inside, letters in order; `None` when not at all.
fn score(typed: &str, name: &str) -> Option<u32> {
    let typed = typed.trim_end().to_lowercase();
    if typed.is_empty() {
        return Some(1);
    }
    if typed == name {
        return Some(100);
    }
    if name.starts_with(&typed) {
        return Some(80);
    }
    if name.contains(&typed) {
        return Some(50);
    }
    let mut letters = name.chars();
    typed.chars().all(|c| letters.any(|letter| letter == c)).then_some(20)
}

/// Does what was chosen.
pub(crate) fn run(model: &mut Model, choice: &Choice) -> Vec<Cmd> {
    let title = match choice {
        Choice::Do(act) => Action::of(*act).id.to_owned(),
        Choice::DoOn(act, name) => format!("{} {name}", Action::of(*act).id),
        Choice::Context(name) => format!("ctx {name}"),
        Choice::Theme(theme) => format!("theme {}", theme.word()),
        Choice::Zone { local } => format!("tz {}", if *local { "local" } else { "utc" }),
        Choice::Narrow(screen, words) => format!("{} {words}", screen.word()),
    };
    model.recent.retain(|recent| *recent != title);
    model.recent.insert(0, title);
    model.recent.truncate(RECENT_MAX);
    match choice {
        Choice::Do(act) => {
            if let Scope::On(screen) = Action::of(*act).scope {
                model.screen = screen;
            }
            update::perform(model, *act)
        }
        Choice::DoOn(act, name) => {
            if let Scope::On(screen) = Action::of(*act).scope {
                model.screen = screen;
            }
            if update::select_named(model, model.screen, name) {
                update::perform(model, *act)
            } else {
                Vec::new()
            }
        }
        Choice::Context(name) => vec![Cmd::Switch { context: name.clone() }],
        Choice::Theme(theme) => {
            model.theme = *theme;
            vec![Cmd::Redraw]
        }
        Choice::Zone { local } => {
            model.zone = if *local { model.local_zone.clone() } else { Zone::default() };
            Vec::new()
        }
        Choice::Narrow(screen, words) => {
            update::to(model, *screen);
            if let Some(list) = model.list_mut(screen.list()) {
                list.set_filter(words);
            }
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_goes_from_whole_to_scattered() {
        let scores: Vec<_> = ["cordon", "cord", "ordo", "cdn", "xyz", ""]
            .iter()
            .map(|typed| score(typed, "cordon"))
            .collect();
        assert_eq!(scores, [Some(100), Some(80), Some(50), Some(20), None, Some(1)]);
    }
}
