//! Random commands against a model that keeps plain numbers and knows nothing of rows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use relay_domain::Ncr;

use super::rules::{
    Books, budget, checkpoint, credit, customer, extend, hold, key, provider, recover, request,
    settle, settle_shared, void,
};
use crate::{
    Account, BudgetChange, Command, Decision, HoldState, Needs, Outcome, Settlement, Shard, Share,
    Snapshot, Wallet, decide,
};

/// Cases of a push; each is a log of up to 60 commands.
const CASES: u32 = 20_000;

/// A hold of the model.
#[derive(Clone, Debug)]
struct Held {
    who: u8,
    which: Option<u8>,
    promo: i64,
    paid: i64,
    budget: i64,
    state: HoldState,
    ckpt: (i64, i64),
    result: (i64, i64),
    late: Option<i64>,
}

/// Plain numbers.
#[derive(Clone, Debug, Default)]
struct Model {
    /// Per customer: bought and granted credit that is not reserved.
    free: BTreeMap<u8, (i64, i64)>,
    /// Per key: what may still be reserved; absent is unlimited.
    budget: BTreeMap<u8, i64>,
    /// Budget that lies unused under keys that are unlimited now.
    stray: BTreeMap<u8, i64>,
    holds: BTreeMap<u8, Held>,
    credits: BTreeMap<String, (u8, Wallet, i64, i64)>,
    budgets: BTreeMap<String, (u8, BudgetChange, Option<i64>, Option<i64>)>,
    revenue: i64,
    write_off: i64,
    /// Per provider.
    earned: BTreeMap<u8, i64>,
}

/// A command in the model's terms.
#[derive(Clone, Debug)]
enum Step {
    Credit(u8, u8, bool, i64),
    Budget(u8, u8, BudgetChange),
    Hold(u8, i64),
    Extend(u8, i64),
    Checkpoint(u8, i64, i64),
    Settle(u8, i64),
    Void(u8),
    Recover(u8),
}

/// A hold's customer and key follow from its number, so that steps meet.
fn parties(id: u8) -> (u8, Option<u8>) {
    match id % 4 {
        0 => (1, None),
        1 => (1, Some(1)),
        2 => (2, Some(2)),
        _ => (1, Some(3)),
    }
}

/// Every other hold is answered by one of two providers, for a part that seldom divides.
fn share(id: u8) -> Option<(u8, u16)> {
    (id % 2 == 1).then_some((id % 3, 3_333))
}

fn owner(which: u8) -> u8 {
    if which == 2 { 2 } else { 1 }
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let amount = prop_oneof![6 => 0_i64..60, 1 => 60_i64..500];
    let change = prop_oneof![
        (0_i64..120).prop_map(|n| BudgetChange::Set(Ncr::new(n))),
        (0_i64..60).prop_map(|n| BudgetChange::Add(Ncr::new(n))),
        Just(BudgetChange::Uncap),
    ];
    let step = prop_oneof![
        2 => (0_u8..8, 1_u8..3, any::<bool>(), -80_i64..200).prop_map(|(i, c, p, n)| Step::Credit(i, c, p, n)),
        2 => (0_u8..8, 1_u8..4, change).prop_map(|(i, k, change)| Step::Budget(i, k, change)),
        6 => (0_u8..10, amount.clone()).prop_map(|(id, n)| Step::Hold(id, n)),
        2 => (0_u8..10, amount.clone()).prop_map(|(id, n)| Step::Extend(id, n)),
        2 => (0_u8..10, 1_i64..5, 0_i64..80).prop_map(|(id, seq, n)| Step::Checkpoint(id, seq, n)),
        5 => (0_u8..10, amount).prop_map(|(id, n)| Step::Settle(id, n)),
        2 => (0_u8..10).prop_map(Step::Void),
        1 => (0_u8..10).prop_map(Step::Recover),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..6), 1..12)
}

fn command(step: &Step) -> Command {
    match *step {
        Step::Credit(idem, who, promo, amount) => {
            let wallet = if promo { Wallet::Promo } else { Wallet::Paid };
            credit(&idem.to_string(), who, wallet, amount)
        }
        Step::Budget(idem, which, change) => budget(&idem.to_string(), owner(which), which, change),
        Step::Hold(id, amount) => hold(id, parties(id).0, parties(id).1, amount),
        Step::Extend(id, total) => extend(id, parties(id).0, parties(id).1, total),
        Step::Checkpoint(id, seq, cost) => checkpoint(id, parties(id).0, parties(id).1, seq, cost),
        Step::Settle(id, charge) => match share(id) {
            None => settle(id, parties(id).0, parties(id).1, charge),
            Some((who, bps)) => {
                let share = Share { provider: provider(who), bps };
                settle_shared(id, parties(id).0, parties(id).1, charge, share)
            }
        },
        Step::Void(id) => void(id, parties(id).0, parties(id).1),
        Step::Recover(id) => recover(id, parties(id).0, parties(id).1),
    }
}

fn ncr(amount: i64) -> Ncr {
    Ncr::new(amount)
}

impl Model {
    fn left(&self, held: &Held) -> (Ncr, Option<Ncr>) {
        let (paid, promo) = self.free.get(&held.who).copied().unwrap_or_default();
        (ncr(paid + promo), held.which.and_then(|key| self.budget.get(&key)).copied().map(ncr))
    }

    fn reserve(&mut self, held: &mut Held, more: i64) -> Result<(), Outcome> {
        let (paid, promo) = self.free.get(&held.who).copied().unwrap_or_default();
        if paid + promo < more {
            return Err(Outcome::InsufficientCredits { available: ncr(paid + promo) });
        }
        if let Some(budget) = held.which.and_then(|key| self.budget.get_mut(&key)) {
            if *budget < more {
                return Err(Outcome::KeyBudgetExhausted { available: ncr(*budget) });
            }
            *budget -= more;
            held.budget += more;
        }
        let granted = promo.min(more);
        held.promo += granted;
        held.paid += more - granted;
        self.free.insert(held.who, (paid - (more - granted), promo - granted));
        Ok(())
    }

    /// Gives back what is left of a hold after `charge`.
    fn close(&mut self, held: &Held, charge: i64) {
        let granted = charge.min(held.promo);
        let free = self.free.entry(held.who).or_default();
        free.0 += held.paid - (charge - granted);
        free.1 += held.promo - granted;
        let Some(key) = held.which else { return };
        let rest = held.budget - charge.min(held.budget);
        match self.budget.get_mut(&key) {
            Some(budget) => *budget += rest,
            None => *self.stray.entry(key).or_default() += rest,
        }
    }

    fn post(&mut self, id: u8, mut held: Held, asked: i64) -> Outcome {
        let charge = asked.min(held.promo + held.paid);
        self.close(&held, charge);
        self.revenue += asked;
        self.write_off -= asked - charge;
        held.state = HoldState::Posted;
        held.result = (charge, asked - charge);
        let (available, budget) = self.left(&held);
        self.holds.insert(id, held);
        let settlement = Settlement { charge: ncr(charge), write_off: ncr(asked - charge) };
        Outcome::Settled { settlement, available, budget }
    }

    fn release(&mut self, id: u8, mut held: Held) -> Outcome {
        self.close(&held, 0);
        held.state = HoldState::Voided;
        let (available, budget) = self.left(&held);
        self.holds.insert(id, held);
        Outcome::Released { available, budget }
    }

    fn expect(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Credit(idem, who, promo, amount) => self.credit(idem, who, promo, amount),
            Step::Budget(idem, key, change) => self.change(idem, key, change),
            Step::Hold(id, amount) => {
                let mut held = match self.holds.get(&id) {
                    Some(held)
                        if held.state == HoldState::Open && held.promo + held.paid >= amount =>
                    {
                        let (available, budget) = self.left(held);
                        return Outcome::Held {
                            amount: ncr(held.promo + held.paid),
                            available,
                            budget,
                        };
                    }
                    Some(_) => return Outcome::DuplicateHold,
                    None => Held {
                        who: parties(id).0,
                        which: parties(id).1,
                        promo: 0,
                        paid: 0,
                        budget: 0,
                        state: HoldState::Open,
                        ckpt: (0, 0),
                        result: (0, 0),
                        late: None,
                    },
                };
                if let Err(refusal) = self.reserve(&mut held, amount) {
                    return refusal;
                }
                let (available, budget) = self.left(&held);
                self.holds.insert(id, held);
                Outcome::Held { amount: ncr(amount), available, budget }
            }
            Step::Extend(id, total) => {
                let mut held = match self.open(id) {
                    Ok(held) => held,
                    Err(refusal) => return refusal,
                };
                let more = (total - held.promo - held.paid).max(0);
                if let Err(refusal) = self.reserve(&mut held, more) {
                    return refusal;
                }
                let (available, budget) = self.left(&held);
                let amount = ncr(held.promo + held.paid);
                self.holds.insert(id, held);
                Outcome::Held { amount, available, budget }
            }
            Step::Checkpoint(id, seq, cost) => {
                let mut held = match self.open(id) {
                    Ok(held) => held,
                    Err(refusal) => return refusal,
                };
                if seq > held.ckpt.0 {
                    held.ckpt = (seq, cost);
                    self.holds.insert(id, held);
                }
                Outcome::Checkpointed
            }
            Step::Settle(id, charge) => match self.holds.get(&id).cloned() {
                None => Outcome::UnknownHold,
                Some(held) if held.state == HoldState::Open => {
                    let outcome = self.post(id, held, charge);
                    if let Some((who, bps)) = share(id) {
                        let part = self.holds[&id].result.0 * i64::from(bps) / 10_000;
                        self.revenue -= part;
                        *self.earned.entry(who).or_default() += part;
                    }
                    outcome
                }
                Some(held) if held.state == HoldState::Posted => already(&held),
                Some(mut held) => {
                    let late = *held.late.get_or_insert(charge);
                    if self.holds.insert(id, held).is_some_and(|before| before.late.is_none()) {
                        self.revenue += late;
                        self.write_off -= late;
                    }
                    Outcome::Late { write_off: ncr(late) }
                }
            },
            Step::Void(id) => match self.holds.get(&id).cloned() {
                None => Outcome::UnknownHold,
                Some(held) if held.state == HoldState::Open => self.release(id, held),
                Some(held) if held.state == HoldState::Posted => already(&held),
                Some(held) => {
                    let (available, budget) = self.left(&held);
                    Outcome::Released { available, budget }
                }
            },
            Step::Recover(id) => match self.open(id) {
                Err(refusal) => refusal,
                Ok(held) if held.ckpt.0 > 0 => {
                    let cost = held.ckpt.1;
                    self.post(id, held, cost)
                }
                Ok(held) => self.release(id, held),
            },
        }
    }

    fn open(&self, id: u8) -> Result<Held, Outcome> {
        match self.holds.get(&id) {
            None => Err(Outcome::UnknownHold),
            Some(held) if held.state == HoldState::Open => Ok(held.clone()),
            Some(held) if held.state == HoldState::Posted => Err(already(held)),
            Some(held) => Err(Outcome::HoldClosed(held.state)),
        }
    }

    fn credit(&mut self, idem: u8, who: u8, promo: bool, amount: i64) -> Outcome {
        let wallet = if promo { Wallet::Promo } else { Wallet::Paid };
        let txn = format!("credit:{idem}");
        if let Some((whose, which, first, balance)) = self.credits.get(&txn).copied() {
            if (whose, which, first) != (who, wallet, amount) {
                return Outcome::IdempotencyConflict;
            }
            return Outcome::Credited { txn, balance: ncr(balance), replayed: true };
        }
        let free = self.free.entry(who).or_default();
        let place = if promo { &mut free.1 } else { &mut free.0 };
        if amount == 0 {
            return Outcome::InvalidAmount;
        }
        if *place + amount < 0 {
            return Outcome::InsufficientCredits { available: ncr(*place) };
        }
        *place += amount;
        let reserved: i64 = self.open_of(who).map(|held| held.promo + held.paid).sum();
        let (paid, granted) = self.free[&who];
        let balance = paid + granted + reserved;
        self.credits.insert(txn.clone(), (who, wallet, amount, balance));
        Outcome::Credited { txn, balance: ncr(balance), replayed: false }
    }

    fn open_of(&self, who: u8) -> impl Iterator<Item = &Held> {
        self.holds.values().filter(move |held| held.who == who && held.state == HoldState::Open)
    }

    fn reserved_budget(&self, key: u8) -> i64 {
        let open = self.holds.values().filter(|held| held.state == HoldState::Open);
        open.filter(|held| held.which == Some(key)).map(|held| held.budget).sum()
    }

    fn change(&mut self, idem: u8, key: u8, change: BudgetChange) -> Outcome {
        let txn = format!("budget:{idem}");
        if let Some((which, first, previous, now)) = self.budgets.get(&txn).copied() {
            if (which, first) != (key, change) {
                return Outcome::IdempotencyConflict;
            }
            return changed(previous, now, true);
        }
        let reserved = self.reserved_budget(key);
        let previous = self.budget.get(&key).map(|free| free + reserved);
        let now = match change {
            BudgetChange::Set(amount) => Some(amount.get().max(reserved)),
            BudgetChange::Add(amount) => Some((previous.unwrap_or(0) + amount.get()).max(reserved)),
            BudgetChange::Uncap => None,
        };
        match now {
            Some(now) => self.budget.insert(key, now - reserved),
            None => self.budget.remove(&key),
        };
        self.stray.remove(&key);
        self.budgets.insert(txn, (key, change, previous, now));
        changed(previous, now, false)
    }

    /// Every account's numbers as they must stand in the ledger.
    fn accounts(&self) -> Vec<(Account, i64, i64)> {
        let mut all = Vec::new();
        for who in 1..3 {
            let (paid, promo) = self.free.get(&who).copied().unwrap_or_default();
            let held_paid: i64 = self.open_of(who).map(|held| held.paid).sum();
            let held_promo: i64 = self.open_of(who).map(|held| held.promo).sum();
            all.push((Account::Paid(customer(who)), paid + held_paid, held_paid));
            all.push((Account::Promo(customer(who)), promo + held_promo, held_promo));
        }
        for which in 1..4 {
            let reserved = self.reserved_budget(which);
            let stray = self.stray.get(&which).copied().unwrap_or(0);
            let free = self.budget.get(&which).copied().unwrap_or(0);
            all.push((Account::Budget(key(which)), free + stray + reserved, reserved));
        }
        all.push((Account::Revenue(Shard::default()), self.revenue, 0));
        all.push((Account::WriteOff(Shard::default()), self.write_off, 0));
        for who in 0..3 {
            let earned = self.earned.get(&who).copied().unwrap_or(0);
            all.push((Account::Earning(provider(who), Shard::default()), earned, 0));
        }
        all
    }
}

fn already(held: &Held) -> Outcome {
    let (charge, write_off) = held.result;
    Outcome::AlreadySettled(Settlement { charge: ncr(charge), write_off: ncr(write_off) })
}

fn changed(previous: Option<i64>, now: Option<i64>, replayed: bool) -> Outcome {
    Outcome::BudgetChanged { previous: previous.map(ncr), now: now.map(ncr), replayed }
}

/// A store of rows that loads no more than a batch says it needs.
#[derive(Default)]
struct Rows {
    all: Snapshot,
    decided: Vec<Decision>,
}

impl Rows {
    fn run(&mut self, commands: &[Command]) -> Decision {
        let needs = Needs::of(commands, Shard::default());
        let mut snapshot = Snapshot::default();
        for account in &needs.accounts {
            let row = self.all.account(account);
            if row.version > 0 {
                snapshot.load_account(row);
            }
        }
        for id in &needs.holds {
            if let Some(hold) = self.all.hold(*id) {
                snapshot.load_hold(hold.clone());
            }
        }
        for id in &needs.txns {
            if let Some(txn) = self.all.txn(id) {
                snapshot.load_txn(txn.clone());
            }
        }
        let decision = decide(&mut snapshot, Shard::default(), commands);
        for row in &decision.accounts {
            assert_eq!(row.version, self.all.account(&row.account).version + 1);
            self.all.load_account(row.clone());
        }
        for row in &decision.holds {
            self.all.load_hold(row.clone());
        }
        for txn in &decision.txns {
            assert!(self.all.txn(&txn.id).is_none(), "{} twice", txn.id);
            self.all.load_txn(txn.clone());
        }
        self.decided.push(decision.clone());
        decision
    }

    /// Balances replayed from nothing but the legs.
    fn replayed(&self) -> BTreeMap<Account, i64> {
        let mut balances = BTreeMap::new();
        for leg in self.decided.iter().flat_map(|d| &d.txns).flat_map(|txn| &txn.legs) {
            assert!(leg.amount.get() > 0);
            assert_eq!(leg.debit.unit(), leg.credit.unit());
            *balances.entry(leg.debit.clone()).or_default() -= leg.amount.get();
            *balances.entry(leg.credit.clone()).or_default() += leg.amount.get();
        }
        balances
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn decides_like_the_model(log in steps()) {
        let mut model = Model::default();
        let mut rows = Rows::default();
        for batch in &log {
            let commands: Vec<Command> = batch.iter().map(command).collect();
            let decision = rows.run(&commands);
            for ((step, outcome), command) in batch.iter().zip(&decision.outcomes).zip(&commands) {
                prop_assert_eq!(outcome, &model.expect(step), "{:?}", command);
            }
            for (account, balance, held) in model.accounts() {
                let row = rows.all.account(&account);
                prop_assert_eq!((row.balance.get(), row.held.get()), (balance, held), "{}", account);
                if account.has_floor() {
                    prop_assert!(row.held.get() >= 0 && row.balance >= row.held);
                }
            }
        }
        let replayed = rows.replayed();
        for (account, balance) in &replayed {
            prop_assert_eq!(rows.all.account(account).balance.get(), *balance, "{}", account);
        }
        prop_assert_eq!(replayed.values().sum::<i64>(), 0);
        // What a usage row says was earned is what its transaction moved.
        let told: i64 = rows.decided.iter().flat_map(|d| &d.usage)
            .filter_map(|row| row.earned.as_ref()).map(|earned| earned.amount.get()).sum();
        prop_assert_eq!(told, model.earned.values().sum::<i64>());
        let mut usage: Vec<_> = rows.decided.iter().flat_map(|d| &d.usage).map(|u| u.request).collect();
        let resolved = model.holds.iter().filter(|(_, held)| held.state != HoldState::Open);
        let mut expected: Vec<_> = resolved.map(|(id, _)| request(*id)).collect();
        usage.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(usage, expected, "one usage row per resolved hold");
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES / 10, ..ProptestConfig::default() })]

    /// Equal logs in other batches come to equal books.
    #[test]
    fn batching_changes_nothing(log in steps()) {
        let commands: Vec<Command> = log.iter().flatten().map(command).collect();
        let mut apart = Rows::default();
        let mut one_by_one = Vec::new();
        for command in &commands {
            one_by_one.extend(apart.run(std::slice::from_ref(command)).outcomes);
        }
        let mut together = Books::new();
        prop_assert_eq!(together.run(&commands).outcomes, one_by_one);
    }
}
