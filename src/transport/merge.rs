//! One index of several images: of native runners that each built a platform, or of whatever is there already. Pure but
//! for reading the sources.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Image, Source, TransportError};
use crate::oci::{Descriptor, Digest, Encoded, annotation, media_type};
use crate::platform::Platform;
use crate::sys::cancel::Cancel;

/// What to annotate beside what the sources say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexAnnotations {
    /// Of the index.
    pub index: BTreeMap<String, String>,
    /// Of its entry in a layout.
    pub descriptor: BTreeMap<String, String>,
    /// Of the entries of manifests: of all, then those of single platforms.
    pub manifests: Vec<(Option<Platform>, String, String)>,
}

/// A merged index and what it needs of each source.
#[derive(Debug)]
pub struct Merged<'a> {
    /// The index.
    pub index: Encoded,
    /// The manifests that are wanted of each source.
    pub parts: Vec<(&'a Source, Vec<Descriptor>)>,
}

impl<'a> Merged<'a> {
    /// The index and all that it leads to, as an image that can be written.
    #[must_use]
    pub fn image(self, names: Vec<String>) -> Image<'a> {
        let root = self.index.descriptor.clone();
        Image { root, document: Some(self.index), parts: self.parts, names, referrers: Vec::new() }
    }

    /// Each platform's manifest and the digest of its configuration.
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

/// An entry of the index to be, and the source that it is of.
struct Entry<'a> {
    descriptor: Descriptor,
    platform: Option<Platform>,
    source: usize,
    shown: &'a str,
}

/// Merges the manifests of some sources in platform order. Where two differ for one platform, that is an error, but
/// manifests of `base`, the index that is added to, are replaced. An attestation goes with its image. What one source
/// has several times is its own affair, and stays.
pub fn merge<'a>(
    base: Option<&'a Source>,
    sources: &'a [Source],
    annotations: &IndexAnnotations,
) -> Result<Merged<'a>, TransportError> {
    let all: Vec<&Source> = base.into_iter().chain(sources).collect();
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for (number, source) in all.iter().enumerate() {
        for manifest in source.manifests(source.root())? {
            let mut descriptor = manifest.descriptor.clone();
            if let (Some(platform), None) = (&manifest.platform, &descriptor.platform) {
                descriptor.platform = Some(platform.fields());
            }
            // Names are of entries in a layout's index.
            descriptor.forget_entry();
            let platform = source.identity(&manifest)?;
            let entry = Entry { descriptor, platform, source: number, shown: source.shown() };
            add(&mut entries, entry, base.is_some())?;
        }
    }
    keep_attestations_of_known(&mut entries);
    // Attestations stand behind all images, in the order in which they came.
    entries.sort_by(|a, b| (a.platform.is_none(), &a.platform).cmp(&(b.platform.is_none(), &b.platform)));
    for entry in &mut entries {
        for (platform, key, value) in &annotations.manifests {
            let is_for = |wanted: &Platform| entry.platform.as_ref().is_some_and(|own| wanted.covers(own));
            if platform.as_ref().is_none_or(is_for) {
                entry.descriptor.annotations.insert(key.clone(), value.clone());
            }
        }
    }
    let descriptors: Vec<&Descriptor> = entries.iter().map(|entry| &entry.descriptor).collect();
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": media_type::INDEX,
        "manifests": descriptors,
    });
    // An index that is added to stays what it is.
    let mut common = match base {
        Some(base) => common_annotations(&[base])?,
        None => common_annotations(&all)?,
    };
    common.extend(annotations.index.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    if !common.is_empty() {
        document["annotations"] = common.into();
    }
    let mut index = Encoded::new(media_type::INDEX, &document);
    index.descriptor.annotations.clone_from(&annotations.descriptor);
    let parts = all.iter().enumerate().map(|(number, source)| {
        let wanted = entries.iter().filter(|entry| entry.source == number);
        (*source, wanted.map(|entry| entry.descriptor.clone()).collect())
    });
    Ok(Merged { parts: parts.collect(), index })
}

/// Adds an entry to those that are there; with `append` those of the first source make room.
fn add<'a>(entries: &mut Vec<Entry<'a>>, entry: Entry<'a>, append: bool) -> Result<(), TransportError> {
    if entries
        .iter()
        .any(|known| known.platform == entry.platform && known.descriptor.digest == entry.descriptor.digest)
    {
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

/// An attestation of an image that another one has replaced is about nothing.
fn keep_attestations_of_known(entries: &mut Vec<Entry<'_>>) {
    let known: Vec<String> = entries.iter().map(|entry| entry.descriptor.digest.to_string()).collect();
    entries.retain(|entry| {
        let about = entry.descriptor.annotation(annotation::DOCKER_REFERENCE_DIGEST);
        about.is_none_or(|digest| known.iter().any(|known| known == digest))
    });
}

/// The annotations that all indexes among the sources agree on; a manifest's are its own.
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
