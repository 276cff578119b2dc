//! The files that remain when layers are applied. Pure over the entries of layers, whose content is not read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tar::EntryType;

use super::LayerEntry;
use crate::archive::{Head, Kind, Time};
use crate::rootfs::names::{Directory, Followed, MOST_LINKS, MOST_PARTS, Names, Paths};
use crate::rootfs::{Named, StreamError, clean, named};

/// The memory limit of all header data except names, in bytes; equal data is counted once.
const MOST_META: usize = 256 << 20;

/// The location of a file's content: the layer, and the entry in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode {
    pub(super) layer: u32,
    pub(super) ordinal: u32,
}

/// The data of a header except the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: Time,
    /// Extended attributes, as pax records, sorted.
    pub(super) records: Vec<(String, Vec<u8>)>,
}

/// The number of a [`Meta`]: few of a million files have one of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetaNumber(u32);

/// A file, directory, link or device at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory(MetaNumber),
    File {
        inode: Inode,
        size: u64,
        meta: MetaNumber,
    },
    Symlink {
        target: Box<str>,
        meta: MetaNumber,
    },
    /// A device or a pipe.
    Special {
        entry_type: EntryType,
        device: (u32, u32),
        meta: MetaNumber,
    },
}

/// All distinct [`Meta`]s.
#[derive(Debug)]
pub(super) struct Metas {
    list: Vec<Arc<Meta>>,
    numbers: HashMap<Arc<Meta>, MetaNumber>,
    bytes: usize,
}

impl Default for Metas {
    fn default() -> Self {
        // The first belongs to directories that engines make if a layer has only files in them.
        let meta =
            Arc::new(Meta { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), records: Vec::new() });
        Self { list: vec![Arc::clone(&meta)], numbers: HashMap::from([(meta, MetaNumber(0))]), bytes: 0 }
    }
}

impl Metas {
    fn number(&mut self, meta: Meta) -> Result<MetaNumber, StreamError> {
        if let Some(known) = self.numbers.get(&meta) {
            return Ok(*known);
        }
        self.bytes += meta.weight();
        if self.bytes > MOST_META {
            return Err(StreamError::LongNames { limit: MOST_META });
        }
        let number = MetaNumber(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        let meta = Arc::new(meta);
        self.list.push(Arc::clone(&meta));
        self.numbers.insert(meta, number);
        Ok(number)
    }
}

/// The effect of a layer's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Hides the content of a directory in lower layers.
    Opaque(String),
    /// Removes a path of lower layers.
    Remove(String),
    Put(String, Node),
    /// A second name of the file at another path.
    Link {
        path: String,
        target: String,
    },
}

impl Node {
    fn is_dir(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// A directory that engines make if a layer has only files in it.
    fn between() -> Self {
        Self::Directory(MetaNumber(0))
    }

    /// The memory that it takes beside its own size, in bytes.
    fn weight(&self) -> usize {
        if let Self::Symlink { target, .. } = self { target.len() } else { 0 }
    }
}

impl Meta {
    fn weight(&self) -> usize {
        let records: usize = self.records.iter().map(|(key, value)| key.len() + value.len() + 48).sum();
        // Including the entry of the map that refers to it.
        records + std::mem::size_of::<Self>() + 48
    }
}

fn invalid(reason: &str) -> StreamError {
    StreamError::Broken(io::Error::new(io::ErrorKind::InvalidData, reason.to_owned()))
}

impl Change {
    /// The memory that it takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        let texts = match self {
            Self::Opaque(path) | Self::Remove(path) => path.len(),
            Self::Put(path, node) => path.len() + node.weight(),
            Self::Link { path, target } => path.len() + target.len(),
        };
        texts + std::mem::size_of::<Self>()
    }

    /// The effect of an entry; `None` for bookkeeping entries.
    pub(super) fn read(
        inode: Inode,
        entry: &LayerEntry<'_, '_>,
        metas: &mut Metas,
    ) -> Result<Option<Self>, StreamError> {
        let Head { kind, size, .. } = entry.head;
        let written = text(&entry.head.path)?;
        let path = clean(&written)?;
        match named(&path, &written)? {
            Named::Opaque(dir) => return Ok(Some(Self::Opaque(dir.to_owned()))),
            Named::Removed(path) => return Ok(Some(Self::Remove(path))),
            Named::Bookkeeping => return Ok(None),
            Named::Entry => {}
        }
        let head = &entry.head;
        let link = || match text(&head.link)? {
            link if link.is_empty() => Err(invalid("a link without a target")),
            link => Ok(link),
        };
        let meta = metas.number(meta(head))?;
        let node = match kind {
            Kind::Directory => Node::Directory(meta),
            Kind::Symlink => Node::Symlink { target: link()?.into(), meta },
            Kind::HardLink => return Ok(Some(Self::Link { target: clean(&link()?)?, path })),
            Kind::File | Kind::OldSparse | Kind::Other(b'7') => Node::File { inode, size, meta },
            Kind::Character => Node::Special { entry_type: EntryType::Char, device: head.device, meta },
            Kind::Block => Node::Special { entry_type: EntryType::Block, device: head.device, meta },
            Kind::Pipe => Node::Special { entry_type: EntryType::Fifo, device: head.device, meta },
            Kind::Other(byte) => {
                Node::Special { entry_type: EntryType::new(byte), device: head.device, meta }
            }
        };
        Ok(Some(Self::Put(path, node)))
    }
}

fn meta(head: &Head) -> Meta {
    let Head { mode, uid, gid, mtime, .. } = *head;
    Meta { mode, uid, gid, mtime, records: head.attributes.clone() }
}

fn text(bytes: &[u8]) -> Result<String, StreamError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| invalid("a name in it is not UTF-8"))
}

/// The files by path. A directory comes before its content, and everything above an entry is a directory.
#[derive(Debug, Default)]
pub(super) struct Tree {
    names: Names<Node>,
    pub(super) metas: Metas,
}

impl Tree {
    /// Applies a layer: its removals only concern lower layers.
    pub(super) fn lay(&mut self, changes: Vec<Change>) -> Result<(), StreamError> {
        for change in &changes {
            match change {
                Change::Opaque(path) => {
                    if let Some(path) = self.walk(path, true)? {
                        self.names.clear(&path);
                    }
                }
                Change::Remove(path) => {
                    if let Some(path) = self.walk(path, false)? {
                        self.names.remove(&path);
                    }
                }
                Change::Put(..) | Change::Link { .. } => {}
            }
        }
        changes.into_iter().try_for_each(|change| self.add(change))
    }

    /// Applies an entry that is not a removal.
    pub(super) fn add(&mut self, change: Change) -> Result<(), StreamError> {
        match change {
            Change::Put(path, node) => {
                if let Some(path) = self.walk(&path, false)? {
                    self.put(&path, node)?;
                }
            }
            Change::Link { path, target } => {
                let linked = self.walk(&target, false)?.and_then(|target| self.names.get(&target)).cloned();
                let linked = linked.filter(|node| !node.is_dir());
                let node = linked.ok_or_else(|| invalid(&format!("`{path}` links to nothing")))?;
                if let Some(path) = self.walk(&path, false)? {
                    self.put(&path, node)?;
                }
            }
            Change::Opaque(_) | Change::Remove(_) => {}
        }
        Ok(())
    }

    /// The data with a number.
    pub(super) fn meta(&self, number: MetaNumber) -> &Meta {
        &self.metas.list[number.0 as usize]
    }

    /// All paths with their nodes: a directory before its content, the names of a directory sorted.
    pub(super) fn iter(&self) -> Paths<'_, Node> {
        self.names.entries()
    }

    /// The node at a path.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        self.names.get(path)
    }

    /// The location of each file's content, with the directory and the name that it is written to, sorted.
    pub(super) fn files(&self) -> Vec<(Inode, Directory, &str)> {
        let files = self.names.values().filter_map(|(dir, name, node)| match node {
            Node::File { inode, .. } => Some((*inode, dir, name)),
            _ => None,
        });
        let mut files: Vec<_> = files.collect();
        files.sort_unstable();
        files
    }

    /// The path of a name in a directory.
    pub(super) fn path(&self, dir: Directory, name: &str) -> String {
        self.names.path(dir, name)
    }

    fn put(&mut self, path: &str, node: Node) -> Result<(), StreamError> {
        if !node.is_dir() && self.names.get(path).is_some_and(Node::is_dir) {
            self.names.clear(path);
        }
        // Full paths of directories stay in memory while they are written.
        let weight = node.weight() + if node.is_dir() { path.len() } else { 0 };
        self.names.put(path, node, weight, Node::is_dir, Node::between)
    }

    /// Resolves a path within the root to one without links; a link as the last part is followed if `last`. `None` for
    /// the root itself; links in a circle are an error.
    fn walk<'p>(&mut self, path: &'p str, last: bool) -> Result<Option<Cow<'p, str>>, StreamError> {
        let is_link = |node: &Node| matches!(node, Node::Symlink { .. });
        if let Some(count) = self.names.straight(path, last, is_link) {
            self.names.spend(count)?;
            return Ok(Some(path.into()));
        }
        let parts = |path: &str| -> Vec<String> {
            path.split('/').rev().filter(|part| !matches!(*part, "" | ".")).map(ToOwned::to_owned).collect()
        };
        let mut pending = parts(path);
        let mut done = String::new();
        // The numbers of the directories above `done`, as far as they exist.
        let mut above: Vec<Option<Directory>> = vec![Some(0)];
        let (mut links, mut count) = (0, 0);
        let mut followed = Followed::default();
        let long = || {
            invalid(&format!(
                "the links of `{path}` lead through more than {MOST_PARTS} directories and links"
            ))
        };
        while let Some(part) = pending.pop() {
            count += 1;
            if count > MOST_PARTS {
                return Err(long());
            }
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let child = above.last().copied().flatten().and_then(|dir| self.names.child(dir, &part));
            match child {
                Some((Node::Symlink { target, .. }, _)) if last || !pending.is_empty() => {
                    links += 1;
                    let number = child.map(|(_, number)| number).unwrap_or_default();
                    if !followed.enter(number, pending.len()) {
                        return Err(invalid(&format!("the links of `{path}` lead in a circle")));
                    }
                    if target.starts_with('/') {
                        done.clear();
                        above.truncate(1);
                    }
                    pending.extend(parts(target));
                }
                _ => {
                    if !done.is_empty() {
                        done.push('/');
                    }
                    done.push_str(&part);
                    above.push(child.map(|(_, number)| number));
                }
            }
        }
        self.names.spend(count.into())?;
        if links > MOST_LINKS {
            let text =
                format!("`{path}` leads through {links} links, and Linux follows no more than {MOST_LINKS}");
            return Err(invalid(&text));
        }
        Ok(Some(done).filter(|done| !done.is_empty() || last).map(Cow::from))
    }
}
