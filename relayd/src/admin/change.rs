//! What every change has in common: who, which request, why, and that it is made once.

use relay_proto::admin::v1 as proto;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tonic::Request;
use uuid::Uuid;

use super::auth::Caller;
use crate::audit::{Act, Audit, REASON_MAX_CHARS};
use crate::domain::{Code, Fault};
use crate::events::{EventKind, Events, Severity};
use crate::identity::Asked;
use crate::store::Trail;

/// Makes changes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    audit: Audit,
    events: Events,
}

/// A checked wish to change something.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) act: Act,
    pub(super) expected: u64,
}

/// Whether a call asks for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Needed,
    Free,
}

impl Wish {
    /// Checks what a caller sent along with a change.
    pub(super) fn new(
        caller: &Caller,
        change: Option<proto::Change>,
        action: &'static str,
        object: &str,
        reason: Reason,
    ) -> Result<Self, Fault> {
        let wrong = |message: String| Fault::new(Code::ValidationError, message);
        let change = change.ok_or_else(|| wrong("change is missing".to_owned()))?;
        let request_id = Uuid::try_parse(&change.request_id)
            .map_err(|_| wrong("change.request_id must be a UUID".to_owned()))?;
        let said = change.reason.trim();
        if said.chars().count() > REASON_MAX_CHARS {
            return Err(wrong(format!(
                "change.reason has more than {REASON_MAX_CHARS} characters"
            )));
        }
        if reason == Reason::Needed && said.is_empty() {
            return Err(wrong("change.reason is needed: say why, for the audit log".to_owned()));
        }
        Ok(Self {
            act: Act {
                actor: caller.name.to_string(),
                role: caller.role,
                action,
                object: object.to_owned(),
                request_id,
                reason: said.to_owned(),
            },
            expected: change.expected_version,
        })
    }

    /// A creation's wish, whose object's id follows from its request id: a retry names the same.
    pub(super) fn creation(
        caller: &Caller,
        change: Option<proto::Change>,
        action: &'static str,
        prefix: &str,
    ) -> Result<Self, Fault> {
        let mut wish = Self::new(caller, change, action, "", Reason::Free)?;
        let mut hash = Sha256::new();
        hash.update(prefix);
        hash.update(caller.name.as_bytes());
        hash.update([0]);
        hash.update(wish.act.request_id.as_bytes());
        wish.act.object = format!("{prefix}{}", hex::encode(&hash.finalize()[..8]));
        Ok(wish)
    }

    /// Refuses when the object moved on since the caller read it.
    pub(super) fn check(&self, noun: &str, found: u64) -> Result<(), Fault> {
        if self.expected == found {
            return Ok(());
        }
        Err(Fault::new(
            Code::VersionConflict,
            format!("{noun} {} has version {found}, expected {}", self.act.object, self.expected),
        ))
    }

    /// The same wish, as the rooms below take it; with or without its record.
    pub(super) fn asked(&self, trail: Option<Trail>) -> Asked {
        Asked {
            idem: format!("admin:{}", self.act.request_id),
            actor: self.act.actor.clone(),
            expected: trail.is_some().then_some(self.expected),
            trail,
        }
    }
}

impl Changes {
    pub(super) const fn new(audit: Audit, events: Events) -> Self {
        Self { audit, events }
    }

    /// What this wish led to, when it was fulfilled before.
    pub(super) async fn answered<T: DeserializeOwned + Default>(
        &self,
        wish: &Wish,
    ) -> Result<Option<T>, Fault> {
        let answer = self.audit.answered(&wish.act).await?;
        Ok(answer.map(Option::unwrap_or_default))
    }

    /// Writes the record of what was done without one: what the ledger did. A record that is
    /// there already stands.
    pub(super) async fn record(&self, trail: Trail) -> Result<(), Fault> {
        Ok(self.audit.record(trail).await?)
    }

    /// Tells that an operator did something.
    pub(super) fn tell(&self, kind: EventKind, wish: &Wish, text: &str) {
        let by = format!("{text} by {}", wish.act.actor);
        self.events.emit(kind, Severity::Info, &wish.act.object, &by);
    }
}

/// The caller and the message of a request.
pub(super) fn split<R>(request: Request<R>) -> Result<(Caller, R), tonic::Status> {
    let caller = super::caller(&request)?.clone();
    Ok((caller, request.into_inner()))
}
