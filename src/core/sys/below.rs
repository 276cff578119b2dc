//! Moving files into a directory that others may change meanwhile. Every step opens a name in a directory that is open
//! already, and no link is followed, so a link that is swapped in cannot redirect a write out of the destination.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fstat, openat, renameat, statat};
use rustix::io::Errno;

/// A directory, and not a link to one.
const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Moves what is in `from` into the directory `to`, replacing files of the same name; directories that both have are
/// merged. Returns the path that is in the way, if there is one: something else where a directory should be, or a
/// directory where something else should be. What was moved before that stays moved.
pub fn move_into(from: &Path, to: &Path) -> io::Result<Option<PathBuf>> {
    let from = openat(CWD, from, DIR, Mode::empty())?;
    match openat(CWD, to, DIR, Mode::empty()) {
        Ok(dir) => merge_opened(&from, &dir, to),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(Some(to.to_owned())),
        Err(error) => Err(named(error, to)),
    }
}

/// Merges into a directory that exists. An earlier run may have left it without write permission for its owner: it gets
/// the permission for the move, and loses it again afterwards.
fn merge_opened(from: &OwnedFd, to: &OwnedFd, shown: &Path) -> io::Result<Option<PathBuf>> {
    let mode = Mode::from_raw_mode(fstat(to)?.st_mode);
    let open = mode | Mode::WUSR | Mode::XUSR;
    // The mode of another user's directory cannot be changed; the move then fails with its own error.
    let opened = open != mode && fchmod(to, open).is_ok();
    let found = merge(from, to, shown);
    if opened {
        fchmod(to, mode)?;
    }
    found
}

fn merge(from: &OwnedFd, to: &OwnedFd, shown: &Path) -> io::Result<Option<PathBuf>> {
    for name in names(from)? {
        let path = || shown.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let is_dir = type_of(from, &name).map_err(|error| named(error, &path()))? == FileType::Directory;
        let there = if is_dir {
            match openat(to, &name, DIR, Mode::empty()) {
                Ok(inner) => {
                    let from =
                        openat(from, &name, DIR, Mode::empty()).map_err(|error| named(error, &path()))?;
                    if let Some(way) = merge_opened(&from, &inner, &path())? {
                        return Ok(Some(way));
                    }
                    continue;
                }
                Err(Errno::NOENT) => false,
                Err(Errno::NOTDIR | Errno::LOOP) => true,
                Err(error) => return Err(named(error, &path())),
            }
        } else {
            match type_of(to, &name) {
                Ok(kind) => kind == FileType::Directory,
                Err(Errno::NOENT) => false,
                Err(error) => return Err(named(error, &path())),
            }
        };
        if there {
            return Ok(Some(path()));
        }
        // A link at the destination is itself replaced, and not its target.
        match renameat(from, &name, to, &name) {
            Ok(()) => {}
            Err(Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(path())),
            Err(error) => return Err(named(error, &path())),
        }
    }
    Ok(None)
}

/// Sets the permissions of a directory, given by its path below another one. A directory that no longer exists is
/// ignored.
pub fn set_mode(dir: &Path, below: &Path, mode: u32) -> io::Result<()> {
    let mut open = openat(CWD, dir, DIR, Mode::empty()).map_err(|error| named(error, dir))?;
    for part in below.components() {
        let Component::Normal(name) = part else { continue };
        open = match openat(&open, name, DIR, Mode::empty()) {
            Ok(inner) => inner,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(named(error, &dir.join(below))),
        };
    }
    Ok(fchmod(&open, Mode::from_raw_mode(mode))?)
}

fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn type_of(dir: impl AsFd, name: &CStr) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

fn named(error: Errno, path: &Path) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("failed to write to `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sys::fs::{self, PermissionsExt, symlink};

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write_atomic(path, b"new", 0o644).unwrap();
    }

    #[test]
    fn files_are_merged_and_links_are_replaced_or_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = |path: &str| dir.path().join(path);
        for name in ["from/a", "from/b/c", "from/b/d/e", "from/f/g"] {
            write(&path(name));
        }
        for name in ["to/b/old", "outside/c"] {
            write(&path(name));
        }
        symlink(path("outside/c"), path("to/a")).unwrap();
        symlink(path("outside"), path("to/f")).unwrap();
        // A link to a directory is in the way of a directory, wherever it points.
        assert_eq!(move_into(&path("from"), &path("to")).unwrap(), Some(path("to/f")));
        fs::remove_file(path("to/f")).unwrap();
        assert_eq!(move_into(&path("from"), &path("to")).unwrap(), None);
        for name in ["a", "b/c", "b/d/e", "b/old", "f/g"] {
            assert!(fs::symlink_metadata(path("to").join(name)).unwrap().is_file(), "{name}");
        }
        assert_eq!(fs::read_dir(path("outside")).unwrap().count(), 1);
        // A closed one is closed again.
        let mode = |mode| fs::set_permissions(path("to/b"), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o555);
        write(&path("from/b/new"));
        assert_eq!(move_into(&path("from"), &path("to")).unwrap(), None);
        assert!(path("to/b/new").exists());
        assert_eq!(fs::metadata(path("to/b")).unwrap().permissions().mode() & 0o777, 0o555);
        mode(0o755);
        // A file where a directory should be, and the other way round; a link at the destination itself.
        write(&path("more/b/d/e/x"));
        assert_eq!(move_into(&path("more"), &path("to")).unwrap(), Some(path("to/b/d/e")));
        write(&path("last/f"));
        assert_eq!(move_into(&path("last"), &path("to")).unwrap(), Some(path("to/f")));
        symlink(path("outside"), path("door")).unwrap();
        assert_eq!(move_into(&path("last"), &path("door")).unwrap(), Some(path("door")));
    }

    #[test]
    fn permissions_are_not_set_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = |path: &str| dir.path().join(path);
        for name in ["to/a/b/x", "outside/b/x"] {
            write(&path(name));
        }
        symlink(path("outside"), path("to/door")).unwrap();
        let mode = |name: &str| {
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path(name)).unwrap().permissions()) & 0o777
        };
        let before = mode("outside/b");
        set_mode(&path("to"), Path::new("a/b"), 0o711).unwrap();
        for below in ["door/b", "door", "none", "a/b/x"] {
            set_mode(&path("to"), Path::new(below), 0o711).unwrap();
        }
        assert_eq!((mode("to/a/b"), mode("outside/b")), (0o711, before));
    }

    /// Another thread swaps a directory of the destination for a link again and again while files are moved there.
    #[test]
    fn a_link_that_is_swapped_in_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = |path: &str| dir.path().join(path);
        write(&path("outside/mine"));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                symlink(path("outside"), path("link")).unwrap();
                while !done.load(Ordering::SeqCst) {
                    // Either of the two exists; the other one replaces it.
                    fs::rename(path("to/deep"), path("aside")).ok();
                    fs::rename(path("link"), path("to/deep")).ok();
                    fs::rename(path("to/deep"), path("link")).ok();
                    fs::rename(path("aside"), path("to/deep")).ok();
                }
            });
            for round in 0..300 {
                fs::create_dir_all(path("to/deep")).ok();
                for number in 0..5 {
                    write(&path(&format!("from/deep/{round}-{number}")));
                }
                // The move may fail or report something in the way; it must not write elsewhere.
                move_into(&path("from"), &path("to")).ok();
                fs::remove_dir_all(path("from")).ok();
            }
            done.store(true, Ordering::SeqCst);
        });
        let found: Vec<_> =
            fs::read_dir(path("outside")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(found, ["mine"]);
    }
}
