//! One reservation, from its request to its one exit.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{HoldSpec, Inner, refused};
use crate::domain::{CustomerId, Fault, KeyId, Meter, Meters, Ncr, ProviderId};
use crate::ledger::{
    Blame, Checkpoint, Command, CountSource, Extend, HoldRef, HoldState, OpenHold, Outcome, Phase,
    Price, Settle, Settlement, Share, Usage, UsageStatus, Void,
};
use crate::store::{Answer, LedgerError};
use crate::telemetry::names;

/// The fence of a hold's first owner.
const FIRST_FENCE: i64 = 1;
/// No request has more of one meter than this: beyond it a count is nonsense and is cut.
const METER_MAX: u64 = 1 << 40;

/// A reservation under way. Ready when it is committed or refused.
#[derive(Debug)]
#[must_use = "dropping it releases what it reserves"]
pub struct Holding {
    draft: Option<Draft>,
    answer: Option<Answer>,
    /// Why it did not even get into the queue.
    refusal: Option<LedgerError>,
}

/// A committed reservation.
#[derive(Debug)]
#[must_use = "a hold is settled or released"]
pub struct Hold {
    draft: Draft,
    amount: Ncr,
    checkpoints: i64,
    /// Whether it had its exit.
    ended: bool,
}

/// More that was reserved for a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth(Ncr);

/// What a settlement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What the customer paid.
    pub charge: Ncr,
    /// What was asked above the hold, or too late, and borne by the platform.
    pub write_off: Ncr,
    /// What was billed.
    pub meters: Meters,
}

/// What every command about a hold needs.
#[derive(Clone, Debug)]
struct Draft {
    inner: Arc<Inner>,
    reference: HoldRef,
    price: Arc<Price>,
    /// Whether the house pays.
    house: bool,
    /// What the first reservation asked.
    asked: Ncr,
}

impl Holding {
    pub(super) fn begin(inner: Arc<Inner>, spec: HoldSpec) -> Self {
        let key = spec.principal.key();
        let house = key.is_none();
        let customer = key.map_or_else(|| inner.house.clone(), |key| key.customer_id.clone());
        let key_id = key.map(|key| key.key_id.clone());
        let asked = if house { Ncr::ZERO } else { spec.amount };
        let deadline_ms = i64::try_from(spec.deadline.as_millis()).unwrap_or(i64::MAX);
        let open = OpenHold {
            id: spec.id,
            customer: customer.clone(),
            key: key_id.clone(),
            scope: spec.price.scope.clone(),
            price: spec.price.id.clone(),
            amount: asked,
            promo: true,
            boot: inner.store.boot(),
            fence: FIRST_FENCE,
            phase: Phase::Dispatched,
            stream: spec.stream,
            created_ms: spec.created_ms,
            deadline_ms: spec.created_ms.saturating_add(deadline_ms),
        };
        let reference = open.to_ref();
        inner.balances.depart(&customer, key_id.as_ref(), asked);
        let (answer, refusal) = match inner.store.ledger().try_submit(Command::Hold(open)) {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        let draft = Draft { inner, reference, price: spec.price, house, asked };
        if refusal.is_some() {
            draft.arrived();
        }
        Self { draft: Some(draft), answer, refusal }
    }
}

impl Future for Holding {
    type Output = Result<Hold, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.refusal.take() {
            self.draft = None;
            return Poll::Ready(Err(error.into()));
        }
        let Some(answer) = self.answer.as_mut() else {
            // Polled after it was ready; there is nothing more to come.
            return Poll::Ready(Err(Fault::internal()));
        };
        let Poll::Ready(outcome) = Pin::new(answer).poll(cx) else { return Poll::Pending };
        self.answer = None;
        let Some(draft) = self.draft.take() else { return Poll::Ready(Err(Fault::internal())) };
        draft.arrived();
        Poll::Ready(match outcome {
            Ok(Outcome::Held { amount, available, budget }) => {
                draft.hear(available, budget);
                Ok(Hold { draft, amount, checkpoints: 0, ended: false })
            }
            Ok(refusal) => {
                if let Outcome::InsufficientCredits { available } = refusal {
                    // Of the key's budget nothing was said.
                    draft.inner.balances.hear(draft.customer(), None, available, None);
                }
                Err(refused(&refusal))
            }
            Err(error) => Err(error.into()),
        })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let (Some(answer), Some(draft)) = (self.answer.take(), self.draft.take()) else { return };
        let tasks = draft.inner.tasks.clone();
        tasks.spawn(async move {
            let outcome = answer.await;
            draft.arrived();
            if matches!(outcome, Ok(Outcome::Held { .. })) {
                draft.release(abandoned()).await;
            }
        });
    }
}

impl Hold {
    /// How much is reserved.
    #[must_use]
    pub fn amount(&self) -> Ncr {
        self.amount
    }

    /// Reserves more, up to `total` in all. The future can be polled while the hold is used; what
    /// it brings is noted by [`Hold::grown`].
    ///
    /// # Errors
    /// As [`Metering::hold`](super::Metering::hold).
    pub fn extend(
        &self,
        total: Ncr,
    ) -> impl Future<Output = Result<Growth, Fault>> + Send + 'static {
        let draft = self.draft.clone();
        let command = Command::Extend(Extend { hold: draft.reference.clone(), total, promo: true });
        async move {
            if draft.house {
                return Ok(Growth(Ncr::ZERO));
            }
            let answer = draft.inner.store.ledger().try_submit(command)?;
            match answer.await? {
                Outcome::Held { amount, available, budget } => {
                    draft.hear(available, budget);
                    Ok(Growth(amount))
                }
                refusal => Err(refused(&refusal)),
            }
        }
    }

    /// Notes what an extension brought.
    pub fn grown(&mut self, growth: Growth) {
        self.amount = self.amount.max(growth.0);
    }

    /// Tells the ledger what was delivered so far: what a crash is charged by. Not waited for, and
    /// left out when the process already writes its share of checkpoints this second.
    pub fn checkpoint(&mut self, meters: &Meters) {
        let meters = plausible(meters);
        let Some(cost) = self.draft.price.quote(&meters) else { return };
        if !self.draft.inner.checkpoints.allows(now_ms()) {
            return;
        }
        self.checkpoints += 1;
        let command = Command::Checkpoint(Checkpoint {
            hold: self.draft.reference.clone(),
            meters,
            cost,
            seq: self.checkpoints,
        });
        if let Err(error) = self.draft.inner.store.ledger().try_submit(command) {
            tracing::debug!(%error, "checkpoint left out");
        }
    }

    /// Charges what was used, at most what is reserved, and releases the rest. The settlement is
    /// on its way when this is first polled and cannot be taken back.
    ///
    /// # Errors
    /// When the ledger cannot commit it in time: the hold then stays open until it can, or until
    /// recovery charges the last checkpoint.
    pub async fn settle(self, usage: Usage) -> Result<Settled, Fault> {
        self.settle_for(usage, None).await
    }

    /// The same for an answer of a provider, who earns the share of the charge that the hold's
    /// price row names.
    ///
    /// # Errors
    /// As [`Hold::settle`].
    pub async fn settle_for(
        mut self,
        usage: Usage,
        provider: Option<ProviderId>,
    ) -> Result<Settled, Fault> {
        let meters = plausible(&usage.meters);
        let charge = self.draft.price.quote(&meters).unwrap_or_else(|| {
            tracing::error!(
                ?meters,
                "usage beyond the range of amounts, the whole hold is charged"
            );
            self.amount
        });
        let usage = Usage { meters, ..usage };
        let hold = self.draft.reference.clone();
        let bps = self.draft.price.provider_bps;
        let share = provider.map(|provider| Share { provider, bps });
        let outcome = self.leave(Command::Settle(Settle { hold, charge, usage, share })).await?;
        let settlement = match outcome {
            Outcome::Settled { settlement, available, budget } => {
                self.draft.hear(available, budget);
                settlement
            }
            Outcome::AlreadySettled(settlement) => settlement,
            Outcome::Late { write_off } => {
                tracing::error!(
                    request_id = %self.draft.reference.id,
                    write_off_ncr = write_off.get(),
                    "settled after its hold was released, written off"
                );
                Settlement { charge: Ncr::ZERO, write_off }
            }
            refusal => return Err(refused(&refusal)),
        };
        if !settlement.write_off.is_zero() {
            let amount = u64::try_from(settlement.write_off.get()).unwrap_or(0);
            metrics::counter!(names::WRITE_OFF).increment(amount);
        }
        Ok(Settled { charge: settlement.charge, write_off: settlement.write_off, meters })
    }

    /// Releases the hold without a charge; `usage` says why. Returns when that is committed.
    pub async fn void(mut self, usage: Usage) {
        let usage = Usage { meters: plausible(&usage.meters), ..usage };
        let hold = self.draft.reference.clone();
        let void = Command::Void(Void { hold, into: HoldState::Voided, usage });
        match self.leave(void).await {
            Ok(Outcome::Released { available, budget }) => self.draft.hear(available, budget),
            Ok(other) => tracing::error!(outcome = ?other, "a hold was not released"),
            Err(fault) => tracing::error!(%fault, "a hold was not released yet"),
        }
    }

    /// Sends the one command that ends the hold, from a task that nobody can cancel.
    async fn leave(&mut self, command: Command) -> Result<Outcome, Fault> {
        self.ended = true;
        let inner = Arc::clone(&self.draft.inner);
        let task =
            self.draft.inner.tasks.spawn(async move { inner.store.ledger().submit(command).await });
        match task.await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => {
                tracing::error!(%error, "the task of a settlement failed");
                Err(Fault::internal())
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        tracing::warn!(request_id = %self.draft.reference.id, "a hold was dropped, releasing it");
        let draft = self.draft.clone();
        let tasks = draft.inner.tasks.clone();
        tasks.spawn(async move { draft.release(abandoned()).await });
    }
}

impl Draft {
    fn customer(&self) -> &CustomerId {
        &self.reference.customer
    }

    fn key(&self) -> Option<&KeyId> {
        self.reference.key.as_ref()
    }

    fn hear(&self, available: Ncr, budget: Option<Ncr>) {
        if !self.house {
            self.inner.balances.hear(self.customer(), self.key(), available, budget);
        }
    }

    fn arrived(&self) {
        self.inner.balances.arrive(self.customer(), self.key(), self.asked);
    }

    async fn release(&self, usage: Usage) {
        let hold = self.reference.clone();
        let void = Command::Void(Void { hold, into: HoldState::Voided, usage });
        if let Err(error) = self.inner.store.ledger().submit(void).await {
            tracing::error!(%error, "a dropped hold was not released; recovery will do it");
        }
    }
}

/// How a request ended whose driver let go of its hold.
fn abandoned() -> Usage {
    Usage {
        attempt: 0,
        backend: None,
        meters: Meters::default(),
        count: CountSource::Nobody,
        claimed: None,
        estimated: false,
        status: UsageStatus::Cancelled,
        error_code: None,
        blame: Some(Blame::Relay),
        ttft_ms: None,
        upstream_ms: None,
        done_ms: now_ms(),
        task_id: None,
    }
}

/// Meters cut to what a request can have.
fn plausible(meters: &Meters) -> Meters {
    let mut cut = *meters;
    for meter in Meter::ALL {
        let quantity = cut.get_mut(meter);
        *quantity = (*quantity).min(METER_MAX);
    }
    cut
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
