//! Customers and their credit.

use crate::domain::{Code, CustomerId, Fault, FieldError, GUEST_TIER, Ncr, Scope};
use crate::ledger::{Command, Credit, Outcome, Via, Wallet};
use crate::store::{Change, Customer, CustomerEdit, CustomerStatus, NewCustomer, Trail};

use super::keys::{Asked, idempotency_conflict, invalid_amount, surprise};
use super::service::{Identity, now_ms, random_id};

/// Longest name and e-mail address, in characters: a column of the console, and the longest
/// address that mail allows.
const NAME_MAX_CHARS: usize = 100;
const EMAIL_MAX_CHARS: usize = 254;

/// Most scopes of an allowlist: a whole large catalogue. Each key in memory carries the list.
const ALLOWLIST_MAX: usize = 500;

/// A customer to make.
#[derive(Clone, Debug)]
pub struct CustomerRequest {
    /// Its id, where the caller chose one so that a repeated request names the same customer.
    pub id: Option<CustomerId>,
    /// The name, for people.
    pub name: String,
    /// The e-mail address; may be empty.
    pub email: String,
    /// The tier's name.
    pub tier: String,
}

/// Changes of a customer. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct CustomerPatch {
    /// Another name.
    pub name: Option<String>,
    /// Another tier.
    pub tier: Option<String>,
    /// Suspended or active.
    pub status: Option<CustomerStatus>,
    /// Another threshold of the balance warning.
    pub warning_threshold: Option<Ncr>,
    /// The only scopes that its ordinary keys may use; none lifts such a list.
    pub model_allowlist: Option<Option<Vec<Scope>>>,
}

/// Credit in, or out where the amount is negative.
#[derive(Clone, Debug)]
pub struct CreditRequest {
    /// Whose.
    pub customer: CustomerId,
    /// How much.
    pub amount: Ncr,
    /// By which way.
    pub via: Via,
    /// Why, for the books.
    pub reason: String,
}

/// What a credit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credited {
    /// The ledger transaction.
    pub txn: String,
    /// The customer's credit afterwards.
    pub balance: Ncr,
    /// Whether an earlier command had done it.
    pub replayed: bool,
}

impl Identity {
    /// Makes a customer.
    ///
    /// # Errors
    /// A bad name, an unknown tier.
    pub async fn create_customer(
        &self,
        request: CustomerRequest,
        trail: Option<Trail>,
    ) -> Result<Customer, Fault> {
        check_text("name", &request.name, 1, NAME_MAX_CHARS)?;
        check_text("email", &request.email, 0, EMAIL_MAX_CHARS)?;
        self.check_tier(&request.tier)?;
        let id = match request.id {
            Some(id) => id,
            None => random_id("cus_")?.parse().map_err(|_| Fault::internal())?,
        };
        let new = NewCustomer {
            id: id.clone(),
            name: request.name,
            email: request.email,
            tier: request.tier,
            created_ms: now_ms(),
        };
        self.0.store.write(vec![Change::NewCustomer(new)], trail).await?;
        Ok(self.0.store.customer(&id).await?)
    }

    /// Changes a customer. Its keys follow at once.
    ///
    /// # Errors
    /// A bad name, an unknown tier, [`Code::CustomerNotFound`], [`Code::VersionConflict`].
    pub async fn patch_customer(
        &self,
        id: &CustomerId,
        patch: CustomerPatch,
        asked: Asked,
    ) -> Result<Customer, Fault> {
        let mut edits = Vec::new();
        if let Some(name) = patch.name {
            check_text("name", &name, 1, NAME_MAX_CHARS)?;
            edits.push(CustomerEdit::Name(name));
        }
        if let Some(tier) = patch.tier {
            self.check_tier(&tier)?;
            edits.push(CustomerEdit::Tier(tier));
        }
        edits.extend(patch.status.map(CustomerEdit::Status));
        if let Some(threshold) = patch.warning_threshold {
            if threshold.is_negative() {
                let text = "Must be greater than or equal to 0";
                let error = FieldError::body("warning_threshold", "greater_than_equal", text);
                return Err(Fault::validation(vec![error]));
            }
            edits.push(CustomerEdit::WarningThreshold(threshold));
        }
        if let Some(allowlist) = patch.model_allowlist {
            if allowlist.as_ref().is_some_and(|scopes| scopes.len() > ALLOWLIST_MAX) {
                let text = format!("List should have at most {ALLOWLIST_MAX} items");
                let error = FieldError::body("model_allowlist", "too_long", text);
                return Err(Fault::validation(vec![error]));
            }
            edits.push(CustomerEdit::ModelAllowlist(allowlist));
        }
        // Each edit raises the version by one.
        let changes = (0..).zip(edits).map(|(n, edit)| Change::EditCustomer {
            id: id.clone(),
            expected: asked.expected.map(|version| version + n),
            edit,
        });
        let written = self.0.store.write(changes.collect(), asked.trail).await;
        self.0.keys.customer_changed(id.clone());
        written?;
        Ok(self.0.store.customer(id).await?)
    }

    /// Puts credit in, or takes it back, exactly once per `asked.idem`.
    ///
    /// # Errors
    /// [`Code::CustomerNotFound`]; [`Code::FailedPrecondition`] when more would be taken than is
    /// free; [`Code::IdempotencyKeyReused`].
    pub async fn credit(&self, request: CreditRequest, asked: Asked) -> Result<Credited, Fault> {
        // Also for the answer to an unknown customer: the ledger itself knows none.
        self.0.store.customer(&request.customer).await?;
        let command = Command::Credit(Credit {
            idem: format!("credit:{}", asked.idem),
            customer: request.customer,
            wallet: Wallet::Paid,
            amount: request.amount,
            via: request.via,
            reason: request.reason,
            actor: asked.actor,
            at_ms: now_ms(),
        });
        let credited = match self.0.store.ledger().submit(command).await? {
            Outcome::Credited { txn, balance, replayed } => Credited { txn, balance, replayed },
            Outcome::InsufficientCredits { available } => {
                let text = format!("only {available} USD can be taken back now");
                return Err(Fault::new(Code::FailedPrecondition, text));
            }
            Outcome::IdempotencyConflict => return Err(idempotency_conflict()),
            Outcome::InvalidAmount => return Err(invalid_amount()),
            outcome => return Err(surprise(&outcome)),
        };
        if let Some(trail) = asked.trail.filter(|_| !credited.replayed) {
            self.0.store.write(Vec::new(), Some(trail)).await?;
        }
        Ok(credited)
    }

    fn check_tier(&self, name: &str) -> Result<(), Fault> {
        let refuse = |text: String| {
            Err(Fault::validation(vec![FieldError::body("tier", "value_error", text)]))
        };
        if name == GUEST_TIER {
            return refuse("The guest tier is for callers without a credential".to_owned());
        }
        if self.tier(name).is_err() {
            return refuse("There is no tier of that name".to_owned());
        }
        Ok(())
    }
}

fn check_text(field: &'static str, text: &str, least: usize, most: usize) -> Result<(), Fault> {
    let chars = text.chars().count();
    if (least..=most).contains(&chars) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let msg = format!("Expected {least} to {most} characters, none of them a control character");
    Err(Fault::validation(vec![FieldError::body(field, "value_error", msg)]))
}
