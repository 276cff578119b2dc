//! The root filesystem as a tar archive with owners, devices and extended attributes.

use std::io::{self, Write};

use tar::EntryType;

use super::tree::{Meta, Node, Tree};
use super::{Image, RootfsError, contents, is_written, prefix, tree_of};
use crate::archive::Time;
use crate::layer::tar::{Head, head};
use crate::sys::cancel::Cancel;
use crate::target::platform::Platform;

/// Writes the files of some images: directories, then links and devices, then files in the order of the layers.
///
/// # Errors
///
/// If a layer cannot be read, if the sink fails, or if the work is cancelled.
pub fn write_tar(
    images: &[Image],
    split: Option<bool>,
    sink: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), RootfsError> {
    let mut earlier: Vec<(Tree, &Platform)> = Vec::new();
    for image in images {
        let prefix = prefix(image, images.len(), split);
        let tree = tree_of(image, cancel)?;
        if !prefix.is_empty() {
            let meta = Meta { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), records: Vec::new() };
            sink.write_all(&dir_head(&prefix, &meta))?;
        }
        for (path, node) in tree.iter() {
            if !is_written(&earlier, &image.platform, &path, node)?
                && let Node::Directory(meta) = node
            {
                sink.write_all(&dir_head(&format!("{prefix}{path}/"), tree.meta(*meta)))?;
            }
        }
        for (path, node) in tree.iter() {
            let (entry_type, link, device, meta) = match node {
                Node::Symlink { target, meta } => (EntryType::Symlink, &**target, None, meta),
                Node::Special { entry_type, device, meta } => (*entry_type, "", Some(*device), meta),
                Node::Directory(_) | Node::File { .. } => continue,
            };
            let path = format!("{prefix}{path}");
            sink.write_all(&head(&Head { link, device, ..plain(&path, entry_type, tree.meta(*meta)) }))?;
        }
        contents(image, &tree, cancel, &mut |paths, content| {
            let Some((first, others)) = paths.split_first() else { return Ok(()) };
            let Some(Node::File { size, meta, .. }) = tree.get(first) else { return Ok(()) };
            let meta = tree.meta(*meta);
            let first = format!("{prefix}{first}");
            sink.write_all(&head(&Head { size: *size, ..plain(&first, EntryType::Regular, meta) }))?;
            let count = io::copy(content, sink)?;
            if count != *size {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            io::copy(&mut io::Read::take(io::repeat(0), size.next_multiple_of(512) - size), sink)?;
            for other in others {
                let other = format!("{prefix}{other}");
                sink.write_all(&head(&Head { link: &first, ..plain(&other, EntryType::Link, meta) }))?;
            }
            Ok(())
        })?;
        if prefix.is_empty() && images.len() > 1 {
            earlier.push((tree, &image.platform));
        }
    }
    sink.write_all(&[0; 1024])?;
    sink.flush()?;
    Ok(())
}

fn dir_head(path: &str, meta: &Meta) -> Vec<u8> {
    head(&plain(path, EntryType::Directory, meta))
}

fn plain<'a>(path: &'a str, entry_type: EntryType, meta: &'a Meta) -> Head<'a> {
    Head {
        path,
        entry_type,
        size: 0,
        link: "",
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: meta.mtime,
        device: None,
        records: &meta.records,
    }
}
