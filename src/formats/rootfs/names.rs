//! A tree of names: what is at each path of a root filesystem. Each node has one name however deep it is, and the total
//! size is limited. Pure.
//!
//! Layers are untrusted input, and a path of 4,096 bytes may have two thousand directories. With whole paths, a few
//! kilobytes of a layer could take gigabytes of memory. On the other hand, a root filesystem with a million files is
//! normal. So a node is a value with a few numbers, all names are in one string, and the content of a directory is a
//! linked list of nodes.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use super::StreamError;

/// Follow at most this many symbolic links for one path, like Linux.
pub const MOST_LINKS: u32 = 40;
/// Resolve at most this many parts of a path, including those of its links.
pub const MOST_PARTS: u32 = 4096;
/// Maximum depth of a path, in directories.
pub const DEEPEST: usize = 256;
/// Maximum number of directories, files and links.
pub const MOST_NODES: usize = 1 << 21;
/// Limit of the memory for all names, paths of directories and other data from layers, in bytes. Data that upper layers
/// remove again counts too.
const MOST_BYTES: usize = 256 << 20;
/// Maximum number of path parts that are looked up to merge all layers. A million files eight directories deep take
/// eight million.
pub(super) const MOST_STEPS: u64 = 1 << 26;

/// A node's number, which identifies it as a directory; the root's is 0.
pub type Directory = u32;

/// What is at each path.
#[derive(Clone, Debug)]
pub struct Names<T> {
    /// By number, starting at 1.
    nodes: Vec<Item<T>>,
    /// The numbers of nodes that were removed.
    free: Vec<Directory>,
    /// The first node in the root.
    top: Directory,
    /// All names, concatenated.
    text: String,
    /// A hash table of node numbers with linear probing, keyed by directory and name; 0 marks a free slot. Its length
    /// is a power of two.
    table: Vec<Directory>,
    /// Seeded, so that nobody can choose names that all hash to the same slot.
    hasher: RandomState,
    bytes: usize,
    steps: u64,
}

#[derive(Clone, Debug)]
struct Item<T> {
    /// `None` if it was removed.
    value: Option<T>,
    /// The directory that contains it.
    above: Directory,
    /// Its name as a range of `text`.
    start: u32,
    length: u16,
    /// Its neighbours in that directory; 0 at either end.
    next: Directory,
    previous: Directory,
    /// The first node in it, if it is a directory.
    first: Directory,
}

/// The symbolic links that are being resolved, by their numbers. A link that is met again while it is being resolved
/// forms a loop. One that has been resolved completely may be met any number of times.
#[derive(Debug, Default)]
pub struct Followed(Vec<(Directory, usize)>);

impl Followed {
    /// Follows a link after which `left` parts of the path are pending. False if that is a loop.
    pub fn enter(&mut self, link: Directory, left: usize) -> bool {
        // Fewer parts are pending than when that link was met, so all its own parts are done.
        while self.0.last().is_some_and(|(_, before)| *before > left) {
            self.0.pop();
        }
        let circle = self.0.iter().any(|(known, _)| *known == link);
        self.0.push((link, left));
        !circle
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            top: 0,
            text: String::new(),
            table: vec![0; 16],
            hasher: RandomState::new(),
            bytes: 0,
            steps: 0,
        }
    }
}

impl<T: PartialEq> PartialEq for Names<T> {
    fn eq(&self, other: &Self) -> bool {
        self.count() == other.count() && self.entries().eq(other.entries())
    }
}

impl<T: Eq> Eq for Names<T> {}

impl<T> Names<T> {
    /// What is at a path, without following any link.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&T> {
        self.item(self.dir(path)?)?.value.as_ref()
    }

    /// What has a name in a directory, and its number.
    #[must_use]
    pub fn child(&self, dir: Directory, name: &str) -> Option<(&T, Directory)> {
        let number = self.find(dir, name)?;
        Some((self.item(number)?.value.as_ref()?, number))
    }

    /// Puts a value at a path and replaces the value that is there; its content stays. Missing directories on the path,
    /// and anything there that is not a directory, become `between`. `weight` is the memory that the value takes
    /// besides its own size.
    pub fn put(
        &mut self,
        path: &str,
        value: T,
        weight: usize,
        is_dir: impl Fn(&T) -> bool,
        between: impl Fn() -> T,
    ) -> Result<(), StreamError> {
        let depth = path.split('/').count();
        if depth > DEEPEST {
            return Err(StreamError::Deep { depth, limit: DEEPEST });
        }
        let (mut dir, mut start) = (0, 0);
        while let Some(length) = path[start..].find('/') {
            let part = &path[start..start + length];
            dir = match self.find(dir, part) {
                Some(number) => {
                    let value = &mut self.item_mut(number).value;
                    if !value.as_ref().is_some_and(&is_dir) {
                        *value = Some(between());
                    }
                    number
                }
                None => self.insert(dir, part, between(), start + length)?,
            };
            start += length + 1;
        }
        self.insert(dir, &path[start..], value, weight).map(drop)
    }

    /// Removes what is at a path, and everything below it.
    pub fn remove(&mut self, path: &str) {
        self.clear(path);
        let Some(number) = self.dir(path).filter(|number| *number != 0) else { return };
        let Item { above, next, previous, .. } = *self.item_mut(number);
        match previous {
            0 => *self.first(above) = next,
            previous => self.item_mut(previous).next = next,
        }
        if next != 0 {
            self.item_mut(next).previous = previous;
        }
        self.release(number);
    }

    /// Removes everything below a path.
    pub fn clear(&mut self, path: &str) {
        let mut open: Vec<Directory> = self.dir(path).into_iter().collect();
        while let Some(dir) = open.pop() {
            let mut number = std::mem::take(self.first(dir));
            while number != 0 {
                let Item { next, first, .. } = *self.item_mut(number);
                // Its number is not reused before its content is removed as well.
                self.release(number);
                if first != 0 {
                    open.push(number);
                }
                number = next;
            }
        }
    }

    /// Every path with its value: directories before their content, and the names of a directory sorted.
    #[must_use]
    pub fn entries(&self) -> Paths<'_, T> {
        self.below("")
    }

    /// The same for everything below a directory, given by its path.
    #[must_use]
    pub fn below(&self, path: &str) -> Paths<'_, T> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let open = self.dir(path).map(|dir| (self.sorted(dir).into_iter(), prefix.len()));
        Paths { names: self, path: prefix, open: open.into_iter().collect() }
    }

    /// Every value with its directory and name, in no particular order.
    pub fn values(&self) -> impl Iterator<Item = (Directory, &str, &T)> {
        self.nodes.iter().filter_map(|item| Some((item.above, self.name(item), item.value.as_ref()?)))
    }

    /// The path of a name in a directory.
    #[must_use]
    pub fn path(&self, dir: Directory, name: &str) -> String {
        let mut parts = vec![name];
        let mut dir = dir;
        while let Some(item) = self.item(dir) {
            parts.push(self.name(item));
            dir = item.above;
        }
        parts.reverse();
        parts.join("/")
    }

    /// The number of parts of a path that needs no resolving: it has no `.`, `..` or empty part, and goes through no
    /// link; nor is its last part a link, if `last` is set. `None` for other paths.
    pub fn straight(&self, path: &str, last: bool, is_link: impl Fn(&T) -> bool) -> Option<u64> {
        let (mut dir, mut count) = (Some(0), 0);
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if matches!(part, "" | "." | "..") {
                return None;
            }
            count += 1;
            let child = dir.and_then(|dir| self.child(dir, part));
            if (last || parts.peek().is_some()) && child.is_some_and(|(value, _)| is_link(value)) {
                return None;
            }
            dir = child.map(|(_, number)| number);
        }
        Some(count)
    }

    /// Adds steps to the count for resolving paths.
    pub fn spend(&mut self, steps: u64) -> Result<(), StreamError> {
        self.steps += steps;
        if self.steps > MOST_STEPS {
            return Err(StreamError::LongWays { limit: MOST_STEPS });
        }
        Ok(())
    }

    /// The number of nodes.
    fn count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// The number of the node at a path.
    fn dir(&self, path: &str) -> Option<Directory> {
        if path.is_empty() {
            return Some(0);
        }
        path.split('/').try_fold(0, |dir, part| self.find(dir, part))
    }

    fn item(&self, number: Directory) -> Option<&Item<T>> {
        self.nodes.get((number as usize).checked_sub(1)?)
    }

    fn item_mut(&mut self, number: Directory) -> &mut Item<T> {
        &mut self.nodes[number as usize - 1]
    }

    fn name(&self, item: &Item<T>) -> &str {
        let start = item.start as usize;
        &self.text[start..start + usize::from(item.length)]
    }

    /// The number of the first node in a directory.
    fn first(&mut self, dir: Directory) -> &mut Directory {
        if dir == 0 { &mut self.top } else { &mut self.item_mut(dir).first }
    }

    /// The nodes in a directory, sorted by name.
    fn sorted(&self, dir: Directory) -> Vec<Directory> {
        let mut found = Vec::new();
        let mut number = self.item(dir).map_or(self.top, |item| item.first);
        while let Some(item) = self.item(number) {
            found.push(number);
            number = item.next;
        }
        found.sort_unstable_by_key(|number| self.item(*number).map(|item| self.name(item)));
        found
    }

    fn insert(
        &mut self,
        dir: Directory,
        name: &str,
        value: T,
        weight: usize,
    ) -> Result<Directory, StreamError> {
        self.bytes += weight;
        let number = if let Some(number) = self.find(dir, name) {
            self.item_mut(number).value = Some(value);
            number
        } else {
            if self.count() == MOST_NODES {
                return Err(StreamError::TooManyEntries { limit: MOST_NODES });
            }
            self.bytes += name.len();
            self.add(dir, name, value)
        };
        if self.bytes > MOST_BYTES {
            return Err(StreamError::LongNames { limit: MOST_BYTES });
        }
        Ok(number)
    }

    /// Adds a node. The size of all names, the number of nodes and the length of a path are limited far below what the
    /// integer types hold.
    fn add(&mut self, above: Directory, name: &str, value: T) -> Directory {
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
        self.text.push_str(name);
        let next = *self.first(above);
        let item = Item { value: Some(value), above, start, length, next, previous: 0, first: 0 };
        let number = if let Some(number) = self.free.pop() {
            *self.item_mut(number) = item;
            number
        } else {
            self.nodes.push(item);
            Directory::try_from(self.nodes.len()).unwrap_or(Directory::MAX)
        };
        *self.first(above) = number;
        if next != 0 {
            self.item_mut(next).previous = number;
        }
        // At most half full, so that searches stay short.
        if self.count() * 2 > self.table.len() {
            self.table = vec![0; self.table.len() * 2];
            for number in (1..).take(self.nodes.len()) {
                self.enter(number);
            }
        } else {
            self.enter(number);
        }
        number
    }

    /// Frees a node that has been unlinked from its list.
    fn release(&mut self, number: Directory) {
        let mask = self.table.len() - 1;
        let Some(mut hole) = self.item(number).and_then(|item| self.at(item.above, self.name(item))) else {
            return;
        };
        self.table[hole] = 0;
        // Later entries of the same run move up, so that searches do not stop at the hole.
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let Some(item) = self.item(self.table[place]) else { break };
            let wanted = self.home(item.above, self.name(item));
            if place.wrapping_sub(wanted) & mask >= place.wrapping_sub(hole) & mask {
                self.table[hole] = std::mem::take(&mut self.table[place]);
                hole = place;
            }
        }
        self.item_mut(number).value = None;
        self.free.push(number);
    }

    /// The preferred slot of a name in the table.
    fn home(&self, dir: Directory, name: &str) -> usize {
        let hash = self.hasher.hash_one((dir, name));
        usize::try_from(hash & (self.table.len() as u64 - 1)).unwrap_or_default()
    }

    /// The actual slot of a name in the table.
    fn at(&self, dir: Directory, name: &str) -> Option<usize> {
        let mut place = self.home(dir, name);
        loop {
            let item = self.item(self.table[place])?;
            if item.above == dir && self.name(item) == name {
                return Some(place);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
    }

    fn find(&self, dir: Directory, name: &str) -> Option<Directory> {
        self.at(dir, name).map(|place| self.table[place])
    }

    /// Enters a node into the table.
    fn enter(&mut self, number: Directory) {
        let Some(item) = self.item(number).filter(|item| item.value.is_some()) else { return };
        let mut place = self.home(item.above, self.name(item));
        while self.table[place] != 0 {
            place = (place + 1) & (self.table.len() - 1);
        }
        self.table[place] = number;
    }
}

/// See [`Names::entries`].
pub struct Paths<'a, T> {
    names: &'a Names<T>,
    path: String,
    /// For each open directory, its remaining nodes and the length of its path.
    open: Vec<(std::vec::IntoIter<Directory>, usize)>,
}

impl<'a, T> Iterator for Paths<'a, T> {
    type Item = (String, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (left, length) = self.open.last_mut()?;
            self.path.truncate(*length);
            let Some(number) = left.next() else {
                self.open.pop();
                continue;
            };
            let item = self.names.item(number)?;
            self.path.push_str(self.names.name(item));
            let path = self.path.clone();
            if item.first != 0 {
                self.path.push('/');
                self.open.push((self.names.sorted(number).into_iter(), self.path.len()));
            }
            return Some((path, item.value.as_ref()?));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn names(paths: &[&str]) -> Names<char> {
        let mut names = Names::default();
        for path in paths {
            names.put(path, 'f', 0, |kind| *kind == 'd', || 'd').unwrap();
        }
        names
    }

    fn listed(names: &Names<char>) -> String {
        names.entries().map(|(path, kind)| format!("{path}:{kind}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_names_are_sorted() {
        let names = names(&["b/c/e", "a", "b/c/d", "b-x", "b/a"]);
        assert_eq!(listed(&names), "a:f b:d b/a:f b/c:d b/c/d:f b/c/e:f b-x:f");
        assert_eq!(names.below("b/c").map(|(path, _)| path).collect::<Vec<_>>(), ["b/c/d", "b/c/e"]);
        assert_eq!((names.get("b/c/d"), names.get("b/x"), names.get("a/x")), (Some(&'f'), None, None));
        assert!(names.values().all(|(dir, name, kind)| names.get(&names.path(dir, name)) == Some(kind)));
    }

    #[test]
    fn what_is_removed_is_gone_with_all_below_it() {
        let mut names = names(&["a/b/c", "a/b/d/e", "a/f"]);
        names.clear("a/b");
        assert_eq!(listed(&names), "a:d a/b:d a/f:f");
        names.remove("a");
        assert_eq!(listed(&names), "");
        // What is added again has none of the old content.
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

    /// Compares with a map of whole paths, whose operations are simple.
    #[test]
    fn any_operations_come_to_what_a_map_of_paths_has() {
        let below = |path: &str, dir: &str| {
            dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
        };
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut names: Names<usize> = Names::default();
            let mut map: BTreeMap<String, usize> = BTreeMap::new();
            for step in 1..=120 {
                let depth = random.usize(1..=4);
                let parts: Vec<String> = (0..depth).map(|_| format!("n{}", random.u8(0..5))).collect();
                let path = parts.join("/");
                match random.u8(0..6) {
                    0 => {
                        names.remove(&path);
                        map.retain(|known, _| *known != path && !below(known, &path));
                    }
                    1 => {
                        names.clear(&path);
                        map.retain(|known, _| !below(known, &path));
                    }
                    _ => {
                        names.put(&path, step, 0, |_| true, || 0).unwrap();
                        for (at, _) in path.match_indices('/') {
                            map.entry(path[..at].to_owned()).or_insert(0);
                        }
                        map.insert(path, step);
                    }
                }
            }
            assert_eq!(names.count(), map.len(), "{seed}");
            let mut found: Vec<(String, usize)> =
                names.entries().map(|(path, value)| (path, *value)).collect();
            found.sort();
            assert_eq!(found, map.clone().into_iter().collect::<Vec<_>>(), "{seed}");
            for (path, value) in &map {
                assert_eq!(names.get(path), Some(value), "{seed}");
                assert_eq!(names.straight(path, true, |_| false), Some(path.split('/').count() as u64));
            }
            assert_eq!(names.values().count(), map.len());
            for (dir, name, value) in names.values() {
                assert_eq!(map.get(&names.path(dir, name)), Some(value), "{seed}");
            }
        }
    }

    #[test]
    fn a_path_through_a_link_does_not_stand_for_itself() {
        let names = names(&["a/b", "l"]);
        let straight = |path: &str, last| names.straight(path, last, |kind| *kind == 'f');
        assert_eq!((straight("a/x/y", true), straight("l", false)), (Some(3), Some(1)));
        for path in ["l", "l/x", "", "a//b", "./a", "a/../a", "a/b"] {
            assert_eq!(straight(path, true), None, "{path}");
        }
    }

    #[test]
    fn a_link_that_is_met_on_its_own_way_is_a_circle() {
        let mut followed = Followed::default();
        // 1 is `2/../2` with two parts after it, and 2 is `x`.
        assert!(followed.enter(1, 2) && followed.enter(2, 4) && followed.enter(2, 2));
        // After 1, this is another visit.
        assert!(followed.enter(1, 1));
        assert!(!followed.enter(1, 1));
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
