//! Which manifest of an image serves a platform, and what it is made of: the same wherever the image comes from. Pure
//! but for the reading of documents, which the caller does.

use serde_json::Value;

use crate::oci::{Descriptor, Digest, annotation, media_type};
use crate::platform::Platform;

/// Index documents inside of index documents are followed this deep.
const MOST_NESTED: usize = 8;

/// Names in a message.
pub(super) fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What was found for a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The manifest that serves it best.
    Manifest(Descriptor),
    /// None; the platforms that there are.
    Lacking(Vec<String>),
    /// A document is not of its shape.
    Shape(String),
}

/// Chooses the manifest that serves a platform best: `root` itself, or one that it leads to. Attestations and the like
/// are passed over. `read` gets a document, verified and parsed.
pub(super) fn manifest<E>(
    root: &Descriptor,
    platform: &Platform,
    read: &mut dyn FnMut(&Descriptor) -> Result<Value, E>,
) -> Result<Choice, E> {
    let (mut best, mut available): (Option<(u8, Descriptor)>, Vec<String>) = (None, Vec::new());
    let mut open = vec![(root.clone(), 0)];
    while let Some((entry, depth)) = open.pop() {
        if media_type::is_index(&entry.media_type) {
            if depth == MOST_NESTED {
                return Ok(Choice::Shape(format!("the index {} is nested too deep", entry.digest)));
            }
            let mut index = read(&entry)?;
            let entries = index.get_mut("manifests").map_or(Value::Null, Value::take);
            match serde_json::from_value::<Vec<Descriptor>>(entries) {
                // The first is looked at first.
                Ok(entries) => open.extend(entries.into_iter().rev().map(|entry| (entry, depth + 1))),
                Err(error) => return Ok(Choice::Shape(format!("`manifests` of {}: {error}", entry.digest))),
            }
            continue;
        }
        // An attestation is about an image and is none.
        if entry.annotation(annotation::DOCKER_REFERENCE_TYPE).is_some() {
            continue;
        }
        let fields = match &entry.platform {
            Some(fields) => (fields.os.clone(), fields.architecture.clone(), fields.variant.clone()),
            None => match platform_of(&entry, read)? {
                Ok(fields) => fields,
                Err(reason) => return Ok(Choice::Shape(reason)),
            },
        };
        if fields.0 == "unknown" {
            continue;
        }
        let offered = Platform::new(&fields.0, &fields.1, fields.2.as_deref());
        available.push(offered.to_string());
        if let Some(rank) = platform.rank(&offered)
            && best.as_ref().is_none_or(|(known, _)| rank < *known)
        {
            best = Some((rank, entry));
        }
    }
    Ok(match best {
        Some((_, manifest)) => Choice::Manifest(manifest),
        None => Choice::Lacking(available),
    })
}

type Fields = (String, String, Option<String>);

/// Where a descriptor does not tell its platform, the configuration does.
fn platform_of<E>(
    manifest: &Descriptor,
    read: &mut dyn FnMut(&Descriptor) -> Result<Value, E>,
) -> Result<Result<Fields, String>, E> {
    let document = read(manifest)?;
    let config = match serde_json::from_value(document["config"].clone()) {
        Ok(config) => config,
        Err(error) => return Ok(Err(format!("`config` of {}: {error}", manifest.digest))),
    };
    let config = read(&config)?;
    let text = |key: &str| config[key].as_str().map(ToOwned::to_owned);
    Ok(Ok((text("os").unwrap_or_default(), text("architecture").unwrap_or_default(), text("variant"))))
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

/// That a pinned manifest is one for another platform than the one that is built, if it is.
pub(super) fn of_another_platform(manifest: &Digest, config: &Value, platform: &Platform) -> Option<String> {
    let text = |key: &str| config[key].as_str();
    let offered = Platform::new(
        text("os").unwrap_or_default(),
        text("architecture").unwrap_or_default(),
        text("variant"),
    );
    let wrong = platform.rank(&offered).is_none();
    wrong.then(|| format!("the manifest {manifest}, which is pinned, is one for {offered}"))
}
