//! Finds the blobs of a layout that are reachable from its tags.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{INDEX, blob_dirs};
use crate::oci::{Digest, MANIFEST_LIMIT, annotation, media_type};
use crate::sys::fs;

/// A descriptor in a document.
struct Found {
    media: String,
    digest: Digest,
    /// It may be missing: a layer is at its `urls`, and a tool that cleans up a layout without knowing lists of
    /// referrers removes them.
    optional: bool,
}

/// The digests of all blobs that are reachable from `document` within the layout. Descriptors count wherever they are,
/// so that none is missed that a later specification adds.
pub(crate) fn reachable(layout: &Path, document: &Value) -> io::Result<BTreeSet<Digest>> {
    let mut found = BTreeSet::new();
    let mut open = Vec::new();
    collect(document, &mut open);
    while let Some(Found { media, digest, optional }) = open.pop() {
        let path = super::blob(layout, &digest);
        // If the file cannot be examined, it may exist, with everything reachable from it.
        if optional && fs::unless_missing(fs::metadata(&path))?.is_none()
            || !found.insert(digest.clone())
            || !is_document(&media) && !media.is_empty()
        {
            continue;
        }
        if fs::metadata(&path)?.len() > MANIFEST_LIMIT {
            if media.is_empty() {
                continue;
            }
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{digest}` is too large for a manifest"),
            ));
        }
        match serde_json::from_slice(&fs::read(&path)?) {
            Ok(document) => collect(&document, &mut open),
            // Content without a media type may be anything.
            Err(_) if media.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// The media type of a descriptor that has none.
static NO_TYPE: Value = Value::String(String::new());

fn is_document(media: &str) -> bool {
    media_type::is_index(media) || media_type::is_manifest(media)
}

/// Collects all descriptors in a document.
fn collect(value: &Value, found: &mut Vec<Found>) {
    match value {
        Value::Object(map) => {
            // Some documents omit the media type.
            let media = map.get("mediaType").or_else(|| map.get("size").map(|_| &NO_TYPE));
            if let (Some(Value::String(media)), Some(Value::String(digest))) = (media, map.get("digest"))
                && let Ok(digest) = digest.parse()
            {
                let optional = map.get("urls").and_then(Value::as_array).is_some_and(|urls| !urls.is_empty());
                found.push(Found { media: media.clone(), digest, optional });
            }
            let list = map.get("annotations").and_then(|notes| notes[annotation::REFERRERS].as_str());
            if let Some(digest) = list.and_then(|digest| digest.parse().ok()) {
                found.push(Found { media: media_type::INDEX.into(), digest, optional: true });
            }
            // A `subject` may be elsewhere; if it is in this layout, it is reachable from an entry of its own.
            map.iter().filter(|(key, _)| *key != "subject").for_each(|(_, value)| collect(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Removes blobs that are not reachable. If a document cannot be read, all blobs are kept.
pub(super) fn remove_unreachable(layout: &Path) -> io::Result<()> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join(INDEX))?)?;
    let Ok(kept) = reachable(layout, &index) else { return Ok(()) };
    let kept: BTreeSet<&str> = kept.iter().map(Digest::hex).collect();
    for dir in blob_dirs(layout) {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_blob = matches!(name.len(), 64 | 128) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_blob && !kept.contains(name) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}
