//! Directories in which an output is made until it is complete. Such a directory is beside the output's path, named
//! after it and locked.
//!
//! A killed run leaves its directory behind without the lock, and the next run that writes to the same path removes it.
//! Devices and pipes are written to directly, since nothing can be renamed over them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fcntl_getfl, fcntl_setfl, open, statfs};

use super::cancel::{Cancel, Cancelled};
use super::clock;
use super::fs::{self, Lock, LockError, TempDir};

/// How often we check whether a pipe has a reader.
const LOOK: Duration = Duration::from_millis(20);
/// Linux follows this many links.
const MOST_LINKS: usize = 40;

/// A directory for what will replace a path; removed on drop.
#[derive(Debug)]
pub struct Staging {
    /// Inside the locked one, so that files in it may be staged and locked in turn.
    content: PathBuf,
    // Fields are dropped in this order: the directory is removed while it is locked.
    _dir: TempDir,
    _lock: Lock,
}

impl Staging {
    /// A staging directory beside `path`. The parent of `path` is made if it is missing.
    pub fn beside(path: &Path, cancel: &Cancel) -> Result<Self, LockError> {
        Self::within(dir_of(path), path, cancel)
    }

    /// A staging directory in `dir`, named after `path`. Those of dead runs are removed.
    pub fn within(dir: &Path, path: &Path, cancel: &Cancel) -> Result<Self, LockError> {
        fs::create_dir_all(dir)?;
        let prefix = prefix(path);
        // No other run may look for dead directories while a new one is not locked yet.
        let looking = fs::lock(dir, cancel)?;
        remove_stale(dir, &prefix)?;
        let made = fs::temporary_dir_named(dir, &prefix)?;
        let lock = fs::lock(made.path(), cancel)?;
        drop(looking);
        let content = made.path().join("content");
        fs::create_dir(&content)?;
        Ok(Self { content, _dir: made, _lock: lock })
    }

    /// Removes what dead runs have left beside a path, for a caller that stages elsewhere. Failing to remove it is not
    /// an error.
    pub fn tidy_beside(path: &Path, cancel: &Cancel) -> Result<(), Cancelled> {
        let dir = dir_of(path);
        match fs::lock(dir, cancel) {
            Ok(_looking) => {
                remove_stale(dir, &prefix(path)).ok();
                Ok(())
            }
            Err(LockError::Io(_)) => Ok(()),
            Err(LockError::Cancelled(cancelled)) => Err(cancelled),
        }
    }

    /// The directory, which may be renamed to its final path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.content
    }

    /// False if the run that had this [`Self::path`] is dead; true if that cannot be determined.
    #[must_use]
    pub fn is_alive(path: &Path) -> bool {
        match fs::try_lock(dir_of(path)) {
            Ok(lock) => lock.is_none(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}

/// The prefix of the names of a path's staging directories.
fn prefix(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    format!(".{name}.xbuild-")
}

fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => Path::new("/"),
    }
}

/// Removes directories whose runs are dead.
fn remove_stale(dir: &Path, prefix: &str) -> io::Result<()> {
    let mut stale = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) && entry.file_type()?.is_dir() {
            stale.insert(entry.path());
        }
    }
    for path in stale {
        // Another user's, in a shared directory such as `/tmp`, is not ours to remove.
        let removed = match fs::try_lock(&path) {
            Ok(Some(_lock)) => fs::remove_dir_all(&path),
            Ok(None) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        };
        match removed {
            // A run that was still alive has removed its own.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// True for what cannot be renamed over: a device, a pipe, or a path that stands for an open file. The file's type
/// decides, and not how its path begins: `/dev/shm` has files like any directory, and a link anywhere may resolve to an
/// open file.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
        || stands_for_an_open_file(path)
}

/// True if a path, with its links followed, is in `proc`, as `/dev/stdout` and `/dev/fd/3` are.
fn stands_for_an_open_file(path: &Path) -> bool {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let dir = dir_of(&path);
        if statfs(dir).is_ok_and(|dir| dir.f_type == PROC_SUPER_MAGIC) {
            return true;
        }
        match fs::read_link(&path) {
            Ok(target) => path = dir.join(target),
            Err(_) => return false,
        }
    }
    false
}

/// Checks that a file may be written to `path`. The parent directory is made if it is missing.
pub fn check(path: &Path, cancel: &Cancel) -> Result<(), LockError> {
    if !is_special(path) {
        Staging::beside(path, cancel)?;
    }
    Ok(())
}

/// Lets `write` write a file that appears at `path` complete or not at all, with these permissions whatever the umask.
pub fn write<E>(
    path: &Path,
    mode: u32,
    cancel: &Cancel,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E>
where
    E: From<io::Error> + From<Cancelled>,
{
    if is_special(path) {
        let mut file = open_special(path, cancel).map_err(LockError::into_error::<E>)?;
        write(&mut file)?;
        return Ok(file.flush()?);
    }
    let staging = Staging::beside(path, cancel).map_err(LockError::into_error::<E>)?;
    let mut file = fs::temporary_file(staging.path())?;
    write(&mut file)?;
    Ok(fs::publish(file, path, mode)?)
}

/// Opens a device or a pipe. Waits until a pipe has a reader.
fn open_special(path: &Path, cancel: &Cancel) -> Result<fs::File, LockError> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    loop {
        match open(path, flags | OFlags::NONBLOCK, Mode::empty()) {
            Ok(file) => {
                let blocking = fcntl_getfl(&file).map_err(io::Error::from)?.difference(OFlags::NONBLOCK);
                fcntl_setfl(&file, blocking).map_err(io::Error::from)?;
                return Ok(fs::File::from_parts(file.into(), path));
            }
            Err(rustix::io::Errno::NXIO) => {
                cancel.check()?;
                clock::sleep(LOOK);
            }
            Err(error) => {
                let text = format!("failed to open `{}`: {error}", path.display());
                return Err(io::Error::new(io::Error::from(error).kind(), text).into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Each thread removes its own when it is done, while others look for those of dead runs.
    #[test]
    fn many_stage_for_one_path_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        drop(Staging::beside(&path, &Cancel::new()).unwrap());
                    }
                });
            }
        });
        assert!(names(dir.path()).is_empty());
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn put(path: &Path, text: &[u8]) -> io::Result<()> {
        write::<LockError>(path, 0o644, &Cancel::new(), |file| Ok(file.write_all(text)?)).map_err(|error| {
            match error {
                LockError::Io(error) => error,
                LockError::Cancelled(cancelled) => panic!("{cancelled}"),
            }
        })
    }

    #[test]
    fn what_dead_runs_left_is_removed_and_what_others_make_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/image.tar");
        put(&path, b"one").unwrap();
        assert_eq!(names(path.parent().unwrap()), ["image.tar"]);
        // As a killed run leaves it.
        let dead = path.parent().unwrap().join(".image.tar.xbuild-dead");
        fs::create_dir(&dead).unwrap();
        fs::write_atomic(&dead.join(".xbuild-part"), b"half", 0o600).unwrap();
        let others = path.parent().unwrap().join(".other.tar.xbuild-dead");
        fs::create_dir(&others).unwrap();
        let alive = Staging::beside(&path, &Cancel::new()).unwrap();
        assert!(!dead.exists() && others.exists());
        put(&path, b"two").unwrap();
        // Staging directories can be nested.
        put(&alive.path().join("inner"), b"inner").unwrap();
        assert_eq!(names(alive.path()), ["inner"]);
        drop(alive);
        assert_eq!(names(path.parent().unwrap()), [".other.tar.xbuild-dead", "image.tar"]);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // A failed write leaves the existing file.
        let failed = write::<LockError>(&path, 0o644, &Cancel::new(), |file| {
            file.write_all(b"th")?;
            Err(io::Error::other("no").into())
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()).len(), 2);
    }

    #[test]
    fn what_a_path_is_decides_and_not_how_it_begins() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("image.tar");
        for text in [&b"one"[..], b"two"] {
            check(&path, &Cancel::new()).unwrap();
            put(&path, text).unwrap();
            assert_eq!(
                (fs::read(&path).unwrap(), names(dir.path())),
                (text.to_vec(), vec!["image.tar".into()])
            );
        }
        // An open file is written to directly, whatever its name.
        let open = fs::File::create(dir.path().join("open")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(open.file());
        let link = dir.path().join("link");
        for place in [format!("/proc/self/fd/{number}"), format!("/dev/fd/{number}")] {
            fs::symlink(&place, &link).unwrap();
            for path in [Path::new(&place), &link] {
                assert!(is_special(path), "{}", path.display());
                put(path, b"through it").unwrap();
                assert_eq!(fs::read(dir.path().join("open")).unwrap(), b"through it");
                open.file().set_len(0).unwrap();
            }
            fs::remove_file(&link).unwrap();
        }
        // A link to a file does not stand for an open file, and neither does a dangling one.
        fs::symlink("image.tar", &link).unwrap();
        assert!(!is_special(&link) && !is_special(&dir.path().join("none")));
    }

    #[test]
    fn devices_and_pipes_are_written_to_where_they_are() {
        put(Path::new("/dev/null"), b"x").unwrap();
        check(Path::new("/dev/null"), &Cancel::new()).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        // Without a reader, the wait ends with the run.
        let cancel = Cancel::new().within(Duration::from_millis(50), "the pipe");
        let waited = write::<LockError>(&pipe, 0o644, &cancel, |_| Ok(()));
        assert!(matches!(waited, Err(LockError::Cancelled(_))));
        std::thread::scope(|scope| {
            scope.spawn(|| put(&pipe, b"through the pipe").unwrap());
            let mut text = String::new();
            fs::File::open(&pipe).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "through the pipe");
        });
        assert_eq!(names(dir.path()), ["pipe"]);
    }
}
