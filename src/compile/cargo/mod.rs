//! One cargo process for all triples, its messages read as they come.
//!
//! cargo compiles build scripts and procedural macros once and has one job server for all triples, which several
//! cargo processes in one target folder could not (they wait for each other's lock). A triple that fails does not
//! stop the others. Triples whose standard library is built from source need flags that would reach every
//! triple, so they come in a second process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cargo_metadata::{Artifact, Message};

use crate::error::{ExitCode, Explain};
use crate::facts::project::Binary;
use crate::report::{Event, Level, Reporter};
use crate::settings::{CargoSettings, OnFailure};
use crate::sys::cancel::{Cancel, Cancelled, humantime};
use crate::sys::clock::Instant;
use crate::sys::process::{Line, ProcessError};

mod command;

/// How much of cargo's error output is kept for the summary of a failure.
const KEPT_ERRORS: usize = 8;

/// What is compiled, and how.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The cargo program.
    pub cargo: &'a Path,
    /// The folder to run in: configuration files and the toolchain are looked up from there.
    pub folder: &'a Path,
    /// The Cargo.toml.
    pub manifest: &'a Path,
    /// cargo's target folder.
    pub target_directory: &'a Path,
    /// Options that are passed on.
    pub settings: &'a CargoSettings,
    /// The binaries; never empty.
    pub binaries: &'a [Binary],
    /// The triples; each once.
    pub targets: Vec<TargetRequest>,
    /// True if compiler messages should come with colours.
    pub color: bool,
    /// What happens to the other triples when one fails.
    pub on_failure: OnFailure,
}

/// How one triple is compiled.
#[derive(Clone, Debug, Default)]
pub struct TargetRequest {
    /// The triple.
    pub triple: String,
    /// What it is called in messages: the platform.
    pub name: String,
    /// Flags for rustc, the user's and ours.
    pub rustflags: Vec<String>,
    /// Variables for cargo; those of all triples are set together, so their names carry the triple.
    pub environment: Vec<(OsString, Option<OsString>)>,
    /// True if the standard library is built from source.
    pub build_std: bool,
    /// How long it may take, from the start of the compilation.
    pub limit: Option<Duration>,
}

/// A binary that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltBinary {
    /// The binary target's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Why a triple has no binaries.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// cargo ran, and what it should have built is not there.
    #[error("cargo could not compile {} for {triple}{}", missing.join(", "), quoted(errors))]
    Failed {
        /// The triple.
        triple: String,
        /// The binaries that are missing, each in backticks.
        missing: Vec<String>,
        /// The errors that cargo summed up.
        errors: Vec<String>,
    },
    /// The triple's own time limit ran out.
    #[error("compiling for {triple} did not finish within {}; cargo was at: {}", humantime(*limit), running.join(", "))]
    TimedOut {
        /// The triple.
        triple: String,
        /// The limit.
        limit: Duration,
        /// The crates that cargo had begun last.
        running: Vec<String>,
    },
    /// The whole run was stopped.
    #[error("{cancelled}{}", at(running))]
    Cancelled {
        /// Why.
        cancelled: Cancelled,
        /// The crates that cargo had begun last.
        running: Vec<String>,
    },
}

impl Explain for CompileError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed { .. } => ExitCode::Compile,
            Self::TimedOut { .. } => ExitCode::TimedOut,
            Self::Cancelled { cancelled, .. } => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { triple, .. } => {
                Some(format!("the compiler's messages are above; `xbuild plan` shows how {triple} is linked"))
            }
            Self::TimedOut { .. } => Some("give it more time with --timeout PLATFORM=DURATION".into()),
            Self::Cancelled { cancelled, .. } => cancelled.hint(),
        }
    }
}

fn quoted(errors: &[String]) -> String {
    errors.iter().fold(String::new(), |text, error| text + "\n  | " + error)
}

fn at(running: &[String]) -> String {
    if running.is_empty() { String::new() } else { format!("; cargo was at: {}", running.join(", ")) }
}

/// Compiles. `on_payload` is called for each triple as soon as all its binaries are there. The result has every
/// triple that failed, with its reason; only a cargo that cannot be run is an error of the whole.
pub fn compile(
    request: &Request<'_>,
    cancel: &Cancel,
    reporter: &dyn Reporter,
    on_payload: &mut dyn FnMut(&str, Vec<BuiltBinary>),
) -> Result<BTreeMap<String, CompileError>, ProcessError> {
    let mut failures = BTreeMap::new();
    let start = Instant::now();
    for build_std in [false, true] {
        let mut targets: Vec<_> =
            request.targets.iter().filter(|target| target.build_std == build_std).collect();
        // After a time limit cargo is started again without that triple; what it had finished is fresh.
        while !targets.is_empty() {
            if request.on_failure == OnFailure::FailFast && !failures.is_empty() {
                stopped(&targets, &Cancelled::Stopped, &[], &mut failures);
                break;
            }
            let run = Run::new(request, &targets, start, reporter);
            let expired = run.execute(cancel, on_payload, &mut failures)?;
            if expired.is_empty() {
                break;
            }
            let pending: BTreeSet<String> = run.pending().into_keys().map(ToOwned::to_owned).collect();
            targets.retain(|target| pending.contains(&target.triple) && !expired.contains(&target.triple));
        }
    }
    Ok(failures)
}

fn stopped(
    targets: &[&TargetRequest],
    cancelled: &Cancelled,
    running: &[String],
    failures: &mut BTreeMap<String, CompileError>,
) {
    for target in targets {
        let error = CompileError::Cancelled { cancelled: cancelled.clone(), running: running.to_owned() };
        failures.insert(target.triple.clone(), error);
    }
}

/// One cargo process.
struct Run<'a> {
    request: &'a Request<'a>,
    targets: &'a [&'a TargetRequest],
    start: Instant,
    reporter: &'a dyn Reporter,
    /// The binaries that each triple still lacks.
    missing: Mutex<BTreeMap<&'a str, BTreeSet<&'a str>>>,
}

/// What a process has said so far.
#[derive(Default)]
struct Heard {
    built: BTreeMap<String, Vec<BuiltBinary>>,
    finished: u64,
    /// The crates that were begun last, newest first.
    begun: Vec<String>,
    errors: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(
        request: &'a Request<'a>,
        targets: &'a [&'a TargetRequest],
        start: Instant,
        reporter: &'a dyn Reporter,
    ) -> Self {
        let names: BTreeSet<_> = request.binaries.iter().map(|binary| binary.name.as_str()).collect();
        let missing = targets.iter().map(|target| (target.triple.as_str(), names.clone())).collect();
        Self { request, targets, start, reporter, missing: Mutex::new(missing) }
    }

    /// Runs cargo to its end, whatever ends it. Returns the triples whose time limit ended it; the others of
    /// this run are then not yet decided.
    fn execute(
        &self,
        cancel: &Cancel,
        on_payload: &mut dyn FnMut(&str, Vec<BuiltBinary>),
        failures: &mut BTreeMap<String, CompileError>,
    ) -> Result<BTreeSet<String>, ProcessError> {
        let child = cancel.child();
        let mut heard = Heard::default();
        let expired = Mutex::new(BTreeSet::new());
        let result = thread::scope(|scope| {
            let (finished, wait) = mpsc::channel::<()>();
            scope.spawn({
                let (child, expired) = (&child, &expired);
                move || self.watch(&wait, child, expired)
            });
            let result = command::command(self.request, self.targets).lines(&child, |line| match line {
                Line::Stdout(bytes) => self.on_message(&bytes, &mut heard, on_payload),
                Line::Stderr(bytes) => self.on_text(&String::from_utf8_lossy(&bytes), &mut heard),
            });
            drop(finished);
            result
        });
        let expired = expired.into_inner().unwrap_or_default();
        let pending = self.pending();
        let unfinished = self.targets.iter().filter(|target| pending.contains_key(target.triple.as_str()));
        match result {
            Ok(_) => {
                for target in unfinished {
                    failures.insert(target.triple.clone(), self.failure(target, &pending, &heard));
                }
                Ok(BTreeSet::new())
            }
            Err(ProcessError::Cancelled(Cancelled::Stopped)) if !expired.is_empty() => {
                for target in unfinished.filter(|target| expired.contains(&target.triple)) {
                    let error = CompileError::TimedOut {
                        triple: target.triple.clone(),
                        limit: target.limit.unwrap_or_default(),
                        running: heard.begun.clone(),
                    };
                    failures.insert(target.triple.clone(), error);
                }
                Ok(expired)
            }
            Err(ProcessError::Cancelled(cancelled)) => {
                stopped(&unfinished.copied().collect::<Vec<_>>(), &cancelled, &heard.begun, failures);
                Ok(BTreeSet::new())
            }
            Err(error) => Err(error),
        }
    }

    /// Stops the process when the limit of a triple that is not complete runs out.
    fn watch(&self, done: &mpsc::Receiver<()>, child: &Cancel, expired: &Mutex<BTreeSet<String>>) {
        if self.targets.iter().all(|target| target.limit.is_none()) {
            return;
        }
        loop {
            match done.recv_timeout(Duration::from_millis(50)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let pending = self.pending();
            let over: BTreeSet<String> = self
                .targets
                .iter()
                .filter(|target| target.limit.is_some_and(|limit| self.start.elapsed() >= limit))
                .map(|target| target.triple.clone())
                .filter(|triple| pending.contains_key(triple.as_str()))
                .collect();
            if !over.is_empty() {
                if let Ok(mut expired) = expired.lock() {
                    *expired = over;
                }
                child.stop();
                return;
            }
        }
    }

    fn pending(&self) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let missing = self.missing.lock().map(|missing| missing.clone()).unwrap_or_default();
        missing.into_iter().filter(|(_, names)| !names.is_empty()).collect()
    }

    fn failure(
        &self,
        target: &TargetRequest,
        pending: &BTreeMap<&str, BTreeSet<&str>>,
        heard: &Heard,
    ) -> CompileError {
        // Where several triples fail, an error that names a triple is that triple's alone.
        let names_other = |error: &&String| {
            self.targets.iter().any(|other| other.triple != target.triple && error.contains(&other.triple))
        };
        CompileError::Failed {
            triple: target.triple.clone(),
            missing: pending_names(pending, &target.triple),
            errors: heard.errors.iter().filter(|error| !names_other(error)).cloned().collect(),
        }
    }

    fn on_message(
        &self,
        bytes: &[u8],
        heard: &mut Heard,
        on_payload: &mut dyn FnMut(&str, Vec<BuiltBinary>),
    ) {
        let Ok(message) = serde_json::from_slice::<Message>(bytes) else {
            // A build script's own output can get between the messages.
            self.reporter.report(Event::Note {
                level: Level::Detail,
                platform: None,
                text: String::from_utf8_lossy(bytes).into_owned(),
            });
            return;
        };
        let Message::CompilerArtifact(artifact) = message else { return };
        heard.finished += 1;
        self.reporter.report(Event::Crates { done: heard.finished, total: None });
        let Some((triple, built)) = self.recognise(&artifact) else { return };
        heard.built.entry(triple.to_owned()).or_default().push(built.clone());
        let complete = {
            let Ok(mut missing) = self.missing.lock() else { return };
            let Some(names) = missing.get_mut(triple) else { return };
            names.remove(built.name.as_str()) && names.is_empty()
        };
        if complete {
            let mut binaries = heard.built.remove(triple).unwrap_or_default();
            binaries.sort_by(|a, b| a.name.cmp(&b.name));
            on_payload(triple, binaries);
        }
    }

    /// The triple and the binary that a message is about. Messages carry no triple; the path does:
    /// `<target folder>/<triple>/<profile folder>/<binary>`.
    fn recognise(&self, artifact: &Artifact) -> Option<(&'a str, BuiltBinary)> {
        let path = artifact.executable.as_ref()?.as_std_path();
        let wanted = self.request.binaries.iter().find(|binary| {
            binary.package_id == artifact.package_id.repr && binary.name == artifact.target.name
        })?;
        if !artifact.target.is_bin() {
            return None;
        }
        let triple = path.parent()?.parent()?.file_name()?.to_str()?;
        let target = self.targets.iter().find(|target| target.triple == triple)?;
        Some((&target.triple, BuiltBinary { name: wanted.name.clone(), path: path.to_owned() }))
    }

    /// A line that cargo wrote for people.
    fn on_text(&self, line: &str, heard: &mut Heard) {
        let plain = anstream::adapter::strip_str(line).to_string();
        if let Some(begun) = plain.trim_start().strip_prefix("Compiling ") {
            let name = begun.split(" (").next().unwrap_or(begun).to_owned();
            heard.begun.retain(|known| *known != name);
            heard.begun.insert(0, name);
            heard.begun.truncate(3);
        }
        if plain.starts_with("error") && heard.errors.len() < KEPT_ERRORS && !heard.errors.contains(&plain) {
            heard.errors.push(plain.clone());
        }
        // cargo's own status lines are indented verbs; what is left is the compiler's, or an error of cargo's.
        let status =
            plain.starts_with("   ") && plain.trim_start().starts_with(|c: char| c.is_ascii_uppercase());
        let status = status && STATUS_VERBS.iter().any(|verb| plain.trim_start().starts_with(verb));
        self.reporter.report(if status {
            Event::Note { level: Level::Detail, platform: None, text: plain.trim().to_owned() }
        } else {
            Event::Compiler { text: format!("{line}\n") }
        });
    }
}

/// The verbs of cargo's status lines.
const STATUS_VERBS: &[&str] = &[
    "Adding ",
    "Blocking ",
    "Compiling ",
    "Downloaded ",
    "Downloading ",
    "Dirty ",
    "Finished ",
    "Fresh ",
    "Locking ",
    "Running ",
    "Updating ",
];

fn pending_names(pending: &BTreeMap<&str, BTreeSet<&str>>, triple: &str) -> Vec<String> {
    pending.get(triple).into_iter().flatten().map(|name| format!("`{name}`")).collect()
}

#[cfg(test)]
mod tests;
