//! Serving HTTP/2 to relayd on the connection that this side opened.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use relay_proto::fleet::v1::agent_service_server::AgentServiceServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::ServiceExt as _;

use super::telemetry::{Asked, Telemetry};
use crate::handshake::{CONNECTION_WINDOW, PING_EVERY, PING_TIMEOUT, STREAM_WINDOW, STREAMS_MAX};

/// Bytes of one request's head: a path and a handful of short headers.
const HEAD_MAX_BYTES: u32 = 8 * 1024;

/// Where gRPC calls begin.
const GRPC: &str = "/relay.fleet.v1.";

/// Serves until the connection ends or `stop` fires; then lets running requests end.
pub(super) async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    asked: Asked,
    stop: CancellationToken,
) -> Result<(), hyper::Error> {
    let engines = Arc::clone(&asked.engines);
    let grpc = AgentServiceServer::new(Telemetry { asked, stop: stop.clone() });
    let service = service_fn(move |request: Request<Incoming>| {
        let (grpc, engines) = (grpc.clone(), Arc::clone(&engines));
        async move {
            if request.uri().path().starts_with(GRPC) {
                return grpc.oneshot(request).await;
            }
            Ok(match engines.forward(request).await {
                Ok(answer) => answer.map(Body::new),
                Err(refused) => Response::map(refused.answer(), Body::new),
            })
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_MAX_BYTES)
        .max_send_buf_size(usize::try_from(STREAM_WINDOW).unwrap_or(usize::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = stop.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
