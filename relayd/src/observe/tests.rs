use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::domain::{BackendId, Code, Meters, Ncr};

fn request(key: Option<&str>) -> NewRequest {
    NewRequest {
        request_id: RequestId::new(Uuid::now_v7()),
        key: key.map(|key| key.parse().unwrap()),
        key_name: "test".into(),
        customer: None,
        scope: "direct.openai.m".parse().unwrap(),
        stream: true,
    }
}

fn end(outcome: Outcome, input: u64, output: u64) -> End {
    End {
        outcome,
        meters: Meters { in_uncached: input, out_text: output, ..Meters::default() },
        estimated: false,
        charged: Ncr::new(5),
    }
}

const KEY: &str = "key_0123456789abcdef";

#[tokio::test(start_paused = true)]
async fn a_request_is_followed_to_its_end() {
    let observe = Observe::new();
    let backend: BackendId = "gpu-1".parse().unwrap();
    let live = observe.begin(request(Some(KEY)));
    tokio::time::advance(Duration::from_millis(300)).await;
    let waiting = observe.traffic();
    assert_eq!((waiting.in_flight, waiting.queued, waiting.oldest_queued_ms), (1, 1, 300));

    live.dispatched(&backend);
    assert_eq!(observe.requests(10)[0].phase, Phase::Prefill);
    tokio::time::advance(Duration::from_millis(100)).await;
    live.first_byte();
    live.progress(3);
    let row = observe.requests(10).remove(0);
    assert_eq!((row.phase, row.ttft_ms, row.meters.out_text), (Phase::Streaming, Some(400), 3));
    assert_eq!(row.backend, Some(backend));
    assert_eq!(observe.traffic().streams, 1);
    assert!(observe.traffic().ttft_p50_ms.abs_diff(400) <= 25);

    live.settling();
    live.ended(end(Outcome::Completed, 40, 10));
    let row = observe.requests(10).remove(0);
    assert_eq!((row.phase, row.charged, row.meters.input()), (Phase::Completed, Ncr::new(5), 40));
    assert_eq!(observe.traffic().in_flight, 0);

    tokio::time::advance(Duration::from_secs(1)).await;
    let after = observe.traffic();
    assert_eq!((after.requests_per_ks, after.tokens_in_per_ks), (100, 4_000));
    assert_eq!(after.tokens_out_per_ks, 1_000, "streamed and final tokens are not counted twice");
    let key = observe.keys()[&KEY.parse().unwrap()];
    assert_eq!((key.in_flight, key.requests_per_ks), (0, 100));

    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(observe.requests(10), vec![]);
    assert_eq!(observe.traffic(), Traffic::default());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_leaves_as_a_failure() {
    let observe = Observe::new();
    drop(observe.begin(request(Some(KEY))));
    observe.begin(request(None)).ended(end(Outcome::Cancelled, 1, 1));
    let rows = observe.requests(10);
    assert_eq!(rows[0].phase, Phase::Cancelled);
    assert_eq!((rows[1].phase, rows[1].error), (Phase::Failed, Some(Code::InternalError)));
    let traffic = observe.traffic();
    assert_eq!((traffic.in_flight, traffic.errors_ppm), (0, 500_000));
}

#[tokio::test(start_paused = true)]
async fn lists_are_bounded_and_running_comes_first() {
    let observe = Observe::new();
    for _ in 0..3 * ENDED_MAX {
        observe.begin(request(None)).ended(end(Outcome::Completed, 1, 1));
    }
    assert_eq!(observe.requests(usize::MAX).len(), ENDED_MAX);
    let live: Vec<_> = (0..RUNNING_MAX + 10).map(|_| observe.begin(request(None))).collect();
    assert_eq!(observe.traffic().in_flight as usize, RUNNING_MAX + 10);
    let rows = observe.requests(200);
    assert_eq!(rows.len(), 200);
    assert!(rows.iter().all(|row| row.phase == Phase::Queued));
    drop(live);
    assert_eq!(observe.traffic().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted() {
    let observe = Observe::new();
    observe.shed();
    observe.limited(&KEY.parse().unwrap());
    assert_eq!(observe.traffic().shed, 1);
    assert_eq!(observe.keys()[&KEY.parse().unwrap()].limited_today, 1);
}

/// Not a gate (no wall-clock asserts): prints what one step costs, for the record.
#[test]
fn prints_the_cost_of_a_step() {
    let observe = Observe::new();
    let live = observe.begin(request(Some(KEY)));
    let rounds: u32 = 200_000;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        live.progress(1);
    }
    let progress = start.elapsed() / rounds;
    let start = std::time::Instant::now();
    for _ in 0..rounds / 10 {
        observe.begin(request(Some(KEY))).ended(end(Outcome::Completed, 1, 1));
    }
    let whole = start.elapsed() / (rounds / 10);
    println!("observe: progress {progress:?}, begin to end {whole:?}");
    assert_eq!(observe.traffic().in_flight, 1);
}
