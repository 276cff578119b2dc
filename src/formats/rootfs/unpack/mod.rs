//! The root filesystem that an image's layers result in: as files in a directory (`type=local`), or as a tar archive
//! (`type=tar`).
//!
//! Layers are read twice, as streams. The first pass reads their headers, from which `tree` determines the files that
//! remain when all layers are applied. The second pass reads the content, and writes only that of the remaining files.
//! A directory is written without following links, so that no layer can write outside of it.

mod directory;
mod stream;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::path::PathBuf;

pub use directory::write_dir;
pub use stream::write_tar;

use crate::archive::{self, Packing};
use crate::error::{ExitCode, Explain, io_hint};
use crate::oci::{Descriptor, Digest};
use crate::rootfs::{Guard, Guarded, Limits, StreamError};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs;
use crate::target::platform::Platform;
use tree::{Change, Inode, Node, Tree};

/// A platform's image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The platform.
    pub platform: Platform,
    /// The layers, lowest first, each with the file of its blob.
    pub layers: Vec<(Descriptor, PathBuf)>,
}

/// Why a root filesystem could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The media type of a layer cannot be unpacked.
    #[error("a layer has the media type `{media_type}`")]
    MediaType {
        /// Its media type.
        media_type: String,
    },
    /// A layer cannot be read.
    #[error("the layer {digest} cannot be read: {source}")]
    Layer {
        /// The layer.
        digest: Digest,
        /// The stream's error.
        source: StreamError,
    },
    /// Without a directory for each platform, two platforms have a file of the same name.
    #[error("{} and {} both have `/{path}`", platforms.0, platforms.1)]
    SameFile {
        /// The path in the images.
        path: String,
        /// The platforms.
        platforms: Box<(Platform, Platform)>,
    },
    /// Something else exists where a file or directory should be written.
    #[error("`{}` is in the way", .0.display())]
    InTheWay(PathBuf),
    /// The files could not be written.
    #[error("cannot write the root filesystem: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for RootfsError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Layer { source, .. } => source.exit_code(ExitCode::CorruptImage),
            Self::MediaType { .. } => ExitCode::CorruptImage,
            Self::SameFile { .. } => ExitCode::Config,
            Self::InTheWay(_) => ExitCode::NotALayout,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::MediaType { .. } => Some("encrypted and foreign layers cannot be unpacked".into()),
            Self::Layer { source, .. } => {
                source.hint().or_else(|| Some("fetch or make the base again".into()))
            }
            Self::SameFile { .. } => Some("leave `platform-split=false` out, or build one platform".into()),
            Self::InTheWay(_) => Some("write to another directory, or remove what is there".into()),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// The prefix of an image's paths: a directory for its platform, or nothing.
fn prefix(image: &Image, images: usize, split: Option<bool>) -> String {
    if split.unwrap_or(images > 1) { format!("{}/", image.platform.file_name()) } else { String::new() }
}

/// The files that remain when all layers are applied.
fn tree_of(image: &Image, cancel: &Cancel) -> Result<Tree, RootfsError> {
    let mut tree = Tree::default();
    for (number, (descriptor, _)) in image.layers.iter().enumerate() {
        let (mut changes, mut weight) = (Vec::new(), 0);
        let mut left = Limits::LAYER.bytes;
        read_layer(image, number, cancel, &mut |ordinal, entry| {
            if ordinal == Limits::LAYER.entries {
                return Err(LayerFault::Stream(StreamError::TooManyEntries { limit: Limits::LAYER.entries }));
            }
            // Counts the holes of sparse files, which are written as zeros.
            left = left
                .checked_sub(entry.head.size)
                .ok_or(LayerFault::Stream(StreamError::TooLarge { limit: Limits::LAYER.bytes }))?;
            let change = Change::read(inode(number, ordinal), entry, &mut tree.metas);
            if let Some(change) = change.map_err(LayerFault::Stream)? {
                weight += change.weight();
                if weight > Limits::LAYER.names {
                    return Err(LayerFault::Stream(StreamError::LongNames { limit: Limits::LAYER.names }));
                }
                if number == 0 {
                    // There is nothing below that it could remove, so most files of most images are added directly.
                    tree.add(change).map_err(LayerFault::Stream)?;
                } else {
                    changes.push(change);
                }
            }
            Ok(())
        })?;
        tree.lay(changes)
            .map_err(|source| RootfsError::Layer { digest: descriptor.digest.clone(), source })?;
    }
    Ok(tree)
}

/// The identification of a layer's entry; both numbers are limited far below `u32::MAX`.
fn inode(layer: usize, ordinal: usize) -> Inode {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Inode { layer: number(layer), ordinal: number(ordinal) }
}

/// True for a directory that an earlier platform has, too; any other path that both have is an error. Platforms with
/// directories of their own are not compared.
fn is_written(
    earlier: &[(Tree, &Platform)],
    platform: &Platform,
    path: &str,
    node: &Node,
) -> Result<bool, RootfsError> {
    for (tree, first) in earlier {
        match (tree.get(path), node) {
            (None, _) => {}
            (Some(Node::Directory(_)), Node::Directory(_)) => return Ok(true),
            (Some(_), _) => {
                let platforms = Box::new(((*first).clone(), platform.clone()));
                return Err(RootfsError::SameFile { path: path.to_owned(), platforms });
            }
        }
    }
    Ok(false)
}

/// Passes on the content of every remaining file, with all its paths, sorted.
fn contents(image: &Image, tree: &Tree, cancel: &Cancel, write: WriteFile<'_>) -> Result<(), RootfsError> {
    let wanted = tree.files();
    for number in 0..image.layers.len() {
        read_layer(image, number, cancel, &mut |ordinal, entry| {
            let inode = inode(number, ordinal);
            let start = wanted.partition_point(|(other, ..)| *other < inode);
            let same = wanted[start..].iter().take_while(|(other, ..)| *other == inode);
            let mut paths: Vec<String> = same.map(|(_, dir, name)| tree.path(*dir, name)).collect();
            paths.sort_unstable();
            if paths.is_empty() {
                return Ok(());
            }
            // Inside a hole nothing is read from the stream, so the stream's own check for cancellation does not run.
            let mut content = Watched { inner: entry, cancel };
            write(&paths, &mut content).map_err(|error| match cancel.check() {
                Ok(()) => LayerFault::Other(error),
                Err(cancelled) => LayerFault::Other(cancelled.into()),
            })
        })?;
    }
    Ok(())
}

/// A content whose reads fail once the work is cancelled.
struct Watched<'a, R> {
    inner: R,
    cancel: &'a Cancel,
}

impl<R: io::Read> io::Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        self.inner.read(buffer)
    }
}

/// Receives the paths of a file and its content.
type WriteFile<'w> = &'w mut dyn FnMut(&[String], &mut dyn io::Read) -> Result<(), RootfsError>;

/// Why reading a layer ended: an error of the layer itself, or of the code that uses its entries.
enum LayerFault {
    Stream(StreamError),
    Other(RootfsError),
}

type LayerEntry<'e, 'r> = archive::Entry<'e, &'r mut dyn io::Read>;

/// Reads a layer to its end, entry by entry, with the ordinal of each entry.
fn read_layer(
    image: &Image,
    number: usize,
    cancel: &Cancel,
    take: &mut dyn FnMut(usize, &mut LayerEntry<'_, '_>) -> Result<(), LayerFault>,
) -> Result<(), RootfsError> {
    let (descriptor, path) = &image.layers[number];
    if Packing::of(&descriptor.media_type).is_none() {
        return Err(RootfsError::MediaType { media_type: descriptor.media_type.clone() });
    }
    let guard = Guard::new(Limits::LAYER.bytes, cancel);
    let broken = |source| match source {
        StreamError::Cancelled(cancelled) => RootfsError::Cancelled(cancelled),
        source => RootfsError::Layer { digest: descriptor.digest.clone(), source },
    };
    let (_, inner) =
        archive::unpack(fs::File::open(path)?).map_err(|error| broken(StreamError::of(error)))?;
    let mut stream = Guarded { inner: io::BufReader::new(inner), guard: &guard };
    let mut reader = archive::Reader::new(&mut stream as &mut dyn io::Read);
    let mut ordinal = 0;
    while let Some(mut entry) = reader.next_entry().map_err(|error| broken(guard.explain(error)))? {
        guard.allow(entry.head.stored);
        match take(ordinal, &mut entry) {
            Ok(()) => {}
            Err(LayerFault::Stream(StreamError::Broken(error))) => return Err(broken(guard.explain(error))),
            Err(LayerFault::Stream(source)) => return Err(broken(source)),
            // Copying a content fails with a generic error; the guard knows why.
            Err(LayerFault::Other(error)) => return Err(guard.fault().map_or(error, broken)),
        }
        ordinal += 1;
    }
    Ok(())
}
