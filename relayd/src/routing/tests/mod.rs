//! Admission over fleets without engines, with a paused clock.

mod churn;
mod copies;
mod sharing;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::engines::Probe;
use crate::fleet::tests::{backend, fleet, scope, served, spec};
use crate::fleet::{BackendSpec, BreakerState, Intake, StateWord};

const S: Duration = Duration::from_secs(1);

type Admission = Pin<Box<dyn Future<Output = Result<Permit, Refusal>>>>;

fn id(text: &str) -> BackendId {
    text.parse().unwrap()
}

fn later() -> Instant {
    Instant::now() + 30 * S
}

fn failed() -> Outcome {
    Outcome::BackendFailed { reason: "boom".into() }
}

fn ok() -> Outcome {
    Outcome::Ok { ttft: Duration::from_millis(10) }
}

/// An admission that was polled once: it has its place or stands in the queue.
fn begin(router: &Router, scope: &Scope, exclude: &[&str]) -> Admission {
    let (router, scope) = (router.clone(), scope.clone());
    let exclude: Vec<BackendId> = exclude.iter().map(|text| id(text)).collect();
    let deadline = later();
    Box::pin(async move { router.admit(&Ask::new(&scope, &exclude, deadline)).await })
}

fn poll(admission: &mut Admission) -> Option<Result<Permit, Refusal>> {
    match admission.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

fn now_or_never(router: &Router, text: &str) -> Option<Result<Permit, Refusal>> {
    poll(&mut begin(router, &scope(text), &[]))
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_is_told_at_once() {
    let fleet = fleet(vec![spec("a")]);
    let router = Router::new(fleet.clone(), 1);
    let refused = |text: &str| now_or_never(&router, text).unwrap().unwrap_err();
    assert_eq!(refused("direct.openai.other"), Refusal::NoBackend);
    assert_eq!(refused("opengpu.openai.m"), Refusal::NoBackend);
    let only = poll(&mut begin(&router, &scope("direct.openai.m"), &["a"])).unwrap();
    assert_eq!(only.unwrap_err(), Refusal::NoBackend, "excluded");
    for intake in [Intake::Cordoned, Intake::Draining] {
        fleet.set_intake(&id("a"), intake).unwrap();
        assert_eq!(refused("direct.openai.m"), Refusal::NoBackend);
    }
    fleet.set_intake(&id("a"), Intake::Open).unwrap();
    fleet.set_weight(&id("a"), 0).unwrap();
    assert_eq!(refused("direct.openai.m"), Refusal::NoBackend);
    fleet.set_weight(&id("a"), 1).unwrap();
    for _ in 0..3 {
        backend(&fleet, "a").runtime.probed(Probe::Down("gone".into()));
    }
    assert_eq!(refused("direct.openai.m"), Refusal::NoBackend);
    backend(&fleet, "a").runtime.probed(Probe::Loading);
    assert_eq!(refused("direct.openai.m"), Refusal::NoBackend);
    backend(&fleet, "a").runtime.probed(Probe::Up);
    assert!(now_or_never(&router, "direct.openai.m").unwrap().is_ok());
    let fault = Refusal::QueueFull { retry_after_s: 7 }.fault();
    assert_eq!((fault.code, fault.retry_after_s), (Code::CapacityExhausted, Some(7)));
    assert_eq!(Refusal::NoBackend.fault().code, Code::ProviderUnavailable);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_served_in_order_and_left_by_deadline_or_choice() {
    let fleet = fleet(vec![BackendSpec { max_concurrency: 1, queue_limit: 3, ..spec("a") }]);
    let router = Router::new(fleet.clone(), 1);
    let (openai, anthropic) = (scope("direct.openai.m"), scope("direct.anthropic.m"));
    let a = backend(&fleet, "a");
    let running = router.admit(&Ask::new(&openai, &[], later())).await.unwrap();
    let mut first = begin(&router, &openai, &[]);
    let mut second = begin(&router, &anthropic, &[]);
    let mut third = begin(&router, &openai, &[]);
    for waiting in [&mut first, &mut second, &mut third] {
        assert!(poll(waiting).is_none());
    }
    assert_eq!(a.runtime.queued(), 3);
    let fourth = now_or_never(&router, "direct.openai.m").unwrap();
    assert!(matches!(fourth.unwrap_err(), Refusal::QueueFull { .. }));

    running.report(ok());
    drop(running);
    assert!(poll(&mut third).is_none() && poll(&mut second).is_none());
    let running = poll(&mut first).unwrap().unwrap();
    assert_eq!((a.runtime.queued(), a.runtime.running()), (2, 1));

    drop(second);
    assert_eq!(a.runtime.queued(), 1, "who leaves frees a place in the queue");
    // Granted and dropped before it was looked at: the place is not lost.
    drop(running);
    assert_eq!((a.runtime.queued(), a.runtime.running()), (0, 1));
    drop(third);
    assert_eq!(a.runtime.running(), 0);

    let running = router.admit(&Ask::new(&openai, &[], later())).await.unwrap();
    let begun = Instant::now();
    let refused = router.admit(&Ask::new(&openai, &[], begun + 2 * S)).await.unwrap_err();
    assert!(matches!(refused, Refusal::Deadline { .. }), "{refused}");
    assert_eq!(begun.elapsed(), 2 * S);
    assert_eq!(a.runtime.queued(), 0);

    let mut waiting = begin(&router, &openai, &[]);
    assert!(poll(&mut waiting).is_none());
    tokio::time::advance(S).await;
    drop(running);
    assert_eq!(poll(&mut waiting).unwrap().unwrap().waited(), S);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_and_a_free_backend_does_not_idle() {
    let one = |name| BackendSpec { max_concurrency: 1, ..spec(name) };
    let router = Router::new(fleet(vec![one("a"), one("b")]), 1);
    let m = scope("direct.openai.m");
    let on_a = router.admit(&Ask::new(&m, &[id("b")], later())).await.unwrap();
    let on_b = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
    assert_eq!((on_a.backend().id(), on_b.backend().id()), (&id("a"), &id("b")));
    // The first can only go to a, the second to either.
    let mut picky = begin(&router, &m, &["b"]);
    let mut easy = begin(&router, &m, &[]);
    assert!(poll(&mut picky).is_none() && poll(&mut easy).is_none());
    drop(on_b);
    let easy = poll(&mut easy).expect("b is free and may serve the second").unwrap();
    assert_eq!(easy.backend().id(), &id("b"));
    drop(on_a);
    assert_eq!(now_or_never(&router, "direct.openai.m").map(|_| ()), None, "picky came first");
    assert_eq!(poll(&mut picky).unwrap().unwrap().backend().id(), &id("a"));
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_the_clock_comes_before_a_newcomer() {
    let fleet = fleet(vec![BackendSpec { max_concurrency: 1, ..spec("a") }]);
    let router = Router::new(fleet, 1);
    let m = scope("direct.openai.m");
    router.admit(&Ask::new(&m, &[], later())).await.unwrap().report(Outcome::Busy { wait: S });
    let mut waiting = begin(&router, &m, &[]);
    assert!(poll(&mut waiting).is_none(), "it said that it is busy");
    // It is free again, and nothing has told the one who waits.
    tokio::time::advance(S).await;
    let mut newcomer = begin(&router, &m, &[]);
    assert!(poll(&mut newcomer).is_none());
    drop(poll(&mut waiting).expect("the first in the queue is served first").unwrap());
    assert!(poll(&mut newcomer).is_some());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_follow_the_fleet() {
    let one = |name| BackendSpec { max_concurrency: 1, ..spec(name) };
    let fleet = fleet(vec![one("a")]);
    let router = Router::new(fleet.clone(), 1);
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (router, stop) = (router.clone(), stop.clone());
        async move { router.run(stop).await }
    });
    let m = scope("direct.openai.m");
    let held = router.admit(&Ask::new(&m, &[], later())).await.unwrap();

    // A backend that joins and is found up.
    let admitted = tokio::spawn(begin_send(&router, &m));
    tokio::time::sleep(S).await;
    fleet.apply(vec![one("a"), one("b")]).unwrap();
    tokio::time::sleep(S).await;
    assert!(!admitted.is_finished(), "not before it is up");
    backend(&fleet, "b").runtime.probed(Probe::Up);
    let second = admitted.await.unwrap().unwrap();
    assert_eq!(second.backend().id(), &id("b"));

    // A busy backend is left alone for as long as it said, then asked again.
    let begun = Instant::now();
    second.report(Outcome::Busy { wait: 3 * S });
    drop(second);
    let third = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
    assert_eq!(third.backend().id(), &id("b"));
    assert!(begun.elapsed() >= 3 * S && begun.elapsed() <= 3 * S + TICK);

    // When the last ones go down, nobody is left waiting for them.
    let admitted = tokio::spawn(begin_send(&router, &m));
    tokio::time::sleep(S).await;
    for name in ["a", "b"] {
        fleet.set_intake(&id(name), Intake::Cordoned).unwrap();
    }
    assert_eq!(admitted.await.unwrap().unwrap_err(), Refusal::NoBackend);
    assert_eq!(backend(&fleet, "b").state(), StateWord::Cordoned);
    drop((held, third));
    stop.cancel();
    task.await.unwrap();
}

/// Waits on a task of its own.
fn begin_send(
    router: &Router,
    scope: &Scope,
) -> impl Future<Output = Result<Permit, Refusal>> + Send + 'static {
    let (router, scope) = (router.clone(), scope.clone());
    async move { router.admit(&Ask::new(&scope, &[], later())).await }
}

async fn shares(specs: Vec<BackendSpec>, seed: u64, requests: usize) -> HashMap<String, usize> {
    let router = Router::new(fleet(specs), seed);
    let m = scope("direct.openai.m");
    let mut shares = HashMap::new();
    for _ in 0..requests {
        let permit = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
        *shares.entry(permit.backend().id().to_string()).or_default() += 1;
        permit.report(ok());
    }
    shares
}

#[tokio::test(start_paused = true)]
async fn idle_backends_share_by_weight_and_choices_replay_by_seed() {
    let weigh = |name, weight| BackendSpec { weight, ..spec(name) };
    let even = || vec![weigh("a", 10), weigh("b", 10), weigh("c", 10), weigh("d", 10)];
    let counts = shares(even(), 7, 10_000).await;
    for (name, count) in &counts {
        assert!((2350..=2650).contains(count), "{name}: {count} of 10000");
    }
    assert_eq!(counts, shares(even(), 7, 10_000).await);
    assert_ne!(counts, shares(even(), 8, 10_000).await);
    let counts = shares(vec![weigh("a", 300), weigh("b", 100)], 7, 10_000).await;
    assert!((7350..=7650).contains(&counts["a"]), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn load_follows_weight_when_requests_stay() {
    let wide = |name, weight| BackendSpec { weight, max_concurrency: 1000, ..spec(name) };
    let router = Router::new(fleet(vec![wide("a", 300), wide("b", 100), wide("c", 100)]), 3);
    let m = scope("direct.openai.m");
    let mut held = Vec::new();
    for _ in 0..500 {
        held.push(router.admit(&Ask::new(&m, &[], later())).await.unwrap());
    }
    let on = |name: &str| held.iter().filter(|permit| permit.backend().id() == &id(name)).count();
    assert!((285..=315).contains(&on("a")), "{} {} {}", on("a"), on("b"), on("c"));
    assert!((90..=110).contains(&on("b")), "{} {} {}", on("a"), on("b"), on("c"));
}

#[tokio::test(start_paused = true)]
async fn a_failing_backend_is_left_and_tried_again_with_one_request() {
    let fleet = fleet(vec![spec("a"), spec("b")]);
    let router = Router::new(fleet.clone(), 1);
    let m = scope("direct.openai.m");
    let only = |name| {
        let (router, m) = (&router, &m);
        async move { router.admit(&Ask::new(m, &[id(name)], later())).await }
    };
    for _ in 0..5 {
        only("b").await.unwrap().report(failed());
    }
    for _ in 0..50 {
        let permit = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
        assert_eq!(permit.backend().id(), &id("b"));
        permit.report(ok());
    }
    // Of a pool of two at most one is ejected: failures of b cannot take everything away.
    for _ in 0..3 {
        only("a").await.unwrap().report(failed());
    }
    assert!(matches!(backend(&fleet, "b").runtime.view().breaker, BreakerState::Open { .. }));
    assert_eq!(only("a").await.unwrap_err(), Refusal::NoBackend, "nobody waits for a breaker");
    let permit = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
    assert_eq!(permit.backend().id(), &id("a"), "the one that would be tried again first");
    permit.report(failed());
    drop(permit);
    tokio::time::advance(31 * S).await;
    let probe = only("b").await.unwrap();
    assert_eq!(backend(&fleet, "a").runtime.view().breaker, BreakerState::HalfOpen);
    assert_eq!(only("b").await.unwrap_err(), Refusal::NoBackend, "one request at a time");
    probe.report(ok());
    drop(probe);
    assert_eq!(backend(&fleet, "a").runtime.view().breaker, BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_one_is_never_ejected() {
    let fleet = fleet(vec![spec("a")]);
    let router = Router::new(fleet.clone(), 1);
    for _ in 0..20 {
        now_or_never(&router, "direct.openai.m").unwrap().unwrap().report(failed());
    }
    assert!(matches!(backend(&fleet, "a").runtime.view().breaker, BreakerState::Open { .. }));
    assert!(now_or_never(&router, "direct.openai.m").unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn budgets_belong_to_scopes() {
    let router = Router::new(fleet(vec![spec("a")]), 1);
    let (openai, anthropic) = (scope("direct.openai.m"), scope("direct.anthropic.m"));
    assert!(!router.may_retry(&openai), "nothing was asked for yet");
    for scope in [&openai, &anthropic] {
        drop(router.admit(&Ask::new(scope, &[], later())).await.unwrap());
    }
    while router.may_retry(&openai) {}
    assert!(router.may_retry(&anthropic));
    for _ in 0..10 {
        drop(router.admit(&Ask::new(&openai, &[], later())).await.unwrap());
    }
    assert!(router.may_retry(&openai));
    assert!(!router.may_retry(&openai));
}
