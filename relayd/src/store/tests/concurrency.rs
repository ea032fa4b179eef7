//! Many callers at once: nobody is admitted that the balance does not cover.

use futures::future::join_all;

use super::fixture::{
    Fixture, ask, assert_sound, budget, charge, credit, customer, ncr, number, open_hold, settle,
    void,
};
use super::on_both;
use crate::ledger::{BudgetChange, Command, Outcome};
use crate::store::{LedgerError, QUEUE_MAX, Store};

on_both! {
    race_500,
    first_touch_race,
    rich_key_race,
    key_budget_race,
    credit_applies_once_in_a_race,
    settled_twice_at_once_is_charged_once,
    a_full_queue_refuses_new_work,
}

fn is_held(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Held { .. })
}

/// Holds of as many callers at once, each a task of its own.
async fn stampede(
    store: &Store,
    who: u64,
    which: Option<u64>,
    count: usize,
    amount: i64,
) -> Vec<Outcome> {
    let tasks = (0..count).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let open = open_hold(store.boot(), who, which, amount);
            ask(&store, Command::Hold(open)).await
        })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

async fn race_500(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 700)).await;
    let outcomes = stampede(&store, 1, None, 500, 100).await;
    assert_eq!(outcomes.iter().filter(|one| is_held(one)).count(), 7);
    let refused = Outcome::InsufficientCredits { available: ncr(0) };
    assert_eq!(outcomes.iter().filter(|one| **one == refused).count(), 493);
    let balance = store.balance(&customer(1)).await.unwrap();
    assert_eq!((balance.balance, balance.held), (ncr(700), ncr(700)));
    assert_sound(&store).await;
    store.close().await;
}

/// A customer whom the ledger never saw has nothing, however many ask at once.
async fn first_touch_race(fixture: Fixture) {
    let store = fixture.open().await;
    let outcomes = stampede(&store, 9, Some(9), 100, 1).await;
    assert!(outcomes.iter().all(|one| *one == Outcome::InsufficientCredits { available: ncr(0) }));
    // Its first credit and its first holds meet.
    let (credited, outcomes) =
        tokio::join!(ask(&store, credit("a", 9, 30)), stampede(&store, 9, Some(9), 100, 10));
    assert!(matches!(credited, Outcome::Credited { .. }));
    assert!(outcomes.iter().filter(|one| is_held(one)).count() <= 3);
    assert_sound(&store).await;
    store.close().await;
}

/// However rich, every request is reserved: the sum of what runs never passes the balance.
async fn rich_key_race(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000_000)).await;
    let outcomes = stampede(&store, 1, Some(1), 300, 4_000).await;
    assert_eq!(outcomes.iter().filter(|one| is_held(one)).count(), 250);
    assert_eq!(store.balance(&customer(1)).await.unwrap().held, ncr(1_000_000));
    assert_sound(&store).await;
    store.close().await;
}

async fn key_budget_race(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 10_000)).await;
    ask(&store, budget("b", 1, 1, BudgetChange::Set(ncr(50)))).await;
    let (limited, free) =
        tokio::join!(stampede(&store, 1, Some(1), 60, 10), stampede(&store, 1, Some(2), 60, 10));
    assert_eq!(limited.iter().filter(|one| is_held(one)).count(), 5);
    assert_eq!(
        limited.iter().filter(|one| matches!(one, Outcome::KeyBudgetExhausted { .. })).count(),
        55
    );
    assert!(free.iter().all(is_held));
    assert_sound(&store).await;
    store.close().await;
}

/// One payment notified many times is one payment; on PostgreSQL also over two processes.
async fn credit_applies_once_in_a_race(fixture: Fixture) {
    let store = fixture.open().await;
    let second = match store.engine() {
        crate::store::Engine::Sqlite => store.clone(),
        crate::store::Engine::Postgres => fixture.open().await,
    };
    let tasks = (0..100).map(|n| {
        let store = if n % 2 == 0 { store.clone() } else { second.clone() };
        tokio::spawn(async move { ask(&store, credit("payment", 1, 700)).await })
    });
    let outcomes: Vec<Outcome> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let count = |replayed: bool| {
        let like =
            |one: &&Outcome| matches!(one, Outcome::Credited { replayed: r, .. } if *r == replayed);
        outcomes.iter().filter(like).count()
    };
    assert_eq!((count(false), count(true)), (1, 99));
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(700));
    let conflict = ask(&store, credit("payment", 1, 701)).await;
    assert_eq!(conflict, Outcome::IdempotencyConflict);
    assert_sound(&store).await;
    if second.boot() != store.boot() {
        second.close().await;
    }
    store.close().await;
}

async fn settled_twice_at_once_is_charged_once(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    for _ in 0..20 {
        let open = open_hold(store.boot(), 1, None, 20);
        let hold = open.to_ref();
        ask(&store, Command::Hold(open)).await;
        let answers = join_all([
            store.ledger().submit(settle(&hold, 5)),
            store.ledger().submit(settle(&hold, 7)),
            store.ledger().submit(void(&hold)),
        ]);
        let outcomes: Vec<Outcome> = answers.await.into_iter().map(Result::unwrap).collect();
        let settled = outcomes.iter().filter(|one| matches!(one, Outcome::Settled { .. })).count();
        let first = outcomes.iter().find_map(|one| match one {
            Outcome::Settled { settlement, .. } => Some(*settlement),
            _ => None,
        });
        assert_eq!(settled, 1, "{outcomes:?}");
        for other in outcomes.iter().filter(|one| !matches!(one, Outcome::Settled { .. })) {
            assert_eq!(Some(other), first.map(Outcome::AlreadySettled).as_ref());
        }
    }
    assert_eq!(number(&store, "select count(*) from usage").await, 20);
    assert_sound(&store).await;
    store.close().await;
}

async fn a_full_queue_refuses_new_work(fixture: Fixture) {
    let fixture = fixture.shards(1);
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000_000)).await;
    // Nothing yields between these, so the writers cannot keep up.
    let mut answers = Vec::new();
    let refused = loop {
        assert!(answers.len() <= QUEUE_MAX * 2, "the queue has no end");
        match store.ledger().try_submit(Command::Hold(open_hold(store.boot(), 1, None, 1))) {
            Ok(answer) => answers.push(answer),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, LedgerError::Full);
    for answer in answers {
        // Those that waited too long for their turn were refused.
        match answer.await {
            Ok(outcome) => assert!(is_held(&outcome)),
            Err(error) => assert!(matches!(error, LedgerError::Unavailable(_)), "{error}"),
        }
    }
    assert!(matches!(charge(&store, 1, None, 5).await, Outcome::Settled { .. }));
    store.close().await;
}
