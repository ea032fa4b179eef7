//! Engines that fail, clients that leave: what is shown, what is billed.

use relay_tests::scripted::{MODEL, PROMPT_TOKENS, Script, Scripted, WORD};
use relay_tests::{Account, Caller, DEV_TIER, Llama, Relay, RelayOptions, Route, eventually};
use serde_json::{Value, json};
use tokio::time::Duration;

use crate::start::{over_scripted, over_scripted_with, tokens};

const CREDIT: &str = "5";
const CREDIT_NCR: i64 = 5_000_000_000;

fn rich(relay: &Relay) -> (Account, Caller) {
    let account = relay.account(DEV_TIER, CREDIT).unwrap();
    let caller = relay.caller(&account);
    (account, caller)
}

fn words(text: &str) -> u64 {
    text.matches(WORD).count() as u64
}

#[tokio::test]
async fn a_reader_who_leaves_pays_for_what_was_delivered() {
    let gap = Duration::from_millis(20);
    let (engine, relay) = over_scripted(Script::Tokens { count: 800, gap }).await;
    let mut before = 0;
    for route in Route::ALL {
        let (account, caller) = rich(&relay);
        let mut stream = caller.stream(route, &route.body(MODEL, 1000, true)).await.unwrap();
        stream.until(WORD, 5).await.unwrap();
        let read = words(&stream.text);
        drop(stream);
        let rows = relay.settled(&account, 1).await.unwrap();
        assert_eq!(rows.len(), 1, "{route:?}");
        assert_eq!(rows[0].outcome(), "cancelled CANCELLED", "{route:?}");
        let billed = rows[0].tokens().output;
        assert!(billed >= read, "{route:?}: read {read}, billed {billed}");
        eventually("the engine to be told", async || {
            Ok((engine.cancelled() > before).then_some(()))
        })
        .await
        .unwrap();
        before = engine.cancelled();
        let sent = engine.sent();
        assert!(billed <= sent, "{route:?}: {billed} of {sent}");
        assert!(billed < 700, "{route:?}: the engine's work was ended, not drained: {billed}");
        relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
    }
    assert_eq!((engine.cancelled(), engine.requests()), (4, 4));
    relay.audit().unwrap();
}

#[tokio::test]
async fn usage_is_what_the_engine_says_unless_it_cannot_be() {
    let (engine, relay) = over_scripted(tokens(7)).await;
    for route in Route::ALL {
        for stream in [false, true] {
            let (account, caller) = rich(&relay);
            for script in [
                tokens(7),
                Script::CumulativeUsage { count: 7 },
                Script::NoUsage { count: 7 },
                Script::AbsurdUsage,
            ] {
                engine.then(script);
                let answer = caller.chat(route, &route.body(MODEL, 9, stream)).await.unwrap();
                assert_eq!(answer.status, 200, "{route:?} {stream}: {}", answer.text);
            }
            let rows = relay.settled(&account, 4).await.unwrap();
            let who = format!("{route:?} {stream}: {rows:?}");
            let [absurd, missing, cumulative, plain] = &rows[..] else { panic!("{who}") };
            for row in [plain, cumulative] {
                let tokens = row.tokens();
                assert_eq!((tokens.input, tokens.output), (PROMPT_TOKENS, 7), "{who}");
                assert_eq!(row.row["estimated"], false, "{who}");
            }
            assert_eq!(missing.tokens().output, 7, "our own count: {who}");
            assert!(missing.tokens().input > 0, "missing is not zero: {who}");
            assert_eq!(missing.row["estimated"], true, "{who}");
            assert!(absurd.tokens().output <= 9, "never above what was allowed: {who}");
            assert!(absurd.charged() >= 0, "{who}");
            relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
        }
    }
    relay.audit().unwrap();
}

#[tokio::test]
async fn an_engine_that_hangs_is_left_before_its_first_byte() {
    let hung = Scripted::start(Script::HangBeforeFirstByte).unwrap();
    let good = Scripted::start(tokens(3)).unwrap();
    let relay = RelayOptions::over(&[&hung.url, &good.url])
        .set("CHAT__FIRST_BYTE_TIMEOUT", "500ms")
        .start()
        .unwrap();
    // Each is asked in its turn.
    relay.admin(&["models", "policy", MODEL, "round-robin"]).unwrap();
    let (account, caller) = rich(&relay);
    let mut asked = 0;
    while hung.requests() == 0 || asked < 8 {
        let route = Route::ALL[asked % 4];
        let answer = caller.chat(route, &route.body(MODEL, 8, true)).await.unwrap();
        assert_eq!(answer.status, 200, "{route:?}: {}", answer.text);
        assert_eq!(words(&answer.text), 3, "{route:?}: {}", answer.text);
        assert!(answer.text.contains(route.end_marker()), "{route:?}: {}", answer.text);
        asked += 1;
        assert!(asked < 200, "the hung engine was never chosen");
    }
    let rows = relay.settled(&account, asked).await.unwrap();
    assert_eq!(rows.len(), asked, "billed once each");
    assert!(rows.iter().all(|row| row.outcome() == "completed"), "{rows:?}");
    assert_eq!(good.requests(), asked as u64);
    relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
    relay.audit().unwrap();
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_and_is_billed_for_what_came() {
    let (engine, relay) =
        over_scripted_with(tokens(1), |options| options.set("CHAT__IDLE_TIMEOUT", "700ms")).await;
    for route in Route::ALL {
        for (script, code) in [
            (Script::ResetAfter(5), "UPSTREAM_ERROR"),
            (Script::EndAfter(5), "UPSTREAM_ERROR"),
            (Script::HangAfter(5), "UPSTREAM_TIMEOUT"),
        ] {
            let (account, caller) = rich(&relay);
            engine.then(script.clone());
            let mut stream = caller.stream(route, &route.body(MODEL, 50, true)).await.unwrap();
            // Whether the connection ends well after the error event is not the point.
            while stream.more().await.unwrap_or(false) {}
            let text = stream.text.clone();
            let who = format!("{route:?} {script:?}: {text}");
            assert_eq!(words(&text), 5, "{who}");
            assert!(!text.contains(route.end_marker()), "no end marker: {who}");
            let error = match route {
                Route::Openai | Route::Vllm => "data: {\"error\":{\"message\":",
                Route::Anthropic => "event: error\ndata: {\"type\":\"error\"",
                Route::Ollama => "{\"error\":\"",
            };
            assert!(text.contains(error), "{who}");
            assert!(!text.contains("scripted\"}") && !text.contains("127.0.0.1"), "{who}");
            let rows = relay.settled(&account, 1).await.unwrap();
            assert_eq!(rows[0].outcome(), format!("failed {code}"), "{who}");
            assert_eq!(rows[0].tokens().output, 5, "{who}");
            relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
        }
    }
    relay.audit().unwrap();
}

#[tokio::test]
async fn what_fails_before_the_first_byte_is_an_error_and_free() {
    let (engine, relay) = over_scripted_with(tokens(1), |options| {
        options
            .set("CHAT__FIRST_BYTE_TIMEOUT", "500ms")
            .set("CHAT__TOTAL_TIMEOUT", "2s")
            .set("ROUTING__QUEUE_TIMEOUT", "1s")
    })
    .await;
    let said = r#"{"error":{"message":"temperature is out of reach","code":400}}"#;
    for (script, outcome) in [
        (Script::Refuse(500, "{\"error\":\"canary inside\"}"), "502 UPSTREAM_ERROR"),
        (Script::Refuse(401, "{}"), "502 PROVIDER_UNAVAILABLE"),
        (Script::Refuse(400, said), "400 UPSTREAM_INVALID_REQUEST"),
        (Script::Html, "502 PROVIDER_SCHEMA_MISMATCH"),
        (Script::HangBeforeFirstByte, "504 UPSTREAM_TIMEOUT"),
        // Last: it leaves the engine alone for a while.
        (Script::Refuse(503, "{}"), "503 CAPACITY_EXHAUSTED"),
    ] {
        let (account, caller) = rich(&relay);
        engine.then(script.clone());
        for stream in [false, true] {
            let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 8, stream)).await;
            let answer = answer.unwrap();
            let who = format!("{script:?} {stream}: {} {}", answer.status, answer.text);
            let (status, code) = outcome.split_once(' ').unwrap();
            assert_eq!(answer.status.to_string(), status, "{who}");
            if !stream {
                assert_eq!(answer.json()["error"]["code"], code, "{who}");
            }
            assert!(!answer.text.contains("canary"), "{who}");
            assert_eq!(!answer.header("retry-after").is_empty(), answer.status == 503, "{who}");
            if answer.status == 400 {
                assert!(answer.text.contains("temperature is out of reach"), "{who}");
            }
        }
        let rows = relay.settled(&account, 2).await.unwrap();
        assert!(rows.iter().all(|row| row.charged() == 0), "{script:?} {rows:?}");
        assert!(rows.iter().all(|row| row.outcome().starts_with("failed ")), "{rows:?}");
        assert_eq!(relay.balance(&account).unwrap(), CREDIT_NCR, "{script:?}");
    }
    relay.audit().unwrap();
}

#[tokio::test]
async fn wrong_requests_are_the_clients_and_leave_the_engine_to_others() {
    let llama = Llama::start().unwrap();
    let relay = RelayOptions::over(&[&llama.url]).start().unwrap();
    let (account, caller) = rich(&relay);
    let body = |wrong: Value| {
        let mut body = Route::Openai.body(&relay.ready.models[0], 4, false);
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        body
    };
    let image =
        json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    // The server answers each of them with a 500, as it does when it is broken.
    for wrong in [
        json!({"messages": [{"role": "user", "content": [image]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
        json!({"tools": [{}]}),
    ] {
        for _ in 0..3 {
            let answer = caller.chat(Route::Openai, &body(wrong.clone())).await.unwrap();
            let code = &answer.json()["error"]["code"];
            assert_eq!(answer.status, 400, "{wrong}: {}", answer.text);
            assert_eq!(code, "UPSTREAM_INVALID_REQUEST", "{wrong}");
        }
    }
    let backends = relay.admin(&["backends", "list"]).unwrap();
    assert_eq!(backends["backends"][0]["breaker"], "closed", "{backends}");
    let good = caller.chat(Route::Openai, &body(json!({}))).await.unwrap();
    assert_eq!(good.status, 200, "{}", good.text);
    let rows = relay.settled(&account, 10).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.charged() > 0).count(), 1, "{rows:?}");
}

#[tokio::test]
async fn an_error_in_place_of_a_first_event_is_an_error() {
    let (engine, relay) = over_scripted(tokens(1)).await;
    let (account, caller) = rich(&relay);
    for script in [Script::ErrorEvent, Script::Garbage] {
        engine.then(script.clone());
        for route in Route::ALL {
            let answer = caller.chat(route, &route.body(MODEL, 8, true)).await.unwrap();
            let who = format!("{script:?} {route:?}: {} {}", answer.status, answer.text);
            assert_eq!(answer.status, 502, "{who}");
            assert!(!answer.text.contains("data: "), "{who}");
        }
    }
    let rows = relay.settled(&account, 8).await.unwrap();
    assert!(rows.iter().all(|row| row.charged() == 0), "none is billed as a success: {rows:?}");
    assert_eq!(relay.balance(&account).unwrap(), CREDIT_NCR);
}

#[tokio::test]
async fn a_slow_reader_holds_the_engine_and_is_cut_in_the_end() {
    const COUNT: u64 = 4000;
    const BYTES: usize = 16 * 1024;
    let (engine, relay) =
        over_scripted_with(Script::Heavy { count: COUNT, bytes: BYTES }, |options| {
            options.set("HTTP__WRITE_STALL", "4s").set("CHAT__WINDOW_TOKENS", "131072")
        })
        .await;
    let (account, caller) = rich(&relay);
    let before = resident_kib(relay.ready.pid);
    let mut stream =
        caller.stream(Route::Openai, &Route::Openai.body(MODEL, 4096, true)).await.unwrap();
    stream.until("xxxx", 1).await.unwrap();
    // Nothing is read from here on: at some point the engine is read no further either.
    let mut seen = (0, 0);
    let held = eventually("the engine to be held", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = engine.sent();
        seen = if now == seen.0 { (now, seen.1 + 1) } else { (now, 0) };
        Ok((seen.1 == 8).then_some(now))
    })
    .await
    .unwrap();
    assert!(held < COUNT, "all {held} of {COUNT} events were taken");
    let grown = resident_kib(relay.ready.pid).saturating_sub(before);
    assert!(grown < 64 * 1024, "relayd grew by {grown} KiB");
    let rows = relay.settled(&account, 1).await.unwrap();
    assert_eq!(rows[0].outcome(), "cancelled CANCELLED", "a reader that stalls is cut");
    assert!(engine.sent() < COUNT);
    relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
    drop(stream);
}

/// Memory that a process has in RAM.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
