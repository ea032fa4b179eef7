//! The rows of the ledger, as pure values.

use std::fmt;
use std::str::FromStr;

use relay_domain::{BootId, CustomerId, KeyId, Meters, Ncr, PriceId, ProviderId, RequestId, Scope};
use serde::{Deserialize, Serialize};

use crate::account::Account;

/// A stored word that this build does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word '{word}' where {expected} was expected")]
pub struct UnknownWord {
    word: String,
    expected: &'static str,
}

/// Gives an enum of words its text form, both ways; the text is what the store holds.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal, { $($(#[$each:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$each])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word, as stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
                    UnknownWord { word: text.chars().take(40).collect(), expected: $expected }
                })
            }
        }
    };
}

words! {
    /// Whether an account takes part. Only budgets are ever uncapped.
    AccountState, "a state of an account", {
        /// It does.
        Open = "open",
        /// A key's budget was lifted: it is no longer asked. What was held on it then is still
        /// settled against it.
        Uncapped = "uncapped",
    }
}

words! {
    /// Where a hold stands. Only `Open` has a way on.
    HoldState, "a state of a hold", {
        /// The amount is reserved.
        Open = "open",
        /// Settled: charged for all or part.
        Posted = "posted",
        /// Released without a charge.
        Voided = "voided",
        /// Released because its deadline passed.
        Expired = "expired",
    }
}

words! {
    /// How far the work under an open hold got, as far as the ledger was told.
    Phase, "a phase of a hold", {
        /// Reserved, nothing sent.
        Reserved = "reserved",
        /// About to be sent to a backend, or sent.
        Dispatched = "dispatched",
        /// Output is flowing; a checkpoint says how much.
        Streaming = "streaming",
    }
}

words! {
    /// Who counted.
    CountSource, "a source of a count", {
        /// The engine's own usage report.
        Engine = "engine",
        /// relayd counted what passed.
        Own = "own",
        /// The last checkpoint before a crash.
        Checkpoint = "checkpoint",
        /// Nobody: nothing was delivered.
        Nobody = "none",
    }
}

words! {
    /// How a request ended.
    UsageStatus, "an end of a request", {
        /// Answered in full.
        Completed = "completed",
        /// Ended by an error.
        Failed = "failed",
        /// The client left, or the operator stopped it.
        Cancelled = "cancelled",
        /// relayd died under it.
        Lost = "lost",
    }
}

words! {
    /// Whose fault an error was.
    Blame, "a party to blame", {
        /// The caller's.
        Client = "client",
        /// The backend's or the network's behind it.
        Provider = "provider",
        /// Ours.
        Relay = "relay",
    }
}

words! {
    /// What moved money.
    TxnKind, "a kind of transaction", {
        /// Bought credit came in.
        Topup = "topup",
        /// Credit was taken back.
        Deduct = "deduct",
        /// Credit was granted.
        Promo = "promo",
        /// A request was settled.
        Charge = "charge",
        /// A settlement came after its hold was released; the platform bears it.
        Late = "late",
        /// A key's budget was set, raised or lifted.
        Budget = "budget",
    }
}

/// An account with its two numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// Which.
    pub account: Account,
    /// Credits less debits.
    pub balance: Ncr,
    /// What open holds reserve of it.
    pub held: Ncr,
    /// Counts the writes; 0 is a row that does not exist yet.
    pub version: i64,
    /// Whether it takes part.
    pub state: AccountState,
}

/// A reservation for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRow {
    /// The request.
    pub id: RequestId,
    /// Who pays.
    pub customer: CustomerId,
    /// By which key, if by one.
    pub key: Option<KeyId>,
    /// What is bought.
    pub scope: Scope,
    /// The price row that hold and charge are quoted by.
    pub price: PriceId,
    /// Reserved of the granted credit.
    pub promo: Ncr,
    /// Reserved of the bought credit.
    pub paid: Ncr,
    /// Reserved of the key's budget; zero when the key had none.
    pub budget: Ncr,
    /// Where it stands.
    pub state: HoldState,
    /// How far the work got.
    pub phase: Phase,
    /// The process that owns it.
    pub boot: BootId,
    /// Raised when another takes it over; a write with an older fence is refused.
    pub fence: i64,
    /// What was delivered at the last checkpoint.
    pub ckpt_meters: Meters,
    /// What that costs.
    pub ckpt: Ncr,
    /// The number of the last checkpoint; 0 is none.
    pub ckpt_seq: i64,
    /// What was charged, once posted.
    pub charge: Ncr,
    /// What the settlement asked above the hold.
    pub write_off: Ncr,
    /// What a settlement asked after the hold was released without one.
    pub late: Option<Ncr>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// When it was opened, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it may be released although its owner lives.
    pub deadline_ms: i64,
    /// When it was resolved.
    pub resolved_ms: Option<i64>,
}

/// One leg of a transaction: `amount` from the debit account to the credit account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The account that gives.
    pub debit: Account,
    /// The account that gets.
    pub credit: Account,
    /// How much, above zero.
    pub amount: Ncr,
}

/// One transaction. Append-only; its id is its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnRow {
    /// `charge:<request>`, `late:<request>`, `credit:<key>` or `budget:<key>`.
    pub id: String,
    /// What it is.
    pub kind: TxnKind,
    /// The request or API key it is about; empty for credit.
    pub subject: String,
    /// The customer it is about.
    pub customer: CustomerId,
    /// The amount as asked: what was charged, credited (negative when deducted), or the change of
    /// a budget.
    pub amount: Ncr,
    /// The balance or budget before, for credit and budgets; none for a budget that was unlimited.
    pub before: Option<Ncr>,
    /// The same after.
    pub after: Option<Ncr>,
    /// By which way the money came; empty where none came.
    pub via: String,
    /// The operator's words.
    pub reason: String,
    /// Who did it: an operator's name or `relayd`.
    pub actor: String,
    /// What was asked, so that a reused idempotency key is told from a retry.
    pub fingerprint: String,
    /// When, milliseconds since the epoch.
    pub created_ms: i64,
    /// The movements; empty when nothing moved.
    pub legs: Vec<Leg>,
}

/// How a request ran and ended, as its driver saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The attempt that answered, from 1; 0 when none was made.
    pub attempt: u32,
    /// The backend that answered.
    pub backend: Option<String>,
    /// What was used.
    pub meters: Meters,
    /// Who counted.
    pub count: CountSource,
    /// What whoever answered claims to have counted, where that is not what counts.
    pub claimed: Option<Claimed>,
    /// Whether the count is an estimate.
    pub estimated: bool,
    /// How it ended.
    pub status: UsageStatus,
    /// The public error code, if it ended in one.
    pub error_code: Option<String>,
    /// Whose fault that was.
    pub blame: Option<Blame>,
    /// Time to the first content, in milliseconds.
    pub ttft_ms: Option<i64>,
    /// Time the backend took, in milliseconds.
    pub upstream_ms: Option<i64>,
    /// When it ended, milliseconds since the epoch.
    pub done_ms: i64,
    /// The public task id.
    pub task_id: Option<String>,
}

/// Counts by somebody's own word, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer, reasoning included.
    pub output: u64,
}

/// What a provider earned by a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earned {
    /// Who.
    pub provider: ProviderId,
    /// How much of the charge; never more than it.
    pub amount: Ncr,
}

/// The one usage row of a request. Append-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The request.
    pub request: RequestId,
    /// Who paid.
    pub customer: CustomerId,
    /// By which key.
    pub key: Option<KeyId>,
    /// What was bought.
    pub scope: Scope,
    /// By which price row.
    pub price: PriceId,
    /// How it ran.
    pub usage: Usage,
    /// Whether the answer was streamed.
    pub stream: bool,
    /// When it was accepted, milliseconds since the epoch.
    pub created_ms: i64,
    /// What the customer paid.
    pub charge: Ncr,
    /// What the platform bore.
    pub write_off: Ncr,
    /// What a provider earned of the charge.
    pub earned: Option<Earned>,
}

impl AccountRow {
    /// The row of an account that was never written. A key without a budget is not limited.
    #[must_use]
    pub const fn absent(account: Account) -> Self {
        let state = match account {
            Account::Budget(_) => AccountState::Uncapped,
            _ => AccountState::Open,
        };
        Self { account, balance: Ncr::ZERO, held: Ncr::ZERO, version: 0, state }
    }

    /// What can still be reserved. Zero when the numbers make no sense.
    #[must_use]
    pub const fn available(&self) -> Ncr {
        match self.balance.checked_sub(self.held) {
            Some(rest) => rest,
            None => Ncr::ZERO,
        }
    }
}

impl HoldRow {
    /// The whole amount reserved. Saturates, though no hold is opened that would.
    #[must_use]
    pub const fn amount(&self) -> Ncr {
        match self.promo.checked_add(self.paid) {
            Some(sum) => sum,
            None => Ncr::MAX,
        }
    }
}
