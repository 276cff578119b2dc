//! The cache as a person sees it: what is in it, how much of it, and what goes.
//!
//! The rooms that fill the cache know what they put there; this one knows of all of them by one table, [`KINDS`]. It reads no
//! content. What it removes it first renames, under the locks of those who write ([`crate::sys::usage`]), so that a build
//! that runs finds a thing whole or not at all.

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

/// What is in the cache under one directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The directory below the cache, which is also its name: `debian/packages`.
    pub name: &'static str,
    /// What it is for, for a person.
    pub purpose: &'static str,
    /// What counts as one thing in it.
    pub entries: Entries,
    /// When it goes.
    pub pruning: Pruning,
    /// What whoever writes to an entry locks.
    pub locked: Locked,
}

/// What counts as one thing that is kept and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// Each file or directory, with the `.partial` and the `.lock` beside it.
    Each,
    /// The same, one directory deeper: by algorithm of the digest.
    EachBelow,
    /// The directory as a whole: its parts refer to each other.
    Whole,
}

/// When something goes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pruning {
    /// When it was not used for long.
    ByAge,
    /// At once: no xbuild of this version reads it.
    Obsolete,
    /// Never: it guards against what is older.
    Never,
}

/// What whoever writes to an entry locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Nothing: it is written in one piece and renamed.
    Nothing,
    /// A file beside it, of the same name with `.lock`.
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

/// The records that guard against releases that are older than one that was seen.
pub(crate) const GUARD: &str = "debian/newest";
/// The name of what runs make in the cache and rename, wherever it is.
pub(crate) const TEMPORARY: &str = "temporary";

/// Everything that xbuild keeps. `docs/cache.md` says the same for users.
pub(crate) static KINDS: &[Kind] = &[
    kind("bases", "base images assembled of packages", Entries::Each, Pruning::ByAge, Locked::Itself),
    kind("debian/indexes", "package indexes, by digest", Entries::Each, Pruning::ByAge, Locked::Beside),
    kind(
        "debian/mirror-lists",
        "lists of mirrors, for when they cannot be had",
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
        "which image a name meant, for --offline",
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
    /// The kinds that a name means: one, or all below a directory. What runs make is the name [`TEMPORARY`] alone.
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
