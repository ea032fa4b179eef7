//! What is seen from outside: metrics, health, and no secret anywhere.

use std::path::Path;

use relay_tests::scripted::{MODEL, Script};
use relay_tests::{Answer, Caller, DEV_TIER, Route, eventually};
use reqwest::Method;
use serde_json::json;
use tokio::time::Duration;

use crate::start::{over_scripted, over_scripted_with, tokens};

#[tokio::test]
async fn metrics_have_standard_names_and_units() {
    let (_engine, relay) = over_scripted(tokens(4)).await;
    let caller = Caller::of(&relay);
    for route in Route::ALL {
        for stream in [false, true] {
            let answer = caller.chat(route, &route.body(MODEL, 8, stream)).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
    }
    caller.with_key("relay_sk_none").get("/v2/models").await.unwrap();
    let limited = relay.account("basic", "1").unwrap();
    for _ in 0..16 {
        let body = Route::Openai.body(MODEL, 4, false);
        relay.caller(&limited).chat(Route::Openai, &body).await.unwrap();
    }
    let ops = Caller::at(&relay.ready.ops_url);
    let metrics = ops.get("/metrics").await.unwrap();
    assert!(metrics.header("content-type").starts_with("text/plain"), "{:?}", metrics.headers);
    let text = metrics.text;
    for (name, kind) in [
        ("http_server_requests_total", "counter"),
        ("http_server_request_duration_seconds", "histogram"),
        ("http_server_active_requests", "gauge"),
        ("gen_ai_server_time_to_first_token_seconds", "histogram"),
        ("gen_ai_server_time_per_output_token_seconds", "histogram"),
        ("gen_ai_server_request_duration_seconds", "histogram"),
        ("gen_ai_server_token_usage_total", "counter"),
        ("relay_generations_total", "counter"),
        ("relay_queue_depth", "gauge"),
        ("relay_queue_wait_seconds", "histogram"),
        ("relay_backend_running", "gauge"),
        ("relay_backend_up", "gauge"),
        ("relay_breaker_state", "gauge"),
        ("relay_ledger_hold_seconds", "histogram"),
        ("relay_ledger_settle_seconds", "histogram"),
        ("relay_ledger_batch_size", "histogram"),
        ("relay_rate_limited_total", "counter"),
        ("relay_build_info", "gauge"),
    ] {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}: {text}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    for line in [
        r#"http_server_requests_total{http_route="/v2/openai/v1/chat/completions",http_response_status_code="200"}"#,
        r#"http_server_requests_total{http_route="/v2/models",http_response_status_code="401"} 1"#,
        r#"relay_rate_limited_total{limit="direct"} 1"#,
        r#"gen_ai_server_token_usage_total{gen_ai_request_model="scripted",gen_ai_token_type="out_text"} "#,
        r#"relay_generations_total{gen_ai_request_model="scripted",outcome="completed"} 23"#,
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Each of 23 generations said four words and heard ten.
    let tokens = |kind: &str| {
        let label = format!("gen_ai_token_type=\"{kind}\"}} ");
        text.lines().find_map(|line| line.split_once(&label)?.1.parse::<u64>().ok()).unwrap()
    };
    assert_eq!((tokens("out_text"), tokens("in_uncached")), (23 * 4, 23 * 10));
    assert!(!text.contains(&limited.customer) && !text.contains(&limited.key_id), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_before_the_process_does() {
    let gap = Duration::from_millis(50);
    let (_engine, mut relay) = over_scripted_with(Script::Tokens { count: 4000, gap }, |options| {
        options.set("DRAIN__DEADLINE", "3s")
    })
    .await;
    let ops = Caller::at(&relay.ready.ops_url);
    assert_eq!(ops.get("/livez").await.unwrap().status, 200);
    let ready = ops.get("/readyz").await.unwrap();
    assert_eq!((ready.status, ready.text.as_str()), (200, "ready\n"));
    let body = Route::Openai.body(MODEL, 4096, true);
    let mut stream = Caller::of(&relay).stream(Route::Openai, &body).await.unwrap();
    stream.until("word", 1).await.unwrap();
    relay.signal("TERM");
    let refused = eventually("the drain to show", async || {
        let answer = ops.get("/readyz").await?;
        Ok((answer.status == 503).then_some(answer))
    })
    .await
    .unwrap();
    assert_eq!(refused.text, "draining\n");
    assert_eq!(ops.get("/livez").await.unwrap().status, 200, "it still lives");
    assert!(stream.more().await.unwrap(), "what runs goes on");
    assert_eq!(relay.wait(Duration::from_secs(5)).unwrap().code(), Some(0));
}

#[tokio::test]
async fn no_secret_and_nothing_a_client_said_is_logged_or_repeated() {
    let (engine, relay) =
        over_scripted_with(tokens(2), |options| options.set("TELEMETRY__LOG_FILTER", "debug"))
            .await;
    let account = relay.account(DEV_TIER, "1").unwrap();
    let caller = relay.caller(&account);
    let mut answers = Vec::new();
    let canary = "canary-7f3a91";
    let wrong_key = format!("relay_sk_{canary}");
    for route in Route::ALL {
        for stream in [false, true] {
            let mut body = route.body(MODEL, 4, stream);
            body["messages"][0]["content"] = json!(format!("my password is {canary}"));
            answers.push(send(&caller, route, canary, &body.to_string()).await);
            body["temperature"] = json!(format!("{canary} is no number"));
            body["options"] = json!({"temperature": canary});
            answers.push(send(&caller, route, canary, &body.to_string()).await);
            let cut = format!("{{\"model\": \"{canary}");
            answers.push(send(&caller, route, canary, &cut).await);
            answers.push(send(&caller.with_key(&wrong_key), route, canary, "{}").await);
        }
        engine.then(Script::Refuse(500, "{\"error\":\"the engine's own words\"}"));
        answers.push(caller.chat(route, &route.body(MODEL, 4, false)).await.unwrap());
        engine.then(tokens(2));
    }
    for path in ["/v2/customer/keys", "/v2/customer/usage", "/v2/customer/profile", "/v2/nothing"] {
        answers.push(caller.get(&format!("{path}?limit={canary}")).await.unwrap());
    }
    answers.push(caller.get(&format!("/v2/customer/usage/{}", account.key)).await.unwrap());
    relay.settled(&account, 1).await.unwrap();
    let ops = Caller::at(&relay.ready.ops_url);
    answers.push(ops.get("/metrics").await.unwrap());
    let secrets = [
        account.key.as_str(),
        relay.ready.api_key.as_str(),
        relay.ready.operator_token.as_str(),
        relay.ready.join_token.as_str(),
        canary,
    ];
    for answer in &answers {
        assert!(!answer.text.contains("the engine's own words"), "{}", answer.text);
        for secret in secrets {
            assert!(!answer.text.contains(secret), "an answer repeats: {}", answer.text);
            assert!(!format!("{:?}", answer.headers).contains(secret));
        }
    }
    let events =
        relay.command(&["admin", "--addr", &relay.ready.admin_addr, "events", "list", "--json"]);
    let events = events.unwrap();
    let log = relay.log();
    assert!(log.contains("chat ended"), "the log was looked at");
    for secret in secrets {
        assert!(!log.contains(secret), "the log holds {secret}: {}", around(&log, secret));
        assert!(!events.contains(secret), "the events hold {secret}");
    }
    // Nor does the database, but for what the developer's own secrets file is for.
    for secret in [account.key.as_str(), canary] {
        for file in files(&relay.ready.data_dir) {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds {secret}", file.display());
        }
    }
}

#[tokio::test]
async fn an_engines_own_words_reach_the_client_that_caused_them_and_nobody_else() {
    let (engine, relay) = over_scripted_with(tokens(2), |options| {
        options.set("TELEMETRY__LOG_FILTER", "debug,relayd=trace,relay=trace")
    })
    .await;
    let account = relay.account(DEV_TIER, "1").unwrap();
    let caller = relay.caller(&account);
    let canary = "canary-engine-4e81";
    let mut sent: u64 = 0;
    for route in Route::ALL {
        for (script, theirs) in [
            (Script::RefuseEchoing(500), false),
            (Script::RefuseEchoing(401), false),
            (Script::RefuseEchoing(400), true),
            (Script::ErrorEventEchoing(0, 500), false),
            (Script::ErrorEventEchoing(3, 500), false),
            (Script::ErrorEventEchoing(3, 400), true),
            (Script::GarbageEchoing(0), false),
            (Script::GarbageEchoing(3), false),
        ] {
            for stream in [false, true] {
                engine.then(script.clone());
                let mut body = route.body(MODEL, 8, stream);
                body["messages"][0]["content"] = json!(format!("my password is {canary}"));
                let answer = caller.chat(route, &body).await.unwrap();
                sent += 1;
                let what = format!("{route:?} {script:?} {stream}: {}", answer.text);
                assert!(answer.status != 200 || stream, "{what}");
                assert!(theirs || !answer.text.contains(canary), "{what}");
                // A success between two failures keeps the breaker closed.
                engine.then(tokens(2));
                caller.chat(route, &route.body(MODEL, 4, false)).await.unwrap();
                sent += 1;
            }
        }
    }
    relay.settled(&account, 1).await.unwrap();
    assert!(engine.requests() >= sent, "{} of {sent}", engine.requests());
    let ops = Caller::at(&relay.ready.ops_url).get("/metrics").await.unwrap().text;
    let at = ["admin", "--addr", &relay.ready.admin_addr, "--json"];
    let face = |words: &[&str]| relay.command(&[at.as_slice(), words].concat()).unwrap();
    let pages = [
        ("the log", relay.log()),
        ("the metrics", ops),
        ("the events", face(&["events", "list"])),
        ("the audit log", face(&["audit", "list"])),
        ("the backends", face(&["backends", "list"])),
        ("the usage", face(&["requests", "list"])),
    ];
    assert!(pages[0].1.contains("the backend did not answer"), "the log was looked at");
    for (what, text) in &pages {
        assert!(!text.contains(canary), "{what}: {}", around(text, canary));
        assert!(!text.contains("cannot do"), "{what}: {}", around(text, "cannot do"));
    }
    for file in files(&relay.ready.data_dir) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{} holds the engine's words", file.display());
    }
}

async fn send(caller: &Caller, route: Route, canary: &str, body: &str) -> Answer {
    let request = caller
        .request(Method::POST, &format!("{}?note={canary}", route.path()))
        .header("content-type", "application/json")
        .header("x-note", canary)
        .header("cookie", canary)
        .header("user-agent", canary)
        .header("traceparent", canary)
        .body(body.to_owned());
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

fn around<'a>(text: &'a str, found: &str) -> &'a str {
    text.lines().find(|line| line.contains(found)).unwrap_or_default()
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}
