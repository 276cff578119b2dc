//! Rust: the project's own toolchain, and the standard libraries that are added to it.
//!
//! `rustc` is called in the project's directory and reports which toolchain it is, so rust-toolchain.toml,
//! `RUSTUP_TOOLCHAIN`, `RUSTC` and overrides all count as they do for cargo. No other toolchain is ever used. If it
//! lacks a target, `rustup target add` adds it. If the channel does not have the target, the standard library is built
//! from its source, and that is reported. Without rustup the error names what to install.

pub(crate) mod flags;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use semver::Version;
use serde::Deserialize;

use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level};
use crate::host::Host;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::env::Environment;
use crate::sys::process::{self, Command, ProcessError};
use crate::sys::{fs, store, usage};
use crate::target::catalog::Target;
use crate::target::platform::Platform;
use crate::toolchain::objcopy::Objcopy;

/// `toolchains/rust.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RustData {
    /// The file's stem.
    pub name: String,
    /// The oldest version whose programs do not depend on the directory of the build.
    pub minimum: Version,
    /// How crates with C code are recognised.
    pub c_code: CCode,
    /// The packages of distributions.
    pub distribution: Vec<Distribution>,
}

/// How crates with C code are recognised.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CCode {
    /// Packages that occur as build dependencies only of crates that compile or look for C code.
    pub build_dependencies: Vec<String>,
}

/// How to install a target's standard library on a distribution.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Distribution {
    /// Its name.
    pub name: String,
    /// The command, with `{triple}` and `{debian}`, Debian's name of the architecture.
    pub command: String,
}

static DATA: LazyLock<RustData> = LazyLock::new(|| {
    toml::from_str(include_str!("../../toolchains/rust.toml"))
        .expect("rust.toml is part of the program and tested")
});

impl RustData {
    /// The embedded data.
    #[must_use]
    pub(crate) fn get() -> &'static Self {
        &DATA
    }
}

/// The project's toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rust {
    /// The compiler, as cargo calls it.
    pub rustc: PathBuf,
    /// cargo.
    pub cargo: PathBuf,
    /// The compiler's version.
    pub version: Version,
    /// The commit that it was built from, if `rustc` prints it.
    pub commit: Option<String>,
    /// The host's triple.
    pub host: String,
    /// Its sysroot.
    pub sysroot: PathBuf,
    /// rustup, if the toolchain is managed by it.
    pub rustup: Option<Rustup>,
}

/// rustup, and its name for the toolchain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rustup {
    /// The program.
    pub program: PathBuf,
    /// The toolchain, for example `stable-x86_64-unknown-linux-gnu`.
    pub toolchain: String,
}

/// The origin of a target's standard library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standard {
    /// It is in the sysroot.
    Installed,
    /// cargo builds it from its source (`-Zbuild-std`).
    Built,
}

/// Why the toolchain, or a part of it, is not available.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `rustc`.
    #[error("`{}` was not found", program.display())]
    NoRust {
        /// The program that was looked up.
        program: PathBuf,
    },
    /// `rustc` does not work in the project's directory.
    #[error("Rust does not work in `{}`: {reason}", dir.display())]
    Broken {
        /// The project's directory.
        dir: PathBuf,
        /// The error that it printed.
        reason: String,
    },
    /// cargo's own configuration cannot be read.
    #[error("cargo's configuration cannot be read: {0}")]
    Configuration(#[from] cargo_config2::Error),
    /// A target's standard library is missing and there is no rustup to add it.
    #[error(
        "the Rust in `{}` has no standard library for {triple}, and it is not managed by rustup",
        sysroot.display()
    )]
    NoStandard {
        /// The target.
        triple: String,
        /// Debian's name of its architecture.
        architecture: Option<String>,
        /// The toolchain.
        sysroot: PathBuf,
    },
    /// It is missing, and the network must not be used.
    #[error("the standard library for {triple} is not installed, and the network must not be used")]
    Offline {
        /// The target.
        triple: String,
        /// The toolchain.
        toolchain: String,
    },
    /// rustup failed.
    #[error("`{command}` failed: {reason}")]
    Rustup {
        /// The command line.
        command: String,
        /// The error that it printed.
        reason: String,
    },
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

impl From<fs::LockError> for Error {
    fn from(error: fs::LockError) -> Self {
        error.into_error()
    }
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoRust { .. } | Self::Broken { .. } | Self::NoStandard { .. } | Self::Rustup { .. } => {
                ExitCode::Toolchain
            }
            Self::Configuration(_) => ExitCode::Config,
            Self::Offline { .. } => ExitCode::Offline,
            Self::Process(error) => error.exit_code(),
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoRust { .. } => Some("install Rust from https://rustup.rs".into()),
            Self::Broken { reason, .. } => match missing_toolchain(reason) {
                Some(toolchain) => Some(format!("run `rustup toolchain install {toolchain}`")),
                None => Some("run `rustc -vV` in that directory and fix the error that it prints".into()),
            },
            Self::Configuration(_) => {
                Some("correct what it names: `.cargo/config.toml`, or the variable".into())
            }
            Self::NoStandard { triple, architecture, .. } => {
                let commands = RustData::get().distribution.iter().filter_map(|distribution| {
                    let architecture = match architecture {
                        Some(architecture) => architecture.as_str(),
                        None if distribution.command.contains("{debian}") => return None,
                        None => "",
                    };
                    let command =
                        distribution.command.replace("{triple}", triple).replace("{debian}", architecture);
                    Some(format!("`{command}` on {}", distribution.name))
                });
                let commands: Vec<_> = commands.collect();
                Some(format!("{}, or use Rust from https://rustup.rs", commands.join(", ")))
            }
            Self::Offline { triple, toolchain } => Some(format!(
                "run `rustup target add --toolchain {toolchain} {triple}` once with the network"
            )),
            Self::Rustup { command, .. } => Some(format!("run `{command}` yourself to see more")),
            Self::Process(error) => error.hint(),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// The toolchain that is not installed according to rustup: `error: toolchain '1.60.0-x86_64…' is not installed`.
fn missing_toolchain(reason: &str) -> Option<&str> {
    let (before, _) = reason.split_once("' is not installed")?;
    before.rsplit_once('\'').map(|(_, name)| name)
}

/// Determines the toolchain that cargo would use in `dir`.
pub(crate) fn detect(dir: &Path, environment: &Environment, cancel: &Cancel) -> Result<Rust, Error> {
    let options = cargo_config2::ResolveOptions::default().env(environment.iter());
    let config = cargo_config2::Config::load_with_options(dir, options)?;
    let rustc = config.build.rustc.unwrap_or_else(|| "rustc".into());
    let cargo = environment.path("CARGO").unwrap_or_else(|| PathBuf::from("cargo"));
    let ask = |arguments: &[&str]| -> Result<String, Error> {
        let command = Command::new(&rustc).args(arguments.iter().copied()).dir(dir);
        command.env("RUST_BACKTRACE", "0").text(cancel).map_err(|error| match error {
            error if error.is_not_found() => Error::NoRust { program: rustc.clone() },
            ProcessError::Failed { stderr, .. } => Error::Broken { dir: dir.to_owned(), reason: stderr },
            other => other.into(),
        })
    };
    let said = ask(&["-vV"])?;
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim_end());
    let (version, host, commit) = parse_version(&said)
        .ok_or_else(|| Error::Broken { dir: dir.to_owned(), reason: said.trim_end().to_owned() })?;
    let rustup = rustup(&sysroot, environment, cancel)?;
    let toolchain = rustup.as_ref().map(|rustup| rustup.toolchain.as_str());
    tracing::info!(%version, sysroot = %sysroot.display(), rustup = toolchain, "Rust is {}", rustc.display());
    Ok(Rust { rustc, cargo, version, commit, host, sysroot, rustup })
}

/// Version, host and commit from `rustc -vV`.
fn parse_version(text: &str) -> Option<(Version, String, Option<String>)> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim);
    let commit = field("commit-hash").filter(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Some((field("release")?.parse().ok()?, field("host")?.to_owned(), commit.map(str::to_owned)))
}

/// rustup, if its toolchain with the sysroot's name is this one.
fn rustup(sysroot: &Path, environment: &Environment, cancel: &Cancel) -> Result<Option<Rustup>, Error> {
    let Some(toolchain) = sysroot.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let Some(program) = process::find_any(Path::new("rustup"), environment.var_os("PATH"))? else {
        return Ok(None);
    };
    let command = Command::new(&program).args(["which", "--toolchain", toolchain, "rustc"]);
    // Without this, rustup would install a toolchain of that name.
    let output = command.env("RUSTUP_AUTO_INSTALL", "0").output(cancel)?;
    let path = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    let ours = output.status.success() && Path::new(&path) == sysroot.join("bin/rustc");
    Ok(ours.then(|| Rustup { program, toolchain: toolchain.to_owned() }))
}

impl Rust {
    /// True if the sysroot has the target's standard library; an error if that cannot be determined.
    pub(crate) fn has(&self, triple: &str) -> io::Result<bool> {
        let rustlib = self.sysroot.join("lib/rustlib");
        // rustup writes a list of a target's files once all of them are installed; another process may be installing it
        // now.
        if rustlib.join("components").try_exists()? {
            let list = rustlib.join(format!("manifest-rust-std-{triple}"));
            let Some(files) = fs::unless_missing(fs::read_to_string(list))? else { return Ok(false) };
            return self.has_all_of(&files);
        }
        // rustup keeps the directory when it removes a target, but not the libraries in it.
        let dir = rustlib.join(triple).join("lib");
        for entry in fs::unless_missing(fs::read_dir(dir))?.into_iter().flatten() {
            if entry?.file_name().to_string_lossy().starts_with("libstd-") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// True if all files exist that rustup's list names, one `file:lib/rustlib/…` per line.
    fn has_all_of(&self, list: &str) -> io::Result<bool> {
        for file in list.lines().filter_map(|line| line.strip_prefix("file:")) {
            if !self.sysroot.join(file).try_exists()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The directory of the standard library's source, which may be missing.
    #[must_use]
    pub(crate) fn source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    /// True if the source of the standard library is installed.
    fn has_source(&self) -> io::Result<bool> {
        self.source().join("library/std/Cargo.toml").try_exists()
    }

    /// LLVM's objcopy, which supports every target, if the toolchain contains it.
    pub(crate) fn objcopy(&self) -> io::Result<Option<Objcopy>> {
        let program = self.tool("rust-objcopy")?;
        Ok(program.map(|program| Objcopy { program, libraries: self.sysroot.join("lib") }))
    }

    /// LLVM's linker, if the toolchain contains it.
    pub(crate) fn lld(&self) -> io::Result<Option<PathBuf>> {
        self.tool("rust-lld")
    }

    /// The same under the name by which it is a linker for ELF files, as compilers call it.
    pub(crate) fn ld_lld(&self) -> io::Result<Option<PathBuf>> {
        self.tool("gcc-ld/ld.lld")
    }

    /// A program of LLVM. Programs differ with what links them, so an error must not look as if the toolchain had none.
    fn tool(&self, name: &str) -> io::Result<Option<PathBuf>> {
        let path = self.sysroot.join("lib/rustlib").join(&self.host).join("bin").join(name);
        Ok(path.try_exists()?.then_some(path))
    }

    /// True if programs may depend on the directory that they are built in.
    #[must_use]
    pub(crate) fn is_too_old_to_reproduce(&self) -> bool {
        self.version < RustData::get().minimum
    }

    /// The toolchain's name in tables and events: `1.95.0`.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        format!("Rust {}", self.version)
    }
}

/// Makes sure that a target has its standard library, and returns its origin. `platform` is the target's platform.
///
/// Targets that a channel does not have are recorded in the cache, so that the next run need not try again.
pub(crate) fn provide(
    rust: &Rust,
    (platform, target): (&Platform, &Target),
    host: Host<'_>,
) -> Result<Standard, Error> {
    if rust.has(&target.triple)? {
        return Ok(Standard::Installed);
    }
    add(rust, (platform, target), host)
}

/// True if it is known, without asking rustup, that a standard library that is not installed has to be built from its source.
pub(crate) fn is_built_from_source(rust: &Rust, target: &Target, cache: &Path) -> io::Result<bool> {
    match &rust.rustup {
        Some(rustup) if !target.rust.library_from_source => {
            let not_carried = not_carried(rust, rustup, &target.triple, cache);
            usage::mark(&not_carried);
            not_carried.try_exists()
        }
        _ => Ok(target.rust.library_from_source),
    }
}

/// The file that is there if the channel does not carry a target.
fn not_carried(rust: &Rust, rustup: &Rustup, triple: &str, cache: &Path) -> PathBuf {
    cache.join("rust").join(format!("{}-{}-without-{triple}", rustup.toolchain, commit_key(rust)))
}

fn add(rust: &Rust, (platform, target): (&Platform, &Target), host: Host<'_>) -> Result<Standard, Error> {
    let Host { cache, cancel, reporter, .. } = host;
    let offline = host.client.is_offline();
    let triple = target.triple.as_str();
    let Some(rustup) = &rust.rustup else {
        return Err(Error::NoStandard {
            triple: triple.to_owned(),
            architecture: target.port.as_ref().map(|port| port.architecture.clone()),
            sysroot: rust.sysroot.clone(),
        });
    };
    let note = |level: Level, text: String| {
        reporter.report(Event::Note { level, platform: Some(platform.clone()), text });
    };
    // Shows those who prune the cache that it is in use.
    store::open(cache)?;
    store::dir(&cache.join("rust"))?;
    // rustup has no lock of its own: two processes that add to one toolchain at the same time undo each other's work.
    // The toolchain's directory is locked, so that this works for processes with different caches.
    let _lock = store::lock(&rust.sysroot, cancel)?;
    if rust.has(triple)? {
        return Ok(Standard::Installed);
    }
    let not_carried = not_carried(rust, rustup, triple, cache);
    usage::mark(&not_carried);
    if !not_carried.try_exists()? {
        if offline {
            return Err(Error::Offline { triple: triple.to_owned(), toolchain: rustup.toolchain.clone() });
        }
        note(Level::Info, format!("adding the standard library for {triple} to {}", rustup.toolchain));
        let mut added = call(rustup, &["target", "add"], triple, cancel);
        if added.is_ok() && !rust.has(triple)? {
            // A concurrent rustup has overwritten the list of installed components.
            added = call(rustup, &["target", "add"], triple, cancel);
        }
        match added {
            Ok(()) if rust.has(triple)? => return Ok(Standard::Installed),
            Err(Error::Rustup { reason, .. }) if says_not_carried(&reason) => {
                fs::write_atomic(&not_carried, b"", 0o644)?;
            }
            Ok(()) => {
                return Err(Error::Rustup {
                    command: format!("rustup target add --toolchain {} {triple}", rustup.toolchain),
                    reason: format!("it succeeded, but `{}` still lacks the target", rust.sysroot.display()),
                });
            }
            Err(error) => return Err(error),
        }
    }
    if !rust.has_source()? {
        if offline {
            return Err(Error::Offline { triple: triple.to_owned(), toolchain: rustup.toolchain.clone() });
        }
        call(rustup, &["component", "add"], "rust-src", cancel)?;
    }
    note(
        Level::Info,
        format!(
            "{} has no standard library for {triple}; it is built from its source, which takes some \
             minutes the first time",
            rustup.toolchain
        ),
    );
    Ok(Standard::Built)
}

/// Distinguishes a toolchain from an updated one of the same name.
fn commit_key(rust: &Rust) -> String {
    match &rust.commit {
        Some(commit) => commit.chars().take(9).collect(),
        None => rust.version.to_string(),
    }
}

/// Recognises rustup's messages for a target that the channel does not have: it is in no manifest, it is marked as
/// unavailable, or its file is not on the server.
fn says_not_carried(stderr: &str) -> bool {
    ["does not support target", "is unavailable for download", "status code: 404", "404 Not Found"]
        .iter()
        .any(|words| stderr.contains(words))
}

fn call(rustup: &Rustup, verb: &[&str], what: &str, cancel: &Cancel) -> Result<(), Error> {
    let command = Command::new(&rustup.program)
        .args(verb.iter().copied())
        .args(["--toolchain", &rustup.toolchain, what])
        .env("RUST_BACKTRACE", "0");
    match command.text(cancel) {
        Ok(_) => Ok(()),
        Err(ProcessError::Failed { command, stderr, .. }) => Err(Error::Rustup { command, reason: stderr }),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
