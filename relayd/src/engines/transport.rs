//! How bytes reach an engine: a pool of HTTP connections to one base URL, or a provider's own
//! connection.
//!
//! Requests carry only headers from our own list; nothing a client sent passes through by name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use url::Url;

use super::cause;
use super::credential::Credential;
use super::error::{EngineError, Retry};
use super::reuse::{self, Noting};
use super::uplink::Reversed;
use crate::domain::Code;
use crate::wire::Dialect;

/// Time to open a connection. An engine that needs longer is not reachable in a useful sense.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection to a commercial API is kept.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// How long an idle connection without TLS is kept. The servers behind plain HTTP (uvicorn under
/// vLLM, llama.cpp's) close an idle connection after 5 s; staying below that keeps a request from
/// being written into a connection that is just being closed.
const POOL_IDLE_PLAIN: Duration = Duration::from_secs(4);

/// Interval of TCP keep-alive, so that a vanished host is noticed below a long stream.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Version of Anthropic's API that relayd speaks.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Why an engine cannot be set up from its description.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The base URL is not `http(s)://host[:port][/path]`.
    #[error("base URL '{url}': {why}")]
    Url {
        /// The URL, without any password in it.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The credential file is missing, empty, too large or holds something that is no credential.
    #[error("credential file {}: {why}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built: {0}")]
    Client(String),
}

/// How bytes reach the engine.
#[derive(Debug)]
pub(crate) enum Transport {
    /// A pool of connections of our own.
    Pool(Pool),
    /// A connection that a provider's agent opened.
    Reversed(Reversed),
}

/// Pooled connections to one base URL.
pub(crate) struct Pool {
    client: reqwest::Client,
    /// Opens a connection for each request, where a kept one had gone stale.
    fresh: reqwest::Client,
    base: String,
    /// Version headers, in every request.
    fixed: HeaderMap,
    credential: Option<Arc<Credential>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("base", &self.base).finish_non_exhaustive()
    }
}

/// One request to an engine.
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Bytes>,
    pub(crate) accept: &'static str,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) tracestate: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    /// Whether the connection is of no use after the answer.
    pub(crate) closes: bool,
    /// Whether it must have a connection of its own.
    pub(crate) fresh: bool,
}

/// The body of an answer, as it arrives.
#[derive(Debug)]
pub(crate) enum Body {
    Pool(BodyDataStream<reqwest::Body>),
    Reversed(BodyDataStream<Incoming>),
}

/// A body that broke off, and how.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) &'static str);

impl Transport {
    /// Sends a request; ends with the head of the answer. Dropping the future or the answer's
    /// body closes the connection (or resets the HTTP/2 stream), which cancels the engine's work.
    pub(crate) async fn send(
        &self,
        out: Outgoing<'_>,
    ) -> Result<http::Response<Body>, EngineError> {
        match self {
            Self::Pool(pool) => pool.send(out).await,
            Self::Reversed(reversed) => {
                let response = reversed.send(out).await?;
                Ok(response.map(|body| Body::Reversed(BodyDataStream::new(body))))
            }
        }
    }
}

impl Transport {
    /// Reads again what may have changed on disk.
    pub(crate) async fn refresh(&self) {
        match self {
            Self::Pool(Pool { credential: Some(credential), .. }) => credential.refresh().await,
            Self::Pool(_) | Self::Reversed(_) => {}
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.get_mut() {
            Self::Pool(body) => body.poll_next_unpin(cx).map(|item| {
                item.map(|chunk| chunk.map_err(|error| Broken(cause::of_connection(&error))))
            }),
            Self::Reversed(body) => body.poll_next_unpin(cx).map(|item| {
                item.map(|chunk| chunk.map_err(|error| Broken(cause::of_connection(&error))))
            }),
        }
    }
}

/// The headers that a request carries to an engine, whichever way it goes.
pub(crate) fn passed_on(out: &Outgoing<'_>, headers: &mut HeaderMap) {
    headers.insert(ACCEPT, HeaderValue::from_static(out.accept));
    let passed = [
        ("traceparent", out.traceparent),
        ("tracestate", out.tracestate),
        ("x-request-id", out.request_id),
    ];
    for (name, value) in passed {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if out.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

impl Pool {
    /// A pool for a base URL, with or without a trailing `/v1` (or `/api` for Ollama).
    pub(crate) fn new(
        base_url: &str,
        dialect: Dialect,
        credential_file: Option<&Path>,
    ) -> Result<Self, SetupError> {
        let (base, tls) = base(base_url)?;
        let mut fixed = HeaderMap::new();
        let credential = credential_file.map(|path| Credential::read(path, dialect)).transpose()?;
        if dialect == Dialect::Anthropic {
            fixed.insert(HeaderName::from_static("anthropic-version"), ANTHROPIC_VERSION);
        }
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| SetupError::Client(chain(&error)))
        };
        let client = build(client(tls)?.connector_layer(Noting))?;
        let fresh = build(client_without_pool(tls)?)?;
        Ok(Self { client, fresh, base, fixed, credential: credential.map(Arc::new) })
    }

    async fn send(&self, out: Outgoing<'_>) -> Result<http::Response<Body>, EngineError> {
        let mut headers = self.fixed.clone();
        if let Some(credential) = &self.credential {
            credential.put(&mut headers);
        }
        passed_on(&out, &mut headers);
        if out.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let client = if out.fresh { &self.fresh } else { &self.client };
        let mut request = client.request(out.method, format!("{}{}", self.base, out.path));
        if let Some(body) = out.body {
            request = request.body(body);
        }
        let (sent, reused) = reuse::watched(request.headers(headers).send()).await;
        let response = sent.map_err(|error| match failed(&error) {
            lost if reused && !out.fresh && cause::is_gone(lost.cause) => {
                EngineError { retry: Retry::SafeAgain, ..lost }
            }
            failed => failed,
        })?;
        Ok(http::Response::from(response).map(|body| Body::Pool(BodyDataStream::new(body))))
    }
}

/// A client that keeps connections.
fn client(tls: bool) -> Result<reqwest::ClientBuilder, SetupError> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // There is one layer of retries, above, and it has a budget.
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(TCP_KEEPALIVE);
    Ok(if tls {
        // The client takes its TLS provider from the process; whoever comes first sets it, and
        // every part of relayd sets this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        builder.https_only(true).pool_idle_timeout(POOL_IDLE)
    } else {
        builder.tls_backend_preconfigured(no_roots()?).pool_idle_timeout(POOL_IDLE_PLAIN)
    })
}

/// The same without any.
fn client_without_pool(tls: bool) -> Result<reqwest::ClientBuilder, SetupError> {
    Ok(client(tls)?.pool_max_idle_per_host(0))
}

/// A failure before the head of an answer arrived.
fn failed(error: &reqwest::Error) -> EngineError {
    let cause = cause::of_connection(error);
    if error.is_builder() {
        EngineError::relay(cause)
    } else if error.is_connect() || error.is_timeout() {
        EngineError::backend(Code::ProviderUnavailable, "the provider cannot be reached", cause)
    } else {
        EngineError::backend(Code::UpstreamError, "the provider took the request and failed", cause)
    }
}

/// The causes of an error in one line, without the URL it was about.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

/// The base without trailing slash, `/v1` or `/api`, and whether it is reached over TLS.
fn base(text: &str) -> Result<(String, bool), SetupError> {
    let refuse = |why: &str| {
        // Whatever stands before an @ may be a password.
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        Err(SetupError::Url { url: shown.chars().take(200).collect(), why: why.to_owned() })
    };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(&error.to_string()),
    };
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return refuse("must begin with http:// or https://"),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("holds a user or password; use a credential file");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("holds a query or fragment");
    }
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").or_else(|| path.strip_suffix("/api")).unwrap_or(path);
    Ok((format!("{}{}", url.origin().ascii_serialization(), path.trim_end_matches('/')), tls))
}

/// TLS settings for a client that never speaks TLS: no roots are read from the system.
fn no_roots() -> Result<rustls::ClientConfig, SetupError> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Client(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_an_origin_and_a_path() {
        for (text, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:11434/api", "http://127.0.0.1:11434"),
            ("https://api.example.com/openai/v1", "https://api.example.com/openai"),
            ("http://[::1]:9000/v1", "http://[::1]:9000"),
        ] {
            assert_eq!(base(text).unwrap().0, expected, "{text}");
        }
        for bad in ["", "127.0.0.1:80", "ftp://x", "http://a?b", "http://a#b", "http://u:p4ss@h"] {
            let error = base(bad).unwrap_err().to_string();
            assert!(!error.contains("p4ss"), "{error}");
        }
    }
}
