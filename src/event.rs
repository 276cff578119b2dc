//! Events while xbuild works, as one stream. The human view and the JSON view are two reporters.
//!
//! No room below `cli` prints. It reports events, and a [`Reporter`] decides what is shown.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::{ExitCode, Explain};
use crate::linkcheck::Finding;
use crate::sys::fs;
use crate::target::platform::Platform;

/// Receives events, from any thread.
pub trait Reporter: Send + Sync {
    /// Receives one event. Must not block for long and must not fail: a broken pipe ends the output, not the build.
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
    /// The progress of a platform's current phase in bytes.
    Progress {
        /// The platform.
        platform: Platform,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// Crates that cargo has compiled, over all platforms.
    Crates {
        /// Compilation units finished.
        done: u64,
        /// Units in all, if known.
        total: Option<u64>,
        /// The active units, as cargo names them: `ring(build), zstd-sys`.
        active: String,
    },
    /// A download.
    Download {
        /// The name of what is downloaded: `zig 0.17.1`, `libc6 2.36-9 (arm64)`.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// An upload to a registry.
    Upload {
        /// The repository: `registry.example/team/app`.
        what: String,
        /// Bytes so far, including those that the registry had already.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// A registry or its token service has asked for a pause before the next request.
    Waiting {
        /// What is delayed: `registry.example/team/app:1.0`.
        what: String,
        /// The reason: `registry.example answered 429`.
        reason: String,
        /// The length of the pause, in milliseconds.
        milliseconds: u64,
    },
    /// The signed releases of Debian from which a base, or packages on one, or a sysroot are taken.
    Releases {
        /// The base's name, or `sysroot`.
        base: String,
        /// The releases; empty if the packages are pinned.
        releases: Vec<ReleaseFacts>,
        /// The date of the newest release that listed the pinned packages; `None` if nothing is pinned.
        pinned: Option<String>,
    },
    /// zig builds its own libraries for a target, once for all programs of the target, and a link waits for them.
    Library {
        /// The platform.
        platform: Platform,
        /// The target triple.
        triple: String,
        /// The library: `C library`, `C++ library`.
        library: String,
        /// How long it took in milliseconds, or `None` while it is in progress.
        milliseconds: Option<u64>,
    },
    /// A message of the compiler, as cargo rendered it (including colours if requested).
    Compiler {
        /// The text, with its line ends.
        text: String,
        /// True if it is an error. The failure itself is reported later by another event.
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
    /// The link check found a problem that prevents an image from running, or may prevent it.
    Finding {
        /// The finding.
        #[serde(flatten)]
        finding: Box<Finding>,
        /// The problem as a message.
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
        /// The kind of failure.
        code: ExitCode,
        /// What failed and why, causes included.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// The index was published.
    Published {
        /// The reference that is printed on stdout.
        reference: String,
        /// The index's digest.
        digest: String,
        /// How long the run took, in milliseconds.
        milliseconds: u64,
    },
}

impl Event {
    /// A warning about no platform in particular.
    #[must_use]
    pub fn warning(text: String) -> Self {
        Self::Note { level: Level::Warning, platform: None, text }
    }

    /// The event of a failure: of one platform, or of the whole run.
    #[must_use]
    pub fn failed(platform: Option<Platform>, error: &dyn Explain) -> Self {
        Self::Failed { platform, code: error.exit_code(), message: describe(error), hint: error.hint() }
    }
}

/// What failed and why: the error's message, then its causes, each on a line of its own, except those that the message
/// contains already.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str("\n  caused by: ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    without_excerpts(text, &fs::leads_out)
}

/// Removes excerpts of files from text that other programs have written about a project. If a path in the text is a
/// link that leads out of its directory, all excerpts are removed: whoever made the link may have no permission to read
/// the target.
fn without_excerpts(text: String, leads_out: &dyn Fn(&Path) -> bool) -> String {
    // `12 | text`, `|` and the like, possibly quoted after `| `.
    let is_excerpt = |line: &&str| {
        let line = line.trim();
        let line = line.strip_prefix("| ").unwrap_or(line).trim_start();
        line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|')
            || line.chars().all(|c| matches!(c, '^' | '-' | '~'))
    };
    if !text.lines().any(|line| is_excerpt(&line)) {
        return text;
    }
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '`' | '\'' | '"' | '(' | ')'));
    let paths = words.map(|word| {
        let path = word.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':');
        if path.starts_with('/') { path } else { "" }
    });
    let mut paths = paths.filter(|path| !path.is_empty());
    let found = paths.find(|path| leads_out(Path::new(path))).map(str::to_owned);
    match found {
        Some(path) => {
            let note = format!(
                "  `{path}` is a link that leads out of its directory, so no content of the file is shown"
            );
            let lines: Vec<&str> =
                text.lines().filter(|line| !is_excerpt(line)).chain([note.as_str()]).collect();
            lines.join("\n")
        }
        None => text,
    }
}

/// A phase of building a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Toolchains and the base are looked up.
    Resolve,
    /// cargo compiles the payload.
    Compile,
    /// The artifact is verified.
    Verify,
    /// Layers are written.
    Layer,
    /// The image is checked for problems that prevent it from running.
    Check,
    /// The image is complete.
    Done,
}

impl Phase {
    /// Its name in every view.
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

/// A signed release of Debian that packages were chosen from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReleaseFacts {
    /// The suite.
    pub suite: String,
    /// The day on which it was signed: `2026-07-11`.
    pub date: Option<String>,
    /// The mirror's address.
    pub mirror: String,
    /// Who chose the mirror.
    pub mirror_from: MirrorOrigin,
}

/// Releases as text, one line per mirror.
#[must_use]
pub(crate) fn release_lines(releases: &[ReleaseFacts]) -> Vec<String> {
    let mut mirrors: Vec<(&str, MirrorOrigin, Vec<String>)> = Vec::new();
    for release in releases {
        let date = release.date.as_ref().map_or_else(String::new, |date| format!(" of {date}"));
        let suite = format!("{}{date}", release.suite);
        match mirrors.iter_mut().find(|(address, ..)| *address == release.mirror) {
            Some((.., suites)) => suites.push(suite),
            None => mirrors.push((&release.mirror, release.mirror_from, vec![suite])),
        }
    }
    let line = |(address, from, suites): (&str, MirrorOrigin, Vec<String>)| {
        format!("{} from {address} ({from})", suites.join(", "))
    };
    mirrors.into_iter().map(line).collect()
}

/// Who chose a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MirrorOrigin {
    /// The user.
    Configured,
    /// The configuration of this machine's apt.
    Host,
    /// The default: Debian's own mirror.
    Official,
    /// The snapshot archive, at the requested time.
    Snapshot,
}

impl fmt::Display for MirrorOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Configured => "as configured",
            Self::Host => "as this machine's apt has it",
            Self::Official => "Debian's own",
            Self::Snapshot => "the requested snapshot",
        })
    }
}

/// A reporter that drops every event, for library users and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event) {}
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner: {0}")]
        struct Inner(#[source] io::Error);
        let error = Outer(Inner(io::Error::other("disk")));
        assert_eq!(describe(&error), "outer\n  caused by: inner: disk");
    }

    #[test]
    fn no_excerpt_of_a_file_elsewhere_stays() {
        let leads_out = |path: &Path| path == Path::new("/p/Cargo.lock");
        let hidden = |text: &str| without_excerpts(text.to_owned(), &leads_out);
        for text in [
            "cargo cannot read `/p/Cargo.toml`\n  | error: cannot parse /p/Cargo.lock\n  | \n  |   1 | root:hidden\n  |     |   ^",
            "cannot parse '/p/Cargo.lock': error at line 1\n  |\n1 | root:hidden\n  |   ^\n  no value",
            "error\n --> /p/Cargo.lock:1:24\n  |\n1 | root:hidden",
        ] {
            let shown = hidden(text);
            assert!(
                !shown.contains('^')
                    && !shown.contains("hidden")
                    && shown.contains("`/p/Cargo.lock` is a link"),
                "{shown}"
            );
            assert_eq!(hidden(&text.replace("Cargo.lock", "own")), text.replace("Cargo.lock", "own"));
        }
        assert!(hidden("/p/Cargo.lock cannot be read").ends_with("read"));
    }
}
