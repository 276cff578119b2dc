//! Errors of listing or pruning the cache.

use std::io;

use crate::error::{ExitCode, Explain, io_hint};
use crate::sys::cancel::Cancelled;

/// Why the cache could not be listed or pruned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// It belongs to another user, or a file in it cannot be read or removed.
    #[error("xbuild's cache cannot be used: {0}")]
    Io(#[from] io::Error),
    /// No kind has this name.
    #[error("there is nothing named `{given}` in xbuild's cache")]
    UnknownKind {
        /// The name that was given.
        given: String,
        /// The name that was probably meant.
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
                    Some("run it as the owner of the cache, where the cache is writable".into())
                }
                _ => io_hint(error),
            },
            Self::UnknownKind { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::UnknownKind { nearest: None, .. } => {
                Some("list the cache's content with `xbuild cache list`; docs/cache.md has all names".into())
            }
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}
