//! A stand-in's HTTP server, and a client for it.

use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use axum::Router;
use tokio_util::sync::CancellationToken;

/// Routes served on a free port of loopback, on a thread of their own: a test may block while a
/// daemon asks them. Ends when dropped, its connections with it.
pub(crate) struct Served {
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves from when this returns.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) fn start(routes: Router) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = axum::serve(listener, routes) => {}
                    () = stopped.cancelled() => {}
                }
            });
        });
        Ok(Self { url, stop, thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An HTTP client for loopback, whatever the environment says of proxies.
///
/// # Errors
/// When it cannot be made.
pub fn client() -> reqwest::Result<reqwest::Client> {
    // Ring is the process's TLS provider; whoever comes second finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build()
}
