//! What is wrong when the cache is looked at or pruned.

use std::io;

use crate::error::{ExitCode, Explain, io_hint};
use crate::sys::cancel::Cancelled;

/// Why the cache was not listed or pruned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// It is not ours, or a file in it cannot be read or removed.
    #[error("xbuild's cache cannot be used: {0}")]
    Io(#[from] io::Error),
    /// No kind has this name.
    #[error("there is nothing named `{given}` in xbuild's cache")]
    UnknownKind {
        /// As it was given.
        given: String,
        /// What was meant, probably.
        nearest: Option<String>,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for CacheError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Io(error) => ExitCode::of_io(error),
            Self::UnknownKind { .. } => ExitCode::Usage,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => match ExitCode::of_io(error) {
                ExitCode::ReadOnly => {
                    Some("run it as the user that the cache belongs to, where it can be written to".into())
                }
                _ => io_hint(error),
            },
            Self::UnknownKind { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKind { nearest: None, .. } => {
                Some("`xbuild cache list` shows what is there; docs/cache.md has all names".into())
            }
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}
