//! A layer: what goes into it, and its one-pass writer.

use std::path::PathBuf;
use std::sync::Arc;

/// One file system entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the image: relative, `/`-separated, without a leading or trailing slash.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most `0o7777`.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target, taken as it is.
    Symlink(String),
    /// A second name of the file at this path of the same layer, written as [`Entry::path`] is.
    HardLink(String),
}

/// The bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In memory, for what is small or generated.
    Bytes(Arc<[u8]>),
    /// On disk. It is streamed when the layer is written, and must still have this size then.
    Path {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}
