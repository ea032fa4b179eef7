//! What can happen: the closed list of kinds.

use std::fmt;

/// What happened. Append-only: words are stored and matched by prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// relayd serves.
    RelayStarted,
    /// relayd drains and ends.
    RelayStopping,
    /// A backend was added.
    BackendAdded,
    /// A backend's description changed.
    BackendChanged,
    /// A backend was removed.
    BackendRemoved,
    /// A backend began to serve.
    BackendUp,
    /// A backend loads its model.
    BackendLoading,
    /// A backend ceased to serve.
    BackendDown,
    /// A backend takes no new requests.
    BackendCordoned,
    /// A cordon or drain ended.
    BackendUncordoned,
    /// A backend is being emptied.
    BackendDraining,
    /// Nothing runs on a draining backend any more.
    BackendDrained,
    /// What outlived the bound of a drain was ended.
    BackendCut,
    /// A backend got another weight.
    BackendWeighted,
    /// A backend's breaker opened.
    BreakerOpened,
    /// A backend's breaker closed.
    BreakerClosed,
    /// A GPU, or the driver of a host's GPUs, does not answer any more.
    GpuLost,
    /// A GPU answers, and its driver says that something is wrong with it.
    GpuFailing,
    /// A GPU, or the driver, is well again.
    GpuBack,
    /// A provider's key was let in for the first time.
    ProviderJoined,
    /// A provider's agent is connected.
    ProviderConnected,
    /// A provider's agent is not connected any more.
    ProviderDisconnected,
    /// A provider was examined and waits for a decision.
    ProviderPending,
    /// Something about a provider changed.
    ProviderChanged,
    /// A provider serves from now on.
    ProviderApproved,
    /// A provider was refused.
    ProviderRejected,
    /// A provider serves no more for now.
    ProviderSuspended,
    /// A provider's scores put it on probation: it gets few requests.
    ProviderProbation,
    /// A provider's scores recovered.
    ProviderRestored,
    /// A provider went.
    ProviderLeft,
    /// What a provider's agent shall run changed.
    DeploymentChanged,
    /// A provider's agent will not run a deployment.
    DeploymentRefused,
    /// An invitation for providers was made.
    InvitationCreated,
    /// An invitation was withdrawn.
    InvitationWithdrawn,
    /// A revision of a model was made.
    RevisionCreated,
    /// A rollout began.
    RolloutStarted,
    /// A rollout came to its next step.
    RolloutAdvanced,
    /// A rollout waits for a person.
    RolloutPaused,
    /// A rollout goes on.
    RolloutResumed,
    /// A new revision serves all.
    RolloutCompleted,
    /// A new revision serves no more.
    RolloutRolledBack,
    /// A customer was made.
    CustomerCreated,
    /// A customer was changed.
    CustomerUpdated,
    /// Credit was added or taken back.
    CustomerCredited,
    /// A key was made.
    KeyCreated,
    /// A key was changed.
    KeyUpdated,
    /// A key was revoked.
    KeyRevoked,
    /// A revoked key was let in again.
    KeyUnrevoked,
    /// A key was deleted.
    KeyDeleted,
    /// A key's budget was raised.
    KeyToppedUp,
    /// The catalogue changed.
    CatalogueApplied,
    /// Another policy chooses among a model's backends.
    ModelPolicy,
    /// A model's requests run on more or fewer backends.
    ModelExecution,
    /// An operator was made.
    OperatorCreated,
    /// An operator's token was withdrawn.
    OperatorRevoked,
    /// A caller was refused with 429.
    RateLimited,
    /// Requests were refused for want of capacity.
    CapacityShed,
    /// A request failed by our fault.
    RequestFailed,
    /// An invariant of the ledger does not hold.
    LedgerBreach,
    /// The ledger was checked.
    LedgerChecked,
    /// Holds of a process that died were resolved.
    HoldsRecovered,
    /// The store could not be reached.
    StoreUnavailable,
    /// The store can be reached again.
    StoreRecovered,
    /// Events were lost because the store was too slow.
    EventsLost,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 64] = [
        Self::RelayStarted,
        Self::RelayStopping,
        Self::BackendAdded,
        Self::BackendChanged,
        Self::BackendRemoved,
        Self::BackendUp,
        Self::BackendLoading,
        Self::BackendDown,
        Self::BackendCordoned,
        Self::BackendUncordoned,
        Self::BackendDraining,
        Self::BackendDrained,
        Self::BackendCut,
        Self::BackendWeighted,
        Self::BreakerOpened,
        Self::BreakerClosed,
        Self::GpuLost,
        Self::GpuFailing,
        Self::GpuBack,
        Self::ProviderJoined,
        Self::ProviderConnected,
        Self::ProviderDisconnected,
        Self::ProviderPending,
        Self::ProviderChanged,
        Self::ProviderApproved,
        Self::ProviderRejected,
        Self::ProviderSuspended,
        Self::ProviderProbation,
        Self::ProviderRestored,
        Self::ProviderLeft,
        Self::DeploymentChanged,
        Self::DeploymentRefused,
        Self::InvitationCreated,
        Self::InvitationWithdrawn,
        Self::RevisionCreated,
        Self::RolloutStarted,
        Self::RolloutAdvanced,
        Self::RolloutPaused,
        Self::RolloutResumed,
        Self::RolloutCompleted,
        Self::RolloutRolledBack,
        Self::CustomerCreated,
        Self::CustomerUpdated,
        Self::CustomerCredited,
        Self::KeyCreated,
        Self::KeyUpdated,
        Self::KeyRevoked,
        Self::KeyUnrevoked,
        Self::KeyDeleted,
        Self::KeyToppedUp,
        Self::CatalogueApplied,
        Self::ModelPolicy,
        Self::ModelExecution,
        Self::OperatorCreated,
        Self::OperatorRevoked,
        Self::RateLimited,
        Self::CapacityShed,
        Self::RequestFailed,
        Self::LedgerBreach,
        Self::LedgerChecked,
        Self::HoldsRecovered,
        Self::StoreUnavailable,
        Self::StoreRecovered,
        Self::EventsLost,
    ];

    /// The dotted word, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RelayStarted => "relay.started",
            Self::RelayStopping => "relay.stopping",
            Self::BackendAdded => "backend.added",
            Self::BackendChanged => "backend.changed",
            Self::BackendRemoved => "backend.removed",
            Self::BackendUp => "backend.up",
            Self::BackendLoading => "backend.loading",
            Self::BackendDown => "backend.down",
            Self::BackendCordoned => "backend.cordoned",
            Self::BackendUncordoned => "backend.uncordoned",
            Self::BackendDraining => "backend.draining",
            Self::BackendDrained => "backend.drained",
            Self::BackendCut => "backend.cut",
            Self::BackendWeighted => "backend.weighted",
            Self::BreakerOpened => "breaker.opened",
            Self::BreakerClosed => "breaker.closed",
            Self::GpuLost => "gpu.lost",
            Self::GpuFailing => "gpu.failing",
            Self::GpuBack => "gpu.back",
            Self::ProviderJoined => "provider.joined",
            Self::ProviderConnected => "provider.connected",
            Self::ProviderDisconnected => "provider.disconnected",
            Self::ProviderPending => "provider.pending",
            Self::ProviderChanged => "provider.changed",
            Self::ProviderApproved => "provider.approved",
            Self::ProviderRejected => "provider.rejected",
            Self::ProviderSuspended => "provider.suspended",
            Self::ProviderProbation => "provider.probation",
            Self::ProviderRestored => "provider.restored",
            Self::ProviderLeft => "provider.left",
            Self::DeploymentChanged => "deployment.changed",
            Self::DeploymentRefused => "deployment.refused",
            Self::InvitationCreated => "invitation.created",
            Self::InvitationWithdrawn => "invitation.withdrawn",
            Self::RevisionCreated => "revision.created",
            Self::RolloutStarted => "rollout.started",
            Self::RolloutAdvanced => "rollout.advanced",
            Self::RolloutPaused => "rollout.paused",
            Self::RolloutResumed => "rollout.resumed",
            Self::RolloutCompleted => "rollout.completed",
            Self::RolloutRolledBack => "rollout.rolled_back",
            Self::CustomerCreated => "customer.created",
            Self::CustomerUpdated => "customer.updated",
            Self::CustomerCredited => "customer.credited",
            Self::KeyCreated => "key.created",
            Self::KeyUpdated => "key.updated",
            Self::KeyRevoked => "key.revoked",
            Self::KeyUnrevoked => "key.unrevoked",
            Self::KeyDeleted => "key.deleted",
            Self::KeyToppedUp => "key.topped_up",
            Self::CatalogueApplied => "catalogue.applied",
            Self::ModelPolicy => "model.policy_changed",
            Self::ModelExecution => "model.execution_changed",
            Self::OperatorCreated => "operator.created",
            Self::OperatorRevoked => "operator.revoked",
            Self::RateLimited => "rate.limited",
            Self::CapacityShed => "capacity.shed",
            Self::RequestFailed => "request.failed",
            Self::LedgerBreach => "ledger.breach",
            Self::LedgerChecked => "ledger.checked",
            Self::HoldsRecovered => "holds.recovered",
            Self::StoreUnavailable => "store.unavailable",
            Self::StoreRecovered => "store.recovered",
            Self::EventsLost => "events.lost",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_dotted_and_differ() {
        let words: HashSet<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), EventKind::ALL.len());
        for word in words {
            let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
            let parts: Vec<_> = word.split('.').collect();
            assert_eq!(parts.len(), 2, "{word}");
            assert!(parts.iter().all(|part| !part.is_empty() && part.bytes().all(plain)), "{word}");
        }
    }
}
