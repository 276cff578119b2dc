//! Images of which an engine has only some platforms.
//!
//! containerd's image store keeps the whole index of an image that was pulled for one platform, and `docker save`
//! writes the index with the blobs that the store has. Such an image is read with the platforms that exist: as the only
//! one's manifest, or as an index of the remaining ones, which is made here. This is not damage; `docker push` sends
//! the same part of such an image.

use super::TransportError;
use super::source::{Source, entries_of};
use crate::layout::entry::is_document;
use crate::oci::{Descriptor, Digest, Encoded, annotation, media_type};
use crate::target::platform::Platform;

/// The part of an image that exists.
#[derive(Debug)]
pub(super) struct Present {
    /// Replaces the index of all platforms, and has its names.
    pub(super) root: Descriptor,
    /// Its bytes, if an index had to be made.
    pub(super) index: Option<Encoded>,
    /// The platforms that exist, as the index names them.
    platforms: Vec<String>,
    /// The platforms that are missing.
    missing: Vec<String>,
}

impl Present {
    /// A remark for the user; `None` if only attestations are missing.
    pub(super) fn remark(&self) -> Option<String> {
        let (there, missing) = (self.platforms.join(", "), self.missing.join(", "));
        (!missing.is_empty()).then(|| format!("the engine has {there} of the image, and not {missing}"))
    }
}

/// The existing part of an image; `None` if it is complete, or if nothing exists.
pub(super) fn present(source: &Source) -> Result<Option<Present>, TransportError> {
    let root = source.root();
    if !media_type::is_index(&root.media_type) || !source.has(&root.digest) {
        return Ok(None);
    }
    let mut index = source.json(root)?;
    let entries = entries_of(&index, &root.digest.to_string(), source.shown())?;
    let there: Vec<bool> = entries.iter().map(|entry| is_there(source, entry)).collect();
    let images = || entries.iter().zip(&there).filter(|(entry, _)| is_image(entry));
    let named = |wanted: bool| -> Vec<String> {
        images().filter(|(_, there)| **there == wanted).map(|(entry, _)| name(entry)).collect()
    };
    let (platforms, missing) = (named(true), named(false));
    if platforms.is_empty() || there.iter().all(|there| *there) {
        return Ok(None);
    }
    let mut left = images().filter(|(_, there)| **there).map(|(entry, _)| entry);
    if let (Some(only), None) = (left.next(), left.next()) {
        let mut root = only.clone();
        root.annotations.extend(source.root().annotations.clone());
        return Ok(Some(Present { root, index: None, platforms, missing }));
    }
    let mut kept = there.iter();
    if let Some(manifests) = index.get_mut("manifests").and_then(serde_json::Value::as_array_mut) {
        manifests.retain(|_| kept.next().is_some_and(|there| *there));
    }
    let index = Encoded::new(&root.media_type, &index);
    let mut root = index.descriptor.clone();
    root.annotations.clone_from(&source.root().annotations);
    Ok(Some(Present { root, index: Some(index), platforms, missing }))
}

/// False for an attestation and the like.
fn is_image(entry: &Descriptor) -> bool {
    (is_document(entry) || entry.media_type.is_empty())
        && entry.annotation(annotation::DOCKER_REFERENCE_TYPE).is_none()
        && entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

fn name(entry: &Descriptor) -> String {
    let platform = entry.platform.as_ref().and_then(Platform::of_fields);
    platform.map_or_else(|| entry.digest.to_string(), |platform| platform.to_string())
}

/// True if a manifest and at least one blob that it names exist. If an image exists in part, the missing and damaged
/// blobs are reported when it is read.
fn is_there(source: &Source, entry: &Descriptor) -> bool {
    if !source.has(&entry.digest) {
        return false;
    }
    let manifest = if media_type::is_manifest(&entry.media_type) { source.json(entry).ok() } else { None };
    let Some(manifest) = manifest else { return true };
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let blobs = std::iter::once(&manifest["config"]).chain(layers);
    let digests: Vec<Digest> =
        blobs.filter_map(|blob| blob["digest"].as_str().and_then(|digest| digest.parse().ok())).collect();
    digests.is_empty() || digests.iter().any(|digest| source.has(digest))
}
