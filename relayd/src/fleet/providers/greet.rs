//! Letting an agent in: what it says of itself is checked, its key is known or its invitation
//! good.

use std::collections::BTreeSet;
use std::time::Instant;

use super::callers::GREETINGS;
use super::{Evidence, Providers, now_ms, state_change};
use crate::domain::{DeclaredGpu, PayoutAddress, ProviderId, ProviderState};
use crate::engines::{Dialect, EngineKind, is_engine_name};
use crate::events::{EventKind, Severity};
use crate::store::{
    Change, NewProvider, OfferRow, Presented, ProviderEdit, ProviderRow, StoreError,
};

/// Most engines of one host.
const ENGINES_MAX: usize = 32;

/// Most models of one engine, and the longest name of one, in bytes.
pub(super) const MODELS_MAX: usize = 100;
const MODEL_MAX_BYTES: usize = 256;

/// Longest name of a host, in bytes.
const NAME_MAX_BYTES: usize = 48;

/// How often a greeting is taken in anew when the provider changed meanwhile.
const TRIES: u32 = 5;

/// Longest version text of an agent, in bytes.
const VERSION_MAX_BYTES: usize = 64;

/// What an agent said and proved.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The provider that its key is.
    pub id: ProviderId,
    /// Its key; the signature over this connection holds.
    pub public_key: Vec<u8>,
    /// What people call the host.
    pub name: String,
    /// Where earnings go.
    pub payout_address: String,
    /// The agent's version.
    pub agent_version: String,
    /// The invitation, or empty.
    pub join_token: String,
    /// What it offers.
    pub engines: Vec<OfferRow>,
    /// The cards that it says it has.
    pub gpus: Vec<DeclaredGpu>,
    /// From which address it dialled.
    pub address: String,
}

/// Why an agent is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which kind of reason.
    pub kind: RefusalKind,
    /// A sentence for the provider.
    pub message: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Something that it said is wrong.
    Invalid,
    /// Its key is unknown and its invitation no good.
    Invitation,
    /// It was rejected, or has left.
    Rejected,
    /// It cannot be decided now.
    Unavailable,
}

impl Refusal {
    fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "an agent could not be let in");
        Self::new(RefusalKind::Unavailable, "the relay cannot let anybody in now, try again")
    }
}

impl Providers {
    /// Lets an agent in, the first time by its invitation.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is stored then.
    pub async fn greet(&self, greeting: Greeting) -> Result<ProviderRow, Refusal> {
        let presented = presented(&greeting)?;
        let store = &self.0.store;
        match store.provider(&greeting.id).await {
            Ok(row) if self.0.callers.may(&row.id, Instant::now()) => {
                self.again(row, presented).await
            }
            Ok(_) => {
                let message = format!("this key greets more than {GREETINGS} times a minute, wait");
                Err(Refusal::new(RefusalKind::Unavailable, message))
            }
            Err(StoreError::NotFound(_)) => {
                self.join(&greeting, presented).await?;
                let row = store.provider(&greeting.id).await?;
                self.tell(EventKind::ProviderJoined, Severity::Info, &row, "joined");
                self.changed();
                Ok(row)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A key that is known. What it says now is taken in together with what follows from it.
    async fn again(&self, known: ProviderRow, said: Presented) -> Result<ProviderRow, Refusal> {
        let mut row = known;
        for _ in 0..TRIES {
            if !row.state.may_connect() {
                let mut message = format!("this provider is {}", row.state);
                if !row.reason.is_empty() {
                    message = format!("{message}: {}", row.reason);
                }
                return Err(Refusal::new(RefusalKind::Rejected, message));
            }
            if row.presented == said {
                return Ok(row);
            }
            let id = row.id.clone();
            let edit = ProviderEdit::Presented(said.clone());
            let expected = Some(row.version);
            let mut changes = vec![Change::EditProvider { id: id.clone(), expected, edit }];
            let offers_differ =
                row.presented.engines != said.engines || row.presented.gpus != said.gpus;
            if offers_differ && row.state == ProviderState::Pending {
                // The evidence is about what it offered before.
                let reason = "it offers something else now";
                changes.push(state_change(&row, ProviderState::Probing, reason));
            }
            if offers_differ && row.state.serves() {
                let after = ProviderRow { presented: said.clone(), ..row.clone() };
                changes.extend(self.known_backends_of(&after).await?);
            }
            match self.0.store.write(changes, None).await {
                // Changed meanwhile, or suspended.
                Err(StoreError::Version { .. } | StoreError::Precondition(_)) => {
                    row = self.0.store.provider(&id).await?;
                }
                written => {
                    written?;
                    self.tell_differences(&row, &said);
                    self.changed();
                    // It is let in all the same: the fleet follows by itself a moment later.
                    if offers_differ
                        && row.state.serves()
                        && let Err(error) = self.0.catalogue.reload().await
                    {
                        tracing::warn!(provider = %id, %error, "the fleet did not take a greeting");
                    }
                    return Ok(self.0.store.provider(&id).await?);
                }
            }
        }
        let message = "this provider is being changed all the time, try again";
        Err(Refusal::new(RefusalKind::Unavailable, message))
    }

    /// What people should hear of when a provider says something else than before.
    fn tell_differences(&self, row: &ProviderRow, said: &Presented) {
        let warn = |text: String| {
            self.tell(EventKind::ProviderChanged, Severity::Warning, row, &text);
        };
        if row.presented.payout != said.payout {
            // Whoever holds the key may change it.
            warn(format!("is now paid at {}", said.payout));
        }
        if !row.state.serves() {
            return;
        }
        let before = |name: &str| row.presented.engines.iter().find(|before| before.name == name);
        let evidence = Evidence::read(&row.evidence);
        let examined = |name: &str| evidence.engines.iter().any(|engine| engine.name == name);
        let what = |offer: &OfferRow| format!("{} over {}", offer.kind, offer.dialect);
        for offer in &said.engines {
            let name = &offer.name;
            match before(name) {
                None if examined(name) => warn(format!("offers engine {name} again")),
                None => warn(format!("offers engine {name}, which was not examined")),
                Some(before) if what(before) != what(offer) => warn(format!(
                    "says that engine {name} is {} now and no longer {}; it is asked as it was examined",
                    what(offer),
                    what(before)
                )),
                Some(_) => {}
            }
        }
        for gone in &row.presented.engines {
            let name = &gone.name;
            if said.engines.iter().all(|offer| offer.name != *name) {
                warn(format!("offers engine {name} no more"));
            }
        }
    }

    async fn join(&self, greeting: &Greeting, presented: Presented) -> Result<(), Refusal> {
        for invitation in self.0.identity.invitation_hashes(&greeting.join_token) {
            let new = NewProvider {
                id: greeting.id.clone(),
                public_key: greeting.public_key.clone(),
                presented: presented.clone(),
                invitation,
                at_ms: now_ms(),
            };
            match self.0.store.write(vec![Change::NewProvider(new)], None).await {
                Ok(()) => return Ok(()),
                // Not under this pepper.
                Err(StoreError::Precondition(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let message = "this key is not known here, and the invitation is missing, spent, expired or withdrawn: ask the relay's operator for one";
        Err(Refusal::new(RefusalKind::Invitation, message))
    }
}

/// What an agent said, checked.
fn presented(greeting: &Greeting) -> Result<Presented, Refusal> {
    let wrong = |message: String| Err(Refusal::new(RefusalKind::Invalid, message));
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    let name = &greeting.name;
    if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(plain) {
        return wrong("name: 1 to 48 of a-z, 0-9, dot, underscore and hyphen".to_owned());
    }
    let payout: PayoutAddress = match greeting.payout_address.parse() {
        Ok(payout) => payout,
        Err(error) => return wrong(format!("payout_address: {error}")),
    };
    let version = &greeting.agent_version;
    if version.len() > VERSION_MAX_BYTES || !version.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return wrong("agent_version: at most 64 printable characters".to_owned());
    }
    if greeting.engines.len() > ENGINES_MAX {
        return wrong(format!("engines: at most {ENGINES_MAX}"));
    }
    let mut names = BTreeSet::new();
    for engine in &greeting.engines {
        if !is_engine_name(&engine.name) || !names.insert(&engine.name) {
            return wrong("engines: each needs its own name of a-z, 0-9 and hyphen".to_owned());
        }
        let known =
            engine.kind.parse::<EngineKind>().is_ok_and(|kind| kind != EngineKind::Commercial);
        if !known || engine.dialect.parse::<Dialect>().is_err() {
            return wrong(format!("engine {}: its kind or dialect is not known", engine.name));
        }
        if !(1..=super::super::CONCURRENCY_MAX).contains(&engine.max_concurrency) {
            return wrong(format!("engine {}: max_concurrency is out of its bounds", engine.name));
        }
        if engine.models.len() > MODELS_MAX || !engine.models.iter().all(|one| is_model_name(one)) {
            return wrong(format!("engine {}: its list of models is out of bounds", engine.name));
        }
    }
    if let Err(message) = DeclaredGpu::check(&greeting.gpus) {
        return wrong(format!("gpus: {message}"));
    }
    Ok(Presented {
        name: name.clone(),
        payout,
        agent_version: version.clone(),
        address: greeting.address.clone(),
        engines: greeting.engines.clone(),
        gpus: greeting.gpus.clone(),
    })
}

/// Whether an engine's name of a model is one that is kept and shown.
pub(super) fn is_model_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MODEL_MAX_BYTES && !text.chars().any(char::is_control)
}
