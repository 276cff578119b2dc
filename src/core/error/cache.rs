//! Why the cache, or a part of it, is not used.

use std::io;
use std::path::PathBuf;

/// The user to which containers and file servers map unknown users.
const NOBODY: u32 = 65534;

/// Why the cache, or a part of it, is not used.
#[derive(Debug, thiserror::Error)]
pub enum CacheFault {
    /// It belongs neither to us nor to root.
    #[error(
        "`{}` in xbuild's cache belongs to the user {owner}, and xbuild runs as {us}: its content cannot be trusted",
        path.display()
    )]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// Its owner's user ID.
        owner: u32,
        /// Our user ID.
        us: u32,
    },
    /// Other users than its owner may write to it.
    #[error(
        "others may write to `{}` in xbuild's cache (its mode is {mode:03o}): its content cannot be trusted",
        path.display()
    )]
    Writable {
        /// The directory or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Something else exists where a directory or a file should be.
    #[error("`{}` in xbuild's cache is {found} and not {expected}", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
        /// What exists.
        found: &'static str,
        /// What should exist.
        expected: &'static str,
    },
    /// The cache is read-only, and something has to be written to it.
    #[error("xbuild's cache cannot be written to, and `{}` is not in it: {reason}", path.display())]
    ReadOnly {
        /// The missing path.
        path: PathBuf,
        /// The operating system's error.
        reason: String,
    },
}

impl CacheFault {
    /// The cache fault in an error, if there is one.
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
                 `XBUILD_CACHE_DIR=/var/cache/xbuild`; give a cache that a CI has restored to root with `chown -R 0`"
                .into(),
            Self::Foreign { path, us, .. } => format!(
                "if you trust it, as a cache that a CI restored or sudo left, make it yours: `sudo chown \
                 -R {us} {}`; or {own}",
                path.display()
            ),
            Self::Writable { path, .. } => format!(
                "if nobody else has written to it, `chmod -R go-w {}`, otherwise remove it: all of it can be made again; where \
                 modes cannot be set, {own}",
                path.display()
            ),
            Self::Kind { .. } => "remove it: all that is in the cache can be made again".into(),
            Self::ReadOnly { .. } => format!(
                "run once with a writable cache, so that it gets everything that is needed; or {own}"
            ),
        }
    }

    /// As the cause of an IO error.
    #[must_use]
    pub fn error(self) -> io::Error {
        io::Error::other(self)
    }
}
