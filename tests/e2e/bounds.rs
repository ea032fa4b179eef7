//! Bounds of size and time, each with its documented error and what it costs.

use std::time::Duration;

use relay_tests::scripted::{MODEL, Script, Scripted, WORD};
use relay_tests::{Account, Answer, Caller, DEV_TIER, Relay, Route, eventually};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::start::{over_scripted_with, tokens};

const CREDIT_NCR: i64 = 1_000_000_000;

async fn bounded() -> (Scripted, Relay) {
    over_scripted_with(tokens(3), |options| {
        options
            .set("HTTP__MAX_BODY_MIB", "1")
            .set("HTTP__HEAD_TIMEOUT", "700ms")
            .set("HTTP__BODY_TIMEOUT", "700ms")
            .set("CHAT__FIRST_BYTE_TIMEOUT", "600ms")
            .set("CHAT__IDLE_TIMEOUT", "900ms")
            .set("CHAT__TOTAL_TIMEOUT", "3s")
    })
    .await
}

fn rich(relay: &Relay) -> (Account, Caller) {
    let account = relay.account(DEV_TIER, "1").unwrap();
    let caller = relay.caller(&account);
    (account, caller)
}

/// The envelope of the contract, whatever the surface.
fn check_envelope(answer: &Answer, outcome: &str, kind: &str) {
    assert_eq!(answer.outcome(), outcome, "{}", answer.text);
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["source"]), (&kind.into(), &"client".into()), "{error}");
    assert_eq!(error["request_id"], answer.header("x-request-id"), "{error}");
    assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
}

/// Nothing was reserved, charged or sent to the engine.
fn check_untouched(relay: &Relay, engine: &Scripted, account: &Account) {
    let customer = relay.customer(account).unwrap();
    assert_eq!(customer["balance_ncr"], CREDIT_NCR, "{customer}");
    assert_eq!(customer["held_ncr"], 0, "{customer}");
    assert!(relay.requests(account).unwrap().is_empty());
    assert_eq!(engine.requests(), 0);
}

#[tokio::test]
async fn a_head_too_large_is_refused_in_the_envelope() {
    let (engine, relay) = bounded().await;
    let (account, caller) = rich(&relay);
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for (caller, version) in
        [(caller.clone(), http::Version::HTTP_11), (caller.through(http2), http::Version::HTTP_2)]
    {
        let chat = || {
            caller
                .request(Method::POST, Route::Openai.path())
                .header("content-type", "application/json")
                .body(Route::Openai.body(MODEL, 8, false).to_string())
        };
        for bytes in [16 * 1024, 40_000, 100_000] {
            let sent = chat().header("x-wide", "y".repeat(bytes)).send().await.unwrap();
            assert_eq!(sent.version(), version);
            let answer = Answer::read(sent).await.unwrap();
            check_envelope(&answer, "431 HEADERS_TOO_LARGE", "validation");
        }
        let many = (0..150).fold(chat(), |request, n| request.header(format!("x-{n}"), "1"));
        let answer = Answer::read(many.send().await.unwrap()).await.unwrap();
        check_envelope(&answer, "431 HEADERS_TOO_LARGE", "validation");
        // Where the HTTP engine itself gives up, it says so or closes, and never serves.
        if let Ok(sent) = chat().header("x-wide", "y".repeat(400_000)).send().await {
            assert_eq!(sent.status(), 431);
        }
    }
    check_untouched(&relay, &engine, &account);
}

#[tokio::test]
async fn a_body_too_large_is_refused_with_and_without_its_length() {
    let (engine, relay) = bounded().await;
    let (account, caller) = rich(&relay);
    let mut body = Route::Openai.body(MODEL, 8, false);
    body["messages"][0]["content"] = Value::from("z".repeat(1_100_000));
    let text = body.to_string();
    let chat = || {
        caller
            .request(Method::POST, Route::Openai.path())
            .header("content-type", "application/json")
    };
    let announced = chat().body(text.clone()).send().await.unwrap();
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        text.as_bytes().chunks(50_000).map(|piece| Ok(piece.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let chunked = chat().body(chunked).send().await.unwrap();
    for sent in [announced, chunked] {
        let answer = Answer::read(sent).await.unwrap();
        check_envelope(&answer, "413 BODY_TOO_LARGE", "validation");
    }
    check_untouched(&relay, &engine, &account);
}

/// Sends bytes, leaves the connection open and reads until the other side closes it.
async fn stand_still(relay: &Relay, opening: String) -> String {
    let addr = relay.ready.public_url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(opening.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_client_that_stands_still_is_let_go_and_holds_nobody_up() {
    let (engine, relay) = bounded().await;
    let (account, caller) = rich(&relay);
    let path = Route::Openai.path();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n",
        account.key
    );
    // A head without an end: there is nobody to answer yet, so the connection is closed.
    let slow_heads = [String::new(), "POST /v2".to_owned(), head.clone()];
    let cut = slow_heads.map(|opening| stand_still(&relay, opening));
    let (cut, answer) = tokio::join!(futures::future::join_all(cut), caller.get("/v2/models"));
    assert_eq!(answer.unwrap().status, 200, "others are served meanwhile");
    assert!(cut.iter().all(String::is_empty), "{cut:?}");
    // A body without an end: announced, and in chunks.
    for opening in [
        format!("{head}content-length: 500\r\n\r\n{{\"model\":"),
        format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{\"mod\r\n"),
    ] {
        let said = stand_still(&relay, opening).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        let (fields, body) = said.split_once("\r\n\r\n").unwrap();
        let json: Value = serde_json::from_str(body).unwrap();
        let error = &json["error"];
        assert_eq!(error["code"], "REQUEST_TIMEOUT", "{json}");
        assert_eq!((&error["type"], &error["source"]), (&"timeout".into(), &"client".into()));
        assert!(fields.contains(error["request_id"].as_str().unwrap()), "{said}");
    }
    check_untouched(&relay, &engine, &account);
}

#[tokio::test]
async fn an_engine_that_does_not_begin_in_time_costs_nothing() {
    let (engine, relay) = bounded().await;
    engine.then(Script::HangBeforeFirstByte);
    for stream in [true, false] {
        let (account, caller) = rich(&relay);
        let body = Route::Openai.body(MODEL, 8, stream);
        let answer = caller.chat(Route::Openai, &body).await.unwrap();
        assert_eq!(answer.status, 504, "{}", answer.text);
        let code = &answer.json()["error"]["code"];
        // The shape of a stream's failure before its first chunk has the status as its code.
        let expected = if stream { Value::from(504) } else { Value::from("UPSTREAM_TIMEOUT") };
        assert_eq!(*code, expected, "{}", answer.text);
        let rows = relay.settled(&account, 1).await.unwrap();
        assert_eq!(rows[0].outcome(), "failed UPSTREAM_TIMEOUT");
        assert_eq!(relay.check_charges(&account, CREDIT_NCR, &rows).unwrap(), 0);
    }
    let left = "the engine to be told that nobody waits";
    eventually(left, async || Ok((engine.requests() == 2).then_some(()))).await.unwrap();
    relay.audit().unwrap();
}

#[tokio::test]
async fn a_stream_that_stands_still_or_never_ends_is_billed_for_what_came() {
    let (engine, relay) = bounded().await;
    let gap = Duration::from_millis(40);
    for (script, idle) in
        [(Script::HangAfter(5), true), (Script::Tokens { count: 1500, gap }, false)]
    {
        for route in [Route::Openai, Route::Anthropic, Route::Ollama] {
            engine.then(script.clone());
            let (account, caller) = rich(&relay);
            let mut stream = caller.stream(route, &route.body(MODEL, 2000, true)).await.unwrap();
            while stream.more().await.unwrap_or(false) {}
            let text = stream.text.clone();
            let who = format!("{route:?} {script:?}: {text}");
            assert!(text.contains("error") && !text.contains(route.end_marker()), "{who}");
            let read = text.matches(WORD).count() as u64;
            assert!(if idle { read == 5 } else { read > 5 }, "{read} {who}");
            let rows = relay.settled(&account, 1).await.unwrap();
            assert_eq!(rows[0].outcome(), "failed UPSTREAM_TIMEOUT", "{who}");
            assert_eq!(rows[0].tokens().output, read, "{who}");
            assert!(relay.check_charges(&account, CREDIT_NCR, &rows).unwrap() > 0, "{who}");
        }
    }
    relay.audit().unwrap();
}
