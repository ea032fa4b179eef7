//! What of providers, cards and rollouts needs a person: a line each on the overview.

use relay_proto::admin::v1 as proto;

/// A provider whose evidence is complete waits for a decision.
pub(super) fn about_provider(provider: &proto::Provider) -> Option<proto::Attention> {
    (provider.state() == proto::ProviderState::Pending).then(|| proto::Attention {
        severity: proto::Severity::Warning.into(),
        text: format!("provider {} waits for approval", provider.name),
        screen: "providers".to_owned(),
        subject: provider.provider_id.clone(),
        since_ms: provider.state_since_ms,
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

/// A rollout that waits.
pub(super) fn about_rollout(model: &proto::ModelRollout) -> Option<proto::Attention> {
    let rollout = model.rollout.as_ref()?;
    (rollout.state() == proto::RolloutState::Paused).then(|| proto::Attention {
        severity: proto::Severity::Warning.into(),
        text: format!(
            "rollout {} r{} paused: {}",
            model.model, rollout.to_revision, rollout.state_reason
        ),
        screen: "models".to_owned(),
        subject: model.model.clone(),
        since_ms: rollout.state_since_ms,
    })
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

        let model = |state: proto::RolloutState| proto::ModelRollout {
            model: "llama".to_owned(),
            rollout: Some(proto::Rollout { state: state.into(), ..proto::Rollout::default() }),
            ..proto::ModelRollout::default()
        };
        assert!(about_rollout(&model(proto::RolloutState::Paused)).is_some());
        assert_eq!(about_rollout(&model(proto::RolloutState::Running)), None);
        assert_eq!(about_rollout(&proto::ModelRollout::default()), None);
    }
}
