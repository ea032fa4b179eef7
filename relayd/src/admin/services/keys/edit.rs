//! Changes of keys. The rules are identity's; here is what an operator's wish adds.

use relay_proto::admin::v1 as proto;

use super::Keys;
use crate::admin::auth::Caller;
use crate::admin::change::{Reason, Wish};
use crate::admin::{convert, id, now_ms};
use crate::domain::{Code, CustomerId, Fault, FieldError, KeyId, Ncr, RateLimits, Scope};
use crate::events::EventKind;
use crate::identity::{KeyPatch, KeyRequest};
use crate::store::{ApiKey, Restrictions};

impl Keys {
    pub(super) async fn create(
        &self,
        caller: &Caller,
        request: proto::CreateKeyRequest,
    ) -> Result<proto::CreateKeyResponse, Fault> {
        const ACTION: &str = "KeysService/CreateKey";
        let wish = Wish::creation(caller, request.change, ACTION, "key_")?;
        let key: KeyId = id(&wish.act.object)?;
        let customer: CustomerId = id(&request.customer_id)?;
        if let Some(made) = self.changes.answered::<proto::Key>(&wish).await? {
            if made.name != request.name || made.customer_id != request.customer_id {
                return Err(Fault::new(
                    Code::IdempotencyKeyReused,
                    "change.request_id was used for another key: make a new UUID",
                ));
            }
            // The record was written before the key had its prefix; and its secret was shown once.
            let found = convert::key(&self.store.key(&key).await?);
            return Ok(proto::CreateKeyResponse { key: Some(found), secret: String::new() });
        }
        let wanted = request.rate_limits.unwrap_or_default();
        let after = proto::Key {
            key_id: key.to_string(),
            customer_id: customer.to_string(),
            name: request.name.clone(),
            status: proto::KeyStatus::Active.into(),
            denied_scopes: request.denied_scopes.clone(),
            rate_limits: Some(wanted),
            budget_ncr: request.budget_ncr,
            created_at_ms: now_ms(),
            version: 1,
            ..proto::Key::default()
        };
        let new = KeyRequest {
            id: Some(key),
            customer,
            name: request.name,
            denied_scopes: scopes(&request.denied_scopes)?,
            limits: limits(&wanted),
            budget: request.budget_ncr.map(Ncr::new),
            actor: wish.act.actor.clone(),
        };
        let trail = wish.act.record(None, Some(&after));
        let made = self.identity.create_key(new, Some(trail)).await?;
        self.tell(EventKind::KeyCreated, &wish, &made.key, "created");
        Ok(proto::CreateKeyResponse {
            key: Some(convert::key(&made.key)),
            secret: made.secret.expose().to_owned(),
        })
    }

    pub(super) async fn update(
        &self,
        caller: &Caller,
        request: proto::UpdateKeyRequest,
    ) -> Result<proto::Key, Fault> {
        const ACTION: &str = "KeysService/UpdateKey";
        let wish = Wish::new(caller, request.change, ACTION, &request.key_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let row = self.seen(&wish).await?;
        let mut after = row.clone();
        if let Some(name) = request.name {
            after.name = name;
        }
        if let Some(wanted) = &request.rate_limits {
            after.restrictions.limits = limits(wanted);
        }
        if let Some(denied) = &request.denied_scopes {
            after.restrictions.denied_scopes = scopes(&denied.scopes)?;
        }
        if let Some(budget) = request.budget {
            after.budget = budget.amount_ncr.map(Ncr::new);
        }
        let patch = KeyPatch {
            name: (after.name != row.name).then(|| after.name.clone()),
            restrictions: (after.restrictions != row.restrictions)
                .then(|| Restrictions::clone(&after.restrictions)),
            budget: request.budget.map(|_| after.budget),
        };
        after.version += u64::from(patch.name.is_some()) + u64::from(patch.restrictions.is_some());
        let (before, shown) = (convert::key(&row), convert::key(&after));
        let trail = wish.act.record(Some(&before), Some(&shown));
        self.identity.patch_key(&row, patch, wish.asked(Some(trail.clone()))).await?;
        // A budget alone is the ledger's, which writes no record.
        self.changes.record(trail).await?;
        self.tell(EventKind::KeyUpdated, &wish, &row, "changed");
        Ok(shown)
    }

    pub(super) async fn revoke(
        &self,
        caller: &Caller,
        request: proto::RevokeKeyRequest,
    ) -> Result<proto::Key, Fault> {
        const ACTION: &str = "KeysService/RevokeKey";
        let wish = Wish::new(caller, request.change, ACTION, &request.key_id, Reason::Needed)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let row = self.seen(&wish).await?;
        if row.revoked_ms.is_some() {
            return Ok(convert::key(&row));
        }
        let (before, mut after) = (convert::key(&row), convert::key(&row));
        after.status = proto::KeyStatus::Revoked.into();
        after.revoked_at_ms = now_ms();
        after.version += 1;
        let trail = wish.act.record(Some(&before), Some(&after));
        self.identity.revoke_key(&row, wish.asked(Some(trail))).await?;
        self.tell(EventKind::KeyRevoked, &wish, &row, "revoked");
        Ok(after)
    }

    pub(super) async fn unrevoke(
        &self,
        caller: &Caller,
        request: proto::UnrevokeKeyRequest,
    ) -> Result<proto::Key, Fault> {
        const ACTION: &str = "KeysService/UnrevokeKey";
        let wish = Wish::new(caller, request.change, ACTION, &request.key_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let row = self.seen(&wish).await?;
        if row.revoked_ms.is_none() {
            return Ok(convert::key(&row));
        }
        let (before, mut after) = (convert::key(&row), convert::key(&row));
        after.status = proto::KeyStatus::Active.into();
        after.revoked_at_ms = 0;
        after.version += 1;
        let trail = wish.act.record(Some(&before), Some(&after));
        self.identity.unrevoke_key(&row, wish.asked(Some(trail))).await?;
        self.tell(EventKind::KeyUnrevoked, &wish, &row, "let in again");
        Ok(after)
    }

    pub(super) async fn delete(
        &self,
        caller: &Caller,
        request: proto::DeleteKeyRequest,
    ) -> Result<proto::DeleteKeyResponse, Fault> {
        const ACTION: &str = "KeysService/DeleteKey";
        let wish = Wish::new(caller, request.change, ACTION, &request.key_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let row = self.seen(&wish).await?;
        if row.revoked_ms.is_none() {
            return Err(Fault::new(
                Code::FailedPrecondition,
                "only a revoked key can be deleted: revoke it first",
            ));
        }
        let trail = wish.act.record(Some(&convert::key(&row)), None);
        self.identity.delete_key(&row, wish.asked(Some(trail))).await?;
        self.tell(EventKind::KeyDeleted, &wish, &row, "deleted");
        Ok(proto::DeleteKeyResponse {})
    }

    pub(super) async fn top_up(
        &self,
        caller: &Caller,
        request: proto::TopUpKeyRequest,
    ) -> Result<proto::Key, Fault> {
        const ACTION: &str = "KeysService/TopUpKey";
        let wish = Wish::new(caller, request.change, ACTION, &request.key_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        if request.amount_ncr <= 0 {
            let error = FieldError::body("amount_ncr", "greater_than", "must be above 0");
            return Err(Fault::validation(vec![error]));
        }
        let row = self.seen(&wish).await?;
        let amount = Ncr::new(request.amount_ncr);
        let changed = self.identity.top_up_key(&row, amount, wish.asked(None)).await?;
        let before = convert::key(&row);
        let after = proto::Key { budget_ncr: changed.now.map(Ncr::get), ..before.clone() };
        self.changes.record(wish.act.record(Some(&before), Some(&after))).await?;
        self.tell(EventKind::KeyToppedUp, &wish, &row, &format!("topped up by ${amount}"));
        Ok(after)
    }

    /// The key of a wish, at the version that the caller saw.
    async fn seen(&self, wish: &Wish) -> Result<ApiKey, Fault> {
        let row = self.store.key(&id(&wish.act.object)?).await?;
        wish.check("key", row.version)?;
        Ok(row)
    }

    fn tell(&self, kind: EventKind, wish: &Wish, key: &ApiKey, what: &str) {
        self.changes.tell(kind, wish, &format!("'{}' {what}", key.name));
    }
}

fn scopes(texts: &[String]) -> Result<Vec<Scope>, Fault> {
    let wrong = |message: String| {
        Fault::validation(vec![FieldError::body("denied_scopes", "value_error", message)])
    };
    let parse = |text: &String| text.parse::<Scope>().map_err(|error| wrong(error.to_string()));
    let mut scopes = texts.iter().map(parse).collect::<Result<Vec<Scope>, Fault>>()?;
    scopes.sort();
    scopes.dedup();
    Ok(scopes)
}

const fn limits(wanted: &proto::RateLimits) -> RateLimits {
    RateLimits { direct: wanted.direct, opengpu: wanted.opengpu, global: wanted.global }
}
