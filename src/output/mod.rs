//! Outputs that a finished layout is written to.

pub(crate) mod archive;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod rootfs;

use std::io;
use std::path::PathBuf;

use crate::error::{ExitCode, Explain, io_hint};
use crate::layer;
use crate::layout::{LayoutError, ReadError};
use crate::oci::Digest;
use crate::sys::cancel::Cancelled;
use crate::sys::fs::LockError;

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The path is a directory.
    #[error("`{}` is a directory, and an archive is a file", .0.display())]
    Directory(PathBuf),
    /// The source layout could not be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A document of the source layout is damaged.
    #[error("the layout is damaged: {0}")]
    Damaged(#[from] ReadError),
    /// The archive could not be written.
    #[error(transparent)]
    Archive(#[from] layer::Error),
    /// A root filesystem could not be written.
    #[error(transparent)]
    Rootfs(#[from] rootfs::RootfsError),
    /// A document of the layout has become invalid since it was verified.
    #[error("the document {digest} is not valid: {source}")]
    Document {
        /// The document.
        digest: Digest,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error("cannot write the output: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<LockError> for OutputError {
    fn from(error: LockError) -> Self {
        error.into_error()
    }
}

impl Explain for OutputError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Directory(_) => ExitCode::NotALayout,
            Self::Layout(error) => error.exit_code(),
            Self::Archive(error) => error.exit_code(),
            Self::Rootfs(error) => error.exit_code(),
            Self::Damaged(_) | Self::Document { .. } => ExitCode::CorruptImage,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(_) => {
                Some("write a layout directory with --output type=oci,dest=PATH,tar=false".into())
            }
            Self::Layout(error) => error.hint(),
            Self::Archive(error) => error.hint(),
            Self::Rootfs(error) => error.hint(),
            Self::Damaged(_) | Self::Document { .. } => {
                Some("run again when nothing writes to the layout".into())
            }
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}
