//! A person's decisions about a provider, and the backends that follow from them.

use super::{Evidence, Provider, Providers, Record, now_ms};
use crate::domain::{BackendId, Code, Fault, ProviderId, ProviderState};
use crate::engines::AgentAddress;
use crate::events::{EventKind, Severity};
use crate::store::{
    BackendModel, BackendRow, Change, IntakeRow, OfferRow, ProviderEdit, ProviderRow, StoreError,
    Trail, Versioned,
};

/// Share of requests that a provider's engine begins with, as any backend's.
const WEIGHT: u32 = 100;

/// Requests that may wait for a provider's engine.
const QUEUE: u32 = 256;

/// How often a decision is made anew when the provider changed meanwhile.
const TRIES: u32 = 5;

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Its engines serve from now on.
    Approve,
    /// It is not wanted; its agent is not let in any more.
    Reject,
    /// It serves no more for now.
    Suspend,
    /// It goes. Should it ever come back, it joins anew.
    Remove,
    /// A rejected one is looked at again.
    Reconsider,
}

impl Decision {
    /// The state that it leads to.
    #[must_use]
    pub const fn leads_to(self) -> ProviderState {
        match self {
            Self::Approve => ProviderState::Approved,
            Self::Reject => ProviderState::Rejected,
            Self::Suspend => ProviderState::Suspended,
            Self::Remove => ProviderState::Left,
            Self::Reconsider => ProviderState::Probing,
        }
    }

    /// Whether it is made on what the provider says of itself. What only takes something from it
    /// goes by its state: it cannot be put off by saying something else all the time.
    #[must_use]
    pub const fn is_of_a_version(self) -> bool {
        matches!(self, Self::Approve)
    }

    const fn told(self) -> (EventKind, Severity) {
        match self {
            Self::Approve => (EventKind::ProviderApproved, Severity::Info),
            Self::Reject => (EventKind::ProviderRejected, Severity::Warning),
            Self::Suspend => (EventKind::ProviderSuspended, Severity::Warning),
            Self::Remove => (EventKind::ProviderLeft, Severity::Info),
            Self::Reconsider => (EventKind::ProviderChanged, Severity::Info),
        }
    }
}

impl Providers {
    /// Decides about a provider: its state, its backends and the record of the decision change
    /// together or not at all. The version is looked at where [`Decision::is_of_a_version`].
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`]; [`Code::FailedPrecondition`] when its state
    /// does not allow it, with what is missing.
    pub async fn decide(
        &self,
        id: &ProviderId,
        decision: Decision,
        reason: &str,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Provider, Fault> {
        let expected = expected.filter(|_| decision.is_of_a_version());
        let mut meanwhile = StoreError::Precondition("the provider keeps changing, try again");
        for _ in 0..TRIES {
            let row = self.0.store.provider(id).await?;
            if let Some(expected) = expected
                && expected != row.version
            {
                let noun = "provider";
                return Err(StoreError::Version { noun, expected, found: row.version }.into());
            }
            if !may_be(&row, decision) {
                return Err(Fault::new(Code::FailedPrecondition, refusal(&row, decision)));
            }
            let mut changes = self.decision(&row, decision, reason).await?;
            if decision == Decision::Approve {
                let after = Record::read(&row.standing).forgiven().text();
                let (id, before) = (id.clone(), None);
                changes.push(Change::NoteStanding { id, before, after, steps: false });
            }
            match self.0.store.write(changes, trail.clone()).await {
                // The decision is made on what is there now, unless the caller saw something else.
                Err(error @ StoreError::Version { .. }) if expected.is_none() => meanwhile = error,
                Err(error @ StoreError::Precondition(_)) => meanwhile = error,
                written => {
                    written?;
                    self.decided(&row, decision, reason).await?;
                    return Ok(self.get(id).await?);
                }
            }
        }
        Err(meanwhile.into())
    }

    /// What a decision about a provider, as it was read, writes: its state and its backends.
    pub(super) async fn decision(
        &self,
        row: &ProviderRow,
        decision: Decision,
        reason: &str,
    ) -> Result<Vec<Change>, StoreError> {
        let (id, to) = (&row.id, decision.leads_to());
        let edit =
            ProviderEdit::State { from: row.state, to, reason: reason.to_owned(), at_ms: now_ms() };
        let expected = decision.is_of_a_version().then_some(row.version);
        let mut changes = vec![Change::EditProvider { id: id.clone(), expected, edit }];
        if to.serves() {
            changes.extend(self.backends_of(row).await?);
        } else {
            changes.push(Change::RemoveBackendsUnder { url: AgentAddress::all_of(id) });
        }
        if to == ProviderState::Left {
            changes.push(Change::RemoveDeploymentsOf { provider: id.clone() });
        }
        Ok(changes)
    }

    /// Tells a decision that is written, and has everything here follow it.
    pub(super) async fn decided(
        &self,
        row: &ProviderRow,
        decision: Decision,
        reason: &str,
    ) -> Result<(), StoreError> {
        let (to, (kind, severity)) = (decision.leads_to(), decision.told());
        let said = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        self.tell(kind, severity, row, &format!("is {to}{said}"));
        if !to.may_connect() {
            self.end_session(&row.id);
        }
        self.changed();
        self.stir(&row.id);
        self.0.catalogue.reload().await?;
        Ok(())
    }

    /// The backends of a provider that serves: one for each engine with a model of the catalogue.
    pub(super) async fn backends_of(&self, row: &ProviderRow) -> Result<Vec<Change>, StoreError> {
        let existing = self.0.store.backends().await?;
        let all = backends(row, &existing).into_iter();
        Ok(all.map(|backend| provided(row, backend)).collect())
    }

    /// The same, of those that are there: what an agent says of itself adds none.
    pub(super) async fn known_backends_of(
        &self,
        row: &ProviderRow,
    ) -> Result<Vec<Change>, StoreError> {
        let existing = self.0.store.backends().await?;
        let all = backends(row, &existing).into_iter();
        let known = |backend: &BackendRow| existing.iter().any(|one| one.row.url == backend.url);
        Ok(all.filter(known).map(|backend| provided(row, backend)).collect())
    }
}

fn provided(row: &ProviderRow, backend: BackendRow) -> Change {
    Change::PutProvidedBackend { provider: row.id.clone(), backend }
}

/// What a provider's examined engines are as backends, by what it says of them now.
fn backends(row: &ProviderRow, existing: &[Versioned<BackendRow>]) -> Vec<BackendRow> {
    let evidence = Evidence::read(&row.evidence);
    let backend_of = |offer: &OfferRow| {
        let found = evidence.engines.iter().find(|engine| engine.name == offer.name)?;
        let models: Vec<_> = found
            .sold()
            .map(|(model, upstream)| BackendModel {
                model: model.clone(),
                upstream: upstream.to_owned(),
            })
            .collect();
        if models.is_empty() {
            return None;
        }
        // It serves as what it was examined as, whatever it calls itself by now.
        let examined =
            OfferRow { kind: found.kind.clone(), dialect: found.dialect.clone(), ..offer.clone() };
        backend(row, &examined, models, existing)
    };
    row.presented.engines.iter().filter_map(backend_of).collect()
}

/// The backend of a provider's engine; none where every name for it is another backend's.
pub(super) fn backend(
    row: &ProviderRow,
    offer: &OfferRow,
    models: Vec<BackendModel>,
    existing: &[Versioned<BackendRow>],
) -> Option<BackendRow> {
    let address = AgentAddress { provider: row.id.clone(), engine: offer.name.clone() };
    let url = address.to_string();
    let known = existing.iter().map(|known| &known.row).find(|known| known.url == url);
    let taken = |id: &BackendId| existing.iter().any(|known| known.row.id == *id);
    let id = match known {
        // A host that is called otherwise by now keeps its backends.
        Some(known) => known.id.clone(),
        None => name(row, offer).into_iter().find(|id| !taken(id))?,
    };
    let most = row.limits.max_concurrency.unwrap_or(u32::MAX);
    // What an operator set on one that is there stays.
    let (queue, weight) = known.map_or((QUEUE, WEIGHT), |known| (known.queue, known.weight));
    Some(BackendRow {
        id,
        url,
        dialect: offer.dialect.clone(),
        engine: offer.kind.clone(),
        max_concurrency: offer.max_concurrency.min(most).max(1),
        queue,
        weight,
        intake: IntakeRow::Open,
        credential_file: None,
        models,
        deployment: String::new(),
        drain_until_ms: None,
    })
}

/// What a provider's engine may be called: after the host, or after the provider where another
/// host has that name.
fn name(row: &ProviderRow, offer: &OfferRow) -> Vec<BackendId> {
    [row.presented.name.as_str(), row.id.as_str()]
        .into_iter()
        .filter_map(|host| format!("{host}.{}", offer.name).parse().ok())
        .collect()
}

/// Whether a decision can be made about a provider as it is.
fn may_be(row: &ProviderRow, decision: Decision) -> bool {
    let examined = decision != Decision::Approve || Evidence::read(&row.evidence).is_complete();
    row.state.may_become(decision.leads_to()) && examined
}

/// Why a decision cannot be made now, and what is missing.
fn refusal(row: &ProviderRow, decision: Decision) -> String {
    let state = row.state;
    if decision != Decision::Approve || state == ProviderState::Approved {
        return format!("the provider is {state} and cannot become {}", decision.leads_to());
    }
    let evidence = Evidence::read(&row.evidence);
    let missing = match state {
        ProviderState::Rejected => "it was rejected: reconsider it first".to_owned(),
        ProviderState::Left => "it has left: it must join again".to_owned(),
        _ if evidence.examined_at_ms == 0 => "its examination has not ended".to_owned(),
        _ => evidence.missing.join("; "),
    };
    format!("the provider is {state} and cannot be approved yet: {missing}")
}
