//! Removing entries while runs may use the cache.
//!
//! The process that removes entries holds the cache exclusively if nobody else uses it. Otherwise only entries that
//! were not used for a day are removed, each under the locks of those who write and mark it. An entry is renamed into a
//! separate directory and removed there after the locks are released: a run that waits for a lock does not wait for the
//! disk, and the next run removes what a killed one has left there.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::choose::{Choice, Reason, choose};
use super::survey::{Entry, Survey, survey, with_suffix};
use super::{CacheError, Entries, KINDS, Kind, Locked, Pruning, TEMPORARY};
use crate::error::ExitCode;
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, Lock, TempDir};
use crate::sys::usage::{self, Hold};
use crate::sys::{clock, store};

/// The entries to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Entries that were not used for a long time, then those that were used the longest ago, until the rest fits.
    Prune {
        /// The minimum time since the last use.
        older_than: Option<Duration>,
        /// The maximum size of the cache in bytes.
        max_size: Option<u64>,
    },
    /// All entries of some kinds.
    Clean(Selection),
}

/// Kinds that the user has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    kinds: Vec<&'static Kind>,
    temporary: bool,
}

impl Selection {
    /// The kinds with these names; all if there are none. The records that protect against older releases are included
    /// only if they are named themselves, or if everything is selected.
    ///
    /// # Errors
    ///
    /// If there is no kind of a name.
    pub(crate) fn named(names: &[String]) -> Result<Self, CacheError> {
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

    /// True if an entry is included.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.kind.map_or(self.temporary, |kind| self.kinds.contains(&kind))
    }
}

/// An entry that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Removed {
    /// The kind's name, or `temporary`.
    pub kind: &'static str,
    /// The path below the cache.
    pub path: PathBuf,
    /// The sum of its files' lengths.
    pub bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// Why an entry stays that would be removed otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeptFor {
    /// Another run uses the cache, and may use this.
    InUse,
    /// Another run has locked it.
    Locked,
    /// The kind's directory is a link, which is not followed.
    Link,
    /// It protects against releases that are older than ones already seen.
    Guard,
}

/// An entry that stays although it would be removed otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Kept {
    /// The kind's name, or `temporary`.
    pub kind: &'static str,
    /// The path below the cache.
    pub path: PathBuf,
    /// Why.
    pub reason: KeptFor,
}

/// The result, or in a dry run what it would be.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Outcome {
    /// The removed entries, in the order of removal.
    pub removed: Vec<Removed>,
    /// The entries that stay although they would be removed otherwise.
    pub kept: Vec<Kept>,
    /// The size of the removed entries in bytes.
    pub freed: u64,
    /// The size of the remaining entries in bytes.
    pub left: u64,
}

/// The name of an entry's kind.
pub(super) fn kind_name(entry: &Entry) -> &'static str {
    entry.kind.map_or(TEMPORARY, |kind| kind.name)
}

/// Removes entries from a cache, or in a `dry_run` only determines what would be removed.
///
/// # Errors
///
/// If the cache belongs to another user or others may write to it, if an entry cannot be removed, or if the work is
/// cancelled. Entries that were removed before that are gone.
pub(crate) fn run(cache: &Path, task: &Task, dry_run: bool, cancel: &Cancel) -> Result<Outcome, CacheError> {
    let mut outcome = Outcome::default();
    if !store::exists(cache)? {
        return Ok(outcome);
    }
    if !store::is_writable(cache) && !dry_run {
        let reason = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        let text = format!("nothing can be removed from `{}`", cache.display());
        return Err(io::Error::new(reason.kind(), text).into());
    }
    // Done before anything is locked, so that others need not wait for it.
    let found = survey(cache, cancel)?;
    let mut hold = if dry_run { Hold::look(cache)? } else { Hold::take(cache)? };
    let choice = choose(&found.entries, task, clock::unix_now(), hold.is_alone());
    outcome.kept = kept(&found, &choice, task);
    let total: u64 = found.entries.iter().map(|entry| entry.bytes).sum();
    let alone = hold.is_alone();
    let trash = if dry_run || choice.remove.is_empty() { None } else { trash(cache)? };
    let mut taking = Taking { cache, alone, dry_run, trash, shut: BTreeSet::new(), number: 0 };
    let most = if let Task::Prune { max_size, .. } = task { *max_size } else { None };
    let spare = choice.spare.iter().map(|at| (*at, None));
    for (at, reason) in choice.remove.iter().map(|(at, reason)| (*at, Some(*reason))).chain(spare) {
        cancel.check()?;
        if reason.is_none() && most.is_none_or(|most| total - outcome.freed <= most) {
            break;
        }
        let entry = &found.entries[at];
        let kind = kind_name(entry);
        match taking.take(entry)? {
            Taken::Removed => {
                let (path, bytes, reason) = (entry.path.clone(), entry.bytes, reason.unwrap_or(Reason::Size));
                outcome.freed += bytes;
                outcome.removed.push(Removed { kind, path, bytes, reason });
            }
            Taken::Gone => outcome.freed += entry.bytes,
            Taken::Kept(reason) => outcome.kept.push(Kept { kind, path: entry.path.clone(), reason }),
        }
    }
    outcome.left = total - outcome.freed;
    if alone && !dry_run {
        remove_empty(cache);
    }
    hold.share();
    if let Some(trash) = taking.trash {
        // A run that started meanwhile may have removed it already.
        fs::unless_missing(trash.close())?;
    }
    Ok(outcome)
}

/// A directory for removed entries; `None` if the disk is full, which is a reason for pruning: entries are then removed
/// in place.
fn trash(cache: &Path) -> Result<Option<TempDir>, CacheError> {
    match fs::temporary_dir(cache) {
        Ok(trash) => Ok(Some(trash)),
        Err(error) if ExitCode::of_io(&error) == ExitCode::DiskFull => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The entries that stay for reasons that are known before anything is locked.
fn kept(found: &Survey, choice: &Choice, task: &Task) -> Vec<Kept> {
    let in_use = choice.in_use.iter().map(|at| (&found.entries[*at], KeptFor::InUse));
    // A user who names kinds gets no report on kinds that are never pruned.
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

/// The result of removing an entry.
enum Taken {
    Removed,
    /// Another process has removed it.
    Gone,
    Kept(KeptFor),
}

/// Removes entries.
struct Taking<'a> {
    cache: &'a Path,
    /// No other process is known to use the cache.
    alone: bool,
    /// Nothing is removed; only the result is determined.
    dry_run: bool,
    /// The directory that they are moved to.
    trash: Option<TempDir>,
    /// Directories that another process keeps locked until it ends: only the first attempt waits for the lock.
    shut: BTreeSet<PathBuf>,
    /// The number of entries that were removed.
    number: usize,
}

impl Taking<'_> {
    fn take(&mut self, entry: &Entry) -> Result<Taken, CacheError> {
        let path = self.cache.join(&entry.path);
        let mut locks: Vec<Lock> = Vec::new();
        match self.lock(entry, &path, &mut locks) {
            Ok(true) => {}
            Ok(false) => return Ok(Taken::Kept(KeptFor::Locked)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
            Err(error) => return Err(error.into()),
        }
        let mut used = None;
        for (_, part) in entry.paths() {
            used = used.max(usage::last_used(&self.cache.join(part))?);
        }
        match used {
            None => return Ok(Taken::Gone),
            // It has been used since the choice.
            Some(used) if used != entry.used => return Ok(Taken::Kept(KeptFor::InUse)),
            Some(_) => {}
        }
        if self.dry_run {
            return Ok(Taken::Removed);
        }
        self.number += 1;
        for (suffix, part) in entry.paths() {
            // Others may wait for this lock, so the file must stay.
            if suffix == ".lock" && !self.alone {
                continue;
            }
            let to = self.trash.as_ref().map(|trash| trash.path().join(format!("{}{suffix}", self.number)));
            remove(&self.cache.join(part), to.as_deref())?;
        }
        Ok(Taken::Removed)
    }

    /// Takes the locks of those who write and mark an entry. False if another process holds one of them.
    fn lock(&mut self, entry: &Entry, path: &Path, locks: &mut Vec<Lock>) -> io::Result<bool> {
        let Some(kind) = entry.kind.filter(|kind| kind.entries != Entries::Whole) else {
            return Ok(self.alone);
        };
        let directory = path.parent().unwrap_or(self.cache);
        if self.shut.contains(directory) {
            return Ok(false);
        }
        // Taken even if nobody else is known to use the cache: a process that may only read it may be unable to lock
        // the usage file.
        let Some(gate) = usage::gate(directory)? else {
            self.shut.insert(directory.to_owned());
            return Ok(false);
        };
        locks.push(gate);
        if self.alone {
            return Ok(true);
        }
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
            // If the file is missing, nobody has locked it, and a run that starts now has not marked the entry yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Renames a path to `to`, or removes it in place if `to` is missing or on another file system.
fn remove(path: &Path, to: Option<&Path>) -> io::Result<()> {
    match to.map_or(Err(io::ErrorKind::CrossesDevices.into()), |to| fs::rename(path, to)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // It gets a temporary name first, so that no incomplete entry remains if this process is killed.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let beside = path.with_file_name(format!("{}{name}", store::TEMPORARY));
            if fs::unless_missing(fs::rename(path, &beside))?.is_none() {
                return Ok(());
            }
            let metadata = fs::symlink_metadata(&beside)?;
            if metadata.is_dir() { fs::remove_dir_all(&beside) } else { fs::remove_file(&beside) }
        }
        result => fs::unless_missing(result).map(drop),
    }
}

/// Removes the empty directories of kinds.
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
        // `remove_dir` fails for a directory that is not empty.
        for empty in directory.ancestors().take_while(|path| *path != cache) {
            fs::remove_dir(empty).ok();
        }
    }
}
