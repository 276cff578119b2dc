//! The command line: clap's types, one thin function per command, and the rendering of events and errors.
//!
//! The only room that writes to standard output and standard error. Standard output carries only results: the reference
//! with its digest, a list, a script. Everything else, including JSON progress, goes to standard error.

mod arguments;
mod cache;
mod commands;
mod diagnose;
mod images;
mod log;
mod manifests;
mod matrix;
mod merge;
mod render;
mod repro;
mod show;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod view;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use crate::error::{ExitCode, Explain, io_hint};
use crate::settings::VARIABLES;
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::env::{self, Environment};
use crate::sys::log::command_line;
use crate::sys::{process, threads};
use crate::toolchain::driver;

use arguments::Arguments;
use view::View;

/// The name by which the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `xbuild`.
    Xbuild,
    /// `cargo-xbuild`, which cargo runs as `cargo xbuild`.
    CargoXbuild,
}

/// A failure of a command, from any room.
pub(crate) struct Failure(Box<dyn Explain + Send + Sync>);

impl<E: Explain + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

/// The errors of this room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A command's name in place of a directory.
    #[error("there is no directory `{given}` to build")]
    CommandAsPath {
        /// What was given.
        given: String,
        /// The command that was probably meant.
        command: String,
    },
    /// `xbuild man` with an unknown command.
    #[error("there is no command `{given}`")]
    NoSuchCommand {
        /// What was given.
        given: String,
    },
    /// `XBUILD_PROGRESS` has an invalid value.
    #[error("`{given}` is not a way to show progress (from $XBUILD_PROGRESS)")]
    Progress {
        /// What was given.
        given: String,
    },
    /// `XBUILD_LOG` has an invalid value.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// The result could not be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(std::io::Error),
    /// `xbuild tag` of an image that is neither in a layout nor in a registry.
    #[error("`{given}` is not in a layout or a registry")]
    TagElsewhere {
        /// What was given.
        given: String,
    },
    /// `xbuild tag` with a name in another repository.
    #[error("`{name}` is in a different repository from `{image}`, so adding a name is not enough")]
    TagAcross {
        /// The image.
        image: String,
        /// The name to add.
        name: String,
    },
    /// `xbuild push` of an image without a name.
    #[error("`{given}` has no name that says where to push it")]
    NoName {
        /// What was given.
        given: String,
    },
    /// `xbuild index create` without a destination.
    #[error("nothing says where the index goes")]
    NoDestination,
    /// The file of `xbuild index create -f` could not be read.
    #[error("cannot read the sources: {0}")]
    SourceFile(std::io::Error),
    /// The file is JSON, but not metadata.
    #[error("`{}` describes no image: {reason}", path.display())]
    Metadata {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An archive would go to a terminal.
    #[error("an archive cannot be written to a terminal")]
    Terminal,
    /// The current directory does not exist any more.
    #[error("the current directory cannot be found: {0}")]
    CurrentDirectory(std::io::Error),
    /// The system has no more threads, for the work or for listening to Ctrl-C.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// Ctrl-C cannot be caught for another reason.
    #[error("cannot listen to Ctrl-C: {0}")]
    Signals(ctrlc::Error),
}

impl Explain for CliError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::CommandAsPath { .. }
            | Self::NoSuchCommand { .. }
            | Self::Terminal
            | Self::TagElsewhere { .. }
            | Self::TagAcross { .. }
            | Self::NoName { .. }
            | Self::NoDestination => ExitCode::Usage,
            Self::SourceFile(error) if error.kind() == std::io::ErrorKind::NotFound => ExitCode::MissingFile,
            Self::Metadata { .. } | Self::Progress { .. } | Self::Log(_) => ExitCode::Config,
            Self::SourceFile(error)
            | Self::Stdout(error)
            | Self::CurrentDirectory(error)
            | Self::Threads(error) => ExitCode::of_io(error),
            Self::Signals(_) => ExitCode::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::CommandAsPath { command, .. } => {
                Some(format!("a command comes before all other arguments: `xbuild {command} …`"))
            }
            Self::NoSuchCommand { .. } => Some("`xbuild --help` lists the commands".into()),
            Self::Progress { .. } => Some("known: auto, tty, plain, json, quiet".into()),
            Self::Log(error) => Some(error.hint()),
            Self::CurrentDirectory(_) => Some("change to a directory that exists".into()),
            Self::TagElsewhere { .. } => {
                Some("copy it to one of these, or to its new name, with `xbuild copy`".into())
            }
            Self::TagAcross { image, name } => Some(format!(
                "copy it there, which sends no layers within a registry: `xbuild copy docker://{image} docker://{name}`"
            )),
            Self::NoName { .. } => Some("add it: xbuild push IMAGE registry.example/team/app:1.0".into()),
            Self::NoDestination => {
                Some("name a destination: --output oci:PATH, or --tag registry.example/team/app:1.0".into())
            }
            Self::Metadata { .. } => {
                Some("use a file that `xbuild --metadata-file` or docker buildx wrote".into())
            }
            Self::Terminal => Some("pipe it to a program, or write it to a file: dest=FILE".into()),
            Self::SourceFile(error) | Self::Stdout(error) | Self::Threads(error) => io_hint(error),
            Self::Signals(_) => None,
        }
    }
}

/// Runs a command line and returns the process's exit code.
#[must_use]
pub fn main(program: Program, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let environment = Environment::of_process();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // cargo calls xbuild back as a compiler and linker, many times in a build, so that comes before everything else.
    let rest = arguments.get(1..).unwrap_or_default();
    if let Some(code) = driver::called(rest, &environment, &mut std::io::stderr()) {
        return code;
    }
    let given = arguments.clone();
    let arguments = normalise(program, arguments);
    let parsed = command(program)
        .try_get_matches_from(arguments)
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, matches)));
    let (arguments, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help goes to standard output, usage errors to standard error. It does not matter if that is closed.
            error.print().ok();
            return if error.use_stderr() { ExitCode::Usage.number() } else { 0 };
        }
    };
    let made = log::Filter::of(&environment).map_err(CliError::from).and_then(|filter| {
        let view = View::new(&arguments.view, &environment, filter.is_some())?;
        Ok((view, filter))
    });
    let view = match made {
        Ok((view, filter)) => {
            if let Some(filter) = filter {
                filter.start(&view);
                tell_start(&given, &environment);
            }
            view
        }
        Err(error) => {
            let view = View::fallback();
            view.fail(&error);
            return error.exit_code().number();
        }
    };
    let result = listen().and_then(|cancel| {
        let cancel = cancel.telling(view.tell());
        commands::run(&arguments, &matches, &environment, &view, &cancel)
    });
    match result {
        Ok(()) => {
            view.finish();
            tracing::info!("ends well");
            0
        }
        Err(Failure(error)) => {
            let code = error.exit_code();
            tracing::info!("ends with {} ({code})", code.number());
            view.fail(&*error);
            code.number()
        }
    }
}

/// Logs what is run: the command line, and the names of the variables that are set, but not their values.
fn tell_start(arguments: &[OsString], environment: &Environment) {
    let known = VARIABLES.iter().map(|variable| variable.name);
    let set: Vec<&str> = known.filter(|name| environment.var_os(name).is_some()).collect();
    let dir = env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    let line = command_line(arguments.iter().map(OsString::as_os_str));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), dir, variables = set.join(","), "{line}");
}

/// clap's command, with the name that the user typed.
fn command(program: Program) -> clap::Command {
    match program {
        Program::Xbuild => Arguments::command(),
        Program::CargoXbuild => Arguments::command().bin_name("cargo xbuild"),
    }
}

/// How long an interrupted run may take to stop its children and clean up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes Ctrl-C, SIGTERM and SIGHUP interrupt the work, which then stops its children and cleans up. A second signal
/// ends the process at once, and so does [`PATIENCE`] after the first.
fn listen() -> Result<Cancel, Failure> {
    let cancel = Cancel::new();
    let handle = cancel.clone();
    let again = std::sync::atomic::AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if again.swap(true, std::sync::atomic::Ordering::SeqCst) {
            process::kill_all_and_exit(ExitCode::Interrupted.number());
        }
        handle.interrupt();
        let watch = || {
            clock::sleep(PATIENCE);
            // Nothing can be written to a terminal that is gone; the exit code reports the same.
            writeln!(std::io::stderr(), "error: interrupted; the work did not stop by itself and was killed")
                .ok();
            process::kill_all_and_exit(ExitCode::Interrupted.number());
        };
        // Without a thread for it, the second signal still ends everything.
        std::thread::Builder::new().spawn(watch).ok();
    })
    .map_err(|error| match error {
        ctrlc::Error::System(error) => CliError::Threads(error),
        other => CliError::Signals(other),
    })?;
    threads::start_pool().map_err(CliError::Threads)?;
    Ok(cancel)
}

/// Makes `cargo xbuild …` and the default command explicit: inserts `build` if the first argument that is not an option
/// of every command is not a command either.
fn normalise(program: Program, mut arguments: Vec<OsString>) -> Vec<OsString> {
    if program == Program::CargoXbuild && arguments.get(1).is_some_and(|argument| argument == "xbuild") {
        arguments.remove(1);
    }
    let command = Arguments::command();
    let is_command = |word: &OsStr| {
        command
            .get_subcommands()
            .any(|known| word == known.get_name() || known.get_visible_aliases().any(|alias| word == alias))
    };
    let mut index = 1;
    while let Some(argument) = arguments.get(index) {
        if is_command(argument) || ["-h", "--help", "-V", "--version"].iter().any(|flag| argument == flag) {
            return arguments;
        }
        match leading_option(&command, argument) {
            Some(width) => index += width,
            None => break,
        }
    }
    arguments.insert(1.min(arguments.len()), "build".into());
    arguments
}

/// How many arguments an option of every command takes up, including itself; `None` if it is not such an option.
fn leading_option(command: &clap::Command, argument: &OsStr) -> Option<usize> {
    let argument = argument.to_str()?;
    let long = argument
        .strip_prefix("--")
        .map(|long| long.split_once('=').map_or((long, false), |(name, _)| (name, true)));
    for option in command.get_arguments().filter(|option| option.is_global_set()) {
        let takes_value = option.get_action().takes_values();
        if let Some((name, has_value)) = long
            && option.get_long() == Some(name)
        {
            return Some(if takes_value && !has_value { 2 } else { 1 });
        }
        if let (Some(short), Some(letters)) = (option.get_short(), argument.strip_prefix('-'))
            && !letters.is_empty()
            && letters.chars().all(|letter| letter == short)
        {
            return Some(1);
        }
    }
    None
}
