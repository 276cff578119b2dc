//! Archives of `docker save`, read as if they were OCI documents.
//!
//! The format ([Docker image specification 1.2](https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md)) has a
//! configuration and layers, but no manifest. A manifest is made here, deterministically, so that other code can treat
//! the archive as a layout. The configuration's bytes are unchanged: its digest is Docker's image ID.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::Deserialize;
use serde_json::{Value, json};

use super::TransportError;
use super::tar_index::{TarIndex, Unpacked};
use crate::archive::Packing;
use crate::layout::ReadError;
use crate::oci::{Algorithm, Descriptor, Digest, Encoded, MANIFEST_LIMIT, annotation, media_type};
use crate::sys::cancel::Cancel;
use crate::sys::fs;
use crate::target::platform::Platform;

const MANIFEST: &str = "manifest.json";
/// How much is unpacked of layers with a compression that images do not use, in bytes of all such layers together.
const MOST_UNPACKED: u64 = 8 << 30;

/// An archive of `docker save`, with the manifests that were made for it and the locations of its blobs.
#[derive(Debug)]
pub(super) struct DockerArchive {
    members: TarIndex,
    /// The manifests that were made here.
    documents: BTreeMap<Digest, Vec<u8>>,
    /// The locations of the other blobs.
    blobs: BTreeMap<Digest, Place>,
}

/// The location of a blob.
#[derive(Clone, Debug)]
enum Place {
    /// In the archive, under this name.
    Member(String),
    /// Unpacked, because its compression is not allowed for image layers.
    Unpacked(Unpacked),
}

/// A layer as it is stored in the archive.
#[derive(Clone)]
struct Stored {
    media_type: &'static str,
    size: u64,
    /// `None` if it is not compressed: its digest is then its `diff_id`.
    digest: Option<Digest>,
    place: Place,
}

/// What has been read of an archive so far: any number of images may name one file.
struct Known {
    configs: BTreeMap<String, Config>,
    layers: BTreeMap<String, Stored>,
    /// How many bytes may still be unpacked.
    left: u64,
}

/// The content of a configuration.
#[derive(Clone)]
struct Config {
    descriptor: Descriptor,
    platform: Option<Platform>,
    diff_ids: Vec<Digest>,
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
    /// True if the archive is one of `docker save`.
    pub(super) fn is_one(members: &TarIndex) -> bool {
        members.has(MANIFEST)
    }

    /// Reads `manifest.json`, and makes a manifest for each image. Returns an entry for each of their names, as in an
    /// OCI layout's index.
    pub(super) fn open(
        members: TarIndex,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<(Self, Vec<Descriptor>), TransportError> {
        let mut archive = Self { members, documents: BTreeMap::new(), blobs: BTreeMap::new() };
        let bytes = archive.small(MANIFEST, shown)?;
        let items: Vec<Item> = serde_json::from_slice(&bytes)
            .map_err(|source| damaged(shown, ReadError::Document { what: MANIFEST.into(), source }))?;
        let (configs, layers) = (BTreeMap::new(), BTreeMap::new());
        let (mut entries, mut known) = (Vec::new(), Known { configs, layers, left: MOST_UNPACKED });
        for item in &items {
            let descriptor = archive.image(item, &mut known, shown, cancel)?;
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
    fn image(
        &mut self,
        item: &Item,
        known: &mut Known,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<Descriptor, TransportError> {
        cancel.check()?;
        if !known.configs.contains_key(&item.config) {
            known.configs.insert(item.config.clone(), self.config(&item.config, shown)?);
        }
        let Config { descriptor, platform, diff_ids } = known.configs[&item.config].clone();
        if diff_ids.len() != item.layers.len() {
            let reason = format!(
                "{} layers, but {} `diff_ids` in `{}`",
                item.layers.len(),
                diff_ids.len(),
                item.config
            );
            return Err(TransportError::Shape { shown: shown.to_owned(), reason });
        }
        let mut layers = Vec::new();
        for (name, diff_id) in item.layers.iter().zip(diff_ids) {
            layers.push(self.layer(name, diff_id, known, shown, cancel)?);
        }
        let manifest = Encoded::new(
            media_type::MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": media_type::MANIFEST,
                "config": descriptor,
                "layers": layers,
            }),
        );
        let mut descriptor = manifest.descriptor.clone();
        descriptor.platform = platform.map(|platform| platform.fields());
        self.documents.insert(manifest.descriptor.digest, manifest.bytes);
        Ok(descriptor)
    }

    fn config(&mut self, name: &str, shown: &str) -> Result<Config, TransportError> {
        let bytes = self.small(name, shown)?;
        let config: Value = serde_json::from_slice(&bytes)
            .map_err(|source| damaged(shown, ReadError::Document { what: name.to_owned(), source }))?;
        let diff_ids = serde_json::from_value(config["rootfs"]["diff_ids"].clone()).map_err(|error| {
            let reason = format!("the `diff_ids` of `{name}`: {error}");
            TransportError::Shape { shown: shown.to_owned(), reason }
        })?;
        let digest = Digest::of(&bytes);
        self.blobs.insert(digest.clone(), Place::Member(name.to_owned()));
        let descriptor = Descriptor::new(media_type::CONFIG, digest, bytes.len() as u64);
        Ok(Config { descriptor, platform: Platform::of_config(&config), diff_ids })
    }

    /// A layer's descriptor. If the layer is not compressed, its digest is its `diff_id`, which is verified when it is
    /// read.
    fn layer(
        &mut self,
        name: &str,
        diff_id: Digest,
        known: &mut Known,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<Descriptor, TransportError> {
        if !known.layers.contains_key(name) {
            let stored = self.stored(name, &mut known.left, shown, cancel)?;
            known.layers.insert(name.to_owned(), stored);
        }
        let Stored { media_type, size, digest, place } = known.layers[name].clone();
        let digest = digest.unwrap_or(diff_id);
        self.blobs.insert(digest.clone(), place);
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// A layer as it is stored. `docker load` also reads xz and bzip2, which image layers cannot use: such a layer is
    /// unpacked, up to `left` bytes.
    fn stored(
        &self,
        name: &str,
        left: &mut u64,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<Stored, TransportError> {
        let io = |source| TransportError::Io { shown: shown.to_owned(), source };
        let missing = || TransportError::Shape {
            shown: shown.to_owned(),
            reason: format!("`{name}`, which {MANIFEST} names, is missing"),
        };
        let size = self.members.size(name).ok_or_else(missing)?;
        let packing = self.members.packing(name).map_err(io)?.ok_or_else(missing)?;
        let place = Place::Member(name.to_owned());
        let Some(media_type) = packing.layer() else {
            let fault = |source| TransportError::stream(&format!("{name}` of `{shown}"), source);
            let unpacked = self.members.unpacked(name, *left, cancel).map_err(fault)?.ok_or_else(missing)?;
            *left -= unpacked.length;
            let (media_type, size) = (media_type::LAYER, unpacked.length);
            return Ok(Stored { media_type, size, digest: None, place: Place::Unpacked(unpacked) });
        };
        if packing == Packing::Plain {
            return Ok(Stored { media_type, size, digest: None, place });
        }
        let mut hasher = Algorithm::Sha256.hasher();
        let mut bytes = self.members.read(name).ok_or_else(missing)?;
        let mut piece = vec![0; 256 * 1024];
        loop {
            cancel.check()?;
            match fs::read_piece(&mut bytes, &mut piece).map_err(io)? {
                0 => return Ok(Stored { media_type, size, digest: Some(hasher.finish()), place }),
                count => hasher.update(&piece[..count]),
            }
        }
    }

    /// Reads a document of the archive into memory.
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

    /// The digests of all documents and blobs.
    pub(super) fn digests(&self) -> impl Iterator<Item = &Digest> {
        self.documents.keys().chain(self.blobs.keys())
    }

    /// The bytes of a document that was made, or of a blob in the archive, with their length.
    pub(super) fn read(&self, digest: &Digest) -> Option<(Box<dyn Read + Send>, u64)> {
        if let Some(document) = self.documents.get(digest) {
            return Some((Box::new(io::Cursor::new(document.clone())), document.len() as u64));
        }
        Some(match self.blobs.get(digest)? {
            Place::Member(name) => (Box::new(self.members.read(name)?), self.members.size(name)?),
            Place::Unpacked(unpacked) => (Box::new(unpacked.read()), unpacked.length),
        })
    }
}

fn damaged(shown: &str, source: ReadError) -> TransportError {
    TransportError::damaged(shown, source)
}
