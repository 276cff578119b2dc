//! Merged layers: the resulting root filesystem, and queries on it. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::names::{Followed, MOST_LINKS, MOST_PARTS, Names};
use super::scan::{MOST_REFUSED, weight};
use super::{Change, File, Kind, LayerIndex, Node, Refused, StreamError};
use crate::elf::Object;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::target::abi::GlibcVersion;
use crate::target::catalog::{ElfIdentity, Target};

/// An index of a root filesystem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// By path. Every directory above an entry is included, and none of them is a link.
    pub(super) nodes: Names<Node>,
    /// Entries of its layers that engines do not unpack.
    refused: Vec<Refused>,
}

/// Who accesses a file: the numbers of a user and of all its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user. 0 may search and read everything, as in a container.
    pub uid: u32,
    /// The groups.
    pub gids: BTreeSet<u32>,
}

/// A kind of access to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read it.
    Read,
    /// Execute it, or search it if it is a directory.
    Execute,
}

impl Identity {
    /// The user that a container runs as by default.
    #[must_use]
    pub fn root() -> Self {
        Self { uid: 0, gids: BTreeSet::from([0]) }
    }

    /// True if the mode and owner of a node allow it. Access control lists are ignored, as layers rarely have any.
    #[must_use]
    pub fn may(&self, wanted: Permission, node: &Node) -> bool {
        let bit = match wanted {
            Permission::Read => 4,
            Permission::Execute => 1,
        };
        if self.uid == 0 {
            return wanted == Permission::Read || node.is_dir() || node.mode & 0o111 != 0;
        }
        let shift = if node.uid == self.uid {
            6
        } else if self.gids.contains(&node.gid) {
            3
        } else {
            0
        };
        node.mode >> shift & bit != 0
    }
}

/// The result of resolving a path in the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The path exists.
    Found {
        /// The path without links, relative.
        path: String,
        /// What is there.
        node: &'a Node,
    },
    /// Nothing is at the path.
    Missing {
        /// The missing path without links. For a dangling link this is its target.
        path: String,
    },
    /// The path goes through something that is not a directory.
    NotADirectory {
        /// Its path without links.
        path: String,
    },
    /// The path goes through a directory that the user may not search.
    Denied {
        /// The directory's path without links.
        path: String,
    },
    /// Its symbolic links form a loop.
    Circle,
}

impl<'a> Lookup<'a> {
    /// The node that was found, with its path.
    #[must_use]
    pub fn found(self) -> Option<(String, &'a Node)> {
        match self {
            Self::Found { path, node } => Some((path, node)),
            _ => None,
        }
    }
}

impl Root {
    /// Merges a layer on top. Its removals apply to lower layers only, wherever they are in the archive. A filesystem
    /// that is larger or deeper than any reasonable one is refused.
    ///
    /// # Errors
    ///
    /// If all layers together exceed a limit, or if the work is cancelled.
    pub fn lay(&mut self, layer: &LayerIndex, cancel: &Cancel) -> Result<(), StreamError> {
        self.refused.extend(layer.refused.iter().cloned());
        for path in &layer.opaque {
            cancel.check()?;
            if let Some(path) = self.go(path, Last::Follow)? {
                self.nodes.clear(&path);
            }
        }
        for path in &layer.whiteouts {
            cancel.check()?;
            if let Some(path) = self.go(path, Last::Keep)? {
                self.nodes.remove(&path);
            }
        }
        for (path, change) in &layer.entries {
            cancel.check()?;
            let node = match change {
                Change::Put(node) => node.clone(),
                Change::Link(target) => {
                    let target = self.go(target, Last::Keep)?;
                    self.linked(target.as_deref())
                }
            };
            match self.go(path, Last::Keep)? {
                Some(real) => self.put(&real, node)?,
                // It cannot be resolved, and engines fail at it.
                None if self.refused.len() < MOST_REFUSED => {
                    let (path, reason) = (path.clone(), self.why_nowhere(path).to_owned());
                    self.refused.push(Refused { path, kind: type_of(change), reason });
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The entries of its layers that engines do not unpack.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// What is at a path, with symbolic links followed; `None` if there is nothing, or if links form a loop.
    #[must_use]
    pub fn lookup(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&self.walk(path, Last::Follow)?)
    }

    /// What is at a path, without following a link at its end.
    #[must_use]
    pub fn entry(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&self.walk(path, Last::Keep)?)
    }

    /// The regular file at a path, with symbolic links followed.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.lookup(path)?.file()
    }

    /// The path with its links resolved, relative. Nothing needs to exist there.
    #[must_use]
    pub fn real_path(&self, path: &str) -> Option<String> {
        self.walk(path, Last::Follow).map(Cow::into_owned)
    }

    /// Every path with its node: directories before their content, and the names of a directory sorted.
    pub fn nodes(&self) -> impl Iterator<Item = (String, &Node)> {
        self.nodes.entries()
    }

    /// Everything below a directory, given by its path without links, in the same order.
    pub fn below(&self, dir: &str) -> impl Iterator<Item = (String, &Node)> {
        self.nodes.below(dir)
    }

    /// Resolves a path like the kernel does for a user, who must be allowed to search every directory on the way.
    #[must_use]
    pub fn resolve_path(&self, path: &str, who: &Identity) -> Lookup<'_> {
        let mut pending = parts(path);
        let mut done = String::new();
        let (mut links, mut count) = (0, 0);
        while let Some(part) = pending.pop() {
            count += 1;
            if count > MOST_PARTS {
                return Lookup::Circle;
            }
            match self.nodes.get(&done) {
                Some(node) if !node.is_dir() => return Lookup::NotADirectory { path: done },
                Some(node) if !who.may(Permission::Execute, node) => return Lookup::Denied { path: done },
                _ => {}
            }
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                continue;
            }
            let next = if done.is_empty() { part } else { format!("{done}/{part}") };
            match self.nodes.get(&next) {
                Some(Node { kind: Kind::Symlink(target), .. }) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Lookup::Circle;
                    }
                    if target.starts_with('/') {
                        done.clear();
                    }
                    pending.extend(parts(target));
                }
                Some(_) => done = next,
                None => {
                    pending.reverse();
                    let rest = pending.iter().map(|part| format!("/{part}"));
                    return Lookup::Missing { path: next + &rest.collect::<String>() };
                }
            }
        }
        match self.nodes.get(&done) {
            Some(node) => Lookup::Found { path: done, node },
            None if done.is_empty() => Lookup::Found { path: done, node: &TOP },
            None => Lookup::Missing { path: done },
        }
    }

    /// Every directory, and every symbolic link to one: the paths that another path can go through without creating a
    /// directory.
    ///
    /// # Errors
    ///
    /// Only if the work is cancelled.
    pub fn dirs(&self, cancel: &Cancel) -> Result<BTreeSet<String>, Cancelled> {
        let mut dirs = BTreeSet::new();
        for (path, node) in self.nodes() {
            cancel.check()?;
            let is_dir = match node.kind {
                Kind::Directory => true,
                Kind::Symlink(_) => self
                    .real_path(&path)
                    .is_some_and(|real| real.is_empty() || self.nodes.get(&real).is_some_and(Node::is_dir)),
                Kind::File(_) | Kind::Special => false,
            };
            if is_dir {
                dirs.insert(path);
            }
        }
        Ok(dirs)
    }

    /// The version of the glibc that programs for this target run with; `None` if there is none for it.
    #[must_use]
    pub fn glibc(&self, target: &Target) -> Option<GlibcVersion> {
        // The loader's directory is the one that its glibc was built for. The others are those of common distributions.
        let loader = target.elf.interpreter.as_deref().and_then(|loader| self.real_path(loader));
        let loader = loader.and_then(|path| Some(path.rsplit_once('/')?.0.to_owned()));
        let multiarch = target
            .port
            .iter()
            .flat_map(|port| [format!("lib/{}", port.multiarch), format!("usr/lib/{}", port.multiarch)]);
        let common = ["lib64", "usr/lib64", "lib", "usr/lib"].map(ToOwned::to_owned);
        loader.into_iter().chain(multiarch).chain(common).find_map(|dir| {
            let object = self.file(&format!("{dir}/libc.so.6"))?.elf()?;
            if serves(object, &target.elf) { object.glibc() } else { None }
        })
    }

    /// The node for a hard link to this path without links.
    fn linked(&self, target: Option<&str>) -> Node {
        match target.and_then(|path| self.nodes.get(path)) {
            Some(node) if !node.is_dir() => node.clone(),
            _ => Node { kind: Kind::File(File::default()), mode: 0o644, uid: 0, gid: 0 },
        }
    }

    fn put(&mut self, path: &str, node: Node) -> Result<(), StreamError> {
        if path.is_empty() {
            return Ok(());
        }
        // A directory keeps its content under another directory. Anything else replaces it with its content.
        if !node.is_dir() && self.nodes.get(path).is_some_and(Node::is_dir) {
            self.nodes.clear(path);
        }
        let weight = match &node.kind {
            Kind::File(file) => weight(&file.content),
            Kind::Symlink(target) => target.len() + path.len(),
            // The paths of directories are stored whole for bases.
            Kind::Directory => path.len(),
            Kind::Special => 0,
        };
        self.nodes.put(path, node, weight, Node::is_dir, Node::dir)
    }

    /// Why a path cannot be resolved.
    fn why_nowhere(&self, path: &str) -> &'static str {
        let mut pending = parts(path);
        let (mut above, mut count, mut followed) = (vec![Some(0)], 0, Followed::default());
        while let Some(part) = pending.pop() {
            count += 1;
            if count > MOST_PARTS {
                break;
            }
            if part == ".." {
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let child = above.last().copied().flatten().and_then(|dir| self.nodes.child(dir, &part));
            match child {
                Some((Node { kind: Kind::Symlink(target), .. }, number)) if !pending.is_empty() => {
                    if !followed.enter(number, pending.len()) {
                        return "behind links that lead in a circle";
                    }
                    if target.starts_with('/') {
                        above.truncate(1);
                    }
                    pending.extend(parts(target));
                }
                child => above.push(child.map(|(_, number)| number)),
            }
        }
        "behind more than 40 links"
    }

    /// The same as [`Root::walk`], counted towards the limit for all layers.
    fn go<'p>(&mut self, path: &'p str, last: Last) -> Result<Option<Cow<'p, str>>, StreamError> {
        let (path, steps) = self.walked(path, last);
        self.nodes.spend(steps)?;
        Ok(path)
    }

    /// Follows symbolic links inside the root, like the kernel does for a process with this root. What does not exist
    /// is assumed to become a directory.
    fn walk<'p>(&self, path: &'p str, last: Last) -> Option<Cow<'p, str>> {
        self.walked(path, last).0
    }

    /// The same, with the number of parts that were looked up.
    fn walked<'p>(&self, path: &'p str, last: Last) -> (Option<Cow<'p, str>>, u64) {
        let is_link = |node: &Node| matches!(node.kind, Kind::Symlink(_));
        if let Some(count) = self.nodes.straight(path, last == Last::Follow, is_link) {
            return (Some(path.into()), count);
        }
        let mut pending = parts(path);
        let mut done = String::new();
        // The numbers of the directories above `done`, as far as they exist.
        let mut above = vec![Some(0)];
        let (mut links, mut count) = (0, 0);
        while let Some(part) = pending.pop() {
            count += 1;
            if count > MOST_PARTS {
                return (None, count.into());
            }
            if part == ".." {
                done.truncate(done.rfind('/').unwrap_or(0));
                if above.len() > 1 {
                    above.pop();
                }
                continue;
            }
            let dir = above.last().copied().flatten();
            let child = dir.and_then(|dir| self.nodes.child(dir, &part));
            match child {
                Some((Node { kind: Kind::Symlink(target), .. }, _))
                    if last == Last::Follow || !pending.is_empty() =>
                {
                    links += 1;
                    if links > MOST_LINKS {
                        return (None, count.into());
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
        (Some(done.into()), count.into())
    }
}

/// The root directory itself. Layers rarely have an entry for it.
static TOP: Node = Node { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 };

/// The type that a header has for a change.
fn type_of(change: &Change) -> u8 {
    match change {
        Change::Link(_) => b'1',
        Change::Put(node) => match node.kind {
            Kind::File(_) => b'0',
            Kind::Symlink(_) => b'2',
            Kind::Special => b'3',
            Kind::Directory => b'5',
        },
    }
}

/// A path's parts in reverse order.
fn parts(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|part| !matches!(*part, "" | ".")).map(ToOwned::to_owned).collect()
}

/// True if programs with this identity can be linked with a library.
fn serves(object: &Object, identity: &ElfIdentity) -> bool {
    let elf = &object.elf;
    elf.class == identity.class
        && elf.endianness == identity.endianness
        && elf.machine == identity.machine
        && identity.flags.as_ref().is_none_or(|rule| elf.flags & rule.mask == rule.value)
}

/// Whether a link at the very end of a path is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Follow,
    Keep,
}
