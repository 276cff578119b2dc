//! A tree of names: what is at each path of a root filesystem, with one name a node however deep it lies, and an account
//! of all that it holds. Pure.
//!
//! Layers are input from anywhere, and a path of 4,096 bytes may have two thousand folders: kept as whole paths, a few
//! kilobytes of layer would become gigabytes here.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;

use super::StreamError;

/// As many symbolic links are followed for one path as Linux follows.
pub(crate) const MOST_LINKS: u32 = 40;
/// With the links' own paths, no path has more parts.
pub(crate) const MOST_PARTS: u32 = 4096;
/// No path that is meant to be used is deeper, in folders.
pub(crate) const DEEPEST: usize = 256;
/// No root filesystem that is meant to be used has more folders, files and links.
pub(crate) const MOST_NODES: usize = 1 << 21;
/// What all names, whole paths of folders and the rest may take that layers bring, in bytes, what upper layers take away
/// again included.
const MOST_BYTES: usize = 256 << 20;
/// How many parts of paths are looked up to lay all layers. A million files eight folders deep take eight millions.
pub(super) const MOST_STEPS: u64 = 1 << 26;

/// A folder's number; that of the root is 0.
pub(crate) type Folder = u32;

/// What is at each path.
#[derive(Clone, Debug)]
pub(crate) struct Names<T> {
    items: BTreeMap<Name, Item<T>>,
    /// The folder above, and the name, of each folder that has something in it.
    folders: Vec<(Folder, Box<str>)>,
    bytes: usize,
    steps: u64,
}

#[derive(Clone, Debug)]
struct Item<T> {
    value: T,
    /// Its number as a folder, once something was put into it.
    folder: Option<Folder>,
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    folder: Folder,
    name: Box<str>,
}

/// A name that is looked for, without making one.
trait Named {
    fn named(&self) -> (Folder, &str);
}

impl Named for Name {
    fn named(&self) -> (Folder, &str) {
        (self.folder, &self.name)
    }
}

impl Named for (Folder, &str) {
    fn named(&self) -> (Folder, &str) {
        *self
    }
}

impl<'a> Borrow<dyn Named + 'a> for Name {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.named() == other.named()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.named().cmp(&other.named())
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), folders: vec![(0, "".into())], bytes: 0, steps: 0 }
    }
}

impl<T: PartialEq> PartialEq for Names<T> {
    fn eq(&self, other: &Self) -> bool {
        self.items.len() == other.items.len() && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for Names<T> {}

impl<T> Names<T> {
    /// What is at a path, no link followed.
    pub(crate) fn get(&self, path: &str) -> Option<&T> {
        let (folder, name) = self.place(path)?;
        Some(&self.item(folder, name)?.value)
    }

    /// The number of a folder that has something in it.
    pub(crate) fn folder(&self, path: &str) -> Option<Folder> {
        if path.is_empty() {
            return Some(0);
        }
        let (folder, name) = self.place(path)?;
        self.item(folder, name)?.folder
    }

    /// What has a name in a folder, and its number if it is a folder with something in it.
    pub(crate) fn child(&self, folder: Folder, name: &str) -> Option<(&T, Option<Folder>)> {
        self.item(folder, name).map(|item| (&item.value, item.folder))
    }

    /// Puts something at a path in the place of what is there; what is below stays. Folders that are missing on the way,
    /// or something else where a folder should be, become `between`. `weight` is what the value takes beside its own
    /// size.
    pub(crate) fn put(
        &mut self,
        path: &str,
        value: T,
        weight: usize,
        is_folder: impl Fn(&T) -> bool,
        between: impl Fn() -> T,
    ) -> Result<(), StreamError> {
        let depth = path.split('/').count();
        if depth > DEEPEST {
            return Err(StreamError::Deep { depth, limit: DEEPEST });
        }
        let (mut folder, mut start) = (0, 0);
        while let Some(length) = path[start..].find('/') {
            let part = &path[start..start + length];
            match self.items.get_mut(&(folder, part) as &dyn Named) {
                Some(item) if is_folder(&item.value) => {}
                Some(item) => item.value = between(),
                None => self.insert(folder, part, between(), start + length)?,
            }
            folder = self.number(folder, part);
            start += length + 1;
        }
        self.insert(folder, &path[start..], value, weight)
    }

    /// Removes what is at a path, with all below it.
    pub(crate) fn remove(&mut self, path: &str) {
        self.clear(path);
        if let Some((folder, name)) = self.place(path) {
            self.items.remove(&(folder, name) as &dyn Named);
        }
    }

    /// Removes all below a path.
    pub(crate) fn clear(&mut self, path: &str) {
        let mut open: Vec<Folder> = self.folder(path).into_iter().collect();
        while let Some(folder) = open.pop() {
            let names: Vec<Box<str>> = self.range(folder).map(|(name, _)| name.name.clone()).collect();
            for name in names {
                let removed = self.items.remove(&(folder, &*name) as &dyn Named);
                open.extend(removed.and_then(|item| item.folder));
            }
        }
    }

    /// Every path with what is there: a folder before what is in it, names of a folder sorted.
    pub(crate) fn iter(&self) -> Paths<'_, T> {
        self.below("")
    }

    /// The same of what is below a folder, given by its path.
    pub(crate) fn below(&self, path: &str) -> Paths<'_, T> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let ranges = self.folder(path).map(|folder| (self.range(folder), prefix.len()));
        Paths { names: self, path: prefix, ranges: ranges.into_iter().collect() }
    }

    /// Everything with the folder that it is in and its name, in no telling order.
    pub(crate) fn values(&self) -> impl Iterator<Item = (Folder, &str, &T)> {
        self.items.iter().map(|(name, item)| (name.folder, &*name.name, &item.value))
    }

    /// The path of a name in a folder.
    pub(crate) fn path(&self, folder: Folder, name: &str) -> String {
        let mut parts = vec![name];
        let mut folder = folder;
        while folder != 0 {
            let Some((above, name)) = self.folders.get(folder as usize) else { break };
            parts.push(name);
            folder = *above;
        }
        parts.reverse();
        parts.join("/")
    }

    /// Counts steps on the way to a path.
    pub(crate) fn spend(&mut self, steps: u64) -> Result<(), StreamError> {
        self.steps += steps;
        if self.steps > MOST_STEPS {
            return Err(StreamError::LongWays { limit: MOST_STEPS });
        }
        Ok(())
    }

    fn range(&self, folder: Folder) -> Range<'_, Name, Item<T>> {
        let first: &dyn Named = &(folder, "");
        match folder.checked_add(1) {
            Some(next) => {
                let end: &dyn Named = &(next, "");
                self.items.range::<dyn Named, _>((Bound::Included(first), Bound::Excluded(end)))
            }
            None => self.items.range::<dyn Named, _>((Bound::Included(first), Bound::Unbounded)),
        }
    }

    fn item(&self, folder: Folder, name: &str) -> Option<&Item<T>> {
        self.items.get(&(folder, name) as &dyn Named)
    }

    /// The folder that a path is in, and its last part.
    fn place<'p>(&self, path: &'p str) -> Option<(Folder, &'p str)> {
        let mut folder = 0;
        let mut rest = path;
        while let Some((part, after)) = rest.split_once('/') {
            folder = self.item(folder, part)?.folder?;
            rest = after;
        }
        Some((folder, rest))
    }

    fn insert(&mut self, folder: Folder, name: &str, value: T, weight: usize) -> Result<(), StreamError> {
        self.bytes += weight;
        if let Some(item) = self.items.get_mut(&(folder, name) as &dyn Named) {
            item.value = value;
        } else {
            if self.items.len() == MOST_NODES {
                return Err(StreamError::TooManyEntries { limit: MOST_NODES });
            }
            self.bytes += name.len();
            self.items.insert(Name { folder, name: name.into() }, Item { value, folder: None });
        }
        if self.bytes > MOST_BYTES {
            return Err(StreamError::LongNames { limit: MOST_BYTES });
        }
        Ok(())
    }

    /// The number of a folder that gets something.
    fn number(&mut self, above: Folder, name: &str) -> Folder {
        let next = Folder::try_from(self.folders.len()).unwrap_or(Folder::MAX);
        match self.items.get_mut(&(above, name) as &dyn Named) {
            Some(Item { folder: Some(folder), .. }) => *folder,
            Some(item) => {
                item.folder = Some(next);
                self.bytes += name.len();
                self.folders.push((above, name.into()));
                next
            }
            None => 0,
        }
    }
}

/// See [`Names::iter`].
pub(crate) struct Paths<'a, T> {
    names: &'a Names<T>,
    path: String,
    /// For each folder that is open, what is left of it, and how long its path is.
    ranges: Vec<(Range<'a, Name, Item<T>>, usize)>,
}

impl<'a, T> Iterator for Paths<'a, T> {
    type Item = (String, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (range, length) = self.ranges.last_mut()?;
            self.path.truncate(*length);
            let Some((name, item)) = range.next() else {
                self.ranges.pop();
                continue;
            };
            self.path.push_str(&name.name);
            let path = self.path.clone();
            if let Some(folder) = item.folder {
                self.path.push('/');
                self.ranges.push((self.names.range(folder), self.path.len()));
            }
            return Some((path, &item.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str]) -> Names<char> {
        let mut names = Names::default();
        for path in paths {
            names.put(path, 'f', 0, |kind| *kind == 'd', || 'd').unwrap();
        }
        names
    }

    fn listed(names: &Names<char>) -> String {
        names.iter().map(|(path, kind)| format!("{path}:{kind}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn folders_come_before_what_is_in_them_and_names_are_sorted() {
        let names = names(&["b/c/e", "a", "b/c/d", "b-x", "b/a"]);
        assert_eq!(listed(&names), "a:f b:d b/a:f b/c:d b/c/d:f b/c/e:f b-x:f");
        assert_eq!(names.below("b/c").map(|(path, _)| path).collect::<Vec<_>>(), ["b/c/d", "b/c/e"]);
        assert_eq!((names.get("b/c/d"), names.get("b/x"), names.get("a/x")), (Some(&'f'), None, None));
        assert!(
            names.values().all(|(folder, name, kind)| names.get(&names.path(folder, name)) == Some(kind))
        );
    }

    #[test]
    fn what_is_removed_is_gone_with_all_below_it() {
        let mut names = names(&["a/b/c", "a/b/d/e", "a/f"]);
        names.clear("a/b");
        assert_eq!(listed(&names), "a:d a/b:d a/f:f");
        names.remove("a");
        assert_eq!(listed(&names), "");
        // What comes back has nothing of what was.
        names.put("a/b/x", 'f', 0, |kind| *kind == 'd', || 'd').unwrap();
        assert_eq!(listed(&names), "a:d a/b:d a/b/x:f");
    }

    #[test]
    fn equal_trees_are_equal_however_they_came_to_be() {
        let mut one = names(&["x/y", "a/b"]);
        one.remove("x");
        assert_eq!(one, names(&["a/b"]));
        assert_ne!(one, names(&["a/c"]));
    }

    #[test]
    fn depth_and_steps_have_a_bound() {
        let deep = vec!["a"; DEEPEST + 1].join("/");
        let mut names = names(&[&deep[2..]]);
        let put = names.put(&deep, 'f', 0, |kind| *kind == 'd', || 'd');
        assert!(matches!(put, Err(StreamError::Deep { .. })));
        assert!(names.spend(MOST_STEPS - names.steps).is_ok());
        assert!(matches!(names.spend(1), Err(StreamError::LongWays { .. })));
    }
}
