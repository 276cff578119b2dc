//! zig: found on the machine, or provided in the cache.
//!
//! There are several [ways](ZigWay) to find or provide zig, and the user chooses their order. If one fails, the next is
//! tried; if all have failed, the error lists each with its reason. What is provided is verified before it is unpacked:
//! the archive by the project's minisign key, the package by its SHA-256. Several processes may do this at once: there
//! is a lock, a temporary directory and a single rename.

pub(crate) mod data;
mod error;
mod files;
mod library;
mod options;
mod package;
mod tarball;
#[cfg(test)]
mod tests;
mod unpack;

use std::io;
use std::path::{Path, PathBuf};

use semver::Version;

use crate::event::{Event, Level, Reporter};
use crate::oci::Digest;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::sys::process::{self, Command};
use crate::sys::{fs, store, usage};
use crate::target::abi::GlibcVersion;
use data::ZigData;

use error::way_name;
pub(crate) use error::{Attempt, Error, WayError};
pub use options::{ZigSettings, ZigWay};

/// The file that marks a provided zig's directory as complete, and records what it was made from.
const MARKER: &str = ".complete";
/// The size limit of the marker in bytes; it has one line.
const LARGEST_MARKER: u64 = 4096;

/// Prints the path of zig in Python's package. Isolated (`-I`), Python searches neither the current directory nor paths
/// from variables. It also omits the user's own packages, which are therefore added explicitly. No code of the package
/// is run.
const WHERE: &str = "import importlib.util, os, site, sys
sys.path.append(site.getusersitepackages())
found = importlib.util.find_spec('ziglang')
if found and found.origin: print(os.path.join(os.path.dirname(found.origin), 'zig'))";

/// The parameters for finding zig.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ZigRequest<'a> {
    /// The configured path and the order of the ways.
    pub settings: &'a ZigSettings,
    /// xbuild's cache directory.
    pub cache: &'a Path,
    /// Has `PATH` and `HOME`.
    pub environment: &'a Environment,
    /// The only acceptable version, if one is pinned.
    pub pinned: Option<&'a Version>,
    /// If the cache is not trusted: what is known about the files that zig must have.
    pub verified: Option<Verified<'a>>,
}

/// What the files of a zig from the cache must be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verified<'a> {
    /// Their pinned digest, if the lock has one.
    pub files: Option<&'a Digest>,
}

impl ZigRequest<'_> {
    /// The digest of the files of the provided version, if it is known.
    fn files(&self) -> Option<&Digest> {
        let data = ZigData::get();
        let pinned = self.verified.and_then(|verified| verified.files);
        pinned.or_else(|| (*self.provided() == data.version).then_some(&data.package.files))
    }

    /// The version that is provided if none is found: the pinned one, otherwise xbuild's default.
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
    /// The way by which it was found.
    pub way: ZigWay,
}

impl Zig {
    /// The newest glibc that it can link for.
    #[must_use]
    pub(crate) fn newest_glibc(&self) -> GlibcVersion {
        ZigData::get().newest_glibc(&self.version)
    }
}

/// A zig that was found, and the ways that had failed before.
#[derive(Debug)]
pub(crate) struct Found {
    /// What was found.
    pub toolchain: Zig,
    failed: Vec<Attempt>,
}

impl Found {
    /// True if [`provide`] would return the same. One from a cache that is not trusted has to be verified first, and a way
    /// that provides one may come before the way by which this one was found.
    #[must_use]
    pub(crate) fn is_ready(&self, request: &ZigRequest<'_>) -> bool {
        let mut before = request.settings.ways.iter().take_while(|way| **way != self.toolchain.way);
        let provides = before.any(|way| matches!(way, ZigWay::Tarball | ZigWay::Package));
        let is_trusted = request.verified.is_none() || self.toolchain.way != ZigWay::Cache;
        is_trusted && !provides
    }

    /// Reports the ways that had failed, as [`provide`] does.
    pub(crate) fn report_failed(&self, reporter: &dyn Reporter) {
        self.failed.iter().for_each(|attempt| report(attempt.way, &attempt.reason, reporter));
    }
}

/// Looks for zig on the machine and in the cache, and provides nothing.
pub(crate) fn find(request: &ZigRequest<'_>, cancel: &Cancel) -> Result<Found, Error> {
    walk(request, cancel, |way| match way {
        ZigWay::Tarball | ZigWay::Package => None,
        // A program that is not trusted is not run just to print its version; it is verified before it is used.
        ZigWay::Cache if request.verified.is_some() => Some(marked(request)),
        way => Some(existing(request, way, cancel)),
    })
}

/// Tries every configured way to find or provide zig.
pub(crate) fn provide(
    request: &ZigRequest<'_>,
    client: &Client,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Zig, Error> {
    let data = ZigData::get();
    // The archives have every version, but only one package's digest is known.
    let other = request.pinned.filter(|pinned| **pinned != data.version);
    let found = walk(request, cancel, |way| {
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
        Some(result.inspect_err(|reason| report(way, reason, reporter)))
    })?;
    Ok(found.toolchain)
}

fn report(way: ZigWay, reason: &WayError, reporter: &dyn Reporter) {
    // A configured path that does not work is a fault; the other ways may fail.
    let fault = way == ZigWay::Configured && !matches!(reason, WayError::NotConfigured)
        || matches!(reason, WayError::Altered { .. } | WayError::Foreign { .. })
        || matches!(reason, WayError::Io(error) if crate::error::CacheFault::of(error).is_some());
    reporter.report(Event::Note {
        level: if fault { Level::Warning } else { Level::Detail },
        platform: None,
        text: format!("zig, {}: {reason}", way_name(way)),
    });
}

fn walk(
    request: &ZigRequest<'_>,
    cancel: &Cancel,
    mut attempt: impl FnMut(ZigWay) -> Option<Result<Zig, WayError>>,
) -> Result<Found, Error> {
    let mut attempts = Vec::new();
    for way in &request.settings.ways {
        match attempt(*way) {
            Some(Ok(zig)) => {
                tracing::info!(version = %zig.version, way = way_name(*way), "zig is {}", zig.program.display());
                return Ok(Found { toolchain: zig, failed: attempts });
            }
            Some(Err(reason)) => {
                tracing::debug!(%reason, way = way_name(*way), "no zig");
                // A way may end by its own time limit; only the caller's ends the search.
                cancel.check()?;
                attempts.push(Attempt { way: *way, reason });
            }
            None => {}
        }
    }
    Err(Error::NoWay { pinned: request.pinned.cloned(), attempts })
}

/// Finds an existing zig.
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
        // The module only replaces itself with the program beside it. The program's path is determined once, so that
        // compiler calls do not start Python first.
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

/// Runs a program to get its version.
fn check(program: PathBuf, way: ZigWay, pinned: Option<&Version>, cancel: &Cancel) -> Result<Zig, WayError> {
    let said = Command::new(&program).arg("version").text(cancel)?;
    let said = said.trim();
    let Ok(version) = said.parse::<Version>() else {
        return Err(WayError::NoVersion { program, said: said.to_owned() });
    };
    // `0.15.0-dev.N` is older than 0.15.0 by semver, and is treated so here.
    if version < ZigData::get().minimum {
        return Err(WayError::TooOld { program, version });
    }
    match pinned.filter(|pinned| **pinned != version) {
        Some(pinned) => Err(WayError::NotPinned { program, version, pinned: pinned.clone() }),
        None => Ok(Zig { program, version, way }),
    }
}

/// The directory of a provided version.
fn dir(request: &ZigRequest<'_>) -> PathBuf {
    request.cache.join("toolchains").join(format!("zig-{}", request.provided()))
}

fn cached(request: &ZigRequest<'_>, way: ZigWay, cancel: &Cancel) -> Result<Zig, WayError> {
    let Zig { program, .. } = marked(request)?;
    verify(request, &dir(request), cancel)?;
    check(program, way, request.pinned, cancel)
}

/// The zig in the cache according to its marker.
fn marked(request: &ZigRequest<'_>) -> Result<Zig, WayError> {
    let dir = dir(request);
    usage::mark(&dir);
    // The marker records the bytes that it was made from: another xbuild may have pinned others.
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

/// If the cache is not trusted, checks that the files in `dir` are zig's.
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

/// The digest of the files of a zig in the cache.
#[must_use]
pub(crate) fn files_digest(zig: &Zig, cancel: &Cancel) -> Option<Digest> {
    let dir = zig.program.parent().filter(|_| zig.way == ZigWay::Cache)?;
    files::digest(dir, cancel).ok()
}

/// Directories for providing zig.
struct Work<'a> {
    /// For archives; they stay if the work is interrupted, so that a later run resumes.
    downloads: &'a Path,
    /// For temporary files.
    scratch: &'a Path,
    /// Gets `zig`, `lib/` and the marker, and becomes the provided zig.
    root: &'a Path,
}

/// Provides a version by `fetch`, once for all processes that need it.
fn install(
    request: &ZigRequest<'_>,
    way: ZigWay,
    cancel: &Cancel,
    fetch: impl FnOnce(&Work<'_>) -> Result<(), WayError>,
) -> Result<Zig, WayError> {
    let dir = dir(request);
    // Shows those who prune the cache that it is in use.
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
    // Files that others may write to are not trusted, and the umask may have permitted it.
    store::tighten(&root)?;
    // These files were just made from verified bytes, but the pinned digest is checked all the same.
    if request.verified.is_some() && request.files().is_some() {
        verify(request, &root, cancel)?;
    }
    check(root.join("zig"), way, request.pinned, cancel)?;
    if dir.exists() {
        // Without a valid marker it is that of an older pin, or was modified.
        fs::rename(&dir, scratch.path().join("old"))?;
    }
    fs::rename(&root, &dir)?;
    check(dir.join("zig"), way, request.pinned, cancel)
}
