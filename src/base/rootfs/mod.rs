//! What is on an image's root filesystem, learned from its layers without unpacking them.
//!
//! `scan` reads a layer once, as a stream, into a [`LayerIndex`]: what it adds and what it removes.
//! [`Root`] lays such indexes on each other, which is pure, and answers questions about the result.
//!
//! It is an index of paths and no unpacked tree: modes, owners, times and content are deliberately absent, and so
//! are faults that only matter to an engine which unpacks (a hard link without its file, a file below a file).
//! Names that are not UTF-8 are kept with replacement characters; nothing asks for them.

mod guard;
mod kept;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

pub(super) use kept::{file_name, keep, recall};
pub(super) use scan::{Limits, Packing, scan};

use crate::catalog::{ElfIdentity, Endianness, Target};
use crate::oci::Digest;
use crate::plan::GlibcVersion;
use crate::sys::cancel::{Cancel, Cancelled};

/// As many symbolic links are followed for one path as Linux follows.
const MOST_LINKS: u32 = 40;
/// With the links' own paths, no path has more parts.
const MOST_PARTS: u32 = 4096;

/// Why a layer or an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It does not decompress, or it is no tar archive.
    #[error("it is broken: {0}")]
    Broken(#[source] io::Error),
    /// It decompresses to more than can be meant.
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It has more entries than can be meant.
    #[error("it has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// Its paths take more memory than can be meant.
    #[error("the paths in it take more than {limit} bytes")]
    LongNames {
        /// The limit in bytes.
        limit: usize,
    },
    /// A path that Linux does not take.
    #[error("a path in it has {length} bytes, which is more than Linux takes")]
    LongPath {
        /// Its length in bytes.
        length: usize,
    },
    /// The names and attributes of one entry are longer than can be meant.
    #[error("the headers of an entry take more than {limit} bytes")]
    LongHeader {
        /// The limit in bytes.
        limit: u64,
    },
    /// An entry that leads out of the image.
    #[error("the path `{path}` leads out of the image")]
    Escape {
        /// The path as it stands there.
        path: String,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// What one layer does to the root filesystem. Paths are relative, without empty parts, `.` and `..`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LayerIndex {
    /// The digest of its uncompressed bytes.
    pub diff_id: Digest,
    /// The folders whose content in lower layers it hides.
    pub opaque: Vec<String>,
    /// The paths of lower layers that it removes.
    pub whiteouts: Vec<String>,
    /// What it adds, in the archive's order, in which later entries win.
    pub entries: Vec<(String, Change)>,
}

/// What an entry of a layer adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Something of its own.
    Put(Node),
    /// A second name of the file at this path, which this layer or a lower one has.
    Link(String),
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Node {
    /// A folder.
    Folder,
    /// A regular file, and what it is if it is a glibc.
    File(Option<Library>),
    /// A symbolic link with its target, as it stands there.
    Symlink(String),
    /// A device, a pipe or the like.
    Special,
}

/// A glibc: what it is for, and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Library {
    /// As in [`ElfIdentity`].
    pub class: u8,
    /// As in [`ElfIdentity`].
    pub endianness: Endianness,
    /// As in [`ElfIdentity`].
    pub machine: u16,
    /// `e_flags`.
    pub flags: u32,
    /// The newest version that it defines.
    pub glibc: GlibcVersion,
}

impl Library {
    /// True if programs with this identity can be linked with it.
    fn serves(&self, identity: &ElfIdentity) -> bool {
        self.class == identity.class
            && self.endianness == identity.endianness
            && self.machine == identity.machine
            && identity.flags.as_ref().is_none_or(|rule| self.flags & rule.mask == rule.value)
    }
}

/// An index of a root filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// By path; every folder above an entry is there, and none of them is a link.
    nodes: BTreeMap<String, Node>,
}

impl Root {
    /// Lays a layer on top. Removals are of what lower layers have, wherever in the archive they stand.
    pub fn lay(&mut self, layer: &LayerIndex, cancel: &Cancel) -> Result<(), Cancelled> {
        for path in &layer.opaque {
            cancel.check()?;
            if let Some(path) = self.walk(path, Last::Follow) {
                self.clear(&path);
            }
        }
        for path in &layer.whiteouts {
            cancel.check()?;
            if let Some(path) = self.walk(path, Last::Keep) {
                self.clear(&path);
                self.nodes.remove(&path);
            }
        }
        for (path, change) in &layer.entries {
            cancel.check()?;
            let node = match change {
                Change::Put(node) => node.clone(),
                Change::Link(target) => self.linked(target),
            };
            // A path whose folders are links in a circle is nowhere.
            if let Some(path) = self.walk(path, Last::Keep) {
                self.put(path, node);
            }
        }
        Ok(())
    }

    /// What is at a path, symbolic links followed; `None` where there is nothing, or links go in a circle.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&self.walk(path, Last::Follow)?)
    }

    /// The path without links that this path leads to, relative. There may be nothing.
    #[must_use]
    pub fn real_path(&self, path: &str) -> Option<String> {
        self.walk(path, Last::Follow)
    }

    /// Every folder, and every symbolic link to one: what a path may lead through without being made.
    pub fn folders(&self, cancel: &Cancel) -> Result<BTreeSet<String>, Cancelled> {
        let mut folders = BTreeSet::new();
        for (path, node) in &self.nodes {
            cancel.check()?;
            let is_folder = match node {
                Node::Folder => true,
                Node::Symlink(_) => self
                    .real_path(path)
                    .is_some_and(|real| real.is_empty() || self.nodes.get(&real) == Some(&Node::Folder)),
                Node::File(_) | Node::Special => false,
            };
            if is_folder {
                folders.insert(path.clone());
            }
        }
        Ok(folders)
    }

    /// The version of the glibc that programs for this target run with; `None` where there is none for it.
    #[must_use]
    pub fn glibc(&self, target: &Target) -> Option<GlibcVersion> {
        // The loader's own folder is where its glibc was built to be; the others are those of distributions.
        let loader = target.elf.interpreter.as_deref().and_then(|loader| self.real_path(loader));
        let loader = loader.and_then(|path| Some(path.rsplit_once('/')?.0.to_owned()));
        let multiarch = target
            .debian
            .iter()
            .flat_map(|port| [format!("lib/{}", port.multiarch), format!("usr/lib/{}", port.multiarch)]);
        let common = ["lib64", "usr/lib64", "lib", "usr/lib"].map(ToOwned::to_owned);
        loader.into_iter().chain(multiarch).chain(common).find_map(|folder| {
            match self.lookup(&format!("{folder}/libc.so.6")) {
                Some(Node::File(Some(library))) if library.serves(&target.elf) => Some(library.glibc),
                _ => None,
            }
        })
    }

    /// What a hard link to this path is.
    fn linked(&self, target: &str) -> Node {
        match self.walk(target, Last::Keep).and_then(|path| self.nodes.get(&path)) {
            Some(node) if *node != Node::Folder => node.clone(),
            _ => Node::File(None),
        }
    }

    fn put(&mut self, path: String, node: Node) {
        for (end, _) in path.match_indices('/') {
            if self.nodes.get(&path[..end]) != Some(&Node::Folder) {
                self.nodes.insert(path[..end].to_owned(), Node::Folder);
            }
        }
        // A folder stays what it is under another; anything else replaces it with all that is in it.
        if node != Node::Folder && self.nodes.get(&path) == Some(&Node::Folder) {
            self.clear(&path);
        }
        self.nodes.insert(path, node);
    }

    /// Removes what is below a path.
    fn clear(&mut self, path: &str) {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below = self.nodes.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        let below: Vec<String> =
            below.map(|(path, _)| path).take_while(|path| path.starts_with(&prefix)).cloned().collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    /// Follows symbolic links inside the root, as the kernel does for a process whose root it is. What is not there
    /// is taken to become a folder.
    fn walk(&self, path: &str, last: Last) -> Option<String> {
        let parts = |path: &str| -> Vec<String> {
            path.split('/').rev().filter(|part| !matches!(*part, "" | ".")).map(ToOwned::to_owned).collect()
        };
        let mut pending = parts(path);
        let mut done = String::new();
        let (mut links, mut count) = (0, 0);
        while let Some(part) = pending.pop() {
            count += 1;
            if count > MOST_PARTS {
                return None;
            }
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = if done.is_empty() { part } else { format!("{done}/{part}") };
            match self.nodes.get(&next) {
                Some(Node::Symlink(target)) if last == Last::Follow || !pending.is_empty() => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    pending.extend(parts(target));
                }
                _ => done = next,
            }
        }
        Some(done)
    }
}

/// Whether a link at a path's very end is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Follow,
    Keep,
}
