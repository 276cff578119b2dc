//! Errors in configuration files that are found before values are interpreted.

use std::io;
use std::path::PathBuf;

use crate::error::{ExitCode, Explain, Snippet};
use crate::origin::Location;

/// Why a configuration, or the project it belongs to, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `Cargo.toml`.
    #[error("there is no Cargo.toml in `{}`{}", dir.display(), if *.parents { " or a directory above it" } else { "" })]
    NoManifest {
        /// The directory that was searched.
        dir: PathBuf,
        /// True if the directories above were searched too.
        parents: bool,
        /// A `Cargo.toml` nearby, if there is one.
        near: Option<PathBuf>,
    },
    /// A file that was named with `--config` does not exist.
    #[error("the configuration file `{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// A file could not be read; the operating system's error names it.
    #[error("cannot read the project: {0}")]
    Read(io::Error),
    /// A file is not TOML, or has keys or values that it must not have.
    #[error("{}", lines(.0))]
    Faults(Vec<Fault>),
    /// Both `xbuild.toml` and a metadata table configure the same package or workspace.
    #[error("{location}: `[{table}.metadata.xbuild]` and `{}` configure the same {table}", beside.display())]
    Twice {
        /// The metadata table.
        location: Location,
        /// The `xbuild.toml`.
        beside: PathBuf,
        /// `package` or `workspace`.
        table: &'static str,
    },
}

/// One fault in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its location.
    pub location: Location,
    /// What is wrong, as one line.
    pub message: String,
    /// What would be right, if that is known.
    pub remedy: Option<String>,
}

fn lines(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults
        .iter()
        .map(|fault| match &fault.remedy {
            Some(remedy) => format!("{}: {} ({remedy})", fault.location, fault.message),
            None => format!("{}: {}", fault.location, fault.message),
        })
        .collect();
    lines.join("\n")
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoManifest { .. } => ExitCode::NoManifest,
            Self::Missing(_) => ExitCode::MissingFile,
            Self::Read(reason) => ExitCode::of_io(reason),
            Self::Faults(_) | Self::Twice { .. } => ExitCode::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoManifest { near: Some(near), .. } => {
                Some(format!("`{}` exists: give its directory as the path, or --manifest-path", near.display()))
            }
            Self::NoManifest { near: None, .. } => {
                Some("run xbuild in a cargo project, or give its directory: `xbuild path/to/project`".into())
            }
            Self::Missing(_) => Some("--config takes the path of a file like xbuild.toml".into()),
            Self::Read(_) => None,
            Self::Faults(faults) if faults.iter().any(|fault| fault.location.source().foreign) => Some(
                "it is a link that leads out of its directory, so nothing of that file is shown; every key is \
                 described in docs/configuration.md"
                    .into(),
            ),
            Self::Faults(_) => Some("every key is described in docs/configuration.md".into()),
            Self::Twice { .. } => Some("keep one of the two".into()),
        }
    }

    fn snippets(&self) -> Vec<Snippet> {
        match self {
            Self::Faults(faults) => faults
                .iter()
                .filter_map(|fault| {
                    fault.location.snippet(fault.message.clone(), fault.remedy.as_deref().unwrap_or_default())
                })
                .collect(),
            Self::Twice { location, beside, table } => {
                let title = format!("the {table} is configured twice");
                location.snippet(title, &format!("so it is in `{}`", beside.display())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}
