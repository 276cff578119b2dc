//! Layer indexes in the cache: a layer is decompressed once, not for every build.
//!
//! A stored index is a line with the digest of the rest, and the rest as JSON. One that does not parse or does not
//! match its digest, for whatever reason, counts as absent.

use std::io;
use std::path::Path;

use super::{LayerIndex, Limits, StreamError, scan};
use crate::archive::Packing;
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, store, usage};

/// Largest stored index that is read, in bytes. Two million entries take about half of it.
const LIMIT: u64 = 512 << 20;
/// Must be raised whenever the index of an unchanged layer would change.
const FORMAT: u32 = 7;

/// Why there is no index of a layer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Its media type is unknown, such as that of an encrypted layer.
    #[error("a layer has the media type `{0}`")]
    MediaType(String),
    /// It cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where indexes are stored, and whether they are trusted.
#[derive(Clone, Copy)]
pub struct LayerCache<'a> {
    /// xbuild's cache directory.
    pub dir: &'a Path,
    /// True to distrust stored indexes: the layer is read again, and an index that differs is reported and replaced.
    pub verify: bool,
    /// Reports an index that differed, with a message for the user.
    pub tell: &'a (dyn Fn(String) + Sync),
}

/// What a layer does to the root filesystem: from the cache, or read now and then stored. The blob must have the
/// descriptor's digest, which is not checked here.
pub fn index_of(
    blob: &Path,
    layer: &Descriptor,
    cache: LayerCache<'_>,
    cancel: &Cancel,
) -> Result<LayerIndex, IndexError> {
    known(layer)?;
    let dir = cache.dir.join("rootfs");
    store::dir(&dir)?;
    let path = dir.join(file_name(&layer.digest));
    let cached = get(&path)?;
    if !cache.verify
        && let Some(index) = cached
    {
        return Ok(index);
    }
    let index = read(blob, cancel)?;
    match cached {
        Some(cached) if cached == index => return Ok(index),
        Some(_) => (cache.tell)(format!(
            "the cached index of the layer {} was wrong: something else has written to `{}`; the layer was read again",
            layer.digest,
            path.display()
        )),
        None => {}
    }
    put(&index, &path)?;
    Ok(index)
}

/// The same, but only from the cache, and only if it is trusted. Then the layer's bytes are not needed.
pub fn known_index(layer: &Descriptor, cache: LayerCache<'_>) -> Result<Option<LayerIndex>, IndexError> {
    known(layer)?;
    if cache.verify {
        return Ok(None);
    }
    Ok(get(&cache.dir.join("rootfs").join(file_name(&layer.digest)))?)
}

impl LayerIndex {
    /// Reads a layer's blob without storing the index, for a layer that will not be needed again.
    ///
    /// # Errors
    ///
    /// If the blob cannot be opened, is not a layer that can be read, has an unknown media type, or if the work is
    /// cancelled.
    pub fn read(blob: &Path, layer: &Descriptor, cancel: &Cancel) -> Result<Self, IndexError> {
        known(layer)?;
        read(blob, cancel)
    }
}

/// The compression is detected from the layer's bytes, but the media type must be that of a tar archive.
fn known(layer: &Descriptor) -> Result<(), IndexError> {
    match Packing::of(&layer.media_type) {
        Some(_) => Ok(()),
        None => Err(IndexError::MediaType(layer.media_type.clone())),
    }
}

fn read(blob: &Path, cancel: &Cancel) -> Result<LayerIndex, IndexError> {
    Ok(scan(fs::File::open(blob)?, Algorithm::Sha256, Limits::LAYER, cancel)?)
}

/// The file name for the index of a layer with this digest.
fn file_name(layer: &Digest) -> String {
    format!("{}-{}.{FORMAT}", layer.algorithm().name(), layer.hex())
}

/// Reads a stored index, if it exists and is intact.
pub(super) fn get(path: &Path) -> io::Result<Option<LayerIndex>> {
    usage::mark(path);
    Ok(store::read(path, LIMIT)?.and_then(|bytes| cached_index(&bytes)))
}

/// The index in the bytes of a stored one, if they are intact.
#[must_use]
pub fn cached_index(bytes: &[u8]) -> Option<LayerIndex> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (digest, document) = (&bytes[..end], &bytes[end + 1..]);
    if digest != Digest::of(document).to_string().as_bytes() {
        return None;
    }
    serde_json::from_slice(document).ok()
}

/// Stores an index. Its directory must exist.
pub(super) fn put(index: &LayerIndex, path: &Path) -> io::Result<()> {
    // The digest goes in front, so space is left for it: then the document is in memory only once.
    let line = Digest::of(b"").to_string().len() + 1;
    let mut bytes = vec![b'\n'; line];
    serde_json::to_writer(&mut bytes, index).map_err(io::Error::other)?;
    let digest = Digest::of(&bytes[line..]).to_string();
    bytes[..line - 1].copy_from_slice(digest.as_bytes());
    store::keep(path, &bytes)
}
