//! Checks the entries of a layer and puts them in the order in which they are written.

use std::collections::BTreeSet;

use super::{Entry, EntryKind, Error, PathFault};

/// Sorts the entries by path, adds the directories above them that are neither among them nor in `present`, and moves
/// hard links to the end, as a link's target must come before it.
pub(super) fn arrange(mut entries: Vec<Entry>, present: &BTreeSet<String>) -> Result<Vec<Entry>, Error> {
    for entry in &entries {
        check_path(&entry.path)?;
        if entry.mode > 0o7777 {
            return Err(Error::Mode { path: entry.path.clone(), mode: entry.mode });
        }
        if let EntryKind::Symlink(target) = &entry.kind
            && (target.is_empty() || target.contains('\0'))
        {
            return Err(Error::LinkTarget { path: entry.path.clone(), target: target.clone() });
        }
    }
    let by_path = |a: &Entry, b: &Entry| a.path.cmp(&b.path);
    entries.sort_unstable_by(by_path);
    if let Some(twice) = entries.windows(2).find(|pair| pair[0].path == pair[1].path) {
        return Err(Error::Duplicate { path: twice[0].path.clone() });
    }
    let added = missing_dirs(&entries, present)?;
    if !added.is_empty() {
        entries.extend(added.iter().map(|path| directory(path)));
        entries.sort_unstable_by(by_path);
    }
    let (links, mut others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| matches!(entry.kind, EntryKind::HardLink(_)));
    others.extend(links);
    Ok(others)
}

/// The directories above the sorted entries that are neither among them nor in `present`.
fn missing_dirs(entries: &[Entry], present: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    let find = |path: &str| {
        let at = entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        Some(&entries[at].kind)
    };
    let mut added = BTreeSet::new();
    // The directory of the previous entry, so that entries of the same directory are checked once.
    let mut known = "";
    for entry in entries {
        if let EntryKind::HardLink(target) = &entry.kind
            && !matches!(find(target), Some(EntryKind::File(_)))
        {
            return Err(Error::LinkTarget { path: entry.path.clone(), target: target.clone() });
        }
        let dir = entry.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        if dir == known {
            continue;
        }
        for (end, _) in entry.path.match_indices('/') {
            let parent = &entry.path[..end];
            match find(parent) {
                Some(EntryKind::Directory) => {}
                Some(_) => {
                    return Err(Error::UnderFile { path: entry.path.clone(), parent: parent.to_owned() });
                }
                None if present.contains(parent) || added.contains(parent) => {}
                None => {
                    added.insert(parent.to_owned());
                }
            }
        }
        known = dir;
    }
    Ok(added)
}

fn directory(path: &str) -> Entry {
    Entry { path: path.to_owned(), kind: EntryKind::Directory, mode: 0o755, uid: 0, gid: 0 }
}

fn check_path(path: &str) -> Result<(), Error> {
    let fault = |fault| Err(Error::Path { path: path.to_owned(), fault });
    if path.is_empty() {
        return fault(PathFault::Empty);
    }
    if path.contains('\0') {
        return fault(PathFault::Nul);
    }
    for part in path.split('/') {
        match part {
            "" | "." => return fault(PathFault::NotPlain),
            ".." => return fault(PathFault::Escape),
            _ if part.starts_with(".wh.") => return fault(PathFault::Whiteout),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Content;
    use super::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 1, gid: 2 }
    }

    fn file(path: &str) -> Entry {
        entry(path, EntryKind::File(Content::Bytes(b"x"[..].into())))
    }

    fn paths(entries: Vec<Entry>, present: &[&str]) -> Vec<String> {
        let present = present.iter().map(ToString::to_string).collect();
        arrange(entries, &present).unwrap().into_iter().map(|entry| entry.path).collect()
    }

    #[test]
    fn parents_come_first_and_only_where_they_are_missing() {
        let entries = vec![file("usr/bin/b"), file("usr/bin/a-b"), file("usr/bin-x"), file("etc/x/y")];
        assert_eq!(
            paths(entries, &["usr", "etc"]),
            ["etc/x", "etc/x/y", "usr/bin", "usr/bin-x", "usr/bin/a-b", "usr/bin/b"]
        );
        let added = arrange(vec![file("a/b")], &BTreeSet::new()).unwrap().remove(0);
        assert_eq!(added, directory("a"));
    }

    #[test]
    fn a_directory_that_is_given_keeps_its_owner() {
        let entries = vec![file("a/b"), entry("a", EntryKind::Directory)];
        let arranged = arrange(entries, &BTreeSet::new()).unwrap();
        assert_eq!((arranged[0].uid, arranged.len()), (1, 2));
    }

    #[test]
    fn hard_links_come_last_and_need_their_file() {
        let link = |target: &str| entry("a", EntryKind::HardLink(target.into()));
        assert_eq!(paths(vec![link("b"), file("b")], &[]), ["b", "a"]);
        for target in ["c", "a", "d"] {
            let entries = vec![link(target), file("b"), entry("d", EntryKind::Directory)];
            assert!(matches!(arrange(entries, &BTreeSet::new()), Err(Error::LinkTarget { .. })), "{target}");
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_refused() {
        use PathFault as F;
        for (path, expected) in [
            ("", F::Empty),
            ("/a", F::NotPlain),
            ("a/", F::NotPlain),
            ("a//b", F::NotPlain),
            ("./a", F::NotPlain),
            ("a/../b", F::Escape),
            ("a/.wh.b", F::Whiteout),
            ("a\0b", F::Nul),
        ] {
            let error = arrange(vec![file(path)], &BTreeSet::new()).unwrap_err();
            assert!(matches!(&error, Error::Path { fault, .. } if *fault == expected), "{path}: {error}");
        }
        let duplicate = arrange(vec![file("a"), entry("a", EntryKind::Directory)], &BTreeSet::new());
        assert!(matches!(duplicate, Err(Error::Duplicate { .. })));
        for parent in [file("a"), entry("a", EntryKind::Symlink("b".into()))] {
            let error = arrange(vec![parent, file("a/b/c")], &BTreeSet::new()).unwrap_err();
            assert!(matches!(error, Error::UnderFile { .. }), "{error}");
        }
        let mode = Entry { mode: 0o100_644, ..file("a") };
        assert!(matches!(arrange(vec![mode], &BTreeSet::new()), Err(Error::Mode { .. })));
        assert!(matches!(
            arrange(vec![entry("a", EntryKind::Symlink(String::new()))], &BTreeSet::new()),
            Err(Error::LinkTarget { .. })
        ));
    }

    proptest! {
        #[test]
        fn the_order_does_not_depend_on_the_order_given(
            names in proptest::collection::btree_set("[ab]{1,2}(/[ab-]{1,2}){0,3}", 0..12),
            seed in any::<u64>(),
        ) {
            let directories = |names: &[String]| {
                names.iter().map(|name| entry(name, EntryKind::Directory)).collect::<Vec<_>>()
            };
            let sorted: Vec<String> = names.into_iter().collect();
            let mut shuffled = sorted.clone();
            shuffled.sort_by_key(|name| name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)));
            let arranged = arrange(directories(&sorted), &BTreeSet::new()).unwrap();
            prop_assert_eq!(&arranged, &arrange(directories(&shuffled), &BTreeSet::new()).unwrap());
            for (index, entry) in arranged.iter().enumerate() {
                if let Some((parent, _)) = entry.path.rsplit_once('/') {
                    prop_assert!(arranged[..index].iter().any(|earlier| earlier.path == parent));
                }
            }
        }
    }
}
