//! The package `ziglang`, through the user's own pip or uv.
//!
//! They know what we do not: which index the user, the company or the CI has configured, and its credentials. They only
//! download the package; its bytes are checked against the pinned digest before they are used.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::data::{Package, ZigData};
use super::{MARKER, WayError, Work, lookup, unpack};
use crate::event::{Event, Reporter};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::hash::sha256_until;
use crate::sys::process::{Command, ProcessError};
use crate::sys::threads::Ends;
use crate::sys::{clock, fs};

/// The content of the marker of a zig from the package.
pub(super) fn marker() -> String {
    format!("package sha256:{}\n", ZigData::get().package.sha256)
}

pub(super) fn fetch(
    work: &Work<'_>,
    environment: &Environment,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<(), WayError> {
    let package = &ZigData::get().package;
    let mut failure = WayError::NoInstaller;
    if let Some(pip) = pip(environment, cancel)? {
        match by_pip(pip, work, package, cancel, reporter) {
            Ok(()) => return finish(work),
            Err(error) => failure = error,
        }
    }
    cancel.check()?;
    if let Some(uv) = lookup(Path::new("uv"), environment)? {
        return match by_uv(uv, work, package, cancel, reporter) {
            Ok(()) => finish(work),
            // uv is the second choice, so if pip failed, its error is more useful.
            Err(error) => Err(if matches!(failure, WayError::NoInstaller) { error } else { failure }),
        };
    }
    Err(failure)
}

fn finish(work: &Work<'_>) -> Result<(), WayError> {
    Ok(fs::write_atomic(&work.root.join(MARKER), marker().as_bytes(), 0o644)?)
}

/// The first pip that works: that of `python3`, otherwise one on `PATH`.
fn pip(environment: &Environment, cancel: &Cancel) -> Result<Option<Command>, WayError> {
    // Isolated: neither the current directory nor a variable affects where Python finds its modules.
    for (program, arguments) in [("python3", &["-I", "-m", "pip"][..]), ("pip3", &[]), ("pip", &[])] {
        let Some(program) = lookup(Path::new(program), environment)? else { continue };
        let command = Command::new(program).args(arguments.iter().copied());
        if command.clone().arg("--version").output(cancel)?.status.success() {
            return Ok(Some(command));
        }
    }
    Ok(None)
}

fn by_pip(
    pip: Command,
    work: &Work<'_>,
    package: &Package,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<(), WayError> {
    let wheels = work.scratch.join("wheels");
    let temporary = work.scratch.join("pip");
    fs::create_dir(&wheels)?;
    fs::create_dir(&temporary)?;
    let program = pip.display();
    let command = pip
        .args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input", "--dest"])
        .arg(&wheels)
        .arg(format!("{}=={}", package.name, ZigData::get().version))
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        // pip writes there while it downloads, which shows the progress.
        .env("TMPDIR", &temporary);
    watched(&command, work.scratch, package, cancel, reporter)?;
    let wheel = wheels.join(&package.file);
    if !wheel.exists() {
        return Err(WayError::NoWheel { program, file: package.file.clone() });
    }
    check(&wheel, package, cancel)?;
    unpack::wheel(&wheel, &package.name, work.root, cancel)
}

/// uv has no command that only downloads; it installs into a directory after it has checked the digest.
fn by_uv(
    uv: PathBuf,
    work: &Work<'_>,
    package: &Package,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<(), WayError> {
    let target = work.scratch.join("uv");
    let requirements = work.scratch.join("requirements.txt");
    let line = format!("{}=={} --hash=sha256:{}\n", package.name, ZigData::get().version, package.sha256);
    fs::write_atomic(&requirements, line.as_bytes(), 0o644)?;
    let command = Command::new(uv)
        .args(["pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"])
        // Links into uv's cache would break after `uv cache clean`.
        .args(["--link-mode", "copy", "--target"])
        .arg(&target)
        .arg("--requirement")
        .arg(&requirements);
    watched(&command, &target, package, cancel, reporter)?;
    // The directory to fill exists and is empty, so this rename replaces it.
    Ok(fs::rename(target.join(&package.name), work.root)?)
}

/// Runs a command and reports the growth of the directory that it writes to as a download.
fn watched(
    command: &Command,
    dir: &Path,
    package: &Package,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<(), ProcessError> {
    let what = format!("zig {}", ZigData::get().version);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        // If no thread can be started, progress is not reported.
        let watch = || {
            let mut last = 0;
            while !ended.load(Ordering::SeqCst) {
                let done = size(dir).min(package.size);
                if done > last {
                    last = done;
                    reporter.report(Event::Download { what: what.clone(), done, total: Some(package.size) });
                }
                clock::sleep(Duration::from_millis(100));
            }
        };
        thread::Builder::new().spawn_scoped(scope, watch).ok();
        let ends = Ends(&ended);
        let result = command.text(cancel).map(drop);
        drop(ends);
        if result.is_ok() {
            let total = package.size;
            reporter.report(Event::Download { what: what.clone(), done: total, total: Some(total) });
        }
        result
    })
}

/// The size of all files below a directory in bytes; files that vanish meanwhile are ignored.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

fn check(wheel: &Path, package: &Package, cancel: &Cancel) -> Result<(), WayError> {
    let found = hex::encode(sha256_until::<WayError>(wheel, cancel)?);
    if found != package.sha256 {
        let (file, expected) = (package.file.clone(), package.sha256.clone());
        return Err(WayError::Corrupt { file, expected, found });
    }
    Ok(())
}
