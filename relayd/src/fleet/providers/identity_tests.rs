//! Comparing over real connections: an engine that answers when and how a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::tests::World;
use super::*;
use crate::engines::{EngineKind, EngineSpec, Probe};
use crate::fleet::tests::spec;

/// An engine that says the same to everybody.
struct Told {
    url: String,
    asked: Arc<AtomicU32>,
    busiest: Arc<AtomicU32>,
}

#[derive(Clone)]
struct Manner {
    pause: Duration,
    answers: bool,
    asked: Arc<AtomicU32>,
    running: Arc<AtomicU32>,
    busiest: Arc<AtomicU32>,
}

async fn chat(State(manner): State<Manner>) -> Result<Json<Value>, StatusCode> {
    manner.asked.fetch_add(1, Ordering::SeqCst);
    let running = 1 + manner.running.fetch_add(1, Ordering::SeqCst);
    manner.busiest.fetch_max(running, Ordering::SeqCst);
    tokio::time::sleep(manner.pause).await;
    manner.running.fetch_sub(1, Ordering::SeqCst);
    if !manner.answers {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let token = |text: &str| json!({ "token": text, "logprob": -0.1, "top_logprobs": [] });
    let content: Vec<_> = ["The", " old", " bridge"].map(token).into();
    Ok(Json(json!({ "choices": [{
        "index": 0, "finish_reason": "stop", "logprobs": { "content": content },
        "message": { "role": "assistant", "content": "The old bridge" },
    }]})))
}

impl Told {
    async fn start(pause: Duration, answers: bool) -> Self {
        let (asked, running, busiest) = Default::default();
        let manner = Manner { pause, answers, asked, running, busiest };
        let (asked, busiest) = (Arc::clone(&manner.asked), Arc::clone(&manner.busiest));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/v1/chat/completions", post(chat)).with_state(manner);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, asked, busiest }
    }

    fn engine(&self) -> Engine {
        let spec = EngineSpec {
            base_url: self.url.clone(),
            dialect: Dialect::Openai,
            kind: EngineKind::Vllm,
            credential_file: None,
        };
        Engine::new(&spec).unwrap()
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// A relay with an engine of its own that serves model `m`.
async fn world(own: &Told) -> World {
    let world = World::new().await;
    let fleet = &world.providers.0.fleet;
    fleet
        .apply(vec![crate::fleet::BackendSpec { base_url: own.url.clone(), ..spec("own") }])
        .unwrap();
    for backend in fleet.snapshot().backends() {
        backend.runtime.probed(Probe::Up);
    }
    world
}

fn models(count: usize) -> Vec<Comparison> {
    let model = "m".parse().unwrap();
    (0..count).map(|number| Comparison::new(&model, &format!("m{number}"))).collect()
}

#[tokio::test]
async fn a_slow_engine_is_compared_over_several_looks_and_nobody_decides_before() {
    let (own, theirs) = (
        Told::start(Duration::ZERO, true).await,
        Told::start(Duration::from_millis(400), true).await,
    );
    let (world, engine) = (world(&own).await, theirs.engine());
    let mut compared = models(2);
    let mut seen = Vec::new();
    for _ in 0..32 {
        let turn = Semaphore::new(1);
        // Time for one question and not for two.
        let until = Instant::now() + Duration::from_millis(700);
        world.providers.identify((&engine, 1), &mut compared, &turn, until).await;
        let found: Vec<_> = compared.iter().map(Comparison::evidence).collect();
        seen.push(found.iter().map(|one| one.asked).sum::<u32>());
        if found.iter().all(|one| one.state == IdentityState::Passed) {
            break;
        }
        assert!(found.iter().any(|one| one.open > 0), "{found:?}");
        assert!(found.iter().all(|one| one.unanswered == 0), "nobody's fault: {found:?}");
    }
    assert!(seen.is_sorted(), "what was found out stays: {seen:?}");
    assert_eq!(seen.last(), Some(&6), "{seen:?}");
    assert!(seen.len() >= 4, "{seen:?}");
    assert_eq!(own.asked(), 6, "once for each answer");
}

#[tokio::test]
async fn who_does_not_answer_has_ours_asked_nothing() {
    let (own, theirs) =
        (Told::start(Duration::ZERO, true).await, Told::start(Duration::ZERO, false).await);
    let (world, engine) = (world(&own).await, theirs.engine());
    let mut compared = models(6);
    let until = Instant::now() + Duration::from_secs(20);
    world.providers.identify((&engine, 8), &mut compared, &Semaphore::new(1), until).await;
    assert_eq!(own.asked(), 0);
    assert!(theirs.asked() >= 4 * QUESTIONS_MAX, "{}", theirs.asked());
    let found: Vec<_> = compared.iter().map(Comparison::evidence).collect();
    assert!(found[..4].iter().all(|one| (one.unanswered, one.open) == (5, 3)), "{found:?}");
    assert!(found[4..].iter().all(|one| one.reason.contains("four models")), "{found:?}");
}

#[tokio::test]
async fn ours_is_asked_by_turns_however_many_wait() {
    let pause = Duration::from_millis(20);
    let (own, theirs) = (Told::start(pause, true).await, Told::start(Duration::ZERO, true).await);
    let (world, engine) = (world(&own).await, theirs.engine());
    let until = Instant::now() + Duration::from_secs(20);
    let turn = Semaphore::new(1);
    let mut compared = models(4);
    world.providers.identify((&engine, 8), &mut compared, &turn, until).await;
    assert_eq!((own.asked(), own.busiest.load(Ordering::SeqCst)), (12, 1), "one of each provider");
    let mut all: Vec<_> = (0..16).map(|_| (models(4), Semaphore::new(1))).collect();
    let examined = all.iter_mut().map(|(compared, turn)| {
        let (providers, engine) = (&world.providers, &engine);
        async move { providers.identify((engine, 8), compared, turn, until).await }
    });
    join_all(examined).await;
    let busiest = own.busiest.load(Ordering::SeqCst);
    assert!((2..=4).contains(&busiest), "{busiest} at once");
    let passed = |one: &Comparison| one.evidence().state == IdentityState::Passed;
    assert!(all.iter().flat_map(|(compared, _)| compared).all(passed));
}
