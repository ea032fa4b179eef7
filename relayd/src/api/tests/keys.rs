//! The account routes.

use axum::body::Body;
use serde_json::{Value, json};

use super::world::{MODEL, World, call};

async fn send(world: &World, method: &str, path: &str, key: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = world.send(call(method, path, Some(key), body)).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn account_routes_want_a_superkey() {
    let world = World::new().await;
    let (customer, first) = world.customer("own", 0).await;
    let second = world.key(&customer, "second").await;
    for (method, path) in [
        ("GET", "/v2/customer/credits"),
        ("GET", "/v2/customer/profile"),
        ("PATCH", "/v2/customer/settings"),
        ("GET", "/v2/customer/pricing"),
        ("GET", "/v2/customer/usage"),
        ("GET", "/v2/customer/usage/key_0000000000000000"),
        ("GET", "/v2/customer/keys"),
        ("POST", "/v2/customer/keys"),
        ("PATCH", "/v2/customer/keys/key_0000000000000000"),
        ("DELETE", "/v2/customer/keys/key_0000000000000000"),
        ("POST", "/v2/customer/keys/key_0000000000000000/revoke"),
        ("POST", "/v2/customer/keys/key_0000000000000000/unrevoke"),
        ("POST", "/v2/customer/keys/key_0000000000000000/topup"),
        ("GET", "/v2/customer/credits/history"),
        ("PUT", "/v2/customer/profile"),
        ("GET", "/v2/customer/model-allowlist"),
        ("PATCH", "/v2/customer/model-allowlist"),
        ("GET", "/v2/customer/metrics"),
        ("GET", "/v2/customer/usage/timeseries"),
    ] {
        let refused = async |key: Option<&str>| {
            let answer = world.send(call(method, path, key, Body::empty())).await;
            (answer.status, answer.code())
        };
        assert_eq!(refused(None).await, (401, "MISSING_CREDENTIALS".to_owned()), "{path}");
        let ordinary = refused(Some(second.secret.expose())).await;
        assert_eq!(ordinary, (403, "CREDENTIAL_NOT_PERMITTED".to_owned()), "{method} {path}");
        let superkey = call(method, path, Some(first.secret.expose()), Body::empty());
        assert!(!matches!(world.send(superkey).await.status, 401 | 403), "{method} {path}");
    }
}

#[tokio::test]
async fn a_key_lives_its_life_over_rest() {
    let world = World::new().await;
    let (_, first) = world.customer("own", 10).await;
    let owner = first.secret.expose();
    let body = json!({
        "name": "Worker",
        "restrictions": {
            "model_restrictions": [format!("direct.vllm.{MODEL}")],
            "rate_limits": { "direct": 3 },
        },
        "key_budget": 1.5,
    });
    let (status, made) = send(&world, "POST", "/v2/customer/keys", owner, body).await;
    assert_eq!(status, 201, "{made}");
    let secret = made["key"].as_str().unwrap().to_owned();
    let id = made["key_id"].as_str().unwrap().to_owned();
    assert_eq!(made["status"], "active");
    assert_eq!((&made["is_superkey"], &made["key_budget"]), (&json!(false), &json!(1.5)));
    assert_eq!(made["restrictions"]["rate_limits"], json!({ "direct": 3 }));

    let (_, list) = send(&world, "GET", "/v2/customer/keys?limit=1", owner, Value::Null).await;
    assert_eq!((&list["total"], &list["max_allowed"]), (&json!(2), &json!(5)));
    assert_eq!(list["has_more"], true);
    assert_eq!(list["keys"][0]["key"], format!("{}...", &secret[..20]), "newest first, masked");
    let cursor = list["next_cursor"].as_str().unwrap();
    let next = format!("/v2/customer/keys?limit=1&starting_after={cursor}");
    let (_, rest) = send(&world, "GET", &next, owner, Value::Null).await;
    assert_eq!((&rest["has_more"], &rest["next_cursor"]), (&json!(false), &Value::Null));
    assert_eq!(rest["keys"][0]["is_superkey"], true);
    let by_name = "/v2/customer/keys?name=WORKER&status=active&is_superkey=false";
    let (_, found) = send(&world, "GET", by_name, owner, Value::Null).await;
    assert_eq!((found["total"].as_u64(), &found["keys"][0]["key_id"]), (Some(1), &json!(id)));

    let path = format!("/v2/customer/keys/{id}");
    let patch = json!({ "name": "Renamed", "key_budget": null });
    let (status, patched) = send(&world, "PATCH", &path, owner, patch).await;
    assert_eq!(status, 200, "{patched}");
    assert_eq!(patched["updated_fields"], json!(["name", "key_budget"]));
    assert_eq!(patched["new_key_budget"], Value::Null);
    let topup = format!("{path}/topup");
    let (_, topped) = send(&world, "POST", &topup, owner, json!({ "amount": 2.25 })).await;
    assert_eq!(topped["previous_budget"], Value::Null);
    assert_eq!((&topped["new_budget"], &topped["amount_added"]), (&json!(2.25), &json!(2.25)));

    let (status, early) = send(&world, "DELETE", &path, owner, Value::Null).await;
    assert_eq!((status, &early["error"]["code"]), (400, &json!("VALIDATION_ERROR")));
    let revoke = format!("{path}/revoke");
    assert_eq!(send(&world, "POST", &revoke, owner, Value::Null).await.0, 200);
    let tiers = world.get("/v2/tiers", Some(&secret)).await;
    assert_eq!((tiers.status, tiers.code().as_str()), (401, "KEY_REVOKED"));
    let unrevoke = format!("{path}/unrevoke");
    assert_eq!(send(&world, "POST", &unrevoke, owner, Value::Null).await.0, 200);
    assert_eq!(world.get("/v2/tiers", Some(&secret)).await.status, 200);
    send(&world, "POST", &revoke, owner, Value::Null).await;
    assert_eq!(send(&world, "DELETE", &path, owner, Value::Null).await.0, 200);
    let (status, gone) = send(&world, "POST", &revoke, owner, Value::Null).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("KEY_NOT_FOUND")));
}

#[tokio::test]
async fn bad_key_requests_name_what_is_wrong() {
    let world = World::new().await;
    let (_, first) = world.customer("own", 0).await;
    let owner = first.secret.expose();
    let keys = "/v2/customer/keys";
    for (body, status, part) in [
        (json!({}), 422, "name: Field required"),
        (json!({ "name": "ab" }), 422, "at least 3 characters"),
        (json!({ "name": "abc", "nope": 1 }), 422, "nope: Extra inputs are not permitted"),
        (json!({ "name": "first" }), 400, "A key of that name exists"),
        (json!({ "name": "abc", "key_budget": -1 }), 422, "greater than or equal to 0"),
        (
            json!({ "name": "abc", "restrictions": { "model_restrictions": ["x"] } }),
            422,
            "mode.source.model",
        ),
    ] {
        let (got, answer) = send(&world, "POST", keys, owner, body.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(got, status, "{body}: {message}");
        assert!(message.contains(part), "{body}: {message}");
    }
    for (query, status) in [
        ("limit=0", 422),
        ("limit=1001", 422),
        ("limit=x", 422),
        ("status=gone", 422),
        ("nope=1", 422),
        ("name=a&name_prefix=b", 400),
        ("starting_after=key_0000000000000000", 400),
    ] {
        let (got, answer) =
            send(&world, "GET", &format!("{keys}?{query}"), owner, Value::Null).await;
        assert_eq!(got, status, "{query}: {answer}");
    }
    let path = format!("{keys}/{owner}/revoke");
    let (status, answer) = send(&world, "POST", &path, owner, Value::Null).await;
    assert_eq!(status, 400);
    assert!(!answer.to_string().contains(owner));
    let (_, theirs) = world.customer("own", 0).await;
    let path = format!("{keys}/{}/revoke", theirs.key.id);
    let (status, foreign) = send(&world, "POST", &path, owner, Value::Null).await;
    assert_eq!((status, &foreign["error"]["code"]), (404, &json!("KEY_NOT_FOUND")));
}

#[tokio::test]
async fn money_and_usage_add_up() {
    let world = World::new().await;
    let (customer, first) = world.customer("own", 10).await;
    let owner = first.secret.expose();
    let chat = json!({
        "model": MODEL, "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 16,
    });
    for route in ["/v2/openai/v1/chat/completions", "/v2/vllm/v1/chat/completions"] {
        assert_eq!(send(&world, "POST", route, owner, chat.clone()).await.0, 200);
    }
    let (_, credits) = send(&world, "GET", "/v2/customer/credits", owner, Value::Null).await;
    assert_eq!(credits["balance"], json!(9.999972));
    assert_eq!(credits["total_consumed"], json!(0.000028));
    assert_eq!(credits["total_allocated"], json!(10));
    assert_eq!(
        credits["consumed_by_mode"],
        json!({"direct": 0.000028, "opengpu": 0, "instances": 0})
    );
    assert_eq!(credits["last_topup"]["amount"], json!(10));

    let (_, usage) = send(&world, "GET", "/v2/customer/usage", owner, Value::Null).await;
    assert_eq!(
        (&usage["total"], &usage["limit"], &usage["query"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    let row = &usage["keys"][0];
    assert_eq!(row["analytics"]["by_date"], Value::Null);
    let openai = &row["analytics"]["lifetime"]["direct"]["openai"][MODEL];
    assert_eq!(
        openai,
        &json!({"requests": 1, "credits": 0.000014, "input_tokens": 10, "output_tokens": 2})
    );
    let path = format!("/v2/customer/usage/{}?period=7d", first.key.id);
    let (_, dated) = send(&world, "GET", &path, owner, Value::Null).await;
    assert_eq!(dated["analytics"]["lifetime"], Value::Null);
    let days = dated["analytics"]["by_date"].as_object().unwrap();
    assert_eq!(days.len(), 1);
    assert_eq!(days.values().next().unwrap()["direct"]["vllm"][MODEL]["requests"], 1);

    let settings = json!({ "warning_threshold": 3.5 });
    let (status, set) = send(&world, "PATCH", "/v2/customer/settings", owner, settings).await;
    assert_eq!((status, &set["warning_threshold"]), (200, &json!(3.5)));
    let (_, profile) = send(&world, "GET", "/v2/customer/profile", owner, Value::Null).await;
    assert_eq!(profile["customer_id"], customer.as_str());
    assert_eq!((&profile["tier"], &profile["warning_threshold"]), (&json!("own"), &json!(3.5)));
    assert_eq!(profile["tier_details"]["current_keys"], 1);
    assert_eq!(profile["tier_details"]["is_custom"], true);
    let (_, pricing) = send(&world, "GET", "/v2/customer/pricing", owner, Value::Null).await;
    assert_eq!((&pricing["tier"], &pricing["total_count"]), (&json!("own"), &json!(5)));
    assert_eq!(pricing["pricing"][0]["is_override"], false);
}
