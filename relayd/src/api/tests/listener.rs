//! Connections: HTTP/1.1 and HTTP/2, TLS with exchanged certificates, bounds, and an orderly end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::api::{ListenBounds, Peer, TlsError, serve};
use crate::config::TlsFiles;

struct Served {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), TlsError>>,
}

async fn start(tls: Option<TlsFiles>, routes: Router, head: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let bounds = ListenBounds {
        head_timeout: head,
        write_stall: Duration::from_secs(30),
        max_connections: 8,
    };
    let task = tokio::spawn(serve(listener, tls, routes, bounds, stop.clone()));
    Served { addr, stop, task }
}

fn routes() -> Router {
    Router::new()
        .route("/peer", get(|peer: axum::Extension<Peer>| async move { peer.0.0.ip().to_string() }))
}

const PATIENT: Duration = Duration::from_secs(30);

/// Sends bytes and reads until the other side closes.
async fn raw(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn http_1_is_served_with_the_peers_address() {
    let served = start(None, routes(), PATIENT).await;
    let request = b"GET /peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = raw(served.addr, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn http_2_is_served_without_tls_too() {
    let served = start(None, routes(), PATIENT).await;
    let stream = TokioIo::new(TcpStream::connect(served.addr).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://x/peer").body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "127.0.0.1");
}

#[tokio::test]
async fn a_head_without_end_is_refused_or_cut() {
    let served = start(None, routes(), Duration::from_millis(200)).await;
    let mut endless = b"GET /peer HTTP/1.1\r\nhost: x\r\nx-long: ".to_vec();
    endless.resize(140_000, b'x');
    endless.extend(b"\r\n\r\n");
    let answer = raw(served.addr, &endless).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    // Nothing at all, a few bytes, half a head: each is cut, and none holds its place.
    for opening in [&b""[..], b"GE", b"GET /peer HTTP/1.1\r\nhost: x\r\nx: "] {
        let answer = raw(served.addr, opening).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
}

#[tokio::test]
async fn stopping_lets_a_running_answer_end_and_takes_no_more() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let finish = Arc::new(tokio::sync::Notify::new());
    let (told, go) = (Arc::clone(&begun), Arc::clone(&finish));
    let slow = move || {
        let (told, go) = (Arc::clone(&told), Arc::clone(&go));
        async move {
            told.notify_one();
            go.notified().await;
            "done"
        }
    };
    let served = start(None, Router::new().route("/slow", get(slow)), PATIENT).await;
    let addr = served.addr;
    let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    let running = tokio::spawn(async move { raw(addr, request).await });
    begun.notified().await;
    served.stop.cancel();
    // The listener is gone while the answer is still to come.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!served.task.is_finished());
    finish.notify_one();
    let answer = running.await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    served.task.await.unwrap().unwrap();
}

fn write_certificate(dir: &Path, files: &TlsFiles) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    // Both by rename, as careful tools do; between the two the pair does not fit.
    for (text, file) in
        [(made.cert.pem(), &files.cert_file), (made.signing_key.serialize_pem(), &files.key_file)]
    {
        let fresh = dir.join("fresh.pem");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(&fresh, file).unwrap();
    }
    made.cert.der().clone()
}

/// Shakes hands trusting exactly this certificate.
async fn shake(addr: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<bool> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(stream.get_ref().1.alpn_protocol() == Some(b"h2"))
}

#[tokio::test]
async fn a_changed_certificate_is_used_for_new_handshakes() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        TlsFiles { cert_file: dir.path().join("tls.crt"), key_file: dir.path().join("tls.key") };
    let first = write_certificate(dir.path(), &files);
    let served = start(Some(files.clone()), routes(), PATIENT).await;
    assert!(shake(served.addr, &first).await.unwrap(), "HTTP/2 is offered and taken");

    let second = write_certificate(dir.path(), &files);
    assert_ne!(first, second);
    while shake(served.addr, &second).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(shake(served.addr, &first).await.is_err(), "the old one is not handed out any more");

    std::fs::write(&files.key_file, "no key").unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(shake(served.addr, &second).await.is_ok(), "what cannot be used changes nothing");
    served.stop.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let files =
        TlsFiles { cert_file: dir.path().join("none.crt"), key_file: dir.path().join("none.key") };
    let served = start(Some(files), routes(), PATIENT).await;
    let error = served.task.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("none.crt"), "{error}");
}
