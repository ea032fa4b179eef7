//! What the public face tells of models, prices and tiers, in every client's form.

use relay_tests::scripted::MODEL;
use relay_tests::{Caller, Relay, Route};
use serde_json::{Value, json};

use crate::start::{over_scripted, tokens};

/// A name as the contract's models have them.
const SLASHED: &str = "acme/tiny-1";

/// Adds a model with a slash in its name, on two routes, with a price of its own.
fn add_slashed(relay: &Relay) {
    let export = relay.command(&["admin", "--addr", &relay.ready.admin_addr, "export"]).unwrap();
    let url = export.lines().find(|line| line.starts_with("url = ")).unwrap();
    let file = relay.dir().join("slashed.toml");
    let toml = format!(
        r#"
[[model]]
name = "{SLASHED}"
display_name = "Tiny One"
context_tokens = 2048
max_output_default = 64
capabilities = ["tools"]

[[model.offer]]
source = "openai"
price = {{ in_uncached = "0.05", in_cache_read = "0.0125", out_text = "0.4" }}
long = {{ above_tokens = 1024, price = {{ in_uncached = "0.1", out_text = "0.8" }} }}

[[model.offer]]
source = "anthropic"
price = {{ in_uncached = "0.07", out_text = "0.7" }}

[[model]]
name = "acme/gone"
display_name = "Gone"
context_tokens = 2048
retired = true

[[backend]]
name = "slashed"
{url}
dialect = "openai"
models = {{ "{SLASHED}" = "{MODEL}" }}
"#
    );
    std::fs::write(&file, toml).unwrap();
    relay.admin(&["apply", "-f", file.to_str().unwrap()]).unwrap();
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().map(|o| o.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn named<'a>(rows: &'a Value, key: &str, name: &str) -> &'a Value {
    let list = rows.as_array().unwrap();
    list.iter().find(|row| row[key] == name).unwrap_or_else(|| panic!("no {name} in {rows}"))
}

#[tokio::test]
async fn the_catalogue_has_the_documented_shapes() {
    let (engine, relay) = over_scripted(tokens(3)).await;
    let guest = Caller::at(&relay.ready.public_url);
    add_slashed(&relay);
    relay_tests::eventually("the new model", async || {
        let answer = guest.get("/v2/models/acme/tiny-1").await?;
        Ok((answer.json()["available"] == true).then_some(()))
    })
    .await
    .unwrap();
    models(&guest).await;
    one_model(&guest).await;
    prices_and_tiers(&guest, &relay).await;
    lists_of_the_clients(&guest).await;

    // The name with a slash chats, on the routes that it is offered on and on no other.
    let caller = Caller::of(&relay);
    for (route, status) in
        [(Route::Openai, 200), (Route::Anthropic, 200), (Route::Vllm, 403), (Route::Ollama, 403)]
    {
        let answer = caller.chat(route, &route.body(SLASHED, 4, false)).await.unwrap();
        assert_eq!(answer.status, status, "{route:?} {}", answer.text);
        if status == 200 {
            assert_eq!(answer.json()["model"], SLASHED, "{}", answer.text);
        }
    }
    assert_eq!(engine.last().unwrap().1["model"], MODEL, "the engine hears its own name");
    let retired = caller.chat(Route::Openai, &Route::Openai.body("acme/gone", 4, false)).await;
    assert_eq!(retired.unwrap().outcome(), "403 MODEL_RETIRED");
}

async fn models(guest: &Caller) {
    let models = guest.get("/v2/models").await.unwrap();
    assert_eq!(models.header("content-type"), "application/json");
    let models = models.json();
    assert_eq!(keys(&models), ["auto", "direct", "model_restrictions_per_tier"], "{models}");
    for source in ["anthropic", "ollama", "openai", "vllm"] {
        named(&models["auto"][source], "name", MODEL);
        named(&models["direct"][source], "name", MODEL);
    }
    let row = named(&models["auto"]["openai"], "name", SLASHED);
    assert_eq!(row["tag"], "text-to-text", "{row}");
    assert_eq!(row["store_output_supported"], false, "{row}");
    assert_eq!(row["display_name"], "Tiny One", "{row}");
    let endpoint = json!({
        "method": "POST", "path": "/v2/openai/v1/chat/completions",
        "operation_id": "openai_chat_completions", "model_in_body": true, "model_default": null,
        "async_default": false, "streams": true,
    });
    assert_eq!(row["endpoint"], endpoint, "{row}");
    let barred = &models["model_restrictions_per_tier"]["guest"];
    assert!(barred.as_array().unwrap().contains(&json!(format!("direct.openai.{SLASHED}"))));
    assert_eq!(models["model_restrictions_per_tier"]["pro"], json!([]));
}

async fn one_model(guest: &Caller) {
    let model = guest.get("/v2/models/acme/tiny-1").await.unwrap();
    assert_eq!(model.status, 200, "{}", model.text);
    let escaped = guest.get("/v2/models/acme%2Ftiny-1").await.unwrap();
    assert_eq!(escaped.text, model.text, "an escaped slash is a slash");
    assert_eq!(guest.get("/v2/models/ACME/tiny-1").await.unwrap().status, 404, "case counts");
    let model = model.json();
    for (key, value) in [
        ("name", json!(SLASHED)),
        ("modes", json!(["auto", "direct"])),
        ("sources", json!(["openai", "anthropic"])),
        ("status", json!("available")),
        ("available", json!(true)),
        ("restricted_tiers", json!(["guest"])),
    ] {
        let (mut found, mut wanted) = (model[key].clone(), value);
        for list in [&mut found, &mut wanted] {
            if let Value::Array(list) = list {
                list.sort_by_key(ToString::to_string);
            }
        }
        assert_eq!(found, wanted, "{key}: {model}");
    }
    for key in ["request_schema", "request_example", "response_schema", "pricing", "endpoint"] {
        assert!(model.get(key).is_some(), "{key}: {model}");
    }
    let gone = guest.get("/v2/models/acme/gone").await.unwrap();
    assert_eq!(gone.status, 200, "{}", gone.text);
    let gone = gone.json();
    assert_eq!(gone["status"], "retired", "{gone}");
    for (key, value) in
        [("display_name", json!(null)), ("tag", json!(null)), ("pricing", json!([]))]
    {
        assert_eq!(gone[key], value, "{key}: {gone}");
    }
}

async fn prices_and_tiers(guest: &Caller, relay: &Relay) {
    let pricing = guest.get("/v2/pricing").await.unwrap().json();
    let rows = pricing["pricing"].as_array().unwrap();
    assert_eq!(pricing["total_count"], rows.len(), "{pricing}");
    let price = named(&pricing["pricing"], "model", "openai.acme/tiny-1");
    let expected = json!({
        "mode": "direct", "model": "openai.acme/tiny-1", "billing_type": "per_token",
        "per_1m_input_tokens": 0.05, "per_1m_output_tokens": 0.4,
        "per_1m_cached_input_tokens": 0.0125, "context_tier_threshold": 1024,
        "per_1m_input_tokens_long": 0.1, "per_1m_output_tokens_long": 0.8,
    });
    assert_eq!(price, &expected);
    let other = named(&pricing["pricing"], "model", "anthropic.acme/tiny-1");
    assert_eq!(other["per_1m_input_tokens"], 0.07, "a price for each source");

    let tiers = guest.get("/v2/tiers").await.unwrap().json();
    assert_eq!(tiers["current_tier"], "guest", "{tiers}");
    let names: Vec<_> = tiers["tiers"].as_array().unwrap().iter().map(|t| &t["tier"]).collect();
    assert_eq!(names, ["guest", "basic", "pro", "max"], "by level, custom ones not listed");
    let basic = named(&tiers["tiers"], "tier", "basic");
    assert_eq!(keys(basic), ["tier", "model_restrictions", "rate_limits", "max_keys"]);
    assert_eq!(basic["rate_limits"], json!({"direct": 15, "opengpu": 15, "global": 20}));
    let pro = relay.account("pro", "1").unwrap();
    let tiers = relay.caller(&pro).get("/v2/tiers").await.unwrap().json();
    assert_eq!(tiers["current_tier"], "pro", "{tiers}");
    let own = Caller::of(relay).get("/v2/tiers").await.unwrap().json();
    assert_eq!(own["current_tier"], "dev", "a custom tier is named to its own");

    let health = guest.get("/v2/health").await.unwrap().json();
    assert_eq!(keys(&health), ["status", "version", "commit"]);
    assert_eq!((&health["status"], &health["version"]), (&json!("ok"), &json!("2")));
}

async fn lists_of_the_clients(guest: &Caller) {
    for source in ["openai", "vllm"] {
        let list = guest.get(&format!("/v2/{source}/v1/models")).await.unwrap().json();
        assert_eq!(list["object"], "list", "{list}");
        let row = named(&list["data"], "id", MODEL);
        assert_eq!(row["object"], "model", "{row}");
        assert!(row["created"].is_u64() && row["owned_by"].is_string(), "{row}");
        let one = guest.get(&format!("/v2/{source}/v1/models/{MODEL}")).await.unwrap().json();
        assert_eq!(one["id"], MODEL, "{one}");
    }
    let list = guest.get("/v2/vllm/v1/models").await.unwrap().json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [MODEL], "only what this route offers");

    let tags = guest.get("/v2/ollama/api/tags").await.unwrap().json();
    let row = named(&tags["models"], "name", MODEL);
    for key in ["model", "modified_at", "size", "digest", "details"] {
        assert!(row.get(key).is_some(), "{key}: {row}");
    }
    let show = guest.post("/v2/ollama/api/show", &json!({"model": MODEL})).await.unwrap();
    assert_eq!(show.status, 200, "{}", show.text);
    let show = show.json();
    assert!(show["details"].is_object() && show["capabilities"].is_array(), "{show}");
    let missing = guest.post("/v2/ollama/api/show", &json!({"model": "none"})).await.unwrap();
    assert_eq!(missing.status, 404, "{}", missing.text);
    let version = guest.get("/v2/ollama/api/version").await.unwrap().json();
    assert_eq!(keys(&version), ["version"], "{version}");
}
