//! Why Clang was not found.

use std::path::PathBuf;

use semver::Version;

use super::VARIABLE;
use super::data::ClangData;
use crate::error::{ExitCode, Explain};
use crate::sys::cancel::Cancelled;
use crate::sys::process::ProcessError;

/// Why there is no Clang to use. `install` is the command that installs one on this machine, if that is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFound {
    /// None is installed.
    #[error("clang is not installed on this machine")]
    NotInstalled { install: Option<String> },
    /// The one that the user has named does not exist.
    #[error("there is no `{}`, which is named as Clang", program.display())]
    Missing { program: PathBuf, install: Option<String> },
    /// It is too old.
    #[error(
        "`{}` is Clang {version}, and at least {} is needed",
        program.display(),
        ClangData::get().minimum.major
    )]
    TooOld { program: PathBuf, version: Version, install: Option<String> },
    /// It is another program. `said` is the first line that it prints.
    #[error("`{}` is not Clang: as its version it prints `{said}`", program.display())]
    NotClang { program: PathBuf, said: String, install: Option<String> },
    /// Neither LLVM's nor binutils' archiver is installed.
    #[error("there is neither `llvm-{name}` beside Clang nor `{name}` on PATH")]
    NoArchiver { name: String },
    /// A program could not be run.
    #[error(transparent)]
    Process(ProcessError),
    /// The search was stopped.
    #[error(transparent)]
    Cancelled(Cancelled),
}

impl From<ProcessError> for NotFound {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            error => Self::Process(error),
        }
    }
}

impl Explain for NotFound {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Process(error) => error.exit_code(),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
            _ => ExitCode::Toolchain,
        }
    }

    fn hint(&self) -> Option<String> {
        let (what, install) = match self {
            Self::NotInstalled { install } => ("it", install),
            Self::Missing { install, .. } | Self::NotClang { install, .. } => ("Clang", install),
            Self::TooOld { install, .. } => ("a newer one", install),
            Self::NoArchiver { .. } => {
                return Some("install binutils, or LLVM's tools of the same version".into());
            }
            Self::Process(error) => return error.hint(),
            Self::Cancelled(cancelled) => return cancelled.hint(),
        };
        let command = install.as_ref().map(|command| format!(" with `{command}`")).unwrap_or_default();
        Some(format!("install {what}{command}, or set {VARIABLE} to the path of another one"))
    }
}
