//! The cargo process: its output, what that means for each target, and how it is ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cargo_metadata::{CrateType, Message, TargetKind};

use super::prepare::{Batch, Prepared, command};
use super::stderr::{self, Piece, Pieces, Units};
use super::{
    Artifact, CompileRequest, Error, Kit, NamedLinker, Outcome, Product, Unit, UnitError, configuration,
    prefixes,
};
use crate::config::OnFailure;
use crate::event::{Event, Level};
use crate::payload::cargo::project::{Part, ProgramKind};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::clock;
use crate::sys::process::{Line, ProcessError};
use crate::sys::threads::Ends;
use crate::target::catalog::Target;
use crate::toolchain::driver::prime;
use crate::toolchain::rust::Standard;

/// The interval at which time limits are checked.
const WATCH: Duration = Duration::from_millis(50);

/// Primes every unit's wrapper, one after the other: cargo needs the processors, too.
pub(super) fn prime_all(request: &CompileRequest<'_>, prepared: &Prepared, cancel: &Cancel) {
    for (index, (unit, own)) in request.units.iter().zip(&prepared.units).enumerate() {
        // A standard library that is built with the project does not exist yet.
        let Some(wrapper) = own.wrapper.as_ref().filter(|_| unit.standard == Standard::Installed) else {
            continue;
        };
        let Some(batch) = prepared.batches.iter().find(|batch| batch.units.contains(&index)) else {
            continue;
        };
        let wanted = prime::Request {
            wrapper,
            triple: &unit.target.triple,
            rustc: (&request.rust.rustc, request.manifest_path.parent().unwrap_or(Path::new("."))),
            flags: &own.rustc_flags,
            program: request.program,
            remarks: &batch.remarks,
        };
        if let Err(error) = prime::prime(&wanted, cancel) {
            if cancel.check().is_err() {
                return;
            }
            request.host.reporter.report(Event::Note {
                level: Level::Detail,
                platform: Some(unit.platform.clone()),
                text: format!("zig could not build its libraries ahead of the first link: {error}"),
            });
        }
    }
}

/// Runs every batch.
pub(super) fn run_all(
    request: &CompileRequest<'_>,
    prepared: &Prepared,
    on_product: &mut dyn FnMut(&Product),
) -> Result<Outcome, Error> {
    let binaries = request.project.binaries.iter().map(|binary| binary.name.clone());
    let programs: BTreeSet<String> = binaries.collect();
    let missing = |unit: &Unit| Missing { programs: programs.clone(), parts: unit.parts.clone() };
    let mut run = Run {
        request,
        prepared,
        on_product,
        missing: Mutex::new(request.units.iter().map(missing).collect()),
        before: (0, 0),
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
    on_product: &'a mut dyn FnMut(&Product),
    /// What each unit lacks.
    missing: Mutex<Vec<Missing>>,
    /// The units of processes that have ended: done, and in total.
    before: (u64, u64),
    outcome: Outcome,
}

/// What a unit lacks.
struct Missing {
    /// The names of programs.
    programs: BTreeSet<String>,
    /// What builds of packages must make besides the programs.
    parts: BTreeSet<(String, Part)>,
}

impl Missing {
    fn is_empty(&self) -> bool {
        self.programs.is_empty() && self.parts.is_empty()
    }
}

/// How one cargo process ended.
struct Ended {
    success: bool,
    /// The units whose time limit expired.
    expired: Vec<usize>,
    /// What cargo was doing last.
    running: Option<String>,
    /// The messages of failures, without colours.
    errors: Vec<String>,
    /// True if cargo got as far as compiling something.
    compiled: bool,
    /// Everything that it printed except status lines, for the case that it did not.
    said: String,
}

impl Run<'_> {
    fn batch(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut open = batch.units.clone();
        loop {
            let ended = self.cargo(batch, &open)?;
            for unit in &ended.expired {
                let late = &self.request.units[*unit];
                let duration = late.limit.unwrap_or_default();
                let cancelled =
                    Cancelled::TimedOut { what: late.platform.to_string(), duration, doing: None };
                let running = ended.running.clone();
                self.outcome.failures.push((*unit, UnitError::TimedOut { cancelled, running }));
            }
            open.retain(|unit| !ended.expired.contains(unit) && self.is_lacking(*unit, ended.success));
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
        missing[unit].programs.first().cloned()
    }

    /// True if something is missing. If cargo has succeeded, parts that only a program for another target needs were
    /// not supposed to be built; whoever wants their files finds none.
    fn is_lacking(&self, unit: usize, success: bool) -> bool {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if success { !missing[unit].programs.is_empty() } else { !missing[unit].is_empty() }
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
            // cargo prints this, and has no exit code for it.
            let offline = ended.said.contains("--offline");
            return Err(Error::Cargo { reason: ended.said.clone(), offline });
        }
        // Errors in the code are the same for every target, so they are reported once.
        let mut told: BTreeMap<Vec<String>, String> = BTreeMap::new();
        for unit in open {
            let triple = self.request.units[*unit].target.triple.clone();
            let error = if ended.success {
                UnitError::Missing { binary: self.lacks(*unit).unwrap_or_default(), triple }
            } else {
                let errors = self.errors_of(*unit, &ended.errors);
                match told.get(&errors) {
                    Some(other) if !errors.is_empty() => UnitError::Same { triple, other: other.clone() },
                    _ => {
                        told.insert(errors.clone(), triple.clone());
                        let linker = self.named_linker(*unit);
                        let tools = self.request.tools.to_vec();
                        let no_compiler = self.request.units[*unit].kit.has_no_compiler();
                        UnitError::Compiler { messages: errors, triple, linker, tools, no_compiler }
                    }
                }
            };
            self.outcome.failures.push((*unit, error));
        }
        Ok(())
    }

    /// The linker that cargo's configuration names for the unit's programs, or otherwise for build scripts.
    fn named_linker(&self, unit: usize) -> Option<Box<NamedLinker>> {
        let unit = &self.request.units[unit];
        let configuration = self.request.configuration;
        if unit.kit == Kit::Configured {
            return configuration
                .linker_source(unit.target)
                .map(|source| Box::new(NamedLinker::OfTarget(source)));
        }
        let host = Target::by_triple(&self.request.rust.host)?;
        let variable = configuration::linker_variable(host);
        configuration
            .host_linker_source(host)
            .map(|source| Box::new(NamedLinker::OfHost { source, variable }))
    }

    /// cargo does not say which target a message is about. A linker's message shows paths of its target. A message of
    /// the compiler is taken to be about every target that failed.
    fn errors_of(&self, unit: usize, errors: &[String]) -> Vec<String> {
        let names = |plain: &str, unit: &Unit| plain.contains(&format!("/{}/", unit.target.triple));
        let ours = &self.request.units[unit];
        errors
            .iter()
            .filter(|plain| names(plain, ours) || !self.request.units.iter().any(|other| names(plain, other)))
            .cloned()
            .collect()
    }

    /// Runs cargo once for some units of a batch.
    fn cargo(&mut self, batch: &Batch, units: &[usize]) -> Result<Ended, Error> {
        let command = command(self.request, self.prepared, batch, units);
        let cancel = self.request.host.cancel.child();
        let ended = AtomicBool::new(false);
        let expired = Mutex::new(Vec::new());
        let (request, prepared) = (self.request, self.prepared);
        let mut log = Log::default();
        let missing = std::mem::take(&mut self.missing);
        let result = thread::scope(|scope| {
            let limits: Vec<(usize, Duration)> =
                units.iter().filter_map(|unit| Some((*unit, request.units[*unit].limit?))).collect();
            if !limits.is_empty() {
                let watch = || {
                    let limits = limits;
                    while !ended.load(Ordering::SeqCst) {
                        let over = overdue(&limits, prepared.started.elapsed(), &missing);
                        if !over.is_empty() {
                            *locked(&expired) = over;
                            cancel.interrupt();
                            return;
                        }
                        clock::sleep(WATCH);
                    }
                };
                thread::Builder::new()
                    .spawn_scoped(scope, watch)
                    .map_err(|source| ProcessError::Start { program: "cargo".into(), source })?;
            }
            let _ends = Ends(&ended);
            command.lines(&cancel, |line| match line {
                Line::Stdout(bytes) => self.message(&bytes, units, &missing, &mut log),
                Line::Stderr(bytes) => self.stderr(&String::from_utf8_lossy(&bytes), &mut log),
            })
        });
        self.missing = missing;
        for piece in log.pieces.end() {
            self.piece(piece, &mut log);
        }
        let success = match result {
            Ok(status) => status.success(),
            Err(ProcessError::Cancelled(_)) if !locked(&expired).is_empty() => {
                self.request.host.cancel.check()?;
                false
            }
            Err(error) => return Err(error.into()),
        };
        // A failure before anything was compiled is the run's failure itself, and its message has the output.
        if success || log.compiled {
            self.release(&mut log);
        }
        self.before = (self.before.0 + log.done, self.before.1 + log.total.unwrap_or(log.done));
        let expired = expired.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Ended {
            success,
            expired,
            running: log.running,
            errors: log.errors,
            compiled: log.compiled,
            said: log.said,
        })
    }

    fn message(&mut self, bytes: &[u8], units: &[usize], missing: &Mutex<Vec<Missing>>, log: &mut Log) {
        let artifact = match serde_json::from_slice(bytes) {
            Ok(Message::CompilerArtifact(artifact)) => artifact,
            Ok(Message::BuildScriptExecuted(script)) => {
                let (package_id, dir) = (script.package_id.repr, PathBuf::from(script.out_dir));
                if let Some(unit) = self.unit_of(&dir, units) {
                    made(missing, unit, &(package_id.clone(), Part::Script));
                    (self.on_product)(&Product::OutDir { unit, package_id, dir });
                }
                return;
            }
            // Anything else is not a message of cargo's: a build script or a wrapper has written to the wrong stream.
            _ => return,
        };
        log.compiled = true;
        // cargo's progress lines have better counts, but do not exist if it is told to be quiet.
        if log.total.is_none() {
            log.done += 1;
            let done = self.before.0 + log.done;
            self.request.host.reporter.report(Event::Crates { done, total: None, active: String::new() });
        }
        if artifact.executable.is_none() {
            self.library(artifact, units, missing);
            return;
        }
        let Some(path) = artifact.executable else { return };
        let kind = if artifact.target.kind.contains(&TargetKind::Bin) {
            ProgramKind::Bin
        } else {
            ProgramKind::Example
        };
        let is_ours = self.request.project.binaries.iter().any(|binary| {
            (&binary.name, binary.kind, &binary.package_id)
                == (&artifact.target.name, kind, &artifact.package_id.repr)
        });
        // `<target directory>/<triple>/<profile>/<binary>`: the message itself does not name the triple. Examples are
        // in a subdirectory.
        let profile = match kind {
            ProgramKind::Bin => path.parent(),
            ProgramKind::Example => path.parent().and_then(|examples| examples.parent()),
        };
        let triple = profile.and_then(|profile| profile.parent()?.file_name());
        let unit =
            units.iter().find(|unit| Some(self.request.units[**unit].target.triple.as_str()) == triple);
        let (true, Some(unit)) = (is_ours, unit) else { return };
        let is_new = missing.lock().unwrap_or_else(PoisonError::into_inner)[*unit]
            .programs
            .remove(&artifact.target.name);
        if is_new {
            let artifact = Artifact {
                unit: *unit,
                binary: artifact.target.name,
                path: path.into(),
                fresh: artifact.fresh,
            };
            (self.on_product)(&Product::Program(artifact.clone()));
            self.outcome.artifacts.push(artifact);
        }
    }

    /// Hands over a shared library that cargo has made, for a file beside the programs.
    fn library(
        &mut self,
        artifact: cargo_metadata::Artifact,
        units: &[usize],
        missing: &Mutex<Vec<Missing>>,
    ) {
        let is_shared = [CrateType::CDyLib, CrateType::DyLib]
            .iter()
            .any(|kind| artifact.target.crate_types.contains(kind));
        let files = artifact.filenames.into_iter().map(PathBuf::from);
        let files: Vec<PathBuf> =
            files.filter(|file| file.extension().is_some_and(|extension| extension == "so")).collect();
        let Some(unit) = files.first().filter(|_| is_shared).and_then(|file| self.unit_of(file, units))
        else {
            return;
        };
        let package_id = artifact.package_id.repr;
        made(missing, unit, &(package_id.clone(), Part::Library));
        (self.on_product)(&Product::Library { unit, package_id, files });
    }

    /// The unit that something was made for. The triple is in its path, below the directory that cargo builds in; what
    /// is for the host itself has none.
    fn unit_of(&self, path: &Path, units: &[usize]) -> Option<usize> {
        let project = self.request.project;
        let target_dir = prefixes::target_dir(self.request);
        let roots = [Some(&target_dir), project.build_directory.as_ref()];
        let below = roots.into_iter().flatten().find_map(|root| path.strip_prefix(root).ok()).unwrap_or(path);
        let mut of_path = units.iter().copied().filter(|unit| {
            let triple = self.request.units[*unit].target.triple.as_str();
            below.components().any(|part| part.as_os_str() == triple)
        });
        of_path.next()
    }

    fn stderr(&mut self, line: &str, log: &mut Log) {
        for piece in log.pieces.line(line) {
            self.piece(piece, log);
        }
    }

    fn piece(&mut self, piece: Piece, log: &mut Log) {
        match piece {
            Piece::Status(verb, rest) => {
                log.behind = Behind::Nothing;
                if verb == "Compiling" {
                    log.running = Some(rest.clone());
                    log.compiled = true;
                    self.release(log);
                }
                // Users wonder why cargo waits for another cargo, so that is not a detail.
                let level = if verb == "Blocking" { Level::Info } else { Level::Detail };
                let text = format!("cargo: {verb} {rest}");
                self.request.host.reporter.report(Event::Note { level, platform: None, text });
            }
            Piece::Progress(Units { done, total, active }) => {
                log.compiled = true;
                (log.done, log.total) = (done, Some(total));
                log.running = Some(active.clone()).filter(|active| !active.is_empty()).or(log.running.take());
                let (done, total) = (self.before.0 + done, self.before.1 + total);
                self.request.host.reporter.report(Event::Crates { done, total: Some(total), active });
            }
            Piece::Message { text, plain } => {
                log.said.push_str(&text);
                let error = log.keep(plain);
                log.held.push(Event::Compiler { text, error });
                if log.compiled {
                    self.release(log);
                }
            }
        }
    }

    /// Reports the messages that were held back.
    fn release(&self, log: &mut Log) {
        for event in log.held.drain(..) {
            self.request.host.reporter.report(event);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that something exists now which a unit lacked.
fn made(missing: &Mutex<Vec<Missing>>, unit: usize, part: &(String, Part)) {
    locked(missing)[unit].parts.remove(part);
}

/// The output of one cargo process so far.
#[derive(Default)]
struct Log {
    pieces: Pieces,
    running: Option<String>,
    /// Units done, and in total if cargo says so.
    done: u64,
    total: Option<u64>,
    errors: Vec<String>,
    /// What the last message was about, since the next one may be a part of it.
    behind: Behind,
    /// Messages that are not reported yet, because cargo has not compiled anything so far.
    held: Vec<Event>,
    compiled: bool,
    said: String,
}

/// What precedes a message.
#[derive(Default)]
enum Behind {
    /// Nothing that it could be a part of.
    #[default]
    Nothing,
    /// An error, the last of the stored ones.
    Error,
    /// cargo's summary for a package.
    Summary(String),
}

impl Log {
    /// Stores a message if it is part of an error, and returns true if so. cargo puts an empty line between an error
    /// and its causes.
    fn keep(&mut self, plain: String) -> bool {
        if stderr::is_summary(&plain) {
            self.behind = Behind::Summary(plain);
            return true;
        }
        if stderr::is_error(&plain) {
            self.behind = Behind::Error;
            self.errors.push(plain);
            return true;
        }
        if plain.starts_with("warning") {
            self.behind = Behind::Nothing;
        }
        match std::mem::take(&mut self.behind) {
            Behind::Nothing => return false,
            Behind::Error => {
                if let Some(error) = self.errors.last_mut() {
                    error.push_str(&plain);
                }
            }
            // A compiler that was killed has no error of its own.
            Behind::Summary(summary) => self.errors.push(summary + &plain),
        }
        self.behind = Behind::Error;
        true
    }
}

/// The units that lack programs and whose time limit has expired.
fn overdue(limits: &[(usize, Duration)], elapsed: Duration, missing: &Mutex<Vec<Missing>>) -> Vec<usize> {
    let missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
    limits
        .iter()
        .filter(|(unit, limit)| elapsed >= *limit && !missing[*unit].is_empty())
        .map(|(unit, _)| *unit)
        .collect()
}
