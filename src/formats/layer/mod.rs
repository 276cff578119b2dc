//! Layers: writes a blob with its digests ([`Layer`]) from a recipe ([`LayerSpec`]), in one pass.
//!
//! tar → `diff_id` → compress → digest → temporary file → rename. A file's content is streamed and is never in memory
//! as a whole. The bytes depend on the recipe alone: not on the number of threads, the umask, the order of the entries,
//! or when and where the layer is written.
//!
//! Deliberately not supported: sparse files, devices, extended attributes, owners' names, and whiteouts (xbuild never
//! removes a file of the base).

mod deflate;
mod gzip;
pub mod tar;
mod tree;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use libdeflater::CompressionLvl;

use crate::error::{ExitCode, Explain, io_hint};
use crate::oci::{Algorithm, Descriptor, Digest, Hasher, media_type};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs;

/// Maximum number of threads that compress one layer. Several platforms are written at the same time, and each thread
/// holds two blocks.
const MOST_THREADS: usize = 8;

/// One file system entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the image: relative, `/`-separated, without a leading or trailing slash.
    pub path: String,
    /// Its type and content.
    pub kind: EntryKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: at most `0o7777`.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
}

/// The type and content of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target, which is used unchanged.
    Symlink(String),
    /// A hard link to the file at this path of the same layer, which has the form of [`Entry::path`].
    HardLink(String),
}

/// The bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In memory, for small or generated files.
    Bytes(Arc<[u8]>),
    /// On disk. The file is streamed when the layer is written, and must still have this size then.
    Path {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

impl Content {
    /// The size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Path { size, .. } => *size,
        }
    }
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Gzip.
    Gzip {
        /// libdeflate's level, 1 to 12.
        level: u8,
    },
    /// Zstandard.
    Zstd {
        /// Its level, 1 to 19.
        level: u8,
    },
    /// None.
    None,
}

impl Default for Compression {
    /// Gzip, which everything can read, at a level that compresses better than `gzip -6` and is several times as fast.
    fn default() -> Self {
        Self::Gzip { level: 5 }
    }
}

/// The recipe of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSpec {
    /// Its entries, in any order. Directories above an entry may be left out.
    pub entries: Vec<Entry>,
    /// Directories that the image already has. They are not written merely because an entry is below them, so that
    /// their mode and owner are preserved.
    pub present: Arc<BTreeSet<String>>,
    /// The modification time of every entry, in seconds since 1970.
    pub mtime: i64,
    /// How it is compressed.
    pub compression: Compression,
    /// The description in the image's history.
    pub created_by: String,
    /// The comment in the image's history.
    pub comment: Option<String>,
}

/// A finished layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Media type, digest and size of the blob.
    pub descriptor: Descriptor,
    /// The digest of the tar before compression.
    pub diff_id: Digest,
    /// The size of the tar before compression, in bytes.
    pub uncompressed_size: u64,
    /// The blob.
    pub path: PathBuf,
    /// From the [`LayerSpec`].
    pub created_by: String,
    /// From the [`LayerSpec`].
    pub comment: Option<String>,
}

/// What is wrong with the path of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is absolute, ends in a slash, or has an empty part or `.`.
    #[error("it is not relative and plain")]
    NotPlain,
    /// It has `..`.
    #[error("it has `..`")]
    Escape,
    /// A part starts with `.wh.`, which in a layer means "remove that file".
    #[error("names that start with `.wh.` mean removal in a layer")]
    Whiteout,
    /// It has a NUL.
    #[error("it has a NUL character")]
    Nul,
}

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The path of an entry cannot be in a layer.
    #[error("`{path}` cannot be a path in an image: {fault}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// Two entries have the same path.
    #[error("`{path}` is in the layer twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// An entry is below one that is not a directory.
    #[error("`{path}` cannot be in the layer: `{parent}` is not a directory there")]
    UnderFile {
        /// The entry below.
        path: String,
        /// The entry above.
        parent: String,
    },
    /// A hard link without its file in the same layer, or an empty symbolic link.
    #[error("the link `{path}` cannot point to `{target}`")]
    LinkTarget {
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
    /// A mode with more than permission bits.
    #[error("`{path}`: {mode:o} is not a mode: it is at most 7777")]
    Mode {
        /// The entry.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// The compression does not have this level.
    #[error("{compression:?}: there is no such level")]
    Level {
        /// The requested compression.
        compression: Compression,
    },
    /// A file is a directory, a device or a pipe.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A file's size has changed since the layer was planned.
    #[error("`{}` changed while the layer was written: it had {expected} bytes", path.display())]
    SizeChanged {
        /// The file.
        path: PathBuf,
        /// The size that it had in bytes.
        expected: u64,
    },
    /// A file could not be read.
    #[error("cannot read a file for the layer: {0}")]
    Read(#[source] io::Error),
    /// The blob could not be written.
    #[error("cannot write the layer: {0}")]
    Write(#[source] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Path { .. } => ExitCode::PathEscape,
            Self::Duplicate { .. }
            | Self::UnderFile { .. }
            | Self::LinkTarget { .. }
            | Self::Mode { .. }
            | Self::Level { .. } => ExitCode::Config,
            Self::NotAFile { .. } => ExitCode::MissingFile,
            Self::Read(error) if error.kind() == io::ErrorKind::NotFound => ExitCode::MissingFile,
            // Not `of_io`: its codes are about the location that is written to.
            Self::SizeChanged { .. } | Self::Read(_) => ExitCode::Io,
            Self::Write(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Path { .. } => {
                Some("write it relative to the image's root, without `.` and `..`, as in usr/bin/app".into())
            }
            Self::Duplicate { .. } | Self::UnderFile { .. } => {
                Some("give one of the two another path in the image".into())
            }
            Self::LinkTarget { .. } => Some("point the link to a file of the same layer".into()),
            Self::Mode { .. } => Some("write permission bits only, as in 0755".into()),
            Self::Level { .. } => Some("gzip has the levels 1 to 12, zstd 1 to 19".into()),
            Self::NotAFile { .. } => Some("name a file, or a pattern that matches files".into()),
            Self::SizeChanged { .. } => Some("run again when nothing writes to the file".into()),
            Self::Read(_) => None,
            Self::Write(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// Writes a layer into `blobs`, a directory for blobs of SHA-256 digests, under its digest's name. `progress` is called
/// with the number of bytes of the tar that are done.
///
/// The blob is complete when it appears, but is not synced to disk: whoever publishes it does that.
///
/// # Errors
///
/// If an entry's path cannot be in a layer, if a file cannot be read or has changed, if the blob cannot be written, or
/// if the work is cancelled.
pub fn write(
    spec: &LayerSpec,
    blobs: &Path,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Layer, Error> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    write_on(spec, blobs, threads, cancel, progress)
}

fn write_on(
    spec: &LayerSpec,
    blobs: &Path,
    threads: usize,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Layer, Error> {
    let entries = tree::arrange(spec.entries.clone(), &spec.present)?;
    let file = fs::temporary_file(blobs).map_err(Error::Write)?;
    let codec = Codec::new(Hashing::new(file, &|_| ()), spec.compression, threads)?;
    let mut tar = Hashing::new(codec, progress);
    tar::write(&entries, spec.mtime, &mut tar, cancel)?;
    let (codec, diff_id, uncompressed_size) = tar.finish();
    let (file, digest, size) = codec.finish().map_err(Error::Write)?.finish();
    cancel.check()?;
    let path = blobs.join(digest.hex());
    fs::keep(file, &path, 0o644).map_err(Error::Write)?;
    let media_type = match spec.compression {
        Compression::Gzip { .. } => media_type::LAYER_GZIP,
        Compression::Zstd { .. } => media_type::LAYER_ZSTD,
        Compression::None => media_type::LAYER,
    };
    Ok(Layer {
        descriptor: Descriptor::new(media_type, digest, size),
        diff_id,
        uncompressed_size,
        path,
        created_by: spec.created_by.clone(),
        comment: spec.comment.clone(),
    })
}

/// Passes bytes on, and counts and hashes them.
struct Hashing<'a, W> {
    sink: W,
    hasher: Hasher,
    count: u64,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<'a, W: Write> Hashing<'a, W> {
    fn new(sink: W, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { sink, hasher: Algorithm::Sha256.hasher(), count: 0, progress }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.sink, self.hasher.finish(), self.count)
    }
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.count += count as u64;
        (self.progress)(self.count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The compression of a stream.
enum Codec<W: Write> {
    Gzip(gzip::Encoder<W>),
    Zstd(zstd::Encoder<'static, W>),
    None(W),
}

impl<W: Write> Codec<W> {
    fn new(sink: W, compression: Compression, threads: usize) -> Result<Self, Error> {
        match compression {
            Compression::Gzip { level } => {
                // libdeflate has a level 0 too, but its output is larger than without compression.
                let level = CompressionLvl::new(level.into())
                    .ok()
                    .filter(|_| level > 0)
                    .ok_or(Error::Level { compression })?;
                gzip::Encoder::new(sink, level, threads).map(Self::Gzip).map_err(Error::Write)
            }
            Compression::Zstd { level: level @ 1..=19 } => {
                zstd_encoder(sink, level.into(), threads).map(Self::Zstd).map_err(Error::Write)
            }
            Compression::Zstd { .. } => Err(Error::Level { compression }),
            Compression::None => Ok(Self::None(sink)),
        }
    }

    fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
            Self::None(sink) => Ok(sink),
        }
    }
}

impl<W: Write> Write for Codec<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::None(sink) => sink.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.flush(),
            // Flushing would end a block early and thus change the bytes.
            Self::Zstd(_) => Ok(()),
            Self::None(sink) => sink.flush(),
        }
    }
}

/// Always with workers: zstd writes different bytes without any, but the same bytes with one or many. The job size is
/// fixed, so that it does not depend on the level and memory stays bounded.
fn zstd_encoder<W: Write>(sink: W, level: i32, threads: usize) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(sink, level)?;
    encoder.multithread(u32::try_from(threads.clamp(1, 4)).unwrap_or(1))?;
    encoder.set_parameter(zstd::zstd_safe::CParameter::JobSize(4 * 1024 * 1024))?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

#[cfg(test)]
mod tests;
