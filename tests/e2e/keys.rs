//! The life of a key over the public face, by its owner's superkey.

use relay_tests::scripted::MODEL;
use relay_tests::{Caller, DEV_TIER, Route, eventually};
use reqwest::Method;
use serde_json::json;
use tokio::time::{Duration, Instant};

use crate::start::{over_scripted, tokens};

/// Within which a revocation holds everywhere.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_key_lives_from_creation_to_deletion() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let account = relay.account(DEV_TIER, "1").unwrap();
    let owner = relay.caller(&account);
    let keys = "/v2/customer/keys";
    let chat = Route::Openai.body(MODEL, 4, false);

    let made = owner.post(keys, &json!({"name": "build server"})).await.unwrap();
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    let secret = made["key"].as_str().unwrap().to_owned();
    let id = made["key_id"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("relay_sk_"), "{made}");
    assert!(id.starts_with("key_") && id.len() == 20, "{made}");
    assert_eq!((&made["status"], &made["is_superkey"]), (&json!("active"), &json!(false)));
    assert!(made["warning"].as_str().is_some_and(|text| !text.is_empty()), "{made}");
    let own = owner.with_key(&secret);
    assert_eq!(own.chat(Route::Openai, &chat).await.unwrap().status, 200);
    let twice = owner.post(keys, &json!({"name": "build server"})).await.unwrap();
    assert!(matches!(twice.status, 400 | 409 | 422), "{}", twice.text);
    for bad in [json!({"name": "ab"}), json!({"name": "__system"}), json!({"nme": "x"}), json!({})]
    {
        let refused = owner.post(keys, &bad).await.unwrap();
        assert_eq!(refused.status, 422, "{bad}: {}", refused.text);
    }

    let list = owner.get(keys).await.unwrap().json();
    assert_eq!(list["total"], 2, "{list}");
    assert_eq!(list["keys"][0]["key_id"], id, "newest first");
    let shown = list["keys"][0]["key"].as_str().unwrap();
    assert_eq!(shown, format!("{}...", &secret[..20]), "never the secret again");
    assert!(!list.to_string().contains(&secret));
    let page = owner.get(&format!("{keys}?limit=1")).await.unwrap().json();
    assert_eq!((&page["has_more"], &page["keys"][0]["key_id"]), (&json!(true), &json!(id)));
    let next = page["next_cursor"].as_str().unwrap();
    let page = owner.get(&format!("{keys}?limit=1&starting_after={next}")).await.unwrap().json();
    assert_eq!(page["keys"][0]["key_id"], account.key_id, "{page}");
    let found = owner.get(&format!("{keys}?name_prefix=build")).await.unwrap().json();
    assert_eq!(found["total"], 1, "{found}");
    let secret_in_path = owner.get(&format!("/v2/customer/usage/{secret}")).await.unwrap();
    assert_eq!(secret_in_path.status, 400, "{}", secret_in_path.text);
    assert!(!secret_in_path.text.contains(&secret), "and it is not repeated");

    change(&owner, &own, &format!("{keys}/{id}")).await;
    end(&owner, &own, &format!("{keys}/{id}")).await;

    let foreign = Caller::of(&relay).post(&format!("{keys}/{id}/revoke"), &json!({})).await;
    let foreign = foreign.unwrap();
    assert!(matches!(foreign.status, 403 | 404), "another customer's key: {}", foreign.text);
    let profile = owner.get("/v2/customer/profile").await.unwrap().json();
    assert_eq!(profile["customer_id"], account.customer, "{profile}");
    assert_eq!((&profile["tier"], &profile["status"]), (&json!("dev"), &json!("active")));
    relay.audit().unwrap();
}

/// Name, restrictions, budget.
async fn change(owner: &Caller, own: &Caller, path: &str) {
    let chat = Route::Openai.body(MODEL, 4, false);
    let scope = format!("direct.openai.{MODEL}");
    let patch = json!({"name": "renamed", "key_budget": 0,
        "restrictions": {"model_restrictions": [scope]}});
    let patched = owner.send(Method::PATCH, path, &patch.to_string()).await.unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text);
    let patched = patched.json();
    let mut fields: Vec<_> =
        patched["updated_fields"].as_array().unwrap().iter().map(ToString::to_string).collect();
    fields.sort();
    assert_eq!(fields, ["\"key_budget\"", "\"name\"", "\"restrictions\""], "{patched}");
    assert_eq!(patched["new_key_budget"], 0, "{patched}");
    becomes(own, "402 KEY_BUDGET_EXHAUSTED").await;

    let topped = owner.post(&format!("{path}/topup"), &json!({"amount": 0.25})).await.unwrap();
    assert_eq!(topped.status, 200, "{}", topped.text);
    let topped = topped.json();
    assert_eq!((&topped["previous_budget"], &topped["new_budget"]), (&json!(0), &json!(0.25)));
    assert_eq!(topped["amount_added"], 0.25, "{topped}");
    becomes(own, "403 SCOPE_DENIED").await;
    let elsewhere = own.chat(Route::Vllm, &Route::Vllm.body(MODEL, 4, false)).await.unwrap();
    assert_eq!(elsewhere.status, 200, "only that scope: {}", elsewhere.text);

    let patch = json!({"key_budget": null, "restrictions": {"rate_limits": {"direct": 1}}});
    let patched = owner.send(Method::PATCH, path, &patch.to_string()).await.unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text);
    assert_eq!(patched.json()["new_key_budget"], json!(null));
    becomes(own, "429 RATE_LIMITED").await;
    let patched = owner.send(Method::PATCH, path, r#"{"restrictions":{}}"#).await.unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text);
    becomes(own, "200").await;
    assert_eq!(own.chat(Route::Openai, &chat).await.unwrap().status, 200);
}

/// Revocation, return, deletion.
async fn end(owner: &Caller, own: &Caller, path: &str) {
    let early = owner.send(Method::DELETE, path, "").await.unwrap();
    assert_eq!(early.status, 400, "an active key is not deleted: {}", early.text);
    let revoked = owner.post(&format!("{path}/revoke"), &json!({})).await.unwrap();
    assert_eq!(revoked.status, 200, "{}", revoked.text);
    let since = Instant::now();
    becomes(own, "401 KEY_REVOKED").await;
    assert!(since.elapsed() < REVOKED_WITHIN + Duration::from_secs(1), "{:?}", since.elapsed());
    let back = owner.post(&format!("{path}/unrevoke"), &json!({})).await.unwrap();
    assert_eq!(back.status, 200, "{}", back.text);
    becomes(own, "200").await;
    owner.post(&format!("{path}/revoke"), &json!({})).await.unwrap();
    let deleted = owner.send(Method::DELETE, path, "").await.unwrap();
    assert!(matches!(deleted.status, 200 | 204), "{}", deleted.text);
    becomes(own, "401 INVALID_API_KEY").await;
    let list = owner.get("/v2/customer/keys").await.unwrap().json();
    assert_eq!(list["total"], 1, "deleted keys are hidden: {list}");
}

async fn becomes(caller: &Caller, outcome: &str) {
    eventually(outcome, async || {
        let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await?;
        Ok((answer.outcome() == outcome).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_tier_bounds_the_number_of_keys() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let account = relay.account("basic", "1").unwrap();
    for name in ["second", "third", "fourth"] {
        relay.admin(&["keys", "create", "--customer", &account.customer, "--name", name]).unwrap();
    }
    let refused =
        relay.admin(&["keys", "create", "--customer", &account.customer, "--name", "fifth"]);
    let said = format!("{:#}", refused.unwrap_err());
    assert!(said.contains('4') && said.contains("key"), "{said}");
}
