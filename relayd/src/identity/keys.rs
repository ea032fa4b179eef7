//! Making and changing API keys (contract section 1.5).
//!
//! The rules are here, once, for the account routes and the admin plane alike; who may ask is the
//! face's business. A record for the audit log may come with each change and is written with it.

use crate::domain::{Code, CustomerId, Fault, FieldError, KeyId, Ncr, RateLimits, Scope, Tier};
use crate::ledger::{Budget, BudgetChange, Command, Outcome};
use crate::store::{
    ApiKey, Change, KeyEdit, KeyFilter, NewKey, Page, Paged, Restrictions, StoreError, Trail,
    Unique,
};

use super::secret::{API_KEY_PREFIX, Secret, SecretKind};
use super::service::{Identity, key_id, no_randomness, now_ms};

/// Length of a key's name, in characters.
const NAME_CHARS: std::ops::RangeInclusive<usize> = 3..=100;

/// What names of relayd's own keys begin with.
const SYSTEM_PREFIX: &str = "__";

/// Scopes that a key's restrictions may list: more than any catalogue has models.
const DENIED_SCOPES_MAX: usize = 1_000;

/// A key to make.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// Its id, where the caller chose one so that a repeated request names the same key.
    pub id: Option<KeyId>,
    /// Whose.
    pub customer: CustomerId,
    /// Its name: 3 to 100 characters, unique for the customer, not beginning with `__`.
    pub name: String,
    /// Scopes that it may not use.
    pub denied_scopes: Vec<Scope>,
    /// Limits within those of the tier.
    pub limits: RateLimits,
    /// A budget of its own.
    pub budget: Option<Ncr>,
    /// Who asks, for the ledger's books.
    pub actor: String,
}

/// A made key. The secret is here and nowhere else.
#[derive(Debug)]
pub struct MadeKey {
    /// The key.
    pub key: ApiKey,
    /// Its secret.
    pub secret: Secret,
}

/// Changes of a key. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// Another name.
    pub name: Option<String>,
    /// Other restrictions, as a whole.
    pub restrictions: Option<Restrictions>,
    /// Another budget; `Some(None)` takes the cap off.
    pub budget: Option<Option<Ncr>>,
}

/// What became of a key's budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetChanged {
    /// What it was; none is no cap.
    pub previous: Option<Ncr>,
    /// What it is.
    pub now: Option<Ncr>,
}

/// Which change of a key, and for whom it is done.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Identifies the change: asked again, it changes nothing more.
    pub idem: String,
    /// Who asks, for the ledger's books.
    pub actor: String,
    /// The version that the caller saw.
    pub expected: Option<u64>,
    /// The record for the audit log.
    pub trail: Option<Trail>,
}

impl Identity {
    /// Makes a key. The first one of a customer on a custom tier, while no other active one is, is
    /// its superkey.
    ///
    /// # Errors
    /// A bad name or limit, a name in use, [`Code::KeyLimitReached`], [`Code::CustomerNotFound`].
    pub async fn create_key(
        &self,
        request: KeyRequest,
        trail: Option<Trail>,
    ) -> Result<MadeKey, Fault> {
        check_name(&request.name)?;
        let customer = self.0.store.customer(&request.customer).await?;
        let tier = self.tier(&customer.tier)?;
        let restrictions =
            Restrictions { denied_scopes: request.denied_scopes, limits: request.limits };
        check_restrictions(&restrictions, &tier)?;
        check_budget(request.budget)?;
        let secret = Secret::generate(SecretKind::ApiKey).map_err(|error| no_randomness(&error))?;
        let digest = self.0.peppers.digest(secret.expose());
        let id = request.id.map_or_else(key_id, Ok)?;
        if let Some(budget) = request.budget {
            // Before the key exists, so that no moment sees it without its cap.
            let change = BudgetChange::Set(budget);
            self.budget_command(
                &request.customer,
                &id,
                change,
                &format!("make:{id}"),
                &request.actor,
            )
            .await?;
        }
        let mut new = NewKey {
            id: id.clone(),
            customer: request.customer.clone(),
            name: request.name,
            hash: digest.hmac,
            pepper: i64::from(digest.pepper),
            prefix: secret.shown().to_owned(),
            superkey: tier.custom && !self.has_superkey(&request.customer).await?,
            system: false,
            restrictions,
            created_ms: now_ms(),
            limit: Some(tier.max_keys),
        };
        let mut written =
            self.0.store.write(vec![Change::NewKey(new.clone())], trail.clone()).await;
        if let Err(StoreError::Taken(Unique::Superkey)) = written {
            // Another first key was made meanwhile; this one is the second.
            new.superkey = false;
            written = self.0.store.write(vec![Change::NewKey(new)], trail).await;
        }
        written.map_err(|error| key_fault(error, &customer.name))?;
        self.0.keys.key_changed(digest.hmac).await;
        Ok(MadeKey { key: self.0.store.key(&id).await?, secret })
    }

    /// A key of a customer. Another customer's key is as unknown as one that is not.
    ///
    /// # Errors
    /// [`Code::KeyNotFound`]; [`Code::Unservable`] for a secret where an id belongs.
    pub async fn key_of(&self, customer: &CustomerId, id: &str) -> Result<ApiKey, Fault> {
        if id.starts_with(API_KEY_PREFIX) {
            let text = "A key's secret stands where its id belongs; use the key_id";
            return Err(Fault::new(Code::Unservable, text));
        }
        let unknown = || Fault::new(Code::KeyNotFound, "API key not found");
        let id: KeyId = id.parse().map_err(|_| unknown())?;
        match self.0.store.key(&id).await {
            Ok(key) if key.customer == *customer => Ok(key),
            Ok(_) | Err(StoreError::NotFound(_)) => Err(unknown()),
            Err(error) => Err(error.into()),
        }
    }

    /// Keys that match, newest first, and how many do.
    ///
    /// # Errors
    /// [`Code::NotFound`] when the cursor is no key.
    pub async fn keys(
        &self,
        filter: &KeyFilter,
        page: &Page,
    ) -> Result<(Paged<ApiKey>, u64), Fault> {
        let rows = self.0.store.keys(filter, page).await?;
        let total = self.0.store.count_keys(filter).await?;
        Ok((rows, total))
    }

    /// Changes name, restrictions, budget.
    ///
    /// # Errors
    /// A bad name or limit, a name in use, [`Code::SystemKeyImmutable`],
    /// [`Code::VersionConflict`].
    pub async fn patch_key(
        &self,
        key: &ApiKey,
        patch: KeyPatch,
        asked: Asked,
    ) -> Result<ApiKey, Fault> {
        check_mutable(key)?;
        let mut edits = Vec::new();
        if let Some(name) = patch.name {
            check_name(&name)?;
            edits.push(KeyEdit::Rename(name));
        }
        if let Some(restrictions) = patch.restrictions {
            check_restrictions(&restrictions, &*self.tier(&key.tier)?)?;
            edits.push(KeyEdit::Restrict(restrictions));
        }
        if let Some(budget) = patch.budget {
            check_budget(budget)?;
        }
        if !edits.is_empty() {
            self.edit_key(key, edits, asked.expected, asked.trail).await?;
        }
        if let Some(budget) = patch.budget {
            let change = budget.map_or(BudgetChange::Uncap, BudgetChange::Set);
            let (idem, actor) = (&asked.idem, &asked.actor);
            self.budget_command(&key.customer, &key.id, change, idem, actor).await?;
            self.0.keys.customer_changed(key.customer.clone());
        }
        Ok(self.0.store.key(&key.id).await?)
    }

    /// Refuses a key from now on; on other replicas within a second.
    ///
    /// # Errors
    /// [`Code::SystemKeyImmutable`], [`Code::VersionConflict`].
    pub async fn revoke_key(&self, key: &ApiKey, asked: Asked) -> Result<ApiKey, Fault> {
        check_mutable(key)?;
        let edit = KeyEdit::Revoke { at_ms: now_ms() };
        self.edit_key(key, vec![edit], asked.expected, asked.trail).await?;
        Ok(self.0.store.key(&key.id).await?)
    }

    /// Takes a revocation back.
    ///
    /// # Errors
    /// [`Code::KeyLimitReached`], [`Code::SystemKeyImmutable`], [`Code::VersionConflict`].
    pub async fn unrevoke_key(&self, key: &ApiKey, asked: Asked) -> Result<ApiKey, Fault> {
        check_mutable(key)?;
        let edit = KeyEdit::Unrevoke { limit: Some(self.tier(&key.tier)?.max_keys) };
        self.edit_key(key, vec![edit], asked.expected, asked.trail).await?;
        Ok(self.0.store.key(&key.id).await?)
    }

    /// Deletes a revoked key for good.
    ///
    /// # Errors
    /// [`Code::Unservable`] for a key that is active, [`Code::SystemKeyImmutable`],
    /// [`Code::VersionConflict`].
    pub async fn delete_key(&self, key: &ApiKey, asked: Asked) -> Result<(), Fault> {
        check_mutable(key)?;
        if key.revoked_ms.is_none() {
            let text = "Only a revoked key can be deleted. Revoke it first.";
            return Err(Fault::new(Code::Unservable, text));
        }
        let edit = KeyEdit::Delete { at_ms: now_ms() };
        self.edit_key(key, vec![edit], asked.expected, asked.trail).await
    }

    /// Adds to a key's budget; a key without one begins at zero.
    ///
    /// # Errors
    /// An amount that is not above zero, [`Code::SystemKeyImmutable`].
    pub async fn top_up_key(
        &self,
        key: &ApiKey,
        amount: Ncr,
        asked: Asked,
    ) -> Result<BudgetChanged, Fault> {
        check_mutable(key)?;
        if amount <= Ncr::ZERO {
            let error = FieldError::body("amount", "greater_than", "Must be greater than 0");
            return Err(Fault::validation(vec![error]));
        }
        let change = BudgetChange::Add(amount);
        let changed =
            self.budget_command(&key.customer, &key.id, change, &asked.idem, &asked.actor).await?;
        self.0.keys.customer_changed(key.customer.clone());
        if let Some(trail) = asked.trail {
            self.0.store.write(Vec::new(), Some(trail)).await?;
        }
        Ok(changed)
    }

    /// Keys a customer may have.
    ///
    /// # Errors
    /// When its tier is gone.
    pub fn max_keys(&self, tier: &str) -> Result<u32, Fault> {
        Ok(self.tier(tier)?.max_keys)
    }

    async fn has_superkey(&self, customer: &CustomerId) -> Result<bool, Fault> {
        let filter = KeyFilter {
            customer: Some(customer.clone()),
            revoked: Some(false),
            superkey: Some(true),
            ..KeyFilter::default()
        };
        Ok(self.0.store.count_keys(&filter).await? > 0)
    }

    async fn edit_key(
        &self,
        key: &ApiKey,
        edits: Vec<KeyEdit>,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<(), Fault> {
        // Each edit raises the version by one.
        let changes = (0..).zip(edits).map(|(n, edit)| Change::EditKey {
            id: key.id.clone(),
            expected: expected.map(|version| version + n),
            edit,
        });
        let written = self.0.store.write(changes.collect(), trail).await;
        // Also after a failure: it may have been written all the same. The keys of one customer
        // are few, and so all of them are read again.
        self.0.keys.customer_changed(key.customer.clone());
        written.map_err(|error| key_fault(error, &key.customer_name))
    }

    async fn budget_command(
        &self,
        customer: &CustomerId,
        key: &KeyId,
        change: BudgetChange,
        idem: &str,
        actor: &str,
    ) -> Result<BudgetChanged, Fault> {
        let command = Command::Budget(Budget {
            idem: format!("budget:{idem}"),
            customer: customer.clone(),
            key: key.clone(),
            change,
            actor: actor.to_owned(),
            at_ms: now_ms(),
        });
        match self.0.store.ledger().submit(command).await? {
            Outcome::BudgetChanged { previous, now, .. } => Ok(BudgetChanged { previous, now }),
            Outcome::IdempotencyConflict => Err(idempotency_conflict()),
            Outcome::InvalidAmount => Err(invalid_amount()),
            outcome => Err(surprise(&outcome)),
        }
    }
}

/// The same request id was used for another change.
pub(super) fn idempotency_conflict() -> Fault {
    Fault::new(Code::IdempotencyKeyReused, "this request id was used for another change")
}

pub(super) fn invalid_amount() -> Fault {
    let text = "The amount is zero where something must move, or out of range";
    Fault::validation(vec![FieldError::body("amount", "value_error", text)])
}

/// An answer that the ledger never gives to this question.
pub(super) fn surprise(outcome: &Outcome) -> Fault {
    tracing::error!(?outcome, "the ledger answered out of turn");
    Fault::internal()
}

fn check_mutable(key: &ApiKey) -> Result<(), Fault> {
    if key.system {
        let text = format!("'{}' is a system key and cannot be changed", key.name);
        return Err(Fault::new(Code::SystemKeyImmutable, text));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), Fault> {
    let refuse =
        |kind, msg: &str| Err(Fault::validation(vec![FieldError::body("name", kind, msg)]));
    let chars = name.chars().count();
    if chars < *NAME_CHARS.start() {
        return refuse("string_too_short", "String should have at least 3 characters");
    }
    if chars > *NAME_CHARS.end() {
        return refuse("string_too_long", "String should have at most 100 characters");
    }
    if name.starts_with(SYSTEM_PREFIX) {
        return refuse("value_error", "Names that begin with '__' are reserved");
    }
    if name.chars().any(char::is_control) {
        return refuse("value_error", "Control characters are not allowed");
    }
    Ok(())
}

fn check_restrictions(restrictions: &Restrictions, tier: &Tier) -> Result<(), Fault> {
    if !restrictions.limits.within(&tier.limits) {
        let text =
            format!("Rate limits of a key cannot be above those of its tier ({})", tier.name);
        return Err(Fault::new(Code::Unservable, text));
    }
    if restrictions.denied_scopes.len() > DENIED_SCOPES_MAX {
        let error = FieldError::body("restrictions", "too_long", "At most 1000 scopes");
        return Err(Fault::validation(vec![error]));
    }
    Ok(())
}

fn check_budget(budget: Option<Ncr>) -> Result<(), Fault> {
    if budget.is_some_and(Ncr::is_negative) {
        let text = "Must be greater than or equal to 0";
        let error = FieldError::body("key_budget", "greater_than_equal", text);
        return Err(Fault::validation(vec![error]));
    }
    Ok(())
}

fn key_fault(error: StoreError, customer: &str) -> Fault {
    match error {
        StoreError::Taken(Unique::KeyName) => {
            Fault::new(Code::Unservable, "A key of that name exists")
        }
        StoreError::KeyLimit(limit) => Fault::new(
            Code::KeyLimitReached,
            format!("The limit of {limit} active API keys is reached for '{customer}'"),
        ),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["abc", "Production key", "äöü", &"x".repeat(100)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "__relay", "a\nb", &"x".repeat(101)] {
            assert_eq!(check_name(bad).unwrap_err().code, Code::ValidationError, "{bad}");
        }
    }
}
