//! The secrets that `relayd dev` makes at its first start and reuses at every later one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::private;

/// Bytes of a pepper: as many as the hash that it keys.
const PEPPER_BYTES: usize = 32;

/// Credentials of the development Relay; they lie in `dev.json`, readable by the owner only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DevSecrets {
    /// A superkey on a custom tier without request limits.
    pub(super) api_key: String,
    /// A token for the admin plane, role admin.
    pub(super) operator_token: String,
    /// What an agent shows when it dials in for the first time.
    pub(super) join_token: String,
}

impl DevSecrets {
    /// Where they lie in a data directory.
    pub(super) fn file(data_dir: &Path) -> PathBuf {
        data_dir.join("dev.json")
    }

    /// The secrets of an earlier start, if there was one.
    ///
    /// # Errors
    /// When the file exists but cannot be read or understood.
    pub(super) fn load(data_dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(Self::file(data_dir)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps them for the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self, data_dir: &Path) -> io::Result<()> {
        private::write(&Self::file(data_dir), &serde_json::to_vec_pretty(self)?)
    }
}

/// Makes a pepper file unless there is one.
///
/// # Errors
/// When there is no randomness or the file cannot be written.
pub(super) fn ensure_pepper(file: &Path) -> io::Result<()> {
    if file.exists() {
        Ok(())
    } else {
        private::write(file, random_hex::<PEPPER_BYTES>()?.as_bytes())
    }
}

/// A fresh token: a prefix and 192 random bits in hex.
///
/// # Errors
/// When the system gives no randomness.
pub(super) fn token(prefix: &str) -> io::Result<String> {
    Ok(format!("{prefix}{}", random_hex::<24>()?))
}

fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0u8; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn secrets_survive_and_only_the_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        assert!(DevSecrets::load(dir.path()).unwrap().is_none());
        let secrets = DevSecrets {
            api_key: token("relay_sk_").unwrap(),
            operator_token: token("relay_op_").unwrap(),
            join_token: token("relay_join_").unwrap(),
        };
        secrets.save(dir.path()).unwrap();
        assert!(DevSecrets::load(dir.path()).unwrap() == Some(secrets));
        let mode = fs::metadata(DevSecrets::file(dir.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no leftover");
    }

    #[test]
    fn a_pepper_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pepper");
        ensure_pepper(&file).unwrap();
        let first = fs::read(&file).unwrap();
        ensure_pepper(&file).unwrap();
        assert_eq!(fs::read(&file).unwrap(), first);
        assert_eq!(first.len(), 2 * PEPPER_BYTES);
    }
}
