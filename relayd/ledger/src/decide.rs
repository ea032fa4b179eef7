//! The one place where a batch is decided.

use relay_domain::Ncr;

use crate::account::{Account, Shard};
use crate::command::Command;
use crate::outcome::Outcome;
use crate::row::{AccountRow, HoldRow, Leg, TxnRow, UsageRow};
use crate::snapshot::{Change, Snapshot};
use crate::{credit, hold};

/// What to answer and what to write. Rows hold their final values; a store writes all of them in
/// one transaction or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// One per command, in order.
    pub outcomes: Vec<Outcome>,
    /// Accounts that changed, ascending; `version` is the new one.
    pub accounts: Vec<AccountRow>,
    /// Holds that are new or changed, ascending.
    pub holds: Vec<HoldRow>,
    /// New transactions, in order.
    pub txns: Vec<TxnRow>,
    /// New usage rows, in order.
    pub usage: Vec<UsageRow>,
}

/// Decides commands in order against the loaded rows. Pure: equal rows and commands give equal
/// decisions. Commands of one batch see the effects of those before them.
pub fn decide(snapshot: &mut Snapshot, shard: Shard, commands: &[Command]) -> Decision {
    let mut book = Book { snapshot, shard, txns: Vec::new(), usage: Vec::new() };
    let outcomes = commands
        .iter()
        .map(|command| match command {
            Command::Credit(credit) => credit::credit(&mut book, credit),
            Command::Budget(budget) => credit::budget(&mut book, budget),
            Command::Hold(open) => hold::open(&mut book, open),
            Command::Extend(extend) => hold::extend(&mut book, extend),
            Command::Checkpoint(checkpoint) => hold::checkpoint(&mut book, checkpoint),
            Command::Settle(settle) => hold::settle(&mut book, settle),
            Command::Void(void) => hold::void(&mut book, void),
            Command::Recover(recover) => hold::recover(&mut book, recover),
        })
        .collect();
    let Book { txns, usage, .. } = book;
    let (accounts, holds) = snapshot.take_changes();
    Decision { outcomes, accounts, holds, txns, usage }
}

/// The state a rule works on.
pub(crate) struct Book<'a> {
    pub(crate) snapshot: &'a mut Snapshot,
    pub(crate) shard: Shard,
    txns: Vec<TxnRow>,
    usage: Vec<UsageRow>,
}

impl Book<'_> {
    /// Moves the legs of a transaction and releases or reserves beside them, all or nothing.
    pub(crate) fn post(&mut self, txn: TxnRow, releases: &[Change]) -> Option<()> {
        let mut changes = Vec::with_capacity(txn.legs.len() * 2 + releases.len());
        for leg in &txn.legs {
            changes.push(Change {
                account: leg.debit.clone(),
                balance: Ncr::ZERO.checked_sub(leg.amount)?,
                held: Ncr::ZERO,
            });
            changes.push(Change {
                account: leg.credit.clone(),
                balance: leg.amount,
                held: Ncr::ZERO,
            });
        }
        for release in releases {
            changes.push(Change {
                account: release.account.clone(),
                balance: release.balance,
                held: release.held,
            });
        }
        self.snapshot.apply(&changes)?;
        self.snapshot.put_txn(txn.clone());
        self.txns.push(txn);
        Some(())
    }

    pub(crate) fn record(&mut self, row: UsageRow) {
        self.usage.push(row);
    }

    /// What a customer could reserve, and a key (none when unlimited).
    pub(crate) fn available(&self, hold: &HoldRow) -> (Ncr, Option<Ncr>) {
        let paid = self.snapshot.account(&Account::Paid(hold.customer.clone())).available();
        let promo = self.snapshot.account(&Account::Promo(hold.customer.clone())).available();
        let budget = hold.key.as_ref().and_then(|key| credit::capped(self.snapshot, key));
        (paid.checked_add(promo).unwrap_or(Ncr::MAX), budget.map(|row| row.available()))
    }
}

/// A leg, unless it would move nothing.
pub(crate) fn leg(debit: Account, credit: Account, amount: Ncr) -> Option<Leg> {
    (!amount.is_zero()).then_some(Leg { debit, credit, amount })
}
