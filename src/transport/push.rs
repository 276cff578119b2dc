//! Writing an image from any source to a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Blob, Image, Item, Opener, Source, TransportError};
use crate::event::{Event, Level, Reporter};
use crate::layout::LayoutError;
use crate::oci::name::{ImageName, RepositoryName, Wanted};
use crate::oci::{Descriptor, Digest, Encoded, take_field};
use crate::output::push::{self, Push};
use crate::registry::{Access, RegistryError};
use crate::sys::cancel::Cancel;
use crate::sys::fs;

impl Opener<'_> {
    /// Writes an image to a repository, under a tag unless the name has only a digest. Blobs that the repository has
    /// already are not even read. Referrers are written first, so that anyone who sees the tag also finds the
    /// signature.
    pub(super) fn push(
        &self,
        image: &Image<'_>,
        name: &ImageName,
        reporter: &dyn Reporter,
    ) -> Result<(), TransportError> {
        for referrer in &image.referrers {
            let entry = &referrer.document.descriptor;
            let parts = [(referrer.source, vec![entry.clone()])];
            self.send(&parts, None, &name.repository, &[], reporter)?;
            let repository = self.registry.repository(&name.repository, Access::Push);
            repository.put_referrer(&referrer.subject, &referrer.document, entry, self.cancel)?;
        }
        let by_digest = name.tag.is_none() && name.digest.is_some();
        for (repository, tags) in push::destinations(std::slice::from_ref(name), by_digest) {
            self.send(&image.parts, image.document.as_ref(), &repository, &tags, reporter)?;
        }
        Ok(())
    }

    /// Sends documents of some sources, and one of our own that refers to them.
    fn send(
        &self,
        parts: &[(&Source, Vec<Descriptor>)],
        own: Option<&Encoded>,
        to: &RepositoryName,
        tags: &[String],
        reporter: &dyn Reporter,
    ) -> Result<(), TransportError> {
        let mut blobs: BTreeMap<Digest, (&Source, Read)> = BTreeMap::new();
        let (mut documents, mut others): (Vec<Encoded>, Vec<Descriptor>) = (Vec::new(), Vec::new());
        for (source, wanted) in parts {
            for root in wanted {
                for item in source.reachable(root)? {
                    match item {
                        Item::Blob(descriptor) => {
                            blobs.insert(descriptor.digest, (source, Source::blob));
                        }
                        Item::Entry(descriptor) => {
                            blobs.insert(descriptor.digest.clone(), (source, Source::entry));
                            others.push(descriptor);
                        }
                        Item::Document { descriptor, bytes } => {
                            let known = |known: &Encoded| *known.digest() == descriptor.digest;
                            if !documents.iter().any(known) {
                                documents.push(Encoded { descriptor, bytes });
                            }
                        }
                    }
                }
            }
        }
        documents.extend(own.cloned());
        let elsewhere = elsewhere(&documents, &blobs);
        let origins: BTreeMap<Digest, RepositoryName> = blobs
            .iter()
            .filter_map(|(digest, (source, _))| Some((digest.clone(), source.repository()?.name().clone())))
            .collect();
        let scratch =
            fs::scratch_dir().map_err(|source| TransportError::Io { shown: to.to_string(), source })?;
        // Our own error for a blob that could not be read.
        let failure: Mutex<Option<TransportError>> = Mutex::new(None);
        let file = |blob: &Descriptor, cancel: &Cancel| {
            let source = blobs.get(&blob.digest).copied();
            let path = scratch.path().join(blob.digest.hex());
            in_a_file(source, blob, path, cancel).map_err(|error| {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                RegistryError::Io(io::Error::other("a blob cannot be read"))
            })
        };
        let push = Push {
            client: self.registry,
            documents: &documents,
            others: &others,
            elsewhere: &elsewhere,
            file: &file,
            origins: &origins,
            reporter,
        };
        if let Err(error) = push.run(to, tags, self.cancel) {
            let own = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(own.unwrap_or_else(|| error.into()));
        }
        Ok(())
    }
}

impl Opener<'_> {
    /// Adds tags to an image in a registry, in the same repository: the document's own bytes are stored under each tag,
    /// unless the tag has them already. Returns the image's digest.
    ///
    /// # Errors
    ///
    /// If the image does not exist, if the registry cannot be reached or refuses a tag, or if the work is cancelled.
    pub fn tag_in_registry(
        &self,
        name: &ImageName,
        tags: &[String],
        reporter: &dyn Reporter,
    ) -> Result<Digest, TransportError> {
        // Read from the registry that is written to, and not from a mirror, which may have another document.
        let repository = self.registry.repository(&name.repository, Access::Push);
        let document = repository.manifest(name.wanted(), self.cancel)?;
        for tag in tags {
            let now = repository.head(Wanted::Tag(tag), self.cancel)?.map(|now| now.digest);
            let how = match &now {
                Some(now) if now == document.digest() => "was this image already".to_owned(),
                Some(other) => format!("was {other} before"),
                None => "is new".to_owned(),
            };
            if now.as_ref() != Some(document.digest()) {
                repository.put_manifest(Wanted::Tag(tag), &document, self.cancel)?;
            }
            let text = format!("{}:{tag} {how}", name.repository);
            reporter.report(Event::Note { level: Level::Info, platform: None, text });
        }
        Ok(document.digest().clone())
    }
}

/// The layers that no source has, since they are at their `urls`.
fn elsewhere<T>(documents: &[Encoded], blobs: &BTreeMap<Digest, T>) -> BTreeSet<Digest> {
    let manifests =
        documents.iter().filter_map(|document| serde_json::from_slice::<Value>(&document.bytes).ok());
    let layers = manifests.flat_map(|mut manifest| {
        serde_json::from_value::<Vec<Descriptor>>(take_field(&mut manifest, "layers")).unwrap_or_default()
    });
    layers
        .filter(|layer| layer.has_urls() && !blobs.contains_key(&layer.digest))
        .map(|layer| layer.digest)
        .collect()
}

/// A function that opens a blob of a source.
type Read = fn(&Source, &Descriptor) -> Result<Blob, TransportError>;

/// The file with a blob's bytes: its own, or one that is made.
fn in_a_file(
    source: Option<(&Source, Read)>,
    blob: &Descriptor,
    path: PathBuf,
    cancel: &Cancel,
) -> Result<PathBuf, TransportError> {
    let (source, read) = source.ok_or_else(|| TransportError::Missing(blob.digest.to_string()))?;
    if let Some(own) = source.file(&blob.digest) {
        return Ok(own);
    }
    let failed = |source| TransportError::Layout(LayoutError::Io { path: path.clone(), source });
    let mut file = fs::File::create(&path).map_err(failed)?;
    read(source, blob)?.copy(&mut file, cancel, failed)?;
    Ok(path)
}
