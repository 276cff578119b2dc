//! Which manifest of an image serves a platform, and its configuration and layers: the same rules wherever the image
//! comes from. Pure, except that the caller reads documents.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::archive::Packing;
use crate::layout::entry::{MOST_NESTED, Platforms};
use crate::oci::{Descriptor, Digest, media_type, take_field};
use crate::rootfs::LayerIndex;
use crate::target::platform::Platform;
pub(super) use crate::text::listed as list;

/// The result of choosing a manifest for a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The manifest that serves it best.
    Manifest(Descriptor),
    /// None; the platforms that the image has.
    Lacking(Vec<String>),
    /// Several that serve it equally well.
    Several(Vec<(Platform, Digest)>),
    /// A document is malformed.
    Shape(String),
}

/// Formats several images for a message.
pub(super) fn list_all(found: &[(Platform, Digest)]) -> String {
    let each = found.iter().map(|(platform, digest)| format!("{platform} ({digest})"));
    list(&each.collect::<Vec<_>>())
}

/// Chooses the manifest that serves a platform best, among `roots` and what they refer to. Attestations, artifacts and
/// unknown entries are skipped. `read` returns a document, verified and parsed.
pub(super) fn manifest<E>(
    roots: &[Descriptor],
    platform: &Platform,
    read: &mut dyn FnMut(&Descriptor) -> Result<Value, E>,
) -> Result<Choice, E> {
    let mut offered: Vec<(Platform, Descriptor)> = Vec::new();
    // Each document is read once, however many entries refer to it.
    let (mut seen, mut known, mut platforms) = (BTreeSet::new(), BTreeSet::new(), Platforms::default());
    let mut open: Vec<(Descriptor, usize)> = roots.iter().rev().map(|root| (root.clone(), 0)).collect();
    while let Some((entry, depth)) = open.pop() {
        if media_type::is_index(&entry.media_type) {
            if depth == MOST_NESTED {
                return Ok(Choice::Shape(format!("the index {} is nested too deep", entry.digest)));
            }
            if !seen.insert(entry.digest.clone()) {
                continue;
            }
            let mut index = read(&entry)?;
            let entries = take_field(&mut index, "manifests");
            match serde_json::from_value::<Vec<Descriptor>>(entries) {
                // Reversed, so that the first entry is visited first.
                Ok(entries) => open.extend(entries.into_iter().rev().map(|entry| (entry, depth + 1))),
                Err(error) => return Ok(Choice::Shape(format!("`manifests` of {}: {error}", entry.digest))),
            }
            continue;
        }
        match platforms.of(&entry, read)? {
            Ok(Some(platform)) => {
                if known.insert((platform.clone(), entry.digest.clone())) {
                    offered.push((platform, entry));
                }
            }
            Ok(None) => {}
            Err(reason) => return Ok(Choice::Shape(reason)),
        }
    }
    let best = platform.best(offered.iter().map(|(platform, _)| platform));
    Ok(match best.as_slice() {
        [] => Choice::Lacking(offered.iter().map(|(platform, _)| platform.to_string()).collect()),
        [first, rest @ ..] if rest.iter().all(|at| offered[*at].1.digest == offered[*first].1.digest) => {
            Choice::Manifest(offered.swap_remove(*first).1)
        }
        several => {
            let found = several.iter().map(|at| (offered[*at].0.clone(), offered[*at].1.digest.clone()));
            Choice::Several(found.collect())
        }
    })
}

/// The configuration's descriptor in a manifest.
pub(super) fn config(manifest: &Value) -> Result<Descriptor, String> {
    serde_json::from_value(manifest["config"].clone())
        .map_err(|error| format!("the manifest's `config`: {error}"))
}

/// A manifest's layers with the `diff_id` that the configuration has for each.
pub(super) fn layers(manifest: &Value, config: &Value) -> Result<Vec<(Descriptor, Digest)>, String> {
    let layers: Vec<Descriptor> = serde_json::from_value(manifest["layers"].clone())
        .map_err(|error| format!("the manifest's `layers`: {error}"))?;
    let diff_ids: Vec<Digest> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())
        .map_err(|error| format!("the configuration's `diff_ids`: {error}"))?;
    if diff_ids.len() != layers.len() {
        return Err(format!("{} layers, but {} `diff_ids`", layers.len(), diff_ids.len()));
    }
    Ok(layers.into_iter().zip(diff_ids).collect())
}

/// Compares a layer's media type with its bytes. If they differ, returns a descriptor with the right media type, and a
/// warning. A compression that not all engines unpack is an error that names both.
pub(super) fn as_its_bytes(
    layer: &Descriptor,
    index: &LayerIndex,
) -> Result<Option<(Descriptor, String)>, String> {
    if Packing::of(&layer.media_type) == Some(index.packing) {
        return Ok(None);
    }
    let told = format!(
        "the layer {} is declared as `{}`, and its bytes are {}",
        layer.digest,
        layer.media_type,
        index.packing.describe()
    );
    let Some(media_type) = index.packing.layer() else {
        return Err(format!("{told}, which containerd does not unpack"));
    };
    let media_type = if layer.media_type.contains("nondistributable") || layer.media_type.contains("foreign")
    {
        media_type.replace("image.layer.v1", "image.layer.nondistributable.v1")
    } else {
        media_type.to_owned()
    };
    Ok(Some((Descriptor { media_type, ..layer.clone() }, told + "; the new image declares the right type")))
}

/// A message if a pinned manifest is for another platform than the one that is built.
pub(super) fn of_another_platform(manifest: &Digest, config: &Value, platform: &Platform) -> Option<String> {
    let offered = Platform::of_config(config);
    let wrong = offered.as_ref().is_none_or(|offered| platform.rank(offered).is_none());
    let offered = offered.map_or_else(|| "no platform".to_owned(), |offered| offered.to_string());
    wrong.then(|| format!("the pinned manifest {manifest} is for {offered}"))
}
