//! A copy of a project in another directory.

use std::io;
use std::path::{Path, PathBuf};

use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, MetadataExt as _};

use super::ReproError;

/// The file that marks a directory as a cache, used by cargo for its target directory and by other programs.
const CACHE_TAG: &str = "CACHEDIR.TAG";

/// Copies a directory with everything in it, except for directories that are marked as caches, and for xbuild's own
/// cache, which contains the copy. Links stay links.
pub(super) fn copy(from: &Path, to: &Path, cache: &Path, cancel: &Cancel) -> Result<(), ReproError> {
    let cache = identity(cache)?;
    let mut open: Vec<(PathBuf, PathBuf)> = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = open.pop() {
        cancel.check()?;
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if identity(&path)? != cache && !is_file(&path.join(CACHE_TAG))? {
                    open.push((path, to));
                }
            } else if kind.is_symlink() {
                fs::symlink(fs::read_link(&path)?, &to)?;
            } else if kind.is_file() {
                fs::copy(&path, &to)?;
            }
        }
    }
    Ok(())
}

/// Identifies a directory, whatever path leads to it.
fn identity(directory: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(directory)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn is_file(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The directory that a project is copied with: its repository if there is one, otherwise its workspace. `None` if
/// cargo uses a package from outside of it, which would be missing in a copy.
pub(super) fn root(workspace: &Path, packages: &[PathBuf]) -> io::Result<Option<PathBuf>> {
    let mut root = workspace.to_owned();
    for dir in workspace.ancestors() {
        // A project in a cache is not part of the repository around it.
        if is_file(&dir.join(CACHE_TAG))? {
            break;
        }
        match fs::symlink_metadata(dir.join(".git")) {
            Ok(_) => {
                dir.clone_into(&mut root);
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // A repository on another file system is not the project's.
        let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
        if dir.parent().is_some_and(|parent| device(parent).ok() != device(dir).ok()) {
            break;
        }
    }
    Ok(packages.iter().all(|package| package.starts_with(&root)).then_some(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_all_but_caches() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["a/src", "a/target/debug", "a/.git"] {
            fs::create_dir_all(at(path)).unwrap();
        }
        for path in ["a/src/main.rs", "a/target/CACHEDIR.TAG", "a/target/debug/x", "a/.git/HEAD"] {
            fs::write_atomic(&at(path), b"text", 0o640).unwrap();
        }
        fs::symlink("src/main.rs", at("a/link")).unwrap();
        fs::create_dir_all(at("cache")).unwrap();
        copy(&at("a"), &at("b"), &at("cache"), &Cancel::new()).unwrap();
        assert_eq!(fs::read(at("b/src/main.rs")).unwrap(), b"text");
        assert_eq!(fs::metadata(at("b/src/main.rs")).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_link(at("b/link")).unwrap(), Path::new("src/main.rs"));
        assert!(is_file(&at("b/.git/HEAD")).unwrap());
        assert!(!at("b/target").exists());
    }

    #[test]
    fn a_copy_in_a_cache_within_the_project_does_not_have_itself_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/cache/repro")).unwrap();
        fs::write_atomic(&at("a/main.rs"), b"text", 0o644).unwrap();
        fs::symlink("a", at("b")).unwrap();
        copy(&at("a"), &at("b/cache/repro/x/a"), &at("b/cache"), &Cancel::new()).unwrap();
        assert_eq!(fs::read(at("a/cache/repro/x/a/main.rs")).unwrap(), b"text");
        assert!(!at("a/cache/repro/x/a/cache").exists());
    }

    #[test]
    fn the_root_is_the_repository_and_holds_every_package() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("repo/.git")).unwrap();
        fs::create_dir_all(at("repo/app")).unwrap();
        let found = |packages: &[PathBuf]| root(&at("repo/app"), packages).unwrap();
        assert_eq!(found(&[at("repo/app"), at("repo/lib")]), Some(at("repo")));
        assert_eq!(found(&[at("elsewhere")]), None);
        fs::write_atomic(&at("repo/app/CACHEDIR.TAG"), b"", 0o644).unwrap();
        assert_eq!(found(&[at("repo/app")]), Some(at("repo/app")));
        fs::remove_file(at("repo/app/CACHEDIR.TAG")).unwrap();
        fs::remove_dir_all(at("repo/.git")).unwrap();
        assert_eq!(found(&[at("repo/app")]), Some(at("repo/app")));
    }
}
