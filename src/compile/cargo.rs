//! The cargo process: what it is told, what it says, and how it is ended.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cargo_metadata::{Message, TargetKind};

use super::configuration::{Configuration, GLOBAL_FLAGS};
use super::flags::{self, Prefix};
use super::stderr::{self, Piece, Pieces};
use super::wrapper::{
    KeptRemark, PREFIXES_VARIABLE, PROGRAM_VARIABLE, REMARKS_VARIABLE, SEPARATOR, Spec, Wrapper,
};
use super::{
    Artifact, CompileRequest, Error, Linker, Outcome, UnitError, effective_glibc, environment, prime,
};
use crate::catalog::Libc;
use crate::report::{Event, Level, Reporter};
use crate::settings::OnFailure;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::clock::{self, Instant};
use crate::sys::fs;
use crate::sys::process::{Command, Line, ProcessError};
use crate::toolchain::rust::Standard;

/// How often time limits are looked at.
const WATCH: Duration = Duration::from_millis(50);

/// A unit with all that cargo needs to be told for it.
struct PreparedUnit {
    /// The wrapper, where zig links.
    wrapper: Option<Wrapper>,
    /// `target.<triple>.rustflags`.
    flags: Vec<String>,
    /// Variables for build scripts.
    variables: Vec<(OsString, OsString)>,
}

/// Units that one cargo process compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    /// Their indices.
    units: Vec<usize>,
    /// cargo's `--target-dir`.
    target_dir: PathBuf,
    /// Whether the standard library is built with them.
    standard: Standard,
}

/// Everything that is found out before cargo starts.
pub(super) struct Prepared {
    units: Vec<PreparedUnit>,
    batches: Vec<Batch>,
    /// Variables for every cargo process.
    variables: Vec<(OsString, OsString)>,
    started: Instant,
}

pub(super) fn prepare(
    request: &CompileRequest<'_>,
    remarks: &Path,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Prepared, Error> {
    let target_dir = target_dir(request);
    let prefixes = prefixes(request, &target_dir);
    let text: Vec<_> = prefixes.iter().map(Prefix::text).collect();
    let mut variables: Vec<(OsString, OsString)> = vec![
        (PROGRAM_VARIABLE.into(), request.program.into()),
        (REMARKS_VARIABLE.into(), remarks.into()),
        (PREFIXES_VARIABLE.into(), text.join(&SEPARATOR.to_string()).into()),
    ];
    if let Some(seconds) = request.source_date_epoch
        && request.environment.var("SOURCE_DATE_EPOCH").is_none()
    {
        variables.push(("SOURCE_DATE_EPOCH".into(), seconds.to_string().into()));
    }
    let units = request
        .units
        .iter()
        .map(|unit| prepare_unit(request, unit, &prefixes, cancel, reporter))
        .collect::<Result<_, Error>>()?;
    let batches = batches(request, &target_dir);
    Ok(Prepared { units, batches, variables, started: Instant::now() })
}

fn prepare_unit(
    request: &CompileRequest<'_>,
    unit: &super::Unit,
    prefixes: &[Prefix],
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<PreparedUnit, Error> {
    let target = unit.target;
    let user = request.configuration.flags(target)?;
    if !user.overridden.is_empty() {
        reporter.report(Event::Note {
            level: Level::Warning,
            platform: Some(target.platform.clone()),
            text: format!(
                "RUSTFLAGS is set, and cargo's configuration has flags for {}; cargo alone would leave these \
                 out, but here it takes both: {}",
                target.triple,
                user.overridden.join(" ")
            ),
        });
    }
    let mut linker_flags = Vec::new();
    let mut wrapper = None;
    let mut variables = Vec::new();
    match unit.linker {
        Linker::Configured => {}
        Linker::RustLld => linker_flags.push("-Clinker=rust-lld".to_owned()),
        Linker::Zig => {
            let zig = request.zig.ok_or_else(|| Error::NoZig { triple: target.triple.clone() })?;
            let glibc = effective_glibc(target, unit.glibc, zig)?;
            let spec = Spec::new(zig, target, glibc, request.rust.objcopy(), request.cache);
            let installed = Wrapper::install(spec, target, request.program, request.cache)?;
            linker_flags.push(format!("-Clinker={}", installed.cc.display()));
            if target.libc == Libc::Musl {
                // zig brings musl and its start-up files; with rustc's own there would be two of each.
                linker_flags.push("-Clink-self-contained=no".to_owned());
            }
            let bindgen = if request.graph.bindgen { bindgen(request, &installed, cancel)? } else { None };
            variables = environment::for_target(target, &installed, bindgen.as_deref(), request.environment);
            wrapper = Some(installed);
        }
    }
    Ok(PreparedUnit { wrapper, flags: flags::for_target(&user, &linker_flags, prefixes), variables })
}

fn bindgen(
    request: &CompileRequest<'_>,
    wrapper: &Wrapper,
    cancel: &Cancel,
) -> Result<Option<String>, Error> {
    let command = Command::new(&wrapper.cc)
        .args(["-E", "-v", "-x", "c", "/dev/null"])
        .env(PROGRAM_VARIABLE, request.program);
    let output = command.output(cancel)?;
    Ok(environment::bindgen_arguments(&String::from_utf8_lossy(&output.stderr)))
}

fn target_dir(request: &CompileRequest<'_>) -> PathBuf {
    request.settings.target_dir.clone().unwrap_or_else(|| request.project.target_directory.clone())
}

/// The folders of this machine that would otherwise be in programs: in panics' messages, in `file!()`, in
/// `__FILE__`.
fn prefixes(request: &CompileRequest<'_>, target_dir: &Path) -> Vec<Prefix> {
    let mut prefixes =
        vec![Prefix::new(&request.project.workspace_root, "/workspace"), Prefix::new(target_dir, "/target")];
    if let Some(home) = Configuration::cargo_home(request.environment) {
        prefixes.push(Prefix::new(&home, "/cargo"));
    }
    // Where rust-src is installed rustc shows the standard library's files there, else as below.
    if let Some(commit) = &request.rust.commit {
        prefixes.push(Prefix::new(&request.rust.source(), format!("/rustc/{commit}")));
    }
    for (package, folder) in &request.graph.outside {
        prefixes.push(Prefix::new(folder, format!("/packages/{package}")));
    }
    // A path may be said with its links resolved, too.
    for index in 0..prefixes.len() {
        if let Ok(real) = fs::canonicalize(&prefixes[index].from)
            && real != prefixes[index].from
        {
            let to = prefixes[index].to.clone();
            prefixes.push(Prefix { from: real, to });
        }
    }
    flags::sorted(prefixes)
}

/// Divides the units among cargo processes. Which folder a unit gets depends on it alone where it can, so that
/// another run with other platforms finds what this one has built.
fn batches(request: &CompileRequest<'_>, target_dir: &Path) -> Vec<Batch> {
    let mut by_folder: BTreeMap<(Standard, PathBuf), Vec<usize>> = BTreeMap::new();
    for (index, unit) in request.units.iter().enumerate() {
        let older = request
            .units
            .iter()
            .any(|other| other.target.triple == unit.target.triple && other.glibc < unit.glibc);
        let folder = match (unit.standard, unit.glibc) {
            (Standard::Built, _) => target_dir.join("build-std"),
            (Standard::Installed, Some((major, minor))) if older => {
                target_dir.join(format!("glibc-{major}.{minor}"))
            }
            (Standard::Installed, _) => target_dir.to_owned(),
        };
        by_folder.entry((unit.standard, folder)).or_default().push(index);
    }
    by_folder
        .into_iter()
        .map(|((standard, target_dir), units)| Batch { units, target_dir, standard })
        .collect()
}

/// cargo's command line for some units of a batch.
fn command(request: &CompileRequest<'_>, prepared: &Prepared, batch: &Batch, units: &[usize]) -> Command {
    let settings = request.settings;
    let folder = request.manifest_path.parent().unwrap_or(Path::new("."));
    let mut command = Command::new(&request.rust.cargo)
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(["--color", if request.color { "always" } else { "never" }])
        .arg("--manifest-path")
        .arg(request.manifest_path)
        .arg("--target-dir")
        .arg(&batch.target_dir)
        .args(["--profile", &settings.profile])
        .folder(folder);
    let packages: BTreeSet<_> = request.project.binaries.iter().map(|binary| &binary.package).collect();
    for package in packages {
        command = command.args(["--package", package]);
    }
    for binary in &request.project.binaries {
        command = command.args(["--bin", &binary.name]);
    }
    if !settings.features.is_empty() {
        command = command.args(["--features", &settings.features.join(",")]);
    }
    if let Some(jobs) = settings.jobs {
        command = command.args(["--jobs", &jobs.to_string()]);
    }
    for (flag, is_on) in [
        ("--all-features", settings.all_features),
        ("--no-default-features", settings.no_default_features),
        ("--locked", settings.locked),
        ("--frozen", settings.frozen),
        ("--offline", settings.offline || request.offline),
        ("--keep-going", request.on_failure == OnFailure::KeepGoing),
        ("-v", settings.verbose > 1),
    ] {
        if is_on {
            command = command.arg(flag);
        }
    }
    // What the user says for all targets is in each target's flags now, and would hide those.
    for name in GLOBAL_FLAGS {
        command = command.env_remove(name);
    }
    if batch.standard == Standard::Built {
        // A stable cargo builds the standard library only with this.
        command = command.arg("-Zbuild-std=std,panic_unwind").env("RUSTC_BOOTSTRAP", "1");
    }
    for (name, value) in &prepared.variables {
        command = command.env(name, value);
    }
    for index in units {
        let (unit, prepared) = (&request.units[*index], &prepared.units[*index]);
        command = command.args(["--target", &unit.target.triple]);
        if !prepared.flags.is_empty() {
            command =
                command.arg("--config").arg(flags::config_argument(&unit.target.triple, &prepared.flags));
        }
        for (name, value) in &prepared.variables {
            command = command.env(name, value);
        }
    }
    command
}

/// Primes every unit's wrapper, one after the other: cargo needs the processors, too.
pub(super) fn prime_all(
    request: &CompileRequest<'_>,
    prepared: &Prepared,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) {
    for (unit, prepared) in request.units.iter().zip(&prepared.units) {
        let Some(wrapper) = &prepared.wrapper else { continue };
        let libc = unit.target.libc;
        if let Err(error) = prime::prime(wrapper, libc, request.program, request.cache, cancel) {
            if cancel.check().is_err() {
                return;
            }
            reporter.report(Event::Note {
                level: Level::Detail,
                platform: Some(unit.target.platform.clone()),
                text: format!("zig could not build its libraries ahead of the first link: {error}"),
            });
        }
    }
}

/// Reports what the wrappers have left out or said differently, each once.
pub(super) fn report_remarks(
    path: &Path,
    request: &CompileRequest<'_>,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    let text = fs::read_to_string(path)?;
    let remarks: BTreeSet<KeptRemark> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for remark in remarks {
        let unit = request.units.iter().find(|unit| unit.target.triple == remark.triple);
        reporter.report(Event::Note {
            level: Level::Detail,
            platform: unit.map(|unit| unit.target.platform.clone()),
            text: format!("zig is not told `{}`: {}", remark.argument, remark.reason),
        });
    }
    Ok(())
}

/// Runs every batch.
pub(super) fn run_all(
    request: &CompileRequest<'_>,
    prepared: &Prepared,
    cancel: &Cancel,
    reporter: &dyn Reporter,
    on_artifact: &mut dyn FnMut(&Artifact),
) -> Result<Outcome, Error> {
    let binaries = request.project.binaries.iter().map(|binary| binary.name.clone());
    let missing: BTreeSet<String> = binaries.collect();
    let mut run = Run {
        request,
        prepared,
        cancel,
        reporter,
        on_artifact,
        missing: Mutex::new(request.units.iter().map(|_| missing.clone()).collect()),
        crates: 0,
        outcome: Outcome::default(),
    };
    for batch in &prepared.batches {
        if request.on_failure == OnFailure::FailFast && !run.outcome.failures.is_empty() {
            run.skip(&batch.units);
        } else {
            run.batch(batch)?;
        }
    }
    run.outcome.failures.sort_by_key(|(unit, _)| *unit);
    Ok(run.outcome)
}

/// The state of a run.
struct Run<'a> {
    request: &'a CompileRequest<'a>,
    prepared: &'a Prepared,
    cancel: &'a Cancel,
    reporter: &'a dyn Reporter,
    on_artifact: &'a mut dyn FnMut(&Artifact),
    /// The binaries that each unit lacks.
    missing: Mutex<Vec<BTreeSet<String>>>,
    crates: u64,
    outcome: Outcome,
}

/// How one cargo process ended.
struct Ended {
    success: bool,
    /// The units whose time ran out.
    expired: Vec<usize>,
    /// What cargo said last that it was doing.
    running: Option<String>,
    /// The messages of failures, coloured and plain.
    errors: Vec<(String, String)>,
    /// True if cargo came to compile something.
    compiled: bool,
    /// Everything it wrote that is no status line, for when it did not.
    said: String,
}

impl Run<'_> {
    fn batch(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut open = batch.units.clone();
        loop {
            let ended = self.cargo(batch, &open)?;
            for unit in &ended.expired {
                let target = self.request.units[*unit].target;
                let duration = self.request.units[*unit].limit.unwrap_or_default();
                let cancelled = Cancelled::TimedOut { what: target.platform.to_string(), duration };
                let running = ended.running.clone();
                self.outcome.failures.push((*unit, UnitError::TimedOut { cancelled, running }));
            }
            open.retain(|unit| !ended.expired.contains(unit) && self.lacks(*unit).is_some());
            if open.is_empty() {
                return Ok(());
            }
            if ended.expired.is_empty() {
                return self.failed(&open, &ended);
            }
            if self.request.on_failure == OnFailure::FailFast {
                self.skip(&open);
                return Ok(());
            }
        }
    }

    /// A binary that the unit lacks.
    fn lacks(&self, unit: usize) -> Option<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing[unit].first().cloned()
    }

    fn skip(&mut self, units: &[usize]) {
        for unit in units {
            let triple = self.request.units[*unit].target.triple.clone();
            self.outcome.failures.push((*unit, UnitError::Skipped { triple }));
        }
    }

    /// Finds out for each unit that lacks programs which of cargo's messages are about it.
    fn failed(&mut self, open: &[usize], ended: &Ended) -> Result<(), Error> {
        if !ended.success && !ended.compiled {
            return Err(Error::Cargo { reason: ended.said.clone() });
        }
        for unit in open {
            let triple = self.request.units[*unit].target.triple.clone();
            let error = if ended.success {
                UnitError::Missing { binary: self.lacks(*unit).unwrap_or_default(), triple }
            } else {
                UnitError::Compiler { errors: self.errors_of(*unit, &ended.errors), triple }
            };
            self.outcome.failures.push((*unit, error));
        }
        Ok(())
    }

    /// cargo does not say which target a message is about. A linker's message shows paths of its target; one of
    /// the compiler concerns every target that failed, as far as can be told.
    fn errors_of(&self, unit: usize, errors: &[(String, String)]) -> String {
        let names = |plain: &str, unit: &super::Unit| plain.contains(&format!("/{}/", unit.target.triple));
        let ours = &self.request.units[unit];
        errors
            .iter()
            .filter(|(_, plain)| {
                names(plain, ours) || !self.request.units.iter().any(|other| names(plain, other))
            })
            .map(|(text, _)| text.as_str())
            .collect()
    }

    /// Runs cargo once for some units of a batch.
    fn cargo(&mut self, batch: &Batch, units: &[usize]) -> Result<Ended, Error> {
        let command = command(self.request, self.prepared, batch, units);
        let cancel = self.cancel.child();
        let ended = AtomicBool::new(false);
        let expired = Mutex::new(Vec::new());
        let (request, prepared) = (self.request, self.prepared);
        let mut log = Log::default();
        let missing = std::mem::take(&mut self.missing);
        let result = thread::scope(|scope| {
            let limits: Vec<(usize, Duration)> =
                units.iter().filter_map(|unit| Some((*unit, request.units[*unit].limit?))).collect();
            if !limits.is_empty() {
                scope.spawn(|| {
                    let limits = limits;
                    while !ended.load(Ordering::SeqCst) {
                        let over = overdue(&limits, prepared.started.elapsed(), &missing);
                        if !over.is_empty() {
                            *expired.lock().unwrap_or_else(PoisonError::into_inner) = over;
                            cancel.interrupt();
                            return;
                        }
                        clock::sleep(WATCH);
                    }
                });
            }
            let result = command.lines(&cancel, |line| match line {
                Line::Stdout(bytes) => self.message(&bytes, units, &missing, &mut log),
                Line::Stderr(bytes) => self.stderr(&String::from_utf8_lossy(&bytes), &mut log),
            });
            ended.store(true, Ordering::SeqCst);
            result
        });
        self.missing = missing;
        for piece in log.pieces.end() {
            self.piece(piece, &mut log);
        }
        let expired = expired.into_inner().unwrap_or_else(PoisonError::into_inner);
        let success = match result {
            Ok(status) => status.success(),
            Err(ProcessError::Cancelled(_)) if !expired.is_empty() => {
                self.cancel.check()?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Ended {
            success,
            expired,
            running: log.running,
            errors: log.errors,
            compiled: log.compiled,
            said: log.said,
        })
    }

    fn message(
        &mut self,
        bytes: &[u8],
        units: &[usize],
        missing: &Mutex<Vec<BTreeSet<String>>>,
        log: &mut Log,
    ) {
        // What is no message of cargo's is what a build script or a wrapper has written to the wrong place.
        let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_slice(bytes) else { return };
        self.crates += 1;
        log.compiled = true;
        self.reporter.report(Event::Crates { done: self.crates, total: None });
        let Some(path) = artifact.executable else { return };
        let is_ours = artifact.target.kind.contains(&TargetKind::Bin)
            && self.request.project.binaries.iter().any(|binary| {
                binary.name == artifact.target.name && binary.package_id == artifact.package_id.repr
            });
        // `<target folder>/<triple>/<profile>/<binary>`: the message itself carries no triple.
        let triple = path.parent().and_then(|profile| profile.parent()?.file_name());
        let unit =
            units.iter().find(|unit| Some(self.request.units[**unit].target.triple.as_str()) == triple);
        let (true, Some(unit)) = (is_ours, unit) else { return };
        let is_new =
            missing.lock().unwrap_or_else(PoisonError::into_inner)[*unit].remove(&artifact.target.name);
        if is_new {
            let artifact = Artifact {
                unit: *unit,
                binary: artifact.target.name,
                path: path.into(),
                fresh: artifact.fresh,
            };
            (self.on_artifact)(&artifact);
            self.outcome.artifacts.push(artifact);
        }
    }

    fn stderr(&mut self, line: &str, log: &mut Log) {
        for piece in log.pieces.line(line) {
            self.piece(piece, log);
        }
    }

    fn piece(&mut self, piece: Piece, log: &mut Log) {
        match piece {
            Piece::Status(verb, rest) => {
                if verb == "Compiling" {
                    log.running = Some(rest.clone());
                    log.compiled = true;
                }
                // Waiting for another cargo is what a person wonders about.
                let level = if verb == "Blocking" { Level::Info } else { Level::Detail };
                let text = format!("cargo: {verb} {rest}");
                self.reporter.report(Event::Note { level, platform: None, text });
            }
            Piece::Message { text, plain } => {
                log.said.push_str(&text);
                if stderr::is_error(&plain) {
                    log.errors.push((text.clone(), plain));
                }
                self.reporter.report(Event::Compiler { text });
            }
        }
    }
}

/// What one cargo process has said.
#[derive(Default)]
struct Log {
    pieces: Pieces,
    running: Option<String>,
    errors: Vec<(String, String)>,
    compiled: bool,
    said: String,
}

/// The units that lack programs and whose time has run out.
fn overdue(
    limits: &[(usize, Duration)],
    elapsed: Duration,
    missing: &Mutex<Vec<BTreeSet<String>>>,
) -> Vec<usize> {
    let missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
    limits
        .iter()
        .filter(|(unit, limit)| elapsed >= *limit && !missing[*unit].is_empty())
        .map(|(unit, _)| *unit)
        .collect()
}
