//! The credential that an engine asks for: read from its file when the engine is set up, and again
//! whenever it is probed, so that a renewed one is used without a restart.
//!
//! Invariants: what cannot be read never replaces what could; no value is logged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::transport::SetupError;
use crate::wire::Dialect;

/// Largest credential file, in bytes.
const CREDENTIAL_MAX_BYTES: u64 = 16 * 1024;

/// A credential and the file that it comes from.
pub(crate) struct Credential {
    path: PathBuf,
    dialect: Dialect,
    name: HeaderName,
    value: ArcSwap<HeaderValue>,
    /// The last attempt to read it again failed; said once.
    lost: AtomicBool,
}

impl Credential {
    /// Reads the file for the first time.
    pub(crate) fn read(path: &Path, dialect: Dialect) -> Result<Self, SetupError> {
        let (name, value) = header(path, dialect)?;
        Ok(Self {
            path: path.to_owned(),
            dialect,
            name,
            value: ArcSwap::from_pointee(value),
            lost: AtomicBool::new(false),
        })
    }

    /// Puts it among the headers of a request.
    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), HeaderValue::clone(&self.value.load()));
    }

    /// Reads the file again.
    pub(crate) async fn refresh(self: &Arc<Self>) {
        let credential = Arc::clone(self);
        // The thread ends by itself, and nothing but this waits for it.
        let read = tokio::task::spawn_blocking(move || {
            let found = header(&credential.path, credential.dialect);
            credential.take(found);
        });
        let _ = read.await;
    }

    fn take(&self, found: Result<(HeaderName, HeaderValue), SetupError>) {
        match found {
            Ok((_, value)) => {
                self.lost.store(false, Ordering::Relaxed);
                if **self.value.load() != value {
                    tracing::info!(file = %self.path.display(), "another credential is used");
                    self.value.store(Arc::new(value));
                }
            }
            Err(error) if !self.lost.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "the credential is kept as it was read before");
            }
            Err(_) => {}
        }
    }
}

fn header(path: &Path, dialect: Dialect) -> Result<(HeaderName, HeaderValue), SetupError> {
    let refuse = |why: String| SetupError::Credential { path: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if size > CREDENTIAL_MAX_BYTES {
        return Err(refuse(format!("is larger than {CREDENTIAL_MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let text = Zeroizing::new(text);
    let secret = text.trim();
    if secret.is_empty() {
        return Err(refuse("is empty".to_owned()));
    }
    let (name, line) = match dialect {
        Dialect::Anthropic => (HeaderName::from_static("x-api-key"), secret.to_owned()),
        Dialect::Openai | Dialect::Ollama => (AUTHORIZATION, format!("Bearer {secret}")),
    };
    let line = Zeroizing::new(line);
    let mut value = HeaderValue::from_str(&line)
        .map_err(|_| refuse("holds characters that no header may carry".to_owned()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_comes_whole_from_its_file_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let (name, value) = header(&file, Dialect::Openai).unwrap();
        assert_eq!((name, value.to_str().unwrap()), (AUTHORIZATION, "Bearer s3cret"));
        assert!(value.is_sensitive());
        let (name, value) = header(&file, Dialect::Anthropic).unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-api-key", "s3cret"));
        for bad in ["", " \n", "a\nb"] {
            std::fs::write(&file, bad).unwrap();
            assert!(header(&file, Dialect::Openai).is_err(), "{bad:?}");
        }
        assert!(header(&dir.path().join("absent"), Dialect::Openai).is_err());
    }

    #[tokio::test]
    async fn a_renewed_file_is_taken_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "old").unwrap();
        let credential = Arc::new(Credential::read(&file, Dialect::Openai).unwrap());
        let sent = || {
            let mut headers = HeaderMap::new();
            credential.put(&mut headers);
            headers[AUTHORIZATION].to_str().unwrap().to_owned()
        };
        assert_eq!(sent(), "Bearer old");
        std::fs::write(&file, "new\n").unwrap();
        credential.refresh().await;
        assert_eq!(sent(), "Bearer new");
        for broken in ["", "a\nb"] {
            std::fs::write(&file, broken).unwrap();
            credential.refresh().await;
            assert_eq!(sent(), "Bearer new", "{broken:?}");
        }
        std::fs::remove_file(&file).unwrap();
        credential.refresh().await;
        assert_eq!(sent(), "Bearer new");
        std::fs::write(&file, "newer").unwrap();
        credential.refresh().await;
        assert_eq!(sent(), "Bearer newer");
    }
}
