//! Reading an image, wherever it is: documents and blobs that were verified, and nothing unpacked.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::docker_archive::DockerArchive;
use super::members::Members;
use super::{Blob, Selector, TransportError, partial};
use crate::layout::{Layout, ReadError};
use crate::oci::{Descriptor, Digest, Encoded, MANIFEST_LIMIT, annotation, media_type};
use crate::platform::Platform;
use crate::registry::{Repository, Wanted};
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, TempDir};

/// Indexes inside of indexes are followed this deep.
const MOST_NESTED: usize = 8;
/// No image has as many manifests.
const MOST_MANIFESTS: usize = 4096;

/// An image that is read: the document that its reference means, and all that this leads to.
#[derive(Debug)]
pub struct Source {
    shown: String,
    kind: Kind,
    root: Descriptor,
    /// The root's bytes, where they were made here.
    made: Option<Encoded>,
    remark: Option<String>,
    /// Of a layout's or archive's index: every image with its names.
    entries: Vec<Descriptor>,
}

/// What the image is in.
#[derive(Debug)]
pub(super) enum Kind {
    Layout(Layout),
    Archive {
        path: PathBuf,
        members: Members,
    },
    Docker {
        path: PathBuf,
        archive: DockerArchive,
    },
    /// A repository, with the document that the reference means.
    Registry(Box<Remote>),
    /// An archive that an engine wrote, and the folder that it is in.
    Exported {
        inner: Box<Kind>,
        _folder: TempDir,
    },
}

/// A repository of a registry.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) repository: Repository,
    /// What the reference means.
    pub(super) document: Encoded,
    pub(super) cancel: Cancel,
}

/// A manifest that an image leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// The manifest, as its index's entry has it.
    pub descriptor: Descriptor,
    /// Its platform, from the entry or the configuration; `None` for what is no image to run, such as an attestation.
    pub platform: Option<Platform>,
}

/// The names of an entry: its tag, and its whole name.
#[must_use]
pub fn names_of(entry: &Descriptor) -> Vec<String> {
    [annotation::CONTAINERD_NAME, annotation::REF_NAME]
        .iter()
        .filter_map(|key| entry.annotation(key).map(ToOwned::to_owned))
        .collect()
}

/// True if an entry has this tag or whole name. A name that Docker completes is the completed one.
pub(super) fn is_named(entry: &Descriptor, wanted: &str) -> bool {
    let names = names_of(entry);
    let full = wanted.parse::<crate::oci::Reference>().ok().and_then(|reference| reference.name());
    names.iter().any(|name| name == wanted || Some(name) == full.as_ref())
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
    /// The image of these entries that is meant.
    pub(super) fn new(
        shown: String,
        kind: Kind,
        entries: &[Descriptor],
        selector: &Selector,
    ) -> Result<Self, TransportError> {
        let root = Descriptor::new("", Digest::of(b""), 0);
        let mut source = Self { shown, kind, root, entries: entries.to_vec(), made: None, remark: None };
        source.root = source.choose(entries, selector)?;
        Ok(source)
    }

    /// The document that the reference means: an index or a manifest.
    #[must_use]
    pub const fn root(&self) -> &Descriptor {
        &self.root
    }

    /// The entries of the layout or archive that it is in.
    pub(super) fn entries(&self) -> &[Descriptor] {
        &self.entries
    }

    /// Looks at one manifest of the image alone from now on.
    pub fn narrow(&mut self, manifest: Descriptor) {
        self.root = manifest;
    }

    /// Of an image that an engine wrote, looks from now on at what the engine has of it.
    pub(super) fn keep_what_is_there(&mut self) -> Result<(), TransportError> {
        if let Some(present) = partial::present(self)? {
            self.remark = present.remark();
            (self.root, self.made) = (present.root, present.index);
        }
        Ok(())
    }

    /// What a person should know of the image besides what is in it: which of its platforms an engine lacks.
    #[must_use]
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// The reference, for messages.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The folder of the layout that it is in, if it is in one.
    #[must_use]
    pub fn layout(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Layout(layout) => Some(layout.root()),
            _ => None,
        }
    }

    /// The document, verified.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, TransportError> {
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

    /// The document, verified and parsed.
    pub fn json(&self, descriptor: &Descriptor) -> Result<Value, TransportError> {
        let bytes = self.document(descriptor)?;
        parsed(&bytes, &descriptor.digest.to_string(), &self.shown)
    }

    /// The bytes of a blob. Reading them to the end verifies them: it fails where they are not what the descriptor
    /// says.
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

    /// True if there is a file for a blob, whatever is in it. Registries are not asked.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        !matches!(self.kind.read(digest), Err(ReadError::Missing { .. }))
    }

    /// The file of a blob, where it has one of its own. Nothing of it is verified.
    #[must_use]
    pub fn file(&self, digest: &Digest) -> Option<PathBuf> {
        match &self.kind {
            Kind::Layout(layout) => Some(layout.blob(digest)).filter(|path| path.is_file()),
            Kind::Archive { .. } | Kind::Docker { .. } | Kind::Exported { .. } | Kind::Registry(_) => None,
        }
    }

    /// The repository, where the image is in a registry.
    #[must_use]
    pub fn repository(&self) -> Option<&Repository> {
        match &self.kind {
            Kind::Registry(remote) => Some(&remote.repository),
            Kind::Layout(_) | Kind::Archive { .. } | Kind::Docker { .. } | Kind::Exported { .. } => None,
        }
    }

    /// The same with what ends its waits.
    pub(super) fn repository_and_cancel(&self) -> Option<(&Repository, &Cancel)> {
        match &self.kind {
            Kind::Registry(remote) => Some((&remote.repository, &remote.cancel)),
            Kind::Layout(_) | Kind::Archive { .. } | Kind::Docker { .. } | Kind::Exported { .. } => None,
        }
    }

    /// The manifests below a document, in the order of the indexes; the document itself if it is a manifest.
    pub fn manifests(&self, root: &Descriptor) -> Result<Vec<ManifestEntry>, TransportError> {
        let mut found = Vec::new();
        self.walk(root, 0, &mut |entry| {
            if found.len() == MOST_MANIFESTS {
                return Err(TransportError::Shape {
                    shown: self.shown.clone(),
                    reason: format!("it has more than {MOST_MANIFESTS} manifests"),
                });
            }
            if !media_type::is_index(&entry.media_type) {
                found.push(ManifestEntry { platform: self.platform_of(entry)?, descriptor: entry.clone() });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The manifest of the root that serves a platform best.
    pub fn manifest_for(&self, platform: &Platform) -> Result<Descriptor, TransportError> {
        let manifests = self.manifests(&self.root)?;
        let offered =
            manifests.iter().filter_map(|entry| Some((entry.platform.as_ref()?, &entry.descriptor)));
        let best = offered
            .clone()
            .filter_map(|(offered, descriptor)| Some((platform.rank(offered)?, descriptor)))
            .min_by_key(|(rank, _)| *rank);
        best.map(|(_, descriptor)| descriptor.clone()).ok_or_else(|| TransportError::NoPlatform {
            shown: self.shown.clone(),
            wanted: platform.clone(),
            available: offered.map(|(platform, _)| platform.to_string()).collect(),
        })
    }

    /// The platform that an entry tells, else its configuration; `None` for an attestation and the like.
    fn platform_of(&self, entry: &Descriptor) -> Result<Option<Platform>, TransportError> {
        if entry.annotation(annotation::DOCKER_REFERENCE_TYPE).is_some() {
            return Ok(None);
        }
        let known = entry.platform.as_ref().filter(|platform| !platform.os.is_empty());
        let (os, architecture, variant) = if let Some(platform) = known {
            (platform.os.clone(), platform.architecture.clone(), platform.variant.clone())
        } else {
            let manifest = self.json(entry)?;
            let config: Descriptor = serde_json::from_value(manifest["config"].clone())
                .map_err(|error| self.shape(&format!("`config` of {}: {error}", entry.digest)))?;
            if !matches!(config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG) {
                return Ok(None);
            }
            let config = self.json(&config)?;
            let text = |key: &str| config[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            (text("os").unwrap_or_default(), text("architecture").unwrap_or_default(), text("variant"))
        };
        if os.is_empty() || os == "unknown" {
            return Ok(None);
        }
        Ok(Some(Platform::new(&os, &architecture, variant.as_deref())))
    }

    /// Every document and blob that is reachable from a document, each once, children before their parents, so that
    /// whoever writes them in this order never has a document that leads nowhere.
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
        let is_index = media_type::is_index(&descriptor.media_type);
        if !is_index && !media_type::is_manifest(&descriptor.media_type) {
            items.push(Item::Blob(descriptor.clone()));
            return Ok(());
        }
        if depth > MOST_NESTED {
            return Err(self.damaged(ReadError::TooDeep { digest: descriptor.digest.clone() }));
        }
        let bytes = self.document(descriptor)?;
        let document = parsed(&bytes, &descriptor.digest.to_string(), &self.shown)?;
        for child in self.children(&document, descriptor, is_index)? {
            self.collect(&child, depth + 1, seen, items)?;
        }
        items.push(Item::Document { descriptor: descriptor.clone(), bytes });
        Ok(())
    }

    /// What a document leads to: an index's entries, or a manifest's configuration and layers.
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

    /// Calls `visit` for a document and all indexes and manifests below it.
    fn walk(
        &self,
        entry: &Descriptor,
        depth: usize,
        visit: &mut dyn FnMut(&Descriptor) -> Result<(), TransportError>,
    ) -> Result<(), TransportError> {
        visit(entry)?;
        if !media_type::is_index(&entry.media_type) {
            return Ok(());
        }
        if depth == MOST_NESTED {
            return Err(self.damaged(ReadError::TooDeep { digest: entry.digest.clone() }));
        }
        let index = self.json(entry)?;
        for entry in entries_of(&index, &entry.digest.to_string(), &self.shown)? {
            self.walk(&entry, depth + 1, visit)?;
        }
        Ok(())
    }

    /// The entry that is meant.
    pub(super) fn choose(
        &self,
        entries: &[Descriptor],
        selector: &Selector,
    ) -> Result<Descriptor, TransportError> {
        let available = || {
            let mut names: Vec<String> = entries
                .iter()
                .map(|entry| names_of(entry).pop().unwrap_or_else(|| entry.digest.to_string()))
                .collect();
            names.dedup();
            names
        };
        let shown = self.shown.clone();
        match selector {
            Selector::Only => match entries {
                [first, rest @ ..] if rest.iter().all(|entry| entry.digest == first.digest) => {
                    Ok(first.clone())
                }
                _ => {
                    // What refers to the image is not the image; what cannot be read may be one.
                    let mut images: Vec<&Descriptor> = Vec::new();
                    for entry in entries {
                        let referrer =
                            names_of(entry).is_empty() && matches!(self.subject_of(entry), Ok(Some(_)));
                        if !referrer && !images.iter().any(|known| known.digest == entry.digest) {
                            images.push(entry);
                        }
                    }
                    match images.as_slice() {
                        [image] => Ok((*image).clone()),
                        _ => Err(TransportError::Ambiguous { shown, available: available() }),
                    }
                }
            },
            Selector::Name(wanted) => {
                entries.iter().find(|entry| is_named(entry, wanted)).cloned().ok_or_else(|| {
                    TransportError::NoName { shown, wanted: wanted.clone(), available: available() }
                })
            }
            Selector::Digest(wanted) => {
                let mut found = None;
                for entry in entries {
                    self.walk(entry, 0, &mut |entry| {
                        if found.is_none() && entry.digest == *wanted {
                            found = Some(entry.clone());
                        }
                        Ok(())
                    })?;
                }
                found.ok_or_else(|| TransportError::NoName {
                    shown,
                    wanted: wanted.to_string(),
                    available: available(),
                })
            }
        }
    }

    fn damaged(&self, source: ReadError) -> TransportError {
        TransportError::damaged(&self.shown, source)
    }

    pub(super) fn shape(&self, reason: &str) -> TransportError {
        TransportError::Shape { shown: self.shown.clone(), reason: reason.to_owned() }
    }
}

/// Something that an image leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An index or a manifest, which was read.
    Document {
        /// Its descriptor.
        descriptor: Descriptor,
        /// Its bytes, verified.
        bytes: Vec<u8>,
    },
    /// A configuration, a layer or whatever else a manifest names; [`Source::blob`] reads it.
    Blob(Descriptor),
}

impl Kind {
    /// A blob's bytes, their count, and the file that they are in.
    fn read(&self, digest: &Digest) -> Result<(Box<dyn Read + Send>, u64, PathBuf), ReadError> {
        let missing = |path: &Path| ReadError::Missing { digest: digest.clone(), path: path.to_owned() };
        match self {
            Self::Layout(layout) => {
                let path = layout.blob(digest);
                let metadata = fs::metadata(&path).map_err(|_| missing(&path))?;
                // Also what is no regular file: opening a pipe would wait for its other end.
                if !metadata.is_file() {
                    return Err(missing(&path));
                }
                let file = fs::File::open(&path)?;
                Ok((Box::new(file), metadata.len(), path))
            }
            Self::Archive { path, members } => {
                let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
                let (section, size) =
                    members.read(&name).zip(members.size(&name)).ok_or_else(|| missing(path))?;
                Ok((Box::new(section), size, path.clone()))
            }
            Self::Docker { path, archive } => {
                let (bytes, size) = archive.read(digest).ok_or_else(|| missing(path))?;
                Ok((bytes, size, path.clone()))
            }
            Self::Exported { inner, .. } => inner.read(digest),
            // Never asked: what a repository has is not in a file.
            Self::Registry(remote) => Err(missing(Path::new(&remote.repository.name().to_string()))),
        }
    }
}
