//! The agent against whoever may be on the other end: only engines' listed routes are reached, and
//! no reader holds up another.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body as Served;
use axum::extract::Request as Asked;
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::config::{AgentConfig, EngineConfig};
use super::forward::Engines;
use super::provision::Provision;
use super::relays::Replicas;
use super::serve::serve;
use super::telemetry;
use crate::config::GpuConfig;
use crate::engines::{Dialect, EngineKind};
use crate::gpu::Sampler;
use crate::handshake::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::launch::Guard;

/// More than all windows together: a stream of it never ends by itself.
const ENDLESS: &str = "/v1/chat/completions";

/// What reached the engine.
#[derive(Default)]
struct Reached {
    requests: AtomicU32,
    /// Endless answers that were dropped before their end.
    cancelled: AtomicU32,
    headers: Mutex<HeaderMap>,
}

/// Counts the end of an endless answer.
struct Ending(Arc<Reached>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

struct World {
    reached: Arc<Reached>,
    relayd: SendRequest<Full<Bytes>>,
    stop: CancellationToken,
}

impl World {
    /// An engine, an agent before it, and the connection that relayd would have.
    async fn start() -> Self {
        let reached = Arc::new(Reached::default());
        let engine = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", engine.local_addr().unwrap());
        let answering = Arc::clone(&reached);
        let router =
            Router::new().fallback(move |asked: Asked| answer(Arc::clone(&answering), asked));
        tokio::spawn(async move { axum::serve(engine, router).await });

        let config = EngineConfig {
            name: "llama".to_owned(),
            url,
            kind: EngineKind::Llamacpp,
            dialect: Dialect::Openai,
            max_concurrency: 200,
        };
        let engines = Arc::new(Engines::new(&[config]));
        let nobody = GpuConfig { enabled: false, nvml_library: None };
        let host = Sampler::start(&nobody, std::path::Path::new("/")).unwrap().host();
        let guard = Guard { program: "/nowhere".into(), args: Vec::new() };
        let provision = Arc::new(Provision::new(&[], Arc::clone(&engines), guard));
        let asked = telemetry::Asked { engines, host, provision, replicas: Replicas::new() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            serve(socket, asked, stopping).await
        });
        let socket = TcpStream::connect(address).await.unwrap();
        let (relayd, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(socket))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { reached, relayd, stop }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Response<Incoming> {
        let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://agent{path}").parse().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let mut relayd = self.relayd.clone();
        relayd.ready().await.unwrap();
        relayd.send_request(request).await.unwrap()
    }

    fn requests(&self) -> u32 {
        self.reached.requests.load(Ordering::SeqCst)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn answer(reached: Arc<Reached>, asked: Asked) -> Response<Served> {
    reached.requests.fetch_add(1, Ordering::SeqCst);
    *reached.headers.lock().await = asked.headers().clone();
    let builder = Response::builder()
        .header("content-type", "text/event-stream")
        .header("set-cookie", "session=1")
        .header("server", "engine/1.0");
    let body = if asked.uri().path() == ENDLESS {
        let ending = Ending(reached);
        let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
        Served::from_stream(stream::repeat_with(move || {
            let _ = &ending;
            Ok::<_, Infallible>(chunk.clone())
        }))
    } else {
        Served::from("here")
    };
    builder.body(body).unwrap()
}

#[tokio::test]
async fn nothing_but_listed_routes_of_named_engines_is_reached() {
    let world = World::start().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/engine/llama"),
        (Method::GET, "/engine/llama/"),
        (Method::GET, "/engine/other/v1/models"),
        (Method::GET, "/engine/llama/props"),
        (Method::POST, "/engine/llama/slots/0"),
        (Method::POST, "/engine/llama/v1/completions"),
        (Method::POST, "/engine/llama/v1/models"),
        (Method::GET, "/engine/llama/v1/models?x=1"),
        (Method::GET, "/engine/llama/v1/../props"),
        (Method::GET, "/engine/llama/%2e%2e/v1/models"),
        (Method::GET, "/engine//v1/models"),
        (Method::GET, "/v1/models"),
        (Method::GET, "/etc/passwd"),
    ] {
        let answer = world.send(method.clone(), path, &[]).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}");
    }
    // An unknown call of the fleet's own protocol is refused as gRPC refuses.
    let call = world.send(Method::POST, "/relay.fleet.v1.AgentService/Shell", &[]).await;
    assert_eq!(call.headers()["grpc-status"], "12");
    assert_eq!(world.requests(), 0, "the engine was reached");
    assert_eq!(world.send(Method::GET, "/engine/llama/v1/models", &[]).await.status(), 200);
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn headers_pass_by_name_alone() {
    let world = World::start().await;
    let sent = [
        ("authorization", "Bearer s3cret"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-request-id", "01"),
        ("traceparent", "00-1-2-01"),
    ];
    let answer = world.send(Method::GET, "/engine/llama/health", &sent).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    for absent in ["set-cookie", "server"] {
        assert!(!answer.headers().contains_key(absent), "{absent}");
    }
    let reached = world.reached.headers.lock().await;
    assert_eq!(reached["x-request-id"], "01");
    assert_eq!(reached["traceparent"], "00-1-2-01");
    for absent in ["authorization", "cookie", "x-forwarded-for"] {
        assert!(!reached.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn sixty_four_readers_that_stand_still_hold_up_nobody() {
    let world = World::start().await;
    let path = format!("/engine/llama{ENDLESS}");
    let mut still = Vec::new();
    for _ in 0..64 {
        still.push(world.send(Method::POST, &path, &[]).await);
    }
    // Each of them has filled its window; the next one reads many windows' worth all the same.
    let mut reading = world.send(Method::POST, &path, &[]).await.into_body();
    let mut read = 0;
    while read < 8 * 1024 * 1024 {
        read += reading.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    assert_eq!(world.send(Method::GET, "/engine/llama/health", &[]).await.status(), 200);
    // Whoever leaves ends the engine's work, whoever stands still does not.
    drop(reading);
    while world.reached.cancelled.load(Ordering::SeqCst) < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.reached.cancelled.load(Ordering::SeqCst), 1);
    drop(still);
    while world.reached.cancelled.load(Ordering::SeqCst) < 65 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_configuration_names_loopback_engines_only() {
    let folder = tempfile::tempdir().unwrap();
    let with = |url: &str| {
        let text = format!(
            "name = \"gpu-1\"\npayout_address = \"0x{}\"\nrelay = \"relay.example.com:8702\"\n\
             relay_ca_file = \"ca.pem\"\nkey_file = \"key\"\n[[engine]]\nname = \"a\"\nurl = \"{url}\"\n\
             kind = \"vllm\"\ndialect = \"openai\"\nmax_concurrency = 4\n",
            "0".repeat(40)
        );
        std::fs::write(AgentConfig::file(folder.path()), text).unwrap();
        AgentConfig::load(folder.path())
    };
    for good in ["http://127.0.0.1:8000", "http://localhost:8000/v1", "http://[::1]:8000"] {
        let config = with(good).unwrap();
        let printed = config.to_text().unwrap();
        std::fs::write(AgentConfig::file(folder.path()), printed).unwrap();
        let again = AgentConfig::load(folder.path()).unwrap();
        assert_eq!(again.engines, config.engines, "{good}");
    }
    for bad in [
        "http://10.0.0.1:8000",
        "http://example.com",
        "http://169.254.169.254/latest",
        "http://0.0.0.0:8000",
        "https://127.0.0.1:8000",
        "file:///etc/passwd",
        "http://127.0.0.1:8000?x=1",
        "http://user@127.0.0.1:8000",
    ] {
        let error = with(bad).unwrap_err().to_string();
        assert!(error.contains("agent.toml") && error.contains("url"), "{bad}: {error}");
    }
}
