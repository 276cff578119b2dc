//! One streaming pass over a layer: decompress, hash, and note what the tar does to the root filesystem.

use std::io::{self, BufReader, Read};

use super::guard::{Guard, Guarded};
use super::{Change, LayerIndex, Library, Node, StreamError};
use crate::elf::Elf;
use crate::oci::{Algorithm, Hasher, media_type};
use crate::sys::cancel::Cancel;

const CHUNK: usize = 128 * 1024;
/// A larger file is not looked into for being a C library, in bytes. glibc's has two million.
const LIBRARY_LIMIT: u64 = 64 << 20;
/// Linux takes no longer path (`PATH_MAX`), in bytes.
const PATH_LIMIT: usize = 4096;
/// A name with this in front removes the file without it
/// ([image specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts)).
const WHITEOUT: &str = ".wh.";
/// Names of the file system that whiteouts come from; of these only the opaque marker means something.
const WHITEOUT_META: &str = ".wh..wh.";
/// A file of this name removes all that lower layers have in its folder.
const OPAQUE: &str = ".wh..wh..opq";

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::base) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// By a layer's media type, OCI's or Docker's; `None` for one that is not known, such as an encrypted layer's.
    pub(in crate::base) fn of(layer: &str) -> Option<Self> {
        match media_type::of_layer(layer) {
            media_type::LAYER | "application/vnd.oci.image.layer.nondistributable.v1.tar" => {
                Some(Self::Plain)
            }
            media_type::LAYER_GZIP | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => {
                Some(Self::Gzip)
            }
            media_type::LAYER_ZSTD | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => {
                Some(Self::Zstd)
            }
            _ => None,
        }
    }

    /// The word for it in the name of a kept index.
    pub(in crate::base) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The uncompressed bytes. Gzip's are those of all members, which parallel compressors write many of.
    pub(in crate::base) fn decode<'a>(self, bytes: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(bytes),
            Self::Gzip => {
                Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(CHUNK, bytes)))
            }
            Self::Zstd => Box::new(zstd::Decoder::new(bytes)?),
        })
    }
}

/// What one layer may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::base) struct Limits {
    /// Uncompressed bytes.
    pub(in crate::base) bytes: u64,
    /// Entries.
    pub(in crate::base) entries: usize,
    /// The paths and link targets of all entries, in bytes, which are kept in memory.
    pub(in crate::base) names: usize,
}

impl Limits {
    /// More than any image has that is meant to be used.
    pub(in crate::base) const LAYER: Self = Self { bytes: 64 << 30, entries: 1 << 21, names: 256 << 20 };
}

/// Hashes what passes.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Reads a layer to its end. `algorithm` is that of the `diff_id`.
pub(in crate::base) fn scan(
    blob: impl Read,
    packing: Packing,
    algorithm: Algorithm,
    limits: Limits,
    cancel: &Cancel,
) -> Result<LayerIndex, StreamError> {
    let guard = Guard::new(limits.bytes, cancel);
    let inner = packing.decode(blob).map_err(StreamError::Broken)?;
    let hashing = Hashing { inner, hasher: algorithm.hasher() };
    let mut stream = Guarded { inner: BufReader::with_capacity(CHUNK, hashing), guard: &guard };
    let mut found = Found::default();
    let mut tar = tar::Archive::new(&mut stream);
    for entry in tar.entries().map_err(|error| guard.explain(error))? {
        let mut entry = entry.map_err(|error| guard.explain(error))?;
        // The size of a sparse file is the one that it unpacks to, and holes may be without end.
        let stored = if entry.header().entry_type().is_gnu_sparse() {
            entry.header().entry_size().map_err(StreamError::Broken)?
        } else {
            entry.size()
        };
        guard.allow(stored);
        if found.count == limits.entries {
            return Err(StreamError::TooManyEntries { limit: limits.entries });
        }
        found.count += 1;
        found.take(&mut entry, &guard)?;
        if found.names > limits.names {
            return Err(StreamError::LongNames { limit: limits.names });
        }
    }
    // To the end, so that the diff_id is of all bytes and the compressed stream's own checksum is looked at.
    guard.allow(u64::MAX);
    io::copy(&mut stream, &mut io::sink()).map_err(|error| guard.explain(error))?;
    let diff_id = stream.inner.into_inner().hasher.finish();
    Ok(LayerIndex { diff_id, opaque: found.opaque, whiteouts: found.whiteouts, entries: found.entries })
}

#[derive(Default)]
struct Found {
    count: usize,
    names: usize,
    opaque: Vec<String>,
    whiteouts: Vec<String>,
    entries: Vec<(String, Change)>,
}

impl Found {
    fn take<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, guard: &Guard<'_>) -> Result<(), StreamError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let written = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = clean(&written)?;
        self.names += path.len();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == OPAQUE {
            self.opaque.push(folder.to_owned());
        } else if name.starts_with(WHITEOUT_META) || name.is_empty() {
            // Another file system's bookkeeping; or the root itself, which is always there.
        } else if let Some(removed) = name.strip_prefix(WHITEOUT) {
            if matches!(removed, "" | "." | "..") {
                return Err(StreamError::Escape { path: written });
            }
            self.whiteouts.push(if folder.is_empty() {
                removed.into()
            } else {
                format!("{folder}/{removed}")
            });
        } else {
            let folder = kind.is_dir() || (kind.is_file() && written.ends_with('/'));
            let change = if folder {
                Change::Put(Node::Folder)
            } else if kind.is_symlink() {
                let target = target(entry)?;
                self.names += target.len();
                Change::Put(Node::Symlink(target))
            } else if kind.is_hard_link() {
                let target = clean(&target(entry)?)?;
                self.names += target.len();
                Change::Link(target)
            } else if kind.is_file() || kind.is_contiguous() {
                Change::Put(Node::File(library(name, entry).map_err(|error| guard.explain(error))?))
            } else if kind.is_gnu_sparse() {
                Change::Put(Node::File(None))
            } else {
                Change::Put(Node::Special)
            };
            self.entries.push((path, change));
        }
        Ok(())
    }
}

/// The target of a link, as it stands there.
fn target<R: Read>(entry: &tar::Entry<'_, R>) -> Result<String, StreamError> {
    let target = entry.link_name_bytes().ok_or_else(|| {
        StreamError::Broken(io::Error::new(io::ErrorKind::InvalidData, "a link without a target"))
    })?;
    let target = String::from_utf8_lossy(&target).into_owned();
    if target.len() > PATH_LIMIT {
        return Err(StreamError::LongPath { length: target.len() });
    }
    Ok(target)
}

/// A path as the index has it: relative, without empty parts and `.`. One with `..` is refused, as engines do.
fn clean(path: &str) -> Result<String, StreamError> {
    if path.len() > PATH_LIMIT {
        return Err(StreamError::LongPath { length: path.len() });
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(StreamError::Escape { path: path.to_owned() });
    }
    Ok(parts.join("/"))
}

/// What a file is if it has the name of a C library. Before glibc 2.34 `libc.so.6` is a link to `libc-2.33.so`.
fn library<R: Read>(name: &str, entry: &mut tar::Entry<'_, R>) -> io::Result<Option<Library>> {
    let versioned = name.strip_prefix("libc-").and_then(|rest| rest.strip_suffix(".so"));
    if !(name == "libc.so.6" || versioned.is_some()) || entry.size() > LIBRARY_LIMIT {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    let Ok(elf) = Elf::parse(&bytes) else { return Ok(None) };
    Ok(elf.newest_glibc_defined().map(|glibc| Library {
        class: elf.class,
        endianness: elf.endianness,
        machine: elf.machine,
        flags: elf.flags,
        glibc,
    }))
}
