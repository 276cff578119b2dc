//! Layer indexes in the cache: a layer is decompressed once and not for every build.
//!
//! A kept index is a line with the digest of the rest, and the rest as JSON. What does not parse or does not have
//! its digest, for whatever reason, is as good as absent.

use std::io;
use std::path::Path;

use super::LayerIndex;
use crate::oci::{self, Digest};
use crate::sys::fs;

/// A kept index of more bytes than this is not read. Two million entries take about half of it.
const LIMIT: u64 = 512 << 20;
/// Raised whenever an index of the same layer comes to say something else.
const FORMAT: u32 = 1;

/// The file name for the index of a layer with this digest, read in this way.
pub(in crate::base) fn file_name(layer: &Digest, packing: &str) -> String {
    format!("{}-{}.{packing}.{FORMAT}", layer.algorithm().name(), layer.hex())
}

/// Reads a kept index, if it is there and whole.
pub(in crate::base) fn recall(path: &Path) -> io::Result<Option<LayerIndex>> {
    let absent = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(None),
        _ => Err(error),
    };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > LIMIT || !metadata.is_file() => return Ok(None),
        Ok(_) => {}
        Err(error) => return absent(error),
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return absent(error),
    };
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let (digest, document) = (&bytes[..end], &bytes[end + 1..]);
    if digest != Digest::of(document).to_string().as_bytes() {
        return Ok(None);
    }
    Ok(serde_json::from_slice(document).ok())
}

/// Keeps an index; its folder must exist.
pub(in crate::base) fn keep(index: &LayerIndex, path: &Path) -> io::Result<()> {
    let document = oci::to_vec(index);
    let mut bytes = Digest::of(&document).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend(document);
    fs::write_atomic(path, &bytes, 0o644)
}
