//! What every command gets and gives: its context, the settings that it asks for, and its failure.

use std::path::Path;

use clap::ArgMatches;

use super::options::{BuildOptions, ViewOptions};
use super::view::View;
use crate::config;
use crate::error::{ExitCode, Explain};
use crate::event::{Event, Level};
use crate::settings::{self, Host, Machine, Settings};
use crate::sys::cancel::Cancel;
use crate::sys::env::{self, Environment};
use crate::target::platform::Platform;
use crate::text::nearest;

/// A command. Its fields are its arguments.
pub(super) trait Run {
    /// For a command that has a time limit of its own: its name, and the value of its flag. Builds, locks and plans
    /// have the project's limit.
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        None
    }

    /// Reads the configuration, calls the library and prints the result.
    fn run(&self, context: &Context<'_>) -> Result<(), Failure>;
}

/// What every command is given.
pub(super) struct Context<'a> {
    /// How output is shown.
    pub(super) options: &'a ViewOptions,
    /// The matches that the arguments were parsed from.
    pub(super) matches: &'a ArgMatches,
    /// What the whole command line is parsed by.
    pub(super) definition: fn() -> clap::Command,
    pub(super) environment: &'a Environment,
    pub(super) view: &'a View,
    pub(super) cancel: &'a Cancel,
}

/// A failure of a command, from any room.
pub(super) struct Failure(pub(super) Box<dyn Explain + Send + Sync>);

impl<E: Explain + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContextError {
    /// A command's name in place of a directory.
    #[error("there is no directory `{given}` to build")]
    CommandAsPath {
        /// What was given.
        given: String,
        /// The command that was probably meant.
        command: String,
    },
    /// The current directory does not exist any more.
    #[error("the current directory cannot be found: {0}")]
    CurrentDirectory(std::io::Error),
}

impl Explain for ContextError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::CommandAsPath { .. } => ExitCode::Usage,
            Self::CurrentDirectory(error) => ExitCode::of_io(error),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::CommandAsPath { command, .. } => {
                Some(format!("a command comes before all other arguments: `xbuild {command} …`"))
            }
            Self::CurrentDirectory(_) => Some("change to a directory that exists".into()),
        }
    }
}

impl Context<'_> {
    fn host(&self) -> Result<Host, ContextError> {
        Ok(Host {
            platform: Platform::new("linux", env::architecture(), None),
            dir: env::current_dir().map_err(ContextError::CurrentDirectory)?,
            color: self.view.color(),
        })
    }

    /// The settings of a build.
    pub(super) fn settings(&self, options: &BuildOptions) -> Result<Settings, Failure> {
        let host = self.host()?;
        if let Some(path) = &options.path {
            not_a_command(&host.dir, path, &(self.definition)())?;
        }
        let config = options.config.clone().or_else(|| self.environment.path("XBUILD_CONFIG"));
        let project = config::find_project(
            &host.dir,
            options.path.as_deref(),
            options.manifest_path.as_deref(),
            config.as_deref(),
        )?;
        let user = config::load_user(self.environment, &host.dir)?;
        let flags = options.flags(self.options);
        let settings = settings::resolve(&flags, self.environment, &project, user.as_ref(), &host)?;
        for file in &settings.files {
            let text = format!("configured by `{}`", file.display());
            self.view.reporter().report(Event::Note { level: Level::Detail, platform: None, text });
        }
        Ok(settings)
    }

    /// The cancellation for a command with a time limit, which comes from the flag, a variable or the user's file.
    pub(super) fn within(&self, flag: Option<&str>, name: &str) -> Result<Cancel, Failure> {
        let host = self.host()?;
        let user = config::load_user(self.environment, &host.dir)?;
        let limit = settings::resolve_timeout(flag, self.environment, user.as_ref(), &host)?;
        Ok(self.cancel.within(limit, name))
    }

    /// The settings of a command that needs no project.
    pub(super) fn machine(&self, offline: bool) -> Result<Machine, Failure> {
        let host = self.host()?;
        let user = config::load_user(self.environment, &host.dir)?;
        Ok(settings::resolve_machine(offline, self.environment, user.as_ref(), &host)?)
    }
}

/// Reports a command's name that was taken for a directory, as in `xbuild --platform arm64 plan` and `xbuild pln`.
fn not_a_command(dir: &Path, path: &Path, definition: &clap::Command) -> Result<(), ContextError> {
    let Some(given) = path.to_str().filter(|given| !given.contains(['/', '.'])) else { return Ok(()) };
    if crate::sys::fs::metadata(dir.join(path)).is_ok() {
        return Ok(());
    }
    let known: Vec<&str> = definition.get_subcommands().map(clap::Command::get_name).collect();
    match nearest(given, &known) {
        Some(command) => {
            Err(ContextError::CommandAsPath { given: given.to_owned(), command: command.to_owned() })
        }
        None => Ok(()),
    }
}
