//! The chat routes.

use std::sync::atomic::Ordering;

use axum::body::Body;
use http::header;
use serde_json::{Value, json};

use crate::domain::Ncr;
use crate::identity::{Asked, CustomerPatch, KeyPatch};
use crate::store::Restrictions;

use super::world::{MODEL, World, call};

const ROUTES: [&str; 6] = [
    "/v2/openai/v1/chat/completions",
    "/v2/vllm/v1/chat/completions",
    "/v2/anthropic/v1/messages",
    "/v2/anthropic/v1//messages",
    "/v2/anthropic/v1/v1/messages",
    "/v2/ollama/api/chat",
];

const OPENAI: &str = ROUTES[0];

fn body(stream: bool) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Hi" }],
        "max_tokens": 16,
        "stream": stream,
    })
}

/// Ollama names its cap elsewhere.
fn body_for(route: &str, stream: bool) -> Value {
    let mut body = body(stream);
    if route.contains("ollama") {
        body.as_object_mut().unwrap().remove("max_tokens");
    }
    body
}

fn asked(idem: &str) -> Asked {
    Asked { idem: idem.to_owned(), actor: "test".to_owned(), expected: None, trail: None }
}

#[tokio::test]
async fn every_route_answers_plainly_and_is_paid_for() {
    let world = World::new().await;
    let (customer, key) = world.customer("own", 10).await;
    for (n, route) in (1..).zip(ROUTES) {
        let answer = world.post(route, Some(key.secret.expose()), &body_for(route, false)).await;
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"), "{route}");
        assert!(answer.text().contains("Hello there"), "{route}: {}", answer.text());
        let json = answer.json();
        assert_eq!(json["model"], MODEL, "{route}");
        assert_eq!(json["mode"], "direct", "{route}");
        assert!(json["task_id"].as_str().unwrap().starts_with("direct:"), "{route}");
        // 10 prompt tokens at 1,000 ncr and 2 answer tokens at 2,000 ncr.
        let spent = world.store.balance(&customer).await.unwrap().consumed;
        assert_eq!(spent, Ncr::new(n * 14_000), "{route}");
    }
}

#[tokio::test]
async fn every_route_streams_in_its_own_format() {
    let world = World::new().await;
    let (_, key) = world.customer("own", 10).await;
    for route in ROUTES {
        let answer = world.post(route, Some(key.secret.expose()), &body_for(route, true)).await;
        let text = answer.text();
        assert_eq!(answer.status, 200, "{route}: {text}");
        let (kind, end) = match route {
            "/v2/ollama/api/chat" => ("application/x-ndjson", "\"done\":true"),
            _ if route.contains("anthropic") => ("text/event-stream", "event: message_stop"),
            _ => ("text/event-stream", "data: [DONE]"),
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{route}");
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-accel-buffering"), Some("no"));
        assert!(text.contains("Hello") && text.contains(" there"), "{route}: {text}");
        assert!(text.contains(end), "{route}: {text}");
    }
}

#[tokio::test]
async fn ollama_streams_unless_told_otherwise() {
    let world = World::new().await;
    let (_, key) = world.customer("own", 10).await;
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "Hi" }] });
    let answer = world.post("/v2/ollama/api/chat", Some(key.secret.expose()), &body).await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
}

#[tokio::test]
async fn refusals_come_in_the_contracts_order_and_cost_nothing() {
    let world = World::new().await;
    let (customer, key) = world.customer("own", 10).await;
    let secret = key.secret.expose();
    let broken = json!({ "model": 1 });
    let send = async |key: Option<&str>, body: &Value| {
        let answer = world.post(OPENAI, key, body).await;
        (answer.status, answer.code())
    };
    let told = |status: u16, code: &str| (status, code.to_owned());

    // A bad key before a bad body.
    assert_eq!(send(Some("nope"), &broken).await, told(401, "INVALID_API_KEY"));
    assert_eq!(send(Some(secret), &broken).await, told(422, "VALIDATION_ERROR"));
    let with = |field: &str, value: Value| {
        let mut body = body(false);
        body[field] = value;
        body
    };
    assert_eq!(
        send(Some(secret), &with("model", json!("nope"))).await,
        told(403, "MODEL_NOT_AVAILABLE")
    );
    assert_eq!(send(Some(secret), &with("model", json!("old"))).await, told(403, "MODEL_RETIRED"));
    assert_eq!(
        send(Some(secret), &with("mode", json!("opengpu"))).await,
        told(403, "MODEL_NOT_AVAILABLE")
    );
    assert_eq!(send(Some(secret), &with("nope", json!(1))).await, told(422, "VALIDATION_ERROR"));
    assert_eq!(
        send(Some(secret), &with("async", json!(true))).await,
        told(403, "TIER_FEATURE_UNAVAILABLE")
    );
    let mut both = with("async", json!(true));
    both["stream"] = json!(true);
    assert_eq!(send(Some(secret), &both).await, told(400, "VALIDATION_ERROR"));
    assert_eq!(send(None, &body(false)).await, told(403, "SCOPE_DENIED"));

    let denied = KeyPatch {
        restrictions: Some(Restrictions {
            denied_scopes: vec![format!("direct.openai.{MODEL}").parse().unwrap()],
            ..Restrictions::default()
        }),
        ..KeyPatch::default()
    };
    let restricted = world.identity.patch_key(&key.key, denied, asked("1")).await.unwrap();
    assert_eq!(send(Some(secret), &body(false)).await, told(403, "SCOPE_DENIED"));
    // A budget that is used up comes before the scope.
    let empty = KeyPatch { budget: Some(Some(Ncr::ZERO)), ..KeyPatch::default() };
    world.identity.patch_key(&restricted, empty, asked("2")).await.unwrap();
    assert_eq!(send(Some(secret), &body(false)).await, told(402, "KEY_BUDGET_EXHAUSTED"));
    world.identity.revoke_key(&restricted, asked("3")).await.unwrap();
    assert_eq!(send(Some(secret), &body(false)).await, told(401, "KEY_REVOKED"));

    assert_eq!(world.asked.load(Ordering::SeqCst), 0, "the engine was never asked");
    assert_eq!(world.store.balance(&customer).await.unwrap().consumed, Ncr::ZERO);
}

#[tokio::test]
async fn a_poor_customer_is_refused_before_and_in_a_stream() {
    let world = World::new().await;
    let (_, key) = world.customer("own", 0).await;
    let plain = world.post(OPENAI, Some(key.secret.expose()), &body(false)).await;
    assert_eq!((plain.status, plain.code().as_str()), (402, "INSUFFICIENT_CREDITS"));
    let stream = world.post(OPENAI, Some(key.secret.expose()), &body(true)).await;
    let json = stream.json();
    assert_eq!(stream.status, 402);
    assert_eq!(json["error"]["code"], 402, "a number where a stream was asked for: {json}");
    assert!(json.get("detail").is_none());
}

#[tokio::test]
async fn limits_answer_429_with_the_contracts_text() {
    let world = World::new().await;
    let (_, key) = world.customer("basic", 10).await;
    let bad_model = json!({ "model": "nope", "messages": [{ "role": "user", "content": "Hi" }] });
    for _ in 0..20 {
        let refused = world.post(OPENAI, Some(key.secret.expose()), &bad_model).await;
        assert_eq!(refused.status, 403, "what never ran is not counted");
    }
    for _ in 0..15 {
        let answer = world.post(OPENAI, Some(key.secret.expose()), &body(false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let limited = world.post(OPENAI, Some(key.secret.expose()), &body(false)).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("60")));
    let text = "Rate limit exceeded: 16/15 RPM for direct mode (tier: basic)";
    assert_eq!(limited.json()["detail"], text);
    assert_eq!(limited.json()["error"]["message"], text);
}

#[tokio::test]
async fn guests_are_counted_by_their_own_address() {
    let world = World::new().await;
    let mut body = body(false);
    body["model"] = json!("open");
    let from = |forwarded: &str| {
        let mut request = call("POST", OPENAI, None, Body::from(body.to_string()));
        request.extensions_mut().insert(crate::api::Peer("10.0.0.1:1".parse().unwrap()));
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        request
    };
    let mut refused = Vec::new();
    for n in 0..6 {
        // The client's own lie stands further left each time; it does not make it another client.
        let answer = world.send(from(&format!("198.51.100.{n}, 203.0.113.9"))).await;
        assert!(matches!(answer.status, 200 | 429), "{}", answer.text());
        refused.push(answer.status == 429);
    }
    assert_eq!(refused, [false, false, false, false, false, true]);
    assert_ne!(world.send(from("203.0.113.10")).await.status, 429);
}

#[tokio::test]
async fn low_credit_is_told_on_inference_answers() {
    let world = World::new().await;
    let (customer, key) = world.customer("own", 10).await;
    let answer = world.post(OPENAI, Some(key.secret.expose()), &body(false)).await;
    assert_eq!(answer.header("x-credit-warning"), None);
    let patch = CustomerPatch { warning_threshold: Ncr::credits(11), ..CustomerPatch::default() };
    world.identity.patch_customer(&customer, patch, asked("w")).await.unwrap();
    let answer = world.post(OPENAI, Some(key.secret.expose()), &body(false)).await;
    assert_eq!(answer.header("x-credit-warning"), Some("true"));
}

#[tokio::test]
async fn each_surface_gets_its_own_error_shape() {
    let world = World::new().await;
    for (route, keys) in [
        (ROUTES[0], &["detail", "error"][..]),
        (ROUTES[1], &["detail", "error"]),
        (ROUTES[2], &["detail", "error", "type"]),
        (ROUTES[5], &["code", "error", "request_id"]),
    ] {
        let answer = world.post(route, Some("nope"), &body_for(route, false)).await;
        let json = answer.json();
        let mut got: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        got.sort_unstable();
        assert_eq!((answer.status, got.as_slice()), (401, keys), "{route}: {json}");
        let inside = if route.contains("ollama") { &json } else { &json["error"] };
        assert_eq!(inside["request_id"].as_str(), answer.header("x-request-id"), "{route}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::new().await;
    let (_, key) = world.customer("own", 10).await;
    let secret = Some(key.secret.expose());
    let large = world.send(call("POST", OPENAI, secret, Body::from(vec![b' '; 5000]))).await;
    assert_eq!((large.status, large.code().as_str()), (413, "BODY_TOO_LARGE"));
    let mut packed = call("POST", OPENAI, secret, Body::from(body(false).to_string()));
    packed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(world.send(packed).await.status, 415);
    let none = world.send(call("POST", OPENAI, secret, Body::empty())).await;
    assert_eq!((none.status, none.code().as_str()), (422, "VALIDATION_ERROR"));
}

#[tokio::test]
async fn a_secret_never_comes_back() {
    let world = World::new().await;
    let canary = "relay_sk_c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ffee";
    for route in ROUTES {
        let mut body = body_for(route, false);
        body["canary"] = json!(canary);
        body["temperature"] = json!(canary);
        for key in [Some(canary), None] {
            let answer = world.post(route, key, &body).await;
            assert!(!answer.text().contains("c0ffee"), "{route}: {}", answer.text());
        }
    }
}
