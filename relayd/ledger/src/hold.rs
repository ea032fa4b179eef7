//! Rules of holds: reserve, extend, settle once, release.

use relay_domain::{Meters, Ncr};

use crate::account::Account;
use crate::command::{Checkpoint, Extend, HoldRef, OpenHold, Recover, Settle, Share, Void};
use crate::credit::capped;
use crate::decide::{Book, leg};
use crate::outcome::{Outcome, Settlement};
use crate::row::{
    CountSource, Earned, HoldRow, HoldState, Leg, Phase, TxnKind, TxnRow, Usage, UsageRow,
    UsageStatus,
};
use crate::snapshot::Change;

/// Who is written as the actor of what no operator did.
const ACTOR: &str = "relayd";

pub(crate) fn open(book: &mut Book<'_>, open: &OpenHold) -> Outcome {
    if open.amount.is_negative() {
        return Outcome::InvalidAmount;
    }
    if let Some(found) = book.snapshot.hold(open.id) {
        let same = found.customer == open.customer
            && found.key == open.key
            && found.price == open.price
            && found.boot == open.boot
            && found.fence == open.fence;
        return match found.state {
            HoldState::Open if same && found.amount() >= open.amount => held(book, &found.clone()),
            _ => Outcome::DuplicateHold,
        };
    }
    let empty = HoldRow {
        id: open.id,
        customer: open.customer.clone(),
        key: open.key.clone(),
        scope: open.scope.clone(),
        price: open.price.clone(),
        promo: Ncr::ZERO,
        paid: Ncr::ZERO,
        budget: Ncr::ZERO,
        state: HoldState::Open,
        phase: open.phase,
        boot: open.boot,
        fence: open.fence,
        ckpt_meters: Meters::default(),
        ckpt: Ncr::ZERO,
        ckpt_seq: 0,
        charge: Ncr::ZERO,
        write_off: Ncr::ZERO,
        late: None,
        stream: open.stream,
        created_ms: open.created_ms,
        deadline_ms: open.deadline_ms,
        resolved_ms: None,
    };
    match reserve(book, empty, open.amount, open.promo) {
        Ok(row) => held(book, &row),
        Err(refusal) => refusal,
    }
}

pub(crate) fn extend(book: &mut Book<'_>, extend: &Extend) -> Outcome {
    let row = match owned(book, &extend.hold) {
        Ok(row) => row,
        Err(refusal) => return refusal,
    };
    let Some(more) = extend.total.checked_sub(row.amount()) else {
        return Outcome::InvalidAmount;
    };
    if more.is_negative() || more.is_zero() {
        return held(book, &row);
    }
    match reserve(book, row, more, extend.promo) {
        Ok(row) => held(book, &row),
        Err(refusal) => refusal,
    }
}

pub(crate) fn checkpoint(book: &mut Book<'_>, checkpoint: &Checkpoint) -> Outcome {
    let row = match owned(book, &checkpoint.hold) {
        Ok(row) => row,
        Err(refusal) => return refusal,
    };
    if checkpoint.cost.is_negative() {
        return Outcome::InvalidAmount;
    }
    if checkpoint.seq > row.ckpt_seq {
        book.snapshot.put_hold(HoldRow {
            phase: Phase::Streaming,
            ckpt_meters: checkpoint.meters,
            ckpt: checkpoint.cost,
            ckpt_seq: checkpoint.seq,
            ..row
        });
    }
    Outcome::Checkpointed
}

pub(crate) fn settle(book: &mut Book<'_>, settle: &Settle) -> Outcome {
    if settle.charge.is_negative() {
        return Outcome::InvalidAmount;
    }
    let row = match found(book, &settle.hold) {
        Ok(row) => row,
        Err(refusal) => return refusal,
    };
    match row.state {
        HoldState::Open if row.fence != settle.hold.fence || row.boot != settle.hold.boot => {
            Outcome::StaleFence
        }
        HoldState::Open => {
            post(book, row, settle.charge, settle.usage.clone(), settle.share.as_ref())
        }
        HoldState::Posted => already(&row),
        HoldState::Voided | HoldState::Expired => late(book, row, settle),
    }
}

pub(crate) fn void(book: &mut Book<'_>, void: &Void) -> Outcome {
    let row = match found(book, &void.hold) {
        Ok(row) => row,
        Err(refusal) => return refusal,
    };
    match row.state {
        HoldState::Open if row.fence != void.hold.fence || row.boot != void.hold.boot => {
            Outcome::StaleFence
        }
        HoldState::Open => {
            let into = match void.into {
                HoldState::Expired => HoldState::Expired,
                _ => HoldState::Voided,
            };
            release(book, row, into, void.usage.clone())
        }
        HoldState::Posted => already(&row),
        HoldState::Voided | HoldState::Expired => released(book, &row),
    }
}

pub(crate) fn recover(book: &mut Book<'_>, recover: &Recover) -> Outcome {
    let row = match found(book, &recover.hold) {
        Ok(row) => row,
        Err(refusal) => return refusal,
    };
    match row.state {
        HoldState::Open if row.fence != recover.hold.fence || row.boot != recover.hold.boot => {
            return Outcome::StaleFence;
        }
        HoldState::Open => {}
        HoldState::Posted => return already(&row),
        state => return Outcome::HoldClosed(state),
    }
    let row = HoldRow { fence: row.fence + 1, ..row };
    let streamed = row.phase == Phase::Streaming && row.ckpt_seq > 0;
    let usage = Usage {
        attempt: 0,
        backend: None,
        meters: if streamed { row.ckpt_meters } else { Meters::default() },
        count: if streamed { CountSource::Checkpoint } else { CountSource::Nobody },
        claimed: None,
        estimated: false,
        status: UsageStatus::Lost,
        error_code: None,
        blame: None,
        ttft_ms: None,
        upstream_ms: None,
        done_ms: recover.at_ms,
        task_id: None,
    };
    if streamed {
        let cost = row.ckpt;
        post(book, row, cost, usage, None)
    } else {
        release(book, row, HoldState::Voided, usage)
    }
}

/// The hold that a reference names, whatever its state.
fn found(book: &Book<'_>, hold: &HoldRef) -> Result<HoldRow, Outcome> {
    match book.snapshot.hold(hold.id) {
        Some(row) if row.customer == hold.customer && row.key == hold.key => Ok(row.clone()),
        _ => Err(Outcome::UnknownHold),
    }
}

/// The hold that a reference names, if it is open and its owner's.
fn owned(book: &Book<'_>, hold: &HoldRef) -> Result<HoldRow, Outcome> {
    let row = found(book, hold)?;
    match row.state {
        HoldState::Open if row.fence == hold.fence && row.boot == hold.boot => Ok(row),
        HoldState::Open => Err(Outcome::StaleFence),
        HoldState::Posted => Err(already(&row)),
        state => Err(Outcome::HoldClosed(state)),
    }
}

/// Reserves `more` for a hold: of granted credit first, then of bought credit, and of the key's
/// budget beside them.
fn reserve(book: &mut Book<'_>, row: HoldRow, more: Ncr, promo: bool) -> Result<HoldRow, Outcome> {
    let promo_account = Account::Promo(row.customer.clone());
    let paid_account = Account::Paid(row.customer.clone());
    let granted = if promo { book.snapshot.account(&promo_account).available() } else { Ncr::ZERO };
    let bought = book.snapshot.account(&paid_account).available();
    let available = granted.checked_add(bought).unwrap_or(Ncr::MAX);
    if available < more {
        return Err(Outcome::InsufficientCredits { available });
    }
    let budget = row.key.as_ref().and_then(|key| capped(book.snapshot, key));
    if let Some(budget) = &budget
        && budget.available() < more
    {
        return Err(Outcome::KeyBudgetExhausted { available: budget.available() });
    }
    let from_promo = granted.min(more);
    let parts = (|| {
        let from_paid = more.checked_sub(from_promo)?;
        let from_budget = if budget.is_some() { more } else { Ncr::ZERO };
        let grown = HoldRow {
            promo: row.promo.checked_add(from_promo)?,
            paid: row.paid.checked_add(from_paid)?,
            budget: row.budget.checked_add(from_budget)?,
            ..row.clone()
        };
        grown.promo.checked_add(grown.paid)?;
        let mut changes = vec![
            Change { account: promo_account, balance: Ncr::ZERO, held: from_promo },
            Change { account: paid_account, balance: Ncr::ZERO, held: from_paid },
        ];
        if let Some(budget) = budget {
            changes.push(Change { account: budget.account, balance: Ncr::ZERO, held: from_budget });
        }
        book.snapshot.apply(&changes)?;
        Some(grown)
    })();
    let grown = parts.ok_or(Outcome::InvalidAmount)?;
    book.snapshot.put_hold(grown.clone());
    Ok(grown)
}

/// The changes that give back everything a hold reserved.
fn releases(row: &HoldRow) -> Option<Vec<Change>> {
    let mut changes = Vec::with_capacity(3);
    let mut give_back = |account: Account, held: Ncr| -> Option<()> {
        if !held.is_zero() {
            let held = Ncr::ZERO.checked_sub(held)?;
            changes.push(Change { account, balance: Ncr::ZERO, held });
        }
        Some(())
    };
    give_back(Account::Promo(row.customer.clone()), row.promo)?;
    give_back(Account::Paid(row.customer.clone()), row.paid)?;
    if let Some(key) = &row.key {
        give_back(Account::Budget(key.clone()), row.budget)?;
    }
    Some(changes)
}

/// Charges a hold, at most what it reserved, gives a provider its share of the charge, and
/// releases the rest.
fn post(
    book: &mut Book<'_>,
    row: HoldRow,
    asked: Ncr,
    usage: Usage,
    share: Option<&Share>,
) -> Outcome {
    let charge = asked.min(row.amount());
    let from_promo = charge.min(row.promo);
    let parts = (|| {
        let from_paid = charge.checked_sub(from_promo)?;
        let excess = asked.checked_sub(charge)?;
        let revenue = Account::Revenue(book.shard);
        let earned = match share {
            Some(share) => Some((&share.provider, share.of(charge)?)),
            None => None,
        };
        let legs = [
            leg(Account::Promo(row.customer.clone()), revenue.clone(), from_promo),
            leg(Account::Paid(row.customer.clone()), revenue.clone(), from_paid),
            leg(Account::WriteOff(book.shard), revenue.clone(), excess),
            earned.and_then(|(provider, part)| {
                leg(revenue, Account::Earning(provider.clone(), book.shard), part)
            }),
            row.key.clone().and_then(|key| {
                let spent = charge.min(row.budget);
                leg(Account::Budget(key), Account::BudgetSink(book.shard), spent)
            }),
        ];
        let earned = earned.map(|(provider, amount)| Earned { provider: provider.clone(), amount });
        Some((excess, earned, legs.into_iter().flatten().collect::<Vec<_>>(), releases(&row)?))
    })();
    let Some((write_off, earned, legs, releases)) = parts else { return Outcome::InvalidAmount };
    let done = if legs.is_empty() {
        book.snapshot.apply(&releases)
    } else {
        let txn = movement(&row, TxnKind::Charge, charge, usage.done_ms, legs);
        book.post(txn, &releases)
    };
    if done.is_none() {
        return Outcome::InvalidAmount;
    }
    let posted = HoldRow {
        state: HoldState::Posted,
        charge,
        write_off,
        resolved_ms: Some(usage.done_ms),
        ..row
    };
    let (available, budget) = book.available(&posted);
    finish(book, posted, usage, earned);
    Outcome::Settled { settlement: Settlement { charge, write_off }, available, budget }
}

fn release(book: &mut Book<'_>, row: HoldRow, into: HoldState, usage: Usage) -> Outcome {
    if releases(&row).and_then(|changes| book.snapshot.apply(&changes)).is_none() {
        return Outcome::InvalidAmount;
    }
    let row = HoldRow { state: into, resolved_ms: Some(usage.done_ms), ..row };
    let outcome = released(book, &row);
    finish(book, row, usage, None);
    outcome
}

/// A settlement for a hold that was released without one: the customer is not charged any more.
fn late(book: &mut Book<'_>, row: HoldRow, settle: &Settle) -> Outcome {
    if let Some(write_off) = row.late {
        return Outcome::Late { write_off };
    }
    let legs = leg(Account::WriteOff(book.shard), Account::Revenue(book.shard), settle.charge);
    if let Some(leg) = legs {
        let at_ms = settle.usage.done_ms;
        let txn = movement(&row, TxnKind::Late, settle.charge, at_ms, vec![leg]);
        if book.post(txn, &[]).is_none() {
            return Outcome::InvalidAmount;
        }
    }
    book.snapshot.put_hold(HoldRow { late: Some(settle.charge), ..row });
    Outcome::Late { write_off: settle.charge }
}

/// The transaction of a settled or late request. Its id names the request, so that the store
/// itself refuses a second one.
fn movement(row: &HoldRow, kind: TxnKind, amount: Ncr, at_ms: i64, legs: Vec<Leg>) -> TxnRow {
    TxnRow {
        id: format!("{kind}:{}", row.id),
        kind,
        subject: row.id.to_string(),
        customer: row.customer.clone(),
        amount,
        before: None,
        after: None,
        via: String::new(),
        reason: String::new(),
        actor: ACTOR.to_owned(),
        fingerprint: String::new(),
        created_ms: at_ms,
        legs,
    }
}

/// Stores a resolved hold with its one usage row.
fn finish(book: &mut Book<'_>, row: HoldRow, usage: Usage, earned: Option<Earned>) {
    book.record(UsageRow {
        request: row.id,
        customer: row.customer.clone(),
        key: row.key.clone(),
        scope: row.scope.clone(),
        price: row.price.clone(),
        usage,
        stream: row.stream,
        created_ms: row.created_ms,
        charge: row.charge,
        write_off: row.write_off,
        earned,
    });
    book.snapshot.put_hold(row);
}

fn held(book: &Book<'_>, row: &HoldRow) -> Outcome {
    let (available, budget) = book.available(row);
    Outcome::Held { amount: row.amount(), available, budget }
}

fn released(book: &Book<'_>, row: &HoldRow) -> Outcome {
    let (available, budget) = book.available(row);
    Outcome::Released { available, budget }
}

fn already(row: &HoldRow) -> Outcome {
    Outcome::AlreadySettled(Settlement { charge: row.charge, write_off: row.write_off })
}
