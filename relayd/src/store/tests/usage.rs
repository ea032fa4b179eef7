//! Sums and buckets of usage.

use super::fixture::{Fixture, ask, credit, customer, key, ncr, open_hold, usage};
use super::on_both;
use crate::domain::Mode;
use crate::ledger::{Blame, Command, OpenHold, Settle, Usage, UsageStatus, Void};
use crate::store::{BucketQuery, BucketWidth, Dims, GroupBy, Percentiles, Span, Store, UsageOf};

on_both! {
    sums_are_grouped_as_asked,
    buckets_hold_what_began_in_them,
    percentiles_are_nearest_ranks_of_successes,
}

const MINUTE: i64 = 60_000;

/// One request: when, by which key, of which scope, how many tokens, how it ended and how fast.
struct Used {
    at_ms: i64,
    key: Option<u64>,
    scope: &'static str,
    out: u64,
    status: UsageStatus,
    blame: Option<Blame>,
    took_ms: i64,
}

const PLAIN: Used = Used {
    at_ms: 0,
    key: None,
    scope: "direct.openai.m",
    out: 1,
    status: UsageStatus::Completed,
    blame: None,
    took_ms: 10,
};

async fn put(store: &Store, used: Used) {
    let open = OpenHold {
        scope: used.scope.parse().unwrap(),
        created_ms: used.at_ms,
        ..open_hold(store.boot(), 1, used.key, 1_000)
    };
    let hold = open.to_ref();
    ask(store, Command::Hold(open)).await;
    let report = Usage {
        status: used.status,
        blame: used.blame,
        ttft_ms: (used.status == UsageStatus::Completed).then_some(used.took_ms / 2),
        upstream_ms: None,
        done_ms: used.at_ms + used.took_ms,
        ..usage(used.out)
    };
    let command = if used.status == UsageStatus::Completed {
        let charge = ncr(i64::try_from(used.out * 2).unwrap());
        Command::Settle(Settle { hold, charge, usage: report, share: None })
    } else {
        let into = crate::ledger::HoldState::Voided;
        Command::Void(Void { hold, into, usage: report })
    };
    ask(store, command).await;
}

async fn sums_are_grouped_as_asked(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000_000)).await;
    let day = crate::store::DAY_MS;
    put(&store, Used { out: 5, key: Some(1), ..PLAIN }).await;
    put(&store, Used { out: 7, key: Some(2), at_ms: day + 3, ..PLAIN }).await;
    put(&store, Used { out: 9, scope: "opengpu.vllm.a.b", ..PLAIN }).await;
    put(
        &store,
        Used { out: 2, status: UsageStatus::Failed, blame: Some(Blame::Provider), ..PLAIN },
    )
    .await;
    let all = UsageOf::default();
    let total = store.usage_total(&all, Span::ALL).await.unwrap();
    assert_eq!((total.requests, total.errors, total.charged), (4, 1, ncr(42)));
    assert_eq!((total.meters.out_text, total.model), (23, None));
    let today = store.usage_total(&all, Span::day_of(day + 5)).await.unwrap();
    assert_eq!((today.requests, today.charged), (1, ncr(14)));
    let by = GroupBy { mode: true, source: true, model: true, ..GroupBy::default() };
    let groups = store.summarize(&all, Span::ALL, by).await.unwrap();
    let shown: Vec<_> = groups
        .iter()
        .map(|one| (one.model.as_ref().unwrap().as_str(), one.mode.unwrap(), one.charged.get()))
        .collect();
    assert_eq!(shown, [("m", Mode::Direct, 24), ("a.b", Mode::Opengpu, 18)]);
    let by = GroupBy { key: true, day: true, ..GroupBy::default() };
    let of = UsageOf { customer: Some(customer(1)), key: None };
    let groups = store.summarize(&of, Span::ALL, by).await.unwrap();
    let shown: Vec<_> =
        groups.iter().map(|one| (one.key.clone(), one.day_ms.unwrap(), one.requests)).collect();
    assert_eq!(shown, [(None, 0, 2), (Some(key(2)), day, 1), (Some(key(1)), 0, 1)]);
    let nobody = UsageOf { customer: Some(customer(7)), key: None };
    assert_eq!(store.usage_total(&nobody, Span::ALL).await.unwrap().requests, 0);
    let modes = store.consumed_by_mode(&customer(1)).await.unwrap();
    assert_eq!(modes, [(Mode::Direct, ncr(24)), (Mode::Opengpu, ncr(18))]);
    store.close().await;
}

async fn buckets_hold_what_began_in_them(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000_000)).await;
    let failed = |blame| Used { status: UsageStatus::Failed, blame, out: 0, ..PLAIN };
    put(&store, Used { at_ms: 10, ..PLAIN }).await;
    put(&store, Used { at_ms: MINUTE - 1, key: Some(1), ..PLAIN }).await;
    put(&store, Used { at_ms: MINUTE, scope: "direct.vllm.n", ..PLAIN }).await;
    put(&store, Used { at_ms: MINUTE + 1, ..failed(Some(Blame::Client)) }).await;
    put(&store, Used { at_ms: MINUTE + 2, ..failed(Some(Blame::Provider)) }).await;
    put(&store, Used { at_ms: MINUTE + 3, ..failed(None) }).await;
    put(&store, Used { at_ms: 5 * MINUTE, ..PLAIN }).await;
    let span = Span { from_ms: 0, to_ms: 5 * MINUTE };
    let rows = store.buckets(&BucketQuery::default(), BucketWidth::Minute, span).await.unwrap();
    let shown: Vec<_> =
        rows.iter().map(|row| (row.start_ms, row.requests, row.successes)).collect();
    assert_eq!(shown, [(0, 2, 2), (MINUTE, 4, 1)]);
    let errors = (rows[1].client_errors, rows[1].upstream_errors, rows[1].other_errors);
    assert_eq!((errors, rows[1].charged), ((1, 1, 1), ncr(2)));
    assert_eq!(rows[0].dims, Dims::default());
    let by_key = BucketQuery { by_key: true, by_model: true, ..BucketQuery::default() };
    let rows = store.buckets(&by_key, BucketWidth::Hour, span).await.unwrap();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.dims.model.as_ref().unwrap().as_str(), row.dims.key.clone(), row.requests))
        .collect();
    assert_eq!(shown, [("m", None, 4), ("m", Some(key(1)), 1), ("n", None, 1)]);
    let only = BucketQuery {
        models: vec!["n".parse().unwrap(), "x".parse().unwrap()],
        modes: vec![Mode::Direct],
        ..BucketQuery::default()
    };
    let rows = store.buckets(&only, BucketWidth::Day, span).await.unwrap();
    assert_eq!((rows.len(), rows[0].requests), (1, 1));
    let keys = BucketQuery { keys: vec![key(1)], ..BucketQuery::default() };
    let rows = store.buckets(&keys, BucketWidth::Day, span).await.unwrap();
    assert_eq!((rows.len(), rows[0].requests), (1, 1));
    store.close().await;
}

async fn percentiles_are_nearest_ranks_of_successes(fixture: Fixture) {
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000_000)).await;
    for took_ms in (1..=200).rev() {
        put(&store, Used { took_ms, ..PLAIN }).await;
    }
    let slow = Used { took_ms: 9_999, status: UsageStatus::Failed, ..PLAIN };
    put(&store, slow).await;
    let span = Span { from_ms: 0, to_ms: MINUTE };
    let rows = store.buckets(&BucketQuery::default(), BucketWidth::Minute, span).await.unwrap();
    let latency = Percentiles { p50: 100, p90: 180, p95: 190, p99: 198, samples: 200 };
    assert_eq!((rows[0].requests, rows[0].latency), (201, latency));
    assert_eq!(rows[0].ttft.p50, 50);
    assert_eq!(rows[0].upstream, Percentiles::default(), "nothing was measured");
    store.close().await;
}
