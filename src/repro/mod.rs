//! Checks whether a project builds reproducibly: two builds, and the differences between their images.
//!
//! [`compare`] is for any two layouts. [`twice`] builds a project in place and again as a copy in another directory,
//! with an empty target directory, another umask, time zone, locale and number of jobs: anything of these that gets
//! into the image shows as a difference. The clock, the kernel and the user cannot be changed from here; their
//! influence is found only if they change between the two builds.

mod content;
mod copy;
mod difference;
mod error;
mod layers;
#[cfg(test)]
mod tests;
mod twice;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

pub(crate) use difference::{Difference, Side};
pub(crate) use error::ReproError;
pub(crate) use twice::{Request, twice};

use crate::layout::{Layout, ReadError};
use crate::oci::{Descriptor, Digest};
use crate::sys::cancel::Cancel;

/// The result of building twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Comparison {
    /// True if both builds have the same digest.
    pub reproducible: bool,
    /// The digest of the first build's index.
    pub first: Digest,
    /// The digest of the second build's.
    pub second: Digest,
    /// What was different in the second build, as text.
    pub varied: Vec<String>,
    /// The differences between the images: first those of all platforms, then by platform.
    pub differences: Vec<Difference>,
}

/// The differences between two images; `one` and `other` are the digests of their indexes in the layouts.
pub(crate) fn compare(
    (first, one): (&Layout, &Digest),
    (second, other): (&Layout, &Digest),
    cancel: &Cancel,
) -> Result<Vec<Difference>, ReproError> {
    if one == other {
        return Ok(Vec::new());
    }
    let (one, other) = (Image::open(first, one)?, Image::open(second, other)?);
    let mut differences = Vec::new();
    let without = |index: &Value| {
        let mut index = index.clone();
        if let Some(map) = index.as_object_mut() {
            map.remove("manifests");
        }
        index
    };
    fields(None, "index", (&without(&one.index), &without(&other.index)), &mut differences);
    let platforms: BTreeSet<&String> = one.manifests.keys().chain(other.manifests.keys()).collect();
    for platform in platforms {
        cancel.check()?;
        match (one.manifests.get(platform), other.manifests.get(platform)) {
            (Some(a), Some(b)) if a.digest == b.digest => {}
            (Some(a), Some(b)) => {
                compare_platform(platform, (first, a), (second, b), &mut differences, cancel)?;
            }
            (a, _) => {
                let only = if a.is_some() { Side::First } else { Side::Second };
                differences.push(Difference::Platform { platform: platform.clone(), only });
            }
        }
    }
    Ok(differences)
}

/// An index and its manifests by platform, as the index names them.
struct Image {
    index: Value,
    manifests: BTreeMap<String, Descriptor>,
}

impl Image {
    fn open(layout: &Layout, digest: &Digest) -> Result<Self, ReproError> {
        let entries = layout.entries()?;
        let missing = || ReadError::Missing { digest: digest.clone(), path: layout.blob(digest) };
        let entry = entries.into_iter().find(|entry| entry.digest == *digest).ok_or_else(missing)?;
        let mut manifests = BTreeMap::new();
        for manifest in layout.manifests(&entry)? {
            let name = match &manifest.platform {
                Some(platform) => {
                    [Some(&platform.os), Some(&platform.architecture), platform.variant.as_ref()]
                        .into_iter()
                        .flatten()
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("/")
                }
                None => "unknown".into(),
            };
            manifests.insert(name, manifest);
        }
        Ok(Self { index: layout.json(&entry)?, manifests })
    }
}

fn compare_platform(
    platform: &String,
    (first, one): (&Layout, &Descriptor),
    (second, other): (&Layout, &Descriptor),
    differences: &mut Vec<Difference>,
    cancel: &Cancel,
) -> Result<(), ReproError> {
    let (one, other) = (Parts::read(first, one)?, Parts::read(second, other)?);
    let about = Some(platform);
    fields(about, "manifest", (&one.rest, &other.rest), differences);
    fields(about, "config", (&one.config, &other.config), differences);
    if one.layers.len() != other.layers.len() {
        let (first, second) = (one.layers.len(), other.layers.len());
        differences.push(Difference::Layers { platform: platform.clone(), first, second });
    }
    for (index, (a, b)) in one.layers.iter().zip(&other.layers).enumerate() {
        if a.digest == b.digest {
            continue;
        }
        let (path_a, path_b) = (first.verify(a, cancel)?, second.verify(b, cancel)?);
        let (changes, omitted) = layers::compare(
            layers::Blob { descriptor: a, path: &path_a },
            layers::Blob { descriptor: b, path: &path_b },
            cancel,
        )?;
        differences.push(Difference::Layer {
            platform: platform.clone(),
            number: index + 1,
            created_by: one.created_by.get(index).cloned().flatten(),
            first: a.digest.clone(),
            second: b.digest.clone(),
            changes,
            omitted,
        });
    }
    Ok(())
}

/// A platform's documents, without the fields that depend on the layers.
struct Parts {
    /// The manifest without the descriptors in it.
    rest: Value,
    /// The configuration without the `diff_ids`.
    config: Value,
    layers: Vec<Descriptor>,
    /// The `created_by` of each layer in the history.
    created_by: Vec<Option<String>>,
}

impl Parts {
    fn read(layout: &Layout, descriptor: &Descriptor) -> Result<Self, ReproError> {
        let document = |source| ReadError::Document { what: descriptor.digest.to_string(), source };
        let mut rest = layout.json(descriptor)?;
        let mut take = |field| rest.as_object_mut().and_then(|map| map.remove(field)).unwrap_or_default();
        let layers: Vec<Descriptor> = serde_json::from_value(take("layers")).map_err(document)?;
        let config: Descriptor = serde_json::from_value(take("config")).map_err(document)?;
        let mut config = layout.json(&config)?;
        let history = config["history"].as_array().cloned().unwrap_or_default();
        let created_by = history
            .iter()
            .filter(|entry| entry["empty_layer"] != true)
            .map(|entry| entry["created_by"].as_str().map(ToOwned::to_owned))
            .collect();
        if let Some(map) = config.get_mut("rootfs").and_then(Value::as_object_mut) {
            map.remove("diff_ids");
        }
        Ok(Self { rest, config, layers, created_by })
    }
}

/// The fields in which two documents differ.
fn fields(
    platform: Option<&String>,
    document: &'static str,
    (first, second): (&Value, &Value),
    differences: &mut Vec<Difference>,
) {
    let mut open = vec![(String::new(), Some(first), Some(second))];
    while let Some((pointer, one, other)) = open.pop() {
        match (one, other) {
            (one, other) if one == other => {}
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                // The last one on the stack is compared first.
                open.extend(names.into_iter().rev().map(|name| {
                    let escaped = name.replace('~', "~0").replace('/', "~1");
                    (format!("{pointer}/{escaped}"), a.get(name), b.get(name))
                }));
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
                let pairs = a.iter().zip(b).enumerate().rev();
                open.extend(pairs.map(|(at, (a, b))| (format!("{pointer}/{at}"), Some(a), Some(b))));
            }
            (one, other) => differences.push(Difference::Field {
                platform: platform.cloned(),
                document,
                pointer,
                first: one.map(ToString::to_string),
                second: other.map(ToString::to_string),
            }),
        }
    }
}
