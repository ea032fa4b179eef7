//! Single rules, spelled out.

use relay_domain::{BootId, CustomerId, KeyId, Meters, Ncr, ProviderId, RequestId};

use crate::{
    Account, AccountState, Budget, BudgetChange, Checkpoint, Command, CountSource, Credit, Extend,
    HoldRef, HoldState, OpenHold, Outcome, Phase, Recover, Settle, Settlement, Shard, Share,
    Snapshot, TxnKind, Usage, UsageStatus, Void, Wallet, decide,
};

/// A tiny ledger that keeps what was decided, as a store would.
pub(super) struct Books(pub(super) Snapshot);

impl Books {
    pub(super) fn new() -> Self {
        Self(Snapshot::default())
    }

    pub(super) fn run(&mut self, commands: &[Command]) -> crate::Decision {
        decide(&mut self.0, Shard::default(), commands)
    }

    fn ask(&mut self, command: Command) -> Outcome {
        self.run(&[command]).outcomes.remove(0)
    }

    fn balance(&self, account: &Account) -> (i64, i64) {
        let row = self.0.account(account);
        (row.balance.get(), row.held.get())
    }
}

pub(super) fn customer(n: u8) -> CustomerId {
    format!("cus_{n:016x}").parse().unwrap()
}

pub(super) fn key(n: u8) -> KeyId {
    format!("key_{n:016x}").parse().unwrap()
}

pub(super) fn request(n: u8) -> RequestId {
    format!("01900000-0000-7000-8000-{n:012x}").parse().unwrap()
}

pub(super) fn boot(n: u8) -> BootId {
    format!("01900000-0000-7000-9000-{n:012x}").parse().unwrap()
}

pub(super) fn usage(done_ms: i64) -> Usage {
    Usage {
        attempt: 1,
        backend: Some("a".to_owned()),
        meters: Meters::default(),
        count: CountSource::Engine,
        claimed: None,
        estimated: false,
        status: UsageStatus::Completed,
        error_code: None,
        blame: None,
        ttft_ms: Some(1),
        upstream_ms: Some(2),
        done_ms,
        task_id: None,
    }
}

pub(super) fn credit(idem: &str, who: u8, wallet: Wallet, amount: i64) -> Command {
    Command::Credit(Credit {
        idem: idem.to_owned(),
        customer: customer(who),
        wallet,
        amount: Ncr::new(amount),
        via: "admin".parse().unwrap(),
        reason: String::new(),
        actor: "jo".to_owned(),
        at_ms: 1,
    })
}

pub(super) fn budget(idem: &str, who: u8, which: u8, change: BudgetChange) -> Command {
    Command::Budget(Budget {
        idem: idem.to_owned(),
        customer: customer(who),
        key: key(which),
        change,
        actor: "jo".to_owned(),
        at_ms: 1,
    })
}

pub(super) fn hold(id: u8, who: u8, which: Option<u8>, amount: i64) -> Command {
    Command::Hold(OpenHold {
        id: request(id),
        customer: customer(who),
        key: which.map(key),
        scope: "direct.openai.m".parse().unwrap(),
        price: "price_0000000000000001".parse().unwrap(),
        amount: Ncr::new(amount),
        promo: true,
        boot: boot(1),
        fence: 1,
        phase: Phase::Dispatched,
        stream: true,
        created_ms: 1,
        deadline_ms: 100,
    })
}

pub(super) fn reference(id: u8, who: u8, which: Option<u8>) -> HoldRef {
    HoldRef {
        id: request(id),
        customer: customer(who),
        key: which.map(key),
        boot: boot(1),
        fence: 1,
    }
}

pub(super) fn settle(id: u8, who: u8, which: Option<u8>, charge: i64) -> Command {
    let hold = reference(id, who, which);
    Command::Settle(Settle { hold, charge: Ncr::new(charge), usage: usage(2), share: None })
}

/// The same for an answer of a provider.
pub(super) fn settle_shared(
    id: u8,
    who: u8,
    which: Option<u8>,
    charge: i64,
    share: Share,
) -> Command {
    let hold = reference(id, who, which);
    let (charge, share) = (Ncr::new(charge), Some(share));
    Command::Settle(Settle { hold, charge, usage: usage(2), share })
}

pub(super) fn provider(n: u8) -> ProviderId {
    format!("prov_{n:016x}").parse().unwrap()
}

pub(super) fn void(id: u8, who: u8, which: Option<u8>) -> Command {
    let hold = reference(id, who, which);
    Command::Void(Void { hold, into: HoldState::Voided, usage: usage(2) })
}

pub(super) fn extend(id: u8, who: u8, which: Option<u8>, total: i64) -> Command {
    let hold = reference(id, who, which);
    Command::Extend(Extend { hold, total: Ncr::new(total), promo: true })
}

pub(super) fn checkpoint(id: u8, who: u8, which: Option<u8>, seq: i64, cost: i64) -> Command {
    let meters = Meters { out_text: cost.unsigned_abs(), ..Meters::default() };
    let hold = reference(id, who, which);
    Command::Checkpoint(Checkpoint { hold, meters, cost: Ncr::new(cost), seq })
}

pub(super) fn recover(id: u8, who: u8, which: Option<u8>) -> Command {
    Command::Recover(Recover { hold: reference(id, who, which), at_ms: 3 })
}

fn ncr(amount: i64) -> Ncr {
    Ncr::new(amount)
}

#[test]
fn granted_credit_is_drawn_first_and_given_back_first_unused() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100), credit("b", 1, Wallet::Promo, 30)]);
    let outcome = books.ask(hold(1, 1, None, 50));
    assert_eq!(outcome, Outcome::Held { amount: ncr(50), available: ncr(80), budget: None });
    assert_eq!(books.balance(&Account::Promo(customer(1))), (30, 30));
    assert_eq!(books.balance(&Account::Paid(customer(1))), (100, 20));
    books.ask(settle(1, 1, None, 35));
    assert_eq!(books.balance(&Account::Promo(customer(1))), (0, 0));
    assert_eq!(books.balance(&Account::Paid(customer(1))), (95, 0));
    assert_eq!(books.balance(&Account::Revenue(Shard::default())), (35, 0));
}

#[test]
fn a_balance_for_seven_admits_seven() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 70)]);
    let commands: Vec<Command> = (0..100).map(|n| hold(n, 1, None, 10)).collect();
    let outcomes = books.run(&commands).outcomes;
    let held = outcomes.iter().filter(|one| matches!(one, Outcome::Held { .. })).count();
    let refused = Outcome::InsufficientCredits { available: Ncr::ZERO };
    assert_eq!(held, 7);
    assert_eq!(outcomes.iter().filter(|one| **one == refused).count(), 93);
}

#[test]
fn an_unknown_customer_has_nothing() {
    let mut books = Books::new();
    let refused = Outcome::InsufficientCredits { available: Ncr::ZERO };
    assert_eq!(books.ask(hold(1, 9, None, 1)), refused);
    assert!(matches!(books.ask(hold(2, 9, None, 0)), Outcome::Held { .. }));
    assert_eq!(books.ask(hold(3, 9, None, -1)), Outcome::InvalidAmount);
}

#[test]
fn a_settlement_happens_once_and_never_above_the_hold() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100)]);
    books.ask(hold(1, 1, None, 40));
    let decision = books.run(&[settle(1, 1, None, 55)]);
    let first = Settlement { charge: ncr(40), write_off: ncr(15) };
    assert_eq!(
        decision.outcomes,
        [Outcome::Settled { settlement: first, available: ncr(60), budget: None }]
    );
    assert_eq!((decision.usage[0].charge, decision.usage[0].write_off), (ncr(40), ncr(15)));
    for command in [settle(1, 1, None, 1), void(1, 1, None), extend(1, 1, None, 90)] {
        assert_eq!(books.ask(command), Outcome::AlreadySettled(first));
    }
    assert_eq!(books.balance(&Account::Paid(customer(1))), (60, 0));
    assert_eq!(books.balance(&Account::WriteOff(Shard::default())), (-15, 0));
    assert_eq!(books.balance(&Account::Revenue(Shard::default())), (55, 0));
}

#[test]
fn a_settlement_after_the_release_is_borne_once_by_the_platform() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100)]);
    books.run(&[hold(1, 1, None, 40), void(1, 1, None)]);
    for _ in 0..2 {
        assert_eq!(books.ask(settle(1, 1, None, 25)), Outcome::Late { write_off: ncr(25) });
    }
    assert_eq!(books.balance(&Account::Paid(customer(1))), (100, 0));
    assert_eq!(books.balance(&Account::WriteOff(Shard::default())), (-25, 0));
    assert!(matches!(books.ask(void(1, 1, None)), Outcome::Released { .. }));
    assert_eq!(
        books.ask(extend(1, 1, None, 90)),
        Outcome::HoldClosed(HoldState::Voided),
        "a resolved hold never reopens"
    );
}

#[test]
fn a_budget_is_reserved_and_spent_beside_the_money() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100), budget("b", 1, 1, BudgetChange::Set(ncr(30)))]);
    let outcome = books.ask(hold(1, 1, Some(1), 20));
    assert_eq!(
        outcome,
        Outcome::Held { amount: ncr(20), available: ncr(80), budget: Some(ncr(10)) }
    );
    assert_eq!(
        books.ask(hold(2, 1, Some(1), 11)),
        Outcome::KeyBudgetExhausted { available: ncr(10) }
    );
    assert!(matches!(books.ask(hold(3, 1, Some(2), 50)), Outcome::Held { budget: None, .. }));
    books.ask(settle(1, 1, Some(1), 12));
    assert_eq!(books.balance(&Account::Budget(key(1))), (18, 0));
    assert_eq!(books.balance(&Account::BudgetSink(Shard::default())), (12, 0));
    assert_eq!(books.balance(&Account::BudgetSource(Shard::default())), (-30, 0));
}

#[test]
fn a_budget_can_be_set_raised_and_lifted_while_requests_run() {
    let mut books = Books::new();
    books.run(&[
        credit("a", 1, Wallet::Paid, 100),
        budget("b", 1, 1, BudgetChange::Set(ncr(30))),
        hold(1, 1, Some(1), 20),
    ]);
    let changed = |previous, now, replayed| Outcome::BudgetChanged { previous, now, replayed };
    let zero = budget("c", 1, 1, BudgetChange::Set(Ncr::ZERO));
    assert_eq!(books.ask(zero.clone()), changed(Some(ncr(30)), Some(ncr(20)), false));
    assert_eq!(books.ask(zero), changed(Some(ncr(30)), Some(ncr(20)), true));
    assert_eq!(
        books.ask(budget("c", 1, 1, BudgetChange::Set(ncr(1)))),
        Outcome::IdempotencyConflict
    );
    assert_eq!(
        books.ask(budget("d", 1, 1, BudgetChange::Uncap)),
        changed(Some(ncr(20)), None, false)
    );
    let account = Account::Budget(key(1));
    assert_eq!(books.0.account(&account).state, AccountState::Uncapped);
    assert!(matches!(books.ask(hold(2, 1, Some(1), 80)), Outcome::Held { budget: None, .. }));
    books.ask(settle(1, 1, Some(1), 5));
    assert_eq!(books.balance(&account), (15, 0));
    assert_eq!(
        books.ask(budget("e", 1, 1, BudgetChange::Add(ncr(7)))),
        changed(None, Some(ncr(7)), false),
        "no budget counts as zero"
    );
    assert_eq!(books.balance(&account), (7, 0));
    assert_eq!(books.ask(budget("f", 1, 1, BudgetChange::Set(ncr(-1)))), Outcome::InvalidAmount);
}

#[test]
fn credit_applies_once_and_is_never_taken_below_what_is_held() {
    let mut books = Books::new();
    let credited = |balance, replayed| Outcome::Credited {
        txn: "credit:a".to_owned(),
        balance: ncr(balance),
        replayed,
    };
    assert_eq!(books.ask(credit("a", 1, Wallet::Paid, 100)), credited(100, false));
    assert_eq!(books.ask(credit("a", 1, Wallet::Paid, 100)), credited(100, true));
    for other in [
        credit("a", 1, Wallet::Paid, 101),
        credit("a", 1, Wallet::Promo, 100),
        credit("a", 2, Wallet::Paid, 100),
    ] {
        assert_eq!(books.ask(other), Outcome::IdempotencyConflict);
    }
    books.ask(hold(1, 1, None, 40));
    let taken = books.run(&[credit("b", 1, Wallet::Paid, -60)]);
    assert_eq!(taken.txns[0].kind, TxnKind::Deduct);
    assert_eq!(
        books.ask(credit("c", 1, Wallet::Paid, -1)),
        Outcome::InsufficientCredits { available: Ncr::ZERO }
    );
    assert_eq!(books.ask(credit("d", 1, Wallet::Paid, 0)), Outcome::InvalidAmount);
    assert_eq!(books.ask(credit("e", 1, Wallet::Paid, i64::MIN)), Outcome::InvalidAmount);
    assert_eq!(books.ask(credit("f", 1, Wallet::Paid, i64::MAX)), Outcome::InvalidAmount);
    assert_eq!(books.balance(&Account::Paid(customer(1))), (40, 40));
}

#[test]
fn asking_for_the_same_hold_twice_reserves_once() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100)]);
    for _ in 0..2 {
        let held = Outcome::Held { amount: ncr(40), available: ncr(60), budget: None };
        assert_eq!(books.ask(hold(1, 1, None, 40)), held);
    }
    for _ in 0..2 {
        let grown = Outcome::Held { amount: ncr(70), available: ncr(30), budget: None };
        assert_eq!(books.ask(extend(1, 1, None, 70)), grown);
    }
    assert_eq!(
        books.ask(extend(1, 1, None, 101)),
        Outcome::InsufficientCredits { available: ncr(30) }
    );
    assert_eq!(books.ask(hold(1, 2, None, 0)), Outcome::DuplicateHold);
    assert_eq!(books.ask(settle(1, 2, None, 1)), Outcome::UnknownHold);
    assert_eq!(books.ask(settle(1, 1, Some(1), 1)), Outcome::UnknownHold);
}

#[test]
fn the_dead_are_charged_by_their_last_checkpoint() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100)]);
    books.run(&[
        hold(1, 1, None, 40),
        checkpoint(1, 1, None, 2, 9),
        checkpoint(1, 1, None, 1, 5),
        hold(2, 1, None, 40),
    ]);
    let decision = books.run(&[recover(1, 1, None), recover(2, 1, None)]);
    let settlement = Settlement { charge: ncr(9), write_off: Ncr::ZERO };
    assert!(
        matches!(decision.outcomes[0], Outcome::Settled { settlement: one, .. } if one == settlement)
    );
    assert!(matches!(decision.outcomes[1], Outcome::Released { .. }));
    assert_eq!(decision.usage[0].usage.meters.out_text, 9);
    assert_eq!(decision.usage[0].usage.status, UsageStatus::Lost);
    assert_eq!(books.balance(&Account::Paid(customer(1))), (91, 0));
    assert_eq!(books.ask(settle(1, 1, None, 30)), Outcome::AlreadySettled(settlement));
    assert_eq!(books.ask(settle(2, 1, None, 30)), Outcome::Late { write_off: ncr(30) });
}

#[test]
fn a_hold_that_was_taken_over_refuses_its_old_owner() {
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100), hold(1, 1, None, 40)]);
    let stale = HoldRef { boot: boot(2), ..reference(1, 1, None) };
    let settle = Settle { hold: stale.clone(), charge: ncr(1), usage: usage(2), share: None };
    assert_eq!(books.ask(Command::Settle(settle)), Outcome::StaleFence);
    let extend = Extend { hold: stale.clone(), total: ncr(50), promo: true };
    assert_eq!(books.ask(Command::Extend(extend)), Outcome::StaleFence);
    assert_eq!(books.ask(Command::Recover(Recover { hold: stale, at_ms: 3 })), Outcome::StaleFence);
    let fenced = HoldRef { fence: 2, ..reference(1, 1, None) };
    let void = Void { hold: fenced, into: HoldState::Voided, usage: usage(2) };
    assert_eq!(books.ask(Command::Void(void)), Outcome::StaleFence);
    assert_eq!(books.balance(&Account::Paid(customer(1))), (100, 40));
}

#[test]
fn an_account_reads_as_it_is_written() {
    let shard = Shard::new(3).unwrap();
    for account in [
        Account::Paid(customer(1)),
        Account::Promo(customer(1)),
        Account::Budget(key(1)),
        Account::Revenue(shard),
        Account::WriteOff(shard),
        Account::Funding("stripe".parse().unwrap(), shard),
        Account::BudgetSource(shard),
        Account::BudgetSink(shard),
    ] {
        assert_eq!(account.to_string().parse(), Ok(account));
    }
    for bad in ["", "paid", "paid:x", "revenue:64", "funding:A:0", "cash:1", "funding:a"] {
        assert!(bad.parse::<Account>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_provider_earns_its_share_of_what_was_paid_and_no_more() {
    let shard = Shard::default();
    let mut books = Books::new();
    books.run(&[credit("a", 1, Wallet::Paid, 100)]);
    books.ask(hold(1, 1, None, 50));
    let share = Share { provider: provider(7), bps: 3_333 };
    let decision = books.run(&[settle_shared(1, 1, None, 80, share.clone())]);
    let earning = Account::Earning(provider(7), shard);
    // 50 of the 80 are paid; a third of 50 is 16.665 and rounds down, the platform keeps the rest.
    assert_eq!(books.balance(&earning), (16, 0));
    assert_eq!(books.balance(&Account::Revenue(shard)), (80 - 16, 0));
    assert_eq!(books.balance(&Account::WriteOff(shard)), (-30, 0));
    let earned = decision.usage[0].earned.clone().unwrap();
    assert_eq!((earned.provider, earned.amount), (provider(7), ncr(16)));
    assert_eq!(earning.to_string().parse::<Account>().unwrap(), earning);
    assert_eq!((earning.owner(), earning.class()), (provider(7).as_str(), "earning"));

    // Again is the first result; too late is the platform's loss, not the provider's gain.
    let again = books.ask(settle_shared(1, 1, None, 80, share.clone()));
    assert!(matches!(again, Outcome::AlreadySettled(_)));
    books.run(&[hold(2, 1, None, 10), void(2, 1, None)]);
    books.ask(settle_shared(2, 1, None, 10, share.clone()));
    assert_eq!(books.balance(&earning), (16, 0));

    // A share of more than the whole is refused and moves nothing.
    books.ask(hold(3, 1, None, 10));
    let greedy = Share { bps: 10_001, ..share };
    assert_eq!(books.ask(settle_shared(3, 1, None, 10, greedy)), Outcome::InvalidAmount);
    assert_eq!(books.balance(&Account::Paid(customer(1))), (50, 10));
    assert_eq!(books.balance(&earning), (16, 0));
}
