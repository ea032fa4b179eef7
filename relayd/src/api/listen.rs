//! Accepts connections: TLS, HTTP/1.1 and HTTP/2, their bounds, and an orderly end.
//!
//! Used by every HTTP listener of relayd. Knows nothing of what is served on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::config::TlsFiles;

use super::socket::Guarded;
use super::tls::{Certificate, TlsError};

/// What the HTTP engine reads of a head before it gives up, in bytes and in fields. Far above what
/// [the edge](super::edge) lets through, so that refusals are explained: beyond these the engine
/// answers a bare 431 or closes. A connection may hold as much memory while its head arrives.
const HEAD_HARD_MAX_BYTES: usize = 128 * 1024;
const HEAD_HARD_MAX_FIELDS: usize = 256;

/// Streams of one HTTP/2 connection that run at once.
const H2_STREAMS: u32 = 128;

/// Streams that a client may reset before they were accepted, and errors of its own that it may
/// cause, before the connection is closed (rapid reset).
const H2_PENDING_RESETS: usize = 64;
const H2_ERROR_RESETS: usize = 256;

/// Bytes of a stream and of a connection under way to us.
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of a stream that wait in us for the client: beyond it the handler's channel fills.
const H2_SEND_BUFFER: usize = 64 * 1024;

/// How often a silent HTTP/2 client is asked whether it lives, and how long it may take.
const H2_PING: Duration = Duration::from_secs(20);

/// Pause after the system refused a connection, for want of descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenBounds {
    /// Time for a client to send its head, and to finish the TLS handshake.
    pub head_timeout: Duration,
    /// A client that takes nothing for this long is cut.
    pub write_stall: Duration,
    /// Open connections; more wait in the kernel.
    pub max_connections: usize,
}

/// How long a connection that was just taken when relayd stops may take to send its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// The other end of the connection that a request came in on; an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Serves `router` until `stop`, then lets running requests end. Dropping the future ends them at
/// once.
///
/// # Errors
/// [`TlsError`] when the certificate cannot be used; nothing is accepted then.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsFiles>,
    router: Router,
    bounds: ListenBounds,
    stop: CancellationToken,
) -> Result<(), TlsError> {
    let certificate = tls.map(Certificate::load).transpose()?;
    let acceptor = match &certificate {
        Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
        None => None,
    };
    let serving = accept(listener, acceptor, router, bounds, stop);
    match certificate {
        Some(certificate) => tokio::select! {
            () = serving => {}
            () = certificate.watch() => {}
        },
        None => serving.await,
    }
    Ok(())
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    bounds: ListenBounds,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(bounds.max_connections));
    let server = Arc::new(server(bounds));
    // Owned here: every connection ends before this function does, or with it.
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            peer,
            server: Arc::clone(&server),
            router: router.clone(),
            bounds,
            stop: stop.clone(),
        };
        let tls = tls.clone();
        connections.spawn(async move {
            let _slot = slot;
            connection.open(stream, tls).await;
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn server(bounds: ListenBounds) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(HEAD_HARD_MAX_BYTES)
        .max_headers(HEAD_HARD_MAX_FIELDS);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_HARD_MAX_BYTES as u32)
        .max_concurrent_streams(H2_STREAMS)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_ERROR_RESETS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PING);
    server
}

struct Connection {
    peer: SocketAddr,
    server: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
    bounds: ListenBounds,
    stop: CancellationToken,
}

impl Connection {
    async fn open(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Tokens are small and each one counts.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot switch off delays on a connection");
        }
        let Some(tls) = tls else { return self.run(stream).await };
        match tokio::time::timeout(self.bounds.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.run(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "tls handshake failed"),
            Err(_) => tracing::debug!("tls handshake took too long"),
        }
    }

    async fn run<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer(self.peer);
        let first = Arc::new(Notify::new());
        let arrived = Arc::clone(&first);
        let service = self.router.map_request(move |mut request: Request<Incoming>| {
            arrived.notify_one();
            request.extensions_mut().insert(peer);
            request
        });
        let socket = Guarded::new(stream, self.bounds.head_timeout, self.bounds.write_stall);
        let connection =
            self.server.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                // Taken from the kernel and not asked for anything yet: its first request may be
                // on the way, and another process that listens here will never see it.
                let asked = tokio::time::timeout(FIRST_REQUEST, first.notified());
                tokio::select! {
                    biased;
                    _ = asked => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                    ended = connection.as_mut() => ended,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended early");
        }
    }
}
