//! Paths of this machine in a finished program.
//!
//! The directories of sources and builds do not get into programs: compilers are given other names for them. Paths that
//! are still in a program were requested by `env!("CARGO_MANIFEST_DIR")` or `OUT_DIR`, whose values are not mapped, and
//! a program that opens such a path at run time finds nothing in an image. Paths of panics, of `file!()` and of C's
//! `__FILE__` do not count: they are mapped, or, if a compiler of the user's own has not mapped them, they are paths of
//! sources, which programs do not open.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use memchr::memmem;

use crate::elf::{self, ParseError};
use crate::sys::fs;

/// The maximum number of occurrences of a directory that are examined in one program.
const MOST_PLACES: usize = 1000;
/// The maximum number of paths that are reported for one program.
const MOST_PATHS: usize = 16;
/// Longest path that is considered, in bytes.
const LONGEST: usize = 4096;
/// The names that programs have instead of directories of this machine, as far as they may follow another text.
const MAPPED: [&str; 5] = ["/rustc/", "/cargo/", "/workspace/", "/vendor/", "/packages/"];
/// The file name extensions of sources.
const SOURCES: [&str; 14] =
    ["rs", "c", "h", "cc", "cpp", "cxx", "hh", "hpp", "hxx", "inc", "ipp", "s", "S", "asm"];

/// The paths below some directories that are in the loaded segments of a program: the part of each path that exists on
/// this machine, sorted, each once, at most `MOST_PATHS`.
pub fn find(bytes: &[u8], dirs: &[PathBuf]) -> Result<Vec<PathBuf>, ParseError> {
    let mut found = BTreeSet::new();
    for loaded in elf::loaded(bytes)? {
        for dir in dirs {
            let Some(text) = dir.to_str() else { continue };
            for at in memmem::find_iter(loaded, text).take(MOST_PLACES) {
                if found.len() < MOST_PATHS
                    && let Some(path) = path_at(loaded, at, dir, text.len())
                {
                    found.insert(path);
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The directories of a list that are in no other directory of it.
#[must_use]
pub fn outermost(dirs: &[PathBuf]) -> Vec<PathBuf> {
    let inner = |dir: &PathBuf| dirs.iter().any(|other| dir != other && dir.starts_with(other));
    let mut outer: Vec<PathBuf> = dirs.iter().filter(|dir| !inner(dir)).cloned().collect();
    outer.sort();
    outer.dedup();
    outer
}

/// The path at an offset, if there is one. Rust's strings are not terminated: a path may be followed directly by the
/// next string, so the directories of the machine determine where it ends.
fn path_at(bytes: &[u8], at: usize, dir: &Path, length: usize) -> Option<PathBuf> {
    // A directory with one component is likely to be the end of another path.
    let short = dir.components().count() < 3;
    if short && at > 0 && is_path(bytes[at - 1]) {
        return None;
    }
    let rest = &bytes[at + length..bytes.len().min(at + LONGEST)];
    let end = rest.iter().position(|byte| !is_path(*byte)).unwrap_or(rest.len());
    let (path, behind) = on_disk(dir, &rest[..end]);
    // If nothing below it exists here, `/app` in a program is more likely a path of the image than of this machine.
    let gone = path.is_dir() && ends_as_source(behind);
    if is_source(&path) || gone || short && path == dir {
        return None;
    }
    Some(path)
}

fn is_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/_.+-@".contains(&byte) || byte >= 0x80
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| SOURCES.iter().any(|source| extension == *source))
}

/// True if a text is the path of a source that no longer exists. It may be followed directly by the mapped path of a
/// panic, which is the next string.
fn ends_as_source(text: &[u8]) -> bool {
    let next = MAPPED.iter().filter_map(|mapped| memmem::find(text, mapped.as_bytes())).min();
    let text = String::from_utf8_lossy(&text[..next.unwrap_or(text.len())]);
    text.starts_with('/') && is_source(Path::new(text.as_ref()))
}

/// The part of a path below a directory that exists, and the text after it.
fn on_disk<'a>(dir: &Path, text: &'a [u8]) -> (PathBuf, &'a [u8]) {
    let mut path = dir.to_owned();
    let mut rest = text;
    while let Some(names) = rest.strip_prefix(b"/") {
        let names = &names[names.iter().take_while(|byte| **byte == b'/').count()..];
        let Ok(entries) = fs::read_dir(&path) else { break };
        let own = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let own = own.chain([".".to_owned(), "..".to_owned()]);
        let longest = own.filter(|name| names.starts_with(name.as_bytes())).max_by_key(String::len);
        let Some(name) = longest else { break };
        rest = &names[name.len()..];
        path.push(name);
    }
    (path, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str, dir: &Path) -> Vec<String> {
        let bytes = text.as_bytes();
        let name = dir.to_str().unwrap();
        let found = memmem::find_iter(bytes, name).filter_map(|at| path_at(bytes, at, dir, name.len()));
        found.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_path_ends_where_the_machine_has_no_more_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("data/deep")).unwrap();
        fs::create_dir_all(root.join("src")).unwrap();
        for file in ["data/greeting.txt", "data/greeting", "src/main.rs"] {
            fs::write_atomic(&root.join(file), b"", 0o644).unwrap();
        }
        let shown = root.display();
        let found = |text: &str| paths(&text.replace('~', &shown.to_string()), root);
        assert_eq!(found("hello~/data/greeting.txtand more"), [format!("{shown}/data/greeting.txt")]);
        assert_eq!(found("~/data/greetings"), [format!("{shown}/data/greeting")]);
        assert_eq!(found("~/data/deep/../new.db\0"), [format!("{shown}/data/deep/..")]);
        assert_eq!(found("~\0"), [shown.to_string()]);
        assert_eq!(found("~/rustc/0123/library/std/src/io.rs"), [shown.to_string()]);
        assert_eq!(found("~/data/greeting.txt/rustc/0123/io.rs"), [format!("{shown}/data/greeting.txt")]);
        // The paths of panics, and paths that no longer exist.
        for text in ["~/src/main.rscalled", "~/src/main.rs\0", "~/gone/made.c\0", "~/../zstd.h:12"] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_short_name_is_believed_only_with_something_behind_it() {
        assert_eq!(paths("/opt/usr/share", Path::new("/usr")), [""; 0]);
        assert_eq!(paths("\0/usr/share\0", Path::new("/usr")), ["/usr/share"]);
        assert_eq!(paths("\0/usr/no-such-thing\0", Path::new("/usr")), [""; 0]);
    }

    #[test]
    fn directories_in_others_are_looked_for_once() {
        let dirs = ["/w/target", "/w", "/x/y", "/w"].map(PathBuf::from);
        assert_eq!(outermost(&dirs), [PathBuf::from("/w"), PathBuf::from("/x/y")]);
    }
}
