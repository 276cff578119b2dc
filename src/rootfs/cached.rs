//! Layer indexes in the cache: a layer is decompressed once and not for every build.
//!
//! A kept index is a line with the digest of the rest, and the rest as JSON. What does not parse or does not have
//! its digest, for whatever reason, is as good as absent.

use std::io;
use std::path::Path;

use super::{LayerIndex, Limits, StreamError, scan};
use crate::archive::Packing;
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, store, usage};

/// A kept index of more bytes than this is not read. Two million entries take about half of it.
const LIMIT: u64 = 512 << 20;
/// Raised whenever an index of the same layer comes to say something else.
const FORMAT: u32 = 7;

/// Why there is no index of a layer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Its media type is none that is known, such as an encrypted layer's.
    #[error("a layer has the media type `{0}`")]
    MediaType(String),
    /// It cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where indexes are kept, and whether they are believed.
#[derive(Clone, Copy)]
pub(crate) struct LayerCache<'a> {
    /// xbuild's cache directory.
    pub dir: &'a Path,
    /// True if a kept index is not believed: the layer is read anew, and one that says something else is told and replaced.
    pub verify: bool,
    /// Is told of one that said something else, in words for people.
    pub tell: &'a (dyn Fn(String) + Sync),
}

/// What a layer does to the root filesystem: kept from an earlier run, or read now and kept. The blob is taken to be
/// the one that the descriptor means.
pub(crate) fn index_of(
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
            "what the cache said of the layer {} was not what is in it: somebody has written to `{}`; the layer was read anew",
            layer.digest,
            path.display()
        )),
        None => {}
    }
    put(&index, &path)?;
    Ok(index)
}

/// The same, if it is kept from an earlier run and believed: the layer's bytes are not needed then.
pub(crate) fn known_index(
    layer: &Descriptor,
    cache: LayerCache<'_>,
) -> Result<Option<LayerIndex>, IndexError> {
    known(layer)?;
    if cache.verify {
        return Ok(None);
    }
    Ok(get(&cache.dir.join("rootfs").join(file_name(&layer.digest)))?)
}

impl LayerIndex {
    /// Reads a layer's blob without keeping anything, for one that will not be asked for again.
    ///
    /// # Errors
    ///
    /// If the blob cannot be opened, is no layer that can be read or not what the descriptor says, or if the work is
    /// cancelled.
    pub fn read(blob: &Path, layer: &Descriptor, cancel: &Cancel) -> Result<Self, IndexError> {
        known(layer)?;
        read(blob, cancel)
    }
}

/// What compresses a layer is told by its bytes, but only where its media type is one of a tar archive's.
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

/// Reads a kept index, if it is there and whole.
pub(super) fn get(path: &Path) -> io::Result<Option<LayerIndex>> {
    usage::mark(path);
    Ok(store::read(path, LIMIT)?.and_then(|bytes| cached_index(&bytes)))
}

/// The index that the bytes of a kept one have, if they are whole.
#[must_use]
pub fn cached_index(bytes: &[u8]) -> Option<LayerIndex> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (digest, document) = (&bytes[..end], &bytes[end + 1..]);
    if digest != Digest::of(document).to_string().as_bytes() {
        return None;
    }
    serde_json::from_slice(document).ok()
}

/// Keeps an index; its directory must exist.
pub(super) fn put(index: &LayerIndex, path: &Path) -> io::Result<()> {
    // The digest's place stands in front, so that the document is in memory once.
    let line = Digest::of(b"").to_string().len() + 1;
    let mut bytes = vec![b'\n'; line];
    serde_json::to_writer(&mut bytes, index).map_err(io::Error::other)?;
    let digest = Digest::of(&bytes[line..]).to_string();
    bytes[..line - 1].copy_from_slice(digest.as_bytes());
    store::keep(path, &bytes)
}
