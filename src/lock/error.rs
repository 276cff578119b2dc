//! Why a lock cannot be used.

use std::io;
use std::ops::Range;

use super::compare::Difference;
use crate::error::{ExitCode, Explain, Snippet, io_hint};
use crate::text::nearest;

/// Why a lock cannot be used, or would have to change.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A merge was left unfinished.
    #[error("`{path}` has the marks of a merge conflict, from line {line} on")]
    Conflict {
        /// The file, as messages show it.
        path: String,
        /// The line of the first mark.
        line: usize,
    },
    /// It is not TOML, or has keys or values that a lock has not.
    #[error("`{path}` cannot be read: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser says, as one line.
        message: String,
        /// The file's text.
        text: String,
        /// Where in it.
        span: Range<usize>,
    },
    /// A later release of xbuild wrote it.
    #[error("`{path}` is of version {found} of the format, and this xbuild knows {known}")]
    Version {
        /// The file.
        path: String,
        /// The version that it says.
        found: String,
        /// The newest that is known.
        known: u32,
    },
    /// It is well-formed and cannot be what xbuild wrote.
    #[error("`{path}` is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// `--locked`, and it would have to change.
    #[error("`{path}` would have to change, and --locked forbids it{}", list(differences))]
    Differs {
        /// The file.
        path: String,
        /// What would change, sorted.
        differences: Vec<Difference>,
    },
    /// What is chosen anew is of older releases than what is pinned.
    #[error("what the mirrors have is older than what `{path}` has{}", list(differences))]
    Older {
        /// The file.
        path: String,
        /// The releases that would go back, sorted.
        differences: Vec<Difference>,
    },
    /// `--locked`, and there is none.
    #[error("there is no `{path}`, and --locked takes nothing but what it pins")]
    Missing {
        /// The file.
        path: String,
    },
    /// `--update` of something that is not pinned.
    #[error("nothing that is pinned has the name `{given}`")]
    UnknownName {
        /// As it was given.
        given: String,
        /// The base that has a package of that name.
        of_base: Option<String>,
        /// What there is to update, sorted.
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
        /// Why not.
        source: io::Error,
    },
}

fn list(differences: &[Difference]) -> String {
    differences.iter().fold(String::new(), |text, difference| format!("{text}\n  {difference}"))
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
            Self::Differs { differences, .. } => {
                let toolchain = |difference: &Difference| match difference {
                    Difference::Toolchain { name, from: Some(_), .. } => Some(*name),
                    _ => None,
                };
                let rest = differences.iter().any(|difference| toolchain(difference).is_none());
                let rest = if rest { "; run `xbuild lock` for the rest, and commit the file" } else { "" };
                Some(match differences.iter().find_map(toolchain) {
                    Some(name) => {
                        format!("install what is pinned, or pin what is here: `xbuild lock --update {name}`{rest}")
                    }
                    None => "run `xbuild lock` and commit the file".into(),
                })
            }
            Self::Older { .. } => Some(
                "the mirror is behind, or somebody serves what is old; use another mirror, or run again later; to go back on purpose, \
                 ask for a moment with `snapshot` under [debian], or remove the file and run `xbuild lock`"
                    .into(),
            ),
            Self::Missing { .. } => Some(
                "run `xbuild lock` and commit the file; to hold nothing but Cargo.lock, leave the option out and set `locked = \
                 true` under [payload]"
                    .into(),
            ),
            Self::UnknownName { of_base: Some(base), given, .. } => Some(format!(
                "`{given}` is a package of {base}; the packages of a base are chosen together: `xbuild lock --update \
                 {base}`"
            )),
            Self::UnknownName { given, .. } if given.starts_with(['.', '/']) => {
                Some(format!("the directory of a project comes first: `xbuild lock {given} --update`"))
            }
            Self::UnknownName { given, known, .. } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                Some(match nearest(given, &known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("there are {}", known.join(", ")),
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
            // Without a text it is not the project's own.
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
    /// Without the text of a file that is not the project's.
    pub(crate) fn without_text(mut self) -> Self {
        if let Self::Syntax { text, .. } = &mut self {
            text.clear();
        }
        self
    }
}
