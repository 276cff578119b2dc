//! Checks whether an image will run, before it leaves the host and without running anything.
//!
//! [`check`] is pure. It takes an index of the image's root filesystem ([`crate::rootfs`]) and the start command from
//! its configuration, and returns findings. For the program that starts, wherever it comes from, and for every program
//! and library that xbuild adds, it does what the kernel and the dynamic loader would do: it finds the interpreter of a
//! script or the loader of a program, finds every needed library in that loader's search path, and checks that versions
//! and symbols are defined.
//!
//! What cannot be seen, such as libraries that a program loads by itself, is reported ([`Unseen`]) and not guessed.

mod advice;
mod allow;
mod built;
mod cache;
mod closure;
mod execution;
mod finding;
mod mode;
mod obstacle;
mod processor;
mod program;
mod remedy;
mod script;
mod search;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::elf::{Loader, Object};
use crate::rootfs::{Content, Identity, Lookup, Node, Permission, Root};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::target::catalog::Libc;
use crate::target::platform::Platform;

pub use allow::Allowance;
pub(crate) use allow::allow;
pub(crate) use built::{MachinePaths, plain_path};
pub use cache::Cache;
pub use execution::Execution;
pub use finding::{Finding, Problem, Severity};
pub use mode::CheckMode;
pub use obstacle::{Needs, Obstacle, Skipped};
pub(crate) use processor::{describe_elf, problems as unfit};
pub use remedy::Origin;

/// Maximum depth of scripts as interpreters of scripts, as in Linux.
const MOST_SCRIPTS: usize = 4;

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The image's platform.
    pub platform: &'a Platform,
    /// Its root filesystem.
    pub root: &'a Root,
    /// What it starts.
    pub execution: &'a Execution,
    /// The files that were added to the base: relative paths without links. They are checked besides the program that
    /// starts.
    pub added: &'a BTreeSet<String>,
    /// The kind of base, for remedies.
    pub origin: &'a Origin,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// All problems: errors first, then by file.
    pub findings: Vec<Finding>,
    /// What could not be seen, sorted.
    pub unseen: Vec<Unseen>,
    /// The programs and libraries that were checked: absolute paths, sorted.
    pub checked: Vec<String>,
}

impl Report {
    /// True if there is an error that is not allowed.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error && finding.allowed.is_none())
    }
}

/// Something that the check cannot see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Unseen {
    /// It loads further libraries by itself (`dlopen`).
    Dlopen {
        /// The program or library.
        file: String,
    },
    /// It uses the name service switch, whose modules `/etc/nsswitch.conf` names.
    NameService {
        /// The program.
        file: String,
    },
    /// It contains NEON code, which not all processors of its platform support, and checks the processor first, or may
    /// do so.
    Neon {
        /// The program or library.
        file: String,
    },
    /// It starts a shell, whose commands are not examined.
    Shell {
        /// The shell.
        file: String,
    },
}

impl std::fmt::Display for Unseen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dlopen { file } => {
                write!(formatter, "{file} can load further libraries when it runs (dlopen)")
            }
            Self::NameService { file } => {
                write!(
                    formatter,
                    "{file} uses the name service switch, whose modules are loaded when it runs"
                )
            }
            Self::Neon { file } => {
                write!(
                    formatter,
                    "{file} has NEON code for processors that have it; whether checks guard all of it is not examined"
                )
            }
            Self::Shell { file } => write!(formatter, "the commands that {file} runs are not checked"),
        }
    }
}

/// Checks an image.
///
/// # Errors
///
/// Only if the work is cancelled. Problems of the image are in the report.
pub fn check(request: &Request<'_>, cancel: &Cancel) -> Result<Report, Cancelled> {
    let mut problems = Vec::new();
    let who = request.execution.identity(request.root, &mut problems);
    let mut run = Run {
        platform: request.platform,
        root: request.root,
        execution: request.execution,
        added: request.added,
        own_base: matches!(request.origin, Origin::Packages { .. } | Origin::Base),
        who,
        cancel,
        libc: image_libc(request),
        found: BTreeMap::new(),
        unseen: BTreeSet::new(),
        checked: BTreeSet::new(),
        loaded: BTreeSet::new(),
        dirs: BTreeSet::new(),
    };
    for problem in problems {
        run.report("the image's user", problem, None);
    }
    for entry in request.root.refused() {
        let (path, kind) = (format!("/{}", entry.path), char::from(entry.kind).escape_default().to_string());
        let problem = Problem::RefusedEntry { path: path.clone(), kind, reason: entry.reason.clone() };
        run.report(&path, problem, None);
    }
    run.workdir();
    run.command()?;
    run.added()?;
    run.advise();
    let mut findings: Vec<Finding> = run
        .found
        .into_iter()
        .map(|(problem, (file, severity))| {
            let remedy = remedy::remedy(request, &problem);
            Finding { platform: request.platform.clone(), severity, file, problem, remedy, allowed: None }
        })
        .collect();
    findings.sort_by(|a, b| (b.severity, &a.file, &a.problem).cmp(&(a.severity, &b.file, &b.problem)));
    let checked = run.checked.into_iter().collect();
    Ok(Report { findings, unseen: run.unseen.into_iter().collect(), checked })
}

/// The C library of the image's loaders, if it has one for the platform.
fn image_libc(request: &Request<'_>) -> Option<Libc> {
    let loaders = request.root.nodes().filter_map(|(_, node)| {
        let object = node.file()?.elf()?;
        let loader = object.loader.as_ref()?;
        processor::problems(request.platform, "", &object.elf).is_empty().then_some(loader)
    });
    loaders.map(|loader| if matches!(loader, Loader::Musl { .. }) { Libc::Musl } else { Libc::Gnu }).next()
}

/// The state of one check.
struct Run<'a> {
    platform: &'a Platform,
    root: &'a Root,
    execution: &'a Execution,
    added: &'a BTreeSet<String>,
    /// True if the project chose the base, to which all files belong that were not added.
    own_base: bool,
    who: Identity,
    cancel: &'a Cancel,
    /// The image's C library.
    libc: Option<Libc>,
    /// Each problem once, with the file that was being checked when it was first found.
    found: BTreeMap<Problem, (String, Severity)>,
    unseen: BTreeSet<Unseen>,
    checked: BTreeSet<String>,
    /// The libraries that some program loads: relative paths without links.
    loaded: BTreeSet<String>,
    /// The directories that some loader searches: relative paths without links.
    dirs: BTreeSet<String>,
}

/// Why a file is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It is started, or needed by what is started.
    Starts,
    /// It was added.
    Added,
}

impl Run<'_> {
    /// Records a problem. `severity` overrides the problem's own.
    fn report(&mut self, file: &str, problem: Problem, severity: Option<Severity>) {
        // The author of the base decides which processors it is for, and whoever builds on it cannot recompile it.
        let of_base = matches!(&problem, Problem::Instruction { path, .. }
            if self.own_base && !self.root.real_path(path).is_some_and(|real| self.added.contains(&real)));
        let severity = if of_base { Some(Severity::Warning) } else { severity };
        let severity = severity.unwrap_or_else(|| problem.severity());
        let known = self.found.entry(problem).or_insert_with(|| (file.to_owned(), severity));
        if severity > known.1 {
            *known = (file.to_owned(), severity);
        }
    }

    /// Checks the working directory.
    fn workdir(&mut self) {
        let dir = self.execution.workdir.as_str();
        if matches!(dir, "" | "/") {
            return;
        }
        let reason = match self.root.resolve_path(dir, &self.who) {
            Lookup::Found { node, .. } if !node.is_dir() => Some("it is not a directory".to_owned()),
            Lookup::Found { node, .. } if !self.who.may(Permission::Execute, node) => {
                Some(format!("{} may not enter it", self.execution.user_name()))
            }
            Lookup::Found { .. } => return,
            Lookup::Missing { .. } => None,
            other => Some(self.barrier(&other)),
        };
        let workdir = self.execution.absolute("");
        self.report(&workdir.clone(), Problem::MissingWorkdir { workdir, reason }, None);
    }

    /// Why a path cannot be resolved, as a sentence.
    fn barrier(&self, lookup: &Lookup<'_>) -> String {
        match lookup {
            Lookup::Found { .. } => String::new(),
            Lookup::Missing { path } => format!("/{path} is not there"),
            Lookup::NotADirectory { path } => format!("/{path} is not a directory"),
            Lookup::Denied { path } => format!("{} may not enter /{path}", self.execution.user_name()),
            Lookup::Circle => "its symbolic links form a loop".to_owned(),
        }
    }

    /// Checks what the image starts.
    fn command(&mut self) -> Result<(), Cancelled> {
        let arguments: Vec<String> = self.execution.arguments().into_iter().map(ToOwned::to_owned).collect();
        let asked_by = if self.execution.entrypoint.is_empty() { "cmd" } else { "entrypoint" };
        let Some((program, rest)) = arguments.split_first() else {
            self.report("the image's configuration", Problem::NoCommand {}, None);
            return Ok(());
        };
        let Some(path) = self.resolve(program, asked_by, Severity::Error) else { return Ok(()) };
        self.executable(&path, Role::Starts, 0)?;
        // Programs that only start another one.
        if let Some(next) = script::started_by(&path, rest)
            && let Some(path) = self.resolve(next, asked_by, Severity::Error)
        {
            self.executable(&path, Role::Starts, 0)?;
        } else if script::is_shell(&path) && rest.first().is_some_and(|first| first == "-c") {
            self.unseen.insert(Unseen::Shell { file: path });
        }
        Ok(())
    }

    /// Searches for a program in the same way as engines and `execvp`. Returns its absolute path.
    fn resolve(&mut self, program: &str, asked_by: &str, severity: Severity) -> Option<String> {
        let candidates: Vec<String> = if program.contains('/') {
            vec![self.execution.absolute(program)]
        } else {
            let dir = |dir: &String| format!("{}/{program}", dir.trim_end_matches('/'));
            self.execution.path().iter().map(dir).collect()
        };
        let mut refused = None;
        for path in &candidates {
            match self.root.resolve_path(path, &self.who) {
                Lookup::Found { node, .. } => match self.may_execute(node) {
                    None => return Some(path.clone()),
                    Some(reason) => refused = refused.or(Some((path.clone(), reason))),
                },
                Lookup::Missing { path: real } if self.root.entry(path).is_some() => {
                    refused = refused.or(Some((path.clone(), Obstacle::Dangling(real))));
                }
                denied @ (Lookup::Denied { .. } | Lookup::Circle) => {
                    let reason = Obstacle::Barred(self.barrier(&denied));
                    refused = refused.or(Some((path.clone(), reason)));
                }
                Lookup::Missing { .. } | Lookup::NotADirectory { .. } => {}
            }
        }
        let problem = match refused {
            Some((path, reason)) => {
                Problem::NotExecutable { path, user: self.execution.user_name().to_owned(), reason }
            }
            None => Problem::NotFound {
                program: program.to_owned(),
                asked_by: asked_by.to_owned(),
                searched: if program.contains('/') { Vec::new() } else { self.execution.path() },
            },
        };
        self.report(program, problem, Some(severity));
        None
    }

    /// Why the user may not execute a file; `None` if it may.
    fn may_execute(&self, node: &Node) -> Option<Obstacle> {
        if node.is_dir() {
            Some(Obstacle::Directory)
        } else if node.file().is_none() {
            Some(Obstacle::NoFile)
        } else if !self.who.may(Permission::Execute, node) {
            Some(Obstacle::Mode { mode: node.mode, uid: node.uid, gid: node.gid })
        } else {
            None
        }
    }

    /// Checks everything that is executed with a file. That the user may execute the file itself was checked before.
    fn executable(&mut self, path: &str, role: Role, depth: usize) -> Result<(), Cancelled> {
        let Some((real, node)) = self.root.resolve_path(path, &self.who).found() else { return Ok(()) };
        let Some(file) = node.file() else { return Ok(()) };
        if !self.checked.insert(path.to_owned()) {
            return Ok(());
        }
        match &file.content {
            Content::Elf(object) => self.program(path, &real, node, object, role)?,
            Content::BrokenElf(reason) => {
                let problem = Problem::BrokenElf { path: path.to_owned(), reason: reason.clone() };
                self.report(path, problem, None);
            }
            Content::Script(line) => self.script(path, node, line, role, depth)?,
            Content::Plain | Content::Whole(_) => {
                let problem = Problem::NoInterpreter { path: path.to_owned() };
                self.report(path, problem, severity_of(role));
            }
        }
        Ok(())
    }

    /// Checks the added files that do not start by themselves.
    fn added(&mut self) -> Result<(), Cancelled> {
        let (mut programs, mut libraries): (Vec<&String>, Vec<(&String, Arc<Object>)>) =
            (Vec::new(), Vec::new());
        for path in self.added {
            let Some(node) = self.root.entry(path) else { continue };
            let Some(file) = node.file() else { continue };
            let executable = node.mode & 0o111 != 0;
            match &file.content {
                Content::Elf(object) if closure::is_library(&object.elf) => {
                    libraries.push((path, Arc::clone(object)));
                }
                Content::Elf(_) | Content::BrokenElf(_) | Content::Script(_) if executable => {
                    programs.push(path);
                }
                Content::Elf(object) if object.elf.is_program() => {
                    // Its mode must be changed before it can run.
                    let path = format!("/{path}");
                    let problems = processor::problems(self.platform, &path, &object.elf);
                    for problem in
                        problems.into_iter().chain(processor::instructions(self.platform, &path, object))
                    {
                        self.report(&path, problem, Some(Severity::Warning));
                    }
                }
                _ => {}
            }
            if self.who.uid != 0 && !self.who.may(Permission::Read, node) && !executable {
                let user = self.execution.user_name().to_owned();
                let reason = format!("its mode is {:04o}, its owner {}:{}", node.mode, node.uid, node.gid);
                let path = format!("/{path}");
                self.report(&path.clone(), Problem::NotReadable { path, user, reason }, None);
            }
        }
        for path in programs {
            self.executable(&format!("/{path}"), Role::Added, 0)?;
        }
        // Programs come first: the libraries that they load need no second check.
        for (path, object) in libraries {
            self.library(path, &object)?;
        }
        Ok(())
    }
}

/// An added script or text file may not be meant to be executed.
fn severity_of(role: Role) -> Option<Severity> {
    match role {
        Role::Starts => None,
        Role::Added => Some(Severity::Warning),
    }
}
