//! Removing, beside runs that use the cache.
//!
//! Who removes holds the cache alone where nobody else uses it. Where somebody does, only what was not used for a day goes,
//! each under the locks of those who write and mark it. It is renamed into a directory of its own and removed there when the locks
//! are given back: a run that waits for them does not wait for the disk, and what a kill leaves there the next run removes.

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

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
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
pub(crate) struct Selection {
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

    /// True if something belongs to it.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        entry.kind.map_or(self.temporary, |kind| self.kinds.contains(&kind))
    }
}

/// Something that was removed, or would be.
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

/// Why something stays that would go otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeptFor {
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
pub(crate) struct Kept {
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
pub(crate) struct Outcome {
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
    // Before anything is locked: others need not wait while all is looked at.
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
        // A run that began meanwhile may have removed it already.
        fs::unless_missing(trash.close())?;
    }
    Ok(outcome)
}

/// A directory for what goes; none on a full disk, which is why people prune: there each thing goes where it is.
fn trash(cache: &Path) -> Result<Option<TempDir>, CacheError> {
    match fs::temporary_dir(cache) {
        Ok(trash) => Ok(Some(trash)),
        Err(error) if ExitCode::of_io(&error) == ExitCode::DiskFull => Ok(None),
        Err(error) => Err(error.into()),
    }
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

/// Takes entries away.
struct Taking<'a> {
    cache: &'a Path,
    /// Nobody else is seen to use the cache.
    alone: bool,
    /// It is only asked what would go.
    dry_run: bool,
    /// Where they go.
    trash: Option<TempDir>,
    /// Directories that somebody keeps locked until he ends: they are waited for once.
    shut: BTreeSet<PathBuf>,
    /// How many were taken.
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
            // Somebody uses it now after all.
            Some(used) if used != entry.used => return Ok(Taken::Kept(KeptFor::InUse)),
            Some(_) => {}
        }
        if self.dry_run {
            return Ok(Taken::Removed);
        }
        self.number += 1;
        for (suffix, part) in entry.paths() {
            // A lock that somebody may wait for stays the file that it is.
            if suffix == ".lock" && !self.alone {
                continue;
            }
            let to = self.trash.as_ref().map(|trash| trash.path().join(format!("{}{suffix}", self.number)));
            remove(&self.cache.join(part), to.as_deref())?;
        }
        Ok(Taken::Removed)
    }

    /// Locks an entry as those do who write and mark it. False if somebody else has it.
    fn lock(&mut self, entry: &Entry, path: &Path, locks: &mut Vec<Lock>) -> io::Result<bool> {
        let Some(kind) = entry.kind.filter(|kind| kind.entries != Entries::Whole) else {
            return Ok(self.alone);
        };
        let directory = path.parent().unwrap_or(self.cache);
        if self.shut.contains(directory) {
            return Ok(false);
        }
        // Also where nobody else is seen to use the cache: who may only read it may have nothing to be seen by.
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
            // Without the file nobody has it locked, and who begins now has not marked it yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Renames something out of everybody's way, or removes it where it is if there is no such place on its file system.
fn remove(path: &Path, to: Option<&Path>) -> io::Result<()> {
    match to.map_or(Err(io::ErrorKind::CrossesDevices.into()), |to| fs::rename(path, to)) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // Under the name of what is being made, so that nothing is half there if this is killed.
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
