//! What is on an image's root filesystem, read from its layers without unpacking them.
//!
//! [`scan`] reads a layer once, as a stream, into a [`LayerIndex`]: what it adds and what it removes. `index_of` stores
//! such indexes in the cache. [`Root`] merges them, which is pure, and answers questions about the result: what is at a
//! path, with symbolic links followed inside the root, and who can access it.
//!
//! It is an index, not an unpacked tree. Of a file's content it has only what the link check needs: what an ELF file is
//! and needs, a script's first line, and the few files that determine how libraries and users are found. Times are
//! deliberately left out, and so are faults that only matter to an engine that unpacks (a hard link without its file, a
//! file below a file). Names that are not UTF-8 are stored with replacement characters; they are never looked up.

pub mod cached;
mod content;
mod guard;
pub mod names;
mod place;
mod root;
mod scan;
mod system;
#[cfg(test)]
mod tests;
pub mod unpack;

use std::io;

use serde::{Deserialize, Serialize};

pub use cached::{IndexError, LayerCache, index_of, known_index};
pub use content::{Content, File};
pub use guard::{Guard, Guarded};
pub use place::on_base;
pub use root::Root;
pub use root::{Identity, Lookup, Permission};
pub use scan::{Ending, Named, clean, named, scan_to_end};
pub use scan::{Limits, scan};
pub use system::System;

use crate::archive::{Fault, Packing};
use crate::error::{ExitCode, Explain, io_hint};
use crate::oci::Digest;
use crate::sys::cancel::Cancelled;

/// Why a layer or an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It does not decompress, or cannot be read.
    #[error("it is broken: {0}")]
    Broken(#[source] io::Error),
    /// It is not a tar archive, or not one that can be read.
    #[error(transparent)]
    Archive(Fault),
    /// It decompresses to more than the limit.
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It has more entries than the limit.
    #[error("it has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// Its paths take more memory than the limit.
    #[error("the paths in it take more than {limit} bytes")]
    LongNames {
        /// The limit in bytes.
        limit: usize,
    },
    /// A path that is longer than Linux accepts.
    #[error("a path in it has {length} bytes, which is more than Linux accepts")]
    LongPath {
        /// Its length in bytes.
        length: usize,
    },
    /// A path that is deeper than the limit.
    #[error("a path in it is {depth} directories deep; at most {limit} are supported")]
    Deep {
        /// How deep it is.
        depth: usize,
        /// The limit.
        limit: usize,
    },
    /// Resolving all paths takes more steps than the limit.
    #[error("its paths lead through more than {limit} directories and links")]
    LongWays {
        /// The limit.
        limit: u64,
    },
    /// The names and attributes of one entry are longer than the limit.
    #[error("the headers of an entry take more than {limit} bytes")]
    LongHeader {
        /// The limit in bytes.
        limit: u64,
    },
    /// There is not enough disk space to unpack it. The archive itself may be fine.
    #[error("there is not enough disk space to unpack it: {0}")]
    NoRoom(#[source] io::Error),
    /// The path of an entry points outside the image.
    #[error("the path `{path}` leads out of the image")]
    Escape {
        /// The path as it is in the archive.
        path: String,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl StreamError {
    /// The kind of error that a failure to read is.
    #[must_use]
    pub fn of(error: io::Error) -> Self {
        match Fault::of(&error) {
            Some(fault) => Self::Archive(fault.clone()),
            // Reading alone never fails with this error.
            None if ExitCode::of_io(&error) == ExitCode::DiskFull => Self::NoRoom(error),
            None => Self::Broken(error),
        }
    }

    /// The exit code. `broken` is the code if the archive itself is at fault.
    #[must_use]
    pub fn exit_code(&self, broken: ExitCode) -> ExitCode {
        match self {
            Self::NoRoom(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
            _ => broken,
        }
    }

    /// The next step, if the archive itself is not at fault.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoRoom(error) => io_hint(error),
            _ => None,
        }
    }
}

/// What one layer does to the root filesystem. Paths are relative, without empty parts, `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LayerIndex {
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// The size of its uncompressed bytes.
    pub size: u64,
    /// Its compression, whatever its media type says.
    #[serde(default)]
    pub packing: Packing,
    /// The directories whose content from lower layers it hides.
    pub opaque: Vec<String>,
    /// The paths of lower layers that it removes.
    pub whiteouts: Vec<String>,
    /// What it adds, in the archive's order. Later entries win.
    pub entries: Vec<(String, Change)>,
    /// The first few entries that engines do not unpack.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// An entry of a layer that makes engines fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Refused {
    /// Its path.
    pub path: String,
    /// Its type, as in its header.
    pub kind: u8,
    /// A description of that type.
    pub reason: String,
}

/// What an entry of a layer adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// An entry with its own content.
    Put(Node),
    /// A hard link to the file at this path, which is in this layer or in a lower one.
    Link(String),
}

/// What is at a path, with its mode and owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// The owner's number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group's number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
    /// A symbolic link with its target, unchanged.
    Symlink(String),
    /// A device, a pipe or the like.
    Special,
}

impl Node {
    /// A directory as engines make it if a layer only has its content.
    #[must_use]
    pub fn dir() -> Self {
        Self { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 }
    }

    /// True for a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// The regular file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.kind {
            Kind::File(file) => Some(file),
            _ => None,
        }
    }
}
