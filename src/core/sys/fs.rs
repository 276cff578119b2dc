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
    File, OpenOptions, canonicalize, copy, create_dir, hard_link, metadata, read_dir, read_link, remove_dir,
    remove_dir_all, remove_file, rename, set_permissions, symlink_metadata,
};
pub use std::fs::Permissions;
pub use std::os::unix::fs::{MetadataExt, PermissionsExt};
pub use tempfile::{NamedTempFile, TempDir};

pub use super::locks::{Lock, LockError, lock, try_lock};

/// The size limit of a file that is read as a whole, in bytes: larger than any program with full debugging information.
const LARGEST: u64 = 4 << 30;
/// The size limit of a text file, in bytes.
const LARGEST_TEXT: u64 = 64 << 20;

/// Turns the error that a file is missing into `None`. Other errors do not say whether it exists, and stay errors.
pub fn unless_missing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Opens a regular file. Anything else is refused without waiting for it: a project or an image may have a pipe or a
/// device where a document is expected.
pub fn open(path: &Path) -> io::Result<File> {
    // Without this flag, opening a pipe would wait for a writer. It has no effect on a regular file.
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

/// True if a path is a link, or goes through links in its own directory, to something outside of that directory.
/// Whoever wrote the directory need not have written what is outside.
#[must_use]
pub fn leads_out(path: &Path) -> bool {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    match (canonicalize(path), canonicalize(dir)) {
        (Ok(real), Ok(dir)) => !real.starts_with(dir),
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

/// The text of a file that the user named, which may be a pipe: a shell's `<(…)` is one.
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

/// A new temporary file in `dir`, on the same file system as what it will become.
pub fn temporary_file(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".xbuild-").tempfile_in(dir)
}

/// Reads once, and retries when the system call is interrupted.
pub fn read_piece(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Makes a directory and its missing parents.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    match fs_err::create_dir_all(path) {
        // `create_dir_all` also reports `AlreadyExists` for a path that it has no permission to look at.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let nearest = path.ancestors().find(|path| !matches!(path.try_exists(), Ok(false)));
            match nearest.map(metadata) {
                Some(Err(unseen)) => Err(unseen),
                Some(Ok(file)) if !file.is_dir() => Err(error),
                _ => fs_err::create_dir_all(path),
            }
        }
        made => made,
    }
}

/// A new temporary directory in `dir`.
pub fn temporary_dir(dir: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(".xbuild-").tempdir_in(dir)
}

/// A new temporary directory in `dir` whose name starts with `prefix`.
pub fn temporary_dir_named(dir: &Path, prefix: &str) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(prefix).tempdir_in(dir)
}

/// This process's scratch directories in the system's temporary directory. Later runs do not find these by the path
/// that they write to.
static OURS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the scratch directories that are left, for a process that exits at once.
pub(super) fn remove_scratch() {
    for dir in OURS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        // Most are gone already, and errors can no longer be reported.
        std::fs::remove_dir_all(dir).ok();
    }
}

/// The prefix of our directories in the system's temporary directory. Nothing else may use it: a directory with this
/// prefix is removed if it is not locked.
const SCRATCH: &str = ".xbuild-scratch-";

/// A directory in the system's temporary directory, removed on drop.
#[derive(Debug)]
pub struct Scratch {
    content: PathBuf,
    // Fields are dropped in this order: the directory is removed while it is locked.
    _dir: TempDir,
    _lock: Lock,
}

impl Scratch {
    /// The directory. The lock is on its parent, so that work in it may lock the directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.content
    }
}

/// A new directory in the system's temporary directory. Those that killed runs have left there are removed: nobody
/// holds their locks.
pub fn scratch_dir() -> io::Result<Scratch> {
    scratch_in(&std::env::temp_dir())
}

fn scratch_in(place: &Path) -> io::Result<Scratch> {
    remove_dead(place);
    loop {
        let dir = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(place)?;
        // Until it is locked, another run may take it for the directory of a dead one.
        let Some(lock) = unless_missing(try_lock(dir.path()))?.flatten() else { continue };
        if dir.path().exists() {
            let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
            ours.push(dir.path().to_owned());
            let content = dir.path().join("content");
            create_dir(&content)?;
            return Ok(Scratch { content, _dir: dir, _lock: lock });
        }
    }
}

/// Removes our directories that are not locked. Errors are ignored, since leftovers do no harm.
fn remove_dead(place: &Path) {
    let us = rustix::process::geteuid().as_raw();
    let Ok(entries) = read_dir(place) else { return };
    for entry in entries.flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(SCRATCH);
        let ours = |metadata: &std::fs::Metadata| metadata.is_dir() && metadata.uid() == us;
        if named
            && entry.metadata().is_ok_and(|metadata| ours(&metadata))
            && let Ok(Some(_lock)) = try_lock(&entry.path())
        {
            remove_dir_all(entry.path()).ok();
        }
    }
}

/// A new unnamed file in the system's temporary directory, gone when it is closed. Errors about it name `what`.
pub fn unnamed_file(what: &Path) -> io::Result<File> {
    Ok(File::from_parts(tempfile::tempfile()?, what))
}

/// The number of bytes that may still be written to a directory's file system.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Sets a file's time of modification, in seconds since 1970 and nanoseconds after that second. Does nothing for a time
/// that the system cannot represent.
pub fn set_modified(file: &File, seconds: i64, nanoseconds: u32) -> io::Result<()> {
    let (epoch, whole) = (std::time::SystemTime::UNIX_EPOCH, Duration::from_secs(seconds.unsigned_abs()));
    let second = if seconds < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
    match second.and_then(|second| second.checked_add(Duration::from_nanos(nanoseconds.into()))) {
        Some(time) => file.file().set_modified(time),
        None => Ok(()),
    }
}

/// Gives a temporary file its final name, with mode `mode` whatever the umask. Its bytes are on disk before it has the
/// name.
pub fn publish(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    file.as_file().sync_data()?;
    keep(file, path, mode)
}

/// As [`publish`], but does not wait for the disk: for files that are verified whenever they are read, or synced later.
pub fn keep(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path).map(drop).map_err(|error| {
        io::Error::new(error.error.kind(), format!("failed to publish `{}`: {}", path.display(), error.error))
    })
}

/// Writes a small file by [`publish`]; its directory must exist.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = temporary_file(path.parent().unwrap_or_else(|| Path::new(".")))?;
    file.write_all(bytes)?;
    publish(file, path, mode)
}

/// Opens a regular file in a directory by its relative path. Links are followed as long as they stay in the directory;
/// a link that leads out of it, or whose target is absolute, is an error of the kind [`io::ErrorKind::CrossesDevices`].
pub fn open_within(dir: &Path, path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let whole = dir.join(path);
    let name = |error: io::Error| {
        io::Error::new(error.kind(), format!("failed to open file `{}`: {error}", whole.display()))
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened =
        rustix::fs::openat(CWD, dir, OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty())
            .and_then(|dir| {
                let mut attempt = openat2(&dir, path, flags, Mode::empty(), resolve);
                // The kernel returns `EAGAIN` when something is renamed meanwhile.
                for _ in 0..100 {
                    if !matches!(attempt, Err(rustix::io::Errno::AGAIN)) {
                        break;
                    }
                    attempt = openat2(&dir, path, flags, Mode::empty(), resolve);
                }
                attempt
            });
    let file = match opened {
        Ok(file) => File::from_parts(std::fs::File::from(file), &whole),
        // A kernel without `openat2`, or a sandbox that forbids it.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            let (dir, real) = (canonicalize(dir)?, canonicalize(&whole)?);
            if !real.starts_with(&dir) {
                return Err(name(rustix::io::Errno::XDEV.into()));
            }
            return open(&real);
        }
        Err(error) => return Err(name(error.into())),
    };
    if file.metadata()?.is_file() { Ok(file) } else { open(&whole) }
}

/// A new file in `dir` that shares its blocks with an open file (a reflink); later writes to either do not affect the
/// other. `None` if the file system does not support it.
pub fn clone_of(from: &File, dir: &Path) -> io::Result<Option<NamedTempFile>> {
    let file = temporary_file(dir)?;
    Ok(rustix::fs::ioctl_ficlone(file.as_file(), from.file()).is_ok().then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = read(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            assert!(read_to_string(path).is_err());
        }
        assert_eq!(read(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read(dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let file = dir.path().join("file");
        std::fs::File::create(&file).unwrap().set_len(LARGEST_TEXT + 1).unwrap();
        assert_eq!(read_to_string(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_stream_to_string(&file).is_err());
    }

    #[test]
    fn a_link_out_of_its_directory_is_told_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (inner, path) = (dir.path().join("inner"), |name: &str| dir.path().join("inner").join(name));
        create_dir(&inner).unwrap();
        write_atomic(&dir.path().join("secret"), b"x", 0o644).unwrap();
        write_atomic(&path("own"), b"x", 0o644).unwrap();
        symlink("own", path("within")).unwrap();
        symlink("../secret", path("out")).unwrap();
        symlink("out", path("twice")).unwrap();
        symlink(&inner, dir.path().join("door")).unwrap();
        for (name, out) in
            [("own", false), ("within", false), ("none", false), ("out", true), ("twice", true)]
        {
            assert_eq!(leads_out(&path(name)), out, "{name}");
            // The directory itself may be anywhere.
            assert_eq!(leads_out(&dir.path().join("door").join(name)), out, "{name}");
        }
    }

    #[test]
    fn write_atomic_sets_the_mode_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
        assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_are_followed_within_a_directory_only() {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("directory");
        create_dir_all(dir.join("blobs/sha256")).unwrap();
        let at = |path: &str| dir.join(path);
        write_atomic(&at("blobs/real"), b"real", 0o644).unwrap();
        write_atomic(&outside.path().join("secret"), b"secret", 0o644).unwrap();
        let open = |path: &str| {
            let mut text = String::new();
            open_within(&dir, Path::new(path))
                .and_then(|mut file| file.read_to_string(&mut text))
                .map(|_| text)
        };
        for (name, target, expected) in [
            ("blobs/sha256/in", "../real", Ok("real")),
            ("blobs/sha256/twice", "in", Ok("real")),
            ("blobs/sha256/up", "../../../secret", Err(io::ErrorKind::CrossesDevices)),
            ("blobs/sha256/root", "/etc/hostname", Err(io::ErrorKind::CrossesDevices)),
            ("blobs/sha256/dangling", "../none", Err(io::ErrorKind::NotFound)),
            ("blobs/sha256/directory", "..", Err(io::ErrorKind::IsADirectory)),
        ] {
            symlink(target, at(name)).unwrap();
            let found = open(name).map_err(|error| {
                assert!(error.to_string().contains(name), "{error}");
                error.kind()
            });
            assert_eq!(found.as_deref().map_err(|kind| *kind), expected, "{name}");
        }
        // The directory itself may be a link: that is the path the user gave.
        symlink(&dir, outside.path().join("link")).unwrap();
        open_within(&outside.path().join("link"), Path::new("blobs/real")).unwrap();
        // A directory inside it that links elsewhere may not be.
        symlink(outside.path(), at("other")).unwrap();
        assert_eq!(open("other/secret").unwrap_err().kind(), io::ErrorKind::CrossesDevices);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        assert_eq!(open("pipe").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    /// Another thread looks for directories of dead runs while new ones are not locked yet.
    #[test]
    fn scratch_directories_are_made_beside_those_who_look_for_dead_ones() {
        let place = tempfile::tempdir().unwrap();
        let ended = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                    remove_dead(place.path());
                }
            });
            let _ends = super::super::threads::Ends(&ended);
            for _ in 0..1000 {
                assert!(scratch_in(place.path()).unwrap().path().is_dir());
            }
        });
        assert_eq!(read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_has_left_among_temporary_files_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        create_dir_all(at(".xbuild-scratch-dead/inner")).unwrap();
        // A user's own directory may have such a name.
        create_dir_all(at("xbuild-mine")).unwrap();
        create_dir(at("other-tool")).unwrap();
        write_atomic(&at(".xbuild-scratch-file"), b"", 0o600).unwrap();
        symlink(place.path(), at(".xbuild-scratch-link")).unwrap();
        let first = scratch_in(place.path()).unwrap();
        let second = scratch_in(place.path()).unwrap();
        assert!(!at(".xbuild-scratch-dead").exists() && first.path().exists() && second.path().exists());
        // Work in it may lock the directory.
        assert!(try_lock(first.path()).unwrap().is_some());
        drop((first, second));
        let mut left: Vec<_> =
            read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".xbuild-scratch-file", ".xbuild-scratch-link", "other-tool", "xbuild-mine"]);
    }
}
