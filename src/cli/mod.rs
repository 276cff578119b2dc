//! The command line: clap's types, one file per command, and the rendering of events and errors.
//!
//! This file parses, chooses the command and turns its failure into an exit code. The commands (`command`) are below it;
//! below them is what they share: `options`, `context`, the views, and what several commands do alike.
//!
//! The only room that writes to standard output and standard error. Standard output carries only results: the reference
//! with its digest, a list, a script. Everything else, including JSON progress, goes to standard error.

mod command;
mod context;
mod images;
mod log;
mod manifests;
mod options;
mod render;
#[cfg(test)]
mod tests;
mod toolchains;
mod view;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{ExitCode, Explain, io_hint};
use crate::settings::VARIABLES;
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::env::{self, Environment};
use crate::sys::log::command_line;
use crate::sys::{process, threads};
use crate::toolchain::driver;

use command::{
    apply, build, cache, completions, copy, doctor, index, inspect, lock, ls, man, matrix, plan, pull, push,
    repro, resolve, tag, targets, toolchain, verify,
};
use context::{Context, Failure, Run};
use options::ViewOptions;
use view::View;

/// The name by which the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `xbuild`.
    Xbuild,
    /// `cargo-xbuild`, which cargo runs as `cargo xbuild`.
    Subcommand,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Build multi-platform container images on one plain Linux machine, without emulation.
///
/// xbuild cross-compiles a cargo project's programs for every platform, layers each on that platform's base
/// image and writes an OCI image layout with one multi-platform index. `xbuild [PATH]` is short for
/// `xbuild build [PATH]`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "xbuild",
    version,
    styles = STYLES,
    max_term_width = 100,
    override_usage = "xbuild [COMMAND] [OPTIONS]\n       xbuild [OPTIONS] [PATH]",
    after_help = "Run `xbuild build --help` for the options of a build, with examples.",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(flatten)]
    view: ViewOptions,
    #[command(subcommand)]
    command: Command,
}

/// The commands, in the order of the help.
#[derive(Clone, Debug, Subcommand)]
enum Command {
    Build(Box<build::BuildCommand>),
    Plan(Box<plan::PlanOptions>),
    Lock(Box<lock::LockOptions>),
    Push(push::PushOptions),
    Pull(pull::PullOptions),
    Copy(copy::CopyOptions),
    Inspect(inspect::InspectOptions),
    Ls(ls::ListImages),
    Tag(tag::TagOptions),
    #[command(subcommand)]
    Index(index::IndexCommand),
    Resolve(Box<resolve::ResolveOptions>),
    Apply(Box<apply::ApplyOptions>),
    Matrix(Box<matrix::MatrixOptions>),
    Targets(targets::TargetsOptions),
    #[command(subcommand)]
    Toolchain(toolchain::ToolchainCommand),
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    Doctor(doctor::DoctorOptions),
    Verify(verify::VerifyOptions),
    Repro(Box<repro::ReproOptions>),
    Completions(completions::CompletionsOptions),
    Man(man::ManOptions),
}

impl Command {
    /// The command that was given.
    fn given(&self) -> &dyn Run {
        match self {
            Self::Build(command) => &**command,
            Self::Plan(command) => &**command,
            Self::Lock(command) => &**command,
            Self::Push(command) => command,
            Self::Pull(command) => command,
            Self::Copy(command) => command,
            Self::Inspect(command) => command,
            Self::Ls(command) => command,
            Self::Tag(command) => command,
            Self::Index(command) => command,
            Self::Resolve(command) => &**command,
            Self::Apply(command) => &**command,
            Self::Matrix(command) => &**command,
            Self::Targets(command) => command,
            Self::Toolchain(command) => command,
            Self::Cache(command) => command,
            Self::Doctor(command) => command,
            Self::Verify(command) => command,
            Self::Repro(command) => &**command,
            Self::Completions(command) => command,
            Self::Man(command) => command,
        }
    }
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The system has no more threads, for the work or for listening to Ctrl-C.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// Ctrl-C cannot be caught for another reason.
    #[error("cannot listen to Ctrl-C: {0}")]
    Signals(ctrlc::Error),
}

impl Explain for StartError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Threads(error) => ExitCode::of_io(error),
            Self::Signals(_) => ExitCode::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Threads(error) => io_hint(error),
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
    let made = log::Filter::of(&environment).map_err(Failure::from).and_then(|filter| {
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
        Err(Failure(error)) => {
            let view = View::fallback();
            view.fail(&*error);
            return error.exit_code().number();
        }
    };
    let result = listen().and_then(|cancel| {
        let cancel = cancel.telling(view.tell());
        run(&arguments, &matches, &environment, &view, &cancel)
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

/// Runs the command.
fn run(
    arguments: &Arguments,
    matches: &ArgMatches,
    environment: &Environment,
    view: &View,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let (options, definition) = (&arguments.view, Arguments::command as fn() -> clap::Command);
    let context = Context { options, matches, definition, environment, view, cancel };
    let command = arguments.command.given();
    let Some((name, flag)) = command.limit() else { return command.run(&context) };
    let cancel = context.within(flag, name)?;
    command.run(&Context { cancel: &cancel, ..context })
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
        Program::Subcommand => Arguments::command().bin_name("cargo xbuild"),
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
        ctrlc::Error::System(error) => StartError::Threads(error),
        other => StartError::Signals(other),
    })?;
    threads::start_pool().map_err(StartError::Threads)?;
    Ok(cancel)
}

/// Makes `cargo xbuild …` and the default command explicit: inserts `build` if the first argument that is not an option
/// of every command is not a command either.
fn normalise(program: Program, mut arguments: Vec<OsString>) -> Vec<OsString> {
    if program == Program::Subcommand && arguments.get(1).is_some_and(|argument| argument == "xbuild") {
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
