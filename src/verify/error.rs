//! Errors of a verification, including that the image has errors.

use std::io;

use crate::error::{ExitCode, Explain, io_hint};
use crate::sys::cancel::Cancelled;
use crate::transport::TransportError;

/// Why there is no report, or that the report has errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The image cannot be found, or its storage cannot be read.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A file could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The image has errors, which are in the report.
    #[error("`{reference}` {}", told(*errors, *warnings))]
    Failed {
        /// The image.
        reference: String,
        /// How many errors there are.
        errors: usize,
        /// How many warnings there are, if they count.
        warnings: usize,
        /// True if a document or blob is wrong.
        unsound: bool,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn told(errors: usize, warnings: usize) -> String {
    let count = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (errors, 0) => format!("has {}", count(errors, "error")),
        (0, warnings) => format!("has {}, and --strict was given", count(warnings, "warning")),
        (errors, warnings) => format!("has {} and {}", count(errors, "error"), count(warnings, "warning")),
    }
}

impl Explain for VerifyError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Transport(error) => error.exit_code(),
            Self::Io(error) => ExitCode::of_io(error),
            Self::Failed { unsound: true, .. } => ExitCode::Unsound,
            Self::Failed { .. } => ExitCode::Unrunnable,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Transport(error) => error.hint(),
            Self::Io(error) => io_hint(error),
            Self::Failed { .. } => None,
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}
