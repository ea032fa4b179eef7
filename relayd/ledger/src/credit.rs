//! Rules of credit that comes and goes, and of key budgets.

use relay_domain::{KeyId, Ncr};

use crate::account::Account;
use crate::command::{Budget, BudgetChange, Credit, Wallet};
use crate::decide::{Book, leg};
use crate::outcome::Outcome;
use crate::row::{AccountRow, AccountState, TxnKind, TxnRow};
use crate::snapshot::{Snapshot, budget_txn, credit_txn};

/// The budget of a key that has one.
pub(crate) fn capped(snapshot: &Snapshot, key: &KeyId) -> Option<AccountRow> {
    let row = snapshot.account(&Account::Budget(key.clone()));
    (row.state == AccountState::Open).then_some(row)
}

pub(crate) fn credit(book: &mut Book<'_>, credit: &Credit) -> Outcome {
    let id = credit_txn(&credit.idem);
    let wallet = match credit.wallet {
        Wallet::Paid => "paid",
        Wallet::Promo => "promo",
    };
    let fingerprint = format!("{wallet}:{}:{}", credit.amount.get(), credit.via);
    if let Some(first) = book.snapshot.txn(&id) {
        if first.fingerprint != fingerprint || first.customer != credit.customer {
            return Outcome::IdempotencyConflict;
        }
        return Outcome::Credited {
            txn: id,
            balance: first.after.unwrap_or(Ncr::ZERO),
            replayed: true,
        };
    }
    let paid = Account::Paid(credit.customer.clone());
    let promo = Account::Promo(credit.customer.clone());
    let (account, kind) = match (credit.wallet, credit.amount.is_negative()) {
        (Wallet::Paid, false) => (paid.clone(), TxnKind::Topup),
        (Wallet::Promo, false) => (promo.clone(), TxnKind::Promo),
        (Wallet::Paid, true) => (paid.clone(), TxnKind::Deduct),
        (Wallet::Promo, true) => (promo.clone(), TxnKind::Deduct),
    };
    let funding = Account::Funding(credit.via.clone(), book.shard);
    let moved = if credit.amount.is_negative() {
        Ncr::ZERO.checked_sub(credit.amount)
    } else {
        Some(credit.amount)
    };
    let Some(moved) = moved.filter(|moved| !moved.is_zero()) else {
        return Outcome::InvalidAmount;
    };
    let legs = if credit.amount.is_negative() {
        let available = book.snapshot.account(&account).available();
        if available < moved {
            return Outcome::InsufficientCredits { available };
        }
        leg(account, funding, moved)
    } else {
        leg(funding, account, moved)
    };
    let before =
        book.snapshot.account(&paid).balance.checked_add(book.snapshot.account(&promo).balance);
    let after = before.and_then(|before| before.checked_add(credit.amount));
    let Some(balance) = after else { return Outcome::InvalidAmount };
    let txn = TxnRow {
        id: id.clone(),
        kind,
        subject: String::new(),
        customer: credit.customer.clone(),
        amount: credit.amount,
        before,
        after,
        via: credit.via.to_string(),
        reason: credit.reason.clone(),
        actor: credit.actor.clone(),
        fingerprint,
        created_ms: credit.at_ms,
        legs: legs.into_iter().collect(),
    };
    match book.post(txn, &[]) {
        Some(()) => Outcome::Credited { txn: id, balance, replayed: false },
        None => Outcome::InvalidAmount,
    }
}

pub(crate) fn budget(book: &mut Book<'_>, budget: &Budget) -> Outcome {
    let id = budget_txn(&budget.idem);
    let fingerprint = match budget.change {
        BudgetChange::Set(amount) => format!("set:{}", amount.get()),
        BudgetChange::Add(amount) => format!("add:{}", amount.get()),
        BudgetChange::Uncap => "uncap".to_owned(),
    };
    if let Some(first) = book.snapshot.txn(&id) {
        if first.fingerprint != fingerprint || first.subject != budget.key.as_str() {
            return Outcome::IdempotencyConflict;
        }
        return Outcome::BudgetChanged { previous: first.before, now: first.after, replayed: true };
    }
    let account = Account::Budget(budget.key.clone());
    let row = book.snapshot.account(&account);
    let previous = capped(book.snapshot, &budget.key).map(|row| row.balance);
    // An unlimited key may still have held parts on its old budget; they stay until settled.
    let target = match budget.change {
        BudgetChange::Set(amount) if !amount.is_negative() => Some(amount.max(row.held)),
        BudgetChange::Add(amount) if !amount.is_negative() => {
            previous.unwrap_or(Ncr::ZERO).checked_add(amount).map(|sum| sum.max(row.held))
        }
        BudgetChange::Uncap => Some(row.held),
        BudgetChange::Set(_) | BudgetChange::Add(_) => None,
    };
    let change = target.and_then(|target| target.checked_sub(row.balance));
    let (Some(target), Some(change)) = (target, change) else { return Outcome::InvalidAmount };
    let legs = if change.is_negative() {
        let Some(moved) = Ncr::ZERO.checked_sub(change) else { return Outcome::InvalidAmount };
        leg(account.clone(), Account::BudgetSink(book.shard), moved)
    } else {
        leg(Account::BudgetSource(book.shard), account.clone(), change)
    };
    let uncap = budget.change == BudgetChange::Uncap;
    let now = (!uncap).then_some(target);
    let txn = TxnRow {
        id,
        kind: TxnKind::Budget,
        subject: budget.key.to_string(),
        customer: budget.customer.clone(),
        amount: change,
        before: previous,
        after: now,
        via: String::new(),
        reason: String::new(),
        actor: budget.actor.clone(),
        fingerprint,
        created_ms: budget.at_ms,
        legs: legs.into_iter().collect(),
    };
    if book.post(txn, &[]).is_none() {
        return Outcome::InvalidAmount;
    }
    let state = if uncap { AccountState::Uncapped } else { AccountState::Open };
    // Written even when nothing moved: a budget of zero is a budget.
    book.snapshot.put_account(AccountRow { state, ..book.snapshot.account(&account) });
    Outcome::BudgetChanged { previous, now, replayed: false }
}
