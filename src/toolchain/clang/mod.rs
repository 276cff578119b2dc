//! Clang of this machine, which compiles C and C++ code against a sysroot for other machines.
//!
//! Unlike zig it brings no C library: headers, start files and libraries are the sysroot's. And unlike GCC it compiles for
//! every machine, so one that is installed is enough. It is never downloaded. [`find`] looks for it, and [`wrapper`] makes
//! the programs that build scripts call in its place.

mod arguments;
mod data;
mod error;
mod run;
#[cfg(test)]
mod tests;
pub(crate) mod wrapper;

use std::path::{Path, PathBuf};
use std::time::Duration;

use semver::Version;

use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::fs;
use crate::sys::process::{self, Command};
use crate::toolchain::host_tools::search::distribution_at;
use data::ClangData;

pub(crate) use error::NotFound;
pub(crate) use run::{COMMAND, run};

/// The variable that names the program.
pub(crate) const VARIABLE: &str = "XBUILD_CLANG";
/// How long a program has to print its version.
const TIME: Duration = Duration::from_secs(20);

/// The parameters for finding Clang.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The configured program, which takes precedence over [`VARIABLE`].
    pub configured: Option<&'a Path>,
    /// Has `PATH` and [`VARIABLE`].
    pub environment: &'a Environment,
    /// `/`, except in tests: where the name of the distribution is.
    pub root: &'a Path,
}

/// A Clang that can be used: absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The program.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
    /// The directory of its own headers, if it names one.
    pub resources: Option<PathBuf>,
    /// The archiver.
    pub ar: PathBuf,
    /// The program that makes the index of an archive.
    pub ranlib: PathBuf,
}

/// A program that said its version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    program: PathBuf,
    version: Version,
    /// What follows `clang` in its name: `-14`.
    suffix: String,
}

/// Looks for Clang: the one that is named, or else the newest on `PATH`, and of the same version the one without a number
/// in its name.
pub(crate) fn find(request: &Request<'_>, cancel: &Cancel) -> Result<Found, NotFound> {
    let named = request.environment.path(VARIABLE).filter(|path| !path.as_os_str().is_empty());
    let cancel = &cancel.within(TIME, "asking Clang for its version");
    let found = match request.configured.map(Path::to_owned).or(named) {
        Some(program) => named_by_user(&program, request, cancel)?,
        None => newest(request, cancel)?,
    };
    complete(found, request, cancel)
}

fn named_by_user(program: &Path, request: &Request<'_>, cancel: &Cancel) -> Result<Candidate, NotFound> {
    let Some(found) = lookup(program, request)? else {
        return Err(NotFound::Missing { program: program.to_owned(), install: install(request) });
    };
    ask(found, request, cancel)
}

fn newest(request: &Request<'_>, cancel: &Cancel) -> Result<Candidate, NotFound> {
    let data = ClangData::get();
    let numbers = (data.minimum.major..=data.newest_name).rev().map(|number| format!("clang-{number}"));
    let mut best: Option<Candidate> = None;
    let mut failure = None;
    for name in std::iter::once("clang".to_owned()).chain(numbers) {
        let Some(program) = lookup(Path::new(&name), request)? else { continue };
        match ask(program, request, cancel) {
            Ok(found) if best.as_ref().is_none_or(|best| best.version < found.version) => best = Some(found),
            Ok(_) => {}
            Err(error @ NotFound::Cancelled(_)) => return Err(error),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    best.ok_or_else(|| failure.unwrap_or_else(|| NotFound::NotInstalled { install: install(request) }))
}

/// Runs a program to get its version.
fn ask(program: PathBuf, request: &Request<'_>, cancel: &Cancel) -> Result<Candidate, NotFound> {
    let said = Command::new(&program).arg("--version").text(cancel)?;
    let Some(version) = version_in(&said) else {
        let said = said.lines().next().unwrap_or_default().to_owned();
        return Err(NotFound::NotClang { program, said, install: install(request) });
    };
    if version < ClangData::get().minimum {
        return Err(NotFound::TooOld { program, version, install: install(request) });
    }
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = name.strip_prefix("clang").unwrap_or_default().trim_start_matches("++").to_owned();
    Ok(Candidate { program, version, suffix })
}

/// The version in the first line of what `clang --version` prints: `Debian clang version 14.0.6`, `clang version 17.0.6
/// (Fedora 17.0.6-2.fc39)`, `Apple clang version 15.0.0 (clang-1500.3.9.4)`.
fn version_in(said: &str) -> Option<Version> {
    let (_, rest) = said.lines().next()?.split_once("clang version ")?;
    // Versions between releases have letters behind the numbers: `19.0.0git`, `15.0.0-++20220813`.
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(rest.len());
    let mut numbers = rest[..end].split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    Some(Version::new(major, next(), next()))
}

/// Adds the programs and directories that belong to a Clang.
fn complete(found: Candidate, request: &Request<'_>, cancel: &Cancel) -> Result<Found, NotFound> {
    let printed = Command::new(&found.program).arg("-print-resource-dir").text(cancel);
    let resources = match printed {
        Ok(text) => Some(PathBuf::from(text.trim_end())).filter(|dir| dir.is_absolute()),
        Err(error @ process::ProcessError::Cancelled(_)) => return Err(error.into()),
        Err(_) => None,
    };
    let tool = |name: &str| match archiver(&found, name, request)? {
        Some(program) => Ok(program),
        None => Err(NotFound::NoArchiver { name: name.to_owned() }),
    };
    let (ar, ranlib) = (tool("ar")?, tool("ranlib")?);
    tracing::info!(version = %found.version, "clang is {}", found.program.display());
    Ok(Found { program: found.program, version: found.version, resources, ar, ranlib })
}

/// An archiver of the same LLVM, or else that of binutils, which only copies the members. binutils' reads the symbols of
/// other machines' ELF files for the index, too, as long as distributions configure it with the generic ELF formats; all do.
fn archiver(found: &Candidate, name: &str, request: &Request<'_>) -> Result<Option<PathBuf>, NotFound> {
    // Distributions have links with version numbers in a common directory to each version's own directory.
    let real = fs::canonicalize(&found.program).unwrap_or_else(|_| found.program.clone());
    let own = format!("llvm-{name}");
    let beside = [
        found.program.with_file_name(format!("{own}{}", found.suffix)),
        found.program.with_file_name(format!("{own}-{}", found.version.major)),
        real.with_file_name(&own),
    ];
    for program in beside {
        if let Some(found) = lookup(&program, request)? {
            return Ok(Some(found));
        }
    }
    lookup(Path::new(name), request)
}

/// A program by its path, or by its name on `PATH`.
fn lookup(program: &Path, request: &Request<'_>) -> Result<Option<PathBuf>, NotFound> {
    Ok(process::find_any(program, request.environment.var_os("PATH"))?)
}

/// The command that installs Clang on this machine, if that is known.
fn install(request: &Request<'_>) -> Option<String> {
    let distribution = distribution_at(request.root)?;
    let packages = ClangData::get().packages.get(&distribution.name)?;
    Some(distribution.install_command(packages))
}
