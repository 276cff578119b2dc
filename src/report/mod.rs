//! What happens while xbuild works, as one stream of events; the human and the JSON view are two reporters.
//!
//! No room below `cli` prints. It reports, and a [`Reporter`] decides what a person or a machine sees.

use serde::Serialize;

use crate::error::{ExitCode, Explain, describe};
use crate::facts::ReleaseFacts;
use crate::linkcheck::Finding;
use crate::platform::Platform;

pub mod human;
pub mod json;
pub(crate) mod style;
#[cfg(test)]
mod tests;
pub(crate) mod visible;

/// Receives events, from any thread.
pub trait Reporter: Send + Sync {
    /// Takes one event. Must not block for long and must not fail: a broken pipe ends the output, not the build.
    fn report(&self, event: Event);
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// A platform entered a phase.
    Phase {
        /// The platform.
        platform: Platform,
        /// The phase that began.
        phase: Phase,
    },
    /// Bytes of a platform's current phase.
    Progress {
        /// The platform.
        platform: Platform,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// Crates that cargo has compiled, over all platforms.
    Crates {
        /// Compilation units finished.
        done: u64,
        /// Units in all, where known.
        total: Option<u64>,
        /// Those in work, as cargo names them: `ring(build), zstd-sys`.
        active: String,
    },
    /// A download.
    Download {
        /// What is downloaded, for a person: `zig 0.17.1`, `libc6 2.36-9 (arm64)`.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// An upload to a registry.
    Upload {
        /// The repository: `registry.example/team/app`.
        what: String,
        /// Bytes so far; what the registry had already counts.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// A registry or its token service has asked to be left alone for a while, and is.
    Waiting {
        /// What is waited with: `registry.example/team/app:1.0`.
        what: String,
        /// What it has said: `registry.example answered 429`.
        reason: String,
        /// How long, in milliseconds.
        milliseconds: u64,
    },
    /// The signed releases of Debian that a base, or packages on one, are taken from.
    Releases {
        /// The base's name.
        base: String,
        /// The releases; empty for what is pinned.
        releases: Vec<ReleaseFacts>,
        /// The day of the newest release that vouched for what is pinned; `None` for what is not.
        pinned: Option<String>,
    },
    /// zig builds libraries of its own for a target, once for all programs of the target, and a link waits for them.
    Library {
        /// The platform.
        platform: Platform,
        /// The target triple.
        triple: String,
        /// Which: `C library`, `C++ library`.
        library: String,
        /// How long it took in milliseconds, or `None` while it goes on.
        milliseconds: Option<u64>,
    },
    /// A message of the compiler, as cargo rendered it (colours included where they were asked for).
    Compiler {
        /// The text, with its line ends.
        text: String,
        /// True if it is of an error: what failed is told without it, later.
        error: bool,
    },
    /// A remark.
    Note {
        /// How serious it is.
        level: Level,
        /// The platform it is about, if it is about one.
        platform: Option<Platform>,
        /// One sentence or more, without a full stop at its end.
        text: String,
    },
    /// The link check found something that keeps an image from running, or may.
    Finding {
        /// What was found.
        #[serde(flatten)]
        finding: Box<Finding>,
        /// What is wrong, in words.
        message: String,
    },
    /// A platform's image is complete.
    Built {
        /// The platform.
        platform: Platform,
        /// The target triple.
        triple: String,
        /// The toolchain that compiled and linked it, with its version.
        toolchain: String,
        /// The base image's name.
        base: String,
        /// The manifest's digest.
        digest: String,
        /// The size of all its blobs in bytes.
        size: u64,
        /// How long it took from the start of the run, in milliseconds.
        milliseconds: u64,
    },
    /// A platform's image could not be made.
    Failed {
        /// The platform, or `None` for a failure of the whole run.
        platform: Option<Platform>,
        /// What kind of failure.
        code: ExitCode,
        /// What failed and why, causes included.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// The index was published.
    Published {
        /// The reference that stdout carries.
        reference: String,
        /// The index's digest.
        digest: String,
        /// How long the run took, in milliseconds.
        milliseconds: u64,
    },
}

impl Event {
    /// The event of a failure: of one platform, or of the whole run.
    #[must_use]
    pub fn failed(platform: Option<Platform>, error: &dyn Explain) -> Self {
        Self::Failed { platform, code: error.exit_code(), message: describe(error), hint: error.hint() }
    }
}

/// What a platform is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Toolchains and the base are looked up.
    Resolve,
    /// cargo compiles its payload.
    Compile,
    /// The artifact is checked.
    Verify,
    /// Layers are written.
    Layer,
    /// Its image is checked for whether it will run.
    Check,
    /// Its image is complete.
    Done,
}

impl Phase {
    /// The word for it, in every view.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Compile => "compile",
            Self::Verify => "verify",
            Self::Layer => "layer",
            Self::Check => "check",
            Self::Done => "done",
        }
    }
}

/// How serious a note is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Only of interest when looking closely.
    Detail,
    /// Worth knowing.
    Info,
    /// Worth acting on.
    Warning,
}

/// A reporter that drops every event, for library users and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event) {}
}
