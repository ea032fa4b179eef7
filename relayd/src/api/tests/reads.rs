//! The catalogue's routes, health, and what the edge does for every route.

use axum::body::Body;
use http::header;
use serde_json::json;

use super::world::{MODEL, World, call};

#[tokio::test]
async fn models_are_listed_by_mode_and_source() {
    let world = World::new().await;
    let json = world.get("/v2/models", None).await.json();
    assert_eq!(json["auto"], json["direct"]);
    assert!(json.get("opengpu").is_none(), "absent when empty");
    let row = &json["auto"]["openai"][1];
    assert_eq!(
        row,
        &json!({
            "name": MODEL, "tag": "text-to-text", "store_output_supported": false,
            "display_name": "Smol LM2",
            "endpoint": {
                "method": "POST", "path": "/v2/openai/v1/chat/completions",
                "operation_id": "openai_chat_completions", "model_in_body": true,
                "model_default": null, "async_default": false, "streams": true,
            },
        })
    );
    assert_eq!(json["auto"]["ollama"][0]["endpoint"]["operation_id"], "ollama_api_chat");
    let tiers = &json["model_restrictions_per_tier"];
    assert!(tiers["guest"].as_array().unwrap().contains(&json!(format!("direct.openai.{MODEL}"))));
    assert_eq!(tiers["basic"], json!([]));
    assert!(tiers.get("own").is_none(), "custom tiers are never listed");
    let names: Vec<_> =
        json["auto"]["openai"].as_array().unwrap().iter().map(|m| &m["name"]).collect();
    assert_eq!(names, ["open", MODEL], "a retired model is not listed");
}

#[tokio::test]
async fn one_model_is_described_also_when_it_is_retired_or_unknown() {
    let world = World::new().await;
    for path in ["/v2/models/smol/lm2:135m", "/v2/models/smol%2Flm2:135m"] {
        let json = world.get(path, None).await.json();
        assert_eq!(json["name"], MODEL, "{path}");
        assert_eq!(json["modes"], json!(["auto", "direct"]));
        assert_eq!(json["sources"], json!(["ollama", "vllm", "openai", "anthropic"]));
        assert_eq!(json["endpoint"]["path"], "/v2/openai/v1/chat/completions");
        assert_eq!(json["restricted_tiers"], json!(["guest"]));
        assert_eq!((&json["available"], &json["status"]), (&json!(true), &json!("available")));
        assert_eq!(json["request_example"]["model"], MODEL);
        let request = &json["request_schema"];
        assert_eq!(request["title"], "OpenAIChatRequest");
        assert_eq!(request["properties"]["model"]["x-relay-models"], json!(["open", MODEL]));
        assert_eq!(json["response_schema"]["required"], json!(["model", "choices"]));
        assert_eq!(json["pricing"].as_array().unwrap().len(), 4);
    }
    let retired = world.get("/v2/models/old", None).await;
    let json = retired.json();
    assert_eq!((retired.status, &json["status"]), (200, &json!("retired")));
    assert_eq!(json["display_name"], json!(null));
    assert_eq!((&json["modes"], &json["pricing"]), (&json!([]), &json!([])));
    let unknown = world.get("/v2/models/nope/nope", None).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "MODEL_NOT_FOUND"));
    assert_eq!(unknown.json()["detail"], "Model 'nope/nope' not found");
    let slip = world.get("/v2/models/Smol/LM2:135M", None).await;
    assert_eq!(
        slip.json()["detail"],
        format!("Model 'Smol/LM2:135M' not found. Did you mean '{MODEL}'?")
    );
    let no_text = world.get("/v2/models/%ff", None).await;
    assert_eq!((no_text.status, no_text.code().as_str()), (400, "VALIDATION_ERROR"));
}

#[tokio::test]
async fn prices_are_exact_numbers() {
    let world = World::new().await;
    let answer = world.get("/v2/pricing", None).await;
    let json = answer.json();
    assert_eq!(json["total_count"], 5);
    let row = json["pricing"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["model"] == format!("openai.{MODEL}"))
        .unwrap();
    assert_eq!(
        row,
        &json!({
            "mode": "direct", "model": format!("openai.{MODEL}"), "billing_type": "per_token",
            "per_1m_input_tokens": 1, "per_1m_output_tokens": 2, "per_1m_cached_input_tokens": 0.25,
            "context_tier_threshold": 4096, "per_1m_input_tokens_long": 2,
            "per_1m_output_tokens_long": 4,
        })
    );
}

#[tokio::test]
async fn tiers_tell_the_callers_own() {
    let world = World::new().await;
    let (_, key) = world.customer("own", 0).await;
    let guest = world.get("/v2/tiers", None).await.json();
    assert_eq!(guest["current_tier"], "guest");
    let names: Vec<_> = guest["tiers"].as_array().unwrap().iter().map(|t| &t["tier"]).collect();
    assert_eq!(names, ["guest", "basic", "pro", "max"]);
    assert_eq!(
        guest["tiers"][1]["rate_limits"],
        json!({"direct": 15, "opengpu": 15, "global": 20})
    );
    assert_eq!(guest["tiers"][1]["max_keys"], 4);
    let own = world.get("/v2/tiers", Some(key.secret.expose())).await.json();
    assert_eq!(own["current_tier"], "own");
    for path in ["/v2/tiers", "/v2/models", "/v2/pricing", "/v2/openai/v1/models"] {
        assert_eq!(world.get(path, Some("nope")).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn lists_come_in_the_formats_of_openai_and_ollama() {
    let world = World::new().await;
    let list = world.get("/v2/openai/v1/models", None).await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(
        list["data"][1],
        json!({"id": MODEL, "object": "model", "created": 0, "owned_by": "smol"})
    );
    assert_eq!(
        world.get("/v2/vllm/v1/models", None).await.json()["data"].as_array().unwrap().len(),
        1
    );
    let one = world.get("/v2/openai/v1/models/smol/lm2:135m", None).await.json();
    assert_eq!(one["id"], MODEL);
    assert_eq!(world.get("/v2/vllm/v1/models/open", None).await.status, 404);

    let row = json!({
        "type": "model", "id": MODEL, "display_name": "Smol LM2", "lifecycle": "active",
        "created_at": "1970-01-01T00:00:00Z", "max_input_tokens": 8192,
    });
    for base in ["/v2/anthropic/v1", "/v2/anthropic/v1/v1", "/v2/anthropic/v1/"] {
        let list = world.get(&format!("{base}/models?limit=5"), None).await.json();
        let page = json!({ "data": [row], "has_more": false, "first_id": MODEL, "last_id": MODEL });
        assert_eq!(list, page, "{base}");
        let one = world.get(&format!("{base}/models/smol%2Flm2:135m"), None).await;
        assert_eq!(one.json(), row, "{base}");
    }
    let end = world.get(&format!("/v2/anthropic/v1/models?after_id={MODEL}"), None).await.json();
    assert_eq!((&end["data"], &end["first_id"]), (&json!([]), &json!(null)));
    assert_eq!(world.get("/v2/anthropic/v1/models?after_id=x", None).await.status, 404);
    assert_eq!(world.get("/v2/anthropic/v1/models?limit=0", None).await.status, 422);
    let lost = world.get("/v2/anthropic/v1/models/open", None).await;
    assert_eq!((lost.status, &lost.json()["type"]), (404, &json!("error")));

    let loaded = world.get("/v2/ollama/api/ps", None).await.json();
    assert_eq!(loaded["models"][0]["context_length"], 8192);
    let tags = world.get("/v2/ollama/api/tags", None).await.json();
    assert_eq!(tags["models"][0]["model"], MODEL);
    let show = world.post("/v2/ollama/api/show", None, &json!({ "model": MODEL })).await;
    assert_eq!(show.json()["capabilities"], json!(["completion", "tools"]));
    let unknown = world.post("/v2/ollama/api/show", None, &json!({ "model": "nope" })).await;
    assert_eq!((unknown.status, &unknown.json()["error"]), (404, &json!("Model 'nope' not found")));
    assert_eq!(world.post("/v2/ollama/api/show", None, &json!({})).await.status, 422);
    assert!(world.get("/v2/ollama/api/version", None).await.json()["version"].is_string());
}

#[tokio::test]
async fn health_has_three_keys_either_way() {
    let world = World::new().await;
    let well = world.get("/v2/health", None).await;
    assert_eq!(well.status, 200);
    assert_eq!(well.json(), json!({"status": "ok", "version": "2", "commit": "abc"}));
    world.healthy.send(false).unwrap();
    let ill = world.get("/v2/health", None).await;
    assert_eq!(ill.status, 503);
    assert_eq!(ill.json(), json!({"status": "degraded", "version": "2", "commit": "abc"}));
}

#[tokio::test]
async fn unknown_paths_and_methods_get_the_envelope() {
    let world = World::new().await;
    let lost = world.get("/v2/nope", None).await;
    assert_eq!((lost.status, lost.code().as_str()), (404, "ROUTE_NOT_FOUND"));
    let lost = world.get("/", None).await;
    assert_eq!((lost.status, lost.code().as_str()), (404, "ROUTE_NOT_FOUND"));
    let wrong = world.get("/v2/openai/v1/chat/completions", None).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(wrong.header("allow"), Some("POST"));
    let head = world.send(call("HEAD", "/v2/models", None, Body::empty())).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let options = world.send(call("OPTIONS", "/v2/models", None, Body::empty())).await;
    assert_eq!((options.status, options.header("allow")), (204, Some("GET,HEAD")));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_explained() {
    let world = World::new().await;
    let mut long = call("GET", "/v2/models", None, Body::empty());
    long.headers_mut().insert("x-long", "x".repeat(17_000).parse().unwrap());
    let answer = world.send(long).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "HEADERS_TOO_LARGE"));
    let mut many = call("GET", "/v2/models", None, Body::empty());
    for n in 0..101 {
        let name: http::HeaderName = format!("x-{n}").parse().unwrap();
        many.headers_mut().insert(name, "1".parse().unwrap());
    }
    assert_eq!(world.send(many).await.status, 431);
}

#[tokio::test]
async fn browsers_of_configured_origins_may_call() {
    let world = World::new().await;
    let from = |method: &str, origin: &str| {
        let mut request = call(method, "/v2/openai/v1/chat/completions", None, Body::empty());
        request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        let wanted = header::ACCESS_CONTROL_REQUEST_METHOD;
        request.headers_mut().insert(wanted, "POST".parse().unwrap());
        request
    };
    let asked = world.send(from("OPTIONS", "https://app.test")).await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://app.test"));
    assert!(asked.header("access-control-allow-headers").unwrap().contains("x-api-key"));
    let other = world.send(from("OPTIONS", "https://evil.test")).await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    // A failure is readable too, or the page could not tell why.
    let failed = world.send(from("POST", "https://app.test")).await;
    assert_eq!(failed.status, 422);
    assert_eq!(failed.header("access-control-allow-origin"), Some("https://app.test"));
    assert!(failed.header("access-control-expose-headers").unwrap().contains("x-request-id"));
    assert_eq!(failed.header("vary"), Some("origin"));
}

#[tokio::test]
async fn another_host_name_is_refused_before_anything_else() {
    let mut world = World::new().await;
    world.face.edge.hosts = crate::api::Hosts::new(&["relay.test".to_owned()]).unwrap();
    let asked = async |host: &str| {
        let mut request = call("GET", "/v2/health", None, Body::empty());
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        world.send(request).await
    };
    assert_eq!(asked("relay.test:8700").await.status, 200);
    let other = asked("evil.test").await;
    assert_eq!((other.status, other.code().as_str()), (421, "HOST_NOT_SERVED"));
}
