//! What goes and what stays. Pure.

use std::time::Duration;

use serde::Serialize;

use super::survey::Entry;
use super::{Pruning, Task};

/// A day, in seconds. While others use the cache, what was used within a day stays: longer than any build is expected to take.
pub(super) const DAY: i64 = 24 * 60 * 60;
/// What was not used for this long is pruned where nothing else is asked for.
pub(crate) const DEFAULT_AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    /// It was not used for long.
    Unused,
    /// The cache is larger than it should be, and this was used the longest ago.
    Size,
    /// No xbuild of this version reads it.
    Obsolete,
    /// A run that was killed has left it.
    Left,
    /// It was asked for.
    Asked,
}

/// What a task comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The numbers of the entries that go, in the order in which they go.
    pub(super) remove: Vec<(usize, Reason)>,
    /// Those that go in the place of others that turn out to stay, as long as the cache is too large, in their order.
    pub(super) spare: Vec<usize>,
    /// Those that would go if nobody else used the cache.
    pub(super) in_use: Vec<usize>,
}

/// Chooses what goes. `alone` is true if nobody else uses the cache.
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
                // Without bytes it would not help.
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

/// Why something goes whatever the size is.
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

/// True if something can go while others use the cache, or nobody does.
fn goes(entry: &Entry, now: i64, alone: bool) -> bool {
    // What is a whole, or is being made, has no lock of its own, and what another version uses it has not marked.
    let whole = entry.kind.is_none_or(|kind| kind.entries == super::Entries::Whole);
    alone || !whole && entry.last_used() < now - DAY
}

impl Choice {
    /// Adds what goes, or that it does not. True if it goes.
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
