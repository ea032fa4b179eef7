//! The ledger's writer on real databases.

use super::fixture::{
    Fixture, ask, assert_sound, budget, charge, credit, customer, key, ncr, number, open_hold,
    settle, void,
};
use super::on_both;
use crate::domain::{BootId, Meters};
use crate::ledger::{
    BudgetChange, Checkpoint, Command, Credit, Outcome, Settlement, UsageStatus, Wallet,
};
use crate::store::{LedgerError, Page, Store, StoreError, TxnFilter, UsageOf, audit};

on_both! {
    money_goes_its_way,
    granted_credit_goes_first,
    a_large_batch_is_one_commit_of_many_rows,
    append_only_tables_refuse_changes,
    a_restart_goes_on_with_the_books,
    the_holds_of_the_dead_are_resolved,
    holds_past_their_deadline_are_released,
    a_reader_reads_beside_the_writer,
    closing_commits_what_is_queued,
}

async fn money_goes_its_way(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    ask(&store, budget("b", 1, 1, BudgetChange::Set(ncr(500)))).await;
    let settled = charge(&store, 1, Some(1), 30).await;
    let settlement = Settlement { charge: ncr(60), write_off: ncr(0) };
    let left = (ncr(940), Some(ncr(440)));
    assert_eq!(settled, Outcome::Settled { settlement, available: left.0, budget: left.1 });
    let balance = store.balance(&customer(1)).await.unwrap();
    assert_eq!((balance.balance, balance.held), (ncr(940), ncr(0)));
    assert_eq!((balance.allocated, balance.consumed), (ncr(1_000), ncr(60)));
    let available = store.available(&customer(1), Some(&key(1))).await.unwrap();
    assert_eq!((available.credit, available.budget), left);
    ask(&store, credit("c", 1, -40)).await;
    let history =
        store.transactions(&customer(1), &TxnFilter::default(), &Page::first(10)).await.unwrap();
    let amounts: Vec<i64> = history.rows.iter().map(|txn| txn.amount.get()).collect();
    assert_eq!((amounts, history.next), (vec![-40, 1_000], None));
    let incoming = TxnFilter { incoming: Some(true), ..TxnFilter::default() };
    assert_eq!(store.count_transactions(&customer(1), &incoming).await.unwrap(), 1);
    let topup = store.last_topup(&customer(1)).await.unwrap().unwrap();
    assert_eq!(
        (topup.amount, topup.via.as_str(), topup.after),
        (ncr(1_000), "admin", Some(ncr(1_000)))
    );
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.balances, totals.open_holds), (ncr(900), 0));
    assert_sound(&store).await;
    store.close().await;
}

async fn granted_credit_goes_first(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 100)).await;
    let Command::Credit(bought) = credit("b", 1, 30) else { unreachable!() };
    ask(&store, Command::Credit(Credit { wallet: Wallet::Promo, ..bought })).await;
    charge(&store, 1, None, 20).await;
    let balance = store.balance(&customer(1)).await.unwrap();
    assert_eq!((balance.balance, balance.promo), (ncr(90), ncr(0)));
    assert_sound(&store).await;
    store.close().await;
}

/// More rows than one statement takes, on every table.
async fn a_large_batch_is_one_commit_of_many_rows(fixture: Fixture) {
    let fixture = fixture.shards(1);
    let store = fixture.open().await;
    for who in 1..=100 {
        let _answer = store.ledger().try_submit(credit(&who.to_string(), who, 1_000)).unwrap();
    }
    let holds: Vec<_> =
        (0..300).map(|n| open_hold(store.boot(), n % 100 + 1, Some(n % 150 + 1), 10)).collect();
    let answers: Vec<_> = holds
        .iter()
        .map(|open| store.ledger().try_submit(Command::Hold(open.clone())).unwrap())
        .collect();
    let settlements: Vec<_> = holds
        .iter()
        .map(|open| store.ledger().try_submit(settle(&open.to_ref(), 4)).unwrap())
        .collect();
    for answer in answers {
        assert!(matches!(answer.await.unwrap(), Outcome::Held { .. }));
    }
    for answer in settlements {
        assert!(matches!(answer.await.unwrap(), Outcome::Settled { .. }));
    }
    assert_eq!(number(&store, "select count(*) from usage").await, 300);
    let batches = number(&store, "select count(*) from batchlog").await;
    assert!(batches < 60, "{batches} batches");
    assert_eq!(store.totals().await.unwrap().balances, ncr(100_000 - 300 * 8));
    assert_sound(&store).await;
    store.close().await;
}

async fn append_only_tables_refuse_changes(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    charge(&store, 1, None, 5).await;
    let mut connection = fixture.connect(&store).await;
    for statement in [
        "update txn set amount = 1",
        "delete from txn",
        "update transfer set amount = 1",
        "delete from transfer",
        "update usage set charge_ncr = 0",
        "delete from usage",
        "update batchlog set n = 0",
        "delete from batchlog",
        "update price set in_uncached = 0",
        "delete from price",
        "update audit set reason = ''",
        "delete from audit",
    ] {
        let refused = sqlx::query(statement).execute(&mut connection).await;
        let empty_audit = statement.contains("audit") && refused.is_ok();
        if !empty_audit {
            let error = refused.expect_err(statement).to_string();
            assert!(error.contains("append-only"), "{statement}: {error}");
        }
    }
    assert_sound(&store).await;
    store.close().await;
}

async fn a_restart_goes_on_with_the_books(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    charge(&store, 1, None, 5).await;
    store.close().await;
    let again = fixture.open().await;
    assert_ne!(again.boot(), store.boot());
    let replayed = ask(&again, credit("a", 1, 1_000)).await;
    assert!(matches!(replayed, Outcome::Credited { replayed: true, .. }));
    charge(&again, 1, None, 5).await;
    assert_eq!(again.balance(&customer(1)).await.unwrap().balance, ncr(980));
    assert_sound(&again).await;
    again.close().await;
}

async fn the_holds_of_the_dead_are_resolved(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    // A process that registered, opened two holds, streamed on one of them, and died.
    let dead: BootId = "01900000-0000-7000-8000-000000000001".parse().unwrap();
    fixture
        .tamper(
            &store,
            &["insert into instance (boot, no, host, started_ms, seen_ms)
               values ('01900000-0000-7000-8000-000000000001', 99, 'h', 1, 1)"],
        )
        .await;
    let streaming = open_hold(dead, 1, None, 100);
    let reserved = open_hold(dead, 1, Some(1), 50);
    let own = open_hold(store.boot(), 1, None, 10);
    for open in [&streaming, &reserved, &own] {
        ask(&store, Command::Hold(open.clone())).await;
    }
    let meters = Meters { out_text: 20, ..Meters::default() };
    let checkpoint = Checkpoint { hold: streaming.to_ref(), meters, cost: ncr(40), seq: 1 };
    ask(&store, Command::Checkpoint(checkpoint)).await;
    let recovered = store.recover_after(std::time::Duration::ZERO, 77).await.unwrap();
    assert_eq!((recovered.posted, recovered.released), (1, 1));
    let balance = store.balance(&customer(1)).await.unwrap();
    assert_eq!((balance.balance, balance.held), (ncr(960), ncr(10)));
    let row = store.usage_of(streaming.id).await.unwrap().unwrap();
    assert_eq!((row.charge, row.usage.status), (ncr(40), UsageStatus::Lost));
    // The dead one was only slow.
    let settlement = Settlement { charge: ncr(40), write_off: ncr(0) };
    let late = ask(&store, settle(&streaming.to_ref(), 50)).await;
    assert_eq!(late, Outcome::AlreadySettled(settlement));
    let late = ask(&store, settle(&reserved.to_ref(), 10)).await;
    assert_eq!(late, Outcome::Late { write_off: ncr(20) });
    assert_eq!(
        store.recover_after(std::time::Duration::ZERO, 78).await.unwrap(),
        Default::default()
    );
    ask(&store, void(&own.to_ref())).await;
    assert_sound(&store).await;
    store.close().await;
}

async fn holds_past_their_deadline_are_released(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    let open = open_hold(store.boot(), 1, None, 100);
    ask(&store, Command::Hold(open.clone())).await;
    assert_eq!(store.expire(open.deadline_ms + 1).await.unwrap().released, 0, "within the grace");
    assert_eq!(store.expire(open.deadline_ms + 60_001).await.unwrap().released, 1);
    assert_eq!(store.balance(&customer(1)).await.unwrap().held, ncr(0));
    let late = ask(&store, settle(&open.to_ref(), 1)).await;
    assert_eq!(late, Outcome::Late { write_off: ncr(2) });
    assert_sound(&store).await;
    store.close().await;
}

async fn a_reader_reads_beside_the_writer(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    let reader = Store::open_read_only(&fixture.options).await.unwrap();
    let open = open_hold(store.boot(), 1, None, 10);
    ask(&store, Command::Hold(open)).await;
    charge(&store, 1, None, 3).await;
    assert!(audit::verify(&reader).await.unwrap().is_sound());
    assert_eq!(reader.balance(&customer(1)).await.unwrap().held, ncr(10));
    assert_eq!(reader.write(Vec::new(), None).await, Err(StoreError::ReadOnly));
    let refused = reader.ledger().submit(credit("b", 1, 1)).await;
    assert_eq!(refused, Err(LedgerError::Closed));
    reader.close().await;
    assert!(matches!(charge(&store, 1, None, 3).await, Outcome::Settled { .. }));
    store.close().await;
    let alone = Store::open_read_only(&fixture.options).await.unwrap();
    assert_eq!(alone.usage(&UsageOf::default(), &Page::first(10)).await.unwrap().rows.len(), 2);
    alone.close().await;
}

async fn closing_commits_what_is_queued(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 10_000)).await;
    let mut answers = Vec::new();
    for _ in 0..200 {
        let open = open_hold(store.boot(), 1, None, 10);
        let hold = open.to_ref();
        answers.push(store.ledger().try_submit(Command::Hold(open)).unwrap());
        answers.push(store.ledger().try_submit(settle(&hold, 2)).unwrap());
    }
    store.close().await;
    for answer in answers {
        answer.await.unwrap();
    }
    assert_eq!(store.ledger().submit(credit("b", 1, 1)).await, Err(LedgerError::Closed));
    let again = fixture.open().await;
    assert_eq!(again.balance(&customer(1)).await.unwrap().balance, ncr(10_000 - 200 * 4));
    assert_eq!(again.totals().await.unwrap().open_holds, 0);
    assert_sound(&again).await;
    again.close().await;
}
