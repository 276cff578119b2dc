//! Why zig could not be found or provided.

use std::fmt;
use std::io;
use std::path::PathBuf;

use semver::Version;

use super::data::ZigData;
use super::options::ZigWay;
use crate::error::{ExitCode, Explain, io_hint};
use crate::oci::Digest;
use crate::sys::cancel::Cancelled;
use crate::sys::download::DownloadError;
use crate::sys::fs;
use crate::sys::process::ProcessError;

/// zig could not be found or provided.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Every way failed.
    #[error("zig {} was not found and could not be provided{}", wanted(pinned.as_ref()), list(attempts))]
    NoWay {
        /// The pinned version, if there is one.
        pinned: Option<Version>,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A way that failed.
#[derive(Debug)]
pub struct Attempt {
    /// The way.
    pub way: ZigWay,
    /// Why it failed.
    pub reason: WayError,
}

/// Why one way failed.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// No path is configured.
    #[error("no path is configured")]
    NotConfigured,
    /// Neither program is installed.
    #[error("there is no `zig` on PATH and `python3` has no module `ziglang`")]
    NotInstalled,
    /// The cache does not contain it.
    #[error("it is not in the cache")]
    NotCached,
    /// The program is older than the oldest supported version.
    #[error("`{}` is version {version}, and {} is the oldest that works", program.display(), ZigData::get().minimum)]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: Version,
    },
    /// The program does not have the pinned version.
    #[error("`{}` is version {version}, and {pinned} is pinned", program.display())]
    NotPinned {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: Version,
        /// The pinned one.
        pinned: Version,
    },
    /// Another version is pinned than the one that this way provides.
    #[error("it provides version {}, but {pinned} is pinned", ZigData::get().version)]
    OtherPinned {
        /// The pinned one.
        pinned: Version,
    },
    /// The program does not print a version.
    #[error("`{} version` prints {said:?}, which is not a version", program.display())]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// Its output.
        said: String,
    },
    /// The network must not be used.
    #[error("it needs the network, which must not be used")]
    Offline,
    /// Neither installer is on the host.
    #[error("there is neither pip nor uv")]
    NoInstaller,
    /// pip or uv did not download a wheel of the right name.
    #[error("`{program}` did not download `{file}`")]
    NoWheel {
        /// The installer.
        program: String,
        /// The wheel's file name.
        file: String,
    },
    /// The bytes do not match the pinned digest.
    #[error("`{file}` is corrupt: expected sha256:{expected}, got sha256:{found}")]
    Corrupt {
        /// The file's name.
        file: String,
        /// The pinned digest.
        expected: String,
        /// The actual digest.
        found: String,
    },
    /// The files in the cache are not those of zig.
    #[error(
        "the files in `{}` are not those of zig {version}: expected {expected}, found {found}",
        dir.display()
    )]
    Altered {
        /// Their directory.
        dir: PathBuf,
        /// The version.
        version: Version,
        /// The digest that is pinned or comes with xbuild.
        expected: Box<Digest>,
        /// Their digest.
        found: Box<Digest>,
    },
    /// The directory of zig contains something that does not belong to zig.
    #[error("`{}` is neither a file nor a directory, and zig contains nothing else", path.display())]
    Foreign {
        /// Its path.
        path: PathBuf,
    },
    /// It is unknown which files the zig in the cache should have.
    #[error("the lock has no digest for the files of the zig in the cache")]
    NotVerified,
    /// The archive's signature is wrong.
    #[error("the signature of `{file}` is invalid: {reason}")]
    Signature {
        /// The file's name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The archive cannot be unpacked.
    #[error("`{file}` cannot be unpacked: {reason}")]
    Archive {
        /// The archive's name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A download failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<fs::LockError> for WayError {
    fn from(error: fs::LockError) -> Self {
        error.into_error()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", way_name(self.way), self.reason)
    }
}

fn wanted(pinned: Option<&Version>) -> String {
    match pinned {
        Some(pinned) => format!("{pinned}, which is pinned,"),
        None => format!("{} or newer", ZigData::get().minimum),
    }
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().fold(String::new(), |text, attempt| format!("{text}\n  {attempt}"))
}

/// The first IO error among the reasons.
fn fault(attempts: &[Attempt]) -> Option<&io::Error> {
    attempts.iter().find_map(|attempt| match &attempt.reason {
        WayError::Io(error) | WayError::Download(DownloadError::Io(error)) => Some(error),
        _ => None,
    })
}

pub(super) fn way_name(way: ZigWay) -> &'static str {
    match way {
        ZigWay::Configured => "configured",
        ZigWay::Installed => "installed",
        ZigWay::Cache => "cache",
        ZigWay::Tarball => "tarball",
        ZigWay::Package => "package",
    }
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        let attempts = match self {
            Self::Cancelled(cancelled) => return cancelled.exit_code(),
            Self::NoWay { attempts, .. } => attempts,
        };
        // The most severe reason decides: altered bytes first, then the forbidden network.
        let any = |test: fn(&WayError) -> bool| attempts.iter().any(|attempt| test(&attempt.reason));
        if any(|reason| matches!(reason, WayError::Signature { .. })) {
            ExitCode::BadSignature
        } else if any(|reason| matches!(reason, WayError::Corrupt { .. } | WayError::Altered { .. })) {
            ExitCode::CorruptDownload
        } else if any(|reason| {
            matches!(reason, WayError::Offline | WayError::Download(DownloadError::Offline { .. }))
        }) {
            ExitCode::Offline
        } else if let Some(error) = fault(attempts) {
            ExitCode::of_io(error)
        } else {
            ExitCode::Toolchain
        }
    }

    fn hint(&self) -> Option<String> {
        let version = &ZigData::get().version;
        if let Self::NoWay { attempts, .. } = self
            && let Some(error) = fault(attempts).filter(|error| ExitCode::of_io(error) == self.exit_code())
            && let Some(hint) = io_hint(error)
        {
            return Some(hint);
        }
        match self {
            Self::Cancelled(cancelled) => cancelled.hint(),
            Self::NoWay { pinned: Some(pinned), .. }
                if pinned != version && self.exit_code() == ExitCode::Offline =>
            {
                Some("run once with the network, so that the pinned version is in the cache".into())
            }
            Self::NoWay { .. } if self.exit_code() == ExitCode::Offline => {
                Some("run `xbuild toolchain install zig` once with the network".into())
            }
            Self::NoWay { pinned: Some(pinned), .. } if pinned != version => Some(format!(
                "install zig {pinned} and put it on PATH, or pin the installed one: `xbuild lock --update zig`"
            )),
            Self::NoWay { .. } => Some(format!(
                "install it (`pip install ziglang=={version}`, or from https://ziglang.org/download/) and \
                 put it on PATH, or name it in the user's configuration file: `path = \"PATH\"` under [zig]"
            )),
        }
    }
}
