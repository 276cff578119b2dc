//! Why the cache, or a part of it, is not used.

use std::io;
use std::path::PathBuf;

/// The user that stands for all that a container or a file server does not know.
const NOBODY: u32 = 65534;

/// Why the cache, or a part of it, is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheFault {
    /// It is neither ours nor root's.
    #[error("`{}` in xbuild's cache belongs to the user {owner}, and xbuild runs as {us}: what is in it cannot be believed", path.display())]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// Ours.
        us: u32,
    },
    /// Others than its owner may write to it.
    #[error("others may write to `{}` in xbuild's cache (its mode is {mode:03o}): what is in it cannot be believed", path.display())]
    Writable {
        /// The directory or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something else is where a directory or a file should be.
    #[error("`{}` in xbuild's cache is {found} and not {expected}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// It cannot be written to, and something has to be.
    #[error("xbuild's cache cannot be written to, and `{}` is not in it: {reason}", path.display())]
    ReadOnly {
        /// What is lacking.
        path: PathBuf,
        /// The operating system's word.
        reason: String,
    },
}

impl CacheFault {
    /// The fault that an error is, if it is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> String {
        let own = "point $XBUILD_CACHE_DIR at a directory of your own";
        match self {
            Self::Foreign { owner: NOBODY, .. } => format!(
                "its owner is not known here, as in a container whose users are mapped or on a file server that hides root; \
                 {own}"
            ),
            Self::Foreign { us: 0, .. } => "run xbuild as that user and without sudo, or give root a cache of its own: \
                 `XBUILD_CACHE_DIR=/var/cache/xbuild`; what a CI has restored is given to root with `chown -R 0`"
                .into(),
            Self::Foreign { path, us, .. } => format!(
                "if it is what you trust, restored by a CI or left by sudo, make it yours: `sudo chown -R {us} {}`; or {own}",
                path.display()
            ),
            Self::Writable { path, .. } => format!(
                "if nobody else has written to it, `chmod -R go-w {}`, otherwise remove it: all of it can be made again; where \
                 modes cannot be set, {own}",
                path.display()
            ),
            Self::Kind { .. } => "remove it: all that is in the cache can be made again".into(),
            Self::ReadOnly { .. } => format!(
                "run once where the cache can be written to, so that it has all that is needed; or {own}"
            ),
        }
    }

    pub(crate) fn error(self) -> io::Error {
        io::Error::other(self)
    }
}
