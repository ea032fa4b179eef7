//! What of providers, cards and rollouts needs a person: a line each on the overview.

use std::sync::Arc;
use std::time::Duration;

use relay_proto::admin::v1 as proto;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::providers::ProvidersView;
use crate::admin::watch::Watched;
use crate::domain::Fault;
use crate::fleet::Standing;
use crate::rollouts::GATES;
use crate::store::{Counter, Store};

/// How old what is said of providers may be while nothing about them is written: how one has done
/// changes by itself.
const PROVIDERS_AGE: Duration = Duration::from_secs(10);

/// How long a rollout that its gates took back is told of, milliseconds: a day, which somebody looks
/// at the console in. A new revision or rollout ends it sooner.
const TAKEN_BACK_MS: i64 = 24 * 60 * 60 * 1_000;

/// The providers that need a person. A relay may have thousands, with their evidence and earnings, and
/// an overview is looked at each second: they are read again when one was changed, not each time.
#[derive(Clone, Debug, Default)]
pub(in crate::admin) struct Waiting(Arc<Mutex<Option<Kept>>>);

/// What was found, and when.
#[derive(Debug)]
struct Kept {
    counter: i64,
    at: Instant,
    items: Vec<proto::Attention>,
}

impl Waiting {
    /// A line for each.
    pub(super) async fn of(
        &self,
        store: &Store,
        providers: &ProvidersView,
    ) -> Result<Vec<proto::Attention>, Fault> {
        // Before the providers are read: what is written meanwhile is seen by the next look.
        let counter = store.counter(Counter::Providers).await?;
        let mut kept = self.0.lock().await;
        if let Some(kept) = &*kept
            && kept.counter == counter
            && kept.at.elapsed() < PROVIDERS_AGE
        {
            return Ok(kept.items.clone());
        }
        let at = Instant::now();
        let items: Vec<_> = providers.view().await?.iter().filter_map(about_provider).collect();
        *kept = Some(Kept { counter, at, items: items.clone() });
        Ok(items)
    }
}

/// A provider that waits for a decision, or about which the policy decided: what a person decided is
/// known to that person.
fn about_provider(provider: &proto::Provider) -> Option<proto::Attention> {
    use proto::ProviderState::{Approved, Pending, Suspended};
    let standing = provider.reputation.as_ref().map_or("", |found| found.standing.as_str());
    let newest = provider.reputation.as_ref().and_then(|found| found.steps.first());
    let because = |step: Option<&proto::ProviderStep>| {
        step.map_or_else(String::new, |step| format!(": {}", step.reason))
    };
    let (text, since_ms) = match provider.state() {
        Pending => ("waits for approval".to_owned(), provider.state_since_ms),
        Suspended if standing == Standing::Suspended.as_str() => {
            (format!("was suspended by policy{}", because(newest)), provider.state_since_ms)
        }
        Approved if standing == Standing::Probation.as_str() => {
            let since_ms = newest.map_or(provider.state_since_ms, |step| step.at_ms);
            (format!("is on probation{}", because(newest)), since_ms)
        }
        _ => return None,
    };
    Some(proto::Attention {
        severity: proto::Severity::Warning.into(),
        text: format!("provider {} {text}", provider.name),
        screen: "providers".to_owned(),
        subject: provider.provider_id.clone(),
        since_ms,
    })
}

/// A card that is dying or gone.
pub(super) fn about_cards(host: &proto::Host) -> Vec<proto::Attention> {
    let cards = host.gpus.iter().flat_map(|gpus| &gpus.cards);
    let sick = cards.filter_map(|card| {
        let (severity, word) = match card.state() {
            proto::CardState::Lost => (proto::Severity::Critical, "is lost"),
            proto::CardState::Failing => (proto::Severity::Warning, "is failing"),
            proto::CardState::Ok | proto::CardState::Unspecified => return None,
        };
        let own = if card.uuid.is_empty() { card.index.to_string() } else { card.uuid.clone() };
        Some(proto::Attention {
            severity: severity.into(),
            text: format!("gpu {} of {} {word}: {}", card.index, host.name, card.state_reason),
            screen: "gpus".to_owned(),
            subject: format!("{}/{own}", host.host_id),
            since_ms: card.state_since_ms,
        })
    });
    sick.collect()
}

/// A rollout that waits, or that its gates took back: who rolls one back knows of it.
pub(super) fn about_rollout(model: &proto::ModelRollout, now_ms: i64) -> Option<proto::Attention> {
    let rollout = model.rollout.as_ref()?;
    let word = match rollout.state() {
        proto::RolloutState::Paused => "paused",
        proto::RolloutState::RolledBack if is_unanswered(model, rollout, now_ms) => "rolled back",
        _ => return None,
    };
    Some(proto::Attention {
        severity: proto::Severity::Warning.into(),
        text: format!(
            "rollout {} r{} {word}: {}",
            model.model, rollout.to_revision, rollout.state_reason
        ),
        screen: "models".to_owned(),
        subject: model.model.clone(),
        since_ms: rollout.state_since_ms,
    })
}

/// The gates took it back not long ago, and nobody made another revision since.
fn is_unanswered(model: &proto::ModelRollout, rollout: &proto::Rollout, now_ms: i64) -> bool {
    let by_gates = rollout.history.last().is_some_and(|note| note.by == GATES);
    let newest = model.revisions.first().map_or(0, |revision| revision.number);
    by_gates
        && newest <= rollout.to_revision
        && now_ms.saturating_sub(rollout.state_since_ms) < TAKEN_BACK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_for_a_person_is_named() {
        let provider = |state: proto::ProviderState| proto::Provider {
            provider_id: "prov_1".to_owned(),
            name: "ann".to_owned(),
            state: state.into(),
            ..proto::Provider::default()
        };
        let waits = about_provider(&provider(proto::ProviderState::Pending)).unwrap();
        assert_eq!((waits.screen.as_str(), waits.subject.as_str()), ("providers", "prov_1"));
        assert_eq!(about_provider(&provider(proto::ProviderState::Approved)), None);

        let card = |index, state: proto::CardState| proto::Card {
            index,
            uuid: format!("GPU-{index}"),
            state: state.into(),
            state_reason: "device fell off the bus".to_owned(),
            ..proto::Card::default()
        };
        let cards = vec![
            card(0, proto::CardState::Ok),
            card(1, proto::CardState::Failing),
            card(2, proto::CardState::Lost),
        ];
        let host = proto::Host {
            host_id: "local".to_owned(),
            name: "rack-1".to_owned(),
            gpus: Some(proto::Gpus { cards, ..proto::Gpus::default() }),
            ..proto::Host::default()
        };
        let told: Vec<_> = about_cards(&host).into_iter().map(|item| item.subject).collect();
        assert_eq!(told, ["local/GPU-1", "local/GPU-2"]);
    }

    #[test]
    fn what_the_policy_decided_about_a_provider_is_told_and_what_a_person_decided_is_not() {
        let provider = |state: proto::ProviderState, standing: Standing| proto::Provider {
            name: "ann".to_owned(),
            state: state.into(),
            state_since_ms: 7,
            reputation: Some(proto::ProviderReputation {
                standing: standing.to_string(),
                steps: vec![proto::ProviderStep {
                    at_ms: 9,
                    to: standing.to_string(),
                    score: "honesty".to_owned(),
                    reason: "honesty at least 0.410".to_owned(),
                }],
                ..proto::ProviderReputation::default()
            }),
            ..proto::Provider::default()
        };
        use proto::ProviderState::{Approved, Suspended};
        let told = |state, standing| {
            about_provider(&provider(state, standing)).map(|item| (item.text, item.since_ms))
        };
        assert_eq!(
            told(Suspended, Standing::Suspended),
            Some(("provider ann was suspended by policy: honesty at least 0.410".to_owned(), 7))
        );
        assert_eq!(
            told(Approved, Standing::Probation),
            Some(("provider ann is on probation: honesty at least 0.410".to_owned(), 9))
        );
        assert_eq!(told(Suspended, Standing::Good), None);
        assert_eq!(told(Suspended, Standing::Probation), None);
        assert_eq!(told(Approved, Standing::Good), None);
    }

    #[test]
    fn a_rollout_is_told_of_while_it_waits_and_after_its_gates_took_it_back() {
        let model = |state: proto::RolloutState, by: &str, newest: u32| proto::ModelRollout {
            model: "llama".to_owned(),
            revisions: vec![proto::Revision { number: newest, ..proto::Revision::default() }],
            rollout: Some(proto::Rollout {
                to_revision: 2,
                state: state.into(),
                state_reason: "errors".to_owned(),
                history: vec![proto::RolloutNote {
                    by: by.to_owned(),
                    ..proto::RolloutNote::default()
                }],
                ..proto::Rollout::default()
            }),
            ..proto::ModelRollout::default()
        };
        use proto::RolloutState::{Completed, Paused, RolledBack, Running};
        let told = |state, by, newest, now_ms| {
            about_rollout(&model(state, by, newest), now_ms).map(|item| item.text)
        };
        let text = |word: &str| Some(format!("rollout llama r2 {word}: errors"));
        assert_eq!(told(Paused, GATES, 2, 0), text("paused"));
        assert_eq!(told(Paused, "jo", 2, 0), text("paused"));
        assert_eq!(told(RolledBack, GATES, 2, 0), text("rolled back"));
        assert_eq!(told(RolledBack, "jo", 2, 0), None, "jo knows");
        assert_eq!(told(RolledBack, GATES, 3, 0), None, "somebody made another");
        assert_eq!(told(RolledBack, GATES, 2, TAKEN_BACK_MS), None);
        assert_eq!(told(Running, GATES, 2, 0), None);
        assert_eq!(told(Completed, GATES, 2, 0), None);
        assert_eq!(about_rollout(&proto::ModelRollout::default(), 0), None);
    }
}
