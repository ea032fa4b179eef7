//! Which exception each official SDK raises for each of our errors: one golden file for each SDK,
//! written anew when `RELAY_BLESS` is set.

use std::path::Path;

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{DEV_TIER, Python, Relay, RelayOptions, eventually, repository};
use serde_json::{Map, Value, json};

use crate::start::tokens;

#[tokio::test]
async fn the_openai_sdk_raises_what_its_golden_file_says() {
    check("openai").await;
}

#[tokio::test]
async fn the_anthropic_sdk_raises_what_its_golden_file_says() {
    check("anthropic").await;
}

#[tokio::test]
async fn the_ollama_sdk_raises_what_its_golden_file_says() {
    check("ollama").await;
}

async fn check(sdk: &str) {
    let engine = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&engine.url])
        .set("HTTP__MAX_BODY_MIB", "1")
        .set("CHAT__FIRST_BYTE_TIMEOUT", "500ms")
        .set("CHAT__TOTAL_TIMEOUT", "3s")
        .set("CHAT__IDLE_TIMEOUT", "700ms")
        .set("ROUTING__QUEUE_TIMEOUT", "3s")
        .start()
        .unwrap();
    let mut script =
        Python::converse("refusals.py", &[sdk, &relay.ready.public_url, MODEL]).unwrap();
    let mut raised = Map::new();
    for (behaviour, cases) in steps(&relay, sdk).await {
        engine.then(behaviour);
        raised.extend(script.ask(&cases).unwrap().as_object().unwrap().clone());
    }
    let file = repository().join("tests/golden").join(format!("{sdk}.json"));
    let found = Value::Object(raised);
    if std::env::var_os("RELAY_BLESS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(&file, format!("{found:#}\n")).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    for (case, expected) in golden.as_object().unwrap() {
        assert_eq!(&found[case], expected, "{sdk}: {case}");
    }
    assert_eq!(
        found.as_object().unwrap().keys().collect::<Vec<_>>(),
        golden.as_object().unwrap().keys().collect::<Vec<_>>(),
        "{sdk}: run with RELAY_BLESS=1 when cases were added"
    );
}

/// What the engine does, and the cases that are tried meanwhile.
async fn steps(relay: &Relay, sdk: &str) -> Vec<(Script, Value)> {
    let rich = relay.ready.api_key.as_str();
    let poor = relay.account(DEV_TIER, "0").unwrap().key;
    let spent = relay.account(DEV_TIER, "1").unwrap();
    relay.admin(&["keys", "update", &spent.key_id, "--budget", "0"]).unwrap();
    let revoked = relay.account(DEV_TIER, "1").unwrap();
    relay.admin(&["keys", "revoke", &revoked.key_id, "--reason", "test"]).unwrap();
    let barred = relay.account(DEV_TIER, "1").unwrap();
    let scope = format!("direct.{sdk}.{MODEL}");
    relay.admin(&["keys", "update", &barred.key_id, "--deny", &scope]).unwrap();
    let limited = relay.account("basic", "1").unwrap();
    use_up(relay, &limited).await;
    let long_name = "x".repeat(300);
    let wrong = match sdk {
        // Its client checks the other fields itself.
        "ollama" => json!({"key": rich, "model": long_name}),
        "anthropic" => json!({"key": rich, "body": {"top_p": 9}}),
        _ => json!({"key": rich, "body": {"temperature": 9}}),
    };
    let mut cases = Map::new();
    let mut add = |name: &str, case: Value| {
        let mut streamed = case.clone();
        streamed["stream"] = json!(true);
        cases.insert(name.to_owned(), case);
        cases.insert(format!("{name}, streamed"), streamed);
    };
    add("401 unknown key", json!({"key": "relay_sk_0000000000000000"}));
    add("401 revoked key", json!({"key": revoked.key}));
    add("402 no credit", json!({"key": poor}));
    add("402 no budget", json!({"key": spent.key}));
    add("403 unknown model", json!({"key": rich, "model": "no/such-model"}));
    add("403 scope denied", json!({"key": barred.key}));
    add("422 bad field", wrong);
    add("413 too large", json!({"key": rich, "prompt_bytes": 1_200_000}));
    add("429 rate limited", json!({"key": limited.key}));
    if sdk != "ollama" {
        add("async", json!({"key": rich, "body": {"async": true}}));
        add("422 unknown field", json!({"key": rich, "body": {"zz_unknown": 1}}));
    }
    cases.insert("404 no such model".to_owned(), json!({"key": rich, "look_up": "none"}));
    let both = |name: &str| json!({name: {"key": rich}, format!("{name}, streamed"): {"key": rich, "stream": true}});
    let streamed = |name: &str| json!({name: {"key": rich, "stream": true}});
    let refused = r#"{"error":{"message":"the prompt is too long","code":400}}"#;
    vec![
        (tokens(2), Value::Object(cases)),
        (Script::Refuse(400, refused), both("400 refused by the engine")),
        (Script::Refuse(500, "{}"), both("502 the engine failed")),
        (Script::Html, both("502 not in shape")),
        (Script::HangBeforeFirstByte, both("504 too late")),
        (Script::EndAfter(3), streamed("broken in the middle")),
        (Script::HangAfter(3), streamed("hung in the middle")),
        (Script::Refuse(503, "{}"), both("503 busy")),
    ]
}

/// Spends what a minute allows.
async fn use_up(relay: &Relay, account: &relay_tests::Account) {
    let caller = relay.caller(account);
    eventually("the limit", async || {
        let route = relay_tests::Route::Openai;
        let answer = caller.chat(route, &route.body(MODEL, 2, false)).await?;
        Ok((answer.status == 429).then_some(()))
    })
    .await
    .unwrap();
}
