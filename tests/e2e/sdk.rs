//! The official SDKs against the real llama.cpp server, and what their conversations cost.

use relay_tests::{
    Account, DEV_TIER, Database, Llama, Python, Relay, RelayOptions, Settled, Tokens,
};
use serde_json::{Value, json};

const CREDIT_NCR: i64 = 5_000_000_000;

#[tokio::test]
async fn conversations_cost_what_they_used_on_sqlite() {
    let llama = Llama::start().unwrap();
    let relay = RelayOptions::over(&[&llama.url]).start().unwrap();
    every_sdk_converses(&relay).await;
}

#[tokio::test]
async fn conversations_cost_what_they_used_on_postgresql() {
    let llama = Llama::start().unwrap();
    let database = Database::create().await.unwrap();
    let options = RelayOptions::over(&[&llama.url]).on(&database).unwrap();
    every_sdk_converses(&options.start().unwrap()).await;
}

#[tokio::test]
async fn relays_own_client_lives_a_customers_life() {
    let llama = Llama::start().unwrap();
    let relay = RelayOptions::over(&[&llama.url]).start().unwrap();
    let account = relay.account(DEV_TIER, "5").unwrap();
    let model = &relay.ready.models[0];
    let told = Python::run("relay.py", &[&relay.ready.public_url, &account.key, model]).unwrap();
    let settled = relay.settled(&account, 2).await.unwrap();
    let sum = relay.check_charges(&account, CREDIT_NCR, &settled).unwrap();
    assert!(!told["text"].as_str().unwrap().is_empty(), "{told}");
    assert!(told["task_id"].as_str().unwrap().starts_with("direct:"), "{told}");
    assert!(told["worked"].as_u64().unwrap() > 0, "{told}");
    assert_eq!(told["listed"], json!([model]));
    assert_eq!((&told["schema"], &told["health"]), (&json!("OpenAIChatRequest"), &json!("ok")));
    assert_eq!(told["allowed"], json!([format!("direct.vllm.{model}")]));
    assert_eq!((&told["new_budget"], &told["found"]), (&json!(1.5), &json!("worker")));
    assert_eq!(
        told["refusals"],
        json!({
            "barred": ["ScopeDeniedError", "SCOPE_DENIED"],
            "spent": ["KeyBudgetExhaustedError", "KEY_BUDGET_EXHAUSTED"],
            "revoked": ["KeyRevokedError", "KEY_REVOKED"],
            "async": ["TierFeatureUnavailableError", "TIER_FEATURE_UNAVAILABLE"],
            "unknown": ["ModelNotFoundError", "MODEL_NOT_FOUND"],
            "invalid": ["ValidationError", "VALIDATION_ERROR"],
            "promote": ["CredentialNotPermittedError", "CREDENTIAL_NOT_PERMITTED"],
            "ordinary": ["KeyRevokedError", "KEY_REVOKED"],
            "guest": ["ScopeDeniedError", "SCOPE_DENIED"],
        })
    );
    assert_eq!((&told["requests"], &told["usage_keys"]), (&json!(2), &json!(2)));
    assert_eq!(ncr(&told["cost"][0]), sum, "{told}");
    assert_eq!(ncr(&told["consumed"]), sum, "{told}");
    assert_eq!(told["history"], json!(["credit_topup"]));
    assert_eq!((&told["tier"], &told["priced"]), (&json!(true), &json!(4)));
}

pub(crate) async fn every_sdk_converses(relay: &Relay) {
    for sdk in ["openai", "vllm", "anthropic", "ollama"] {
        let account = relay.account(DEV_TIER, "5").unwrap();
        let model = &relay.ready.models[0];
        let said = Python::run("converse.py", &[sdk, &relay.ready.public_url, &account.key, model])
            .unwrap();
        let settled = relay.settled(&account, 2).await.unwrap();
        assert_eq!(settled.len(), 2, "{sdk}: one row for each request");
        let sum = relay.check_charges(&account, CREDIT_NCR, &settled).unwrap();
        assert!(sum > 0, "{sdk}: a conversation is not free");
        // Newest first: the stream came second.
        for (which, request) in [("stream", &settled[0]), ("plain", &settled[1])] {
            check_answer(sdk, &said[which], request, model);
        }
        check_public_view(relay, &account, sdk, &settled, sum).await;
    }
    let table = relay.audit().unwrap();
    assert!(!table.is_empty());
}

/// What the SDK read agrees with what was billed.
fn check_answer(sdk: &str, said: &Value, request: &Settled, model: &str) {
    let who = format!("{sdk}: {said} against {}", request.row);
    assert!(!said["text"].as_str().unwrap().is_empty(), "{who}");
    assert_eq!(said["model"], model, "{who}");
    assert_eq!(request.outcome(), "completed", "{who}");
    assert_eq!(request.scope(), format!("direct.{sdk}.{model}"), "{who}");
    assert_eq!(request.row["estimated"], false, "{who}");
    let told =
        Tokens { input: said["input"].as_u64().unwrap(), output: said["output"].as_u64().unwrap() };
    assert_eq!(told, request.tokens(), "{who}");
    assert!(told.output > 0 && told.output <= 24, "{who}");
    let expected: &[&str] = match sdk {
        "anthropic" => &["max_tokens", "end_turn"],
        _ => &["length", "stop"],
    };
    assert!(expected.contains(&said["finish"].as_str().unwrap()), "{who}");
    if sdk != "ollama" && said.get("task_id").is_some() {
        assert!(said["task_id"].as_str().unwrap().starts_with("direct:"), "{who}");
        assert_eq!(said["mode"], "direct", "{who}");
    }
}

/// What the customer reads about itself agrees too.
async fn check_public_view(
    relay: &Relay,
    account: &Account,
    sdk: &str,
    settled: &[Settled],
    sum: i64,
) {
    let caller = relay.caller(account);
    let usage = caller.get("/v2/customer/usage").await.unwrap();
    assert_eq!(usage.status, 200, "{}", usage.text);
    let usage = usage.json();
    assert_eq!(usage["keys"].as_array().unwrap().len(), 1, "{usage}");
    assert_eq!(usage["keys"][0]["key_id"], account.key_id, "{usage}");
    let used = &usage["keys"][0]["analytics"]["lifetime"]["direct"][sdk][&relay.ready.models[0]];
    let total = settled
        .iter()
        .map(Settled::tokens)
        .fold((0, 0), |sum, tokens| (sum.0 + tokens.input, sum.1 + tokens.output));
    assert_eq!(used["requests"], 2, "{usage}");
    assert_eq!(
        (used["input_tokens"].as_u64(), used["output_tokens"].as_u64()),
        (Some(total.0), Some(total.1)),
        "{usage}"
    );
    assert_eq!(ncr(&used["credits"]), sum, "{usage}");
    let credits = caller.get("/v2/customer/credits").await.unwrap().json();
    assert_eq!(ncr(&credits["balance"]), CREDIT_NCR - sum, "{credits}");
    assert_eq!(ncr(&credits["total_consumed"]), sum, "{credits}");
    assert_eq!(ncr(&credits["consumed_by_mode"]["direct"]), sum, "{credits}");
    assert_eq!(ncr(&credits["total_allocated"]), CREDIT_NCR, "{credits}");
}

/// US dollars of the public API in nano-credits, exactly: from the number's digits.
fn ncr(usd: &Value) -> i64 {
    let text = usd.to_string();
    let number: f64 = text.parse().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "a few dollars")]
    let ncr = (number * 1e9).round() as i64;
    ncr
}
