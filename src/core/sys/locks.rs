//! Locks on existing files and directories, which the kernel releases if their process dies. A wait for a lock is
//! bounded, and reported when it is long.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::cancel::{Cancel, Cancelled};
use super::fs::{self, File, MetadataExt, OpenOptions};
use super::log::Seconds;

/// A wait for another process's lock is reported after this long.
const TOLD_AFTER: Duration = Duration::from_secs(1);
/// The longest wait for a lock, whatever other limits a run has.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Device and inode of the files that this process has locked: waiting for another thread of our own is not reported.
static HELD: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

/// An exclusive lock on a path, held until dropped; the kernel releases it if the process dies.
#[derive(Debug)]
pub struct Lock {
    #[allow(dead_code, reason = "held for its lock")]
    file: std::fs::File,
    identity: (u64, u64),
}

impl Lock {
    fn of(file: std::fs::File, identity: (u64, u64)) -> Self {
        held().push(identity);
        Self { file, identity }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut held = held();
        if let Some(at) = held.iter().position(|identity| *identity == self.identity) {
            held.swap_remove(at);
        }
    }
}

fn held() -> std::sync::MutexGuard<'static, Vec<(u64, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wait for a lock, displayed as a message.
struct Waiting<'a> {
    path: &'a Path,
    /// The process that holds the lock, and its command line, as far as they are known.
    holder: Option<(u32, Option<String>)>,
}

impl fmt::Display for Waiting<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("waiting for ")?;
        match &self.holder {
            None => formatter.write_str("another process")?,
            Some((pid, None)) => write!(formatter, "process {pid}")?,
            Some((pid, Some(command))) => write!(formatter, "process {pid} (`{command}`)")?,
        }
        write!(formatter, ", which has locked `{}`", self.path.display())
    }
}

/// The process that holds the lock on a file. A line of `/proc/locks` is `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0
/// EOF`.
fn holder((device, inode): (u64, u64)) -> Option<(u32, Option<String>)> {
    let place = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Waiters are listed below the lock, marked by an arrow.
        let [_, "FLOCK", _, _, pid, at, ..] = words.as_slice() else { return None };
        pid.parse::<u32>().ok().filter(|pid| *at == place && *pid != 0)
    })?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let command = words.map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
    // The start of a long command line is enough, and control characters must not get to our terminal.
    let command: String = command.chars().filter(|c| !c.is_control()).take(200).collect();
    Some((pid, Some(command).filter(|command| !command.is_empty())))
}

/// Locks `path` (a file, created if it is missing, or an existing directory) against other processes and threads, and
/// waits for it as long as `cancel` allows. If that takes long, the holder is reported through `cancel`.
pub fn lock(path: &Path, cancel: &Cancel) -> Result<Lock, LockError> {
    let file = match fs::unless_missing(fs::metadata(path))? {
        Some(found) if found.is_dir() => File::open(path)?.into_parts().0,
        _ => OpenOptions::new().create(true).truncate(false).write(true).open(path)?.into_parts().0,
    };
    let metadata = file.metadata()?;
    let identity = (metadata.dev(), metadata.ino());
    let mut waited: Option<(super::clock::Instant, Cancel)> = None;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => {
                if let Some((since, _)) = &waited {
                    tracing::debug!(waited = %Seconds(since.elapsed()), "locked {}", path.display());
                } else {
                    tracing::trace!("locked {}", path.display());
                }
                return Ok(Lock::of(file, identity));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                let (since, cancel) = waited.get_or_insert_with(|| {
                    let ours = held().contains(&identity);
                    tracing::debug!(by_this_process = ours, "waiting for the lock on {}", path.display());
                    let what = format!("another process, which has locked `{}`,", path.display());
                    (super::clock::Instant::now(), cancel.within(LONGEST_WAIT, &what))
                });
                cancel.check()?;
                if !told && since.elapsed() >= TOLD_AFTER {
                    told = true;
                    if !held().contains(&identity) {
                        cancel.wait_is_long(&Waiting { path, holder: holder(identity) });
                    }
                }
                super::clock::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Locks an existing path, or returns `None` if it is locked already.
pub fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::open(path)?.into_parts().0;
    let metadata = file.metadata()?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock::of(file, (metadata.dev(), metadata.ino())))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Why a lock could not be taken.
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
    fn a_second_lock_waits_until_told_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), &Cancel::new()).unwrap();
        let said: std::sync::Arc<Mutex<Vec<String>>> = std::sync::Arc::default();
        let cancel = Cancel::new().telling({
            let said = std::sync::Arc::clone(&said);
            std::sync::Arc::new(move |text| said.lock().unwrap().push(text))
        });
        let wait = |millis| lock(dir.path(), &cancel.within(Duration::from_millis(millis), "the lock"));
        assert!(matches!(wait(50), Err(LockError::Cancelled(Cancelled::TimedOut { .. }))));
        // A lock of another thread of ours is never reported, however long the wait.
        assert!(wait(1200).is_err());
        assert!(said.lock().unwrap().is_empty());
        drop(held);
        lock(dir.path(), &Cancel::new()).unwrap();
        // Another process is reported by its id, once.
        let mut other = std::process::Command::new("flock")
            .args(["--exclusive", "--no-fork"])
            .arg(dir.path())
            .args(["sleep", "60"])
            .spawn()
            .unwrap();
        while try_lock(dir.path()).unwrap().is_some() {
            super::super::clock::sleep(Duration::from_millis(5));
        }
        assert!(wait(800).is_err() && said.lock().unwrap().is_empty());
        assert!(wait(1300).is_err());
        let texts = said.lock().unwrap().clone();
        let expected = format!(
            "waiting for process {} (`sleep 60`), which has locked `{}`",
            other.id(),
            dir.path().display()
        );
        assert_eq!(texts, [expected]);
        other.kill().unwrap();
        other.wait().unwrap();
        lock(dir.path(), &Cancel::new()).unwrap();
    }
}
