//! Decisions about providers: why one may not be taken, what it does, and the form of what one may do.

use super::acts::call;
use super::dialogs::{open, text};
use crate::format;
use crate::keymap::Act;
use crate::model::Model;
use crate::model::call::{Call, ProviderBounds, Verb};
use crate::model::overlay::Purpose;
use crate::model::providers::{Provider, ProviderState, Standing};

/// What stands in the form for a provider that may serve all that it offers.
const ALL: &str = "all";

/// Why a provider cannot be decided about so; the daemon has the last word.
pub(super) fn refusal(provider: &Provider, act: Act) -> Option<String> {
    use ProviderState::{Approved, Joining, Left, Pending, Probing, Rejected, Suspended};
    let state = provider.state;
    match (act, state) {
        (Act::Approve, Joining | Probing) => Some("its evidence is not complete yet".to_owned()),
        (Act::Approve, Pending | Suspended) | (Act::Suspend, Approved) => None,
        (Act::Reject, Joining | Probing | Pending | Suspended) => None,
        (Act::Reject, Approved) => Some("it is approved: suspend it first".to_owned()),
        (Act::Reconsider, Rejected) => None,
        (Act::Approve, Rejected) => Some("it was rejected: reconsider it first".to_owned()),
        (Act::Approve | Act::Reject | Act::Suspend | Act::Bound, Left) => {
            Some("it has left".to_owned())
        }
        (Act::Bound, _) => None,
        _ => Some(format!("{} is {}", provider.name, state.word().to_lowercase())),
    }
}

/// A decision about the selected provider.
pub(super) fn decision(model: &mut Model, verb: Verb) -> Option<Call> {
    let provider = model.providers.selected()?;
    let (id, name, version) = (provider.id.clone(), provider.name.clone(), provider.version);
    Some(call(model, verb, id, name, version))
}

/// What a decision does, and to how much.
pub(super) fn consequences(model: &Model, verb: &Verb) -> Vec<String> {
    let Some(provider) = model.providers.selected() else { return Vec::new() };
    let mut lines = Vec::new();
    match verb {
        Verb::Approve => {
            let cards = model.cards_of(&provider.id);
            let with = if cards.is_empty() { String::new() } else { format!(" with {cards}") };
            lines.push(format!("Its engines serve {}{with} at once.", provider.model_line()));
            let (all, failed) = provider.measured();
            let speed = provider.fastest_per_ks().map_or_else(|| "-".to_owned(), format::rate);
            lines.push(format!("Measured {speed} tok/s, {failed} of {all} requests failed."));
            lines.extend(provider.missing.iter().map(|missing| format!("! {missing}")));
            // Who was put out by the policy begins anew.
            let fell = provider
                .reputation
                .steps
                .first()
                .filter(|_| provider.reputation.standing == Standing::Suspended);
            lines.extend(fell.map(|step| format!("! {}; its standing begins anew.", step.reason)));
            lines.push("Can be undone with S.".to_owned());
        }
        Verb::Reject => {
            lines.push("Its agent is not let in any more; it sees the reason.".to_owned());
            lines.push(running(provider));
            lines.push("Can be undone with u.".to_owned());
        }
        Verb::Suspend => {
            lines.push("Its engines serve no more; its agent may stay connected.".to_owned());
            lines.push(running(provider));
            lines.push("Can be undone with a.".to_owned());
        }
        _ => {
            lines.push("Its agent may dial in and is examined again.".to_owned());
            lines.push("Nothing is served before it is approved.".to_owned());
        }
    }
    lines
}

fn running(provider: &Provider) -> String {
    format!("Now {} running of {} slots.", provider.running(), provider.slots())
}

/// Opens the form of what the selected provider may do, filled with what it may now.
pub(super) fn bounds(model: &mut Model) {
    let Some(provider) = model.providers.selected().cloned() else { return };
    let models = match provider.models_allowed.as_slice() {
        [] => ALL.to_owned(),
        some => some.join(","),
    };
    let floor = match provider.price_floor_ncr {
        0 => String::new(),
        some => format::amount(some),
    };
    let lines = vec![
        format!("It offers {}. {}", provider.model_line(), running(&provider)),
        "From the next request on; what runs goes on. Can be undone with e.".to_owned(),
    ];
    let fields = vec![
        text("models", "a,b; all = what it offers", &models),
        text(
            "at once",
            "of each engine, 0 = what it offers",
            &provider.max_concurrency.to_string(),
        ),
        text("floor USD", "of a million answer tokens, empty = any", &floor),
        text("reason", "", ""),
    ];
    let title = format!("Limits of {}", provider.name);
    let purpose = Purpose::ProviderBounds {
        provider_id: provider.id,
        name: provider.name,
        version: provider.version,
        now: ProviderBounds {
            max_concurrency: provider.max_concurrency,
            models: provider.models_allowed,
            price_floor_ncr: provider.price_floor_ncr,
        },
    };
    open(model, purpose, title, lines, fields);
}

/// What the filled form asks for.
pub(super) fn bounds_of<'a>(
    value: &impl Fn(&str) -> &'a str,
    now: &ProviderBounds,
) -> Result<ProviderBounds, String> {
    let models: Vec<String> = match value("models") {
        "" => return Err("name the models, or all".to_owned()),
        ALL => Vec::new(),
        some => some.split(',').map(|model| model.trim().to_owned()).collect(),
    };
    if models.iter().any(String::is_empty) {
        return Err("models are names with a comma between them, or all".to_owned());
    }
    let bounds = ProviderBounds {
        max_concurrency: match value("at once") {
            "" => 0,
            typed => typed.parse().map_err(|_| "at once is a number of requests")?,
        },
        models,
        price_floor_ncr: match value("floor USD") {
            "" => 0,
            typed => format::parse_usd(typed).ok_or("the floor is not an amount")?,
        },
    };
    if bounds == *now {
        return Err("that is how it is already".to_owned());
    }
    Ok(bounds)
}
