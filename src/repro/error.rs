//! Why two builds could not be made or compared.

use std::io;
use std::path::PathBuf;

use crate::error::{ExitCode, Explain, io_hint};
use crate::layout::ReadError;
use crate::oci::Digest;
use crate::payload::metadata::MetadataError;
use crate::sys::cancel::Cancelled;
use crate::sys::process::ProcessError;
use crate::toolchain::rust;

/// Why two builds could not be made or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReproError {
    /// One of the two builds failed.
    #[error("the {which} build failed:{}", quoted(told))]
    Build {
        /// `first` or `second`.
        which: &'static str,
        /// Its exit code.
        code: ExitCode,
        /// The last lines that it printed.
        told: Vec<String>,
    },
    /// A build did not print a reference with a digest.
    #[error("the {which} build succeeded, but printed `{printed}` instead of a reference")]
    NoReference {
        /// `first` or `second`.
        which: &'static str,
        /// What it printed.
        printed: String,
    },
    /// The directory to keep the images in exists already.
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    /// cargo cannot determine the files of the project.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// There is no Rust toolchain.
    #[error(transparent)]
    Rust(#[from] rust::Error),
    /// One of the images cannot be read.
    #[error("the image cannot be read: {0}")]
    Read(#[from] ReadError),
    /// A layer is not a tar archive.
    #[error("the layer {digest} cannot be read: {source}")]
    Layer {
        /// The layer.
        digest: Digest,
        /// The failure.
        source: io::Error,
    },
    /// A layer has an unknown media type.
    #[error("layers of type `{0}` cannot be compared")]
    MediaType(String),
    /// A program could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The builds differ.
    #[error("the image is not reproducible: {count} {}", if *count == 1 { "difference" } else { "differences" })]
    Differs {
        /// The number of listed differences.
        count: usize,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for ReproError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Build { code, .. } => *code,
            Self::NoReference { .. } => ExitCode::Internal,
            Self::Exists(_) => ExitCode::Usage,
            Self::Metadata(error) => error.exit_code(),
            Self::Rust(error) => error.exit_code(),
            Self::Read(_) | Self::Layer { .. } | Self::MediaType(_) => ExitCode::Io,
            Self::Process(error) => error.exit_code(),
            Self::Io(error) => ExitCode::of_io(error),
            Self::Differs { .. } => ExitCode::NotReproducible,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Build { which, .. } if *which == "second" => Some(
                "move the files that it lacks into the project: it ran in a copy of the project in another directory"
                    .into(),
            ),
            Self::Exists(_) => Some("name a directory that does not exist yet".into()),
            Self::Metadata(error) => error.hint(),
            Self::Rust(error) => error.hint(),
            Self::Process(error) => error.hint(),
            Self::Io(error) => io_hint(error),
            Self::Differs { .. } => Some(
                "look for what the differing bytes name: paths, dates, build scripts, macros; --keep DIRECTORY keeps both \
                 images"
                    .into(),
            ),
            Self::Cancelled(cancelled) => cancelled.hint(),
            _ => None,
        }
    }
}

fn quoted(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| text + "\n  | " + line)
}
