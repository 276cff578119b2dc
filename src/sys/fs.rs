//! Files: `fs-err`'s functions (their errors name the path) and the few operations that must be exact.
//!
//! A file is never created under its final name. It is written beside it and renamed, so that a reader or
//! a kill at any moment sees the old file or the new one.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use fs_err::os::unix::fs::{FileExt, OpenOptionsExt, symlink};
pub use fs_err::{
    File, OpenOptions, canonicalize, copy, create_dir, create_dir_all, hard_link, metadata, read_dir,
    read_link, remove_dir_all, remove_file, rename, set_permissions, symlink_metadata,
};
pub use std::fs::Permissions;
pub use std::os::unix::fs::{MetadataExt, PermissionsExt};
pub use tempfile::{NamedTempFile, TempDir};

use super::cancel::{Cancel, Cancelled};

/// The most bytes that a file may have which is read as a whole: a program with all its debugging information has less.
const LARGEST: u64 = 4 << 30;
/// The most bytes that a text may have.
const LARGEST_TEXT: u64 = 64 << 20;

/// Opens a regular file. What is none is refused and not waited for: a project or an image may have a pipe or a device in the place
/// of a document.
pub fn open(path: &Path) -> io::Result<File> {
    // Without this flag, opening a pipe would wait for somebody to write to it. It means nothing to a file.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let (error, what) = if kind.is_dir() {
        (io::ErrorKind::IsADirectory, "a directory")
    } else {
        (io::ErrorKind::InvalidInput, "a pipe, a socket or a device")
    };
    Err(io::Error::new(error, format!("cannot read `{}`: it is {what} and not a file", path.display())))
}

/// True where a path is a link, or leads through links in its own folder, to something outside of that folder: whoever
/// wrote the folder need not have written what is there.
#[must_use]
pub fn leads_out(path: &Path) -> bool {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (canonicalize(path), canonicalize(folder)) {
        (Ok(real), Ok(folder)) => !real.starts_with(folder),
        _ => false,
    }
}

/// A regular file's bytes.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    bounded(open(path.as_ref())?, path.as_ref(), LARGEST)
}

/// A regular file's text.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    text(bounded(open(path.as_ref())?, path.as_ref(), LARGEST_TEXT)?, path.as_ref())
}

/// The text of what the user has named, which may be a pipe: a shell's `<(…)` is one.
pub fn read_stream_to_string(path: &Path) -> io::Result<String> {
    text(bounded(File::open(path)?, path, LARGEST_TEXT)?, path)
}

fn bounded(file: File, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= limit {
        return Ok(bytes);
    }
    let what = format!("cannot read `{}`: it has more than {} MiB", path.display(), limit >> 20);
    Err(io::Error::new(io::ErrorKind::FileTooLarge, what))
}

fn text(bytes: Vec<u8>, path: &Path) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("cannot read `{}`: it is not UTF-8", path.display()),
        )
    })
}

/// A new temporary file in `folder`, on the same file system as what it will become.
pub fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".xbuild-").tempfile_in(folder)
}

/// Reads once, as often as that is interrupted.
pub fn read_piece(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A new temporary folder in `folder`.
pub fn temporary_dir(folder: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(".xbuild-").tempdir_in(folder)
}

/// A new temporary folder in `folder` whose name starts with `prefix`.
pub fn temporary_dir_named(folder: &Path, prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir_in(folder)
}

/// The temporary folders of this process that no run to the same place would find.
static SCRATCH: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A new temporary folder where the system has them.
pub fn scratch_dir() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("xbuild-").tempdir()?;
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).push(folder.path().to_owned());
    Ok(folder)
}

/// Removes the temporary folders that are still there, for a process that ends at once.
pub(super) fn remove_scratch() {
    for folder in SCRATCH.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // Most are gone already; and nobody is there to be told any more.
        std::fs::remove_dir_all(folder).ok();
    }
}

/// A new file without a name where the system has temporary files, gone when it is closed. Errors about it name
/// `what`.
pub fn unnamed_file(what: &Path) -> io::Result<File> {
    Ok(File::from_parts(tempfile::tempfile()?, what))
}

/// How many bytes may still be written to a folder's file system.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Sets a file's time of modification, in seconds since 1970 and nanoseconds after that second. One that the system cannot
/// tell is left alone.
pub fn set_modified(file: &File, seconds: i64, nanoseconds: u32) -> io::Result<()> {
    let (epoch, whole) = (std::time::SystemTime::UNIX_EPOCH, Duration::from_secs(seconds.unsigned_abs()));
    let second = if seconds < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
    match second.and_then(|second| second.checked_add(Duration::from_nanos(nanoseconds.into()))) {
        Some(time) => file.file().set_modified(time),
        None => Ok(()),
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
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = read(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert!(read_to_string(path).is_err());
        }
        assert_eq!(read(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = folder.path().join("file");
        std::fs::File::create(&file).unwrap().set_len(LARGEST_TEXT + 1).unwrap();
        assert_eq!(read_to_string(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_stream_to_string(&file).is_err());
    }

    #[test]
    fn a_link_out_of_its_folder_is_told_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) =
            (folder.path().join("inner"), |name: &str| folder.path().join("inner").join(name));
        create_dir(&inner).unwrap();
        write_atomic(&folder.path().join("secret"), b"x", 0o644).unwrap();
        write_atomic(&path("own"), b"x", 0o644).unwrap();
        symlink("own", path("within")).unwrap();
        symlink("../secret", path("out")).unwrap();
        symlink("out", path("twice")).unwrap();
        symlink(&inner, folder.path().join("door")).unwrap();
        for (name, out) in
            [("own", false), ("within", false), ("none", false), ("out", true), ("twice", true)]
        {
            assert_eq!(leads_out(&path(name)), out, "{name}");
            // The folder itself may be anywhere.
            assert_eq!(leads_out(&folder.path().join("door").join(name)), out, "{name}");
        }
    }

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
