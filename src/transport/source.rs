//! Reading an image from any storage: documents and blobs are verified, and nothing is unpacked.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::kind::{Kind, Remote};
use super::{Blob, TransportError, partial};
use crate::layout::ReadError;
use crate::layout::choose::{self, Choice, Selector};
use crate::layout::entry::{MOST_NESTED, Platforms, is_document};
use crate::oci::name::Wanted;
use crate::oci::{Descriptor, Digest, Encoded, MANIFEST_LIMIT, annotation, media_type};
use crate::registry::Repository;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs;
use crate::target::platform::Platform;

/// The maximum number of manifests of an image.
const MOST_MANIFESTS: usize = 4096;

/// An image that is read: the document that its reference resolves to, and all that is reachable from it.
#[derive(Debug)]
pub struct Source {
    shown: String,
    kind: Kind,
    root: Descriptor,
    /// The root document, if it was made here.
    made: Option<Encoded>,
    remark: Option<String>,
    /// The entries of a layout's or archive's index: all images with their names.
    entries: Vec<Descriptor>,
    /// The entries that are this image.
    named: Vec<Descriptor>,
    /// Ends every walk.
    cancel: Cancel,
}

/// A manifest that is reachable from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The manifest, as in its index's entry.
    pub descriptor: Descriptor,
    /// Its platform, from the entry or the configuration; `None` for a manifest that is not a runnable image, such as
    /// an attestation.
    pub platform: Option<Platform>,
}

pub(super) fn parsed(bytes: &[u8], what: &str, shown: &str) -> Result<Value, TransportError> {
    serde_json::from_slice(bytes).map_err(|source| {
        TransportError::damaged(shown, ReadError::Document { what: what.to_owned(), source })
    })
}

/// The descriptors of an index.
pub(super) fn entries_of(index: &Value, what: &str, shown: &str) -> Result<Vec<Descriptor>, TransportError> {
    serde_json::from_value(index["manifests"].clone()).map_err(|source| {
        TransportError::damaged(shown, ReadError::Document { what: what.to_owned(), source })
    })
}

impl Source {
    /// The image that is selected from these entries. `place` is their location without a selector.
    pub(super) fn new(
        shown: String,
        place: &str,
        kind: Kind,
        entries: &[Descriptor],
        selector: &Selector,
        cancel: &Cancel,
    ) -> Result<Self, TransportError> {
        let mut source = Self::of_all(shown, kind, entries, cancel);
        let choice = choose::choose(entries, selector, &mut |entry| source.json(entry).ok());
        // If the work was cancelled, documents could not be read for that reason.
        cancel.check()?;
        match choice {
            Choice::Several(several) => {
                let ways = source.ways(&several);
                return Err(TransportError::Ambiguous { shown: source.shown, place: place.to_owned(), ways });
            }
            Choice::Nothing => source.root = source.referrer_of(place, selector)?,
            choice => source.turn_to(choice),
        }
        if let Selector::Name(wanted) = selector {
            source.named.retain(|entry| choose::is_named(entry, wanted));
        }
        Ok(source)
    }

    /// All entries at a location, without a selected image.
    pub(super) fn of_all(shown: String, kind: Kind, entries: &[Descriptor], cancel: &Cancel) -> Self {
        let root = Descriptor::new("", Digest::of(b""), 0);
        let (entries, named, cancel) = (entries.to_vec(), Vec::new(), cancel.clone());
        Self { shown, kind, root, entries, named, made: None, remark: None, cancel }
    }

    /// Selects this image.
    pub(super) fn turn_to(&mut self, choice: Choice) {
        let list = match choice {
            Choice::Entry(entry) => {
                (self.root, self.made) = (entry.clone(), None);
                vec![entry]
            }
            Choice::Platforms(list) => {
                let bare = |entry: &Descriptor| {
                    let mut entry = entry.clone();
                    entry.forget_entry();
                    entry
                };
                let index = Encoded::new(
                    media_type::INDEX,
                    &json!({
                        "schemaVersion": 2,
                        "mediaType": media_type::INDEX,
                        "manifests": list.iter().map(bare).collect::<Vec<_>>(),
                    }),
                );
                self.root = index.descriptor.clone();
                for key in [annotation::REF_NAME, annotation::CONTAINERD_NAME] {
                    if let Some(name) = list.first().and_then(|entry| entry.annotation(key)) {
                        self.root.annotations.insert(key.into(), name.to_owned());
                    }
                }
                self.made = Some(index);
                list
            }
            Choice::Nothing | Choice::Several(_) => return,
        };
        let digests: BTreeSet<&Digest> = list.iter().map(|entry| &entry.digest).collect();
        let is_one = |entry: &&Descriptor| digests.contains(&entry.digest);
        self.named = self.entries.iter().filter(is_one).cloned().collect();
    }

    /// The images at the location.
    pub(super) fn images(&self) -> Result<Vec<Choice>, Cancelled> {
        let images = choose::images(&self.entries, &mut |entry| self.json(entry).ok());
        self.cancel.check().map(|()| images)
    }

    fn ways(&self, several: &[Descriptor]) -> Vec<Selector> {
        choose::ways(&self.entries, several, &mut |entry| self.json(entry).ok())
    }

    /// Finds a document that no entry names: it may be a referrer of an image.
    fn referrer_of(&self, place: &str, selector: &Selector) -> Result<Descriptor, TransportError> {
        let wanted = match selector {
            Selector::Digest(digest) => {
                let known = self.listed_referrers()?.by_subject.into_values().flatten();
                if let Some(entry) = known.into_iter().find(|entry| entry.digest == *digest) {
                    return Ok(entry);
                }
                digest.to_string()
            }
            Selector::Name(name) => name.clone(),
            Selector::Only => String::new(),
        };
        let (shown, place, ways) = (self.shown.clone(), place.to_owned(), self.ways(&self.entries));
        Err(if wanted.is_empty() {
            TransportError::Ambiguous { shown, place, ways }
        } else {
            TransportError::NoName { shown, place, wanted, ways }
        })
    }

    /// The entries that are the image: one for each of its names, or those of several platforms.
    #[must_use]
    pub fn named(&self) -> &[Descriptor] {
        &self.named
    }

    /// All names that the image has: full names and tags.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut known = BTreeSet::new();
        let names = self.named.iter().flat_map(choose::names_of);
        names.filter(|name| known.insert(name.clone())).collect()
    }

    /// True if an index of the image contains another index, which podman and skopeo neither load nor copy.
    pub(crate) fn has_nested_index(&self) -> Result<bool, TransportError> {
        if !media_type::is_index(&self.root.media_type) {
            return Ok(false);
        }
        let index = self.json(&self.root)?;
        let entries = entries_of(&index, &self.root.digest.to_string(), &self.shown)?;
        Ok(entries.iter().any(|entry| media_type::is_index(&entry.media_type)))
    }

    /// True for a blob that is missing here and is at its `urls`. The registry is not asked for a layer that may not be
    /// distributed.
    pub(crate) fn lies_elsewhere(&self, blob: &Descriptor) -> Result<bool, TransportError> {
        if !blob.has_urls() {
            return Ok(false);
        }
        match self.repository_and_cancel() {
            Some((repository, cancel)) => Ok(blob.is_foreign() || !repository.has_blob(blob, cancel)?),
            None => Ok(!self.has(&blob.digest)),
        }
    }

    /// The bytes of an entry of an unknown type: in a registry it may be a blob or a manifest.
    ///
    /// # Errors
    ///
    /// If it is missing, or does not match the descriptor as far as that is known before its bytes are read.
    pub fn entry(&self, descriptor: &Descriptor) -> Result<Blob, TransportError> {
        if let Some((repository, cancel)) = self.repository_and_cancel()
            && !repository.has_blob(descriptor, cancel)?
        {
            let document = repository.manifest(Wanted::Digest(&descriptor.digest), cancel)?;
            let place = PathBuf::from(repository.name().to_string());
            if document.descriptor.size != descriptor.size {
                let (digest, expected, found) =
                    (descriptor.digest.clone(), descriptor.size, document.descriptor.size);
                return Err(self.damaged(ReadError::WrongSize { digest, path: place, expected, found }));
            }
            let bytes = Box::new(io::Cursor::new(document.bytes));
            return Ok(Blob::local(bytes, &descriptor.digest, place, self.shown.clone()));
        }
        self.blob(descriptor)
    }

    /// The document that the reference resolves to: an index or a manifest.
    #[must_use]
    pub const fn root(&self) -> &Descriptor {
        &self.root
    }

    /// The root, if it is not stored anywhere but was made of stored documents.
    pub(super) const fn made(&self) -> Option<&Encoded> {
        self.made.as_ref()
    }

    /// The entries of the layout or archive.
    pub(super) fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// Restricts the image to one of its manifests.
    pub fn narrow(&mut self, manifest: Descriptor) {
        self.root = manifest;
    }

    /// Restricts an image that an engine wrote to the part that the engine has.
    pub(super) fn keep_what_is_there(&mut self) -> Result<(), TransportError> {
        if let Some(present) = partial::present(self)? {
            self.remark = present.remark();
            (self.root, self.made) = (present.root, present.index);
        }
        Ok(())
    }

    /// A remark on the image for the user: which of its platforms an engine lacks.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// The reference, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The directory of the layout, if it is in one.
    #[must_use]
    pub fn layout(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Layout(layout) => Some(layout.root()),
            _ => None,
        }
    }

    /// Reads a document and verifies it.
    ///
    /// # Errors
    ///
    /// If it is missing or cannot be read, if it is too large or does not match the descriptor, or if the work is
    /// cancelled.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, TransportError> {
        self.cancel.check()?;
        if let Some(made) = self.made.as_ref().filter(|made| *made.digest() == descriptor.digest) {
            return Ok(made.bytes.clone());
        }
        if descriptor.size > MANIFEST_LIMIT {
            let (digest, size) = (descriptor.digest.clone(), descriptor.size);
            return Err(self.damaged(ReadError::TooLarge { digest, size }));
        }
        if let Kind::Registry(remote) = &self.kind {
            let Remote { repository, document, cancel } = &**remote;
            let is_manifest = media_type::is_index(&descriptor.media_type)
                || media_type::is_manifest(&descriptor.media_type);
            return Ok(if document.descriptor.digest == descriptor.digest {
                document.bytes.clone()
            } else if is_manifest {
                repository.manifest(Wanted::Digest(&descriptor.digest), cancel)?.bytes
            } else {
                repository.small_blob(descriptor, cancel)?
            });
        }
        let mut bytes = Vec::new();
        let mut blob = self.blob(descriptor)?;
        blob.read_to_end(&mut bytes).map_err(|error| blob.explain(error))?;
        Ok(bytes)
    }

    /// Reads, verifies and parses a document.
    ///
    /// # Errors
    ///
    /// As [`Source::document`], and if it is not JSON.
    pub fn json(&self, descriptor: &Descriptor) -> Result<Value, TransportError> {
        let bytes = self.document(descriptor)?;
        parsed(&bytes, &descriptor.digest.to_string(), &self.shown)
    }

    /// Opens a blob. Reading it to the end verifies it: the read fails if the bytes do not match the descriptor.
    ///
    /// # Errors
    ///
    /// If it is missing or has another size than in the descriptor. For a registry these errors occur only when it is
    /// read.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Blob, TransportError> {
        if let Kind::Registry(remote) = &self.kind {
            let Remote { repository, cancel, .. } = &**remote;
            return Ok(Blob::remote(repository.clone(), descriptor.clone(), cancel.clone()));
        }
        let (inner, size, path) = self.kind.read(&descriptor.digest).map_err(|error| self.damaged(error))?;
        if size != descriptor.size {
            return Err(self.damaged(ReadError::WrongSize {
                digest: descriptor.digest.clone(),
                path,
                expected: descriptor.size,
                found: size,
            }));
        }
        Ok(Blob::local(inner, &descriptor.digest, path, self.shown.clone()))
    }

    /// True if there is a file for a blob, whatever its content. Registries are not asked.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        !matches!(self.kind.read(digest), Err(ReadError::Missing { .. }))
    }

    /// The size of the file for a blob; `None` if there is none. Registries are not asked.
    pub(super) fn size_of(&self, digest: &Digest) -> Result<Option<u64>, TransportError> {
        match self.kind.read(digest) {
            Ok((_, size, _)) => Ok(Some(size)),
            Err(ReadError::Missing { .. }) => Ok(None),
            Err(error) => Err(self.damaged(error)),
        }
    }

    /// The file of a blob, if it has one of its own. Its content is not verified.
    #[must_use]
    pub fn file(&self, digest: &Digest) -> Option<PathBuf> {
        match &self.kind {
            Kind::Layout(layout) => {
                // Links are followed only by the code that reads blobs, and then only within the layout.
                let is_file = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
                Some(layout.blob(digest)).filter(is_file)
            }
            Kind::Archive { .. } | Kind::Docker { .. } | Kind::Exported { .. } | Kind::Registry(_) => None,
        }
    }

    /// The repository, if the image is in a registry.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        match &self.kind {
            Kind::Registry(remote) => Some(&remote.repository),
            Kind::Layout(_) | Kind::Archive { .. } | Kind::Docker { .. } | Kind::Exported { .. } => None,
        }
    }

    /// The same with the handle that cancels its requests.
    pub(super) fn repository_and_cancel(&self) -> Option<(&Repository, &Cancel)> {
        match &self.kind {
            Kind::Registry(remote) => Some((&remote.repository, &remote.cancel)),
            Kind::Layout(_) | Kind::Archive { .. } | Kind::Docker { .. } | Kind::Exported { .. } => None,
        }
    }

    /// The manifests below a document, in the order of the indexes; the document itself if it is a manifest. If an
    /// index lists a manifest twice it is returned twice, but an index that several indexes list is read once.
    ///
    /// # Errors
    ///
    /// If a document cannot be read or is malformed, or if there are too many manifests or too many levels of nested
    /// indexes.
    pub fn manifests(&self, root: &Descriptor) -> Result<Vec<ManifestEntry>, TransportError> {
        let (mut found, mut platforms) = (Vec::new(), Platforms::default());
        self.walk(root, 0, &mut BTreeSet::new(), &mut |entry| {
            if found.len() == MOST_MANIFESTS {
                return Err(TransportError::Shape {
                    shown: self.shown.clone(),
                    reason: format!("it has more than {MOST_MANIFESTS} manifests"),
                });
            }
            if !media_type::is_index(&entry.media_type) {
                let platform = platforms
                    .of(entry, &mut |descriptor: &Descriptor| self.json(descriptor))?
                    .map_err(|reason| self.shape(&reason))?;
                found.push(ManifestEntry { platform, descriptor: entry.clone() });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The manifest of the root that serves a platform best. If several serve it equally well, none is chosen.
    ///
    /// # Errors
    ///
    /// As [`Source::manifests`], and if none or several serve the platform.
    pub fn manifest_for(&self, platform: &Platform) -> Result<Descriptor, TransportError> {
        let manifests = self.manifests(&self.root)?;
        let offered: Vec<(&Platform, &Descriptor)> = manifests
            .iter()
            .filter_map(|entry| Some((entry.platform.as_ref()?, &entry.descriptor)))
            .collect();
        let best = platform.best(offered.iter().map(|(platform, _)| *platform));
        let mut found: Vec<(&Platform, &Descriptor)> = Vec::new();
        for (platform, descriptor) in best.into_iter().map(|at| offered[at]) {
            if !found.iter().any(|(_, known)| known.digest == descriptor.digest) {
                found.push((platform, descriptor));
            }
        }
        match found.as_slice() {
            [] => Err(TransportError::NoPlatform {
                shown: self.shown.clone(),
                wanted: platform.clone(),
                available: offered.iter().map(|(platform, _)| platform.to_string()).collect(),
            }),
            [(_, only)] => Ok((*only).clone()),
            several => Err(TransportError::SeveralForPlatform {
                shown: self.shown.clone(),
                wanted: platform.clone(),
                found: several
                    .iter()
                    .map(|(platform, descriptor)| ((*platform).clone(), descriptor.digest.clone()))
                    .collect(),
            }),
        }
    }

    /// The platform that distinguishes an image from others. Older tools omit the version of Windows from the index;
    /// only the configuration has it then.
    pub(super) fn identity(&self, entry: &ManifestEntry) -> Result<Option<Platform>, TransportError> {
        let Some(platform) = &entry.platform else { return Ok(None) };
        if platform.os() != "windows" || platform.os_version().is_some() {
            return Ok(Some(platform.clone()));
        }
        let manifest = self.json(&entry.descriptor)?;
        let Ok(config) = serde_json::from_value::<Descriptor>(manifest["config"].clone()) else {
            return Ok(Some(platform.clone()));
        };
        let told = Platform::of_config(&self.json(&config)?).filter(|told| told.agrees(platform));
        Ok(Some(told.unwrap_or_else(|| platform.clone())))
    }

    /// All documents and blobs that are reachable from a document, each once. Children come before their parents, so
    /// that writing them in this order never leaves a document with missing children.
    ///
    /// # Errors
    ///
    /// If a document cannot be read or is malformed, or if there are too many levels of nested indexes.
    pub fn reachable(&self, root: &Descriptor) -> Result<Vec<Item>, TransportError> {
        let mut items: Vec<Item> = Vec::new();
        let mut seen = BTreeSet::new();
        self.collect(root, 0, &mut seen, &mut items)?;
        Ok(items)
    }

    fn collect(
        &self,
        descriptor: &Descriptor,
        depth: usize,
        seen: &mut BTreeSet<Digest>,
        items: &mut Vec<Item>,
    ) -> Result<(), TransportError> {
        if !seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        let named = self.with_media_type(descriptor);
        let descriptor = &named;
        let is_index = media_type::is_index(&descriptor.media_type);
        if !is_document(descriptor) {
            items.push(Item::Entry(descriptor.clone()));
            return Ok(());
        }
        if depth > MOST_NESTED {
            return Err(self.damaged(ReadError::TooDeep { digest: descriptor.digest.clone() }));
        }
        let bytes = self.document(descriptor)?;
        let document = parsed(&bytes, &descriptor.digest.to_string(), &self.shown)?;
        for child in self.children(&document, descriptor, is_index)? {
            if is_index {
                self.collect(&child, depth + 1, seen, items)?;
            } else if seen.insert(child.digest.clone()) && !self.lies_elsewhere(&child)? {
                items.push(Item::Blob(child));
            }
        }
        items.push(Item::Document { descriptor: descriptor.clone(), bytes });
        Ok(())
    }

    /// Sets the media type of an entry that lacks one: it is determined from the content.
    fn with_media_type(&self, descriptor: &Descriptor) -> Descriptor {
        let mut named = descriptor.clone();
        if named.media_type.is_empty()
            && let Ok(document) = self.json(descriptor)
        {
            let guess = [("manifests", media_type::INDEX), ("config", media_type::MANIFEST)];
            let guess = guess.into_iter().find(|(field, _)| !document[*field].is_null());
            let told = document["mediaType"].as_str().or(guess.map(|(_, media)| media));
            told.unwrap_or_default().clone_into(&mut named.media_type);
        }
        named
    }

    /// What a document refers to: an index's entries, or a manifest's configuration and layers.
    fn children(
        &self,
        document: &Value,
        descriptor: &Descriptor,
        is_index: bool,
    ) -> Result<Vec<Descriptor>, TransportError> {
        if is_index {
            return entries_of(document, &descriptor.digest.to_string(), &self.shown);
        }
        let field = |name: &str, value: Value| -> Result<Descriptor, TransportError> {
            serde_json::from_value(value)
                .map_err(|error| self.shape(&format!("`{name}` of {}: {error}", descriptor.digest)))
        };
        let mut children = vec![field("config", document["config"].clone())?];
        let layers = document["layers"].as_array().cloned().unwrap_or_default();
        for layer in layers {
            children.push(field("layers", layer)?);
        }
        Ok(children)
    }

    /// Calls `visit` for a document and all indexes and manifests below it. An index that is listed several times is
    /// read once.
    fn walk(
        &self,
        entry: &Descriptor,
        depth: usize,
        seen: &mut BTreeSet<Digest>,
        visit: &mut dyn FnMut(&Descriptor) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        visit(entry)?;
        if !media_type::is_index(&entry.media_type) {
            return Ok(());
        }
        if depth == MOST_NESTED {
            return Err(self.damaged(ReadError::TooDeep { digest: entry.digest.clone() }));
        }
        if !seen.insert(entry.digest.clone()) {
            return Ok(());
        }
        let index = self.json(entry)?;
        for entry in entries_of(&index, &entry.digest.to_string(), &self.shown)? {
            self.walk(&entry, depth + 1, seen, visit)?;
        }
        Ok(())
    }

    fn damaged(&self, source: ReadError) -> TransportError {
        TransportError::damaged(&self.shown, source)
    }

    pub(super) fn shape(&self, reason: &str) -> TransportError {
        TransportError::Shape { shown: self.shown.clone(), reason: reason.to_owned() }
    }
}

/// An item that is reachable from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An index or a manifest, which was read.
    Document {
        /// Its descriptor.
        descriptor: Descriptor,
        /// Its bytes, verified.
        bytes: Vec<u8>,
    },
    /// A configuration, a layer or anything else that a manifest names; [`Source::blob`] reads it.
    Blob(Descriptor),
    /// An entry of an index of an unknown type; [`Source::entry`] reads it.
    Entry(Descriptor),
}
