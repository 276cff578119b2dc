//! Errors of locks.

use std::io;
use std::ops::Range;

use super::compare::Difference;
use crate::error::{ExitCode, Explain, Snippet, io_hint};
use crate::text::nearest;

/// Why a lock cannot be used, or would have to change.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A merge was not finished.
    #[error("`{path}` has merge conflict markers, from line {line} on")]
    Conflict {
        /// The file, as messages show it.
        path: String,
        /// The line of the first mark.
        line: usize,
    },
    /// It is not TOML, or has unknown keys or values.
    #[error("`{path}` cannot be read: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's message, as one line.
        message: String,
        /// The file's text.
        text: String,
        /// The location of the error in it.
        span: Range<usize>,
    },
    /// A later release of xbuild wrote it.
    #[error("`{path}` has format version {found}, but this xbuild supports only {known}")]
    Version {
        /// The file.
        path: String,
        /// The version in the file.
        found: String,
        /// The newest supported version.
        known: u32,
    },
    /// It is well-formed, but xbuild cannot have written it.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What is inconsistent.
        reason: String,
    },
    /// `--locked` was given, and the lock would have to change.
    #[error("`{path}` would have to change, and --locked forbids it{}", list(differences))]
    Differs {
        /// The file.
        path: String,
        /// What would change, sorted.
        differences: Vec<Difference>,
    },
    /// The newly chosen releases are older than the pinned ones.
    #[error("the mirrors' releases are older than those in `{path}`{}", list(differences))]
    Older {
        /// The file.
        path: String,
        /// The releases that would become older, sorted.
        differences: Vec<Difference>,
    },
    /// `--locked` was given, and there is no lock.
    #[error("`{path}` is missing, and --locked uses only what it pins")]
    Missing {
        /// The file.
        path: String,
    },
    /// `--update` names something that is not pinned.
    #[error("nothing with the name `{given}` is pinned")]
    UnknownName {
        /// The name that was given.
        given: String,
        /// The base that has a package of that name.
        of_base: Option<String>,
        /// The names that can be updated, sorted.
        known: Vec<String>,
    },
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It could not be written.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// The file.
        path: String,
        /// The operating system's error.
        source: io::Error,
    },
}

fn list(differences: &[Difference]) -> String {
    differences.iter().fold(String::new(), |text, difference| format!("{text}\n  {difference}"))
}

/// What to do about a lock that does not match.
fn hint_of(differences: &[Difference]) -> String {
    let toolchain = |difference: &Difference| match difference {
        Difference::Toolchain { name, from: Some(_), .. } => Some(*name),
        _ => None,
    };
    let rest = differences.iter().any(|difference| toolchain(difference).is_none());
    let rest = if rest { "; run `xbuild lock` for the rest, and commit the file" } else { "" };
    match differences.iter().find_map(toolchain) {
        Some(name) => {
            format!(
                "install the pinned version, or pin the installed one: `xbuild lock --update {name}`{rest}"
            )
        }
        None => "run `xbuild lock` and commit the file".into(),
    }
}

impl Explain for LockError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Conflict { .. } | Self::Syntax { .. } | Self::Version { .. } | Self::Damaged { .. } => {
                ExitCode::LockFile
            }
            Self::Differs { .. } | Self::Missing { .. } => ExitCode::Locked,
            Self::Older { .. } => ExitCode::OutOfStep,
            Self::UnknownName { .. } => ExitCode::Usage,
            Self::Io(error) | Self::Write { source: error, .. } => ExitCode::of_io(error),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Conflict { .. } => Some(
                "take either side's file as a whole (`git checkout --ours` or `--theirs`), then run `xbuild lock`; or \
                 pin everything anew with `xbuild lock --update`"
                    .into(),
            ),
            Self::Syntax { .. } | Self::Damaged { .. } => Some(
                "take it from the last commit, or pin everything anew with `xbuild lock --update`; it is not meant to \
                 be edited"
                    .into(),
            ),
            Self::Version { .. } => {
                Some("update xbuild, or pin everything anew with `xbuild lock --update`".into())
            }
            Self::Differs { differences, .. } => Some(hint_of(differences)),
            Self::Older { .. } => Some(
                "use another mirror, or run again later: this one is behind, or serves old releases; to go back on \
                 purpose, set a time with `snapshot` under [debian], or remove the file and run `xbuild lock`"
                    .into(),
            ),
            Self::Missing { .. } => Some(
                "run `xbuild lock` and commit the file; to lock only Cargo.lock, leave the option out and set \
                 `locked = true` under [payload]"
                    .into(),
            ),
            Self::UnknownName { of_base: Some(base), given, .. } => Some(format!(
                "`{given}` is a package of {base}; the packages of a base are chosen together: `xbuild lock --update \
                 {base}`"
            )),
            Self::UnknownName { given, .. } if given.starts_with(['.', '/']) => {
                Some(format!("put the project's directory first: `xbuild lock {given} --update`"))
            }
            Self::UnknownName { given, known, .. } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                Some(match nearest(given, &known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("choose one of {}", known.join(", ")),
                })
            }
            Self::Io(error) => io_hint(error),
            Self::Write { source, .. } => match ExitCode::of_io(source) {
                ExitCode::ReadOnly => {
                    Some("run `xbuild lock` where the project may be written to, and commit the file".into())
                }
                _ => io_hint(source),
            },
        }
    }

    fn snippets(&self) -> Vec<Snippet> {
        match self {
            // Without a text it is not the project's own file.
            Self::Syntax { path, message, text, span } if !text.is_empty() => vec![Snippet {
                title: message.clone(),
                path: path.clone(),
                text: text.clone(),
                span: span.clone(),
                label: String::new(),
            }],
            _ => Vec::new(),
        }
    }
}

impl LockError {
    /// Removes the text, for a file that is not the project's.
    pub(crate) fn without_text(mut self) -> Self {
        if let Self::Syntax { text, .. } = &mut self {
            text.clear();
        }
        self
    }
}
