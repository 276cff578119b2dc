//! Compiles the project's binaries for every target with one cargo process, and hands over each artifact as soon as it
//! exists.
//!
//! One process means one job server and one compilation of build scripts and procedural macros for all targets. Two
//! kinds of targets get a process of their own: those whose standard library is built with them, and a second glibc for
//! a target that is already in the batch, since cargo's directories distinguish targets only by their triple.
//!
//! The project's build is cargo's: profiles, features, patches, wrappers and flags are whatever cargo's own
//! configuration says. xbuild adds a linker ([`crate::toolchain::driver`]), a C compiler for build scripts, and the
//! remapping of paths, so that a program does not depend on where it was built. No foreign build script or test is run:
//! build scripts are compiled for the host. This module deliberately does not decide what an artifact must be (`elf`)
//! or what happens to it.

pub(crate) mod choice;
pub(crate) mod config_source;
pub(crate) mod configuration;
mod environment;
pub(crate) mod explain;
pub(crate) mod features;
mod flags;
pub(crate) mod graph;
pub(crate) mod metadata;
mod prefixes;
mod prepare;
mod process;
pub(crate) mod processor;
pub(crate) mod project;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod spec;
mod stderr;
mod watch;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::config::OnFailure;
use crate::error::{ExitCode, Explain, io_hint};
use crate::host::Host;
use crate::payload::cargo::project::{Part, Project};
use crate::settings::PayloadSettings;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::process::ProcessError;
use crate::sys::threads::Ends;
use crate::sys::{fs, store};
use crate::target::abi::GlibcVersion;
use crate::target::catalog::Target;
use crate::target::platform::Platform;
use crate::toolchain::Kit;
use crate::toolchain::host_tools::HostTool;
use crate::toolchain::provided::NAME;
use crate::toolchain::rust::{Rust, Standard};
use config_source::ConfigSource;
use configuration::Configuration;
use graph::Graph;

/// What to compile, and with what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompileRequest<'a> {
    /// The project's toolchain.
    pub rust: &'a Rust,
    /// The environment, and the directory for the compilers' caches.
    pub host: Host<'a>,
    /// cargo's configuration.
    pub configuration: &'a Configuration,
    /// The options for cargo.
    pub settings: &'a PayloadSettings,
    /// The absolute path of the `Cargo.toml`; cargo runs in its directory.
    pub manifest_path: &'a Path,
    /// The binaries, and the directories.
    pub project: &'a Project,
    /// The dependency graph.
    pub graph: &'a Graph,
    /// The tools of this machine that builds may need.
    pub tools: &'a [HostTool],
    /// The targets.
    pub units: &'a [Unit],
    /// The path of a program that passes calls on to [`wrapper::called`].
    pub program: &'a Path,
    /// True if the network must not be used.
    pub offline: bool,
    /// Whether the other targets continue if one fails.
    pub on_failure: OnFailure,
    /// True if the compiler's messages should be in colour.
    pub color: bool,
    /// `SOURCE_DATE_EPOCH` for C code that contains time stamps, unless the environment has it.
    pub source_date_epoch: Option<i64>,
}

/// One target to compile for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The platform: the target's own, or a variant for better processors.
    pub platform: Platform,
    /// The target.
    pub target: &'static Target,
    /// The glibc that programs are linked for; `None` for musl and where another linker decides.
    pub glibc: Option<GlibcVersion>,
    /// Where the standard library comes from.
    pub standard: Standard,
    /// What links.
    pub kit: Kit,
    /// Its time limit, from the start of [`compile`].
    pub limit: Option<Duration>,
    /// What must exist besides the programs, by the package's id.
    pub parts: BTreeSet<(String, Part)>,
}

/// A program that cargo has finished. It is not yet verified: see `elf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// The index of its unit.
    pub unit: usize,
    /// The binary's name.
    pub binary: String,
    /// Its path.
    pub path: PathBuf,
    /// True if it was up to date.
    pub fresh: bool,
}

/// Something that cargo has finished for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// A program.
    Program(Artifact),
    /// A build script has run.
    OutDir {
        /// The index of its unit.
        unit: usize,
        /// The package's id.
        package_id: String,
        /// `OUT_DIR`.
        dir: PathBuf,
    },
    /// A shared library.
    Library {
        /// The index of its unit.
        unit: usize,
        /// The package's id.
        package_id: String,
        /// Its files.
        files: Vec<PathBuf>,
    },
}

impl Product {
    /// The index of the unit that it is for.
    #[must_use]
    pub(crate) fn unit(&self) -> usize {
        match self {
            Self::Program(artifact) => artifact.unit,
            Self::OutDir { unit, .. } | Self::Library { unit, .. } => *unit,
        }
    }
}

/// The result of compiling.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Every program, in the order in which cargo finished them.
    pub artifacts: Vec<Artifact>,
    /// The units that lack programs, by their index, with the reason.
    pub failures: Vec<(usize, UnitError)>,
}

/// Why a target lacks programs, while others may have theirs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The compiler or the linker failed.
    #[error("{triple} does not compile{}", summed_up(messages))]
    Compiler {
        /// The target.
        triple: String,
        /// The errors' messages, as cargo rendered them, without colours. They were reported when they came, so this
        /// error shows only a summary of each.
        messages: Vec<String>,
        /// The linker that cargo's configuration names, if it may be what failed.
        linker: Option<Box<NamedLinker>>,
        /// The tools of this machine that builds may need.
        tools: Vec<HostTool>,
        /// True if build scripts were given no compiler for C code of the target.
        no_compiler: bool,
    },
    /// The compiler failed with the same errors as for another target.
    #[error("{triple} does not compile, with the same errors as {other}")]
    Same {
        /// The target.
        triple: String,
        /// The target whose failure has the messages.
        other: String,
    },
    /// Its time limit expired.
    #[error("{cancelled}{}", running.as_ref().map_or(String::new(), |what| format!("; it was at {what}")))]
    TimedOut {
        /// The limit.
        cancelled: Cancelled,
        /// What cargo was doing.
        running: Option<String>,
    },
    /// cargo succeeded but did not report where the program is.
    #[error("cargo did not build `{binary}` for {triple}")]
    Missing {
        /// The target.
        triple: String,
        /// The binary.
        binary: String,
    },
    /// Another target failed first, and the remaining ones were then stopped.
    #[error("{triple} was not compiled, because another target failed")]
    Skipped {
        /// The target.
        triple: String,
    },
}

/// True for rustc's messages that the linker failed or is missing.
fn says_linker(errors: &str) -> bool {
    errors.contains("error: linking with `") || errors.contains("error: linker `")
}

/// At most this many errors are summarised.
const MOST_ERRORS: usize = 5;

fn summed_up(messages: &[String]) -> String {
    if messages.is_empty() {
        return "; cargo's messages are above".into();
    }
    let mut lines: Vec<String> =
        messages.iter().take(MOST_ERRORS).flat_map(|message| stderr::summary(message)).collect();
    if messages.len() > MOST_ERRORS {
        lines.push(format!("and {} more errors", messages.len() - MOST_ERRORS));
    }
    let lines = lines.join("\n  ");
    format!(", as reported above:\n  {lines}")
}

impl Explain for UnitError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Compiler { .. } | Self::Same { .. } | Self::Missing { .. } | Self::Skipped { .. } => {
                ExitCode::Compile
            }
            Self::TimedOut { cancelled, .. } => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Compiler { messages, linker, tools, no_compiler, .. } => {
                let said = messages.concat();
                let named = linker.as_ref().filter(|_| says_linker(&said)).map(|linker| linker.hint());
                explain::hint(&said, named, tools, *no_compiler)
            }
            Self::Same { .. } | Self::Skipped { .. } => None,
            Self::Missing { .. } => {
                Some("check whether `required-features` of the binary are enabled".into())
            }
            Self::TimedOut { cancelled, .. } => cancelled.hint(),
        }
    }
}

/// A linker that cargo's configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedLinker {
    /// It links the programs.
    OfTarget(ConfigSource),
    /// zig links the programs; this linker links build scripts and procedural macros.
    OfHost {
        /// Where it is set.
        source: ConfigSource,
        /// The variable that would set another.
        variable: String,
    },
}

impl NamedLinker {
    fn hint(&self) -> String {
        match self {
            Self::OfTarget(source) => format!(
                "{source} names the linker; `--toolchain {NAME}` links with {NAME} instead, whatever cargo's \
                 configuration says"
            ),
            Self::OfHost { source, variable } => format!(
                "cargo links build scripts and procedural macros with the linker of {source}: install it, or set \
                 {variable}=cc in the environment"
            ),
        }
    }
}

/// Why nothing could be compiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// cargo ended before it compiled anything.
    #[error("cargo failed:\n{}", reason.trim_end())]
    Cargo {
        /// What it printed.
        reason: String,
        /// True if it needs something that it must not download.
        offline: bool,
    },
    /// cargo's configuration cannot be read.
    #[error("cargo's configuration cannot be read: {0}")]
    Configuration(#[from] cargo_config2::Error),
    /// A program could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Cargo { .. } => ExitCode::Compile,
            Self::Configuration(_) => ExitCode::Config,
            Self::Process(error) => error.exit_code(),
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Cargo { offline: true, .. } => {
                Some("run once without --offline to fetch the dependencies".into())
            }
            Self::Cargo { .. } => None,
            Self::Configuration(_) => {
                Some("fix the file or variable that it names, such as `.cargo/config.toml`".into())
            }
            Self::Process(error) => error.hint(),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// The directories of this machine that compilers are given other names for. If one of them is still in a program, the
/// program asked for it.
#[must_use]
pub(crate) fn machine_dirs(request: &CompileRequest<'_>) -> Vec<PathBuf> {
    prefixes::machine_dirs(request)
}

/// Compiles the binaries for every unit. On the calling thread, `on_product` is called for each program as soon as it
/// exists, and for each shared library and file that builds make. An error means that nothing could be compiled;
/// failures of single targets are in the outcome.
pub(crate) fn compile(
    request: &CompileRequest<'_>,
    on_product: &mut dyn FnMut(&Product),
) -> Result<Outcome, Error> {
    let reporter = request.host.reporter;
    store::dir(request.host.cache)?;
    let remarks = fs::temporary_dir(request.host.cache)?;
    let prepared = prepare::prepare(request, remarks.path())?;
    let books = watch::books(request.units, &prepared.batches);
    let primer = request.host.cancel.child();
    let ended = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        // The work of these threads is otherwise done or reported later, so it is not a failure if threads cannot be
        // started.
        let start = || std::thread::Builder::new();
        start().spawn_scoped(scope, || process::prime_all(request, &prepared, &primer)).ok();
        start().spawn_scoped(scope, || watch::follow(&books, &ended, reporter)).ok();
        let _ends = Ends(&ended);
        // Priming that is still running is not needed any more.
        let _stops = Stops(&primer);
        process::run_all(request, &prepared, on_product)
    });
    watch::report_remarks(&books, reporter)?;
    result
}

/// Stops concurrent work when it is dropped, also in a panic.
struct Stops<'a>(&'a Cancel);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

#[cfg(test)]
mod tests;
