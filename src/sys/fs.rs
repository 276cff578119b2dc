//! Files: `fs-err`'s functions (their errors name the path) and the few operations that must be exact.
//!
//! A file is never created under its final name. It is written beside it and renamed, so that a reader or
//! a kill at any moment sees the old file or the new one.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

pub use fs_err::os::unix::fs::{FileExt, symlink};
pub use fs_err::{
    File, OpenOptions, canonicalize, copy, create_dir, create_dir_all, hard_link, metadata, read, read_dir,
    read_link, read_to_string, remove_dir_all, remove_file, rename, set_permissions, symlink_metadata,
};
pub use std::fs::Permissions;
pub use std::os::unix::fs::{MetadataExt, PermissionsExt};
pub use tempfile::{NamedTempFile, TempDir};

use super::cancel::{Cancel, Cancelled};

/// A new temporary file in `folder`, on the same file system as what it will become.
pub fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".xbuild-").tempfile_in(folder)
}

/// A new temporary folder in `folder`.
pub fn temporary_dir(folder: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(".xbuild-").tempdir_in(folder)
}

/// A new temporary folder in `folder` whose name starts with `prefix`.
pub fn temporary_dir_named(folder: &Path, prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir_in(folder)
}

/// A new temporary folder where the system has them.
pub fn scratch_dir() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("xbuild-").tempdir()
}

/// A new file without a name where the system has temporary files, gone when it is closed. Errors about it name
/// `what`.
pub fn unnamed_file(what: &Path) -> io::Result<File> {
    Ok(File::from_parts(tempfile::tempfile()?, what))
}

/// Sets a file's time of modification, in seconds since 1970; a time before that is left alone.
pub fn set_modified(file: &File, seconds: i64) -> io::Result<()> {
    match u64::try_from(seconds) {
        Ok(seconds) => {
            file.file().set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        }
        Err(_) => Ok(()),
    }
}

/// Gives a temporary file its final name, with mode `mode` whatever the umask; its bytes are on disk before
/// its name is.
pub fn publish(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    file.as_file().sync_data()?;
    keep(file, path, mode)
}

/// As [`publish`], but does not wait for the disk: for what is verified whenever it is read, or is synced later.
pub fn keep(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path).map(drop).map_err(|error| {
        io::Error::new(error.error.kind(), format!("failed to publish `{}`: {}", path.display(), error.error))
    })
}

/// Writes a small file by [`publish`]; its folder must exist.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = temporary_file(path.parent().unwrap_or_else(|| Path::new(".")))?;
    file.write_all(bytes)?;
    publish(file, path, mode)
}

/// Makes `to` have the content of `from` at the least cost: a reflink, else a hard link, else a copy. `to`
/// appears at once and whole. An existing `to` is replaced.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let folder = temporary_dir(to.parent().unwrap_or_else(|| Path::new(".")))?;
    let beside = folder.path().join("file");
    if reflink_copy::reflink(from, &beside).is_err() && std::fs::hard_link(from, &beside).is_err() {
        copy(from, &beside)?;
    }
    rename(&beside, to)
}

/// An exclusive lock on a path, held until dropped; the kernel lets go of it if the process dies.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code, reason = "held for its lock")] std::fs::File);

/// Locks `path` (a file that is created where it is missing, or an existing folder) against other processes
/// and threads, and waits for it as long as `cancel` allows. `on_wait` is called once if there is a wait.
pub fn lock(path: &Path, cancel: &Cancel, mut on_wait: impl FnMut()) -> Result<Lock, LockError> {
    let file = if path.is_dir() {
        File::open(path)?.into_parts().0
    } else {
        OpenOptions::new().create(true).truncate(false).write(true).open(path)?.into_parts().0
    };
    let mut waited = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(std::fs::TryLockError::WouldBlock) => {
                if !std::mem::replace(&mut waited, true) {
                    on_wait();
                }
                cancel.check()?;
                super::clock::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Locks an existing path if nobody else has it locked.
pub fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::open(path)?.into_parts().0;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file could not be opened or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The wait was ended.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl LockError {
    /// As the caller's error.
    #[must_use]
    pub fn into_error<E: From<io::Error> + From<Cancelled>>(self) -> E {
        match self {
            Self::Io(error) => error.into(),
            Self::Cancelled(cancelled) => cancelled.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_atomic_sets_the_mode_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn link_or_copy_replaces_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_atomic(&from, b"new", 0o644).unwrap();
        write_atomic(&to, b"old", 0o644).unwrap();
        link_or_copy(&from, &to).unwrap();
        assert_eq!(read(&to).unwrap(), b"new");
    }

    #[test]
    fn a_second_lock_waits_until_told_to_stop() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path(), &Cancel::new(), || ()).unwrap();
        let cancel = Cancel::new().within(Duration::from_millis(50), "the lock");
        let mut waits = 0;
        assert!(matches!(
            lock(folder.path(), &cancel, || waits += 1),
            Err(LockError::Cancelled(Cancelled::TimedOut { .. }))
        ));
        assert_eq!(waits, 1);
        drop(held);
        lock(folder.path(), &Cancel::new(), || ()).unwrap();
    }
}
