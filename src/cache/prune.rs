//! Removing, beside runs that use the cache.
//!
//! Who removes holds the cache alone where nobody else uses it. Where somebody does, only what was not used for a day goes,
//! each under the locks of those who write and mark it. It is renamed into a directory of its own and removed there when the locks
//! are given back: a run that waits for them does not wait for the disk, and what a kill leaves there the next run removes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::choose::{Choice, Reason, choose};
use super::survey::{Entry, Survey, survey, with_suffix};
use super::{CacheError, Entries, KINDS, Kind, Locked, Pruning, TEMPORARY};
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, Lock, TempDir};
use crate::sys::usage::{self, Hold};
use crate::sys::{clock, store};

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// What was not used for long, and then what was used the longest ago until the rest fits.
    Prune {
        /// For how long.
        older_than: Option<Duration>,
        /// The most bytes that the cache may have.
        max_size: Option<u64>,
    },
    /// All of some kinds.
    Clean(Selection),
}

/// Kinds that somebody has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    kinds: Vec<&'static Kind>,
    temporary: bool,
}

impl Selection {
    /// The kinds with these names; all if there is none. The records that guard against older releases belong to it only if
    /// they are named themselves, or everything is meant.
    ///
    /// # Errors
    ///
    /// If a name is no kind's.
    pub fn named(names: &[String]) -> Result<Self, CacheError> {
        if names.is_empty() {
            return Ok(Self { kinds: KINDS.iter().collect(), temporary: true });
        }
        let mut selection = Self { kinds: Vec::new(), temporary: false };
        for name in names {
            let found = Kind::named(name)?;
            selection.temporary |= name == TEMPORARY;
            let only = found.len() == 1;
            selection.kinds.extend(found.into_iter().filter(|kind| only || kind.pruning != Pruning::Never));
        }
        Ok(selection)
    }

    /// True if something belongs to it.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.kind.map_or(self.temporary, |kind| self.kinds.contains(&kind))
    }
}

/// Something that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Removed {
    /// The kind's name, or `temporary`.
    pub kind: &'static str,
    /// The path below the cache.
    pub path: PathBuf,
    /// The sum of its files' lengths.
    pub bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// Why something stays that would go otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptFor {
    /// Another run uses the cache, and may use this.
    InUse,
    /// Another run has locked it.
    Locked,
    /// A link is in the place of the kind's directory; it is not followed.
    Link,
    /// It guards against releases that are older than one that was seen.
    Guard,
}

/// Something that stays though it would go otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// The kind's name, or `temporary`.
    pub kind: &'static str,
    /// The path below the cache.
    pub path: PathBuf,
    /// Why.
    pub reason: KeptFor,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// What was removed, in the order in which it was.
    pub removed: Vec<Removed>,
    /// What stays though it would go otherwise.
    pub kept: Vec<Kept>,
    /// The bytes of what was removed.
    pub freed: u64,
    /// The bytes of what is left.
    pub left: u64,
}

/// The name of an entry's kind.
pub(super) fn kind_name(entry: &Entry) -> &'static str {
    entry.kind.map_or(TEMPORARY, |kind| kind.name)
}

/// Removes from a cache, or says what would be removed and changes nothing (`dry_run`).
///
/// # Errors
///
/// If the cache is another user's or may be written to by others, if something cannot be removed, or if `cancel` ends the work:
/// what was removed by then is gone.
pub fn run(cache: &Path, task: &Task, dry_run: bool, cancel: &Cancel) -> Result<Outcome, CacheError> {
    let mut outcome = Outcome::default();
    if !store::exists(cache)? {
        return Ok(outcome);
    }
    if !store::is_writable(cache) && !dry_run {
        let reason = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        let text = format!("nothing can be removed from `{}`", cache.display());
        return Err(io::Error::new(reason.kind(), text).into());
    }
    // Before anything is locked: others need not wait while all is looked at.
    let found = survey(cache, cancel)?;
    let mut hold = if dry_run { Hold::look(cache)? } else { Hold::take(cache)? };
    let choice = choose(&found.entries, task, clock::unix_now(), hold.is_alone());
    outcome.kept = kept(&found, &choice, task);
    let total: u64 = found.entries.iter().map(|entry| entry.bytes).sum();
    let trash = if dry_run || choice.remove.is_empty() { None } else { Some(fs::temporary_dir(cache)?) };
    let alone = hold.is_alone();
    for (number, (at, reason)) in choice.remove.into_iter().enumerate() {
        cancel.check()?;
        let entry = &found.entries[at];
        let kind = kind_name(entry);
        let taken = Taking { cache, entry, alone, trash: trash.as_ref() }.take(number)?;
        match taken {
            Taken::Removed => {
                let (path, bytes) = (entry.path.clone(), entry.bytes);
                outcome.freed += bytes;
                outcome.removed.push(Removed { kind, path, bytes, reason });
            }
            Taken::Gone => outcome.freed += entry.bytes,
            Taken::Kept(reason) => outcome.kept.push(Kept { kind, path: entry.path.clone(), reason }),
        }
    }
    outcome.left = total - outcome.freed;
    if let Some(trash) = trash {
        if alone {
            remove_empty(cache);
        }
        hold.share();
        // A run that began meanwhile may have removed it already.
        fs::unless_missing(trash.close())?;
    }
    Ok(outcome)
}

/// What stays for reasons that are known before anything is locked.
fn kept(found: &Survey, choice: &Choice, task: &Task) -> Vec<Kept> {
    let in_use = choice.in_use.iter().map(|at| (&found.entries[*at], KeptFor::InUse));
    // Who asks for a kind by its name is not told of others that are never pruned.
    let guards = matches!(task, Task::Prune { .. });
    let guarded = found
        .entries
        .iter()
        .filter(|entry| guards && entry.kind.is_some_and(|kind| kind.pruning == Pruning::Never));
    let entries = in_use.chain(guarded.map(|entry| (entry, KeptFor::Guard)));
    let mut kept: Vec<Kept> = entries
        .map(|(entry, reason)| Kept { kind: kind_name(entry), path: entry.path.clone(), reason })
        .collect();
    kept.extend(found.links.iter().map(|(kind, path)| Kept {
        kind: kind.name,
        path: path.clone(),
        reason: KeptFor::Link,
    }));
    kept
}

/// What became of an entry.
enum Taken {
    Removed,
    /// Somebody else has removed it.
    Gone,
    Kept(KeptFor),
}

/// An entry on its way.
struct Taking<'a> {
    cache: &'a Path,
    entry: &'a Entry,
    /// Nobody else uses the cache.
    alone: bool,
    /// Where it goes; `None` if it is only asked whether it would.
    trash: Option<&'a TempDir>,
}

impl Taking<'_> {
    fn take(&self, number: usize) -> Result<Taken, CacheError> {
        let path = self.cache.join(&self.entry.path);
        let mut locks: Vec<Lock> = Vec::new();
        if !self.alone {
            match self.lock(&path, &mut locks) {
                Ok(true) => {}
                Ok(false) => return Ok(Taken::Kept(KeptFor::Locked)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
                Err(error) => return Err(error.into()),
            }
        }
        let mut used = None;
        for (_, part) in self.entry.paths() {
            used = used.max(usage::last_used(&self.cache.join(part))?);
        }
        match used {
            None => return Ok(Taken::Gone),
            // Somebody uses it now after all.
            Some(used) if used != self.entry.used => return Ok(Taken::Kept(KeptFor::InUse)),
            Some(_) => {}
        }
        let Some(trash) = self.trash else { return Ok(Taken::Removed) };
        for (suffix, part) in self.entry.paths() {
            // A lock that somebody may wait for stays the file that it is.
            if suffix == ".lock" && !self.alone {
                continue;
            }
            remove(&self.cache.join(part), &trash.path().join(format!("{number}{suffix}")))?;
        }
        Ok(Taken::Removed)
    }

    /// Locks an entry as those do who write and mark it. False if somebody else has it.
    fn lock(&self, path: &Path, locks: &mut Vec<Lock>) -> io::Result<bool> {
        let Some(kind) = self.entry.kind.filter(|kind| kind.entries != Entries::Whole) else {
            return Ok(false);
        };
        let Some(gate) = usage::gate(path.parent().unwrap_or(self.cache))? else { return Ok(false) };
        locks.push(gate);
        let beside = match kind.locked {
            Locked::Nothing => return Ok(true),
            Locked::Itself => path.to_owned(),
            Locked::Beside => with_suffix(path, ".lock"),
            Locked::By(name) => self.cache.join(kind.name).join(name),
        };
        match fs::try_lock(&beside) {
            Ok(Some(lock)) => {
                locks.push(lock);
                Ok(true)
            }
            Ok(None) => Ok(false),
            // Without the file nobody has it locked, and who begins now has not marked it yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Renames something out of everybody's way, or removes it where it is if that is on another file system.
fn remove(path: &Path, to: &Path) -> Result<(), CacheError> {
    match fs::rename(path, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let metadata = fs::symlink_metadata(path)?;
            Ok(if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the directories of kinds that have nothing any more.
fn remove_empty(cache: &Path) {
    for kind in KINDS.iter().filter(|kind| kind.entries != Entries::Whole) {
        let directory = cache.join(kind.name);
        if !fs::symlink_metadata(&directory).is_ok_and(|found| found.is_dir()) {
            continue;
        }
        if kind.entries == Entries::EachBelow
            && let Ok(below) = fs::read_dir(&directory)
        {
            for below in below.flatten() {
                fs::remove_dir(below.path()).ok();
            }
        }
        // What has something in it stays.
        for empty in directory.ancestors().take_while(|path| *path != cache) {
            fs::remove_dir(empty).ok();
        }
    }
}
