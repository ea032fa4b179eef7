//! The door that providers dial in through: TLS with a certificate of relayd's own authority, a
//! greeting, and then HTTP/2 with the roles turned.
//!
//! A caller must speak TLS and offer the protocol, prove its key over this very connection, and be
//! let in by the fleet; anybody else is cut or told why not, within ten seconds. It knows the
//! frames and the connection; who is a provider and what becomes of it is the fleet's business.
//!
//! Invariants: greetings under way are bounded, and so are sessions; nothing of a caller is stored
//! before its signature held; a session that answers no ping is ended, and with it everything
//! that waits on it.

mod greeting;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::fleet::Providers;
use crate::handshake::{ALPN, GREETING_TIMEOUT};

/// Greetings at once; more callers wait in the kernel.
const GREETINGS_MAX: usize = 64;
/// Sessions at once: far more hosts than one relay serves, and a bound on memory.
const SESSIONS_MAX: usize = 4096;

/// Why the listener cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum FleetEdgeError {
    /// The certificate or key is not PEM.
    #[error("the fleet certificate is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// The certificate and key do not fit.
    #[error("the fleet certificate cannot be served: {0}")]
    Tls(#[from] rustls::Error),
}

/// What this relay tells an agent of itself.
#[derive(Clone, Debug)]
pub struct Welcomes {
    /// What it calls itself.
    pub relay_name: String,
    /// Where agents reach it and its other replicas, as that changes.
    pub replicas: watch::Receiver<Vec<String>>,
}

/// The listener's TLS side, and whom it asks.
#[derive(Clone)]
pub struct FleetEdge {
    acceptor: TlsAcceptor,
    door: Arc<Door>,
}

struct Door {
    providers: Providers,
    welcomes: Welcomes,
}

impl FleetEdge {
    /// From a certificate chain and its key, PEM.
    ///
    /// # Errors
    /// When they are not PEM or do not belong together.
    pub fn new(
        cert_pem: &str,
        key_pem: &str,
        providers: Providers,
        welcomes: Welcomes,
    ) -> Result<Self, FleetEdgeError> {
        let chain =
            CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Ok(Self { acceptor, door: Arc::new(Door { providers, welcomes }) })
    }

    /// Takes callers until `stop` fires, and ends their sessions then.
    ///
    /// # Errors
    /// When the listener itself breaks.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
        let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
        // Owned here; it is empty when this ends.
        let mut callers = JoinSet::new();
        loop {
            let place = async {
                let session = Arc::clone(&sessions).acquire_owned().await;
                (session, Arc::clone(&greetings).acquire_owned().await)
            };
            let (session_place, greeting_place) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = callers.join_next(), if !callers.is_empty() => continue,
                places = place => places,
            };
            let (socket, address) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of descriptors, most likely: it passes, and a tight loop would not help.
                        tracing::warn!(%error, "fleet listener could not accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (edge, stop) = (self.clone(), stop.clone());
            callers.spawn(async move {
                let greeted = async {
                    socket.set_nodelay(true)?;
                    let tls = edge.acceptor.accept(socket).await?;
                    greeting::greet(&edge.door, tls, address).await
                };
                let greeted = match timeout(GREETING_TIMEOUT, greeted).await {
                    Ok(Ok(greeted)) => greeted,
                    Ok(Err(error)) => {
                        tracing::info!(%address, %error, "a caller of the fleet listener was not let in");
                        return;
                    }
                    Err(_) => {
                        tracing::info!(%address, "a caller of the fleet listener was too slow");
                        return;
                    }
                };
                drop(greeting_place);
                session::run(&edge.door, greeted, &stop).await;
                drop(session_place);
            });
        }
        while callers.join_next().await.is_some() {}
        Ok(())
    }
}
