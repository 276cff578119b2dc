//! Referrers of an image: signatures, SBOMs and other manifests whose `subject` is one of the image's documents
//! ([distribution
//! specification](https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers)).
//!
//! A registry lists them, or has an index of them under a tag that is made of the subject's digest. In a layout that we
//! write, an annotation of the image's entry names an index of them: podman and skopeo take the only entry of
//! `index.json` for the image and refuse to choose among several. Other programs write them as entries without a name,
//! or as an index under that same tag; these are read, too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::inspect::artifact;
use super::source::entries_of;
use super::{ArtifactInspection, Image, Item, Source, TransportError};
use crate::layout::choose::names_of;
use crate::layout::entry::is_document;
use crate::oci::{Descriptor, Digest, Encoded, annotation, media_type};
use crate::registry::referrers_tag;

/// The maximum number of referrers of an image.
const MOST: usize = 4096;

/// A manifest that refers to a document of an image.
#[derive(Clone, Debug)]
pub struct Referrer<'a> {
    /// The source that it is read from.
    pub source: &'a Source,
    /// The document that it refers to.
    pub subject: Digest,
    /// The manifest. Its descriptor is the entry of a list of referrers, with artifact type and annotations.
    pub document: Encoded,
}

/// The referrers in a layout or an archive.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// By the document that they refer to.
    pub(super) by_subject: BTreeMap<Digest, Vec<Descriptor>>,
    /// Its indexes by their names, any of which may be a list of referrers.
    by_tag: BTreeMap<String, BTreeMap<Digest, Descriptor>>,
}

impl Image<'_> {
    /// Adds the referrers in the image's own layout or archive; registries are not asked.
    pub(super) fn with_listed_referrers(self) -> Result<Self, TransportError> {
        if self.parts.iter().any(|(source, _)| source.repository().is_some()) {
            return Ok(self);
        }
        self.with_referrers()
    }

    /// Adds all manifests that refer to one of its documents, and recursively their referrers.
    ///
    /// # Errors
    ///
    /// If the referrers cannot be listed or read.
    pub fn with_referrers(mut self) -> Result<Self, TransportError> {
        let mut found: Vec<Referrer<'_>> = Vec::new();
        for (source, wanted) in &self.parts {
            let mut open: Vec<Digest> = Vec::new();
            // An index that was reduced to some platforms has a new digest, and no referrers yet.
            for root in wanted {
                for item in source.reachable(root)? {
                    if let Item::Document { descriptor, .. } = item {
                        open.push(descriptor.digest);
                    }
                }
            }
            let listed = source.listed_referrers()?;
            let mut seen: BTreeSet<Digest> = open.iter().cloned().collect();
            while let Some(subject) = open.pop() {
                for descriptor in source.referrers_of(&subject, &listed)? {
                    if !seen.insert(descriptor.digest.clone()) {
                        continue;
                    }
                    open.push(descriptor.digest.clone());
                    if found.len() == MOST {
                        return Err(source.shape(&format!("it has more than {MOST} referrers")));
                    }
                    found.push(source.referrer(&descriptor, &subject)?);
                }
            }
        }
        found.sort_by(|a, b| (&a.subject, a.document.digest()).cmp(&(&b.subject, b.document.digest())));
        self.referrers = found;
        Ok(self)
    }

    /// The list of the referrers that are written along, for the image's entry.
    pub(super) fn list_of_referrers(&self, known: Vec<Descriptor>) -> Option<Encoded> {
        let mut entries = known;
        for referrer in &self.referrers {
            let entry = &referrer.document.descriptor;
            entries.retain(|known| known.digest != entry.digest);
            entries.push(entry.clone());
        }
        entries.sort_by(|a, b| a.digest.cmp(&b.digest));
        let list = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries });
        (!entries.is_empty()).then(|| Encoded::new(media_type::INDEX, &list))
    }
}

impl Referrer<'_> {
    /// Its data for `xbuild inspect`.
    pub(super) fn inspected(&self) -> ArtifactInspection {
        let document = serde_json::from_slice(&self.document.bytes).unwrap_or_default();
        let entry = &self.document.descriptor;
        let kind = entry.other.get("artifactType").and_then(Value::as_str).unwrap_or_default();
        artifact(entry, &document, kind)
    }
}

impl Source {
    /// The entries of a layout or archive that have a subject, and those of lists, by their subject. Each document and
    /// each list is read once, however many entries refer to it.
    pub(super) fn listed_referrers(&self) -> Result<Listed, TransportError> {
        let mut found = Listed::default();
        let mut subjects: BTreeMap<Digest, Option<Digest>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        let mut add = |entry: Descriptor, found: &mut Listed| -> Result<(), TransportError> {
            if !subjects.contains_key(&entry.digest) {
                subjects.insert(entry.digest.clone(), self.subject_of(&entry)?);
            }
            if let Some(subject) = &subjects[&entry.digest]
                && known.insert((subject.clone(), entry.digest.clone()))
            {
                found.by_subject.entry(subject.clone()).or_default().push(entry);
            }
            Ok(())
        };
        let mut lists = BTreeSet::new();
        for entry in self.entries() {
            add(entry.clone(), &mut found)?;
            if media_type::is_index(&entry.media_type) {
                for name in names_of(entry) {
                    found.by_tag.entry(name).or_default().insert(entry.digest.clone(), entry.clone());
                }
            }
            if entry.annotation(annotation::REFERRERS).is_some_and(|list| lists.insert(list.to_owned())) {
                for listed in self.list_at(entry)? {
                    add(listed, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    /// The list of referrers that an entry names; empty if it is missing, since a tool that cleans up a layout without
    /// knowing the list removes it.
    pub(super) fn list_at(&self, entry: &Descriptor) -> Result<Vec<Descriptor>, TransportError> {
        let list = entry.annotation(annotation::REFERRERS).and_then(|digest| digest.parse().ok());
        let Some(digest): Option<Digest> = list else { return Ok(Vec::new()) };
        let Some(size) = self.size_of(&digest)? else { return Ok(Vec::new()) };
        let list = self.json(&Descriptor::new(media_type::INDEX, digest.clone(), size))?;
        entries_of(&list, &digest.to_string(), self.shown())
    }

    /// The subject of a document.
    pub(super) fn subject_of(&self, entry: &Descriptor) -> Result<Option<Digest>, TransportError> {
        if self.repository().is_some() || !is_document(entry) {
            return Ok(None);
        }
        Ok(subject(&self.json(entry)?))
    }

    fn referrers_of(&self, subject: &Digest, listed: &Listed) -> Result<Vec<Descriptor>, TransportError> {
        if let Some((repository, cancel)) = self.repository_and_cancel() {
            return Ok(repository.referrers(subject, None, cancel)?);
        }
        let mut found = listed.by_subject.get(subject).cloned().unwrap_or_default();
        for index in listed.by_tag.get(&referrers_tag(subject)).into_iter().flatten().map(|(_, index)| index)
        {
            found.extend(entries_of(&self.json(index)?, &index.digest.to_string(), self.shown())?);
        }
        Ok(found)
    }

    /// The manifest of an entry of a list, whose own `subject` must be this document.
    fn referrer(&self, entry: &Descriptor, about: &Digest) -> Result<Referrer<'_>, TransportError> {
        if !is_document(entry) {
            return Err(self.shape(&format!(
                "{} is listed as a referrer, but is a `{}`",
                entry.digest, entry.media_type
            )));
        }
        let bytes = self.document(entry)?;
        let document: Value = serde_json::from_slice(&bytes)
            .map_err(|error| self.shape(&format!("{} is not JSON: {error}", entry.digest)))?;
        if subject(&document).as_ref() != Some(about) {
            return Err(self.shape(&format!(
                "{} is listed as a referrer of {about}, but does not refer to it",
                entry.digest
            )));
        }
        let mut descriptor = Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size);
        let own = document["artifactType"].as_str().filter(|own| !own.is_empty());
        if let Some(kind) = own.or_else(|| document["config"]["mediaType"].as_str()) {
            descriptor.other.insert("artifactType".into(), json!(kind));
        }
        if let Ok(annotations) = serde_json::from_value(document["annotations"].clone()) {
            descriptor.annotations = annotations;
        }
        // In a layout's index these would give the entry a name.
        descriptor.annotations.remove(annotation::REF_NAME);
        descriptor.annotations.remove(annotation::CONTAINERD_NAME);
        Ok(Referrer { source: self, subject: about.clone(), document: Encoded { descriptor, bytes } })
    }
}

fn subject(document: &Value) -> Option<Digest> {
    document["subject"]["digest"].as_str()?.parse().ok()
}
