//! The audit finds what somebody with a shell on the database did.

use super::fixture::{
    Fixture, ask, assert_sound, budget, charge, credit, ncr, open_hold, settle, void,
};
use super::on_both;
use crate::ledger::{BudgetChange, Command};
use crate::store::audit::{AuditReport, Invariant, verify};
use crate::store::{Engine, Store};

on_both! {
    an_honest_ledger_is_sound,
    finds_an_unbalanced_transfer,
    finds_a_raised_balance,
    finds_a_held_amount_without_a_hold,
    finds_a_balance_below_its_floor,
    finds_a_second_settlement,
    finds_a_charge_that_is_not_its_usage,
    finds_a_missing_trigger,
    finds_an_altered_row_by_its_hash,
    finds_a_removed_batch,
    finds_a_row_added_to_a_batch,
}

/// Money, budgets, settled, released, late and open holds.
async fn busy(fixture: &Fixture) -> Store {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    ask(&store, credit("b", 2, 500)).await;
    ask(&store, budget("c", 1, 1, BudgetChange::Set(ncr(300)))).await;
    for n in 1..6 {
        charge(&store, 1, Some(1), n).await;
        charge(&store, 2, None, n).await;
    }
    let open = open_hold(store.boot(), 1, Some(1), 50);
    ask(&store, Command::Hold(open)).await;
    let released = open_hold(store.boot(), 2, None, 50);
    ask(&store, Command::Hold(released.clone())).await;
    ask(&store, void(&released.to_ref())).await;
    ask(&store, settle(&released.to_ref(), 3)).await;
    let excess = open_hold(store.boot(), 2, None, 5);
    ask(&store, Command::Hold(excess.clone())).await;
    ask(&store, settle(&excess.to_ref(), 9)).await;
    store
}

fn breached(report: &AuditReport) -> Vec<Invariant> {
    let mut all: Vec<Invariant> = report.breaches.iter().map(|breach| breach.invariant).collect();
    all.dedup();
    all
}

/// Takes the triggers of a table off, changes it, and puts them back as they were.
async fn corrupt(fixture: &Fixture, store: &Store, table: &str, statement: &str) {
    let (off, on) = match store.engine() {
        Engine::Sqlite => {
            let off = ["update", "delete"].map(|verb| format!("drop trigger {table}_{verb}"));
            let on = ["update", "delete"].map(|verb| {
                format!(
                    "create trigger {table}_{verb} before {verb} on {table}
                     begin select raise(abort, '{table} is append-only'); end"
                )
            });
            (off.to_vec(), on.to_vec())
        }
        Engine::Postgres => (
            vec![format!("alter table {table} disable trigger all")],
            vec![format!("alter table {table} enable trigger all")],
        ),
    };
    let statements: Vec<&str> = off
        .iter()
        .map(String::as_str)
        .chain([statement])
        .chain(on.iter().map(String::as_str))
        .collect();
    fixture.tamper(store, &statements).await;
}

async fn finds(store: &Store, wanted: Invariant) {
    let report = verify(store).await.unwrap();
    assert!(breached(&report).contains(&wanted), "{:#?}", report.breaches);
    assert!(!report.is_sound());
    store.close().await;
}

async fn an_honest_ledger_is_sound(fixture: Fixture) {
    let store = busy(&fixture).await;
    assert_sound(&store).await;
    let report = verify(&store).await.unwrap();
    assert_eq!((report.holds, report.usage), (13, 12));
    assert!(report.accounts >= 8 && report.transfers > 20 && report.batches > 10, "{report:?}");
    store.close().await;
}

async fn finds_an_unbalanced_transfer(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = "insert into transfer (txn_id, leg, debit, credit, amount)
        values ('credit:a', 7, 'nobody', 'paid:cus_0000000000000001', 5)";
    corrupt(&fixture, &store, "transfer", statement).await;
    finds(&store, Invariant::I1).await;
}

async fn finds_a_raised_balance(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement =
        "update account set balance = balance + 1 where id = 'paid:cus_0000000000000001'";
    fixture.tamper(&store, &[statement]).await;
    finds(&store, Invariant::I2).await;
}

async fn finds_a_held_amount_without_a_hold(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = "update account set held = held + 1 where id = 'paid:cus_0000000000000002'";
    fixture.tamper(&store, &[statement]).await;
    finds(&store, Invariant::I3).await;
}

async fn finds_a_balance_below_its_floor(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement =
        "update account set floor = 0, balance = -1 where id = 'budget:key_0000000000000001'";
    fixture.tamper(&store, &[statement]).await;
    finds(&store, Invariant::I4).await;
}

async fn finds_a_second_settlement(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = "insert into txn select 'charge:again', kind, subject, customer_id, amount,
        before_ncr, after_ncr, via, reason, actor, fingerprint, chain, batch, created_ms
        from txn where id = (select min(id) from txn where kind = 'charge')";
    fixture.tamper(&store, &[statement]).await;
    finds(&store, Invariant::I5).await;
}

async fn finds_a_charge_that_is_not_its_usage(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = "update usage set out_text = out_text + 1
        where request_id = (select min(request_id) from usage where status = 'completed')";
    corrupt(&fixture, &store, "usage", statement).await;
    finds(&store, Invariant::I6).await;
}

async fn finds_a_missing_trigger(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = match store.engine() {
        Engine::Sqlite => "drop trigger usage_update",
        Engine::Postgres => "alter table usage disable trigger usage_append_only",
    };
    fixture.tamper(&store, &[statement]).await;
    finds(&store, Invariant::I7).await;
}

/// A field that no other invariant looks at.
async fn finds_an_altered_row_by_its_hash(fixture: Fixture) {
    let store = busy(&fixture).await;
    corrupt(&fixture, &store, "txn", "update txn set reason = 'x' where id = 'credit:a'").await;
    let report = verify(&store).await.unwrap();
    assert_eq!(breached(&report), [Invariant::I8], "{:#?}", report.breaches);
    assert_eq!(report.found, 1, "only the altered batch");
    store.close().await;
}

async fn finds_a_removed_batch(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = "delete from batchlog where batch = 2";
    corrupt(&fixture, &store, "batchlog", statement).await;
    finds(&store, Invariant::I8).await;
}

async fn finds_a_row_added_to_a_batch(fixture: Fixture) {
    let store = busy(&fixture).await;
    let statement = "insert into txn select 'credit:forged', kind, subject, customer_id, amount,
        before_ncr, after_ncr, via, reason, actor, fingerprint, chain, batch, created_ms
        from txn where id = 'credit:a'";
    fixture.tamper(&store, &[statement]).await;
    let report = verify(&store).await.unwrap();
    assert_eq!(breached(&report), [Invariant::I8], "{:#?}", report.breaches);
    store.close().await;
}
