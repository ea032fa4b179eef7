//! Holds from their request to their one exit, on real databases.

use std::sync::Arc;
use std::time::Duration;

use super::{HOUSE, HoldSpec, Metering, Pace};
use crate::domain::{Code, CustomerId, Meters, Ncr, RateLimits};
use crate::identity::{KeyPrincipal, Principal};
use crate::ledger::{BudgetChange, Usage, UsageStatus};
use crate::store::tests::fixture::{
    Fixture, ask, assert_sound, budget, credit, customer, key, ncr, price, request, usage,
};
use crate::store::tests::on_both;
use crate::store::{Page, Store, UsageOf};

on_both! {
    settles_for_what_was_used,
    never_charges_above_the_hold,
    grows_by_windows,
    a_dropped_hold_is_released,
    a_hold_dropped_before_its_commit_is_released,
    every_early_exit_leaves_no_open_hold,
    refusals_are_faults,
    guests_are_served_on_the_house,
    overlap_is_for_the_known_and_rich,
    a_settlement_outlives_whoever_waits_for_it,
    a_late_settlement_is_written_off,
}

fn principal(who: u64, which: u64) -> Principal {
    Principal::Key(Arc::new(KeyPrincipal {
        key_id: key(which),
        name: "k".to_owned(),
        customer_id: customer(who),
        tier: "basic".to_owned(),
        superkey: false,
        account_active: true,
        denied_scopes: Vec::new(),
        allowlist: None,
        limits: RateLimits::NONE,
        budgeted: false,
        warning_threshold: Ncr::ZERO,
    }))
}

fn spec(who: u64, amount: i64) -> HoldSpec {
    HoldSpec {
        id: request(),
        principal: principal(who, who),
        price: Arc::new(price()),
        amount: ncr(amount),
        stream: true,
        created_ms: 4_102_444_800_000,
        deadline: Duration::from_secs(60),
    }
}

async fn rich(fixture: &Fixture) -> (Store, Metering) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    let metering = Metering::new(store.clone());
    (store, metering)
}

async fn close(store: Store, metering: Metering) {
    metering.close().await;
    assert_eq!(store.totals().await.unwrap().open_holds, 0, "a hold was left open");
    assert_sound(&store).await;
    store.close().await;
}

async fn settles_for_what_was_used(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let hold = metering.hold(spec(1, 100)).await.unwrap();
    assert_eq!(hold.amount(), ncr(100));
    assert_eq!(store.balance(&customer(1)).await.unwrap().held, ncr(100));
    let meters = Meters { in_uncached: 7, out_text: 20, ..Meters::default() };
    let settled = hold.settle(Usage { meters, ..usage(0) }).await.unwrap();
    assert_eq!((settled.charge, settled.write_off, settled.meters), (ncr(47), ncr(0), meters));
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(953));
    assert_eq!(metering.remembered(&customer(1)), Some(ncr(953)));
    close(store, metering).await;
}

async fn never_charges_above_the_hold(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let hold = metering.hold(spec(1, 30)).await.unwrap();
    let settled = hold.settle(usage(20)).await.unwrap();
    assert_eq!((settled.charge, settled.write_off), (ncr(30), ncr(10)));
    let hold = metering.hold(spec(1, 30)).await.unwrap();
    let absurd = Meters { out_text: u64::MAX, ..Meters::default() };
    let settled = hold.settle(Usage { meters: absurd, ..usage(0) }).await.unwrap();
    assert_eq!((settled.charge, settled.meters.out_text), (ncr(30), 1 << 40));
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(940));
    close(store, metering).await;
}

async fn grows_by_windows(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let mut hold = metering.hold(spec(1, 100)).await.unwrap();
    let growth = hold.extend(ncr(250)).await.unwrap();
    hold.grown(growth);
    assert_eq!(hold.amount(), ncr(250));
    let fault = hold.extend(ncr(1_001)).await.unwrap_err();
    assert_eq!(fault.code, Code::InsufficientCredits);
    assert_eq!(hold.amount(), ncr(250), "what is reserved stays");
    let so_far = Meters { out_text: 50, ..Meters::default() };
    hold.checkpoint(&so_far);
    let settled = hold.settle(usage(120)).await.unwrap();
    assert_eq!(settled.charge, ncr(240));
    close(store, metering).await;
}

async fn a_dropped_hold_is_released(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    drop(metering.hold(spec(1, 100)).await.unwrap());
    let task = tokio::spawn({
        let metering = metering.clone();
        async move {
            let _hold = metering.hold(spec(1, 100)).await.unwrap();
            panic!("a driver that dies with its hold");
        }
    });
    assert!(task.await.unwrap_err().is_panic());
    metering.close().await;
    let rows = store.usage(&UsageOf::default(), &Page::first(10)).await.unwrap().rows;
    let ends: Vec<_> = rows.iter().map(|row| (row.usage.status, row.charge)).collect();
    assert_eq!(ends, [(UsageStatus::Cancelled, ncr(0)); 2]);
    close(store, metering).await;
}

async fn a_hold_dropped_before_its_commit_is_released(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    for _ in 0..50 {
        drop(metering.hold(spec(1, 10)));
    }
    metering.close().await;
    assert_eq!(store.balance(&customer(1)).await.unwrap().held, ncr(0));
    close(store, metering).await;
}

/// A driver that is cancelled at every one of its awaits.
async fn every_early_exit_leaves_no_open_hold(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    for polls in 0..12 {
        let metering = metering.clone();
        let mut driver = Box::pin(async move {
            let mut hold = metering.hold(spec(1, 20)).await?;
            let growth = hold.extend(ncr(40)).await?;
            hold.grown(growth);
            hold.checkpoint(&Meters { out_text: 5, ..Meters::default() });
            hold.settle(usage(10)).await
        });
        for _ in 0..polls {
            if futures::poll!(&mut driver).is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(driver);
    }
    close(store, metering).await;
}

async fn refusals_are_faults(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let poor = metering.hold(spec(2, 1)).await.unwrap_err();
    assert_eq!(poor.code, Code::InsufficientCredits);
    ask(&store, budget("b", 1, 1, BudgetChange::Set(ncr(10)))).await;
    let exhausted = metering.hold(spec(1, 11)).await.unwrap_err();
    assert_eq!(exhausted.code, Code::KeyBudgetExhausted);
    let hold = metering.hold(spec(1, 10)).await.unwrap();
    hold.void(usage(0)).await;
    assert_eq!(store.balance(&customer(1)).await.unwrap().held, ncr(0));
    metering.close().await;
    store.close().await;
    let closed = metering.hold(spec(1, 1)).await.unwrap_err();
    assert_eq!((closed.code, closed.retry_after_s), (Code::ServiceUnavailable, Some(1)));
}

async fn guests_are_served_on_the_house(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let addr = "127.0.0.1".parse().unwrap();
    let guest = HoldSpec { principal: Principal::Guest { addr }, ..spec(1, 500) };
    assert!(metering.may_overlap(&guest));
    let mut hold = metering.hold(guest).await.unwrap();
    let growth = hold.extend(ncr(10_000)).await.unwrap();
    hold.grown(growth);
    let settled = hold.settle(usage(20)).await.unwrap();
    assert_eq!((settled.charge, settled.write_off), (ncr(0), ncr(40)));
    let house: CustomerId = HOUSE.parse().unwrap();
    let of = UsageOf { customer: Some(house), key: None };
    let rows = store.usage(&of, &Page::first(10)).await.unwrap().rows;
    assert_eq!((rows[0].charge, rows[0].write_off, rows.len()), (ncr(0), ncr(40), 1));
    close(store, metering).await;
}

async fn overlap_is_for_the_known_and_rich(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    assert!(!metering.may_overlap(&spec(1, 10)), "nothing was heard of it");
    metering.hold(spec(1, 10)).await.unwrap().settle(usage(5)).await.unwrap();
    assert!(metering.may_overlap(&spec(1, 247)), "four times 247 are below 990");
    assert!(!metering.may_overlap(&spec(1, 248)));
    let pending = metering.hold(spec(1, 100));
    assert!(!metering.may_overlap(&spec(1, 247)), "another hold is on its way");
    pending.await.unwrap().settle(usage(0)).await.unwrap();
    assert!(metering.may_overlap(&spec(1, 247)));
    assert!(!metering.may_overlap(&spec(2, 0)));
    ask(&store, budget("b", 1, 1, BudgetChange::Set(ncr(20)))).await;
    metering.hold(spec(1, 10)).await.unwrap().void(usage(0)).await;
    assert!(!metering.may_overlap(&spec(1, 6)), "the key's budget is not four ceilings");
    close(store, metering).await;
}

async fn a_settlement_outlives_whoever_waits_for_it(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let hold = metering.hold(spec(1, 100)).await.unwrap();
    let mut settling = Box::pin(hold.settle(usage(25)));
    let _polled_once = futures::poll!(&mut settling);
    drop(settling);
    metering.close().await;
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(950));
    close(store, metering).await;
}

async fn a_late_settlement_is_written_off(fixture: Fixture) {
    let (store, metering) = rich(&fixture).await;
    let hold = metering.hold(spec(1, 100)).await.unwrap();
    store.expire(i64::MAX / 2).await.unwrap();
    let settled = hold.settle(usage(25)).await.unwrap();
    assert_eq!((settled.charge, settled.write_off), (ncr(0), ncr(50)));
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(1_000));
    close(store, metering).await;
}

#[test]
fn checkpoints_keep_to_their_share() {
    let pace = Pace::default();
    let allowed = (0..3_000).filter(|_| pace.allows(1_500)).count();
    assert_eq!(allowed, 1_000);
    assert!(pace.allows(2_000), "a new second");
}
