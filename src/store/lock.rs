//! The file of a database is its owner's alone, and one process's alone while a broker serves from it: two brokers that end
//! and issue from one file would each trust a memory that the other changes.

use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::StoreError;

/// What the group and others may do.
const OTHERS: u32 = 0o077;

/// A file that is held; let go when it is dropped, and by the operating system when the process is gone.
#[derive(Debug)]
pub(super) struct FileLock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl FileLock {
    /// Take the lock next to a database.
    ///
    /// # Errors
    /// `Unavailable` when another process holds it, with the words `store-locked`.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push("-lock");
        let path = Path::new(&path);
        let refuse = |why: String| StoreError::Unavailable(format!("{}: {why}", path.display()));
        let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = opened.map_err(|error| refuse(error.to_string()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(refuse(
                "store-locked: another process uses this database; stop it first, or let both use PostgreSQL"
                    .to_owned(),
            )),
            Err(error) => Err(refuse(error.to_string())),
        }
    }
}

/// Refuse a file that somebody else than its owner may read or write.
pub(super) fn refuse_readable_by_others(path: &Path) -> Result<(), StoreError> {
    let refuse = |why: String| StoreError::Unavailable(format!("{}: {why}", path.display()));
    let mode = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.permissions().mode();
    if mode & OTHERS != 0 {
        let mode = mode & 0o7777;
        return Err(refuse(format!("others than its owner may use it (mode {mode:04o}); run chmod 600 on it")));
    }
    Ok(())
}
