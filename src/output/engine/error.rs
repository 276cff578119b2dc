//! Errors of loading an image into an engine or exporting it.

use std::io;

use super::Engine;
use crate::error::{ExitCode, Explain, io_hint};
use crate::output::OutputError;
use crate::sys::cancel::Cancelled;
use crate::sys::fs::LockError;
use crate::sys::process::ProcessError;
use crate::target::platform::Platform;

/// Why an engine could not load or export an image.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The wanted engine is not installed.
    #[error("`{}` is not on PATH", engine.program())]
    Missing {
        /// The engine.
        engine: Engine,
    },
    /// No engine is installed.
    #[error("there is no container engine: neither `docker` nor `podman` is on PATH")]
    None,
    /// Docker's program is installed, but its daemon does not answer.
    #[error("Docker's daemon does not answer: {reason}")]
    Unreachable {
        /// The error that the program prints.
        reason: String,
    },
    /// The engine has no such image.
    #[error("{} has no image `{name}`", engine.program())]
    NoImage {
        /// The engine.
        engine: Engine,
        /// The image.
        name: String,
    },
    /// Docker loads only its own platform, which the image lacks.
    #[error("Docker on this host loads only {wanted}, and the image has {}", available.join(", "))]
    NoPlatform {
        /// Docker's platform.
        wanted: Platform,
        /// The platforms of the image.
        available: Vec<String>,
    },
    /// Docker before 28 cannot export an image of which it has only platforms other than its own.
    #[error("this Docker cannot export `{name}`: it has {platform} of it, but not its own platform")]
    Foreign {
        /// The image.
        name: String,
        /// The platform that it has.
        platform: String,
    },
    /// A command of the engine failed.
    #[error("{} failed: {source}", engine.program())]
    Failed {
        /// The engine.
        engine: Engine,
        /// The command and its output.
        source: ProcessError,
    },
    /// The archive for the engine could not be written.
    #[error(transparent)]
    Output(Box<OutputError>),
    /// A temporary file could not be written.
    #[error("cannot prepare the image for the engine: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for EngineError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing { .. }
            | Self::None
            | Self::Unreachable { .. }
            | Self::Foreign { .. }
            | Self::Failed { .. } => ExitCode::Engine,
            Self::NoImage { .. } | Self::NoPlatform { .. } => ExitCode::NoImage,
            Self::Output(error) => error.exit_code(),
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { engine } => {
                Some(format!("install {}, or name the other engine", engine.program()))
            }
            Self::None => Some("install podman or Docker, or write an archive: -o type=oci,dest=FILE".into()),
            Self::Unreachable { .. } => {
                Some("start it, set DOCKER_HOST to its address, or choose podman: --load=podman".into())
            }
            Self::NoImage { engine, .. } => Some(format!("`{} images` lists what it has", engine.program())),
            Self::NoPlatform { wanted, .. } => Some(format!("add it to the build: --platform {wanted}")),
            Self::Foreign { name, .. } => {
                Some(format!("read it from its registry, docker://{name}, or update Docker to version 28"))
            }
            Self::Failed { .. } => None,
            Self::Output(error) => error.hint(),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

impl From<LockError> for EngineError {
    fn from(error: LockError) -> Self {
        error.into_error()
    }
}

impl From<OutputError> for EngineError {
    fn from(error: OutputError) -> Self {
        Self::Output(Box::new(error))
    }
}
