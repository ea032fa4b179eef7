//! Engines against a server that sends exactly the bytes of a script.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::domain::Code;

/// One step of a script.
#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    /// Waits until the client has closed the connection.
    Hang,
}

/// What the server saw.
#[derive(Debug, PartialEq)]
enum Seen {
    Request(String),
    Closed,
}

/// Answers every request with the same script, then closes.
async fn server(script: Vec<Step>) -> (SocketAddr, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (seen, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, script.clone(), seen.clone()));
        }
    });
    (addr, receiver)
}

async fn answer(mut stream: TcpStream, script: Vec<Step>, seen: mpsc::UnboundedSender<Seen>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        request.extend_from_slice(&buffer[..n]);
        if n == 0 || is_whole(&request) {
            break;
        }
    }
    let _ = seen.send(Seen::Request(String::from_utf8_lossy(&request).into_owned()));
    for step in script {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    break;
                }
                let _ = stream.flush().await;
                tokio::task::yield_now().await;
            }
            Step::Hang => {
                while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
                let _ = seen.send(Seen::Closed);
            }
        }
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn response(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n");
    vec![Step::Send(format!("{head}connection: close\r\n\r\n{body}").into_bytes())]
}

fn json(status: &str, body: &str) -> Vec<Step> {
    response(status, "content-type: application/json\r\n", body)
}

/// A head for a body that ends with the connection, then each piece by itself.
fn stream(kind: &str, pieces: &[&str]) -> Vec<Step> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
    let pieces = pieces.iter().map(|piece| Step::Send(piece.as_bytes().to_vec()));
    std::iter::once(Step::Send(head.into_bytes())).chain(pieces).collect()
}

fn engine(addr: SocketAddr, dialect: Dialect, kind: EngineKind) -> Engine {
    let base_url = format!("http://{addr}/v1");
    Engine::new(&EngineSpec { base_url, dialect, kind, credential_file: None }).unwrap()
}

fn call(stream: bool) -> ChatCall {
    ChatCall {
        body: Bytes::from_static(b"{\"model\":\"m\"}"),
        stream,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        tracestate: Some("k=v".to_owned()),
        request_id: "018f5c9e-0000-7000-8000-000000000001".to_owned(),
        first_byte_timeout: Duration::from_secs(20),
        fresh: false,
    }
}

async fn chat(script: Vec<Step>, dialect: Dialect, stream: bool) -> Result<Bytes, EngineError> {
    let (addr, _seen) = server(script).await;
    match engine(addr, dialect, EngineKind::Unknown).chat(call(stream)).await? {
        Reply::Whole(body) => Ok(body),
        Reply::Stream(mut chunks) => {
            let mut all = Vec::new();
            while let Some(chunk) = chunks.next().await {
                all.extend_from_slice(&chunk?);
            }
            Ok(all.into())
        }
    }
}

#[tokio::test]
async fn a_request_carries_our_headers_and_nothing_else() {
    for (dialect, path, accept) in [
        (Dialect::Openai, "/v1/chat/completions", "text/event-stream"),
        (Dialect::Anthropic, "/v1/messages", "text/event-stream"),
        (Dialect::Ollama, "/api/chat", "application/x-ndjson"),
    ] {
        let (addr, mut seen) = server(json("200 OK", "{}")).await;
        let _ = engine(addr, dialect, EngineKind::Unknown).chat(call(true)).await;
        let Some(Seen::Request(request)) = seen.recv().await else { panic!("no request") };
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "{\"model\":\"m\"}");
        let mut lines = head.lines();
        assert_eq!(lines.next().unwrap(), format!("POST {path} HTTP/1.1"));
        let mut headers: Vec<String> = lines.map(str::to_ascii_lowercase).collect();
        headers.sort();
        let mut expected = vec![
            format!("accept: {accept}"),
            "content-length: 13".to_owned(),
            "content-type: application/json".to_owned(),
            format!("host: {addr}"),
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            "tracestate: k=v".to_owned(),
            "x-request-id: 018f5c9e-0000-7000-8000-000000000001".to_owned(),
        ];
        if dialect == Dialect::Anthropic {
            expected.push("anthropic-version: 2023-06-01".to_owned());
            expected.sort();
        }
        assert_eq!(headers, expected);
    }
}

#[tokio::test]
async fn a_connection_that_the_engine_will_close_is_not_used_again() {
    for (kind, streams, closes) in [
        (EngineKind::Llamacpp, true, true),
        (EngineKind::Llamacpp, false, false),
        (EngineKind::Vllm, true, false),
    ] {
        let (addr, mut seen) = server(json("200 OK", "{}")).await;
        let _ = engine(addr, Dialect::Openai, kind).chat(call(streams)).await;
        let Some(Seen::Request(request)) = seen.recv().await else { panic!("no request") };
        let found = request.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        assert_eq!(found, closes, "{kind:?}, streams {streams}");
    }
}

#[tokio::test]
async fn answers_come_through_unchanged() {
    let body = r#"{"id":"x","choices":[]}"#;
    assert_eq!(chat(json("200 OK", body), Dialect::Openai, false).await.unwrap(), body);
    let untyped = response("200 OK", "", body);
    assert_eq!(chat(untyped, Dialect::Openai, false).await.unwrap(), body);

    let sse = "data: {\"choices\":[{\"delta\":{\"content\":\"an error\"}}]}\n\ndata: [DONE]\n\n";
    let ndjson = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true}\n";
    for (dialect, kind, text) in [
        (Dialect::Openai, "text/event-stream; charset=utf-8", sse),
        (Dialect::Anthropic, "text/event-stream", "event: ping\ndata: {\"type\": \"ping\"}\n\n"),
        (Dialect::Ollama, "application/x-ndjson", ndjson),
        (Dialect::Ollama, "application/json", ndjson),
    ] {
        // Cut at every byte, so that the first event is judged from every kind of piece.
        for cut in 0..text.len() {
            let script = stream(kind, &[": hello\n\n", &text[..cut], &text[cut..]]);
            let script = if dialect == Dialect::Ollama {
                stream(kind, &[&text[..cut], &text[cut..]])
            } else {
                script
            };
            let got = chat(script, dialect, true).await.unwrap();
            let got = std::str::from_utf8(&got).unwrap();
            assert_eq!(got.strip_prefix(": hello\n\n").unwrap_or(got), text, "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn refusals_say_who_is_to_blame_and_what_may_be_tried() {
    use Blame::{Backend, Client};
    use Retry::{Never, SafeElsewhere};
    let report = r#"{"error":{"message":"max_tokens\u001b[2J is too\nlarge","type":"invalid_request_error","code":400}}"#;
    for (status, blame, retry, code, busy) in [
        ("400 Bad Request", Client, Never, Code::UpstreamInvalidRequest, false),
        ("404 Not Found", Client, Never, Code::UpstreamInvalidRequest, false),
        ("413 Too Large", Client, Never, Code::UpstreamInvalidRequest, false),
        ("422 Unprocessable", Client, Never, Code::UpstreamInvalidRequest, false),
        ("401 Unauthorized", Backend, SafeElsewhere, Code::ProviderUnavailable, false),
        ("402 Payment Required", Backend, SafeElsewhere, Code::ProviderUnavailable, false),
        ("403 Forbidden", Backend, SafeElsewhere, Code::ProviderUnavailable, false),
        ("408 Timeout", Backend, SafeElsewhere, Code::CapacityExhausted, true),
        ("429 Too Many", Backend, SafeElsewhere, Code::CapacityExhausted, true),
        ("503 Unavailable", Backend, SafeElsewhere, Code::CapacityExhausted, true),
        ("529 Overloaded", Backend, SafeElsewhere, Code::CapacityExhausted, true),
        ("500 Oops", Backend, SafeElsewhere, Code::UpstreamError, false),
        ("502 Bad Gateway", Backend, SafeElsewhere, Code::UpstreamError, false),
        ("302 Found", Backend, SafeElsewhere, Code::ProviderSchemaMismatch, false),
        ("405 Not Allowed", Backend, SafeElsewhere, Code::ProviderSchemaMismatch, false),
    ] {
        for stream in [false, true] {
            let error = chat(json(status, report), Dialect::Openai, stream).await.unwrap_err();
            assert_eq!((error.blame, error.retry, error.code), (blame, retry, code), "{status}");
            assert_eq!(error.busy_for.is_some(), busy, "{status}");
            assert_eq!(error.status, Some(status[..3].parse().unwrap()));
            let told = error.fault().message;
            if blame == Client {
                assert_eq!(told, "max_tokens[2J is too large");
            } else {
                assert!(!told.contains("max_tokens"), "an engine's words are for the log: {told}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_is_read_in_every_shape_and_bounded() {
    let long = "x".repeat(100_000);
    for (kind, body, expected) in [
        ("application/json", r#"{"error":"model 'm' not found"}"#, "model 'm' not found"),
        ("application/json", r#"{"detail":"Not Found"}"#, "Not Found"),
        ("application/json", r#"{"detail":[{"msg":"bad"}]}"#, r#"[{"msg":"bad"}]"#),
        ("application/json", r#"{"object":"error","message":"no"}"#, "no"),
        ("application/json", r#"{"type":"error","error":{"type":"x","message":"no"}}"#, "no"),
        ("text/plain", "just words", "just words"),
        ("text/plain", &long, &long[..2048]),
        ("text/html", "<html>secret</html>", "the provider refused the request's parameters"),
        ("text/plain", "", "the provider refused the request's parameters"),
    ] {
        let script = response("400 Bad", &format!("content-type: {kind}\r\n"), body);
        let error = chat(script, Dialect::Openai, false).await.unwrap_err();
        assert_eq!(error.fault().message, expected);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("xxx") && !shown.contains("just words"), "{shown}");
    }
    let script = response("429 Slow", "retry-after: 7\r\n", "");
    let error = chat(script, Dialect::Openai, false).await.unwrap_err();
    assert_eq!(error.busy_for, Some(Duration::from_secs(7)));
    assert_eq!(error.fault().retry_after_s, Some(7));
    let script = response("429 Slow", "retry-after: 999999\r\n", "");
    let error = chat(script, Dialect::Openai, false).await.unwrap_err();
    assert_eq!(error.busy_for, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn what_is_no_answer_is_refused_before_anything_is_shown() {
    let page = "<!DOCTYPE html><html><body>Log in</body></html>";
    let html = "content-type: text/html; charset=utf-8\r\n";
    let mismatches = [
        (response("200 OK", html, page), false),
        (response("200 OK", html, page), true),
        (response("200 OK", "", page), true),
        (response("200 OK", "", page), false),
        (json("200 OK", page), false),
        (json("200 OK", "[]"), false),
        (json("200 OK", ""), false),
        (json("200 OK", r#"{"choices":[]}"#), true),
        (stream("text/event-stream", &[page]), true),
        (stream("text/event-stream", &["data: hello\n\n"]), true),
        (stream("text/event-stream", &["{\"choices\":[]}\n"]), true),
        (stream("text/event-stream", &[]), true),
        (stream("text/event-stream", &[": ping\n\n", "event: x\n"]), true),
        (stream("application/octet-stream", &["\u{0}\u{1}"]), true),
    ];
    for (n, (script, stream)) in mismatches.into_iter().enumerate() {
        let error = chat(script, Dialect::Openai, stream).await.unwrap_err();
        assert_eq!(error.code, Code::ProviderSchemaMismatch, "{n}: {error}");
        assert_eq!((error.blame, error.retry), (Blame::Backend, Retry::SafeElsewhere), "{n}");
    }
}

#[tokio::test]
async fn an_error_inside_a_200_is_a_failure() {
    let sse = "text/event-stream";
    for (script, dialect, stream, code) in [
        (json("200 OK", r#"{"error":"x"}"#), Dialect::Ollama, false, Code::UpstreamError),
        (
            json("200 OK", r#"{"error":{"code":429}}"#),
            Dialect::Openai,
            true,
            Code::CapacityExhausted,
        ),
        (
            stream(sse, &["data: {\"error\":{\"message\":\"x\",\"code\":400}}\n\n"]),
            Dialect::Openai,
            true,
            Code::UpstreamInvalidRequest,
        ),
        (
            stream(sse, &["data: {\"object\":\"error\",\"message\":\"x\"}\n\n"]),
            Dialect::Openai,
            true,
            Code::UpstreamError,
        ),
        (
            stream(
                sse,
                &[
                    "event: error\r\nda",
                    "ta: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\r\n\r\n",
                ],
            ),
            Dialect::Anthropic,
            true,
            Code::CapacityExhausted,
        ),
        (
            stream(sse, &["data: {\"error\":{\"message\":\"no end of line\"}}"]),
            Dialect::Openai,
            true,
            Code::UpstreamError,
        ),
        (
            stream("application/x-ndjson", &["{\"error\":\"x\"}\n"]),
            Dialect::Ollama,
            true,
            Code::UpstreamError,
        ),
    ] {
        let error = chat(script, dialect, stream).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
    // No error: the member is null, or the word stands in the text.
    for good in [
        "data: {\"error\":null,\"choices\":[]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\n",
    ] {
        assert!(chat(stream(sse, &[good]), Dialect::Openai, true).await.is_ok());
    }
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let short = ChatCall { first_byte_timeout: Duration::from_millis(50), ..call(true) };
    for script in [
        vec![Step::Hang],
        [stream("text/event-stream", &[]), vec![Step::Hang]].concat(),
        [stream("text/event-stream", &[": ping\n\n"]), vec![Step::Hang]].concat(),
    ] {
        let (addr, _seen) = server(script).await;
        let engine = engine(addr, Dialect::Openai, EngineKind::Unknown);
        let error = engine.chat(short.clone()).await.unwrap_err();
        assert_eq!((error.code, error.retry), (Code::UpstreamTimeout, Retry::SafeElsewhere));
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let engine = engine(gone, Dialect::Openai, EngineKind::Unknown);
    let error = engine.chat(call(false)).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::ProviderUnavailable, Retry::SafeElsewhere));
    assert!(matches!(engine.probe().await, Probe::Down(_)));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_an_error_and_not_retried() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = "data: {\"choices\":[]}\n\n";
    let script = vec![Step::Send(format!("{head}{:x}\r\n{chunk}\r\n", chunk.len()).into_bytes())];
    let error = chat(script, Dialect::Openai, true).await.unwrap_err();
    assert_eq!(
        (error.code, error.retry, error.blame),
        (Code::UpstreamError, Retry::Never, Blame::Backend)
    );
    // The same before anything was handed over: another backend may do better.
    let script = response("200 OK", "content-type: application/json\r\n", "{\"a\":1}");
    let Step::Send(mut bytes) = script[0].clone() else { unreachable!() };
    bytes.truncate(bytes.len() - 2);
    let error = chat(vec![Step::Send(bytes)], Dialect::Openai, false).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::UpstreamError, Retry::SafeElsewhere));
}

#[tokio::test]
async fn a_whole_answer_is_bounded() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"a\":\"";
    let piece = Step::Send(vec![b'x'; 1024 * 1024]);
    let script =
        std::iter::once(Step::Send(head.into())).chain(std::iter::repeat_n(piece, 40)).collect();
    let error = chat(script, Dialect::Openai, false).await.unwrap_err();
    assert_eq!((error.code, error.retry), (Code::ProviderSchemaMismatch, Retry::Never));
}

#[tokio::test]
async fn dropping_a_call_or_a_stream_closes_the_connection() {
    let silent = vec![Step::Hang];
    let begun = [stream("text/event-stream", &["data: {}\n\n"]), vec![Step::Hang]].concat();
    for (script, streams) in [(silent, false), (begun, true)] {
        let (addr, mut seen) = server(script).await;
        let engine = engine(addr, Dialect::Openai, EngineKind::Unknown);
        if streams {
            drop(engine.chat(call(true)).await.unwrap());
        } else {
            let calling = engine.chat(call(false));
            tokio::select! {
                _ = calling => panic!("no answer was sent"),
                _ = seen.recv() => {}
            }
        }
        while seen.recv().await.unwrap() != Seen::Closed {}
    }
}

#[tokio::test]
async fn probes_and_lists() {
    let loading = r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#;
    for (kind, status, body, expected) in [
        (EngineKind::Llamacpp, "200 OK", r#"{"status":"ok"}"#, Some(Probe::Up)),
        (EngineKind::Llamacpp, "503 Unavailable", loading, Some(Probe::Loading)),
        (EngineKind::Vllm, "200 OK", "", Some(Probe::Up)),
        (EngineKind::Commercial, "200 OK", r#"{"data":[]}"#, Some(Probe::Up)),
        (EngineKind::Commercial, "401 No", "{}", None),
        (
            EngineKind::Vllm,
            "404 No",
            "{}",
            Some(Probe::Down("/health answers with status 404: is this a vllm server?".to_owned())),
        ),
        (EngineKind::Unknown, "404 No", "{}", Some(Probe::Up)),
        (EngineKind::Unknown, "500 No", "{}", None),
    ] {
        let (addr, _seen) = server(json(status, body)).await;
        let found = engine(addr, Dialect::Openai, kind).probe().await;
        match expected {
            Some(expected) => assert_eq!(found, expected, "{kind} {status}"),
            None => assert!(matches!(found, Probe::Down(_)), "{kind} {status}"),
        }
    }
    let list =
        r#"{"models":[{"name":"m"}],"data":[{"id":"a/b","owned_by":"llamacpp"},{"id":"c"}]}"#;
    let (addr, _seen) = server(json("200 OK", list)).await;
    let models = engine(addr, Dialect::Openai, EngineKind::Unknown).models().await.unwrap();
    assert_eq!(
        models[0],
        ListedModel { name: "a/b".into(), owned_by: Some("llamacpp".into()), context_tokens: None }
    );
    assert_eq!(models[1].name, "c");
    let models = engine(addr, Dialect::Ollama, EngineKind::Ollama).models().await.unwrap();
    assert_eq!(models, [ListedModel { name: "m".into(), owned_by: None, context_tokens: None }]);
    // The version question is answered with a list, so this is no Ollama.
    let found = detect(&format!("http://{addr}/v1")).await.unwrap();
    assert_eq!((found.dialect, found.kind), (Dialect::Openai, EngineKind::Llamacpp));
    assert_eq!(found.models, ["a/b", "c"]);
    let (addr, _seen) =
        server(json("200 OK", r#"{"version":"0.9","models":[{"name":"q:1b"}]}"#)).await;
    let found = detect(&format!("http://{addr}")).await.unwrap();
    assert_eq!((found.dialect, found.kind), (Dialect::Ollama, EngineKind::Ollama));
    let (addr, _seen) = server(json("503 Loading", loading)).await;
    let Err(DetectError::Engine { error, .. }) = detect(&format!("http://{addr}")).await else {
        panic!("it loads");
    };
    assert!(error.busy_for.is_some());
}

/// Chunks at the given times after the start, in milliseconds.
fn chunks(
    times: &'static [(u64, &'static str)],
) -> impl futures::Stream<Item = Result<Bytes, EngineError>> + Unpin {
    let start = Instant::now();
    Box::pin(futures::stream::iter(times).then(move |(ms, text)| async move {
        tokio::time::sleep_until(start + Duration::from_millis(*ms)).await;
        Ok(Bytes::from_static(text.as_bytes()))
    }))
}

async fn run_timed(
    times: &'static [(u64, &'static str)],
    idle: u64,
    total: u64,
) -> (usize, Option<EngineError>, u128) {
    let start = Instant::now();
    let (idle, total) = (Duration::from_millis(idle), start + Duration::from_millis(total));
    let mut timed = Timed::new(chunks(times), idle, total);
    let mut seen = 0;
    while let Some(item) = timed.next().await {
        match item {
            Ok(_) => seen += 1,
            Err(error) => {
                assert!(timed.next().await.is_none(), "nothing after an error");
                return (seen, Some(error), start.elapsed().as_millis());
            }
        }
    }
    (seen, None, start.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_neither_stand_still_nor_last_for_ever() {
    let (seen, error, at) =
        run_timed(&[(0, "a\n"), (900, "b\n"), (1800, "c\n")], 1000, 60_000).await;
    assert_eq!((seen, error, at), (3, None, 1800));

    let (seen, error, at) =
        run_timed(&[(0, "a\n"), (500, "b\n"), (5000, "c\n")], 1000, 60_000).await;
    let error = error.unwrap();
    assert_eq!(
        (seen, error.code, error.blame, at),
        (2, Code::UpstreamTimeout, Blame::Backend, 1500)
    );

    // Bytes without the end of a line do not count as life.
    let drip = &[(0, "a\n"), (400, "b"), (800, "c"), (1200, "d"), (1600, "e\n")];
    let (seen, error, at) = run_timed(drip, 1000, 60_000).await;
    assert_eq!((seen, error.is_some(), at), (3, true, 1000));

    let (seen, error, at) = run_timed(&[(0, "a\n"), (900, "b\n"), (1800, "c\n")], 1000, 1500).await;
    assert_eq!((seen, error.unwrap().blame, at), (2, Blame::Relay, 1500));
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_reads_is_not_idle_time() {
    let start = Instant::now();
    let total = start + Duration::from_secs(3600);
    let mut timed = Timed::new(
        chunks(&[(0, "a\n"), (100, "b\n"), (90_100, "c\n")]),
        Duration::from_secs(1),
        total,
    );
    timed.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(90)).await;
    // The second chunk was ready long ago; the third is due in 100 ms.
    timed.next().await.unwrap().unwrap();
    timed.next().await.unwrap().unwrap();
    assert!(timed.next().await.is_none());
}
