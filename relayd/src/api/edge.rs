//! What every request meets first and every answer meets last.
//!
//! Gives the request its id and its true address, bounds its head, runs the rest, turns a refusal
//! or a panic into the envelope, and puts `X-Request-ID` on whatever goes out. Never logs a path as
//! it came, a query, a header or a body.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::domain::{Code, Fault, RequestId};
use crate::telemetry::trace::{self, TraceContext};
use crate::telemetry::{REQUEST_TARGET, names};

use super::cors::Cors;
use super::error::{Refused, Shape, render};
use super::hosts::Hosts;
use super::listen::Peer;
use super::proxy::{NOWHERE, TrustedProxies};

/// Most bytes of a request line and its header fields together.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// Most header fields.
const HEAD_MAX_FIELDS: usize = 100;

/// What an HTTP/1 head has around a field: the colon, a blank, the line end.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// The route of requests that match none, in metrics and logs.
const NO_ROUTE: &str = "none";

/// The header that carries the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bytes of an unread body that are taken off the wire before a refusal goes out, and the time for
/// it. Closing a connection with bytes unread resets it, and the client would never see why.
const UNREAD_MAX_BYTES: usize = 4 * 1024 * 1024;
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// What the edge is told by the configuration.
#[derive(Clone, Debug, Default)]
pub struct EdgeSettings {
    /// Proxies whose `X-Forwarded-For` is believed.
    pub proxies: TrustedProxies,
    /// Origins of browsers that may call.
    pub cors: Cors,
    /// Names that requests may address.
    pub hosts: Hosts,
}

/// What a handler knows of its request besides head and body; an extension of the request.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// The request's id.
    pub(super) request_id: RequestId,
    /// The client's address, trusted proxies taken off.
    pub(super) client: IpAddr,
    /// The trace that it belongs to.
    pub(super) trace: TraceContext,
}

/// Counts a request as running until its answer's body has ended or was dropped.
struct Measured {
    route: Arc<str>,
    began: Instant,
}

struct MeasuredBody {
    body: Body,
    _measured: Measured,
}

/// A request's body that comes back when it is dropped before its end.
struct Lent {
    body: Body,
    back: Option<oneshot::Sender<Body>>,
}

/// The middleware around all routes.
pub(super) async fn edge(
    State(settings): State<Arc<EdgeSettings>>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = RequestId::new(Uuid::now_v7());
    let shape = Shape::of(request.uri().path());
    let route: Arc<str> = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| Arc::from(NO_ROUTE), |path| Arc::from(path.as_str()));
    let measured = Measured::begin(Arc::clone(&route));
    let method = request.method().clone();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = settings.cors.is_on() && Cors::is_preflight(&method, request.headers());

    let context = trace_context(request.headers());
    let span = tracing::info_span!(
        target: REQUEST_TARGET,
        "request",
        %request_id,
        http.route = %route,
        http.request.method = %method,
        otel.kind = "server",
    );
    context.adopt(&span);
    trace::rename(&span, format!("{method} {route}"));
    let client = client(&settings.proxies, &request);
    request.extensions_mut().insert(Visit { request_id, client, trace: context });
    let (back, unread) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent { body, back: Some(back) }));

    let running = async {
        let (uri, headers) = (request.uri(), request.headers());
        let checked = check_head(uri, headers).and_then(|()| settings.hosts.check(uri, headers));
        if let Err(fault) = checked {
            return Refused::from(fault).into_response();
        }
        if preflight {
            return StatusCode::NO_CONTENT.into_response();
        }
        match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!(%request_id, "a handler panicked");
                Refused::from(Fault::internal()).into_response()
            }
        }
    };
    let mut response = running.instrument(span.clone()).await;
    take_off(unread).await;
    if method == Method::OPTIONS && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response = options(response);
    }
    response = finish(response, shape, request_id);
    settings.cors.answer(origin.as_ref(), preflight, response.headers_mut());
    measured.answered(&response);
    trace::note(&span, "http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        trace::failed(&span, "server_error");
    }
    tracing::info!(%request_id, %method, %route, status = response.status().as_u16(), "request");
    response.map(|body| Body::new(MeasuredBody { body, _measured: measured }))
}

/// Renders a refusal and puts the id on the answer.
fn finish(mut response: Response, shape: Shape, request_id: RequestId) -> Response {
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        let mut rendered = render(&refused, shape, request_id);
        for name in [header::ALLOW, header::VARY] {
            if let Some(value) = response.headers_mut().remove(&name) {
                rendered.headers_mut().insert(name, value);
            }
        }
        response = rendered;
    }
    if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// `OPTIONS` on a path that exists names its methods.
fn options(refused: Response) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(allow) = refused.headers().get(header::ALLOW) {
        response.headers_mut().insert(header::ALLOW, allow.clone());
    }
    response
}

/// Reads what a handler left of the body, within bounds.
async fn take_off(mut unread: oneshot::Receiver<Body>) {
    let Ok(mut body) = unread.try_recv() else { return };
    let mut left = UNREAD_MAX_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Beyond the bounds the connection is closed as it is.
    let _ = tokio::time::timeout(UNREAD_TIMEOUT, reading).await;
}

fn check_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields = headers.iter().map(|(name, value)| {
        name.as_str().len().saturating_add(value.len()).saturating_add(FIELD_OVERHEAD_BYTES)
    });
    let bytes = fields.fold(path, usize::saturating_add);
    if bytes > HEAD_MAX_BYTES || headers.len() > HEAD_MAX_FIELDS {
        return Err(Fault::new(
            Code::HeadersTooLarge,
            format!(
                "The request line and header fields exceed {} KiB or {HEAD_MAX_FIELDS} fields",
                HEAD_MAX_BYTES / 1024
            ),
        ));
    }
    Ok(())
}

fn client(proxies: &TrustedProxies, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>().map_or(NOWHERE, |peer| peer.0.ip());
    proxies.client(peer, request.headers())
}

fn trace_context(headers: &HeaderMap) -> TraceContext {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::parse(text("traceparent"), text("tracestate"))
}

impl Measured {
    fn begin(route: Arc<str>) -> Self {
        metrics::gauge!(names::HTTP_ACTIVE).increment(1);
        Self { route, began: Instant::now() }
    }

    fn answered(&self, response: &Response) {
        metrics::counter!(
            names::HTTP_REQUESTS,
            "http_route" => Arc::clone(&self.route),
            "http_response_status_code" => response.status().as_str().to_owned(),
        )
        .increment(1);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        metrics::gauge!(names::HTTP_ACTIVE).decrement(1);
        metrics::histogram!(names::HTTP_DURATION, "http_route" => Arc::clone(&self.route))
            .record(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take()
            && !self.body.is_end_stream()
        {
            // Nobody waits when the whole request was dropped.
            let _ = back.send(std::mem::take(&mut self.body));
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.back = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn boom() -> &'static str {
        panic!("canary")
    }

    #[tokio::test]
    async fn a_panic_is_a_500_in_the_envelope_and_tells_nothing() {
        let settings = Arc::new(EdgeSettings::default());
        let routes = axum::Router::new()
            .route("/v2/anthropic/boom", get(boom))
            .layer(axum::middleware::from_fn_with_state(settings, edge));
        let request = Request::get("/v2/anthropic/boom").body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&json["type"], &json["error"]["code"]),
            (&"error".into(), &"INTERNAL_ERROR".into())
        );
        assert!(!json.to_string().contains("canary"));
    }
}
