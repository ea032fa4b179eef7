//! The fleet without engines behind it: health is told, not asked, except where a listener says.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::domain::{ModelName, Scope, Source};
use crate::engines::{Dialect, EngineKind, Probe};

/// A backend that serves model `m` on two sources, with nobody behind it.
pub(crate) fn spec(id: &str) -> BackendSpec {
    BackendSpec {
        id: id.parse().unwrap(),
        base_url: "http://127.0.0.1:9".into(),
        dialect: Dialect::Openai,
        kind: EngineKind::Llamacpp,
        credential_file: None,
        models: vec![served("m")],
        max_concurrency: 2,
        queue_limit: 4,
        weight: 100,
        trust: Trust::Own,
        intake: Intake::Open,
        drain_until_ms: None,
        deployment: String::new(),
        version: 1,
    }
}

pub(crate) fn served(model: &str) -> ServedModel {
    ServedModel {
        model: ModelName::new(model).unwrap(),
        upstream: format!("upstream-{model}"),
        sources: vec![Source::Openai, Source::Anthropic],
    }
}

pub(crate) fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

/// A fleet whose backends are all up.
pub(crate) fn fleet(specs: Vec<BackendSpec>) -> Fleet {
    let fleet = Fleet::new();
    fleet.apply(specs).unwrap();
    for backend in fleet.snapshot().backends() {
        backend.runtime.probed(Probe::Up);
    }
    fleet
}

pub(crate) fn backend(fleet: &Fleet, id: &str) -> Arc<Backend> {
    Arc::clone(fleet.snapshot().backend(&id.parse().unwrap()).unwrap())
}

fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[test]
fn a_snapshot_knows_who_serves_what() {
    let mut b = spec("b");
    b.models = vec![ServedModel { sources: vec![Source::Openai], ..served("n") }, served("m")];
    let fleet = fleet(vec![spec("a"), b]);
    let snapshot = fleet.snapshot();
    let serving = |text: &str| -> Vec<String> {
        snapshot.serving(&scope(text)).iter().map(|backend| backend.id().to_string()).collect()
    };
    assert_eq!(serving("direct.openai.m"), ["a", "b"]);
    assert_eq!(serving("direct.anthropic.m"), ["a", "b"]);
    assert_eq!(serving("direct.openai.n"), ["b"]);
    for nobody in ["direct.anthropic.n", "direct.ollama.m", "opengpu.openai.m", "direct.openai.x"] {
        assert!(serving(nobody).is_empty(), "{nobody}");
    }
    assert_eq!(backend(&fleet, "b").upstream(&ModelName::new("n").unwrap()), Some("upstream-n"));
}

#[tokio::test]
async fn one_that_cannot_be_set_up_keeps_nobody_else_away() {
    let fleet = fleet(vec![spec("a"), spec("b")]);
    let before = backend(&fleet, "b");
    for bad in [
        BackendSpec { weight: 1001, ..spec("c") },
        BackendSpec { max_concurrency: 0, ..spec("c") },
        BackendSpec { base_url: "ftp://x".into(), ..spec("c") },
        BackendSpec { credential_file: Some("/no/such/file".into()), ..spec("c") },
    ] {
        assert_eq!(fleet.apply(vec![bad, spec("b"), spec("d")]).unwrap_err().len(), 1);
        let ids: Vec<_> = fleet.snapshot().backends().map(|b| b.id().to_string()).collect();
        assert_eq!(ids, ["b", "d"], "the bad one is left out and the others are there");
    }
    let lost = BackendSpec {
        intake: Intake::Cordoned,
        credential_file: Some("/no/such/file".into()),
        ..spec("b")
    };
    let mut events = fleet.events();
    for _ in 0..2 {
        fleet.apply(vec![lost.clone(), spec("d")]).unwrap_err();
    }
    let after = backend(&fleet, "b");
    assert!(Arc::ptr_eq(&before.engine, &after.engine), "it stays as it was set up before");
    assert_eq!((after.state(), &after.spec.credential_file), (StateWord::Cordoned, &None));
    let told = std::iter::from_fn(|| events.try_recv().ok());
    let told: Vec<_> = told.filter(|event| matches!(event.what, What::Refused { .. })).collect();
    assert_eq!(told.len(), 1, "told once");
    let What::Refused { reason } = &told[0].what else { unreachable!() };
    assert!(reason.starts_with("backend 'b': "), "{reason}");
    fleet.apply(vec![spec("b"), spec("d")]).unwrap();
    assert_eq!(backend(&fleet, "b").state(), StateWord::Up);
    fleet.apply(vec![spec("b"), BackendSpec { weight: 3, ..spec("b") }]).unwrap_err();
    assert_eq!(backend(&fleet, "b").spec.weight, spec("b").weight, "the first of two counts");
}

#[tokio::test]
async fn runtimes_stay_when_a_set_is_taken_in() {
    let fleet = fleet(vec![spec("a"), spec("b")]);
    let before = backend(&fleet, "a");
    let ticket = before.runtime.enter(now());
    let mut events = fleet.events();
    let mut changed = spec("a");
    changed.weight = 7;
    fleet.apply(vec![changed, spec("c")]).unwrap();
    let after = backend(&fleet, "a");
    assert!(Arc::ptr_eq(&before.runtime, &after.runtime));
    assert!(Arc::ptr_eq(&before.engine, &after.engine), "connections stay");
    assert_eq!((after.runtime.running(), after.state()), (1, StateWord::Up));
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push((event.backend.to_string(), event.what));
    }
    assert_eq!(
        told,
        [
            ("a".to_owned(), What::Changed),
            ("c".to_owned(), What::Added),
            ("b".to_owned(), What::Removed)
        ]
    );
    let moved = BackendSpec { base_url: "http://127.0.0.1:10".into(), ..spec("a") };
    fleet.apply(vec![moved]).unwrap();
    let moved = backend(&fleet, "a");
    assert_eq!((moved.runtime.running(), moved.state()), (1, StateWord::Unknown), "another engine");
    moved.runtime.leave(ticket, &Outcome::Cancelled, false);
    assert_eq!(moved.runtime.running(), 0);
}

#[test]
fn three_failed_probes_are_down_and_one_success_is_up() {
    let fleet = Fleet::new();
    fleet.apply(vec![spec("a")]).unwrap();
    let a = backend(&fleet, "a");
    let down = || Probe::Down("refused".into());
    assert_eq!(a.state(), StateWord::Unknown);
    a.runtime.probed(down());
    assert_eq!(a.state(), StateWord::Down, "never up: one failure is enough");
    a.runtime.probed(Probe::Loading);
    assert_eq!(a.state(), StateWord::Loading);
    a.runtime.probed(Probe::Up);
    assert_eq!(a.state(), StateWord::Up);
    for expected in [StateWord::Up, StateWord::Up, StateWord::Down, StateWord::Down] {
        a.runtime.probed(down());
        assert_eq!(a.state(), expected);
    }
    assert_eq!(a.runtime.health(), Health::Down { reason: "refused".into() });
    a.runtime.probed(Probe::Up);
    a.runtime.probed(down());
    a.runtime.probed(down());
    a.runtime.probed(Probe::Up);
    a.runtime.probed(down());
    assert_eq!(a.state(), StateWord::Up, "only failures in a row count");
}

#[test]
fn one_that_its_agent_withdraws_is_down_however_it_answers() {
    let fleet = fleet(vec![spec("a")]);
    let a = backend(&fleet, "a");
    a.runtime.withdrawn(true);
    let reason = "its agent says that it takes no more requests".to_owned();
    assert_eq!(a.runtime.health(), Health::Down { reason }, "at once");
    a.runtime.probed(Probe::Up);
    a.runtime.probed(Probe::Loading);
    assert_eq!((a.state(), a.runtime.fitness(now())), (StateWord::Down, Fitness::Unfit));
    a.runtime.withdrawn(false);
    assert_eq!(a.state(), StateWord::Down, "until it is asked");
    a.runtime.probed(Probe::Up);
    assert_eq!(a.state(), StateWord::Up);
}

#[tokio::test(start_paused = true)]
async fn figures_are_what_happened() {
    let fleet = fleet(vec![spec("a")]);
    let runtime = &backend(&fleet, "a").runtime;
    let mut versions = fleet.watch();
    for n in 0..10 {
        let mut ticket = runtime.enter(now());
        let outcome = match n {
            0..5 => Outcome::BackendFailed { reason: "boom\n".repeat(100) },
            5 => Outcome::Cancelled,
            6 => Outcome::ClientFault,
            7 => Outcome::Busy { wait: Duration::from_secs(2) },
            _ => {
                runtime.first_byte(&mut ticket, Duration::from_millis(100));
                Outcome::Ok { ttft: Duration::from_millis(100) }
            }
        };
        runtime.leave(ticket, &outcome, n > 7);
        if n == 4 {
            assert!(versions.has_changed().unwrap(), "the breaker opened");
            let view = runtime.view();
            assert_eq!(view.breaker_left, Duration::from_secs(30));
            versions.mark_unchanged();
        }
    }
    let view = runtime.view();
    assert_eq!((view.requests, view.failures, view.running), (10, 5, 0));
    assert_eq!(view.recent_failures_ppm, 625_000, "five of the eight that said something");
    assert_eq!(view.breaker, BreakerState::Closed, "the client's fault is an answer");
    assert_eq!(view.busy_left, Duration::from_secs(2));
    assert!(view.last_error.unwrap().text.chars().count() <= 200);
    let ms = view.ttft_p50.unwrap().as_millis();
    assert!((90..=110).contains(&ms), "{ms}");
    assert_eq!(view.ttft_average.unwrap().as_millis(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_runs() {
    let fleet = fleet(vec![spec("a")]);
    let id: BackendId = "a".parse().unwrap();
    let a = backend(&fleet, "a");
    let ticket = a.runtime.enter(now());
    assert!(!fleet.drain(&id, Duration::from_secs(1)).await.unwrap());
    assert_eq!(backend(&fleet, "a").state(), StateWord::Draining);
    let (drained, ()) = tokio::join!(fleet.drain(&id, Duration::from_secs(9)), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        a.runtime.leave(ticket, &Outcome::Cancelled, false);
    });
    assert!(drained.unwrap());
    assert_eq!(backend(&fleet, "a").state(), StateWord::Drained);
    fleet.set_intake(&id, Intake::Cordoned).unwrap();
    assert_eq!(backend(&fleet, "a").state(), StateWord::Cordoned);
    fleet.set_intake(&id, Intake::Open).unwrap();
    assert_eq!(backend(&fleet, "a").state(), StateWord::Up);
    assert!(fleet.set_intake(&"x".parse().unwrap(), Intake::Open).is_err());
}

#[tokio::test]
async fn the_prober_asks_at_once_and_follows_changes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await;
        }
    });
    let fleet = Fleet::new();
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (fleet, stop) = (fleet.clone(), stop.clone());
        async move { fleet.run(stop).await }
    });
    let mut versions = fleet.watch();
    let up = BackendSpec { base_url: format!("http://{addr}"), ..spec("a") };
    fleet.apply(vec![up, spec("b")]).unwrap();
    let settled = async {
        while backend(&fleet, "a").state() != StateWord::Up
            || backend(&fleet, "b").state() != StateWord::Down
        {
            versions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap();
    // The same backend, moved to where somebody answers.
    fleet.apply(vec![BackendSpec { base_url: format!("http://{addr}"), ..spec("b") }]).unwrap();
    let settled = async {
        while backend(&fleet, "b").state() != StateWord::Up {
            versions.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.unwrap();
    stop.cancel();
    task.await.unwrap();
}
