//! Decisions about rollouts: why one may not be taken, and what it does.

use super::acts::{busy, call};
use crate::format;
use crate::keymap::{Act, Level};
use crate::model::Model;
use crate::model::call::{Call, Verb};
use crate::model::rollouts::{ModelRow, Rollout, RolloutState, Verdict};

/// All requests.
const WHOLE_PERMILLE: u32 = 1_000;

/// Why an action on the selected model cannot be used now; the daemon has the last word.
pub(super) fn refusal(model: &Model, act: Act) -> Option<String> {
    let Some(row) = model.models.selected() else {
        return Some("no model is selected".to_owned());
    };
    let open = row.open();
    if act == Act::Revise {
        return busy(model, &row.name);
    }
    if act == Act::StartRollout {
        return busy(model, &row.name).or_else(|| match (open, row.candidate()) {
            (Some(rollout), _) => Some(format!("a rollout to revision {} is open", rollout.to)),
            (None, None) => Some("it has no other revision; e makes one".to_owned()),
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
