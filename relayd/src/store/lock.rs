//! One relayd per SQLite file: an OS lock that vanishes with the process.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::error::StoreError;

/// Held while the process lives.
#[derive(Debug)]
pub(super) struct FileLock(#[expect(dead_code, reason = "held for its lock")] File);

impl FileLock {
    /// Takes the lock of a database: a file of its own beside it, because closing any descriptor
    /// of the database itself would drop SQLite's locks.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let path = Path::new(&name);
        let unusable =
            |error| StoreError::Unavailable(format!("cannot lock {}: {error}", path.display()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => {
                Err(StoreError::Locked(database.display().to_string()))
            }
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}
