//! TLS from files that are read again when they change.
//!
//! Running connections keep the certificate they began with; handshakes after a change use the new
//! one. A pair of files that does not fit together leaves the old certificate in place and is
//! logged once per change.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::TlsFiles;

/// Time between two looks at the files' times and sizes.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Why TLS cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", .file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", .file.display())]
    Pem {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Chain and key do not belong together, or the key is of an unknown kind.
    #[error("certificate and key: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate that can be exchanged while connections are open.
pub struct Certificate {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

/// What tells one version of the files from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([Option<(SystemTime, u64)>; 2]);

impl Certificate {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`] when they cannot be used.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(load(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// A server configuration that hands out this certificate, for HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// When the TLS provider lacks the protocol versions.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks at the files for as long as it is polled, and takes what changed.
    pub async fn watch(self: Arc<Self>) {
        let mut seen = Stamp::of(&self.files);
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let stamp = Stamp::of(&self.files);
            if stamp == seen {
                continue;
            }
            seen = stamp;
            match load(&self.files) {
                Ok(key) => {
                    self.current.store(Arc::new(key));
                    tracing::info!(file = %self.files.cert_file.display(), "certificate reloaded");
                }
                Err(error) => {
                    tracing::warn!(%error, "changed certificate cannot be used, the old one stays");
                }
            }
        }
    }
}

/// Reads a chain and its key.
fn load(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let read = |file: &PathBuf| {
        std::fs::read(file).map_err(|error| TlsError::Read { file: file.clone(), error })
    };
    let pem = |file: &PathBuf, problem: String| TlsError::Pem { file: file.clone(), problem };
    let text = read(&files.cert_file)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(&files.cert_file, error.to_string()))?;
    if chain.is_empty() {
        return Err(pem(&files.cert_file, "holds no certificate".to_owned()));
    }
    let text = zeroize::Zeroizing::new(read(&files.key_file)?);
    let key = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| pem(&files.key_file, "holds no private key".to_owned()))?;
    let provider = rustls::crypto::ring::default_provider();
    Ok(CertifiedKey::from_der(chain, key, &provider)?)
}

impl Stamp {
    fn of(files: &TlsFiles) -> Self {
        let of = |file: &PathBuf| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Self([of(&files.cert_file), of(&files.key_file)])
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}
