//! What the ledger answers. A refusal is an answer, not an error.

use relay_domain::Ncr;

use crate::row::HoldState;

/// The result of a settlement; the same however often it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// What the customer paid.
    pub charge: Ncr,
    /// What was asked above the hold and borne by the platform.
    pub write_off: Ncr,
}

/// The answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Credit was applied, now or by an earlier command with the same key.
    Credited {
        /// The transaction.
        txn: String,
        /// The customer's credit afterwards, held parts included.
        balance: Ncr,
        /// Whether an earlier command had applied it.
        replayed: bool,
    },
    /// The budget was changed, now or earlier.
    BudgetChanged {
        /// What it was; none is unlimited.
        previous: Option<Ncr>,
        /// What it is; none is unlimited.
        now: Option<Ncr>,
        /// Whether an earlier command had changed it.
        replayed: bool,
    },
    /// The amount is reserved (also the answer to an extension).
    Held {
        /// How much the hold reserves now.
        amount: Ncr,
        /// What the customer could still reserve.
        available: Ncr,
        /// What the key could still reserve; none when unlimited.
        budget: Option<Ncr>,
    },
    /// The checkpoint is noted, or a later one was.
    Checkpointed,
    /// The request is charged.
    Settled {
        /// The result.
        settlement: Settlement,
        /// What the customer could reserve now.
        available: Ncr,
        /// What the key could reserve now; none when unlimited.
        budget: Option<Ncr>,
    },
    /// The hold is released.
    Released {
        /// What the customer could reserve now.
        available: Ncr,
        /// What the key could reserve now; none when unlimited.
        budget: Option<Ncr>,
    },
    /// The hold had been released before the settlement came: the platform bears it.
    Late {
        /// How much.
        write_off: Ncr,
    },
    /// Refused: the customer's credit does not cover it.
    InsufficientCredits {
        /// What could be reserved or taken.
        available: Ncr,
    },
    /// Refused: the key's budget does not cover it.
    KeyBudgetExhausted {
        /// What could be reserved.
        available: Ncr,
    },
    /// Refused: no hold has that id, customer and key.
    UnknownHold,
    /// Refused: the hold was settled; this is the first result.
    AlreadySettled(Settlement),
    /// Refused: the hold was resolved.
    HoldClosed(HoldState),
    /// Refused: another process took the hold over.
    StaleFence,
    /// Refused: the id belongs to another hold.
    DuplicateHold,
    /// Refused: the idempotency key was used for something else.
    IdempotencyConflict,
    /// Refused: an amount below zero, zero where something must move, or beyond the range.
    InvalidAmount,
}
