//! The public contract on the wire: ids, envelopes, credentials, bodies, refusals.

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Answer, Caller, DEV_TIER, Route, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::start::{open_to_guests, over_scripted, over_scripted_with, tokens};

/// How an error looks to the clients of a path.
#[derive(Clone, Copy)]
enum Shape {
    Relay,
    Anthropic,
    Ollama,
}

impl Shape {
    const fn of(route: Route) -> Self {
        match route {
            Route::Openai | Route::Vllm => Self::Relay,
            Route::Anthropic => Self::Anthropic,
            Route::Ollama => Self::Ollama,
        }
    }
}

/// A well-formed error of its surface, whose id is the header's.
fn check_error(answer: &Answer, shape: Shape, outcome: &str, who: &str) {
    let who = format!("{who}: {} {}", answer.status, answer.text);
    assert_eq!(answer.outcome(), outcome, "{who}");
    assert_eq!(answer.header("content-type"), "application/json", "{who}");
    let id = answer.header("x-request-id");
    assert!(Uuid::parse_str(id).is_ok(), "{who}: id '{id}'");
    let body = answer.json();
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    };
    if let Shape::Ollama = shape {
        assert_eq!(keys(&body), ["error", "code", "request_id"], "{who}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{who}");
        assert_eq!(body["request_id"], id, "{who}");
        return;
    }
    let error = &body["error"];
    assert_eq!(error["request_id"], id, "{who}");
    for key in ["code", "type", "source", "message"] {
        assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {who}");
    }
    match &body["detail"] {
        Value::String(text) => assert_eq!(error["message"], *text, "{who}"),
        Value::Array(list) => {
            assert_eq!(error["detail"], body["detail"], "{who}");
            for field in list {
                assert_eq!(keys(field), ["type", "loc", "msg"], "{who}");
            }
        }
        other => panic!("detail is {other}: {who}"),
    }
    assert_eq!(body["type"] == "error", matches!(shape, Shape::Anthropic), "{who}");
    let kind = match answer.status {
        400 | 404 | 405 | 409 | 413 | 422 | 431 => "validation",
        401 => "authentication",
        402 | 403 => "authorization",
        429 => "rate_limit",
        502 | 503 => "unavailable",
        504 => "timeout",
        _ => "internal",
    };
    let source = if answer.status < 500 { "client" } else { "provider" };
    if body["error"]["code"] != "MODEL_NOT_AVAILABLE" {
        assert_eq!(error["type"], kind, "{who}");
    }
    assert_eq!(error["source"], source, "{who}");
}

#[tokio::test]
async fn every_answer_has_an_id_and_every_error_its_envelope() {
    let (_engine, relay) =
        over_scripted_with(tokens(4), |options| options.set("HTTP__MAX_BODY_MIB", "1")).await;
    let caller = Caller::of(&relay);
    let model = relay.ready.models[0].as_str();
    let mut ids = Vec::new();
    for route in Route::ALL {
        let shape = Shape::of(route);
        let good = caller.chat(route, &route.body(model, 8, false)).await.unwrap();
        assert_eq!(good.status, 200, "{route:?}: {}", good.text);
        ids.push(good.header("x-request-id").to_owned());
        let stream = caller.chat(route, &route.body(model, 8, true)).await.unwrap();
        ids.push(stream.header("x-request-id").to_owned());

        let path = route.path();
        let good_body = route.body(model, 8, false).to_string();
        let send = async |key: &str, method: Method, path: &str, body: &str| {
            caller.with_key(key).send(method, path, body).await.unwrap()
        };
        let key = relay.ready.api_key.as_str();
        let bad_key = "relay_sk_0000000000000000000000000000000000000000000000000000";
        let answer = send(bad_key, Method::POST, path, &good_body).await;
        check_error(&answer, shape, "401 INVALID_API_KEY", "bad key");
        let unknown = route.body("no/such-model", 8, false).to_string();
        let answer = send(key, Method::POST, path, &unknown).await;
        check_error(&answer, shape, "403 MODEL_NOT_AVAILABLE", "unknown model");
        let answer = send(key, Method::POST, path, "{\"model\": ").await;
        check_error(&answer, shape, "422 VALIDATION_ERROR", "cut JSON");
        let answer = send(key, Method::POST, path, "[]").await;
        check_error(&answer, shape, "422 VALIDATION_ERROR", "an array");
        let answer = send(key, Method::POST, path, &json!({"model": model}).to_string()).await;
        check_error(&answer, shape, "422 VALIDATION_ERROR", "no messages");
        let answer = send(key, Method::GET, path, "").await;
        check_error(&answer, shape, "405 METHOD_NOT_ALLOWED", "GET");
        let answer = send(key, Method::POST, &format!("{path}/nothing"), "{}").await;
        check_error(&answer, shape, "404 ROUTE_NOT_FOUND", "no route");
        let big = route.body(&"x".repeat(1_100_000), 8, false).to_string();
        let answer = send(key, Method::POST, path, &big).await;
        check_error(&answer, shape, "413 BODY_TOO_LARGE", "1.1 MB");
        let wide = caller.request(Method::GET, path).header("x-filler", "y".repeat(20_000));
        let wide = Answer::read(wide.send().await.unwrap()).await.unwrap();
        assert_eq!(wide.status, 431, "{}", wide.text);
    }
    for path in ["/v2/models", "/v2/health", "/v2/tiers", "/v2/pricing", "/v2/ollama/api/version"] {
        let answer = caller.get(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
        ids.push(answer.header("x-request-id").to_owned());
    }
    let answer = caller.get("/v2/models/none").await.unwrap();
    check_error(&answer, Shape::Relay, "404 MODEL_NOT_FOUND", "catalogue");
    assert_eq!(answer.json()["detail"], "Model 'none' not found");
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "ids are unique");
    assert!(ids.iter().all(|id| Uuid::parse_str(id).is_ok()), "{ids:?}");
}

#[tokio::test]
async fn either_credential_works_and_the_key_header_wins() {
    let (_engine, relay) = over_scripted(tokens(2)).await;
    let caller = Caller::of(&relay);
    let guest = caller.guest();
    let path = "/v2/customer/credits";
    let ask = async |key: Option<&str>, bearer: Option<&str>| {
        let mut request = guest.request(Method::GET, path);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Answer::read(request.send().await.unwrap()).await.unwrap()
    };
    let good = relay.ready.api_key.as_str();
    let bad = "relay_sk_00000000";
    assert_eq!(ask(Some(good), None).await.status, 200);
    assert_eq!(ask(None, Some(good)).await.status, 200);
    assert_eq!(ask(Some(good), Some(bad)).await.status, 200, "the key header wins");
    assert_eq!(ask(Some(bad), Some(good)).await.outcome(), "401 INVALID_API_KEY");
    assert_eq!(ask(None, Some("a.jwt.perhaps")).await.outcome(), "401 INVALID_TOKEN");
    assert_eq!(ask(None, None).await.outcome(), "401 MISSING_CREDENTIALS");
    let plain = relay.account("pro", "1").unwrap();
    let refused = ask(Some(&plain.key), None).await;
    assert_eq!(refused.outcome(), "403 CREDENTIAL_NOT_PERMITTED");
    for path in ["/v2/models", "/v2/pricing", "/v2/tiers", "/v2/openai/v1/models"] {
        assert_eq!(guest.get(path).await.unwrap().status, 200, "{path}");
        let refused = guest.with_key(bad).get(path).await.unwrap();
        assert_eq!(refused.outcome(), "401 INVALID_API_KEY", "{path}");
    }
    let spent = relay.account("pro", "0").unwrap();
    let body = Route::Openai.body(&relay.ready.models[0], 8, false);
    let refused = relay.caller(&spent).chat(Route::Openai, &body).await.unwrap();
    check_error(&refused, Shape::Relay, "402 INSUFFICIENT_CREDITS", "no credit");
    assert_eq!(
        refused.json()["detail"],
        "Insufficient credits for this model. Top up your account to continue."
    );
}

#[tokio::test]
async fn guests_reach_what_is_open_to_them_and_no_more() {
    let (engine, relay) = over_scripted(tokens(2)).await;
    let guest = Caller::of(&relay).guest();
    let body = Route::Openai.body(&relay.ready.models[0], 8, false);
    let refused = guest.chat(Route::Openai, &body).await.unwrap();
    check_error(&refused, Shape::Relay, "403 SCOPE_DENIED", "a guest");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.starts_with("openai.scripted is not available for unauthenticated (guest) access."),
        "{detail}"
    );
    assert_eq!(engine.requests(), 0);

    open_to_guests(&relay);
    for _ in 0..5 {
        let answer = guest.chat(Route::Openai, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let limited = guest.chat(Route::Openai, &body).await.unwrap();
    check_error(&limited, Shape::Relay, "429 RATE_LIMITED", "a guest's sixth");
    assert_eq!(limited.header("retry-after"), "60");
    assert_eq!(engine.requests(), 5);
}

#[tokio::test]
async fn bodies_mean_one_thing_or_are_refused() {
    let (engine, relay) = over_scripted(tokens(2)).await;
    let caller = Caller::of(&relay);
    let messages = r#""messages":[{"role":"user","content":"hi"}]"#;
    let send = async |route: Route, body: String| {
        caller.send(Method::POST, route.path(), &body).await.unwrap()
    };
    for route in Route::ALL {
        let rest = match route {
            Route::Ollama => format!(r#"{messages},"stream":false"#),
            _ => format!(r#"{messages},"max_tokens":4"#),
        };
        let good = send(route, format!(r#"{{"model":"{MODEL}",{rest}}}"#)).await;
        assert_eq!(good.status, 200, "{route:?} {}", good.text);
        let escaped = send(route, format!(r#"{{"mod\u0065l":"{MODEL}",{rest}}}"#)).await;
        assert_eq!(escaped.status, 200, "an escaped key is that key: {route:?} {}", escaped.text);
        let before = engine.requests();
        for (why, body) in [
            ("twice", format!(r#"{{"model":"{MODEL}","model":"{MODEL}",{rest}}}"#)),
            ("twice, escaped", format!(r#"{{"model":"{MODEL}","\u006dodel":"x",{rest}}}"#)),
            ("twice, unknown", format!(r#"{{"model":"{MODEL}","zz":1,"zz":2,{rest}}}"#)),
            ("model is a number", format!(r#"{{"model":7,{rest}}}"#)),
            ("trailing text", format!(r#"{{"model":"{MODEL}",{rest}}} x"#)),
        ] {
            let refused = send(route, body).await;
            check_error(&refused, Shape::of(route), "422 VALIDATION_ERROR", why);
        }
        let unknown = send(route, format!(r#"{{"model":"{MODEL}","zz_unknown":1,{rest}}}"#)).await;
        match route {
            Route::Openai | Route::Anthropic => {
                check_error(&unknown, Shape::of(route), "422 VALIDATION_ERROR", "unknown field");
                let field = &unknown.json()["detail"][0];
                assert_eq!(field["loc"], json!(["body", "zz_unknown"]), "{}", unknown.text);
                assert_eq!(field["type"], "extra_forbidden");
                assert_eq!(engine.requests(), before, "nothing reached the engine");
            }
            Route::Vllm | Route::Ollama => assert_eq!(unknown.status, 200, "{}", unknown.text),
        }
    }
    let last = engine.last().unwrap().1;
    assert!(last.get("mode").is_none(), "Relay's own fields stay here: {last}");
}

#[tokio::test]
async fn what_is_not_offered_says_so() {
    let (engine, relay) = over_scripted(tokens(2)).await;
    let caller = Caller::of(&relay);
    for route in Route::ALL {
        let shape = Shape::of(route);
        let send = async |stream: bool, more: Value| {
            let mut body = route.body(MODEL, 4, stream);
            for (key, value) in more.as_object().unwrap() {
                body[key] = value.clone();
            }
            caller.chat(route, &body).await.unwrap()
        };
        let answer = send(true, json!({"async": true})).await;
        check_error(&answer, shape, "400 VALIDATION_ERROR", "stream and async");
        let answer = send(false, json!({"async": true})).await;
        check_error(&answer, shape, "403 TIER_FEATURE_UNAVAILABLE", "async");
        let answer = send(false, json!({"webhook_url": "https://example.com/hook"})).await;
        check_error(&answer, shape, "422 VALIDATION_ERROR", "a webhook without async");
        let answer = send(false, json!({"mode": "express"})).await;
        check_error(&answer, shape, "422 VALIDATION_ERROR", "a mode that is none");
        let opengpu = send(false, json!({"mode": "opengpu"})).await;
        match route {
            Route::Anthropic => check_error(&opengpu, shape, "422 VALIDATION_ERROR", "opengpu"),
            _ => {
                let outcome = opengpu.outcome();
                assert!(outcome.starts_with("403 "), "{outcome} {}", opengpu.text);
                let streamed = send(true, json!({"mode": "opengpu"})).await;
                check_error(&streamed, shape, "400 VALIDATION_ERROR", "opengpu, streamed");
            }
        }
        for mode in ["auto", "direct"] {
            let answer = send(false, json!({"mode": mode, "async": false})).await;
            assert_eq!(answer.status, 200, "{mode} {}", answer.text);
            if !matches!(route, Route::Ollama) {
                assert_eq!(answer.json()["mode"], "direct", "{}", answer.text);
            }
        }
    }
    assert_eq!(engine.requests(), 8);
}

#[tokio::test]
async fn before_the_first_chunk_a_stream_fails_as_a_whole_answer() {
    let (engine, relay) = over_scripted(Script::Refuse(500, "{}")).await;
    let caller = Caller::of(&relay);
    let poor = relay.account(DEV_TIER, "0").unwrap();
    for route in Route::ALL {
        let body = |model: &str| route.body(model, 4, true);
        let unknown = caller.chat(route, &body("nobody")).await.unwrap();
        let unpaid = relay.caller(&poor).chat(route, &body(MODEL)).await.unwrap();
        let broken = caller.chat(route, &body(MODEL)).await.unwrap();
        for (answer, status, kind) in [
            (unknown, 403, "permission_error"),
            (unpaid, 402, "insufficient_quota"),
            (broken, 502, "server_error"),
        ] {
            let who = format!("{route:?} {}: {}", answer.status, answer.text);
            assert_eq!(answer.status, status, "{who}");
            assert_eq!(answer.header("content-type"), "application/json", "{who}");
            assert!(Uuid::parse_str(answer.header("x-request-id")).is_ok(), "{who}");
            let body = answer.json();
            if route == Route::Ollama {
                assert!(body["error"].is_string() && body["request_id"].is_string(), "{who}");
                continue;
            }
            assert_eq!(body["error"]["code"], status, "{who}");
            assert_eq!(body["error"]["type"], kind, "{who}");
            assert!(body["error"]["message"].is_string(), "{who}");
            assert!(body.get("detail").is_none(), "{who}");
            assert_eq!(body["type"] == "error", route == Route::Anthropic, "{who}");
        }
        relay_recovers(&engine, &caller).await;
    }
}

/// Waits until the backend that failed is tried again.
async fn relay_recovers(engine: &Scripted, caller: &Caller) {
    engine.then(tokens(1));
    relay_tests::eventually("the backend to be tried again", async || {
        let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await
    .unwrap();
    engine.then(Script::Refuse(500, "{}"));
}

#[tokio::test]
async fn rates_are_limited_as_documented() {
    let (engine, relay) = over_scripted(tokens(1)).await;
    let account = relay.account("basic", "1").unwrap();
    let caller = relay.caller(&account);
    for n in 0..15 {
        let route = Route::ALL[n % 4];
        let answer = caller.chat(route, &route.body(MODEL, 4, false)).await.unwrap();
        assert_eq!(answer.status, 200, "{n}: {}", answer.text);
    }
    for route in Route::ALL {
        let limited = caller.chat(route, &route.body(MODEL, 4, false)).await.unwrap();
        check_error(&limited, Shape::of(route), "429 RATE_LIMITED", "over the limit");
        assert_eq!(limited.header("retry-after"), "60");
        let said = "Rate limit exceeded: 16/15 RPM for direct mode (tier: basic)";
        let body = limited.json();
        assert!(body["detail"] == said || body["error"] == said, "{}", limited.text);
    }
    let streamed = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, true)).await.unwrap();
    assert_eq!(streamed.status, 429);
    assert_eq!(streamed.json()["error"]["type"], "rate_limit_exceeded", "{}", streamed.text);
    assert_eq!(engine.requests(), 15);
    let free = caller.get("/v2/models").await.unwrap();
    assert_eq!(free.status, 200, "reads are not counted");
    let rows = relay.settled(&account, 15).await.unwrap();
    assert_eq!(rows.len(), 15, "a refused request is never held");
    eventually("one event for all of it", async || {
        let events = relay.admin(&["events", "list", "--subject", &account.key_id])?;
        Ok(events.to_string().contains("had 5 requests refused with 429").then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn nothing_of_the_client_leaks_to_the_engine_but_the_trace() {
    let (engine, relay) = over_scripted(tokens(1)).await;
    let caller = Caller::of(&relay);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for route in Route::ALL {
        let request = caller
            .request(Method::POST, route.path())
            .header("content-type", "application/json")
            .header("traceparent", &parent)
            .header("tracestate", "vendor=1")
            .header("cookie", "session=canary-cookie")
            .header("user-agent", "canary-agent")
            .header("x-forwarded-for", "203.0.113.7")
            .header("x-canary", "canary-header")
            .header("anthropic-beta", "canary-beta")
            .body(route.body(MODEL, 4, false).to_string());
        let answer = Answer::read(request.send().await.unwrap()).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (headers, body) = engine.last().unwrap();
        let text = format!("{headers:?}");
        assert!(!text.contains("canary"), "{route:?}: {text}");
        assert!(!text.contains("203.0.113.7"), "{route:?}: {text}");
        assert!(!text.contains("relay_sk_"), "{route:?}: {text}");
        assert!(!headers.contains_key("authorization"), "{route:?}: {text}");
        let passed = headers["traceparent"].to_str().unwrap();
        assert!(passed.starts_with(&format!("00-{trace}-")), "{passed}");
        assert_eq!(headers["tracestate"], "vendor=1", "{route:?}");
        assert_eq!(body["model"], MODEL, "{body}");
        assert_eq!(body["max_tokens"], 4, "the output cap is always written: {body}");
    }
}
