//! A file that appears under its path only when it is whole. Until then its bytes are in `<name>.partial` beside it, where a
//! later process finds them, and `<name>.lock` keeps other processes from the same work.

use std::io;
use std::path::{Path, PathBuf};

use super::cancel::Cancel;
use super::fs::{self, File, Lock, LockError, OpenOptions};
use super::store;

/// The right to fill a file.
pub struct PartialFile {
    path: PathBuf,
    _lock: Lock,
}

impl PartialFile {
    /// Waits until no other process fills the file at `path`. Its directory must exist.
    pub fn lock(path: &Path, cancel: &Cancel) -> Result<Self, LockError> {
        let lock = fs::lock(&with_suffix(path, ".lock"), cancel).map_err(|error| match error {
            LockError::Io(error) => LockError::Io(store::lacking(path, error)),
            cancelled @ LockError::Cancelled(_) => cancelled,
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The path of the bytes so far.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        with_suffix(&self.path, ".partial")
    }

    /// Opens the bytes so far, of which there may be none.
    pub fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).read(true).write(true).open(self.path())
    }

    /// Removes the bytes so far.
    pub fn discard(&self) -> io::Result<()> {
        fs::remove_file(self.path())
    }

    /// Moves the bytes to the file's path.
    pub fn publish(&self) -> io::Result<()> {
        File::open(self.path())?.sync_data()?;
        fs::rename(self.path(), &self.path)
    }

    /// Removes the lock's file, for directories that are not the cache's.
    pub fn remove_lock(self) -> io::Result<()> {
        fs::remove_file(with_suffix(&self.path, ".lock"))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
