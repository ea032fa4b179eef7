//! Quote, hold, renew, settle: what a request may cost before it runs and what it cost after.
//!
//! It turns principals and prices into commands of the ledger and outcomes into faults. It must
//! not know engines, formats or HTTP. The balances it remembers only say whether dispatch may
//! overlap a hold's commit; they never admit anything.
//!
//! Invariants:
//! - a [`Hold`] has exactly one exit: settled, or released; one that is dropped is released in
//!   the background, also when it was dropped before its commit;
//! - whoever settles waits, but the settlement does not: dropping the waiting future changes
//!   nothing;
//! - guests are served on the house: their hold is zero and their usage is written off.

mod balances;
mod hold;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::domain::{Code, CustomerId, Fault, Ncr, RequestId};
use crate::identity::Principal;
use crate::ledger::{Outcome, Price};
use crate::store::Store;

pub use hold::{Growth, Hold, Holding, Settled};

use balances::Balances;

/// The customer that stands for guests in usage rows. It has no account and needs none.
pub const HOUSE: &str = "cus_0000000000000000";

/// Most checkpoints a second of the whole process: more would take the ledger's time from holds
/// and settlements. Beyond it streams are checkpointed less often, and a crash costs more of them.
const CHECKPOINTS_PER_S: u32 = 1_000;

/// How many ceilings the remembered balance must cover before dispatch may overlap a commit.
const OVERLAP_CEILINGS: i64 = 4;

/// Quotes, holds and settles. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metering(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    house: CustomerId,
    balances: Balances,
    /// Commands that outlive whoever asked for them.
    tasks: TaskTracker,
    checkpoints: Pace,
}

/// What to reserve.
#[derive(Clone, Debug)]
pub struct HoldSpec {
    /// The request.
    pub id: RequestId,
    /// Who asks, and so who pays.
    pub principal: Principal,
    /// The price row of hold and charge.
    pub price: Arc<Price>,
    /// The ceiling of what is reserved first: the whole request, or a stream's first window.
    pub amount: Ncr,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// When the request was accepted, milliseconds since the epoch.
    pub created_ms: i64,
    /// How long the request may take at most.
    pub deadline: Duration,
}

/// Counts what happened in this second.
#[derive(Debug, Default)]
struct Pace {
    second: AtomicI64,
    count: AtomicU32,
}

impl Metering {
    /// Metering over a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Inner {
            store,
            house: house(),
            balances: Balances::default(),
            tasks: TaskTracker::new(),
            checkpoints: Pace::default(),
        }))
    }

    /// Reserves. The command is on its way when this returns; the future waits for its commit.
    /// Dropping the future before it is ready releases what was reserved.
    ///
    /// Refusals are [`Code::InsufficientCredits`], [`Code::KeyBudgetExhausted`] and, when the
    /// ledger cannot take it, [`Code::ServiceUnavailable`].
    pub fn hold(&self, spec: HoldSpec) -> Holding {
        Holding::begin(Arc::clone(&self.0), spec)
    }

    /// Whether work for this hold may begin while it commits: the remembered balance and budget,
    /// less what is being reserved now, cover four such ceilings. False for whoever is not
    /// remembered.
    #[must_use]
    pub fn may_overlap(&self, spec: &HoldSpec) -> bool {
        let Some(key) = spec.principal.key() else {
            // Nothing can be refused to the house.
            return true;
        };
        let wanted = spec.amount.checked_mul(OVERLAP_CEILINGS).unwrap_or(Ncr::MAX);
        self.0.balances.cover(&key.customer_id, Some(&key.key_id), wanted)
    }

    /// What a customer and a key could reserve when that was last heard of, at most a few
    /// seconds ago.
    #[must_use]
    pub fn remembered(&self, customer: &CustomerId) -> Option<Ncr> {
        self.0.balances.credit(customer)
    }

    /// Waits until every hold that was dropped is released. Call it after the last request and
    /// before the store is closed.
    pub async fn close(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Pace {
    /// Whether one more may happen in the second of `now_ms`.
    fn allows(&self, now_ms: i64) -> bool {
        let second = now_ms / 1_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.count.store(0, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed) < CHECKPOINTS_PER_S
    }
}

#[expect(clippy::expect_used, reason = "a constant that a test parses")]
fn house() -> CustomerId {
    HOUSE.parse().expect("the house's id is well-formed")
}

/// How a refusal of the ledger is told.
fn refused(outcome: &Outcome) -> Fault {
    match outcome {
        Outcome::InsufficientCredits { .. } => Fault::new(
            Code::InsufficientCredits,
            "Insufficient credits for this model. Top up your account to continue.",
        ),
        Outcome::KeyBudgetExhausted { .. } => Fault::new(
            Code::KeyBudgetExhausted,
            "This API key's budget is exhausted. Top up the key to continue.",
        ),
        other => {
            tracing::error!(outcome = ?other, "the ledger answered what was not asked");
            Fault::internal()
        }
    }
}
