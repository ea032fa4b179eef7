//! The same commands into both stores come to the same answers and the same rows.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sqlx::Row;

use super::fixture::{
    Fixture, PRICE, PROVIDER_BPS, assert_sound, budget, credit, customer, key, ncr, provider, usage,
};
use crate::domain::{BootId, Meters, RequestId};
use crate::ledger::{
    BudgetChange, Checkpoint, Claimed, Command, Extend, HoldRef, OpenHold, Outcome, Phase, Recover,
    Settle, Share, Usage,
};
use crate::store::Store;

/// Logs of a push, over all databases; [`LOGS_VARIABLE`] asks for more.
const LOGS: u64 = 500;
/// Databases that the logs are spread over, of each kind: as many run side by side as there are
/// processors.
const DATABASES: u64 = 4;
/// Commands of a log.
const COMMANDS: usize = 1_000;
/// Names another number of logs, for a night.
const LOGS_VARIABLE: &str = "RELAY_TEST_TWIN_LOGS";

/// Both stores get the same boot in their holds, whatever their own is.
const BOOT: &str = "01900000-0000-7000-8000-0000000000aa";

fn request(log: u64, n: u8) -> RequestId {
    format!("01900000-0000-7000-8000-{log:08x}{n:04x}").parse().unwrap()
}

fn reference(id: RequestId, who: u64, which: Option<u64>) -> HoldRef {
    let boot: BootId = BOOT.parse().unwrap();
    HoldRef { id, customer: customer(who), key: which.map(key), boot, fence: 1 }
}

fn commands(log: u64) -> impl Strategy<Value = Vec<Command>> {
    let parties =
        |n: u8| (u64::from(n % 3) + 1, (n.is_multiple_of(2)).then_some(u64::from(n % 5) + 1));
    let hold = move |n: u8, amount: i64| {
        let (who, which) = parties(n);
        let reference = reference(request(log, n), who, which);
        Command::Hold(OpenHold {
            id: reference.id,
            customer: reference.customer,
            key: reference.key,
            scope: "direct.openai.m".parse().unwrap(),
            price: PRICE.parse().unwrap(),
            amount: ncr(amount),
            promo: amount & 1 == 0,
            boot: reference.boot,
            fence: 1,
            phase: Phase::Reserved,
            stream: n.is_multiple_of(2),
            created_ms: amount,
            deadline_ms: 1_000,
        })
    };
    let of = move |n: u8| {
        let (who, which) = parties(n);
        reference(request(log, n), who, which)
    };
    let step = prop_oneof![
        2 => (0_u16..40, 1_u64..4, -50_i64..2_000)
            .prop_map(move |(i, who, n)| credit(&format!("{log}-{i}"), who, n)),
        2 => (0_u16..40, 1_u64..6, 0_i64..500).prop_map(move |(i, k, n)| {
            let change = if n % 3 == 0 { BudgetChange::Uncap } else { BudgetChange::Set(ncr(n)) };
            budget(&format!("{log}-{i}"), 1, k, change)
        }),
        8 => (any::<u8>(), 0_i64..300).prop_map(move |(n, amount)| hold(n, amount)),
        2 => (any::<u8>(), 0_i64..500).prop_map(move |(n, total)| {
            Command::Extend(Extend { hold: of(n), total: ncr(total), promo: true })
        }),
        3 => (any::<u8>(), 1_i64..4, 0_u64..50).prop_map(move |(n, seq, out)| {
            let meters = Meters { out_text: out, ..Meters::default() };
            let cost = ncr(i64::try_from(out * 2).unwrap());
            Command::Checkpoint(Checkpoint { hold: of(n), meters, cost, seq })
        }),
        8 => (any::<u8>(), 0_u64..200).prop_map(move |(n, out)| {
            let charge = ncr(i64::try_from(out * 2).unwrap());
            let share = Share { provider: provider(u64::from(n % 2)), bps: PROVIDER_BPS };
            let share = n.is_multiple_of(3).then_some(share);
            let claimed = share.as_ref().map(|_| Claimed { input: 1, output: out + 1 });
            let usage = Usage { claimed, ..usage(out) };
            Command::Settle(Settle { hold: of(n), charge, usage, share })
        }),
        3 => any::<u8>().prop_map(move |n| super::fixture::void(&of(n))),
        1 => any::<u8>().prop_map(move |n| Command::Recover(Recover { hold: of(n), at_ms: 50 })),
    ];
    prop::collection::vec(step, COMMANDS)
}

/// Submits all at once, so that batches form as they will.
async fn run(store: &Store, commands: &[Command]) -> Vec<Outcome> {
    let answers: Vec<_> = commands
        .iter()
        .map(|command| store.ledger().try_submit(command.clone()).unwrap())
        .collect();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(answer.await.unwrap());
    }
    outcomes
}

/// Every row that is not about how batches formed.
async fn rows(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "select 'account ' || id || ' ' || unit || ' ' || owner || ' ' || floor || ' ' || balance || ' '
            || held || ' ' || state as line from account order by id",
        "select 'hold ' || id || ' ' || customer_id || ' ' || coalesce(key_id, '-') || ' ' || mode
            || source || model || price_id || ' ' || promo || ' ' || paid || ' ' || budget || ' ' || state
            || ' ' || phase || ' ' || boot || ' ' || fence || ' ' || ckpt_out_text || ' ' || ckpt_ncr || ' '
            || ckpt_seq || ' ' || charge_ncr || ' ' || write_off_ncr || ' ' || coalesce(late_ncr, -1)
            || ' ' || stream || ' ' || created_ms || ' ' || deadline_ms || ' ' || coalesce(resolved_ms, -1)
            as line from hold order by id",
        "select 'txn ' || id || ' ' || kind || ' ' || subject || ' ' || customer_id || ' ' || amount || ' '
            || coalesce(before_ncr, -1) || ' ' || coalesce(after_ncr, -1) || ' ' || via || reason || actor
            || ' ' || fingerprint || ' ' || created_ms as line from txn order by id",
        "select 'transfer ' || txn_id || ' ' || leg || ' ' || debit || ' ' || credit || ' ' || amount
            as line from transfer order by txn_id, leg",
        "select 'usage ' || request_id || ' ' || attempt || ' ' || customer_id || ' '
            || coalesce(key_id, '-') || mode || source || model || coalesce(backend, '-') || price_id
            || ' ' || in_uncached || ' ' || out_text || ' ' || count_source || estimated || ' '
            || charge_ncr || ' ' || write_off_ncr || ' ' || status || coalesce(error_code, '-')
            || coalesce(blame, '-') || stream || ' ' || created_ms || ' ' || coalesce(ttft_ms, -1) || ' '
            || coalesce(upstream_ms, -1) || ' ' || done_ms || ' ' || coalesce(task_id, '-') || ' '
            || coalesce(claimed_in, -1) || ' ' || coalesce(claimed_out, -1) || ' '
            || coalesce(provider, '-') || ' ' || coalesce(provider_ncr, -1)
            as line from usage order by request_id",
    ] {
        for row in sqlx::query(sql).fetch_all(store.reader()).await.unwrap() {
            all.push(row.get::<String, _>("line"));
        }
    }
    all
}

/// Runs every fourth log, say, from `first` on, into a database of each kind.
async fn same_rows(first: u64) {
    let logs = std::env::var(LOGS_VARIABLE).map_or(LOGS, |logs| logs.parse().unwrap());
    let (lite_fixture, post_fixture) = (Fixture::sqlite(), Fixture::postgres().await.shards(1));
    let (lite, post) = (lite_fixture.open().await, post_fixture.open().await);
    for log in (first..logs).step_by(usize::try_from(DATABASES).unwrap()) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&log.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let commands = commands(log).new_tree(&mut runner).unwrap().current();
        let (left, right) = tokio::join!(run(&lite, &commands), run(&post, &commands));
        for ((left, right), command) in left.iter().zip(&right).zip(&commands) {
            assert_eq!(left, right, "log {log}: {command:?}");
        }
        let kinds: std::collections::HashSet<_> = left.iter().map(std::mem::discriminant).collect();
        assert!(kinds.len() >= 10, "a log that says little: {} kinds of outcome", kinds.len());
    }
    let (left, right) = (rows(&lite).await, rows(&post).await);
    assert!(left.len() > 500, "{} rows", left.len());
    for (left, right) in left.iter().zip(&right) {
        assert_eq!(left, right);
    }
    assert_eq!(left.len(), right.len());
    assert_sound(&lite).await;
    assert_sound(&post).await;
    lite.close().await;
    post.close().await;
}

/// One test for each database, so that they run side by side.
macro_rules! both_stores_come_to_the_same_rows {
    ($($name:ident: $first:literal,)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            same_rows($first).await;
        })+
    };
}

both_stores_come_to_the_same_rows! {
    both_stores_come_to_the_same_rows_first: 0,
    both_stores_come_to_the_same_rows_second: 1,
    both_stores_come_to_the_same_rows_third: 2,
    both_stores_come_to_the_same_rows_fourth: 3,
}
