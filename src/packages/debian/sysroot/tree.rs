//! Entries as files of a directory that belongs to whoever runs xbuild.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::Error;
use crate::archive::link_target;
use crate::layer::{Content, Entry, EntryKind};
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, PermissionsExt as _, symlink};

/// True for a symbolic link.
pub(super) fn is_link(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::Symlink(_))
}

/// Makes files of the further names of files, so that each stays whatever becomes of the others.
pub(super) fn unlink(entries: &mut [Entry]) {
    let files: BTreeMap<String, (Content, u32)> = entries
        .iter()
        .filter_map(|entry| match &entry.kind {
            EntryKind::File(content) => Some((entry.path.clone(), (content.clone(), entry.mode))),
            _ => None,
        })
        .collect();
    for entry in entries {
        if let EntryKind::HardLink(target) = &entry.kind
            && let Some((content, mode)) = files.get(target)
        {
            entry.kind = EntryKind::File(content.clone());
            entry.mode = *mode;
        }
    }
}

/// What a path in the directory is.
enum Node<'a> {
    Directory,
    File(&'a [u8], u32),
    Link(PathBuf),
}

/// What each path is, with the directories above them. Files have one name each: see [`unlink`].
fn nodes(entries: &[Entry]) -> BTreeMap<&str, Node<'_>> {
    let mut nodes = BTreeMap::new();
    for entry in entries {
        for (at, _) in entry.path.match_indices('/') {
            nodes.entry(&entry.path[..at]).or_insert(Node::Directory);
        }
        let node = match &entry.kind {
            EntryKind::Directory => Node::Directory,
            EntryKind::Symlink(target) => {
                Node::Link(relative(&entry.path, &link_target(&entry.path, target)))
            }
            EntryKind::File(Content::Bytes(bytes)) => Node::File(bytes, entry.mode),
            // Packages are unpacked into memory.
            EntryKind::File(_) | EntryKind::HardLink(_) => continue,
        };
        nodes.insert(entry.path.as_str(), node);
    }
    nodes
}

/// The path of `target` from the directory that `link` is in. Both are in the sysroot, and so is every path on the way.
fn relative(link: &str, target: &str) -> PathBuf {
    let up = "../".repeat(link.matches('/').count());
    let path = format!("{up}{target}");
    if path.is_empty() { PathBuf::from(".") } else { PathBuf::from(path) }
}

/// Only that a file is executable is kept of its mode: no program of a sysroot runs, but shared libraries may have to be.
fn mode(mode: u32) -> u32 {
    if mode & 0o111 == 0 { 0o644 } else { 0o755 }
}

/// Writes entries into an empty directory.
pub(super) fn write(root: &Path, entries: &[Entry], cancel: &Cancel) -> Result<(), Error> {
    for (path, node) in nodes(entries) {
        cancel.check()?;
        let path = root.join(path);
        match node {
            Node::Directory => fs::create_dir_all(&path)?,
            Node::Link(target) => symlink(target, &path)?,
            Node::File(bytes, wanted) => {
                let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
                file.write_all(bytes)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode(wanted)))?;
            }
        }
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

/// True if a directory has exactly these entries.
pub(super) fn is(root: &Path, entries: &[Entry], cancel: &Cancel) -> Result<bool, Error> {
    let mut nodes = nodes(entries);
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(root.join(&dir))? {
            cancel.check()?;
            let entry = entry?;
            let below = dir.join(entry.file_name());
            let kind = entry.file_type()?;
            let same = match below.to_str().and_then(|path| nodes.remove(path)) {
                Some(Node::Directory) => kind.is_dir(),
                Some(Node::Link(target)) => kind.is_symlink() && fs::read_link(entry.path())? == target,
                Some(Node::File(bytes, _)) => kind.is_file() && has(&entry.path(), bytes)?,
                None => false,
            };
            if !same {
                return Ok(false);
            }
            if kind.is_dir() {
                open.push(below);
            }
        }
    }
    Ok(nodes.is_empty())
}

fn has(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let mut found = Vec::with_capacity(bytes.len() + 1);
    fs::open(path)?.take(bytes.len() as u64 + 1).read_to_end(&mut found)?;
    Ok(found == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
        Entry { path: path.into(), kind, mode, uid: 0, gid: 0 }
    }

    fn file(path: &str, content: &str, mode: u32) -> Entry {
        entry(path, EntryKind::File(Content::Bytes(content.as_bytes().into())), mode)
    }

    fn some() -> Vec<Entry> {
        let link = |path: &str, target: &str| entry(path, EntryKind::Symlink(target.into()), 0o777);
        let mut entries = vec![
            link("lib", "usr/lib"),
            link("usr/lib/x/a.so", "/lib/x/a.so.1"),
            file("usr/lib/x/a.so.1", "a", 0o644),
            link("usr/lib/x/b.so", "../../../../../etc/passwd"),
            entry("usr/lib/x/c", EntryKind::HardLink("usr/lib/x/a.so.1".into()), 0o644),
            entry("usr/lib/x/d", EntryKind::Directory, 0o2755),
            file("usr/lib/x/setuid", "s", 0o4755),
        ];
        unlink(&mut entries);
        entries
    }

    #[test]
    fn every_link_stays_inside() {
        let (dir, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        write(dir.path(), &some(), &cancel).unwrap();
        let at = |path: &str| dir.path().join(path);
        assert_eq!(fs::read_to_string(at("lib/x/a.so")).unwrap(), "a");
        assert_eq!(fs::read_link(at("usr/lib/x/a.so")).unwrap(), Path::new("../../../lib/x/a.so.1"));
        assert_eq!(fs::read_link(at("usr/lib/x/b.so")).unwrap(), Path::new("../../../etc/passwd"));
        assert_eq!(fs::read_to_string(at("usr/lib/x/c")).unwrap(), "a");
        assert!(at("usr/lib/x/d").is_dir());
        assert_eq!(fs::metadata(at("usr/lib/x/setuid")).unwrap().permissions().mode() & 0o7777, 0o755);
    }

    #[test]
    fn a_directory_is_compared_with_what_it_should_be() {
        let (dir, cancel) = (tempfile::tempdir().unwrap(), Cancel::new());
        write(dir.path(), &some(), &cancel).unwrap();
        let is = || is(dir.path(), &some(), &cancel).unwrap();
        assert!(is());
        let path = dir.path().join("usr/lib/x/a.so.1");
        for content in ["b", "", "ab"] {
            fs::write_atomic(&path, content.as_bytes(), 0o644).unwrap();
            assert!(!is(), "{content}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!is());
        symlink("c", &path).unwrap();
        assert!(!is());
        fs::remove_file(&path).unwrap();
        fs::write_atomic(&path, b"a", 0o644).unwrap();
        assert!(is());
        fs::write_atomic(&dir.path().join("usr/lib/more"), b"", 0o644).unwrap();
        assert!(!is());
    }
}
