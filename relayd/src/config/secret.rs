//! Secrets: read from a file, never shown.

use std::fmt;
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes that no log, error or screen may show. Cleared when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret from bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a secret from a file; blanks and line ends around it do not belong to it.
    ///
    /// # Errors
    /// When the file cannot be read, or holds fewer than `least` bytes.
    pub fn read(file: &Path, least: usize) -> io::Result<Self> {
        let bytes = Zeroizing::new(std::fs::read(file)?);
        let trimmed = bytes.trim_ascii();
        if trimmed.len() < least.max(1) {
            let problem = if trimmed.is_empty() {
                "the file is empty".to_owned()
            } else {
                format!("the secret is shorter than {least} bytes")
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(Self::new(trimmed.to_vec()))
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text; `None` when it is not UTF-8.
    #[must_use]
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
