//! PEM files on disk.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{AUTHORITY_DAYS, Authority, Issued, PkiError, Validity};

/// The authority's certificate in its folder.
pub const AUTHORITY_CERT: &str = "ca.pem";
/// The authority's private key in its folder.
pub const AUTHORITY_KEY: &str = "ca-key.pem";

/// Only its owner may read a key or list the folder.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// A PEM file beyond this many bytes is not one.
const PEM_MAX_BYTES: u64 = 64 * 1024;

impl Authority {
    /// Writes `ca.pem` and `ca-key.pem` into a folder, which is made when it is missing.
    ///
    /// # Errors
    /// [`PkiError::Exists`] when either file is there; then nothing is written.
    pub fn save(&self, folder: &Path) -> Result<(), PkiError> {
        write_pair(folder, (AUTHORITY_CERT, self.cert_pem()), (AUTHORITY_KEY, self.key_pem()))
            .map(|_| ())
    }

    /// Reads `ca.pem` and `ca-key.pem` from a folder.
    ///
    /// # Errors
    /// [`PkiError::Io`] when a file cannot be read, [`PkiError::Authority`] when it is no authority.
    pub fn load(folder: &Path) -> Result<Self, PkiError> {
        let cert = read(&folder.join(AUTHORITY_CERT))?;
        let key = read(&folder.join(AUTHORITY_KEY))?;
        Self::from_pem(&cert, &key).map_err(|error| PkiError::Authority {
            path: folder.to_owned(),
            reason: error.to_string(),
        })
    }

    /// The authority of a folder; made there with this name when the folder holds none.
    ///
    /// # Errors
    /// As [`Authority::load`] and [`Authority::save`]: half an authority is an error, never a
    /// reason to make a new one.
    pub fn open(folder: &Path, name: &str) -> Result<Self, PkiError> {
        let present = |file: &str| folder.join(file).exists();
        if present(AUTHORITY_CERT) || present(AUTHORITY_KEY) {
            return Self::load(folder);
        }
        let authority = Self::create(name, Validity::days(AUTHORITY_DAYS)?)?;
        authority.save(folder)?;
        Ok(authority)
    }
}

impl Issued {
    /// Writes `<stem>.pem` and `<stem>-key.pem`; gives back both paths.
    ///
    /// # Errors
    /// [`PkiError::Exists`] when either file is there; then nothing is written.
    pub fn save(&self, folder: &Path, stem: &str) -> Result<(PathBuf, PathBuf), PkiError> {
        write_pair(
            folder,
            (&format!("{stem}.pem"), &self.cert_pem),
            (&format!("{stem}-key.pem"), &self.key_pem),
        )
    }
}

fn write_pair(
    folder: &Path,
    (cert_name, cert): (&str, &str),
    (key_name, key): (&str, &str),
) -> Result<(PathBuf, PathBuf), PkiError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(|source| PkiError::Io { path: folder.to_owned(), source })?;
    let (cert_path, key_path) = (folder.join(cert_name), folder.join(key_name));
    if let Some(taken) = [&cert_path, &key_path].into_iter().find(|path| path.exists()) {
        return Err(PkiError::Exists(taken.clone()));
    }
    write_new(&key_path, key)?;
    write_new(&cert_path, cert)?;
    Ok((cert_path, key_path))
}

/// `create_new` decides, so that two at once cannot overwrite each other.
fn write_new(path: &Path, text: &str) -> Result<(), PkiError> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::AlreadyExists => PkiError::Exists(path.to_owned()),
        _ => PkiError::Io { path: path.to_owned(), source },
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

fn read(path: &Path) -> Result<String, PkiError> {
    let failed = |source| PkiError::Io { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > PEM_MAX_BYTES {
        return Err(PkiError::Authority {
            path: path.to_owned(),
            reason: format!("{bytes} bytes are too many for a PEM file"),
        });
    }
    fs::read_to_string(path).map_err(failed)
}
