//! Where entries go on a base: through its symbolic links to directories, and without changing the directories that it
//! has. Pure.
//!
//! A base with merged `/usr` has `lib` as a link to `usr/lib`. An entry for the directory `lib` would replace the link
//! with a directory and hide every library of the base. An entry for `tmp` would remove its sticky bit.

use super::{Node, Root};
use crate::layer::{Entry, EntryKind};

/// Adapts entries for a layer on top of `root`.
#[must_use]
pub fn on_base(entries: Vec<Entry>, root: &Root) -> Vec<Entry> {
    entries.into_iter().filter_map(|entry| placed(entry, root)).collect()
}

fn placed(entry: Entry, root: &Root) -> Option<Entry> {
    // A path whose links form a loop, or that is not a plain path, is left unchanged for the layer's own checks to
    // refuse.
    let real = |path: &str| root.real_path(path).unwrap_or_else(|| path.to_owned());
    let is_plain = |path: &str| !path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if !is_plain(&entry.path) {
        return Some(entry);
    }
    if matches!(entry.kind, EntryKind::Directory) {
        let path = real(&entry.path);
        let exists = path.is_empty() || root.lookup(&path).is_some_and(Node::is_dir);
        return (!exists).then_some(Entry { path, ..entry });
    }
    let Some((dir, name)) = entry.path.rsplit_once('/') else { return Some(entry) };
    let dir = real(dir);
    let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
    let kind = match entry.kind {
        // The target of a hard link moves together with the file that it names.
        EntryKind::HardLink(target) => EntryKind::HardLink(match target.rsplit_once('/') {
            Some((dir, name)) if is_plain(&target) => {
                format!("{}/{name}", real(dir)).trim_start_matches('/').to_owned()
            }
            _ => target,
        }),
        kind => kind,
    };
    Some(Entry { path, kind, ..entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Content;
    use crate::oci::Digest;
    use crate::rootfs::{Change, Kind, LayerIndex};
    use crate::sys::cancel::Cancel;

    fn root() -> Root {
        let put = |path: &str, node| (path.to_owned(), Change::Put(node));
        let link = |target: &str| Node { kind: Kind::Symlink(target.into()), ..Node::dir() };
        let entries = vec![
            put("usr/lib/x86_64-linux-gnu", Node::dir()),
            put("usr/bin", Node::dir()),
            put("tmp", Node::dir()),
            put("lib", link("usr/lib")),
            put("bin", link("/usr/bin")),
            put("opt", link("../srv")),
            put("a", link("b")),
            put("b", link("a")),
        ];
        let mut root = Root::default();
        let (opaque, whiteouts) = (Vec::new(), Vec::new());
        let index = LayerIndex {
            diff_id: Digest::of(b""),
            size: 0,
            packing: crate::archive::Packing::Plain,
            opaque,
            whiteouts,
            entries,
            refused: Vec::new(),
        };
        root.lay(&index, &Cancel::new()).unwrap();
        root
    }

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o700, uid: 7, gid: 7 }
    }

    fn file(path: &str) -> Entry {
        entry(path, EntryKind::File(Content::Bytes(b"x"[..].into())))
    }

    fn paths(entries: Vec<Entry>) -> Vec<String> {
        on_base(entries, &root()).into_iter().map(|entry| entry.path).collect()
    }

    #[test]
    fn files_go_behind_the_bases_links() {
        let files = ["lib/x86_64-linux-gnu/a.so", "lib/new/a", "bin/a", "opt/a", "etc/a", "top", "lib"];
        assert_eq!(
            paths(files.map(file).to_vec()),
            ["usr/lib/x86_64-linux-gnu/a.so", "usr/lib/new/a", "usr/bin/a", "srv/a", "etc/a", "top", "lib"]
        );
    }

    #[test]
    fn a_directory_that_the_base_has_stays_as_it_is() {
        let dirs = ["lib", "lib/x86_64-linux-gnu", "tmp", "bin", "lib/new", "opt", "etc"];
        let dirs = dirs.map(|path| entry(path, EntryKind::Directory)).to_vec();
        assert_eq!(paths(dirs), ["usr/lib/new", "srv", "etc"]);
    }

    #[test]
    fn a_hard_link_and_its_file_move_together() {
        let link = entry("lib/b", EntryKind::HardLink("lib/a".into()));
        let placed = on_base(vec![file("lib/a"), link], &root());
        assert_eq!(placed[1].path, "usr/lib/b");
        assert!(matches!(&placed[1].kind, EntryKind::HardLink(target) if *target == placed[0].path));
    }

    #[test]
    fn what_is_no_plain_path_is_left_to_the_layers_checks() {
        assert_eq!(paths(vec![file("a/x"), file("../x"), file("lib//x")]), ["a/x", "../x", "lib//x"]);
    }
}
