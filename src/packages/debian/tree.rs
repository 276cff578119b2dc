//! A root filesystem in memory: packages merged in the way that dpkg would merge them.
//!
//! Every path is walked component by component. Only links that we created ourselves are followed (the merged `/usr`,
//! `/var/run`): a package can't write through a link of its own or of another package. Two packages may share
//! directories. They may not have the same file unless one declares that it replaces the other's.

use std::collections::BTreeMap;
use std::sync::Arc;

use debversion::Version;

use super::relation::Group;
use crate::archive::link_target;
use crate::layer::{Content, Entry, EntryKind};

/// The directories that dpkg allows to be links into `/usr`, on any architecture.
pub(super) const MERGED: &[&str] = &["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];
/// Maximum number of our own links in a path.
const LINKS: usize = 16;

/// The owner of a file.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// `Replaces`.
    pub replaces: Vec<Group>,
}

/// Two entries that cannot both be in one root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Two packages have the same path, and neither replaces the other's.
    #[error("`/{path}` is in {first} and in {second}, and neither replaces the other's")]
    Overlap {
        /// The path.
        path: String,
        /// The package that has it.
        first: String,
        /// The other package that has it.
        second: String,
    },
    /// A path that goes through a link of a package.
    #[error("{package} has `/{path}`, but `/{link}` is a link")]
    ThroughLink {
        /// The package.
        package: String,
        /// The path.
        path: String,
        /// The link in the path.
        link: String,
    },
    /// A path that goes through a file.
    #[error("{package} has `/{path}`, but `/{file}` is not a directory")]
    ThroughFile {
        /// The package.
        package: String,
        /// The path.
        path: String,
        /// The file in the path.
        file: String,
    },
    /// A hard link whose file no longer exists.
    #[error("{package} has `/{path}` as a hard link to `/{target}`, which is not one of its files")]
    HardLink {
        /// The package.
        package: String,
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
}

#[derive(Clone, Debug)]
struct Node {
    entry: Entry,
    /// Position in the owners; `None` for our own entries.
    owner: Option<usize>,
}

/// A root filesystem under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
    owners: Vec<Owner>,
    /// True if paths stay as in the packages: whether `/usr` is merged then depends on the root below.
    plain: bool,
}

impl Tree {
    /// An empty root with a merged `/usr`: `/bin`, `/lib` and `/sbin` are links into it, as is mandatory in Debian
    /// since bookworm. `/lib64` and the like are added when a package has them.
    #[must_use]
    pub(crate) fn merged() -> Self {
        let mut tree = Self::default();
        for name in ["bin", "lib", "sbin"] {
            tree.merge(name);
        }
        tree
    }

    /// An empty root whose paths stay as in the packages, for a layer on another root.
    #[must_use]
    pub(crate) fn plain() -> Self {
        Self { plain: true, ..Self::default() }
    }

    fn merge(&mut self, name: &str) {
        let target = format!("usr/{name}");
        self.own(name, EntryKind::Symlink(target.clone()), 0o777);
        self.parents(&target, None);
        self.nodes.entry(target.clone()).or_insert_with(|| node(&target, EntryKind::Directory, 0o755, None));
    }

    fn own(&mut self, path: &str, kind: EntryKind, mode: u32) {
        self.nodes.insert(path.to_owned(), node(path, kind, mode, None));
    }

    /// Adds a package to the root.
    pub(crate) fn add(&mut self, owner: Owner, entries: Vec<Entry>) -> Result<(), TreeError> {
        let at = self.owners.len();
        self.owners.push(owner);
        for entry in entries {
            self.lay(entry, Some(at))?;
        }
        Ok(())
    }

    /// Adds an entry of our own. If it would replace a file or link of a package, that is an overlap. A link replaces
    /// an empty directory.
    pub(crate) fn add_own(&mut self, entry: Entry) -> Result<(), TreeError> {
        let path = self.place(&entry.path, None)?;
        let empty_dir = self.nodes.get(&path).is_some_and(|node| node.entry.kind == EntryKind::Directory)
            && self.below(&path).next().is_none();
        if matches!(entry.kind, EntryKind::Symlink(_)) && empty_dir {
            self.nodes.remove(&path);
        }
        self.lay(entry, None)
    }

    fn lay(&mut self, mut entry: Entry, owner: Option<usize>) -> Result<(), TreeError> {
        let path = self.place(&entry.path, owner)?;
        if let EntryKind::HardLink(target) = &mut entry.kind {
            let placed = self.place(target, owner)?;
            let file = self
                .nodes
                .get(&placed)
                .is_some_and(|node| node.owner == owner && matches!(node.entry.kind, EntryKind::File(_)));
            if !file {
                let package = self.package(owner);
                return Err(TreeError::HardLink { package, path, target: placed });
            }
            *target = placed;
        }
        entry.path.clone_from(&path);
        if let Some(there) = self.nodes.get(&path)
            && !self.gives_way(there, &entry, owner)?
        {
            return Ok(());
        }
        self.parents(&path, owner);
        self.nodes.insert(path, Node { entry, owner });
        Ok(())
    }

    /// Whether `entry` replaces the existing one; false if that stays and `entry` is dropped.
    fn gives_way(&self, there: &Node, entry: &Entry, owner: Option<usize>) -> Result<bool, TreeError> {
        match (&there.entry.kind, &entry.kind) {
            // Directories are shared. The first one's mode stays, as in dpkg.
            (EntryKind::Directory, EntryKind::Directory) => return Ok(false),
            // If we have a link of our own at a package's directory, the directory is the link's target.
            (EntryKind::Symlink(_), EntryKind::Directory) if there.owner.is_none() => return Ok(false),
            (EntryKind::Symlink(one), EntryKind::Symlink(other)) if one == other => return Ok(false),
            _ => {}
        }
        let replaceable = |kind: &EntryKind| !matches!(kind, EntryKind::Directory | EntryKind::HardLink(_));
        if let (Some(first), Some(second)) = (there.owner, owner)
            && first != second
            && replaceable(&there.entry.kind)
            && replaceable(&entry.kind)
            && !self.is_linked(&there.entry.path)
        {
            if self.replaces(second, first) {
                return Ok(true);
            }
            if self.replaces(first, second) {
                return Ok(false);
            }
        }
        Err(TreeError::Overlap {
            path: entry.path.clone(),
            first: self.package(there.owner),
            second: self.package(owner),
        })
    }

    fn replaces(&self, one: usize, other: usize) -> bool {
        let (one, other) = (&self.owners[one], &self.owners[other]);
        one.replaces
            .iter()
            .flatten()
            .any(|relation| relation.name == other.name && relation.admits(&other.version))
    }

    fn is_linked(&self, path: &str) -> bool {
        self.nodes
            .values()
            .any(|node| matches!(&node.entry.kind, EntryKind::HardLink(target) if target == path))
    }

    /// Resolves a path, following our own links in all but its last component.
    fn place(&mut self, path: &str, owner: Option<usize>) -> Result<String, TreeError> {
        let mut wanted = path.to_owned();
        'again: for _ in 0..LINKS {
            let mut walked = String::new();
            let mut rest = wanted.as_str();
            while let Some((part, behind)) = rest.split_once('/') {
                if !walked.is_empty() {
                    walked.push('/');
                }
                walked.push_str(part);
                if !self.plain && MERGED.contains(&walked.as_str()) && !self.nodes.contains_key(&walked) {
                    self.merge(&walked);
                }
                match self.nodes.get(&walked).map(|node| (&node.entry.kind, node.owner)) {
                    None | Some((EntryKind::Directory, _)) => {}
                    Some((EntryKind::Symlink(target), None)) => {
                        wanted = format!("{}/{behind}", link_target(&walked, target));
                        continue 'again;
                    }
                    Some((EntryKind::Symlink(_), Some(_))) => {
                        let package = self.package(owner);
                        return Err(TreeError::ThroughLink { package, path: path.to_owned(), link: walked });
                    }
                    Some((EntryKind::File(_) | EntryKind::HardLink(_), _)) => {
                        let package = self.package(owner);
                        return Err(TreeError::ThroughFile { package, path: path.to_owned(), file: walked });
                    }
                }
                rest = behind;
            }
            if !self.plain && MERGED.contains(&wanted.as_str()) && !self.nodes.contains_key(&wanted) {
                let name = wanted.clone();
                self.merge(&name);
            }
            return Ok(wanted);
        }
        let package = self.package(owner);
        Err(TreeError::ThroughLink { package, path: path.to_owned(), link: wanted })
    }

    /// Adds the directories above a path that no package has.
    fn parents(&mut self, path: &str, owner: Option<usize>) {
        for (at, _) in path.match_indices('/') {
            let dir = &path[..at];
            if !self.nodes.contains_key(dir) {
                self.nodes.insert(dir.to_owned(), node(dir, EntryKind::Directory, 0o755, owner));
            }
        }
    }

    fn package(&self, owner: Option<usize>) -> String {
        owner.map_or_else(|| "the base".to_owned(), |at| self.owners[at].name.clone())
    }

    fn below<'a>(&'a self, dir: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        let prefix = format!("{dir}/");
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, node)| (path.as_str(), &node.entry))
    }

    /// Every path of a package that is not a directory, with the package's name.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().filter_map(|(path, node)| {
            let owner = self.owners.get(node.owner?)?;
            (node.entry.kind != EntryKind::Directory).then_some((path.as_str(), owner.name.as_str()))
        })
    }

    /// The entries below a directory, sorted by path. Links in the path are not followed.
    pub(crate) fn entries_below<'a>(&'a self, dir: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.below(dir).map(|(_, entry)| entry)
    }

    /// The entry at a path.
    #[cfg(test)]
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.nodes.get(path).map(|node| &node.entry)
    }

    /// A file's content, or that of its target if it is a hard link.
    #[must_use]
    pub(crate) fn content(&self, path: &str) -> Option<Arc<[u8]>> {
        match &self.nodes.get(path)?.entry.kind {
            EntryKind::File(Content::Bytes(bytes)) => Some(Arc::clone(bytes)),
            EntryKind::HardLink(target) => self.content(target),
            _ => None,
        }
    }

    /// The files and hard links of a package, sorted.
    #[must_use]
    pub(crate) fn files_of(&self, name: &str) -> Vec<&str> {
        let Some(at) = self.owners.iter().position(|owner| owner.name == name) else { return Vec::new() };
        let file = |node: &&Node| {
            node.owner == Some(at) && matches!(node.entry.kind, EntryKind::File(_) | EntryKind::HardLink(_))
        };
        self.nodes.values().filter(file).map(|node| node.entry.path.as_str()).collect()
    }

    /// All paths of a package, sorted.
    #[must_use]
    pub(crate) fn paths_of(&self, name: &str) -> Vec<&str> {
        let Some(at) = self.owners.iter().position(|owner| owner.name == name) else { return Vec::new() };
        self.nodes
            .values()
            .filter(|node| node.owner == Some(at))
            .map(|node| node.entry.path.as_str())
            .collect()
    }

    /// All entries sorted by path. If a file has several names, the first is the file and the others are hard links to
    /// it, so that a reader in this order never meets a link before its file.
    #[must_use]
    pub(crate) fn into_entries(mut self) -> Vec<Entry> {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let EntryKind::HardLink(target) = &node.entry.kind {
                names.entry(target.clone()).or_default().push(path.clone());
            }
        }
        for (target, links) in names {
            // Sorted, since the nodes are sorted.
            let first = &links[0];
            if *first > target {
                continue;
            }
            let swapped = |node: &mut Node, kind: EntryKind| std::mem::replace(&mut node.entry.kind, kind);
            let file =
                self.nodes.get_mut(&target).map(|node| swapped(node, EntryKind::HardLink(first.clone())));
            for link in &links {
                if let Some(node) = self.nodes.get_mut(link) {
                    node.entry.kind = EntryKind::HardLink(first.clone());
                }
            }
            if let (Some(node), Some(file)) = (self.nodes.get_mut(first), file) {
                node.entry.kind = file;
            }
        }
        self.nodes.into_values().map(|node| node.entry).collect()
    }
}

fn node(path: &str, kind: EntryKind, mode: u32, owner: Option<usize>) -> Node {
    Node { entry: Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0 }, owner }
}

#[cfg(test)]
mod tests {
    use super::super::relation::parse_groups;
    use super::*;

    fn owner(name: &str) -> Owner {
        Owner { name: name.into(), version: "1".parse().unwrap(), replaces: Vec::new() }
    }

    fn replacing(name: &str, replaces: &str) -> Owner {
        Owner { replaces: parse_groups(replaces).unwrap(), ..owner(name) }
    }

    fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
        Entry { path: path.into(), kind, mode, uid: 0, gid: 0 }
    }

    fn file(path: &str, content: &str) -> Entry {
        entry(path, EntryKind::File(Content::Bytes(content.as_bytes().into())), 0o644)
    }

    fn dir(path: &str, mode: u32) -> Entry {
        entry(path, EntryKind::Directory, mode)
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, EntryKind::Symlink(target.into()), 0o777)
    }

    fn hard(path: &str, target: &str) -> Entry {
        entry(path, EntryKind::HardLink(target.into()), 0o644)
    }

    fn listing(tree: Tree) -> Vec<String> {
        tree.into_entries()
            .into_iter()
            .map(|entry| match entry.kind {
                EntryKind::Directory => format!("{}/", entry.path),
                EntryKind::File(_) => entry.path,
                EntryKind::Symlink(target) => format!("{} -> {target}", entry.path),
                EntryKind::HardLink(target) => format!("{} = {target}", entry.path),
            })
            .collect()
    }

    #[test]
    fn a_merged_usr_takes_what_packages_ship_outside() {
        let mut tree = Tree::merged();
        let entries = vec![
            dir("lib", 0o755),
            dir("lib/x", 0o755),
            file("lib/x/libc.so.6", "c"),
            hard("usr/lib/x/libc.so", "lib/x/libc.so.6"),
            dir("lib64", 0o755),
            link("lib64/ld.so", "/lib/x/ld.so"),
            dir("usr/lib", 0o700),
            link("bin", "usr/bin"),
        ];
        tree.add(owner("libc6"), entries).unwrap();
        assert_eq!(
            listing(tree),
            [
                "bin -> usr/bin",
                "lib -> usr/lib",
                "lib64 -> usr/lib64",
                "sbin -> usr/sbin",
                "usr/",
                "usr/bin/",
                "usr/lib/",
                "usr/lib/x/",
                // The first name is the file, whichever came first in the package.
                "usr/lib/x/libc.so",
                "usr/lib/x/libc.so.6 = usr/lib/x/libc.so",
                "usr/lib64/",
                "usr/lib64/ld.so -> /lib/x/ld.so",
                "usr/sbin/",
            ]
        );
    }

    #[test]
    fn an_unexplained_overlap_is_refused() {
        let mut tree = Tree::merged();
        tree.add(owner("a"), vec![file("lib/x", "1")]).unwrap();
        let error = tree.clone().add(owner("b"), vec![file("usr/lib/x", "1")]).unwrap_err();
        assert_eq!(error.to_string(), "`/usr/lib/x` is in a and in b, and neither replaces the other's");
        for entry in [link("usr/lib/x", "y"), dir("usr/lib/x", 0o755)] {
            assert!(matches!(tree.clone().add(owner("b"), vec![entry]), Err(TreeError::Overlap { .. })));
        }
        assert!(matches!(tree.clone().add_own(file("usr/lib/x", "1")), Err(TreeError::Overlap { .. })));
        let error = tree.add(replacing("b", "a (<< 1)"), vec![file("usr/lib/x", "1")]).unwrap_err();
        assert!(matches!(error, TreeError::Overlap { .. }));
    }

    #[test]
    fn replaces_decides_whatever_the_order() {
        for swap in [false, true] {
            let mut packages =
                [(owner("a"), vec![file("x", "old")]), (replacing("b", "a (<= 1)"), vec![file("x", "new")])];
            if swap {
                packages.reverse();
            }
            let mut tree = Tree::merged();
            for (owner, entries) in packages {
                tree.add(owner, entries).unwrap();
            }
            assert_eq!(&*tree.content("x").unwrap(), b"new");
            assert_eq!(tree.files_of("b"), ["x"]);
            assert!(tree.files_of("a").is_empty());
        }
    }

    #[test]
    fn nothing_is_written_through_a_package_s_link_or_file() {
        let mut tree = Tree::merged();
        tree.add(owner("a"), vec![link("opt", "/etc"), file("srv", "")]).unwrap();
        let error = tree.clone().add(owner("b"), vec![file("opt/passwd", "x")]).unwrap_err();
        assert!(matches!(error, TreeError::ThroughLink { ref link, .. } if link == "opt"), "{error}");
        let error = tree.add(owner("b"), vec![file("srv/x", "x")]).unwrap_err();
        assert!(matches!(error, TreeError::ThroughFile { ref file, .. } if file == "srv"), "{error}");
    }

    #[test]
    fn our_own_links_are_followed_and_end() {
        let mut tree = Tree::merged();
        tree.add(owner("base-files"), vec![dir("var/run", 0o755), dir("run", 0o755)]).unwrap();
        tree.add_own(link("var/run", "/run")).unwrap();
        tree.add(owner("b"), vec![dir("var/run", 0o755), file("var/run/x/pid", "1")]).unwrap();
        assert!(tree.get("run/x/pid").is_some());
        tree.add_own(link("loop", "loop")).unwrap();
        assert!(matches!(tree.add(owner("c"), vec![file("loop/x", "")]), Err(TreeError::ThroughLink { .. })));
        // A directory with content is not replaced.
        assert!(matches!(tree.add_own(link("run", "/tmp")), Err(TreeError::Overlap { .. })));
    }

    #[test]
    fn a_hard_link_needs_a_file_of_its_own_package() {
        let mut tree = Tree::merged();
        tree.add(owner("a"), vec![file("x", "1")]).unwrap();
        let error = tree.clone().add(owner("b"), vec![hard("y", "x")]).unwrap_err();
        assert!(matches!(error, TreeError::HardLink { .. }), "{error}");
        tree.add(owner("c"), vec![file("c1", "1"), hard("c2", "c1")]).unwrap();
        assert_eq!(&*tree.content("c2").unwrap(), b"1");
        // A file with a second name can't be replaced, or the second name would change too.
        let error = tree.add(replacing("d", "c"), vec![file("c1", "2")]).unwrap_err();
        assert!(matches!(error, TreeError::Overlap { .. }), "{error}");
    }

    #[test]
    fn the_first_package_s_directory_keeps_its_mode() {
        let mut tree = Tree::merged();
        tree.add(owner("a"), vec![dir("tmp", 0o1777)]).unwrap();
        tree.add(owner("b"), vec![dir("tmp", 0o755), file("tmp/x", "")]).unwrap();
        assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
    }
}
