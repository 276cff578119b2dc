//! Pushing to a registry. Only missing content is sent, blobs first and names last, so that a reader never finds a name
//! whose content is incomplete. After a failure, another run continues with what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::event::{Event, Level, Reporter};
use crate::layout::entry::MOST_NESTED;
use crate::layout::{Layout, ReadError};
use crate::oci::name::{ImageName, RepositoryName, Wanted};
use crate::oci::{
    Descriptor, Digest, Encoded, MANIFEST_LIMIT, annotation, media_type, take_field, total_size,
};
use crate::registry::{Access, Client, Pushed, RegistryError, Repository, parallel};
use crate::sys::cancel::Cancel;
use crate::sys::fs;
use crate::text::{counted, size};

/// The number of blobs or manifests that are sent at once.
const AT_ONCE: usize = 6;

/// An image that is pushed, from any source.
pub struct Push<'a> {
    /// The client for registries.
    pub client: &'a Client,
    /// Its indexes and manifests, children before their parents; names are given to the last one.
    pub documents: &'a [Encoded],
    /// Entries of the indexes with unknown types.
    pub others: &'a [Descriptor],
    /// Layers that are not available here, since they are at their `urls`.
    pub elsewhere: &'a BTreeSet<Digest>,
    /// Returns the file with a blob's bytes; called only for blobs that must be sent.
    pub file: &'a (dyn Fn(&Descriptor, &Cancel) -> Result<PathBuf, RegistryError> + Sync),
    /// Repositories that have a blob, from which the registry can mount it.
    pub origins: &'a BTreeMap<Digest, RepositoryName>,
    /// Receives progress and remarks.
    pub reporter: &'a dyn Reporter,
}

/// The result of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Blobs that the repository had already.
    pub present: usize,
    /// Blobs that the registry mounted from another repository.
    pub mounted: usize,
    /// Blobs that were uploaded.
    pub uploaded: usize,
    /// The size of the uploaded blobs in bytes.
    pub bytes: u64,
}

/// A manifest to be pushed, with the blobs that it names.
struct Manifest<'a> {
    document: &'a Encoded,
    blobs: Vec<Descriptor>,
    /// The repository of its base, by its annotation.
    base: Option<RepositoryName>,
}

/// The verified documents of an image in a layout, children before their parents.
pub(crate) fn documents(layout: &Layout, root: &Descriptor) -> Result<Vec<Encoded>, ReadError> {
    let mut found: Vec<Encoded> = Vec::new();
    collect(layout, root, 0, &mut BTreeSet::new(), &mut found)?;
    Ok(found)
}

fn collect(
    layout: &Layout,
    entry: &Descriptor,
    depth: usize,
    seen: &mut BTreeSet<Digest>,
    found: &mut Vec<Encoded>,
) -> Result<(), ReadError> {
    if depth > MOST_NESTED {
        return Err(ReadError::TooDeep { digest: entry.digest.clone() });
    }
    if !seen.insert(entry.digest.clone()) {
        return Ok(());
    }
    let bytes = layout.document(entry)?;
    if media_type::is_index(&entry.media_type) {
        let children = children(&bytes, "manifests")
            .map_err(|source| ReadError::Document { what: entry.digest.to_string(), source })?;
        for child in children {
            collect(layout, &child, depth + 1, seen, found)?;
        }
    }
    let descriptor = Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size);
    found.push(Encoded { descriptor, bytes });
    Ok(())
}

fn children(bytes: &[u8], field: &str) -> Result<Vec<Descriptor>, serde_json::Error> {
    let mut document: Value = serde_json::from_slice(bytes)?;
    serde_json::from_value(take_field(&mut document, field))
}

/// Groups names by repository: the repositories that an image is pushed to, each with its tags. With `by_digest` the
/// image is pushed by its digest alone; otherwise a name without a tag gets `latest`.
#[must_use]
pub(crate) fn destinations(names: &[ImageName], by_digest: bool) -> BTreeMap<RepositoryName, Vec<String>> {
    let mut found: BTreeMap<RepositoryName, Vec<String>> = BTreeMap::new();
    for name in names {
        let tags = found.entry(name.repository.clone()).or_default();
        match &name.tag {
            _ if by_digest => {}
            Some(tag) => tags.push(tag.clone()),
            None => tags.push("latest".into()),
        }
    }
    for tags in found.values_mut() {
        tags.sort();
        tags.dedup();
    }
    found
}

impl Push<'_> {
    /// Pushes the image to a repository, under these tags, or under its digest if there are none.
    ///
    /// # Errors
    ///
    /// If a blob cannot be read or the registry refuses it, or if the work is cancelled.
    pub fn run(
        &self,
        to: &RepositoryName,
        tags: &[String],
        cancel: &Cancel,
    ) -> Result<Summary, RegistryError> {
        let Some((root, below)) = self.documents.split_last() else { return Ok(Summary::default()) };
        let repository = self.client.repository(to, Access::Push);
        self.documents.iter().rev().for_each(|document| repository.learn(document));
        let mut summary = Summary::default();
        // A registry accepts a document only after everything that it names, so if it has the root, it has everything.
        let complete = repository.head(Wanted::Digest(root.digest()), cancel)?.is_some();
        if !complete {
            summary = self.content(&repository, root, below, cancel)?;
        }
        for tag in tags {
            if complete {
                let now = repository.head(Wanted::Tag(tag), cancel)?;
                if now.is_some_and(|now| now.digest == *root.digest()) {
                    continue;
                }
            }
            repository.put_manifest(Wanted::Tag(tag), root, cancel)?;
        }
        if tags.is_empty() && !complete {
            repository.put_manifest(Wanted::Digest(root.digest()), root, cancel)?;
        }
        self.tell(to, tags, complete, summary);
        Ok(summary)
    }

    /// Makes sure that a repository has everything except the root.
    fn content(
        &self,
        repository: &Repository,
        root: &Encoded,
        below: &[Encoded],
        cancel: &Cancel,
    ) -> Result<Summary, RegistryError> {
        let is_index = |document: &&Encoded| media_type::is_index(&document.descriptor.media_type);
        let manifests: Vec<&Encoded> = self.documents.iter().filter(|document| !is_index(document)).collect();
        let missing = parallel::each(&manifests, AT_ONCE, cancel, |document, cancel| {
            // Whether the root exists is known already.
            if document.digest() == root.digest() {
                return Ok(true);
            }
            Ok::<bool, RegistryError>(repository.head(Wanted::Digest(document.digest()), cancel)?.is_none())
        })?;
        let mut wanted = Vec::new();
        for (document, missing) in manifests.into_iter().zip(missing) {
            if missing {
                wanted.push(manifest(document, repository.name())?);
            }
        }
        let mut summary = self.send_blobs(repository, &self.blobs(&wanted), cancel)?;
        let put = |document: &Encoded, cancel: &Cancel| {
            repository.put_manifest(Wanted::Digest(document.digest()), document, cancel).map(drop)
        };
        let documents: Vec<&Encoded> = wanted
            .iter()
            .map(|manifest| manifest.document)
            .filter(|document| document.digest() != root.digest())
            .collect();
        parallel::each(&documents, AT_ONCE, cancel, |document, cancel| put(document, cancel))?;
        for entry in self.others {
            self.other(repository, entry, &mut summary, cancel)?;
        }
        for index in below.iter().filter(is_index) {
            put(index, cancel)?;
        }
        Ok(summary)
    }

    /// The blobs of manifests, each once, with the repositories that may have them. The largest come first, so that no
    /// large one is started when all others are done.
    fn blobs<'m>(&self, wanted: &'m [Manifest<'_>]) -> Vec<(&'m Descriptor, Vec<RepositoryName>)> {
        let mut blobs: BTreeMap<&Digest, (&Descriptor, Vec<RepositoryName>)> = BTreeMap::new();
        for manifest in wanted {
            for blob in manifest.blobs.iter().filter(|blob| !self.elsewhere.contains(&blob.digest)) {
                let (_, from) = blobs.entry(&blob.digest).or_insert((blob, Vec::new()));
                let origin = self.origins.get(&blob.digest).into_iter().chain(&manifest.base);
                for origin in origin {
                    if !from.contains(origin) {
                        from.push(origin.clone());
                    }
                }
            }
        }
        let mut blobs: Vec<(&Descriptor, Vec<RepositoryName>)> = blobs.into_values().collect();
        blobs.sort_by(|a, b| b.0.size.cmp(&a.0.size).then_with(|| a.0.digest.cmp(&b.0.digest)));
        blobs
    }

    /// Makes sure that a repository has these blobs.
    fn send_blobs(
        &self,
        repository: &Repository,
        blobs: &[(&Descriptor, Vec<RepositoryName>)],
        cancel: &Cancel,
    ) -> Result<Summary, RegistryError> {
        let total = total_size(blobs.iter().map(|(blob, _)| *blob));
        let sent = AtomicU64::new(0);
        let what = repository.name().to_string();
        let pushed = parallel::each(blobs, AT_ONCE, cancel, |(blob, from), cancel| {
            let mut before = 0;
            let mut progress = |now: u64| {
                let more = now.saturating_sub(before);
                before = before.max(now);
                let done = sent.fetch_add(more, Ordering::Relaxed) + more;
                self.reporter.report(Event::Upload { what: what.clone(), done, total: Some(total) });
            };
            let provide = || (self.file)(blob, cancel);
            let how = repository.push_blob_of(blob, from, cancel, provide, &mut progress)?;
            progress(blob.size);
            Ok::<Pushed, RegistryError>(how)
        })?;
        let mut summary = Summary::default();
        for (how, (blob, _)) in pushed.into_iter().zip(blobs) {
            match how {
                Pushed::Present => summary.present += 1,
                Pushed::Mounted => summary.mounted += 1,
                Pushed::Uploaded => {
                    summary.uploaded += 1;
                    summary.bytes += blob.size;
                }
            }
        }
        Ok(summary)
    }

    /// Makes sure that a repository has an entry of an index with an unknown type. Some registries check that all
    /// entries of an index exist as manifests; others refuse a manifest of such a type, but accept it as a blob.
    fn other(
        &self,
        repository: &Repository,
        entry: &Descriptor,
        summary: &mut Summary,
        cancel: &Cancel,
    ) -> Result<(), RegistryError> {
        if repository.head(Wanted::Digest(&entry.digest), cancel)?.is_some() {
            summary.present += 1;
            return Ok(());
        }
        let file = (self.file)(entry, cancel)?;
        if entry.size <= MANIFEST_LIMIT {
            let bytes = fs::read(&file)?;
            let mut hasher = entry.digest.algorithm().hasher();
            hasher.update(&bytes);
            if hasher.finish() != entry.digest {
                return Err(RegistryError::Damaged { path: file, digest: entry.digest.clone() });
            }
            // Only JSON can be pushed and pulled as a manifest.
            let is_json = serde_json::from_slice::<Value>(&bytes).is_ok_and(|document| document.is_object());
            let document = Encoded { descriptor: entry.clone(), bytes };
            let put = || repository.put_manifest(Wanted::Digest(&entry.digest), &document, cancel);
            match if is_json { put().map(Some) } else { Ok(None) } {
                Ok(Some(_)) => {
                    summary.uploaded += 1;
                    summary.bytes += entry.size;
                    return Ok(());
                }
                Ok(None) | Err(RegistryError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match repository.push_blob_of(entry, &[], cancel, || Ok(file), &mut |_| ())? {
            Pushed::Present => summary.present += 1,
            Pushed::Mounted => summary.mounted += 1,
            Pushed::Uploaded => {
                summary.uploaded += 1;
                summary.bytes += entry.size;
            }
        }
        let text = format!(
            "{}: the index's entry {} (`{}`) is stored as a blob and not as a manifest; if the registry refuses the \
             index, leave the entry out with --platform",
            repository.name(),
            entry.digest,
            entry.media_type
        );
        self.reporter.report(Event::Note { level: Level::Warning, platform: None, text });
        Ok(())
    }

    fn tell(&self, to: &RepositoryName, tags: &[String], complete: bool, summary: Summary) {
        let names = if tags.is_empty() { String::new() } else { format!(":{}", tags.join(", :")) };
        let content = if complete {
            "it was complete already".to_owned()
        } else {
            let Summary { present, mounted, uploaded, bytes } = summary;
            let sent = counted(uploaded, "blob");
            format!("{sent} sent ({}), {mounted} mounted, {present} there already", size(bytes))
        };
        let text = format!("pushed {to}{names}: {content}");
        self.reporter.report(Event::Note { level: Level::Info, platform: None, text });
    }
}

/// The blobs that a manifest names.
fn manifest<'a>(document: &'a Encoded, to: &RepositoryName) -> Result<Manifest<'a>, RegistryError> {
    let shape =
        |reason: String| RegistryError::Document { what: format!("{to}@{}", document.digest()), reason };
    let value: Value =
        serde_json::from_slice(&document.bytes).map_err(|error| shape(format!("it is not JSON: {error}")))?;
    let config: Descriptor = serde_json::from_value(value["config"].clone())
        .map_err(|error| shape(format!("its `config`: {error}")))?;
    let mut blobs: Vec<Descriptor> = serde_json::from_value(value["layers"].clone())
        .map_err(|error| shape(format!("its `layers`: {error}")))?;
    blobs.insert(0, config);
    // A layer that may not be distributed is at its `urls`.
    blobs.retain(|blob| !blob.is_foreign());
    let base = value["annotations"][annotation::BASE_NAME].as_str();
    let base = base.and_then(|name| name.parse::<ImageName>().ok()).map(|name| name.repository);
    Ok(Manifest { document, blobs, base })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_put_together_by_their_repository() {
        let names: Vec<ImageName> = ["r.example/a:2", "r.example/a:1", "r.example/b", "r.example/a:1"]
            .map(|name| name.parse().unwrap())
            .into();
        let found = destinations(&names, false);
        let of = |name: &str| found[&name.parse::<RepositoryName>().unwrap()].clone();
        assert_eq!(
            (of("r.example/a"), of("r.example/b")),
            (vec!["1".into(), "2".into()], vec!["latest".into()])
        );
        assert!(destinations(&names, true).values().all(Vec::is_empty));
    }
}
