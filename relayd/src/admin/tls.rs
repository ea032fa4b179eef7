//! Who may reach the admin listener at all.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::config::AdminListener;

/// A client that does not finish its TLS handshake in this time is let go.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the admin plane cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Off loopback without mTLS.
    #[error(
        "the admin plane on {0} needs mTLS: set listener.admin.tls and \
         listener.admin.client_ca_file (relayd pki makes the files), or listen on 127.0.0.1"
    )]
    Unguarded(SocketAddr),
    /// A file of the listener cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificates do not work.
    #[error("the certificates of the admin listener cannot be used: {0}")]
    Tls(String),
    /// The listener failed.
    #[error("the admin listener failed: {0}")]
    Listener(String),
}

/// The listener's TLS; none on loopback without it.
///
/// # Errors
/// [`AdminError::Unguarded`] when the address is off loopback and either the certificate or the
/// clients' authority is missing, the others for files that cannot be used.
pub(super) fn guard(
    address: SocketAddr,
    listener: &AdminListener,
) -> Result<Option<ServerTlsConfig>, AdminError> {
    let mutual = listener.tls.is_some() && listener.client_ca_file.is_some();
    if !address.ip().is_loopback() && !mutual {
        return Err(AdminError::Unguarded(address));
    }
    let Some(files) = &listener.tls else { return Ok(None) };
    let identity = Identity::from_pem(read(&files.cert_file)?, read(&files.key_file)?);
    let mut tls = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE_TIMEOUT);
    if let Some(authority) = &listener.client_ca_file {
        tls = tls.client_ca_root(Certificate::from_pem(read(authority)?));
    }
    Ok(Some(tls))
}

fn read(path: &Path) -> Result<String, AdminError> {
    std::fs::read_to_string(path)
        .map_err(|source| AdminError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;

    #[test]
    fn off_loopback_mutual_tls_is_not_optional() {
        let tls = TlsFiles { cert_file: "/none/cert.pem".into(), key_file: "/none/key.pem".into() };
        let plain = AdminListener::default();
        let half = AdminListener { tls: Some(tls.clone()), ..AdminListener::default() };
        let whole = AdminListener { client_ca_file: Some("/none/ca.pem".into()), ..half.clone() };
        for off in ["0.0.0.0:8701", "10.0.0.5:8701", "[::]:8701"] {
            let off = off.parse().unwrap();
            for listener in [&plain, &half] {
                let refused = guard(off, listener).unwrap_err();
                assert!(matches!(refused, AdminError::Unguarded(_)));
                assert!(refused.to_string().contains("relayd pki"), "{refused}");
            }
            assert!(matches!(guard(off, &whole), Err(AdminError::File { .. })));
        }
        for on in ["127.0.0.1:8701", "[::1]:8701"] {
            assert!(guard(on.parse().unwrap(), &plain).unwrap().is_none());
        }
    }
}
