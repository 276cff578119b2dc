//! Which blobs of a layout some tag leads to.

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
    /// It need not be there: a layer is where its `urls` say, and who tidies a layout without knowing of lists of
    /// referrers takes them away.
    optional: bool,
}

/// The digests of all blobs that `document` leads to within the layout. Every descriptor counts, of whatever kind,
/// so that nothing is overlooked that a later specification adds.
pub(crate) fn reachable(layout: &Path, document: &Value) -> io::Result<BTreeSet<Digest>> {
    let mut found = BTreeSet::new();
    let mut open = Vec::new();
    collect(document, &mut open);
    while let Some(Found { media, digest, optional }) = open.pop() {
        let path = super::blob(layout, &digest);
        // What cannot be looked at may be there, and all that it leads to.
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
            // What does not say what it is may be anything.
            Err(_) if media.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// The media type of a descriptor that tells none.
static NO_TYPE: Value = Value::String(String::new());

fn is_document(media: &str) -> bool {
    media_type::is_index(media) || media_type::is_manifest(media)
}

/// Every descriptor in a document.
fn collect(value: &Value, found: &mut Vec<Found>) {
    match value {
        Value::Object(map) => {
            // Some documents leave the media type out.
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
            // A `subject` is what a manifest is about and may be elsewhere; where it is here, its own entry leads to it.
            map.iter().filter(|(key, _)| *key != "subject").for_each(|(_, value)| collect(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Removes blobs that nothing leads to. A layout with a document that cannot be read keeps them all.
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
