//! The root filesystem as files in a directory, which belong to the current user.
//!
//! Owners, devices, extended attributes and the setuid and setgid bits are omitted: they would require root, and a tar
//! archive has them. Files are moved one by one into a directory with other files, but a new directory appears
//! complete.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::tree::{Meta, Node, Tree};
use super::{Image, RootfsError, contents, is_written, prefix, tree_of};
use crate::sys::below;
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, LockError, PermissionsExt};
use crate::sys::staging::Staging;
use crate::target::platform::Platform;

/// Writes the files of some images. Returns the paths that were omitted because they are not files: devices and pipes.
///
/// # Errors
///
/// If a layer cannot be read, if the directory is in use or cannot be written, or if the work is cancelled.
pub fn write_dir(
    images: &[Image],
    split: Option<bool>,
    dir: &Path,
    cancel: &Cancel,
) -> Result<Vec<String>, RootfsError> {
    let staging = Staging::beside(dir, cancel).map_err(LockError::into_error::<RootfsError>)?;
    let mut skipped = Vec::new();
    let mut earlier: Vec<(Tree, &Platform)> = Vec::new();
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    for image in images {
        let prefix = prefix(image, images.len(), split);
        let tree = tree_of(image, cancel)?;
        let root = staging.path().join(&prefix);
        fs::create_dir_all(&root)?;
        for (path, node) in tree.iter() {
            cancel.check()?;
            if is_written(&earlier, &image.platform, &path, node)? {
                continue;
            }
            let to = root.join(&path);
            match node {
                Node::Directory(meta) => {
                    fs::create_dir(&to)?;
                    modes.push((to, mode(tree.meta(*meta))));
                }
                Node::Symlink { target, .. } => fs::symlink(&**target, &to)?,
                Node::Special { .. } => skipped.push(format!("{prefix}{path}")),
                // Written with their content below.
                Node::File { .. } => {}
            }
        }
        write_files(image, &tree, &root, cancel)?;
        if prefix.is_empty() && images.len() > 1 {
            earlier.push((tree, &image.platform));
        }
    }
    // Last, and deepest first: a directory may be without write permission for its owner.
    for (path, mode) in modes.iter().rev() {
        fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
    }
    appear(&staging, dir, &modes)?;
    Ok(skipped)
}

fn write_files(image: &Image, tree: &Tree, root: &Path, cancel: &Cancel) -> Result<(), RootfsError> {
    contents(image, tree, cancel, &mut |paths, content| {
        let Some((first, others)) = paths.split_first() else { return Ok(()) };
        let Some(Node::File { size, meta, .. }) = tree.get(first) else { return Ok(()) };
        let meta = tree.meta(*meta);
        let path = root.join(first);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        if io::copy(content, &mut file)? != *size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        file.set_permissions(fs::Permissions::from_mode(mode(meta)))?;
        fs::set_modified(&file, meta.mtime.seconds, meta.mtime.nanoseconds)?;
        for other in others {
            fs::hard_link(&path, root.join(other))?;
        }
        Ok(())
    })
}

/// Permission bits without setuid and setgid: the owner is a different one here.
fn mode(meta: &Meta) -> u32 {
    meta.mode & 0o1777
}

/// Moves the staged files to the destination: by one rename if it does not exist, otherwise file by file, replacing
/// files of the same name.
fn appear(staging: &Staging, dir: &Path, modes: &[(PathBuf, u32)]) -> Result<(), RootfsError> {
    fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
    match fs::rename(staging.path(), dir) {
        Ok(()) => return Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotADirectory
            ) => {}
        Err(error) => return Err(error.into()),
    }
    // Directories may be without write permission even for us: they get it for the move, and lose it at the
    // destination.
    let closed: BTreeSet<&Path> =
        modes.iter().filter(|(_, mode)| mode & 0o700 != 0o700).map(|(path, _)| path.as_path()).collect();
    for path in &closed {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    if let Some(path) = below::move_into(staging.path(), dir)? {
        return Err(RootfsError::InTheWay(path));
    }
    for (path, mode) in modes.iter().rev().filter(|(path, _)| closed.contains(path.as_path())) {
        if let Ok(path) = path.strip_prefix(staging.path()) {
            below::set_mode(dir, path, *mode)?;
        }
    }
    Ok(())
}
