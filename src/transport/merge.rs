//! One index of several images: of native runners that each built a platform, or of any existing images. Pure except
//! for reading the sources.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Image, Source, TransportError};
use crate::oci::{Descriptor, Digest, Encoded, annotation, media_type};
use crate::sys::cancel::Cancel;
use crate::target::platform::Platform;

/// Annotations that are added to those of the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexAnnotations {
    /// Of the index.
    pub index: BTreeMap<String, String>,
    /// Of its entry in a layout.
    pub descriptor: BTreeMap<String, String>,
    /// Of the entries of manifests: those for all platforms (`None`), and those for one platform.
    pub manifests: Vec<(Option<Platform>, String, String)>,
}

/// A merged index and what it needs from each source.
#[derive(Debug)]
pub struct Merged<'a> {
    /// The index.
    pub index: Encoded,
    /// The manifests that are wanted from each source.
    pub parts: Vec<(&'a Source, Vec<Descriptor>)>,
}

impl<'a> Merged<'a> {
    /// The index and everything that is reachable from it, as an image that can be written.
    #[must_use]
    pub fn image(self, names: Vec<String>) -> Image<'a> {
        let root = self.index.descriptor.clone();
        Image { root, document: Some(self.index), parts: self.parts, names, referrers: Vec::new() }
    }

    /// Each platform's manifest and the digest of its configuration.
    ///
    /// # Errors
    ///
    /// If a manifest cannot be read or does not name its configuration, or if the work is cancelled.
    pub fn platforms(
        &self,
        cancel: &Cancel,
    ) -> Result<BTreeMap<Platform, (Descriptor, Digest)>, TransportError> {
        let mut platforms = BTreeMap::new();
        for (source, wanted) in &self.parts {
            for descriptor in wanted {
                cancel.check()?;
                for entry in source.manifests(descriptor)? {
                    let Some(platform) = entry.platform else { continue };
                    let manifest = source.json(&entry.descriptor)?;
                    let config: Descriptor =
                        serde_json::from_value(manifest["config"].clone()).map_err(|error| {
                            let reason = format!("`config` of {}: {error}", entry.descriptor.digest);
                            TransportError::Shape { shown: source.shown().to_owned(), reason }
                        })?;
                    platforms.insert(platform, (entry.descriptor, config.digest));
                }
            }
        }
        Ok(platforms)
    }
}

/// An entry of the future index, and its source.
struct Entry<'a> {
    descriptor: Descriptor,
    platform: Option<Platform>,
    source: usize,
    shown: &'a str,
}

/// Merges the manifests of several sources in platform order. Two different manifests for one platform are an error,
/// but manifests of `base`, the index that is added to, are replaced; its other entries stay, in their order. An
/// attestation goes with its image. If one source has several manifests for a platform, they all stay.
///
/// # Errors
///
/// If a source's documents cannot be read, if two sources differ for one platform, or if an image does not have a
/// platform.
pub fn merge<'a>(
    base: Option<&'a Source>,
    sources: &'a [Source],
    annotations: &IndexAnnotations,
) -> Result<Merged<'a>, TransportError> {
    let all: Vec<&Source> = base.into_iter().chain(sources).collect();
    let added_to = base.map(AddedTo::read).transpose()?.flatten();
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for (number, source) in all.iter().enumerate() {
        for manifest in source.manifests(source.root())? {
            let mut descriptor = manifest.descriptor.clone();
            if let (Some(platform), None) = (&manifest.platform, &descriptor.platform) {
                descriptor.platform = Some(platform.fields());
            }
            // Name annotations belong to entries in a layout's index only.
            if number > 0 || added_to.is_none() {
                descriptor.forget_entry();
            }
            let platform = source.identity(&manifest)?;
            let entry = Entry { descriptor, platform, source: number, shown: source.shown() };
            add(&mut entries, entry, base.is_some())?;
        }
    }
    let mut entries = match &added_to {
        Some(document) => document.with_attestations(entries),
        None => with_attestations(entries),
    };
    sort(&mut entries, added_to.is_some());
    for entry in &mut entries {
        for (platform, key, value) in &annotations.manifests {
            let is_for = |wanted: &Platform| entry.platform.as_ref().is_some_and(|own| wanted.covers(own));
            if platform.as_ref().is_none_or(is_for) {
                entry.descriptor.annotations.insert(key.clone(), value.clone());
            }
        }
    }
    let mut written = added_to.as_ref().map(|document| document.entries.clone()).unwrap_or_default();
    let listed = |entry: &Entry<'_>| match entry.source {
        0 if added_to.is_some() => as_written(&mut written, &entry.descriptor),
        _ => json!(entry.descriptor),
    };
    let descriptors: Vec<Value> = entries.iter().map(listed).collect();
    let annotated = match &added_to {
        Some(_) => Map::new(),
        None => common_annotations(&all)?,
    };
    let mut document = added_to.map_or_else(|| json!({}), |added_to| added_to.document);
    document["schemaVersion"] = 2.into();
    document["mediaType"] = media_type::INDEX.into();
    document["manifests"] = descriptors.into();
    let ours = annotations.index.iter().map(|(key, value)| (key.clone(), value.clone().into()));
    if !document["annotations"].is_object() && !document["annotations"].is_null() {
        document["annotations"] = json!({});
    }
    for (key, value) in annotated.into_iter().chain(ours) {
        document["annotations"][key] = value;
    }
    let mut index = Encoded::new(media_type::INDEX, &document);
    index.descriptor.annotations.clone_from(&annotations.descriptor);
    let parts = all.iter().enumerate().map(|(number, source)| {
        let wanted = entries.iter().filter(|entry| entry.source == number);
        (*source, wanted.map(|entry| entry.descriptor.clone()).collect())
    });
    Ok(Merged { parts: parts.collect(), index })
}

/// Adds an entry to the others; with `append` it replaces entries of the first source.
fn add<'a>(entries: &mut Vec<Entry<'a>>, entry: Entry<'a>, append: bool) -> Result<(), TransportError> {
    if entries.iter().any(|known| {
        known.source != entry.source
            && known.platform == entry.platform
            && known.descriptor.digest == entry.descriptor.digest
    }) {
        return Ok(());
    }
    let Some(platform) = &entry.platform else {
        entries.push(entry);
        return Ok(());
    };
    let rival = |known: &Entry<'_>| known.platform.as_ref() == Some(platform) && known.source != entry.source;
    if let Some(known) = entries.iter().find(|known| rival(known) && !(append && known.source == 0)) {
        let platform = Box::new(platform.clone());
        let (first, second) = (known.shown.to_owned(), entry.shown.to_owned());
        return Err(TransportError::PlatformTwice { first, second, platform });
    }
    entries.retain(|known| !rival(known));
    entries.push(entry);
    Ok(())
}

/// The index that is added to, unmodified: it may contain fields that we do not know.
struct AddedTo {
    document: Value,
    /// Its own entries, parsed and as they were written.
    entries: Vec<(Descriptor, Value)>,
}

impl AddedTo {
    /// `None` for a single manifest, which makes a new index.
    fn read(base: &Source) -> Result<Option<Self>, TransportError> {
        if !media_type::is_index(&base.root().media_type) {
            return Ok(None);
        }
        let document = base.json(base.root())?;
        let listed = document["manifests"].as_array().into_iter().flatten();
        let entries = listed
            .filter_map(|entry| Some((serde_json::from_value(entry.clone()).ok()?, entry.clone())))
            .collect();
        Ok(Some(Self { document, entries }))
    }

    /// Attestations of an index that is added to stay if their subject was not in the index before.
    fn with_attestations<'a>(&self, entries: Vec<Entry<'a>>) -> Vec<Entry<'a>> {
        let own: Vec<String> = self.entries.iter().map(|(read, _)| read.digest.to_string()).collect();
        retain_attestations(entries, &|entry, about| {
            entry.source == 0 && own.iter().all(|digest| digest != about)
        })
    }
}

/// An entry as it was written, unless it was changed. Several entries may parse alike and be written differently: each
/// is taken once, and they keep their order.
fn as_written(entries: &mut Vec<(Descriptor, Value)>, descriptor: &Descriptor) -> Value {
    match entries.iter().position(|(read, _)| read == descriptor) {
        Some(at) => entries.remove(at).1,
        None => json!(descriptor),
    }
}

/// Removes attestations whose image was replaced by another one.
fn with_attestations(entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    retain_attestations(entries, &|_, _| false)
}

fn retain_attestations<'a>(
    mut entries: Vec<Entry<'a>>,
    stays: &dyn Fn(&Entry<'_>, &str) -> bool,
) -> Vec<Entry<'a>> {
    let known: Vec<String> = entries.iter().map(|entry| entry.descriptor.digest.to_string()).collect();
    entries.retain(|entry| {
        let about = entry.descriptor.annotation(annotation::DOCKER_REFERENCE_DIGEST);
        about.is_none_or(|digest| known.iter().any(|known| known == digest) || stays(entry, digest))
    });
    entries
}

/// Sorts entries by platform; attestations come after all images, in their original order. Engines take the first of
/// several entries that serve them, so the entries of an index that is added to keep their order, and each new one is
/// inserted before the first entry that sorts after it.
fn sort(entries: &mut Vec<Entry<'_>>, append: bool) {
    let (mut sorted, mut new): (Vec<_>, Vec<_>) =
        std::mem::take(entries).into_iter().partition(|entry| append && entry.source == 0);
    let key = |entry: &Entry<'_>| (entry.platform.is_none(), entry.platform.clone());
    new.sort_by_key(key);
    for entry in new {
        let own = key(&entry);
        let at = sorted.iter().position(|known| key(known) > own).unwrap_or(sorted.len());
        sorted.insert(at, entry);
    }
    *entries = sorted;
}

/// The annotations that all indexes among the sources have in common; a manifest's annotations do not count.
fn common_annotations(sources: &[&Source]) -> Result<Map<String, Value>, TransportError> {
    let mut common: Option<Map<String, Value>> = None;
    for source in sources.iter().filter(|source| media_type::is_index(&source.root().media_type)) {
        let document = source.json(source.root())?;
        let own = document["annotations"].as_object().cloned().unwrap_or_default();
        common = Some(match common {
            None => own,
            Some(mut common) => {
                common.retain(|key, value| own.get(key) == Some(value));
                common
            }
        });
    }
    Ok(common.unwrap_or_default())
}
