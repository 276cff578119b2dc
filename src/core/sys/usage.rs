//! When something in the cache was last used, and who may remove it.
//!
//! The mark of use is the modification time: of a file, or of the directory that stands for everything in it. Access
//! times are unsuitable, since most machines do not record them. A run marks a path before it checks whether the path
//! exists, under a shared lock of the parent directory. Pruning takes that lock exclusively while it reads a mark and
//! renames the marked path. So a run either finds nothing, or what it finds stays.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::fs::{self, Lock};
use super::{clock, store};

/// How long pruning waits for runs that are setting marks, which takes almost no time.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// The directories that this process keeps locked, because it uses their content and may not mark it.
static KEPT: Mutex<Vec<(PathBuf, std::fs::File)>> = Mutex::new(Vec::new());

/// Marks a file or directory of the cache as used now, if it exists. Must be called before it is looked at.
///
/// A process that may read a cache and not write to it cannot set a mark. It keeps the directory locked until it ends
/// instead, so that nothing in it is removed.
pub fn mark(path: &Path) {
    mark_under(path, path.parent().unwrap_or(path));
}

/// The same for a directory whose parent may be locked exclusively by others for a while.
pub fn mark_directory(path: &Path) {
    mark_under(path, path);
}

fn mark_under(path: &Path, gate: &Path) {
    // If the directory is missing, there is nothing to mark.
    let Ok(lock) = std::fs::File::open(gate) else { return };
    // On a file system without locks, nothing is pruned during a run.
    lock.lock_shared().ok();
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let same = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: same, last_modification: now };
    match utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(_) => {
            let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            if !kept.iter().any(|(known, _)| known == gate) {
                kept.push((gate.to_owned(), lock));
            }
        }
    }
}

/// When something was last used or written: seconds since 1970, and nanoseconds after that second. `None` if it does
/// not exist.
pub fn last_used(path: &Path) -> io::Result<Option<(i64, i64)>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::unless_missing(fs::symlink_metadata(path))?;
    Ok(metadata.map(|metadata| (metadata.mtime(), metadata.mtime_nsec())))
}

/// Locks a directory exclusively against processes that set marks in it; `None` if another process keeps it locked.
pub fn gate(directory: &Path) -> io::Result<Option<Lock>> {
    let since = clock::Instant::now();
    loop {
        match fs::try_lock(directory)? {
            None if since.elapsed() < PATIENCE => clock::sleep(LOOK),
            result => return Ok(result),
        }
    }
}

/// A hold on the cache, taken to remove something from it.
#[derive(Debug)]
pub struct Hold {
    /// `None` if the usage file does not exist yet.
    file: Option<std::fs::File>,
    alone: bool,
}

impl Hold {
    /// Holds an existing cache: exclusively if nobody else uses it now. Nobody can then begin to use it before this is
    /// dropped or [shared](Self::share).
    pub fn take(cache: &Path) -> io::Result<Self> {
        store::check(cache)?;
        Self::by(store::usage(cache)?)
    }

    /// The same for a caller that only reads.
    pub fn look(cache: &Path) -> io::Result<Self> {
        store::check(cache)?;
        match fs::unless_missing(fs::File::open(cache.join(store::USAGE)))? {
            Some(file) => Self::by(file.into_parts().0),
            // Nobody has used it yet.
            None => Ok(Self { file: None, alone: true }),
        }
    }

    fn by(file: std::fs::File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file: Some(file), alone: true }),
            Err(std::fs::TryLockError::WouldBlock) => {
                // Another process that removes something is soon done.
                file.lock_shared()?;
                Ok(Self { file: Some(file), alone: false })
            }
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// True if nobody else uses the cache.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Lets others use it again.
    pub fn share(&mut self) {
        self.alone = false;
        // If this fails, the lock is lost, which does not hinder others.
        if let Some(file) = &self.file {
            file.lock_shared().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes it look as if it had last been used this many seconds ago.
    fn age(path: &Path, seconds: i64) {
        fs::set_modified(&fs::File::open(path).unwrap(), clock::unix_now() - seconds, 0).unwrap();
    }

    #[test]
    fn a_mark_is_the_time_of_modification() {
        let dir = tempfile::tempdir().unwrap();
        let (file, directory) = (dir.path().join("file"), dir.path().join("directory"));
        fs::write_atomic(&file, b"x", 0o444).unwrap();
        fs::create_dir(&directory).unwrap();
        for path in [&file, &directory] {
            age(path, 100_000);
            assert!(last_used(path).unwrap().unwrap().0 < clock::unix_now() - 99_000);
            mark(path);
            assert!(last_used(path).unwrap().unwrap().0 >= clock::unix_now() - 60, "{}", path.display());
        }
        // A missing file is not created.
        mark(&dir.path().join("none"));
        mark(&dir.path().join("none/none"));
        assert_eq!(last_used(&dir.path().join("none")).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // The directory is not locked afterwards.
        assert!(gate(dir.path()).unwrap().is_some());
    }

    #[test]
    fn who_may_not_mark_keeps_the_directory_locked() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("directory");
        fs::create_dir(&directory).unwrap();
        // Even root cannot mark this: the name is too long for a file.
        mark(&directory.join("x".repeat(300)));
        assert!(gate(&directory).unwrap().is_none());
        KEPT.lock().unwrap().retain(|(path, _)| *path != directory);
        assert!(gate(&directory).unwrap().is_some());
    }

    /// Stops the other thread even if the test fails.
    struct End<'a>(&'a std::sync::atomic::AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// What is marked before it is looked at stays, however often others remove what is old.
    #[test]
    fn nothing_is_removed_between_mark_and_use() {
        let dir = tempfile::tempdir().unwrap();
        let (file, trash) = (dir.path().join("kind/file"), dir.path().join("trash"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::create_dir(&trash).unwrap();
        let ended = std::sync::atomic::AtomicBool::new(false);
        let mut found = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(std::sync::atomic::Ordering::SeqCst) {
                    let Some(_gate) = gate(file.parent().unwrap()).unwrap() else { continue };
                    if let Some((used, _)) = last_used(&file).unwrap()
                        && used < clock::unix_now() - 1000
                    {
                        fs::rename(&file, trash.join("x")).unwrap();
                    }
                }
            });
            let _end = End(&ended);
            for _ in 0..100 {
                fs::write_atomic(&file, b"x", 0o644).unwrap();
                // May be gone already, since it looks old at this moment.
                fs::OpenOptions::new()
                    .write(true)
                    .open(&file)
                    .and_then(|file| fs::set_modified(&file, 1, 0))
                    .unwrap();
                mark(&file);
                if file.exists() {
                    found += 1;
                    clock::sleep(Duration::from_micros(200));
                    assert!(file.exists(), "it was removed while it was used");
                }
            }
        });
        assert!(found > 0);
    }

    #[test]
    fn a_cache_is_held_alone_or_together() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        store::dir(&cache).unwrap();
        let mut first = Hold::take(&cache).unwrap();
        assert!(first.is_alone());
        first.share();
        let second = Hold::take(&cache).unwrap();
        assert!(!first.is_alone() && !second.is_alone());
        drop((first, second));
        // A run has the cache open until it ends.
        store::open(&cache).unwrap();
        assert!(!Hold::take(&cache).unwrap().is_alone());
    }
}
