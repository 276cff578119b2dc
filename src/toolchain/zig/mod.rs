//! zig: found on the machine, or provided into the cache.
//!
//! There are several [ways](ZigWay) to zig, and the user chooses their order. One that fails leads to the
//! next; when all have failed, the error lists each with its reason. What is provided is checked before it is
//! unpacked: the archive by the project's minisign key, the package by its SHA-256. Safe when several
//! processes do it at once: a lock, a temporary directory, one rename.

pub(crate) mod data;
mod files;
mod library;
mod options;
mod package;
mod tarball;
#[cfg(test)]
mod tests;
mod unpack;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level, Reporter};
use crate::oci::Digest;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::download::{Client, DownloadError};
use crate::sys::env::Environment;
use crate::sys::process::{self, Command, ProcessError};
use crate::sys::{fs, store, usage};
use data::ZigData;

pub use options::{ZigSettings, ZigWay};

/// The file in a provided zig's directory that says that the directory is whole, and what it was made from.
const MARKER: &str = ".complete";
/// It has one line.
const LARGEST_MARKER: u64 = 4096;

/// Tells where Python has the package. Isolated (`-I`), Python looks neither in the current directory nor where variables
/// say, and passes over the user's own packages, which are asked for by themselves. Nothing of the package is run.
const WHERE: &str = "import importlib.util, os, site, sys
sys.path.append(site.getusersitepackages())
found = importlib.util.find_spec('ziglang')
if found and found.origin: print(os.path.join(os.path.dirname(found.origin), 'zig'))";

/// What is needed to look for zig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ZigRequest<'a> {
    /// The configured path and the order of the ways.
    pub settings: &'a ZigSettings,
    /// xbuild's cache directory.
    pub cache: &'a Path,
    /// For `PATH` and `HOME`.
    pub environment: &'a Environment,
    /// The only version that will do, where one is pinned.
    pub pinned: Option<&'a Version>,
    /// Where nothing is believed because it is in the cache: what is known of the files that zig must be.
    pub verified: Option<Verified<'a>>,
}

/// What the files of a zig must be that is taken from the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verified<'a> {
    /// Their pinned digest, where the lock has one.
    pub files: Option<&'a Digest>,
}

impl ZigRequest<'_> {
    /// The digest of the files of the version that is provided, where that is known.
    fn files(&self) -> Option<&Digest> {
        let data = ZigData::get();
        let pinned = self.verified.and_then(|verified| verified.files);
        pinned.or_else(|| (*self.provided() == data.version).then_some(&data.package.files))
    }

    /// The version that is provided where none is found: the pinned one, else the one that xbuild comes with.
    #[must_use]
    pub(crate) fn provided(&self) -> &Version {
        self.pinned.unwrap_or(&ZigData::get().version)
    }
}

/// A zig that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zig {
    /// The absolute path of the program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
    /// The way it was found.
    pub way: ZigWay,
}

impl Zig {
    /// The newest glibc that it can link for.
    #[must_use]
    pub(crate) fn newest_glibc(&self) -> (u32, u32) {
        ZigData::get().newest_glibc(&self.version)
    }
}

/// No way led to zig.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Every way failed.
    #[error("zig {} was not found and could not be provided{}", wanted(pinned.as_ref()), list(attempts))]
    NoWay {
        /// The version that is pinned, if one is.
        pinned: Option<Version>,
        /// What was tried, in order.
        attempts: Vec<Attempt>,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A way that failed.
#[derive(Debug)]
pub struct Attempt {
    /// The way.
    pub way: ZigWay,
    /// Why it did not lead to zig.
    pub reason: WayError,
}

/// Why one way does not lead to zig.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// No path is configured.
    #[error("no path is configured")]
    NotConfigured,
    /// Neither program is there.
    #[error("there is no `zig` on PATH and `python3` has no module `ziglang`")]
    NotInstalled,
    /// Nothing is in the cache.
    #[error("the cache has none")]
    NotCached,
    /// The program is older than what works.
    #[error("`{}` is version {version}, and {} is the oldest that works", program.display(), ZigData::get().minimum)]
    TooOld {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: Version,
    },
    /// The program is not of the version that is pinned.
    #[error("`{}` is version {version}, and {pinned} is pinned", program.display())]
    NotPinned {
        /// The program.
        program: PathBuf,
        /// Its version.
        version: Version,
        /// The pinned one.
        pinned: Version,
    },
    /// Another version is pinned than the one that would be provided.
    #[error("it would bring version {}, and {pinned} is pinned", ZigData::get().version)]
    OtherPinned {
        /// The pinned one.
        pinned: Version,
    },
    /// The program does not tell its version.
    #[error("`{} version` says {said:?}, which is no version", program.display())]
    NoVersion {
        /// The program.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// The network must not be used.
    #[error("it needs the network, which is not to be used")]
    Offline,
    /// The host has neither.
    #[error("there is neither pip nor uv")]
    NoInstaller,
    /// pip or uv has left no wheel of the right name.
    #[error("`{program}` did not bring `{file}`")]
    NoWheel {
        /// The installer.
        program: String,
        /// The wheel's file name.
        file: String,
    },
    /// The bytes are not those that were pinned.
    #[error("`{file}` is corrupt: expected sha256:{expected}, got sha256:{found}")]
    Corrupt {
        /// The file's name.
        file: String,
        /// What is pinned.
        expected: String,
        /// What came.
        found: String,
    },
    /// The files in the cache are not those that zig should have.
    #[error(
        "the files in `{}` are not those of zig {version}: expected {expected}, found {found}",
        dir.display()
    )]
    Altered {
        /// Where they are.
        dir: PathBuf,
        /// The version.
        version: Version,
        /// The digest that is pinned or comes with xbuild.
        expected: Box<Digest>,
        /// Theirs.
        found: Box<Digest>,
    },
    /// Something is in the directory of zig that it does not come with.
    #[error("`{}` is neither a file nor a directory, and zig comes with nothing else", path.display())]
    Foreign {
        /// What it is.
        path: PathBuf,
    },
    /// Nothing says which files the zig in the cache should have.
    #[error("the lock does not say which files the zig in the cache should have")]
    NotVerified,
    /// The archive's signature is wrong.
    #[error("the signature of `{file}` is not good: {reason}")]
    Signature {
        /// The file's name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The archive cannot be unpacked.
    #[error("`{file}` cannot be unpacked: {reason}")]
    Archive {
        /// The archive's name.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A download failed.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<fs::LockError> for WayError {
    fn from(error: fs::LockError) -> Self {
        error.into_error()
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", way_name(self.way), self.reason)
    }
}

fn wanted(pinned: Option<&Version>) -> String {
    match pinned {
        Some(pinned) => format!("{pinned}, which is pinned,"),
        None => format!("{} or newer", ZigData::get().minimum),
    }
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().fold(String::new(), |text, attempt| format!("{text}\n  {attempt}"))
}

/// The system's fault among the reasons.
fn fault(attempts: &[Attempt]) -> Option<&io::Error> {
    attempts.iter().find_map(|attempt| match &attempt.reason {
        WayError::Io(error) | WayError::Download(DownloadError::Io(error)) => Some(error),
        _ => None,
    })
}

fn way_name(way: ZigWay) -> &'static str {
    match way {
        ZigWay::Configured => "configured",
        ZigWay::Installed => "installed",
        ZigWay::Cache => "cache",
        ZigWay::Tarball => "tarball",
        ZigWay::Package => "package",
    }
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        let attempts = match self {
            Self::Cancelled(cancelled) => return cancelled.exit_code(),
            Self::NoWay { attempts, .. } => attempts,
        };
        // What most wants attention first: altered bytes, then the network that was forbidden.
        let any = |test: fn(&WayError) -> bool| attempts.iter().any(|attempt| test(&attempt.reason));
        if any(|reason| matches!(reason, WayError::Signature { .. })) {
            ExitCode::BadSignature
        } else if any(|reason| matches!(reason, WayError::Corrupt { .. } | WayError::Altered { .. })) {
            ExitCode::CorruptDownload
        } else if any(|reason| {
            matches!(reason, WayError::Offline | WayError::Download(DownloadError::Offline { .. }))
        }) {
            ExitCode::Offline
        } else if let Some(error) = fault(attempts) {
            ExitCode::of_io(error)
        } else {
            ExitCode::Toolchain
        }
    }

    fn hint(&self) -> Option<String> {
        let version = &ZigData::get().version;
        if let Self::NoWay { attempts, .. } = self
            && let Some(error) = fault(attempts).filter(|error| ExitCode::of_io(error) == self.exit_code())
            && let Some(hint) = io_hint(error)
        {
            return Some(hint);
        }
        match self {
            Self::Cancelled(cancelled) => cancelled.hint(),
            Self::NoWay { pinned: Some(pinned), .. }
                if pinned != version && self.exit_code() == ExitCode::Offline =>
            {
                Some("run once with the network, so that what is pinned is in the cache".into())
            }
            Self::NoWay { .. } if self.exit_code() == ExitCode::Offline => {
                Some("run `xbuild toolchain install zig` once with the network".into())
            }
            Self::NoWay { pinned: Some(pinned), .. } if pinned != version => Some(format!(
                "install zig {pinned} and put it on PATH, or pin what is here: `xbuild lock --update zig`"
            )),
            Self::NoWay { .. } => Some(format!(
                "install it (`pip install ziglang=={version}`, or from https://ziglang.org/download/) and \
                 put it on PATH, or name it in the user's configuration file: `path = \"PATH\"` under [zig]"
            )),
        }
    }
}

/// Looks for zig on the machine and in the cache, and provides nothing. For `plan` and `doctor`.
pub(crate) fn find(request: &ZigRequest<'_>, cancel: &Cancel) -> Result<Zig, Error> {
    walk(request, cancel, |way| match way {
        ZigWay::Tarball | ZigWay::Package => None,
        // What is not believed is not run only to ask for its version, and verifying it is for whoever uses it.
        ZigWay::Cache if request.verified.is_some() => Some(marked(request)),
        way => Some(existing(request, way, cancel)),
    })
}

/// Looks for zig by every configured way, and provides it where it is not there.
pub(crate) fn provide(
    request: &ZigRequest<'_>,
    client: &Client,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Zig, Error> {
    let data = ZigData::get();
    // The archives have every version, and one package's digest is known.
    let other = request.pinned.filter(|pinned| **pinned != data.version);
    walk(request, cancel, |way| {
        let result = match (way, other) {
            (ZigWay::Package, Some(pinned)) => Err(WayError::OtherPinned { pinned: pinned.clone() }),
            (ZigWay::Tarball | ZigWay::Package, _) if client.is_offline() => Err(WayError::Offline),
            (ZigWay::Tarball, _) => install(request, way, cancel, |work| {
                tarball::fetch(work, &data.tarball, request.provided(), client, cancel, reporter)
            }),
            (ZigWay::Package, None) => install(request, way, cancel, |work| {
                package::fetch(work, request.environment, cancel, reporter)
            }),
            (way, _) => existing(request, way, cancel),
        };
        if let Err(reason) = &result {
            // A path that somebody has configured and that does not work is a fault; the others are not.
            let fault = way == ZigWay::Configured && !matches!(reason, WayError::NotConfigured)
                || matches!(reason, WayError::Altered { .. } | WayError::Foreign { .. })
                || matches!(reason, WayError::Io(error) if crate::error::CacheFault::of(error).is_some());
            reporter.report(Event::Note {
                level: if fault { Level::Warning } else { Level::Detail },
                platform: None,
                text: format!("zig, {}: {reason}", way_name(way)),
            });
        }
        Some(result)
    })
}

fn walk(
    request: &ZigRequest<'_>,
    cancel: &Cancel,
    mut attempt: impl FnMut(ZigWay) -> Option<Result<Zig, WayError>>,
) -> Result<Zig, Error> {
    let mut attempts = Vec::new();
    for way in &request.settings.ways {
        match attempt(*way) {
            Some(Ok(zig)) => {
                tracing::info!(version = %zig.version, way = way_name(*way), "zig is {}", zig.program.display());
                return Ok(zig);
            }
            Some(Err(reason)) => {
                tracing::debug!(%reason, way = way_name(*way), "no zig");
                // A way may be stopped by a limit of its own; only ours ends the walk.
                cancel.check()?;
                attempts.push(Attempt { way: *way, reason });
            }
            None => {}
        }
    }
    Err(Error::NoWay { pinned: request.pinned.cloned(), attempts })
}

/// A zig that is there already.
fn existing(request: &ZigRequest<'_>, way: ZigWay, cancel: &Cancel) -> Result<Zig, WayError> {
    match way {
        ZigWay::Configured => {
            let program = request.settings.path.as_ref().ok_or(WayError::NotConfigured)?;
            let program = lookup(program, request.environment)?.unwrap_or_else(|| program.clone());
            check(program, way, request.pinned, cancel)
        }
        ZigWay::Installed => installed(request, cancel),
        ZigWay::Cache => cached(request, way, cancel),
        ZigWay::Tarball | ZigWay::Package => Err(WayError::NotCached),
    }
}

fn installed(request: &ZigRequest<'_>, cancel: &Cancel) -> Result<Zig, WayError> {
    let (environment, pinned) = (request.environment, request.pinned);
    let mut failure = None;
    if let Some(program) = lookup(Path::new("zig"), environment)? {
        match check(program, ZigWay::Installed, pinned, cancel) {
            Ok(zig) => return Ok(zig),
            Err(error) => failure = Some(error),
        }
    }
    if let Some(python) = lookup(Path::new("python3"), environment)? {
        // The module only replaces itself by the program beside it. Its path is asked for, so that not every
        // compiler call starts a Python first.
        let output = Command::new(python).args(["-I", "-c", WHERE]).output(cancel)?;
        let path = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        if output.status.success() && Path::new(&path).is_absolute() {
            match check(path.into(), ZigWay::Installed, pinned, cancel) {
                Ok(zig) => return Ok(zig),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    Err(failure.unwrap_or(WayError::NotInstalled))
}

/// A program by its path, or by its name on `PATH`.
fn lookup(program: &Path, environment: &Environment) -> Result<Option<PathBuf>, WayError> {
    Ok(process::find_any(program, environment.var_os("PATH"))?)
}

/// Asks a program for its version.
fn check(program: PathBuf, way: ZigWay, pinned: Option<&Version>, cancel: &Cancel) -> Result<Zig, WayError> {
    let said = Command::new(&program).arg("version").text(cancel)?;
    let said = said.trim();
    let Ok(version) = said.parse::<Version>() else {
        return Err(WayError::NoVersion { program, said: said.to_owned() });
    };
    // `0.15.0-dev.N` is older than 0.15.0 for semver, and it is for us.
    if version < ZigData::get().minimum {
        return Err(WayError::TooOld { program, version });
    }
    match pinned.filter(|pinned| **pinned != version) {
        Some(pinned) => Err(WayError::NotPinned { program, version, pinned: pinned.clone() }),
        None => Ok(Zig { program, version, way }),
    }
}

/// Where a provided version is kept.
fn dir(request: &ZigRequest<'_>) -> PathBuf {
    request.cache.join("toolchains").join(format!("zig-{}", request.provided()))
}

fn cached(request: &ZigRequest<'_>, way: ZigWay, cancel: &Cancel) -> Result<Zig, WayError> {
    let Zig { program, .. } = marked(request)?;
    verify(request, &dir(request), cancel)?;
    check(program, way, request.pinned, cancel)
}

/// The zig in the cache as its marker has it.
fn marked(request: &ZigRequest<'_>) -> Result<Zig, WayError> {
    let dir = dir(request);
    usage::mark(&dir);
    // The marker tells the bytes that it was made from: a later xbuild may have pinned others.
    match store::read(&dir.join(MARKER), LARGEST_MARKER)? {
        Some(text)
            if text == package::marker().as_bytes()
                || text == tarball::marker(request.provided()).as_bytes() => {}
        _ => return Err(WayError::NotCached),
    }
    for part in [dir.clone(), dir.join("zig"), dir.join("lib")] {
        match store::check(&part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(WayError::NotCached),
            result => result?,
        }
    }
    Ok(Zig { program: dir.join("zig"), version: request.provided().clone(), way: ZigWay::Cache })
}

/// Where the cache is not to be believed: an error unless the files in `dir` are zig's.
fn verify(request: &ZigRequest<'_>, dir: &Path, cancel: &Cancel) -> Result<(), WayError> {
    if request.verified.is_none() {
        return Ok(());
    }
    let expected = request.files().ok_or(WayError::NotVerified)?;
    let found = files::digest(dir, cancel)?;
    if found == *expected {
        return Ok(());
    }
    let (dir, version) = (dir.to_owned(), request.provided().clone());
    Err(WayError::Altered { dir, version, expected: Box::new(expected.clone()), found: Box::new(found) })
}

/// The digest of the files of a zig that is in the cache.
#[must_use]
pub(crate) fn files_digest(zig: &Zig, cancel: &Cancel) -> Option<Digest> {
    let dir = zig.program.parent().filter(|_| zig.way == ZigWay::Cache)?;
    files::digest(dir, cancel).ok()
}

/// A directory to work in, and the directory in it that becomes the provided zig.
struct Work<'a> {
    /// For archives; they stay when the work is interrupted, so that a later run resumes.
    downloads: &'a Path,
    /// For what is thrown away in the end.
    scratch: &'a Path,
    /// To be filled with `zig`, `lib/` and the marker.
    root: &'a Path,
}

/// Provides a version by `fetch`, once for all processes that want it.
fn install(
    request: &ZigRequest<'_>,
    way: ZigWay,
    cancel: &Cancel,
    fetch: impl FnOnce(&Work<'_>) -> Result<(), WayError>,
) -> Result<Zig, WayError> {
    let dir = dir(request);
    // Whoever tidies up the cache sees that it is in use.
    store::open(request.cache)?;
    let toolchains = request.cache.join("toolchains");
    let downloads = request.cache.join("downloads");
    store::dir(&toolchains)?;
    store::dir(&downloads)?;
    let lock = toolchains.join("zig.lock");
    let _lock = fs::lock(&lock, cancel).map_err(|error| match error {
        fs::LockError::Io(error) => fs::LockError::Io(store::lacking(&dir, error)),
        error @ fs::LockError::Cancelled(_) => error,
    })?;
    // Another process may have provided it while we waited.
    if let Ok(zig) = cached(request, way, cancel) {
        return Ok(zig);
    }
    let scratch = fs::temporary_dir(&toolchains).map_err(|error| store::lacking(&dir, error))?;
    let root = scratch.path().join("root");
    fs::create_dir(&root)?;
    fetch(&Work { downloads: &downloads, scratch: scratch.path(), root: &root })?;
    // What others may write to is not believed, and a umask may have let them.
    store::tighten(&root)?;
    // What is not to be believed of the cache was made just now, by verified bytes; what is pinned is held to all the same.
    if request.verified.is_some() && request.files().is_some() {
        verify(request, &root, cancel)?;
    }
    check(root.join("zig"), way, request.pinned, cancel)?;
    if dir.exists() {
        // Without a good marker it is an older pin's, or somebody has been at it.
        fs::rename(&dir, scratch.path().join("old"))?;
    }
    fs::rename(&root, &dir)?;
    check(dir.join("zig"), way, request.pinned, cancel)
}
