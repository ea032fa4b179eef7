//! The account routes about the account itself: its credit over time, its allowlist, its metrics.

use axum::body::Body;
use serde_json::{Value, json};

use crate::identity::{Asked, CreditRequest, CustomerPatch};

use super::world::{MODEL, World, call};

async fn send(world: &World, method: &str, path: &str, key: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = world.send(call(method, path, Some(key), body)).await;
    (answer.status, answer.json())
}

async fn chat(world: &World, key: &str, source: &str) -> u16 {
    let body = json!({
        "model": MODEL, "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 16,
    });
    let path = format!("/v2/{source}/v1/chat/completions");
    world.post(&path, Some(key), &body).await.status
}

#[tokio::test]
async fn the_history_of_credit_is_paged_by_offset_and_filtered() {
    let world = World::new().await;
    let (customer, first) = world.customer("own", 10).await;
    let owner = first.secret.expose();
    let back = CreditRequest {
        customer,
        amount: "-2.5".parse().unwrap(),
        via: "admin".parse().unwrap(),
        reason: "too much".to_owned(),
    };
    let asked =
        Asked { idem: "back".to_owned(), actor: "test".to_owned(), expected: None, trail: None };
    world.identity.credit(back, asked).await.unwrap();
    assert_eq!(chat(&world, owner, "openai").await, 200);

    let path = "/v2/customer/credits/history";
    let (status, all) = send(&world, "GET", path, owner, Value::Null).await;
    assert_eq!((status, &all["total"]), (200, &json!(2)), "a charge is no movement: {all}");
    assert_eq!((&all["limit"], &all["offset"]), (&json!(50), &json!(0)));
    let newest = &all["transactions"][0];
    assert_eq!(newest["action"], "credit_deduct");
    assert_eq!((&newest["amount"], &newest["via"]), (&json!(2.5), &json!("admin")));
    assert_eq!(newest["reason"], "too much");
    assert_eq!(newest["details"], json!({ "balance_before": 10, "balance_after": 7.5 }));
    let second = format!("{path}?limit=1&offset=1");
    let (_, second) = send(&world, "GET", &second, owner, Value::Null).await;
    assert_eq!((&second["total"], &second["offset"]), (&json!(2), &json!(1)));
    assert_eq!(second["transactions"], json!([all["transactions"][1]]));
    for (query, rows) in [
        ("action=credit_topup", 1),
        ("action=credit_deduct", 1),
        ("via=admin", 2),
        ("via=stripe", 0),
        ("offset=2", 0),
    ] {
        let (_, found) = send(&world, "GET", &format!("{path}?{query}"), owner, Value::Null).await;
        assert_eq!(found["transactions"].as_array().unwrap().len(), rows, "{query}");
    }
    for query in ["limit=0", "limit=101", "offset=-1", "action=charge", "via=A%20B", "x=1"] {
        let (status, _) = send(&world, "GET", &format!("{path}?{query}"), owner, Value::Null).await;
        assert_eq!(status, 422, "{query}");
    }
}

#[tokio::test]
async fn an_allowlist_binds_ordinary_keys_until_it_is_lifted() {
    let world = World::new().await;
    let (customer, first) = world.customer("own", 10).await;
    let owner = first.secret.expose();
    let second = world.key(&customer, "second").await;
    let ordinary = second.secret.expose();
    let path = "/v2/customer/model-allowlist";
    let (status, none) = send(&world, "GET", path, owner, Value::Null).await;
    assert_eq!((status, none), (200, json!({ "model_allowlist": null })));

    let scope = format!("direct.openai.{MODEL}");
    let body = json!({ "model_allowlist": [scope] });
    let (status, set) = send(&world, "PATCH", path, owner, body.clone()).await;
    assert_eq!((status, &set["status"]), (200, &json!("success")), "{set}");
    assert_eq!(set["model_allowlist"], body["model_allowlist"]);
    assert!(set["updated_at"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(chat(&world, ordinary, "openai").await, 200);
    assert_eq!(chat(&world, ordinary, "vllm").await, 403);
    assert_eq!(chat(&world, owner, "vllm").await, 200, "the superkey is exempt");
    let (_, profile) = send(&world, "GET", "/v2/customer/profile", owner, Value::Null).await;
    assert_eq!(profile["sub_key_model_allowlist"], body["model_allowlist"]);

    let wrong = json!({ "model_allowlist": [scope, "gpt"] });
    let (status, wrong) = send(&world, "PATCH", path, owner, wrong).await;
    assert_eq!(status, 422);
    assert_eq!(wrong["detail"][0]["loc"], json!(["body", "model_allowlist", 1]));
    let (_, lifted) = send(&world, "PATCH", path, owner, json!({})).await;
    assert_eq!(lifted["model_allowlist"], Value::Null);
    assert_eq!(chat(&world, ordinary, "vllm").await, 200);
}

#[tokio::test]
async fn a_profile_takes_another_name() {
    let world = World::new().await;
    let (_, first) = world.customer("own", 0).await;
    let owner = first.secret.expose();
    let path = "/v2/customer/profile";
    let (status, done) = send(&world, "PUT", path, owner, json!({ "name": "Other" })).await;
    assert_eq!((status, &done["updated_fields"]), (200, &json!(["name"])));
    let (_, nothing) = send(&world, "PUT", path, owner, json!({ "name": null })).await;
    assert_eq!(nothing["updated_fields"], json!([]));
    let (_, profile) = send(&world, "GET", path, owner, Value::Null).await;
    assert_eq!((&profile["name"], &profile["email"]), (&json!("Other"), &json!("a@acme.test")));
    for body in [json!({ "name": "" }), json!({ "tier": "max" }), json!({ "name": "a\u{1b}" })] {
        assert_eq!(send(&world, "PUT", path, owner, body).await.0, 422);
    }
}

#[tokio::test]
async fn a_superkey_promotes_no_key() {
    let world = World::new().await;
    let (customer, first) = world.customer("own", 0).await;
    let second = world.key(&customer, "second").await;
    let path = format!("/v2/customer/keys/{}/promote", second.key.id);
    let refused = world.send(call("POST", &path, Some(first.secret.expose()), Body::empty())).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "CREDENTIAL_NOT_PERMITTED"));
}

#[tokio::test]
async fn requests_are_counted_and_priced_in_buckets_of_time() {
    let world = World::new().await;
    let (_, first) = world.customer("own", 10).await;
    let owner = first.secret.expose();
    for source in ["openai", "vllm", "vllm"] {
        assert_eq!(chat(&world, owner, source).await, 200);
    }
    let now = jiff::Timestamp::now().as_second();
    let end = now + 60;
    let query = format!("start_time={}&end_time={end}&bucket_width=1h", now - 3_600);

    let path = format!("/v2/customer/metrics?{query}");
    let (status, page) = send(&world, "GET", &path, owner, Value::Null).await;
    assert_eq!((status, &page["object"]), (200, &json!("page")), "{page}");
    let buckets = page["data"].as_array().unwrap();
    assert!(buckets.len() >= 2, "{page}");
    let empty = &buckets[0];
    assert_eq!(empty["object"], "bucket");
    assert_eq!(empty["start_time"].as_i64().unwrap() % 3_600, 0);
    assert_eq!(empty["results"][0]["request_count"], 0);
    assert_eq!(empty["results"][0]["latency_ms"]["p50"], Value::Null);
    let whole = &page["summary"]["results"][0];
    assert_eq!(page["summary"]["object"], "summary");
    assert_eq!((&whole["request_count"], &whole["success_count"]), (&json!(3), &json!(3)));
    assert_eq!(whole["error_count"], 0);
    assert_eq!(whole["latency_ms"]["sample_count"], 3);
    assert!(whole["latency_ms"]["p50"].is_i64() && whole["latency_ms"]["p90"].is_null());
    assert!(whole.get("model").is_none(), "not split");
    assert_eq!((&page["has_more"], &page["next_page"]), (&json!(false), &Value::Null));

    let path =
        format!("/v2/customer/usage/timeseries?{query}&group_by=source&group_by=key_id&limit=1");
    let (status, first_page) = send(&world, "GET", &path, owner, Value::Null).await;
    assert_eq!((status, &first_page["has_more"]), (200, &json!(true)), "{first_page}");
    let mut seen: Vec<Value> = Vec::new();
    let mut page = first_page;
    while let Some(next) = page["next_page"].as_str() {
        let path = format!("{path}&page={next}");
        page = send(&world, "GET", &path, owner, Value::Null).await.1;
        let rows = page["data"][0]["results"].as_array().unwrap();
        seen.extend(rows.iter().filter(|row| row["request_count"] != 0).cloned());
    }
    seen.sort_by_key(|row| row["source"].to_string());
    assert_eq!(
        seen[1],
        json!({
            "request_count": 2, "cost_usd": 0.000028, "input_tokens": 20, "output_tokens": 4,
            "cached_input_tokens": 0, "media_input_tokens": 0, "media_output_tokens": 0,
            "source": "vllm", "key_id": first.key.id, "key_name": "first",
        })
    );
    assert_eq!(seen.len(), 2);
    let plain = format!("/v2/customer/metrics?{query}&start_time=x");
    assert_eq!(send(&world, "GET", &plain, owner, Value::Null).await.0, 422);
}

#[tokio::test]
async fn custom_tiers_alone_have_allowlists_and_spend_over_time() {
    let world = World::new().await;
    let (customer, first) = world.customer("own", 0).await;
    let asked =
        Asked { idem: "tier".to_owned(), actor: "test".to_owned(), expected: None, trail: None };
    let patch = CustomerPatch { tier: Some("basic".to_owned()), ..CustomerPatch::default() };
    world.identity.patch_customer(&customer, patch, asked).await.unwrap();
    let owner = first.secret.expose();
    for path in
        ["/v2/customer/model-allowlist", "/v2/customer/usage/timeseries?start_time=1790000000"]
    {
        let refused = world.get(path, Some(owner)).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "TIER_FEATURE_UNAVAILABLE"));
    }
    let open = world.get("/v2/customer/metrics?start_time=1790000000", Some(owner)).await;
    assert_eq!(open.status, 200, "every tier has metrics");
}
