//! Further places for a request that has one, and when it is late.

use super::*;

fn openai() -> Scope {
    scope("direct.openai.m")
}

/// Requests that are answered one after another, the first content of each after so long.
async fn answered(router: &Router, times: usize, ttft: Duration) {
    for _ in 0..times {
        let permit = router.admit(&Ask::new(&openai(), &[], later())).await.unwrap();
        permit.first_byte(ttft);
        permit.report(Outcome::Ok { ttft });
    }
}

#[tokio::test(start_paused = true)]
async fn late_is_what_few_are_and_unknown_before_enough_was_seen() {
    let router = Router::new(fleet(vec![spec("a")]), 1);
    answered(&router, 19, Duration::from_millis(100)).await;
    assert_eq!(router.late_after(&openai()), None);
    answered(&router, 1, Duration::from_millis(100)).await;
    let usual = router.late_after(&openai()).unwrap();
    assert!((90..=110).contains(&usual.as_millis()), "{usual:?}");
    // One in ten that takes a second is no exception any more.
    answered(&router, 3, S).await;
    assert!(router.late_after(&openai()).unwrap() > S / 2);
    let quick = Router::new(fleet(vec![spec("a")]), 1);
    answered(&quick, 40, Duration::from_millis(2)).await;
    assert_eq!(quick.late_after(&openai()), Some(Duration::from_millis(20)));
    assert_eq!(quick.late_after(&scope("direct.openai.other")), None);
}

#[tokio::test(start_paused = true)]
async fn a_copy_takes_what_is_free_now_elsewhere_and_never_waits() {
    let one = |id: &str| BackendSpec { max_concurrency: 1, ..spec(id) };
    let fleet = fleet(vec![one("a"), one("b")]);
    let router = Router::new(fleet.clone(), 1);
    let first = router.admit(&Ask::new(&openai(), &[], later())).await.unwrap();
    let beside = router.beside(&openai(), &[Arc::clone(first.backend())]);
    assert_eq!(beside, [first.backend().id().clone()]);
    let scope = openai();
    let ask = Ask::new(&scope, &beside, Instant::now());
    let second = router.admit_now(&ask).unwrap();
    assert_ne!(first.backend().id(), second.backend().id());
    assert!(router.admit_now(&ask).is_none(), "the other one is busy");
    assert_eq!(backend(&fleet, "a").runtime.queued() + backend(&fleet, "b").runtime.queued(), 0);
    drop(second);
    assert!(router.admit_now(&ask).is_some());
}

#[tokio::test(start_paused = true)]
async fn one_request_in_twenty_gets_a_second_place() {
    let router = Router::new(fleet(vec![spec("a"), spec("b")]), 1);
    let scope = openai();
    let ask = Ask::new(&scope, &[], Instant::now());
    assert!(router.hedge(&ask).is_none(), "before any request there is none to spend");
    let (mut hedged, other) = (0, [id("a")]);
    for _ in 0..200 {
        let permit = router.admit(&Ask::new(&scope, &[], later())).await.unwrap();
        // As a copy is asked for: not where the request runs already.
        hedged += usize::from(router.hedge(&Ask::new(&scope, &other, Instant::now())).is_some());
        drop(permit);
    }
    assert_eq!(hedged, 10);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_given_back_early_is_given_back_once() {
    let fleet = fleet(vec![BackendSpec { max_concurrency: 1, ..spec("a") }]);
    let router = Router::new(fleet.clone(), 1);
    let a = backend(&fleet, "a");
    let first = router.admit(&Ask::new(&openai(), &[], later())).await.unwrap();
    first.end(ok());
    assert_eq!(a.runtime.running(), 0);
    let second = router.admit(&Ask::new(&openai(), &[], later())).await.unwrap();
    first.end(failed());
    first.report(failed());
    drop(first);
    assert_eq!((a.runtime.running(), a.runtime.view().failures), (1, 0));
    drop(second);
    assert_eq!(a.runtime.running(), 0);
}
