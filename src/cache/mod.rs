//! The cache from the user's view: its content, its size, and what is removed.
//!
//! The rooms that fill the cache know what they store there; this room knows all of it from one table, [`KINDS`]. It
//! reads no content. Before it removes something, it renames it under the locks of the writers ([`crate::sys::usage`]),
//! so that a running build finds an entry either complete or not at all.

mod choose;
mod error;
mod prune;
mod survey;
#[cfg(test)]
mod tests;

pub(crate) use choose::{DEFAULT_AGE, Reason};
pub(crate) use error::CacheError;
pub(crate) use prune::{Kept, KeptFor, Outcome, Selection, Task, run};
pub(crate) use survey::{Survey, survey};

use crate::text::nearest;

/// The entries of the cache in one directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The directory below the cache, which is also its name: `debian/packages`.
    pub name: &'static str,
    /// Its purpose, as shown to users.
    pub purpose: &'static str,
    /// What one entry is.
    pub entries: Entries,
    /// When entries are removed.
    pub pruning: Pruning,
    /// What is locked while an entry is written.
    pub locked: Locked,
}

/// What one entry is, which is stored and removed as a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// Each file or directory, with the `.partial` and the `.lock` beside it.
    Each,
    /// The same, one directory deeper: by algorithm of the digest.
    EachBelow,
    /// The directory as a whole: its parts refer to each other.
    Whole,
}

/// When entries are removed automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pruning {
    /// When they were not used for a long time.
    ByAge,
    /// At once: this version of xbuild does not read them.
    Obsolete,
    /// Never: they protect against older releases.
    Never,
}

/// What is locked while an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Nothing: it is written to a temporary file and renamed.
    Nothing,
    /// A file beside it, with the suffix `.lock`.
    Beside,
    /// The entry, a directory.
    Itself,
    /// A file in the kind's directory.
    By(&'static str),
}

const fn kind(
    name: &'static str,
    purpose: &'static str,
    entries: Entries,
    pruning: Pruning,
    locked: Locked,
) -> Kind {
    Kind { name, purpose, entries, pruning, locked }
}

/// The records that protect against releases that are older than ones already seen.
pub(crate) const GUARD: &str = "debian/newest";
/// The name for temporary files and directories of runs, anywhere in the cache.
pub(crate) const TEMPORARY: &str = "temporary";

/// Everything that xbuild stores in the cache. `docs/cache.md` has the same table for users.
pub(crate) static KINDS: &[Kind] = &[
    kind("bases", "base images assembled from packages", Entries::Each, Pruning::ByAge, Locked::Itself),
    kind("debian/indexes", "package indexes, by digest", Entries::Each, Pruning::ByAge, Locked::Beside),
    kind(
        "debian/mirror-lists",
        "lists of mirrors, for use without the network",
        Entries::Each,
        Pruning::ByAge,
        Locked::Nothing,
    ),
    kind(
        GUARD,
        "the newest releases seen: older ones are refused",
        Entries::Each,
        Pruning::Never,
        Locked::Nothing,
    ),
    kind("debian/packages", "packages, by digest", Entries::Each, Pruning::ByAge, Locked::Beside),
    kind("debian/releases", "signed releases, for --offline", Entries::Each, Pruning::ByAge, Locked::Nothing),
    kind(
        "debian/resolved",
        "which packages a base is made of",
        Entries::Each,
        Pruning::ByAge,
        Locked::Nothing,
    ),
    kind(
        "downloads",
        "downloads of toolchains, to be resumed",
        Entries::Each,
        Pruning::ByAge,
        Locked::Beside,
    ),
    kind("layouts", "unpacked archives of base images", Entries::Each, Pruning::ByAge, Locked::Itself),
    kind(
        "registry/blobs",
        "base images from registries, by digest",
        Entries::EachBelow,
        Pruning::ByAge,
        Locked::Beside,
    ),
    kind(
        "registry/names",
        "the image of each name, for --offline",
        Entries::Each,
        Pruning::ByAge,
        Locked::Nothing,
    ),
    kind("repro", "builds that `xbuild repro` compares", Entries::Each, Pruning::ByAge, Locked::Itself),
    kind("rootfs", "indexes of the files in layers", Entries::Each, Pruning::ByAge, Locked::Nothing),
    kind(
        "rust",
        "which standard libraries a Rust release lacks",
        Entries::Each,
        Pruning::ByAge,
        Locked::Nothing,
    ),
    kind("sysroots", "what programs are linked against", Entries::Each, Pruning::ByAge, Locked::Beside),
    kind(
        "toolchains",
        "zig, the C compiler and linker",
        Entries::Each,
        Pruning::ByAge,
        Locked::By("zig.lock"),
    ),
    kind("wrappers", "scripts that call the compilers", Entries::Each, Pruning::ByAge, Locked::Nothing),
    kind("zig", "zig-2 of an earlier xbuild", Entries::Whole, Pruning::Obsolete, Locked::Nothing),
    kind("zig-2", "zig's libraries, compiled for targets", Entries::Whole, Pruning::ByAge, Locked::Nothing),
];

impl Kind {
    /// The kinds with a name: one kind, or all kinds below a directory. [`TEMPORARY`] names no kind and gives an empty
    /// list.
    ///
    /// # Errors
    ///
    /// If no kind has this name.
    pub(crate) fn named(name: &str) -> Result<Vec<&'static Self>, CacheError> {
        let name = name.trim_end_matches('/');
        let is_meant = |kind: &&Self| {
            kind.name == name
                || kind.name.strip_prefix(name).is_some_and(|rest| !name.is_empty() && rest.starts_with('/'))
        };
        let found: Vec<&'static Self> = KINDS.iter().filter(is_meant).collect();
        if !found.is_empty() || name == TEMPORARY {
            return Ok(found);
        }
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).chain([TEMPORARY]).collect();
        let nearest = nearest(name, &known).map(str::to_owned);
        Err(CacheError::UnknownKind { given: name.to_owned(), nearest })
    }
}
