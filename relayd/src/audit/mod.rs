//! Who changed what, and why: a chain of records that a later alteration breaks.
//!
//! A record is written in the transaction of its change, so that neither is ever there without
//! the other; this room makes the record and reads the chain. It must not know gRPC, and it never
//! holds a secret: what it is given as "after" is what everybody may read later.
//!
//! Invariants: one record for each request id; a request id that is known answers with what its
//! change led to and changes nothing.

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::domain::{Code, Fault, Role};
use crate::store::{Page, Paged, Store, StoreError, Trail, TrailReport, TrailRow};

/// Longest reason, in characters.
pub const REASON_MAX_CHARS: usize = 500;
/// Where there is no object.
const NOTHING: &str = "null";

/// The record of changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit {
    store: Store,
}

/// Somebody's wish to change something.
#[derive(Clone, Debug)]
pub struct Act {
    /// The operator's name.
    pub actor: String,
    /// As what.
    pub role: Role,
    /// The call: `KeysService/RevokeKey`.
    pub action: &'static str,
    /// What is changed.
    pub object: String,
    /// Identifies the wish.
    pub request_id: Uuid,
    /// Why; may be empty where no reason is asked for.
    pub reason: String,
}

impl Act {
    /// The record of this change, to be written with it.
    #[must_use]
    pub fn record<T: Serialize>(&self, before: Option<&T>, after: Option<&T>) -> Trail {
        Trail {
            at_ms: jiff::Timestamp::now().as_millisecond(),
            actor: self.actor.clone(),
            role: self.role,
            action: self.action.to_owned(),
            object: self.object.clone(),
            before: json(before),
            after: json(after),
            request_id: self.request_id.to_string(),
            reason: self.reason.clone(),
        }
    }
}

impl Audit {
    /// The audit of this database.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// Writes the record of something that was changed elsewhere (in the ledger). Returns when it
    /// survives a power cut.
    ///
    /// # Errors
    /// As every write; a known request id is no error, its record stands.
    pub async fn record(&self, trail: Trail) -> Result<(), StoreError> {
        match self.store.write(Vec::new(), Some(trail)).await {
            Err(StoreError::Taken(crate::store::Unique::RequestId)) => Ok(()),
            other => other,
        }
    }

    /// What the change of this request led to, when it was made before; `Some(None)` where it
    /// left nothing.
    ///
    /// # Errors
    /// [`Code::IdempotencyKeyReused`] when the id was used by somebody else or for another change.
    pub async fn answered<T: DeserializeOwned>(
        &self,
        act: &Act,
    ) -> Result<Option<Option<T>>, Fault> {
        let Some(row) = self.store.trail_of(&act.request_id.to_string()).await? else {
            return Ok(None);
        };
        let made = row.trail;
        if (made.actor.as_str(), made.action.as_str(), &made.object)
            != (act.actor.as_str(), act.action, &act.object)
        {
            return Err(Fault::new(
                Code::IdempotencyKeyReused,
                format!(
                    "request_id {} was used for another change ({} of {}): make a new UUID",
                    act.request_id, made.action, made.object
                ),
            ));
        }
        if made.after == NOTHING {
            return Ok(Some(None));
        }
        let after = serde_json::from_str(&made.after).map_err(|error| {
            tracing::error!(seq = row.seq, %error, "an audit record cannot be read");
            Fault::internal()
        })?;
        Ok(Some(Some(after)))
    }

    /// Records, newest first; only about `object` unless that is empty.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is none.
    pub async fn list(&self, object: &str, page: &Page) -> Result<Paged<TrailRow>, StoreError> {
        self.store.trail(object, page).await
    }

    /// Recomputes the whole chain.
    ///
    /// # Errors
    /// As every read.
    pub async fn verify(&self) -> Result<TrailReport, StoreError> {
        self.store.verify_trail().await
    }
}

fn json<T: Serialize>(object: Option<&T>) -> String {
    object
        .and_then(|object| serde_json::to_string(object).ok())
        .unwrap_or_else(|| NOTHING.to_owned())
}
