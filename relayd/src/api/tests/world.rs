//! A face with everything behind it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::api::{
    Account, BodyBounds, Chat, Cors, EdgeSettings, Face, Health, Hosts, Peer, Reads,
    TrustedProxies, router,
};
use crate::catalogue::{Catalogue, Document, SHIPPED_TIERS};
use crate::domain::{CustomerId, Ncr, RateLimits, Source};
use crate::fleet::{BackendSpec, Fleet, Intake, ServedModel, Trust};
use crate::identity::{
    Asked, CreditRequest, CustomerRequest, Identity, KeyRequest, MadeKey, Peppers,
};
use crate::inference::{Bounds, Inference};
use crate::metering::Metering;
use crate::observe::Observe;
use crate::store::{Store, StoreOptions};
use crate::wire::{Dialect, EngineKind};

/// The model that the engine serves.
pub(super) const MODEL: &str = "smol/lm2:135m";

const CATALOGUE: &str = r#"
[[tier]]
name = "own"
level = 9
custom = true
max_keys = 5

[[model]]
name = "smol/lm2:135m"
display_name = "Smol LM2"
context_tokens = 8192
capabilities = ["tools"]
[[model.offer]]
source = "openai"
price = { in_uncached = "1", in_cache_read = "0.25", out_text = "2" }
long = { above_tokens = 4096, price = { in_uncached = "2", in_cache_read = "2", out_text = "4" } }
[[model.offer]]
source = "vllm"
price = { in_uncached = "1", out_text = "2" }
[[model.offer]]
source = "anthropic"
price = { in_uncached = "1", out_text = "2" }
[[model.offer]]
source = "ollama"
price = { in_uncached = "1", out_text = "2" }

[[model]]
name = "open"
guests = true
context_tokens = 8192
[[model.offer]]
source = "openai"
price = { in_uncached = "1", out_text = "2" }

[[model]]
name = "old"
retired = true
context_tokens = 8192

[[backend]]
name = "engine"
url = "http://127.0.0.1:1"
dialect = "openai"
models = { "smol/lm2:135m" = "lm", "open" = "lm" }
"#;

pub(super) struct World {
    pub(super) store: Store,
    pub(super) identity: Identity,
    pub(super) face: Face,
    pub(super) healthy: watch::Sender<bool>,
    /// Requests that the engine was asked.
    pub(super) asked: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The public code of an error.
    pub(super) fn code(&self) -> String {
        let json = self.json();
        let code = if json["error"].is_string() { &json["code"] } else { &json["error"]["code"] };
        code.as_str().unwrap_or_else(|| panic!("{json}")).to_owned()
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::sqlite(dir.path().join("relay.db"))).await.unwrap();
        let catalogue = Catalogue::load(store.clone()).await.unwrap();
        let documents = [
            Document { name: "tiers.toml", toml: SHIPPED_TIERS },
            Document { name: "models.toml", toml: CATALOGUE },
        ];
        catalogue.apply(&documents, None).await.unwrap();
        let peppers = Peppers::new(&[&[7; 32]]).unwrap();
        let identity = Identity::new(store.clone(), catalogue.clone(), peppers, 100);
        let asked = Arc::new(AtomicUsize::new(0));
        let fleet = Fleet::new();
        fleet.apply(vec![backend(engine(Arc::clone(&asked)).await)]).unwrap();
        fleet.probe(&"engine".parse().unwrap()).await.unwrap();
        let observe = Observe::new();
        let (events, _) = crate::events::Events::open(store.clone()).await.unwrap();
        let inference = Inference::new(
            Metering::new(store.clone()),
            crate::rollouts::Rollouts::load(store.clone(), events).await.unwrap(),
            crate::routing::Router::new(fleet, 1),
            observe.clone(),
            crate::tokenizer::Tokenizers::default(),
            crate::fleet::Conduct::default(),
            bounds(),
        );
        let bodies = BodyBounds { max_bytes: 4096, timeout: Duration::from_secs(5) };
        let (healthy, health) = watch::channel(true);
        let face = Face {
            chat: Chat {
                identity: identity.clone(),
                catalogue: catalogue.clone(),
                inference,
                observe,
                bodies,
            },
            reads: Reads {
                identity: identity.clone(),
                catalogue: catalogue.clone(),
                small_bodies: bodies,
            },
            account: Account {
                identity: identity.clone(),
                catalogue,
                store: store.clone(),
                small_bodies: bodies,
            },
            health: Health { healthy: health, commit: "abc" },
            edge: EdgeSettings {
                proxies: TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]),
                cors: Cors::new(&["https://app.test".to_owned()], &[]).unwrap(),
                hosts: Hosts::default(),
            },
        };
        Self { store, identity, face, healthy, asked, _dir: dir }
    }

    /// A customer with credit and its first key.
    pub(super) async fn customer(&self, tier: &str, credits: i64) -> (CustomerId, MadeKey) {
        let request = CustomerRequest {
            id: None,
            name: "Acme".to_owned(),
            email: "a@acme.test".to_owned(),
            tier: tier.to_owned(),
        };
        let id = self.identity.create_customer(request, None).await.unwrap().id;
        if credits > 0 {
            let credit = CreditRequest {
                customer: id.clone(),
                amount: Ncr::credits(credits).unwrap(),
                via: "admin".parse().unwrap(),
                reason: "test".to_owned(),
            };
            let asked = Asked {
                idem: format!("first:{id}"),
                actor: "test".to_owned(),
                expected: None,
                trail: None,
            };
            self.identity.credit(credit, asked).await.unwrap();
        }
        let key = self.key(&id, "first").await;
        (id, key)
    }

    pub(super) async fn key(&self, customer: &CustomerId, name: &str) -> MadeKey {
        let request = KeyRequest {
            id: None,
            customer: customer.clone(),
            name: name.to_owned(),
            denied_scopes: Vec::new(),
            limits: RateLimits::NONE,
            budget: None,
            actor: "test".to_owned(),
        };
        self.identity.create_key(request, None).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(self.face.clone()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let id = head.headers["x-request-id"].to_str().unwrap();
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    pub(super) async fn get(&self, path: &str, key: Option<&str>) -> Answer {
        self.send(call("GET", path, key, Body::empty())).await
    }

    pub(super) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        self.send(call("POST", path, key, Body::from(body.to_string()))).await
    }
}

pub(super) fn call(method: &str, path: &str, key: Option<&str>, body: Body) -> Request<Body> {
    let peer = Peer("192.0.2.1:4711".parse().unwrap());
    let mut request = Request::builder().method(method).uri(path).extension(peer);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    request.body(body).unwrap()
}

fn bounds() -> Bounds {
    Bounds {
        queue: Duration::from_secs(5),
        first_byte: Duration::from_secs(10),
        idle: Duration::from_secs(10),
        total: Duration::from_secs(60),
        write_stall: Duration::from_secs(10),
        window_tokens: 4096,
    }
}

fn backend(url: String) -> BackendSpec {
    let served = |model: &str| ServedModel {
        model: model.parse().unwrap(),
        upstream: "lm".to_owned(),
        sources: vec![Source::Ollama, Source::Vllm, Source::Openai, Source::Anthropic],
    };
    BackendSpec {
        id: "engine".parse().unwrap(),
        base_url: url,
        dialect: Dialect::Openai,
        kind: EngineKind::Unknown,
        credential_file: None,
        models: vec![served(MODEL), served("open")],
        max_concurrency: 4,
        queue_limit: 4,
        weight: 100,
        trust: Trust::Own,
        intake: Intake::Open,
        drain_until_ms: None,
        deployment: String::new(),
        version: 1,
    }
}

/// An engine that speaks OpenAI's format and says "Hello there".
async fn engine(asked: Arc<AtomicUsize>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let models = json!({ "object": "list", "data": [{ "id": "lm", "object": "model" }] });
    let routes = Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(move || async move { models.to_string() }))
        .route("/health", get(|| async { "{}" }))
        .with_state(asked);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

async fn complete(State(asked): State<Arc<AtomicUsize>>, body: Bytes) -> Response {
    asked.fetch_add(1, Ordering::SeqCst);
    let request: Value = serde_json::from_slice(&body).unwrap();
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12 });
    if request["stream"] != json!(true) {
        let answer = json!({
            "id": "x", "object": "chat.completion", "created": 1, "model": "lm",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "Hello there" },
            }],
            "usage": usage,
        });
        let json = [("content-type", "application/json")];
        return (StatusCode::OK, json, answer.to_string()).into_response();
    }
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let chunk = json!({
            "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "lm",
            "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let last = json!({
        "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "lm", "choices": [],
        "usage": usage,
    });
    let frames = [
        chunk(json!({ "role": "assistant", "content": "Hello" }), Value::Null),
        chunk(json!({ "content": " there" }), Value::Null),
        chunk(json!({}), json!("stop")),
        format!("data: {last}\n\n"),
        "data: [DONE]\n\n".to_owned(),
    ];
    let frames = futures::stream::iter(frames.map(Ok::<_, Infallible>));
    ([("content-type", "text/event-stream")], Body::from_stream(frames)).into_response()
}
