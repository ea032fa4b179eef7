//! Traces as a collector receives them.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use relay_tests::collector::{Collector, Exported};
use relay_tests::scripted::{MODEL, PROMPT_TOKENS, Script};
use relay_tests::{Answer, CANARY, Caller, DEV_TIER, Relay, Route, eventually};
use reqwest::Method;
use serde_json::json;

use crate::start::{over_scripted_with, tokens};

const PARENT: &str = "b7ad6b7169203331";

/// A chat within a trace of the caller's; the trace's last digits and its flags are given.
async fn chat(caller: &Caller, stream: bool, trace: u8, flags: &str) -> Answer {
    let mut body = Route::Openai.body(MODEL, 8, stream);
    body["messages"][0]["content"] = json!(format!("my password is {CANARY}"));
    let request = caller
        .request(Method::POST, &format!("{}?note={CANARY}", Route::Openai.path()))
        .header("content-type", "application/json")
        .header("x-note", CANARY)
        .header("user-agent", CANARY)
        .header("traceparent", format!("00-{}-{PARENT}-{flags}", trace_id(trace)))
        .body(body.to_string());
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

fn trace_id(trace: u8) -> String {
    format!("0af7651916cd43dd8448eb211c8031{trace:02x}")
}

/// The spans of one trace, by name.
fn of_trace(spans: &[Exported], trace: u8) -> Vec<(String, Exported)> {
    let own = spans.iter().filter(|exported| exported.ids()[0] == trace_id(trace));
    own.map(|exported| (exported.span.name.clone(), exported.clone())).collect()
}

fn named<'a>(spans: &'a [(String, Exported)], name: &str) -> &'a Exported {
    let found: Vec<_> = spans.iter().filter(|(known, _)| known == name).collect();
    let names: Vec<_> = spans.iter().map(|(name, _)| name).collect();
    assert_eq!(found.len(), 1, "{name} once in {names:?}");
    &found[0].1
}

#[tokio::test]
async fn a_sampled_request_arrives_with_its_stages_and_no_secret() {
    let collector = Collector::start().unwrap();
    let (engine, relay) = over_scripted_with(tokens(3), |options| {
        options
            .set("TELEMETRY__OTLP_ENDPOINT", collector.url.clone())
            .set("TELEMETRY__TRACE_SAMPLE_PPM", "0")
    })
    .await;
    let account = relay.account(DEV_TIER, "1").unwrap();
    let caller = relay.caller(&account);
    assert_eq!(chat(&caller, false, 1, "01").await.status, 200);
    let (sent, _) = engine.last().unwrap();
    assert_eq!(chat(&caller, true, 2, "01").await.status, 200);
    engine.then(Script::RefuseEchoing(500));
    assert_eq!(chat(&caller, false, 3, "01").await.status, 502);
    engine.then(tokens(3));
    // The caller decided against it; the other made no decision and the share is nothing.
    assert_eq!(chat(&caller, false, 4, "00").await.status, 200);
    assert_eq!(
        caller.chat(Route::Vllm, &Route::Vllm.body(MODEL, 8, false)).await.unwrap().status,
        200
    );
    relay.settled(&account, 5).await.unwrap();
    let secrets = [account.key.clone(), relay.ready.operator_token.clone(), CANARY.to_owned()];
    // What was not sent yet goes out before the end.
    relay.stop().unwrap();
    let spans = collector.spans();
    for exported in &spans {
        assert_eq!(exported.service, "relayd");
        assert!((1..=3).any(|trace| exported.ids()[0] == trace_id(trace)), "{exported:?}");
        let shown = format!("{exported:?}");
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
        assert!(!shown.contains("cannot do"), "the engine's words: {shown}");
    }

    let whole = of_trace(&spans, 1);
    let request = named(&whole, "POST /v2/openai/v1/chat/completions");
    assert_eq!(request.ids()[2], PARENT, "the caller's span is its parent");
    assert_eq!(request.span.kind(), SpanKind::Server);
    assert_eq!(request.attribute("http.request.method"), "POST");
    assert_eq!(request.attribute("http.route"), "/v2/openai/v1/chat/completions");
    assert_eq!(request.attribute("http.response.status_code"), "200");
    let chat = named(&whole, "chat");
    assert_eq!(chat.ids()[2], request.ids()[1]);
    assert_eq!(chat.attribute("gen_ai.request.model"), MODEL);
    assert_eq!(chat.attribute("gen_ai.usage.input_tokens"), PROMPT_TOKENS.to_string());
    assert_eq!(chat.attribute("gen_ai.usage.output_tokens"), "3");
    assert_eq!(chat.attribute("relay.outcome"), "completed");
    for stage in ["hold", "queue", "dispatch", "settle"] {
        let stage = named(&whole, stage);
        assert_eq!(stage.ids()[2], chat.ids()[1], "{stage:?}");
        let (began, ended) = (stage.span.start_time_unix_nano, stage.span.end_time_unix_nano);
        assert!(began >= chat.span.start_time_unix_nano, "{stage:?}");
        assert!(ended <= chat.span.end_time_unix_nano, "{stage:?}");
    }
    let dispatch = named(&whole, "dispatch");
    assert_eq!(dispatch.span.kind(), SpanKind::Client);
    assert!(!dispatch.attribute("relay.backend").is_empty());
    assert_eq!(dispatch.attribute("relay.attempt"), "1");
    let heard = sent["traceparent"].to_str().unwrap();
    let [trace, span, _] = dispatch.ids();
    assert_eq!(heard, format!("00-{trace}-{span}-01"), "the engine's spans belong to the attempt");
    let (queue, settle) = (named(&whole, "queue"), named(&whole, "settle"));
    assert!(queue.span.end_time_unix_nano <= dispatch.span.start_time_unix_nano);
    assert!(dispatch.span.end_time_unix_nano <= settle.span.start_time_unix_nano);
    assert!(whole.iter().all(|(name, _)| name != "stream"), "a whole answer is not relayed");

    let streamed = of_trace(&spans, 2);
    let (stream, settle) = (named(&streamed, "stream"), named(&streamed, "settle"));
    assert_eq!(stream.ids()[2], named(&streamed, "chat").ids()[1]);
    assert!(stream.span.end_time_unix_nano <= settle.span.start_time_unix_nano);

    let failed = of_trace(&spans, 3);
    let request = named(&failed, "POST /v2/openai/v1/chat/completions");
    assert_eq!(request.attribute("http.response.status_code"), "502");
    for name in ["chat", "dispatch"] {
        let span = named(&failed, name);
        assert_eq!(span.attribute("error.type"), "UPSTREAM_ERROR");
        assert_eq!(span.span.status.as_ref().unwrap().code(), StatusCode::Error);
    }
}

#[tokio::test]
async fn a_collector_that_is_away_changes_nothing_for_requests() {
    let nobody = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let (_engine, relay): (_, Relay) = over_scripted_with(tokens(3), |options| {
        options
            .set("TELEMETRY__OTLP_ENDPOINT", nobody)
            .set("TELEMETRY__TRACE_SAMPLE_PPM", "1000000")
    })
    .await;
    let account = relay.account(DEV_TIER, "1").unwrap();
    let caller = relay.caller(&account);
    for n in 0..20 {
        let route = Route::ALL[n % 4];
        let answer = caller.chat(route, &route.body(MODEL, 8, n % 2 == 0)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let rows = relay.settled(&account, 20).await.unwrap();
    relay.check_charges(&account, 1_000_000_000, &rows).unwrap();
    let ops = Caller::at(&relay.ready.ops_url);
    eventually("readiness", async || Ok((ops.get("/readyz").await?.status == 200).then_some(())))
        .await
        .unwrap();
    relay.stop().unwrap();
}
