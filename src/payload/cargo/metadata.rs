//! cargo's description of the project: `cargo metadata`, run in the project's directory with a time limit.

use std::path::{Path, PathBuf};

pub(crate) use cargo_metadata::Metadata;
use cargo_metadata::MetadataCommand;

use crate::error::{ExitCode, Explain};
use crate::event::{Event, Level, Reporter};
use crate::settings::PayloadSettings;
use crate::sys::cancel::Cancel;
use crate::sys::process::{Command, Line, ProcessError};
use crate::toolchain::rust::Rust;

/// Why cargo's metadata could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// cargo could not be run, or was stopped.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// cargo refused the project.
    #[error("cargo cannot read `{}`{}", manifest.display(), quoted(stderr))]
    Refused {
        /// The Cargo.toml.
        manifest: PathBuf,
        /// What it printed, without status lines.
        stderr: Vec<String>,
        /// True if it was not allowed to use the network.
        offline: bool,
    },
    /// cargo's output could not be parsed.
    #[error("cannot understand cargo's metadata: {0}")]
    Answer(#[from] cargo_metadata::Error),
}

impl Explain for MetadataError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Process(error) => error.exit_code(),
            Self::Refused { stderr, offline, .. } => {
                if *offline && stderr.iter().any(|line| line.contains("--offline")) {
                    ExitCode::Offline
                } else {
                    ExitCode::Compile
                }
            }
            Self::Answer(_) => ExitCode::Toolchain,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Process(error) => error.hint(),
            Self::Refused { .. } if self.exit_code() == ExitCode::Offline => {
                Some("run once without --offline, or `cargo fetch`, to fill cargo's cache".into())
            }
            Self::Refused { .. } => Some("`cargo metadata` in that directory shows the same".into()),
            Self::Answer(_) => Some("xbuild needs the cargo of Rust 1.85 or newer".into()),
        }
    }
}

fn quoted(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |text, line| text + "\n  | " + line)
}

/// Runs `cargo metadata`. It may download what the lock file names, as any cargo command does.
pub(crate) fn metadata(
    rust: &Rust,
    manifest: &Path,
    settings: &PayloadSettings,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Metadata, MetadataError> {
    metadata_by(&rust.cargo, manifest, settings, cancel, reporter)
}

/// The same by this cargo.
fn metadata_by(
    cargo: &Path,
    manifest: &Path,
    settings: &PayloadSettings,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Metadata, MetadataError> {
    let mut command = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--color=never"])
        // Override the user's settings for a terminal: cargo's errors are read here, and a progress bar would be on the
        // same line.
        .args(["--config", "term.progress.when=\"never\"", "--config", "term.quiet=false"])
        .env_remove("CARGO_TERM_VERBOSE")
        .arg("--manifest-path")
        .arg(manifest);
    if let Some(dir) = manifest.parent() {
        command = command.dir(dir);
    }
    for (name, path) in &settings.variables {
        command = command.env(name, path);
    }
    for (name, given) in [
        ("--locked", settings.locked),
        ("--offline", settings.offline),
        ("--frozen", settings.frozen),
        ("--all-features", settings.all_features),
        ("--no-default-features", settings.no_default_features),
    ] {
        if given {
            command = command.arg(name);
        }
    }
    if !settings.features.is_empty() {
        command = command.args(["--features", &settings.features.join(",")]);
    }
    let (mut stdout, mut stderr) = (String::new(), Vec::new());
    let status = command.lines(cancel, |line| match line {
        Line::Stdout(bytes) => stdout.push_str(&String::from_utf8_lossy(&bytes)),
        Line::Stderr(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // Status lines are indented; the rest is the error.
            if text.starts_with("   ") && !stderr.is_empty() || !text.starts_with("   ") {
                stderr.push(text);
            } else {
                let text = text.trim().to_owned();
                reporter.report(Event::Note { level: Level::Detail, platform: None, text });
            }
        }
    })?;
    if !status.success() {
        let offline = settings.offline || settings.frozen;
        return Err(MetadataError::Refused { manifest: manifest.to_owned(), stderr, offline });
    }
    let mut metadata = MetadataCommand::parse(stdout.trim())?;
    if let Some(dir) = &settings.target_dir
        && let Ok(dir) = dir.clone().try_into()
    {
        // This call did not pass the target directory: if cargo's configuration has no separate build directory, it is
        // the same.
        if metadata.build_directory.as_ref() == Some(&metadata.target_directory) {
            metadata.build_directory = None;
        }
        metadata.target_directory = dir;
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Silent;
    use crate::sys::fs;

    fn ask(manifest: &str, settings: &PayloadSettings) -> Result<Metadata, MetadataError> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src")).unwrap();
        fs::write_atomic(&dir.path().join("src/main.rs"), b"fn main() {}", 0o644).unwrap();
        let path = dir.path().join("Cargo.toml");
        fs::write_atomic(&path, manifest.as_bytes(), 0o644).unwrap();
        metadata_by(Path::new("cargo"), &path, settings, &Cancel::new(), &Silent)
    }

    #[test]
    fn the_target_directory_is_the_one_asked_for() {
        let manifest = "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
        let settings = PayloadSettings {
            target_dir: Some("/elsewhere".into()),
            offline: true,
            ..PayloadSettings::default()
        };
        let metadata = ask(manifest, &settings).unwrap();
        assert_eq!(metadata.target_directory, "/elsewhere");
        assert_eq!(metadata.workspace_packages()[0].name.as_str(), "p");
    }

    #[test]
    fn what_cargo_refuses_is_quoted() {
        let error = ask("[package]\nname = 1\n", &PayloadSettings::default()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Compile);
        assert!(error.to_string().contains("expected a string"), "{error}");
    }
}
