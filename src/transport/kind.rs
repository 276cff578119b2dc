//! The kinds of storage that an image can be in, and how its blobs are read.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::docker_archive::DockerArchive;
use super::tar_index::TarIndex;
use crate::layout::{Layout, ReadError};
use crate::oci::{Digest, Encoded};
use crate::registry::Repository;
use crate::sys::cancel::Cancel;
use crate::sys::fs::Scratch;

/// The storage of an image.
#[derive(Debug)]
pub(super) enum Kind {
    Layout(Layout),
    Archive {
        path: PathBuf,
        members: TarIndex,
    },
    Docker {
        path: PathBuf,
        archive: DockerArchive,
    },
    /// A repository, with the document that the reference resolves to.
    Registry(Box<Remote>),
    /// An archive that an engine wrote, and its temporary directory.
    Exported {
        inner: Box<Kind>,
        _dir: Scratch,
    },
}

/// A repository of a registry.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) repository: Repository,
    /// The document that the reference resolves to.
    pub(super) document: Encoded,
    pub(super) cancel: Cancel,
}

impl Kind {
    /// A blob's bytes, their count, and the path of the file.
    pub(super) fn read(&self, digest: &Digest) -> Result<(Box<dyn Read + Send>, u64, PathBuf), ReadError> {
        let missing = |path: &Path| ReadError::Missing { digest: digest.clone(), path: path.to_owned() };
        match self {
            Self::Layout(layout) => {
                let (file, size) = layout.open_blob(digest)?;
                Ok((Box::new(file), size, layout.blob(digest)))
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
            // Never called: a repository's blobs are not in files.
            Self::Registry(remote) => Err(missing(Path::new(&remote.repository.name().to_string()))),
        }
    }
}
