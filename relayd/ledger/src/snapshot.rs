//! The rows a batch needs, and the rows it has.

use std::collections::{BTreeSet, HashMap, HashSet};

use relay_domain::{Ncr, RequestId};

use crate::account::{Account, Shard};
use crate::command::{Command, HoldRef};
use crate::row::{AccountRow, HoldRow, TxnRow};

/// The rows that must be loaded, and locked, before a batch can be decided. Sorted: rows are
/// locked in ascending order of their ids, so that two writers never wait for each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Accounts.
    pub accounts: BTreeSet<Account>,
    /// Holds.
    pub holds: BTreeSet<RequestId>,
    /// Transactions, by id.
    pub txns: BTreeSet<String>,
}

/// The loaded rows, changed as commands are decided.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    accounts: HashMap<Account, AccountRow>,
    holds: HashMap<RequestId, HoldRow>,
    txns: HashMap<String, TxnRow>,
    changed_accounts: HashSet<Account>,
    changed_holds: HashSet<RequestId>,
}

/// A change of one account's two numbers.
pub(crate) struct Change {
    pub(crate) account: Account,
    pub(crate) balance: Ncr,
    pub(crate) held: Ncr,
}

impl Needs {
    /// What these commands touch when decided for `shard`.
    #[must_use]
    pub fn of(commands: &[Command], shard: Shard) -> Self {
        let mut needs = Self::default();
        for command in commands {
            needs.add(command, shard);
        }
        needs
    }

    fn add(&mut self, command: &Command, shard: Shard) {
        match command {
            Command::Credit(credit) => {
                self.accounts.insert(Account::Paid(credit.customer.clone()));
                self.accounts.insert(Account::Promo(credit.customer.clone()));
                self.accounts.insert(Account::Funding(credit.via.clone(), shard));
                self.txns.insert(credit_txn(&credit.idem));
            }
            Command::Budget(budget) => {
                self.accounts.insert(Account::Budget(budget.key.clone()));
                self.accounts.insert(Account::BudgetSource(shard));
                self.accounts.insert(Account::BudgetSink(shard));
                self.txns.insert(budget_txn(&budget.idem));
            }
            Command::Hold(hold) => self.add_hold(&hold.to_ref()),
            Command::Extend(extend) => self.add_hold(&extend.hold),
            Command::Checkpoint(checkpoint) => {
                self.holds.insert(checkpoint.hold.id);
            }
            Command::Void(void) => self.add_hold(&void.hold),
            Command::Settle(settle) => {
                self.add_settled(&settle.hold, shard);
                if let Some(share) = &settle.share {
                    self.accounts.insert(Account::Earning(share.provider.clone(), shard));
                }
            }
            Command::Recover(recover) => self.add_settled(&recover.hold, shard),
        }
    }

    fn add_hold(&mut self, hold: &HoldRef) {
        self.holds.insert(hold.id);
        self.accounts.insert(Account::Paid(hold.customer.clone()));
        self.accounts.insert(Account::Promo(hold.customer.clone()));
        if let Some(key) = &hold.key {
            self.accounts.insert(Account::Budget(key.clone()));
        }
    }

    fn add_settled(&mut self, hold: &HoldRef, shard: Shard) {
        self.add_hold(hold);
        self.accounts.insert(Account::Revenue(shard));
        self.accounts.insert(Account::WriteOff(shard));
        if hold.key.is_some() {
            self.accounts.insert(Account::BudgetSink(shard));
        }
    }
}

impl Snapshot {
    /// Adds a loaded account.
    pub fn load_account(&mut self, row: AccountRow) {
        self.accounts.insert(row.account.clone(), row);
    }

    /// Adds a loaded hold.
    pub fn load_hold(&mut self, row: HoldRow) {
        self.holds.insert(row.id, row);
    }

    /// Adds a loaded transaction.
    pub fn load_txn(&mut self, row: TxnRow) {
        self.txns.insert(row.id.clone(), row);
    }

    /// The account's row; all zero when it was never written.
    #[must_use]
    pub fn account(&self, account: &Account) -> AccountRow {
        self.accounts.get(account).cloned().unwrap_or_else(|| AccountRow::absent(account.clone()))
    }

    /// The hold's row.
    #[must_use]
    pub fn hold(&self, id: RequestId) -> Option<&HoldRow> {
        self.holds.get(&id)
    }

    /// The transaction's row.
    #[must_use]
    pub fn txn(&self, id: &str) -> Option<&TxnRow> {
        self.txns.get(id)
    }

    /// Applies changes to accounts, all or none: `None`, and nothing changed, when a number leaves
    /// its range or an account with a floor would fall below it.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Option<()> {
        let mut rows: Vec<AccountRow> = Vec::with_capacity(changes.len());
        for change in changes {
            if change.balance.is_zero() && change.held.is_zero() {
                continue;
            }
            let at = match rows.iter().position(|row| row.account == change.account) {
                Some(at) => at,
                None => {
                    rows.push(self.account(&change.account));
                    rows.len() - 1
                }
            };
            let row = &mut rows[at];
            row.balance = row.balance.checked_add(change.balance)?;
            row.held = row.held.checked_add(change.held)?;
        }
        let sound = |row: &AccountRow| {
            !row.held.is_negative() && (!row.account.has_floor() || row.balance >= row.held)
        };
        if !rows.iter().all(sound) {
            return None;
        }
        for row in rows {
            self.put_account(row);
        }
        Some(())
    }

    pub(crate) fn put_account(&mut self, row: AccountRow) {
        self.changed_accounts.insert(row.account.clone());
        self.accounts.insert(row.account.clone(), row);
    }

    pub(crate) fn put_hold(&mut self, row: HoldRow) {
        self.changed_holds.insert(row.id);
        self.holds.insert(row.id, row);
    }

    pub(crate) fn put_txn(&mut self, row: TxnRow) {
        self.txns.insert(row.id.clone(), row);
    }

    /// The changed rows, each version raised by one, in ascending order.
    pub(crate) fn take_changes(&mut self) -> (Vec<AccountRow>, Vec<HoldRow>) {
        let mut accounts = Vec::with_capacity(self.changed_accounts.len());
        for account in self.changed_accounts.drain() {
            if let Some(row) = self.accounts.get_mut(&account) {
                row.version += 1;
                accounts.push(row.clone());
            }
        }
        accounts.sort_unstable_by(|a, b| a.account.cmp(&b.account));
        let mut holds: Vec<HoldRow> =
            self.changed_holds.drain().filter_map(|id| self.holds.get(&id).cloned()).collect();
        holds.sort_unstable_by_key(|hold| hold.id);
        (accounts, holds)
    }
}

/// The id of the transaction that a credit's idempotency key names.
pub(crate) fn credit_txn(idem: &str) -> String {
    format!("credit:{idem}")
}

/// The id of the transaction that a budget's idempotency key names.
pub(crate) fn budget_txn(idem: &str) -> String {
    format!("budget:{idem}")
}
