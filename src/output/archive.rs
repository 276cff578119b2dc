//! An OCI layout as a tar archive, of one index alone: what skopeo and podman call `oci-archive`.
//!
//! Its bytes depend on the index and its tags alone, and it appears by renaming.

use std::path::Path;
use std::sync::Arc;

use super::OutputError;
use crate::layer::{Content, Entry, EntryKind, tar};
use crate::layout::{self, reach};
use crate::oci::Encoded;
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// Checks that an archive may be written to `path`.
pub fn check(path: &Path) -> Result<(), OutputError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(OutputError::Folder(path.to_owned()));
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder)?;
    fs::temporary_file(folder)?;
    Ok(())
}

/// Writes the archive of an index in a layout.
pub fn write(
    layout: &Path,
    index: &Encoded,
    tags: &[String],
    path: &Path,
    cancel: &Cancel,
) -> Result<(), OutputError> {
    let document = serde_json::from_slice(&index.bytes).map_err(std::io::Error::other)?;
    let mut digests = reach::reachable(layout, &document)?;
    digests.insert(index.digest().clone());
    let entry = |path: &str, kind| {
        let mode = if matches!(kind, EntryKind::Directory) { 0o755 } else { 0o644 };
        Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0 }
    };
    let small = |bytes: Vec<u8>| EntryKind::File(Content::Bytes(Arc::from(bytes)));
    let mut entries = vec![entry("blobs", EntryKind::Directory), entry("blobs/sha256", EntryKind::Directory)];
    for digest in digests {
        let blob = layout::blob(layout, &digest);
        let size = fs::metadata(&blob)?.len();
        let name = format!("blobs/sha256/{}", digest.hex());
        entries.push(entry(&name, EntryKind::File(Content::Path { path: blob, size })));
    }
    entries.push(entry("index.json", small(layout::index_document(index, tags)?)));
    entries.push(entry("oci-layout", small(layout::MARKER_TEXT.to_vec())));
    let mut file = fs::temporary_file(path.parent().unwrap_or_else(|| Path::new("/")))?;
    tar::write(&entries, 0, &mut file, cancel)?;
    fs::publish(file, path, 0o644)?;
    Ok(())
}
