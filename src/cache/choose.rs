//! The choice of entries to remove. Pure.

use std::time::Duration;

use serde::Serialize;

use super::survey::Entry;
use super::{Pruning, Task};

/// A day, in seconds. While others use the cache, entries that were used within a day stay: longer than any build is
/// expected to take.
pub(super) const DAY: i64 = 24 * 60 * 60;
/// By default, entries that were not used for this long are pruned.
pub(crate) const DEFAULT_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why an entry is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// It was not used for a long time.
    Unused,
    /// The cache is too large, and this entry was used the longest ago.
    Size,
    /// This version of xbuild does not read it.
    Obsolete,
    /// A killed run has left it.
    Left,
    /// The user asked for it.
    Asked,
}

/// The entries that a task concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The indexes of the entries to remove, in the order of removal.
    pub(super) remove: Vec<(usize, Reason)>,
    /// The indexes of entries that are removed instead of others that cannot be, as long as the cache is too large, in
    /// this order.
    pub(super) spare: Vec<usize>,
    /// The indexes of entries that would be removed if nobody else used the cache.
    pub(super) in_use: Vec<usize>,
}

/// Chooses the entries to remove. `alone` is true if nobody else uses the cache.
pub(super) fn choose(entries: &[Entry], task: &Task, now: i64, alone: bool) -> Choice {
    let mut choice = Choice::default();
    match task {
        Task::Prune { older_than, max_size } => {
            let mut order: Vec<usize> = (0..entries.len()).collect();
            order.sort_by_key(|&at| (entries[at].used, &entries[at].path));
            let before = older_than.map(|span| now.saturating_sub_unsigned(span.as_secs()));
            let mut left: u64 = entries.iter().map(|entry| entry.bytes).sum();
            let mut rest = Vec::new();
            for at in order {
                match reason(&entries[at], before) {
                    Some(reason) => {
                        if choice.take(at, reason, entries, now, alone) {
                            left -= entries[at].bytes;
                        }
                    }
                    None => rest.push(at),
                }
            }
            let Some(most) = *max_size else { return choice };
            for at in rest {
                let can_go = entries[at].kind.is_some_and(|kind| kind.pruning == Pruning::ByAge);
                // Removing an entry without bytes would not help.
                if !can_go || entries[at].bytes == 0 {
                    continue;
                }
                if left <= most {
                    choice.spare.extend(goes(&entries[at], now, alone).then_some(at));
                } else if choice.take(at, Reason::Size, entries, now, alone) {
                    left -= entries[at].bytes;
                }
            }
        }
        Task::Clean(kinds) => {
            for (at, entry) in entries.iter().enumerate() {
                if kinds.has(entry) {
                    choice.take(at, Reason::Asked, entries, now, alone);
                }
            }
        }
    }
    choice
}

/// Why an entry is removed regardless of the cache's size.
fn reason(entry: &Entry, before: Option<i64>) -> Option<Reason> {
    match entry.kind.map(|kind| kind.pruning) {
        None => Some(Reason::Left),
        Some(Pruning::Obsolete) => Some(Reason::Obsolete),
        Some(Pruning::Never) => None,
        Some(Pruning::ByAge) => {
            before.is_some_and(|before| entry.last_used() <= before).then_some(Reason::Unused)
        }
    }
}

/// True if an entry may be removed: nobody else uses the cache, or the entry is not in use.
fn goes(entry: &Entry, now: i64, alone: bool) -> bool {
    // A whole directory and a temporary file have no lock of their own, and other versions of xbuild do not mark their
    // use.
    let whole = entry.kind.is_none_or(|kind| kind.entries == super::Entries::Whole);
    alone || !whole && entry.last_used() < now - DAY
}

impl Choice {
    /// Adds an entry to those that are removed, or to those that are in use. Returns true if it is removed.
    fn take(&mut self, at: usize, reason: Reason, entries: &[Entry], now: i64, alone: bool) -> bool {
        let entry = &entries[at];
        let goes = goes(entry, now, alone);
        if goes {
            self.remove.push((at, reason));
        } else if entry.kind.is_some() {
            self.in_use.push(at);
        }
        goes
    }
}
