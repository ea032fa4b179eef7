//! The rules of money: prices, accounts, holds and settlements, decided by one pure function.
//!
//! [`decide`] takes the rows that a batch of commands touches and returns what to answer and what
//! to write. A store loads those rows under a lock, calls it, and writes what it returned in the
//! same transaction; it has no rule of its own, and so two stores cannot disagree. Nothing here
//! reads a clock, a file or a random source: times and ids come in with the commands.
//!
//! Invariants that hold after every batch:
//! - each transfer has one debit and one credit account of one unit and an amount above zero, so
//!   all balances of a unit sum to zero;
//! - an account with a floor has `balance >= held >= 0`;
//! - `held` is the sum of the open holds' parts on that account;
//! - a hold is resolved once, by one usage row, and never for more than it reserved;
//! - an idempotency key applies once and answers the same ever after.

mod account;
mod command;
mod credit;
mod decide;
mod hold;
mod outcome;
mod price;
mod row;
mod seal;
mod snapshot;

#[cfg(test)]
mod tests;

pub use account::{Account, AccountError, Shard, Unit, Via};
pub use command::{
    Budget, BudgetChange, Checkpoint, Command, Credit, Extend, HoldRef, OpenHold, Recover, Settle,
    Share, Void, Wallet,
};
pub use decide::{Decision, decide};
pub use outcome::{Outcome, Settlement};
pub use price::{Ceiling, LongContext, Price, Rates};
pub use row::{
    AccountRow, AccountState, Blame, Claimed, CountSource, Earned, HoldRow, HoldState, Leg, Phase,
    TxnKind, TxnRow, UnknownWord, Usage, UsageRow, UsageStatus,
};
pub use seal::{Sealer, seal};
pub use snapshot::{Needs, Snapshot};
