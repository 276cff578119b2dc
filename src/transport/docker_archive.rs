//! What `docker save` writes, read as if it were OCI documents.
//!
//! The format ([Docker image specification 1.2](https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md))
//! has a configuration and layers, but no manifest. One is made here, the same for the same content, so that all else
//! can treat the archive as a layout. The configuration's bytes stay as they are: its digest is Docker's image ID.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;
use serde_json::{Value, json};

use super::TransportError;
use super::members::Members;
use crate::archive::Packing;
use crate::layout::ReadError;
use crate::oci::{Algorithm, Descriptor, Digest, Encoded, MANIFEST_LIMIT, annotation, media_type};
use crate::platform::Platform;
use crate::sys::cancel::Cancel;

const MANIFEST: &str = "manifest.json";

/// An archive of `docker save`, its documents made and its blobs found.
#[derive(Debug)]
pub(super) struct DockerArchive {
    members: Members,
    /// The manifests that were made.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// The names of the other blobs in the archive.
    blobs: BTreeMap<Digest, String>,
}

/// An element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerArchive {
    /// True if the archive is one of Docker's.
    pub(super) fn is_one(members: &Members) -> bool {
        members.has(MANIFEST)
    }

    /// Reads `manifest.json`, and makes the manifest of each image. Returns an entry for each of their names, as an
    /// OCI layout's index has them.
    pub(super) fn open(
        members: Members,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<(Self, Vec<Descriptor>), TransportError> {
        let mut archive = Self { members, documents: BTreeMap::new(), blobs: BTreeMap::new() };
        let bytes = archive.small(MANIFEST, shown)?;
        let items: Vec<Item> = serde_json::from_slice(&bytes)
            .map_err(|source| damaged(shown, ReadError::Document { what: MANIFEST.into(), source }))?;
        let mut entries = Vec::new();
        for item in &items {
            let descriptor = archive.image(item, shown, cancel)?;
            let names: Vec<&str> =
                item.repo_tags.iter().flatten().map(String::as_str).filter(|name| !name.is_empty()).collect();
            if names.is_empty() {
                entries.push(descriptor.clone());
            }
            for name in names {
                let mut entry = descriptor.clone();
                let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
                entry.annotations.insert(annotation::REF_NAME.into(), tag.to_owned());
                entry.annotations.insert(annotation::CONTAINERD_NAME.into(), name.to_owned());
                entries.push(entry);
            }
        }
        Ok((archive, entries))
    }

    /// Makes the manifest of an image.
    fn image(&mut self, item: &Item, shown: &str, cancel: &Cancel) -> Result<Descriptor, TransportError> {
        let shape = |reason: String| TransportError::Shape { shown: shown.to_owned(), reason };
        let bytes = self.small(&item.config, shown)?;
        let config: Value = serde_json::from_slice(&bytes)
            .map_err(|source| damaged(shown, ReadError::Document { what: item.config.clone(), source }))?;
        let diff_ids: Vec<Digest> = serde_json::from_value(config["rootfs"]["diff_ids"].clone())
            .map_err(|error| shape(format!("the `diff_ids` of `{}`: {error}", item.config)))?;
        if diff_ids.len() != item.layers.len() {
            return Err(shape(format!(
                "{} layers, but {} `diff_ids` in `{}`",
                item.layers.len(),
                diff_ids.len(),
                item.config
            )));
        }
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest.clone(), item.config.clone());
        let config_descriptor = Descriptor::new(media_type::CONFIG, digest, bytes.len() as u64);
        let mut layers = Vec::new();
        for (name, diff_id) in item.layers.iter().zip(diff_ids) {
            layers.push(self.layer(name, diff_id, shown, cancel)?);
        }
        let manifest = Encoded::new(
            media_type::MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": media_type::MANIFEST,
                "config": config_descriptor,
                "layers": layers,
            }),
        );
        let mut descriptor = manifest.descriptor.clone();
        descriptor.platform = Platform::of_config(&config).map(|platform| platform.fields());
        self.documents.insert(manifest.descriptor.digest, manifest.bytes);
        Ok(descriptor)
    }

    /// A layer's descriptor. Where it is not compressed, its digest is its `diff_id`, which is verified when it is read.
    fn layer(
        &mut self,
        name: &str,
        diff_id: Digest,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<Descriptor, TransportError> {
        let io = |source| TransportError::Io { shown: shown.to_owned(), source };
        let missing = || TransportError::Shape {
            shown: shown.to_owned(),
            reason: format!("`{name}` is missing, which {MANIFEST} names"),
        };
        let size = self.members.size(name).ok_or_else(missing)?;
        let packing = self.members.packing(name).map_err(io)?.ok_or_else(missing)?;
        let media = packing.layer().ok_or_else(|| TransportError::Shape {
            shown: shown.to_owned(),
            reason: format!(
                "the layer `{name}` is {}, and images have no layers of that kind",
                packing.describe()
            ),
        })?;
        let digest = if packing == Packing::Plain {
            diff_id
        } else {
            let mut hasher = Algorithm::Sha256.hasher();
            let mut bytes = self.members.read(name).ok_or_else(missing)?;
            let mut piece = vec![0; 256 * 1024];
            loop {
                cancel.check()?;
                match bytes.read(&mut piece).map_err(io)? {
                    0 => break,
                    count => hasher.update(&piece[..count]),
                }
            }
            hasher.finish()
        };
        self.blobs.insert(digest.clone(), name.to_owned());
        Ok(Descriptor::new(media, digest, size))
    }

    /// A document of the archive, whole in memory.
    fn small(&self, name: &str, shown: &str) -> Result<Vec<u8>, TransportError> {
        let shape = |reason: String| TransportError::Shape { shown: shown.to_owned(), reason };
        let size = self.members.size(name).ok_or_else(|| shape(format!("`{name}` is missing")))?;
        if size > MANIFEST_LIMIT {
            return Err(shape(format!("`{name}` has {size} bytes; at most {MANIFEST_LIMIT} are read")));
        }
        let mut bytes = Vec::new();
        if let Some(mut section) = self.members.read(name) {
            section
                .read_to_end(&mut bytes)
                .map_err(|source| TransportError::Io { shown: shown.to_owned(), source })?;
        }
        Ok(bytes)
    }

    /// Everything that it can be asked for.
    pub(super) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.documents.keys().chain(self.blobs.keys())
    }

    /// The bytes of a document that was made, or of a blob in the archive, with their count.
    pub(super) fn read(&self, digest: &Digest) -> Option<(Box<dyn Read + Send>, u64)> {
        if let Some(document) = self.documents.get(digest) {
            return Some((Box::new(io::Cursor::new(document.clone())), document.len() as u64));
        }
        let name = self.blobs.get(digest)?;
        Some((Box::new(self.members.read(name)?), self.members.size(name)?))
    }
}

fn damaged(shown: &str, source: ReadError) -> TransportError {
    TransportError::damaged(shown, source)
}
