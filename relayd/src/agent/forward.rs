//! The local engines, and the way of a request to one of them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::config::EngineConfig;
use crate::engines::{Dialect, Engine, EngineLoad, EngineSpec, Probe};

/// Time to open a connection to an engine of this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two looks at an engine.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Most models that an engine is said to serve.
const MODELS_MAX: usize = 100;

/// What a request may bring to an engine.
const REQUEST_HEADERS: [HeaderName; 5] = [
    ACCEPT,
    CONTENT_TYPE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-request-id"),
];

/// What an answer may bring back.
const RESPONSE_HEADERS: [HeaderName; 2] = [CONTENT_TYPE, RETRY_AFTER];

/// What is sent to an engine.
type Local = Client<HttpConnector, Incoming>;

/// The engines of this host.
#[derive(Debug)]
pub(super) struct Engines {
    /// In the order of their coming, at most [`super::ENGINES_MAX`].
    all: RwLock<Vec<Arc<LocalEngine>>>,
    /// One came.
    came: Notify,
    client: Local,
    /// How often every engine was looked at.
    looks: watch::Sender<u64>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct LocalEngine {
    config: EngineConfig,
    /// `http://127.0.0.1:8080`, without a slash at its end.
    base: String,
    /// `None` for one whose address cannot be used.
    engine: Option<Engine>,
    running: Arc<AtomicU32>,
    seen: Mutex<Seen>,
    /// The deployment that it is an instance of.
    deployment: Option<String>,
    /// It is about to go.
    draining: AtomicBool,
    /// Why it does not serve although it answers.
    held: Mutex<Option<String>>,
}

/// How an engine was when it was looked at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) probe: Probe,
    pub(super) models: Vec<String>,
    pub(super) load: EngineLoad,
}

/// One engine's facts.
#[derive(Clone, Debug)]
pub(super) struct EngineFacts {
    pub(super) config: EngineConfig,
    pub(super) running: u32,
    pub(super) seen: Seen,
    pub(super) deployment: Option<String>,
    pub(super) draining: bool,
    pub(super) held: Option<String>,
}

/// The body of an answer, while the request counts as running.
pub(super) struct Counted {
    body: Incoming,
    _running: Running,
}

/// Counts a request for as long as it lives.
struct Running(Arc<AtomicU32>);

/// Why a request was not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

impl Engines {
    pub(super) fn new(configs: &[EngineConfig]) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        // A connection for each request: on loopback it costs microseconds, and engines that close
        // idle connections without a word cannot lose a request.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let all = configs.iter().cloned().map(|config| Arc::new(LocalEngine::new(config, None)));
        Self {
            all: RwLock::new(all.collect()),
            came: Notify::new(),
            client,
            looks: watch::Sender::new(0),
        }
    }

    /// One more, an instance of a deployment.
    pub(super) fn add(&self, config: EngineConfig, deployment: &str) -> Arc<LocalEngine> {
        let engine = Arc::new(LocalEngine::new(config, Some(deployment.to_owned())));
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&engine));
        self.came.notify_one();
        engine
    }

    /// One less.
    pub(super) fn remove(&self, name: &str) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|engine| engine.config.name != name);
    }

    /// Whether there is one of that name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn find(&self, name: &str) -> Option<Arc<LocalEngine>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|engine| engine.config.name == name).map(Arc::clone)
    }

    fn all(&self) -> Vec<Arc<LocalEngine>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at every engine, again and again, until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        loop {
            let all = self.all();
            futures::future::join_all(all.iter().map(|engine| engine.look())).await;
            self.looks.send_modify(|looks| *looks += 1);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.came.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Resolves once every engine was looked at.
    pub(super) async fn looked(&self) {
        // The sender lives as long as this does.
        let _ = self.looks.subscribe().wait_for(|looks| *looks > 0).await;
    }

    /// How they are.
    pub(super) fn facts(&self) -> Vec<EngineFacts> {
        let facts = |engine: &Arc<LocalEngine>| EngineFacts {
            config: engine.config.clone(),
            running: engine.running(),
            seen: engine.seen.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            deployment: engine.deployment.clone(),
            draining: engine.draining.load(Ordering::Relaxed),
            held: engine.held.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        self.all().iter().map(facts).collect()
    }

    /// Sends a request of relayd to the engine that its path names. Dropping the future, or the
    /// answer's body, cancels the engine's work.
    pub(super) async fn forward(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Counted>, Refused> {
        let unknown = Refused { status: StatusCode::NOT_FOUND, why: "no such engine or route" };
        let path = request.uri().path().strip_prefix("/engine/").ok_or(unknown)?;
        let (name, _) = path.split_once('/').ok_or(unknown)?;
        let engine = self.find(name).ok_or(unknown)?;
        let path = &path[name.len()..];
        if request.uri().query().is_some()
            || !allowed(engine.config.dialect, request.method(), path)
        {
            return Err(unknown);
        }
        let running = Running::begin(&engine.running, u32::from(engine.config.max_concurrency));
        let busy = Refused { status: StatusCode::SERVICE_UNAVAILABLE, why: "the engine is busy" };
        let running = running.ok_or(busy)?;
        let uri: Uri = format!("{}{path}", engine.base).parse().map_err(|_| unknown)?;
        let name = engine.config.name.as_str();
        let (head, body) = request.into_parts();
        let mut out = Request::new(body);
        *out.method_mut() = head.method;
        *out.uri_mut() = uri;
        pass(&REQUEST_HEADERS, &head.headers, out.headers_mut());
        let answer = self.client.request(out).await.map_err(|error| {
            tracing::warn!(engine = name, %error, "an engine could not be asked");
            Refused { status: StatusCode::BAD_GATEWAY, why: "the engine does not answer" }
        })?;
        let (head, body) = answer.into_parts();
        let mut back = Response::new(Counted { body, _running: running });
        *back.status_mut() = head.status;
        pass(&RESPONSE_HEADERS, &head.headers, back.headers_mut());
        Ok(back)
    }
}

impl LocalEngine {
    fn new(config: EngineConfig, deployment: Option<String>) -> Self {
        let spec = EngineSpec {
            base_url: config.url.clone(),
            dialect: config.dialect,
            kind: config.kind,
            credential_file: None,
        };
        let base = config.url.trim_end_matches('/');
        let base = base.strip_suffix("/v1").or_else(|| base.strip_suffix("/api")).unwrap_or(base);
        Self {
            base: base.to_owned(),
            engine: Engine::new(&spec).ok(),
            running: Arc::default(),
            seen: Mutex::new(Seen {
                probe: Probe::Down("not asked yet".to_owned()),
                models: Vec::new(),
                load: EngineLoad::default(),
            }),
            deployment,
            draining: AtomicBool::new(false),
            held: Mutex::new(None),
            config,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Its origin, without a slash at its end.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Requests that run on it.
    pub(super) fn running(&self) -> u32 {
        self.running.load(Ordering::SeqCst)
    }

    /// How it was at the last look, and why it does not serve although it answers.
    pub(super) fn state(&self) -> (Probe, Option<String>) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.seen.lock().unwrap_or_else(PoisonError::into_inner).probe.clone(), held)
    }

    /// It is about to go: relayd is told to send no more.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// It does not serve yet, even when it answers.
    pub(super) fn hold(&self, why: &str) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// It serves as soon as it answers.
    pub(super) fn let_go(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn look(&self) {
        let Some(engine) = &self.engine else { return };
        let probe = engine.probe().await;
        let listed = match probe {
            Probe::Up => engine.models().await.ok(),
            Probe::Loading | Probe::Down(_) => None,
        };
        // How much it has to do is no word of one that does not answer.
        let load = match probe {
            Probe::Up => engine.load().await,
            Probe::Loading | Probe::Down(_) => EngineLoad::default(),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::discriminant(&seen.probe) != std::mem::discriminant(&probe) {
            tracing::info!(engine = self.config.name, state = ?probe, "an engine changed");
        }
        seen.probe = probe;
        seen.load = load;
        // What it served before is still the best answer while it is away.
        if let Some(listed) = listed {
            seen.models = listed.into_iter().take(MODELS_MAX).map(|model| model.name).collect();
        }
    }
}

/// The routes of an engine that relayd may use.
fn allowed(dialect: Dialect, method: &Method, path: &str) -> bool {
    let routes: &[(&Method, &str)] = match dialect {
        Dialect::Openai => &[
            (&Method::POST, "/v1/chat/completions"),
            (&Method::GET, "/v1/models"),
            (&Method::GET, "/health"),
        ],
        Dialect::Anthropic => &[
            (&Method::POST, "/v1/messages"),
            (&Method::GET, "/v1/models"),
            (&Method::GET, "/health"),
        ],
        Dialect::Ollama => &[
            (&Method::POST, "/api/chat"),
            (&Method::GET, "/api/tags"),
            (&Method::GET, "/api/version"),
        ],
    };
    routes.contains(&(method, path))
}

fn pass(names: &[HeaderName], from: &HeaderMap, to: &mut HeaderMap) {
    for name in names {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

impl Running {
    /// Counts one more, unless that many run.
    fn begin(count: &Arc<AtomicU32>, most: u32) -> Option<Self> {
        let more = |now: u32| (now < most).then_some(now + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Refused {
    /// The answer that says so.
    pub(super) fn answer(self) -> Response<Full<Bytes>> {
        let text = format!("{{\"error\":{{\"message\":\"{}\"}}}}", self.why);
        let mut answer = Response::new(Full::new(Bytes::from(text)));
        *answer.status_mut() = self.status;
        let json = http::HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_listed_routes_is_allowed() {
        assert!(allowed(Dialect::Openai, &Method::POST, "/v1/chat/completions"));
        assert!(allowed(Dialect::Ollama, &Method::GET, "/api/tags"));
        for (method, path) in [
            (Method::GET, "/v1/chat/completions"),
            (Method::POST, "/v1/completions"),
            (Method::POST, "/v1/chat/completions/"),
            (Method::POST, "/v1/../v1/chat/completions"),
            (Method::POST, "//v1/chat/completions"),
            (Method::POST, "/slots/0?action=erase"),
            (Method::GET, "/metrics"),
            (Method::GET, "/props"),
            (Method::DELETE, "/api/delete"),
            (Method::POST, "/api/pull"),
            (Method::GET, "/"),
            (Method::CONNECT, "/health"),
        ] {
            for dialect in [Dialect::Openai, Dialect::Anthropic, Dialect::Ollama] {
                assert!(!allowed(dialect, &method, path), "{dialect:?} {method} {path}");
            }
        }
    }

    #[test]
    fn a_request_counts_while_it_lives() {
        let count = Arc::default();
        let first = Running::begin(&count, 2);
        let second = Running::begin(&count, 2);
        assert!(first.is_some() && second.is_some() && Running::begin(&count, 2).is_none());
        drop(first);
        assert!(Running::begin(&count, 2).is_some());
        drop(second);
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }
}
