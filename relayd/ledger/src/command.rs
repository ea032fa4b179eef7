//! What can be asked of the ledger.

use relay_domain::{BootId, CustomerId, KeyId, Meters, Ncr, PriceId, ProviderId, RequestId, Scope};

use crate::account::Via;
use crate::row::{HoldState, Phase, Usage};

/// One thing asked of the ledger. Each carries its customer, by whom the writer is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put credit in or take it back.
    Credit(Credit),
    /// Change a key's budget.
    Budget(Budget),
    /// Reserve for a request.
    Hold(OpenHold),
    /// Reserve more for a request.
    Extend(Extend),
    /// Note how much was delivered.
    Checkpoint(Checkpoint),
    /// Charge and release the rest.
    Settle(Settle),
    /// Release without a charge.
    Void(Void),
    /// Resolve the hold of a process that died.
    Recover(Recover),
}

/// Which of a customer's two accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wallet {
    /// Bought credit.
    Paid,
    /// Granted credit.
    Promo,
}

/// Credit in or out. Applies once per `idem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Identifies the payment, grant or correction: an operator's request id, a gateway's event.
    pub idem: String,
    /// Whose.
    pub customer: CustomerId,
    /// Which account.
    pub wallet: Wallet,
    /// How much; negative takes back. Not zero.
    pub amount: Ncr,
    /// By which way it came.
    pub via: Via,
    /// The operator's words.
    pub reason: String,
    /// Who did it.
    pub actor: String,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

/// How a budget changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetChange {
    /// What may be spent from now on. Never less than what running requests already reserved.
    Set(Ncr),
    /// No limit any more.
    Uncap,
    /// More; no budget counts as zero.
    Add(Ncr),
}

/// A change of a key's budget. Applies once per `idem`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Identifies the change: the request id of whoever asked.
    pub idem: String,
    /// Who owns the key.
    pub customer: CustomerId,
    /// The key.
    pub key: KeyId,
    /// How it changes.
    pub change: BudgetChange,
    /// Who did it.
    pub actor: String,
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
}

/// A reservation. Whether the key has a budget is the ledger's own knowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// The request. Asking twice with the same content answers the same.
    pub id: RequestId,
    /// Who pays.
    pub customer: CustomerId,
    /// By which key.
    pub key: Option<KeyId>,
    /// What is bought.
    pub scope: Scope,
    /// By which price row.
    pub price: PriceId,
    /// How much to reserve; zero is allowed (the house pays).
    pub amount: Ncr,
    /// Whether granted credit may be used, and is used first.
    pub promo: bool,
    /// The process that asks.
    pub boot: BootId,
    /// Its fence, from 1.
    pub fence: i64,
    /// `Dispatched` when the work may leave while this commits.
    pub phase: Phase,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Now, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it may be released although its owner lives.
    pub deadline_ms: i64,
}

/// Names an open hold and proves ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRef {
    /// The request.
    pub id: RequestId,
    /// Who pays.
    pub customer: CustomerId,
    /// By which key.
    pub key: Option<KeyId>,
    /// The process that opened it.
    pub boot: BootId,
    /// With this fence.
    pub fence: i64,
}

/// A further reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// Which hold.
    pub hold: HoldRef,
    /// The whole amount wanted afterwards, so that asking twice reserves once.
    pub total: Ncr,
    /// Whether granted credit may be used.
    pub promo: bool,
}

/// What was delivered so far. An older number than the last is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which hold.
    pub hold: HoldRef,
    /// What was delivered.
    pub meters: Meters,
    /// What that costs.
    pub cost: Ncr,
    /// Its number, from 1.
    pub seq: i64,
}

/// The charge of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// Which hold.
    pub hold: HoldRef,
    /// The quote of `usage.meters` by the hold's price row.
    pub charge: Ncr,
    /// How it ran.
    pub usage: Usage,
    /// Who else is paid by it.
    pub share: Option<Share>,
}

/// A provider's part of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub provider: ProviderId,
    /// Basis points of the charge, 0 to 10,000; the provider's part is rounded down.
    pub bps: u16,
}

/// A release without a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Which hold.
    pub hold: HoldRef,
    /// `Voided`, or `Expired` when its deadline passed.
    pub into: HoldState,
    /// How it ran; its meters are kept but not charged.
    pub usage: Usage,
}

/// The end of a hold whose owner died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recover {
    /// Which hold; boot and fence are those of the dead owner.
    pub hold: HoldRef,
    /// Now, milliseconds since the epoch.
    pub at_ms: i64,
}

impl Command {
    /// The customer it is about.
    #[must_use]
    pub const fn customer(&self) -> &CustomerId {
        match self {
            Self::Credit(credit) => &credit.customer,
            Self::Budget(budget) => &budget.customer,
            Self::Hold(hold) => &hold.customer,
            Self::Extend(extend) => &extend.hold.customer,
            Self::Checkpoint(checkpoint) => &checkpoint.hold.customer,
            Self::Settle(settle) => &settle.hold.customer,
            Self::Void(void) => &void.hold.customer,
            Self::Recover(recover) => &recover.hold.customer,
        }
    }

    /// Whether it moves money in or out or changes a permission: acknowledged only when it
    /// survives a power cut.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        matches!(self, Self::Credit(_) | Self::Budget(_))
    }

    /// Whether it ends or follows work that already ran, so that it must never be dropped.
    #[must_use]
    pub const fn resolves(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::Void(_) | Self::Recover(_))
    }
}

impl Share {
    /// The part of a charge; `None` for a share of more than the whole, which nobody has.
    #[must_use]
    pub fn of(&self, charge: Ncr) -> Option<Ncr> {
        let part = crate::price::part(charge, self.bps)?;
        (!part.is_negative() && part <= charge).then_some(part)
    }
}

impl OpenHold {
    /// How the hold is named from now on.
    #[must_use]
    pub fn to_ref(&self) -> HoldRef {
        HoldRef {
            id: self.id,
            customer: self.customer.clone(),
            key: self.key.clone(),
            boot: self.boot,
            fence: self.fence,
        }
    }
}
