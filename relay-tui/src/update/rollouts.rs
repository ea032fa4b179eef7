//! Decisions about rollouts: why one may not be taken, what it does, and the form of a new rollout.

use super::acts::{busy, call};
use super::dialogs::{open, text};
use crate::format;
use crate::keymap::{Act, Level};
use crate::model::Model;
use crate::model::call::{Call, RolloutStart, Verb};
use crate::model::overlay::Purpose;
use crate::model::rollouts::{ModelRow, Rollout, RolloutState, Verdict};

/// All requests.
const WHOLE_PERMILLE: u32 = 1_000;

/// Why an action on the selected model cannot be used now; the daemon has the last word.
pub(super) fn refusal(model: &Model, act: Act) -> Option<String> {
    let Some(row) = model.models.selected() else {
        return Some("no model is selected".to_owned());
    };
    let open = row.open();
    if act == Act::StartRollout {
        return busy(model, &row.name).or_else(|| match (open, row.candidate()) {
            (Some(rollout), _) => Some(format!("a rollout to revision {} is open", rollout.to)),
            (None, None) => {
                Some("it has no other revision; relayd admin rollouts revise makes one".to_owned())
            }
            (None, Some(_)) => None,
        });
    }
    let Some(rollout) = open else {
        return Some(format!("{} has no open rollout", row.name));
    };
    busy(model, &rollout.id).or_else(|| match (act, rollout.state) {
        (Act::Hold, RolloutState::Paused) => Some("it is paused already".to_owned()),
        (Act::Resume, RolloutState::Running) => Some("it is not paused".to_owned()),
        _ => None,
    })
}

/// A decision about the open rollout of the selected model.
pub(super) fn decision(model: &mut Model, verb: Verb) -> Option<Call> {
    let row = model.models.selected()?;
    let rollout = row.open()?;
    let (id, name, version) = (rollout.id.clone(), row.name.clone(), rollout.version);
    Some(call(model, verb, id, name, version))
}

/// The last step asks for more: it leaves nothing to compare with.
pub(super) fn advance_level(model: &Model) -> Level {
    let next = model.models.selected().and_then(ModelRow::open).map(Rollout::next_share_permille);
    match next {
        Some(Some(share)) if share < WHOLE_PERMILLE => Level::Yes,
        _ => Level::Name,
    }
}

/// What will happen, to how much traffic, and whether it can be undone.
pub(super) fn consequences(model: &Model, verb: &Verb) -> Vec<String> {
    let Some(row) = model.models.selected() else { return Vec::new() };
    let Some(rollout) = row.open() else { return Vec::new() };
    let (from, to) = (rollout.from, rollout.to);
    let now = percent(rollout.share_permille);
    let traffic =
        format!("Now {} req/s, {now} of them on r{to}.", format::rate(row.requests_per_ks()));
    let waits = rollout.state == RolloutState::Paused && !rollout.reason.is_empty();
    let failing = rollout
        .gates
        .iter()
        .filter(|gate| gate.verdict == Verdict::Failed)
        .map(|gate| gate.words.as_str())
        .chain(waits.then_some(rollout.reason.as_str()))
        .map(|words| format!("! {words}"));
    let mut lines = Vec::new();
    match verb {
        Verb::Advance => {
            lines.push(match rollout.next_share_permille() {
                Some(share) => format!("r{to} gets {} of the requests, not {now}.", percent(share)),
                None => format!("It completes: r{to} is live and serves all, r{from} nothing."),
            });
            lines.push("The gates are not waited for.".to_owned());
            lines.push(traffic);
            lines.extend(failing);
            lines.push(match rollout.next_share_permille() {
                Some(_) => "Can be undone with X.".to_owned(),
                None => "Undone only by another rollout.".to_owned(),
            });
        }
        Verb::RollBack => {
            lines.push(format!("r{from} serves all from now on; what runs on r{to} ends there."));
            lines.push(traffic);
            lines.push("It cannot be resumed; another rollout may be started.".to_owned());
        }
        _ => {
            let window = format::age(i64::try_from(rollout.window_ms).unwrap_or(i64::MAX));
            lines.push(format!("The step of {now} begins anew and lasts {window} at least."));
            lines.extend(failing);
            lines.push("Can be undone with h.".to_owned());
        }
    }
    lines
}

fn percent(permille: u32) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        tenth => format!("{}.{tenth}%", permille / 10),
    }
}

/// Opens the form of a new rollout of the selected model.
pub(super) fn start(model: &mut Model) {
    let Some(row) = model.models.selected().cloned() else { return };
    let candidate = row.candidate().map_or_else(String::new, |number| number.to_string());
    let known: Vec<String> = row
        .revisions
        .iter()
        .filter(|revision| revision.number != row.live)
        .map(|revision| format!("r{}", revision.number))
        .collect();
    let lines = vec![
        format!("r{} is live; {} can follow.", row.live, known.join(", ")),
        "A gate that fails rolls it back by itself.".to_owned(),
    ];
    let fields = vec![
        text("revision", "its number", &candidate),
        text("steps %", "empty = 1,5,25,50,100", ""),
        text("window s", "least time of a step, empty = 600", ""),
        text("requests", "least of each revision, empty = 200", ""),
        text("shadow %", "copies nobody sees or pays", ""),
        text("reason", "", ""),
    ];
    let title = format!("Start a rollout of {}", row.name);
    let purpose = Purpose::StartRollout { model: row.name, version: row.version };
    open(model, purpose, title, lines, fields);
}

/// What the filled form asks for.
pub(super) fn start_of<'a>(value: &impl Fn(&str) -> &'a str) -> Result<RolloutStart, String> {
    let number = |label: &str| match value(label) {
        "" => Ok(0),
        typed => typed.parse::<u32>().map_err(|_| format!("{label} is not a whole number")),
    };
    let revision = number("revision")?;
    if revision == 0 {
        return Err("the revision is a number from 1".to_owned());
    }
    let steps_permille = value("steps %")
        .split(',')
        .map(str::trim)
        .filter(|step| !step.is_empty())
        .map(permille)
        .collect::<Result<Vec<_>, _>>()?;
    if steps_permille.windows(2).any(|pair| pair[0] >= pair[1])
        || steps_permille.last().is_some_and(|last| *last != WHOLE_PERMILLE)
    {
        return Err("steps grow, and the last is 100".to_owned());
    }
    Ok(RolloutStart {
        revision,
        steps_permille,
        window_ms: u64::from(number("window s")?) * 1_000,
        min_samples: number("requests")?,
        shadow_permille: match value("shadow %") {
            "" => 0,
            typed => permille(typed)?,
        },
    })
}

/// A percentage with at most one decimal, in thousandths.
fn permille(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is not a percentage with at most one decimal");
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(rest) || rest.len() > 1 {
        return Err(wrong());
    }
    let permille: u32 = format!("{whole}{rest:0<1}").parse().map_err(|_| wrong())?;
    if permille > WHOLE_PERMILLE { Err(wrong()) } else { Ok(permille) }
}
