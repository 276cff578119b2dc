//! xbuild's own directories, the cache: private to the user, and trusted only if nobody else may have written to it.
//!
//! The content of the cache decides what is in an image, and scripts in it are executed. So a directory or a record
//! that belongs to another user, or that others may write to, is refused and not repaired: its content cannot be
//! trusted. Files of root are accepted, since root may do anything anyway. A read-only cache is used as long as it has
//! everything that is needed.

use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, OFlags, access};
use rustix::process::geteuid;

use super::cancel::Cancel;
use super::fs::{self, Lock, LockError, MetadataExt, PermissionsExt};
use crate::error::CacheFault;

/// The mode of the directories that we make: private to the user.
const PRIVATE: u32 = 0o700;
/// The prefix of our temporary files and directories.
pub const TEMPORARY: &str = ".xbuild-";
/// The file that processes lock while they use the cache.
pub const USAGE: &str = "in-use";
/// The permission bits that let others write.
const OTHERS_WRITE: u32 = 0o022;

/// The caches that this process uses, each with a shared lock on its usage file; `None` if it cannot be locked.
static IN_USE: Mutex<Vec<(PathBuf, Option<std::fs::File>)>> = Mutex::new(Vec::new());

/// Whether user `us` may trust a file with this owner and these permissions. Pure.
fn judge(path: &Path, owner: u32, mode: u32, us: u32) -> Result<(), CacheFault> {
    if owner != us && owner != 0 {
        return Err(CacheFault::Foreign { path: path.to_owned(), owner, us });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(CacheFault::Writable { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}

fn believe(path: &Path, metadata: &std::fs::Metadata) -> io::Result<()> {
    judge(path, metadata.uid(), metadata.mode(), geteuid().as_raw()).map_err(CacheFault::error)
}

/// Checks an existing directory or file of the cache. Links are followed: the target of our link is checked itself.
pub fn check(path: &Path) -> io::Result<()> {
    believe(path, &fs::metadata(path)?)
}

/// Makes the cache's directory if it is missing, private to the user whatever the umask; its parents get the usual
/// mode. An existing one is checked. Half-made files that killed runs have left in it are removed if nobody else uses
/// the cache now.
pub fn open(cache: &Path) -> io::Result<()> {
    if let Some(parent) = cache.parent()
        && !cache.exists()
    {
        fs::create_dir_all(parent).map_err(|error| lacking(cache, error))?;
    }
    dir(cache)?;
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    if in_use.iter().any(|(path, _)| path == cache) {
        return Ok(());
    }
    let lock = match usage(cache) {
        Ok(lock) => lock,
        // The cache is read-only, so our use of it cannot be shown, but its content can still be used.
        Err(_) if !is_writable(cache) => {
            in_use.push((cache.to_owned(), None));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if is_writable(cache) && lock.try_lock().is_ok() {
        tidy(cache, 0);
    }
    // The same lock, now shared. The process that holds the exclusive lock is cleaning up, so the wait is short. On a
    // file system without locks there is nothing to wait for.
    lock.lock_shared().ok();
    in_use.push((cache.to_owned(), Some(lock)));
    Ok(())
}

/// The file that processes lock while they use a cache. It is separate because a run that stages an image in the
/// cache's directory (if the output is there) locks that directory, and would wait for itself.
pub(super) fn usage(cache: &Path) -> io::Result<std::fs::File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut options = std::fs::OpenOptions::new();
    options.mode(0o644).custom_flags(flags.bits().cast_signed());
    if is_writable(cache) {
        options.append(true).create(true)
    } else {
        options.read(true)
    };
    let path = cache.join(USAGE);
    options.open(&path).map_err(|error| lacking(&path, error))
}

/// Removes files and directories with temporary names. Errors are ignored, since leftovers do no harm.
fn tidy(dir: &Path, depth: usize) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if name.starts_with(TEMPORARY) {
            if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.ok();
        } else if is_dir && depth < DEEPEST && !(depth == 1 && name.starts_with("zig-")) && !is_zigs_own(dir)
        {
            tidy(&path, depth + 1);
        }
    }
}

/// True for the temporary name of something that is being made, here or beside a path: [`super::staging`].
#[must_use]
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.contains(TEMPORARY)
}

/// True for a cache that exists and is trusted. A missing cache counts as empty.
pub fn exists(cache: &Path) -> io::Result<bool> {
    match fs::metadata(cache) {
        Ok(metadata) if metadata.is_dir() => believe(cache, &metadata).map(|()| true),
        Ok(_) => {
            let (path, found, expected) = (cache.to_owned(), "a file", "a directory");
            Err(CacheFault::Kind { path, found, expected }.error())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// True for the directories in which zig caches what it has compiled: hundreds of directories that are not ours.
fn is_zigs_own(dir: &Path) -> bool {
    dir.file_name().is_some_and(|name| name == "zig" || name == "zig-2")
}

/// The deepest level of directories that we make in the cache: `registry/blobs/sha256`.
const DEEPEST: usize = 3;

/// Makes a directory of the cache if it is missing, private to the user, and checks it together with the directories
/// above it in an opened cache: whoever may write to one of these could replace a directory in it.
pub fn dir(path: &Path) -> io::Result<()> {
    let root = {
        let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.iter().map(|(root, _)| root).find(|root| path.starts_with(root)).cloned()
    };
    if let Some(root) = root {
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&root)) {
            match check(above) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
    }
    own_dir(path)
}

/// The same for the directory alone, and for its missing parents.
fn own_dir(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return believe(path, &metadata),
        Ok(_) => {
            let (path, found, expected) = (path.to_owned(), "a file", "a directory");
            return Err(CacheFault::Kind { path, found, expected }.error());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(parent) = path.parent()
        && !parent.exists()
    {
        own_dir(parent)?;
    }
    let made = std::fs::DirBuilder::new().mode(PRIVATE).create(path);
    match made {
        // A umask may have removed permissions that we need ourselves.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE)),
        // Another run was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(path),
        Err(error) => Err(lacking(path, error)),
    }
}

/// Removes others' write permission from a directory and everything in it, which another program has just made for us.
pub fn tighten(root: &Path) -> io::Result<()> {
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_symlink() {
            continue;
        }
        if metadata.mode() & OTHERS_WRITE != 0 {
            let mode = metadata.mode() & 0o7777 & !OTHERS_WRITE;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                paths.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// Reads a record in the cache: `None` if it is missing, or has more than `limit` bytes, which we never write. A record
/// that others may have written, or that is not a file, is an error.
pub fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let found = read_record(path, limit);
    match &found {
        Ok(Some(bytes)) => tracing::debug!(bytes = bytes.len(), "read {}", path.display()),
        Ok(None) => tracing::debug!("not cached: {}", path.display()),
        Err(error) => tracing::debug!(%error, "cannot use {}", path.display()),
    }
    found
}

fn read_record(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let found = match fs::metadata(path).map(|metadata| metadata.file_type()) {
                Ok(kind) if kind.is_dir() => "a directory",
                Ok(kind) if !kind.is_file() => "a pipe, a socket or a device",
                _ => return Err(error),
            };
            return Err(CacheFault::Kind { path: path.to_owned(), found, expected: "a file" }.error());
        }
    };
    let metadata = file.metadata()?;
    believe(path, &metadata)?;
    if metadata.len() > limit {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Stores a record whose directory exists. If the cache is read-only, it is not stored, and is made again the next
/// time.
pub fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::write_atomic(path, bytes, 0o644) {
        Err(error) if is_read_only(&error) => {
            tracing::debug!(%error, "cannot store {}", path.display());
            Ok(())
        }
        result => {
            tracing::debug!(bytes = bytes.len(), "stored {}", path.display());
            result
        }
    }
}

/// Locks a path in the cache as [`fs::lock`] does; `None` if the cache is read-only, since then nobody writes to it.
pub fn lock(path: &Path, cancel: &Cancel) -> Result<Option<Lock>, LockError> {
    match fs::lock(path, cancel) {
        Err(LockError::Io(error)) if is_read_only(&error) => Ok(None),
        result => result.map(Some),
    }
}

/// True if we may write to an existing directory.
#[must_use]
pub fn is_writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// The error for a file that could not be made in the cache. The cache is not blamed for a full disk and the like.
#[must_use]
pub fn lacking(path: &Path, error: io::Error) -> io::Error {
    if CacheFault::of(&error).is_none() && is_read_only(&error) {
        return CacheFault::ReadOnly { path: path.to_owned(), reason: error.to_string() }.error();
    }
    error
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ExitCode, io_hint};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_others_may_write_to_is_not_believed() {
        let path = Path::new("/c");
        let verdict = |owner, mode, us| judge(path, owner, mode, us).map_err(|fault| fault.hint());
        for good in [(1000, 0o40700, 1000), (0, 0o40755, 1000), (0, 0o40700, 0), (1000, 0o100_644, 1000)] {
            assert!(verdict(good.0, good.1, good.2).is_ok(), "{good:?}");
        }
        for (owner, mode, us, words) in [
            (1001, 0o40700, 1000, "sudo chown -R 1000 /c"),
            (1001, 0o40700, 0, "without sudo"),
            (65534, 0o40700, 0, "container"),
            (65534, 0o40755, 1000, "container"),
            (1000, 0o40775, 1000, "chmod -R go-w /c"),
            (1000, 0o40702, 1000, "chmod -R go-w /c"),
            (0, 0o41777, 1000, "XBUILD_CACHE_DIR"),
            (1000, 0o100_666, 1000, "go-w"),
        ] {
            let hint = verdict(owner, mode, us).unwrap_err();
            assert!(hint.contains(words), "{owner} {mode:o} {us}: {hint}");
        }
    }

    #[test]
    fn dirs_are_ours_alone() {
        let dir_of_test = tempfile::tempdir().unwrap();
        let cache = dir_of_test.path().join("above/cache");
        open(&cache).unwrap();
        dir(&cache.join("a/b")).unwrap();
        assert_eq!([mode(&cache), mode(&cache.join("a")), mode(&cache.join("a/b"))], [0o700; 3]);
        // A directory that others may write to is not repaired: its content is unknown.
        for part in ["a/b", "a", ""] {
            let path = cache.join(part);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
            let error = dir(&path).unwrap_err();
            assert_eq!(ExitCode::of_io(&error), ExitCode::Cache, "{error}");
            assert!(error.to_string().contains("770"), "{error}");
            assert!(io_hint(&error).unwrap().contains("chmod -R go-w"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            dir(&path).unwrap();
        }
        let file = cache.join("a/b/c");
        fs::write_atomic(&file, b"", 0o666).unwrap();
        assert!(check(&file).unwrap_err().to_string().contains("a/b/c"));
        tighten(&cache).unwrap();
        check(&file).unwrap();
        let error = dir(&file).unwrap_err();
        assert!(error.to_string().contains("a file and not a directory"), "{error}");
    }

    #[test]
    fn what_killed_runs_have_left_is_removed_unless_somebody_uses_the_cache() {
        let dir_of_test = tempfile::tempdir().unwrap();
        let cache = dir_of_test.path().join("cache");
        let left = [
            "bases/x/.xbuild-1",
            "registry/blobs/sha256/.xbuild-2",
            "zig-2/.xbuild-3",
            "toolchains/.xbuild-4",
        ];
        let kept = ["bases/x/base-3.json", "zig-2/o/.xbuild-of-zig", "toolchains/zig-1/.xbuild-of-zig"];
        let make = || {
            for path in left.iter().chain(&kept) {
                let path = cache.join(path);
                dir(path.parent().unwrap()).unwrap();
                fs::write_atomic(&path, b"", 0o600).unwrap();
            }
            dir(&cache.join("layouts/.xbuild-5/blobs")).unwrap();
        };
        let there = |paths: &[&str]| paths.iter().filter(|path| cache.join(path).exists()).count();
        make();
        // Another process uses the cache.
        let other = usage(&cache).unwrap();
        other.lock_shared().unwrap();
        open(&cache).unwrap();
        assert_eq!((there(&left), there(&kept)), (left.len(), kept.len()));
        drop(other);
        // As another process would.
        IN_USE.lock().unwrap().retain(|(path, _)| *path != cache);
        open(&cache).unwrap();
        assert_eq!((there(&left), there(&kept)), (0, kept.len()));
        assert!(!cache.join("layouts/.xbuild-5").exists());
        // While the cache is in use nobody cleans up, not even we ourselves.
        make();
        open(&cache).unwrap();
        assert_eq!(there(&left), left.len());
        assert!(usage(&cache).unwrap().try_lock().is_err());
    }

    #[test]
    fn records_are_files_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(read(&at("none"), 10).unwrap(), None);
        keep(&at("record"), b"0123456789").unwrap();
        assert_eq!(read(&at("record"), 10).unwrap().unwrap(), b"0123456789");
        assert_eq!(read(&at("record"), 9).unwrap(), None);
        // A sparse file is not read.
        std::fs::File::create(at("huge")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&at("huge"), 10).unwrap(), None);
        fs::symlink("nowhere", at("dangling")).unwrap();
        assert_eq!(read(&at("dangling"), 10).unwrap(), None);
        fs::create_dir(at("directory")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RWXU).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
        for (name, found) in [("directory", "a directory"), ("pipe", "a pipe"), ("socket", "a socket")] {
            let error = read(&at(name), 10).unwrap_err();
            assert!(error.to_string().contains(found), "{error}");
            assert_eq!(ExitCode::of_io(&error), ExitCode::Cache, "{error}");
        }
        fs::symlink("record", at("link")).unwrap();
        fs::set_permissions(at("record"), fs::Permissions::from_mode(0o664)).unwrap();
        for name in ["record", "link"] {
            assert_eq!(ExitCode::of_io(&read(&at(name), 10).unwrap_err()), ExitCode::Cache);
        }
    }
}
