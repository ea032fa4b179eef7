//! The door that providers dial in through: TLS with a certificate of relayd's own authority.
//!
//! A caller must speak TLS and offer [`ALPN`]; anybody else is cut during the handshake. No agent
//! protocol runs over it yet, so a caller that got that far is told goodbye by a close: the
//! listener takes no bytes, keeps no state and can be reached safely from anywhere.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The protocol that an agent must offer in its handshake.
pub const ALPN: &[u8] = b"relay-fleet/1";
/// Handshakes at once; more callers wait in the kernel.
const HANDSHAKES_MAX: usize = 64;
/// Longest handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// The listener's TLS side.
#[derive(Clone)]
pub struct FleetEdge {
    acceptor: TlsAcceptor,
}

impl FleetEdge {
    /// From a certificate chain and its key, PEM.
    ///
    /// # Errors
    /// When they are not PEM or do not belong together.
    pub fn new(cert_pem: &str, key_pem: &str) -> Result<Self, FleetEdgeError> {
        let chain =
            CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(tls)) })
    }

    /// Takes callers until `stop` fires.
    ///
    /// # Errors
    /// When the listener itself breaks.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut callers = JoinSet::new();
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(_) = callers.join_next(), if !callers.is_empty() => continue,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { return Ok(()) };
            let (socket, address) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
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
            let acceptor = self.acceptor.clone();
            callers.spawn(async move {
                let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket));
                match handshake.await {
                    Ok(Ok(mut caller)) if caller.get_ref().1.alpn_protocol() == Some(ALPN) => {
                        tracing::info!(%address, "an agent dialled in, but no provider can join this relay yet");
                        let _ = caller.shutdown().await;
                    }
                    Ok(Ok(_) | Err(_)) | Err(_) => {
                        tracing::debug!(%address, "a caller of the fleet listener was cut");
                    }
                }
                drop(place);
            });
        }
    }
}
