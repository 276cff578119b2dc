//! `xbuild toolchain` and `xbuild doctor`: what is installed, what is missing, and what to do about it.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::Failure;
use super::arguments::{ListOptions, ToolchainCommand, ToolchainName};
use super::commands::json_text;
use super::view::{View, print};
use crate::cache::CacheError;
use crate::error::{CacheFault, Explain, io_hint};
use crate::event::{ReleaseFacts, release_lines};
use crate::host::Host;
use crate::packages::{Dated, ReleaseRequest, stale};
use crate::settings::{DEFAULT_BASE, Machine};
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::{self, Environment};
use crate::sys::store::{self};
use crate::sys::{clock, fs};
use crate::toolchain::provided;
use crate::toolchain::rust::{self, Rust};

/// A row of `xbuild toolchain list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ToolchainRow {
    name: &'static str,
    /// The installed version, or the version that would be provided.
    version: String,
    /// Its path; `None` if it is not installed.
    path: Option<String>,
    /// How it is found, or would be provided.
    from: String,
}

/// Runs `xbuild toolchain …`.
pub(super) fn toolchain(
    command: &ToolchainCommand,
    machine: &Machine,
    environment: &Environment,
    view: &View,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let request = provided_request(machine, environment);
    match command {
        ToolchainCommand::List(ListOptions { json }) => {
            let rows = [provided_row(&request, cancel), rust_row(environment, cancel)];
            let text = if *json { json_text(&rows) } else { table(&rows) };
            Ok(print(&text)?)
        }
        ToolchainCommand::Install { name: ToolchainName::Zig, .. } => {
            // Holds the shared lock, so that nobody removes entries meanwhile.
            store::open(&machine.cache).map_err(CacheError::from)?;
            let found = provided::provide(&request, &Client::new(machine.offline), cancel, view.reporter())?;
            view.finish();
            Ok(print(&format!("{}\n", found.program.display()))?)
        }
        ToolchainCommand::Path { name: ToolchainName::Zig } => {
            Ok(print(&format!("{}\n", provided::find(&request, cancel)?.program.display()))?)
        }
        // Rust is the project's own, and xbuild never installs it.
        ToolchainCommand::Install { name: ToolchainName::Rust, .. }
        | ToolchainCommand::Path { name: ToolchainName::Rust } => {
            Ok(print(&format!("{}\n", detect(environment, cancel)?.sysroot.display()))?)
        }
    }
}

/// Detects the toolchain of the project in the current directory, or that of the machine. Outside a project, files in
/// the current directory must not decide which rustc is run or where it is.
fn detect(environment: &Environment, cancel: &Cancel) -> Result<Rust, rust::Error> {
    let current = env::current_dir()?;
    let project = current.ancestors().find(|directory| directory.join("Cargo.toml").is_file());
    rust::detect(project.unwrap_or(Path::new("/")), environment, cancel)
}

fn provided_row(request: &provided::Request<'_>, cancel: &Cancel) -> ToolchainRow {
    match provided::find(request, cancel) {
        Ok(found) => ToolchainRow {
            name: provided::NAME,
            version: found.version.to_string(),
            path: Some(found.program.display().to_string()),
            from: format!("{:?}", found.way).to_lowercase(),
        },
        Err(_) => ToolchainRow {
            name: provided::NAME,
            version: provided::own_version().to_string(),
            path: None,
            from: "provided when a build needs it, or by `xbuild toolchain install zig`".into(),
        },
    }
}

fn rust_row(environment: &Environment, cancel: &Cancel) -> ToolchainRow {
    match detect(environment, cancel) {
        Ok(rust) => ToolchainRow {
            name: "rust",
            version: rust.version.to_string(),
            path: Some(rust.sysroot.display().to_string()),
            from: rust
                .rustup
                .map_or_else(|| "no rustup".into(), |rustup| format!("rustup, {}", rustup.toolchain)),
        },
        Err(error) => {
            ToolchainRow { name: "rust", version: "none".into(), path: None, from: error.to_string() }
        }
    }
}

fn table(rows: &[ToolchainRow]) -> String {
    let mut text = format!("{:<6} {:<10} {}\n", "NAME", "VERSION", "WHERE");
    for row in rows {
        let place = match &row.path {
            Some(path) => format!("{path} ({})", row.from),
            None => row.from.clone(),
        };
        // Writing to a string cannot fail.
        writeln!(text, "{:<6} {:<10} {place}", row.name, row.version).ok();
    }
    text
}

/// One thing that `doctor` checked.
struct Check {
    good: bool,
    what: &'static str,
    found: String,
    hint: Option<String>,
}

impl Check {
    fn good(what: &'static str, found: String) -> Self {
        Self { good: true, what, found, hint: None }
    }

    fn bad(what: &'static str, error: &dyn Explain) -> Self {
        Self { good: false, what, found: error.to_string(), hint: error.hint() }
    }
}

/// The machine lacks something that a build needs.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the checks failed")]
struct Unwell(usize);

impl Explain for Unwell {
    fn exit_code(&self) -> crate::error::ExitCode {
        crate::error::ExitCode::Toolchain
    }
}

/// A request for zig without a project: any version that works.
fn provided_request<'a>(machine: &'a Machine, environment: &'a Environment) -> provided::Request<'a> {
    let (settings, cache) = (&machine.provided, &machine.cache);
    provided::Request { settings, cache, environment, pinned: None, verified: None }
}

/// Runs `xbuild doctor`.
pub(super) fn doctor(
    machine: &Machine,
    environment: &Environment,
    view: &View,
    cancel: &Cancel,
) -> Result<(), Failure> {
    let request = provided_request(machine, environment);
    let mut checks = Vec::new();
    checks.push(match detect(environment, cancel) {
        Ok(rust) => Check::good("rust", format!("{} in {}", rust.version, rust.sysroot.display())),
        Err(error) => Check::bad("rust", &error),
    });
    let row = provided_row(&request, cancel);
    checks.push(Check::good(row.name, format!("{} {}", row.version, row.path.unwrap_or(row.from))));
    checks.push(match store::open(&machine.cache).and_then(|()| fs::temporary_file(&machine.cache)) {
        Ok(_) => Check::good("cache", machine.cache.display().to_string()),
        Err(error) => Check {
            good: false,
            what: "cache",
            found: error.to_string(),
            hint: io_hint(&error)
                .filter(|_| CacheFault::of(&error).is_some())
                .or_else(|| Some("point $XBUILD_CACHE_DIR at a directory that you may write to".into())),
        },
    });
    checks.push(packages(machine, environment, cancel, view));
    view.finish();
    let mut text = String::new();
    for check in &checks {
        let mark = match (check.good, &check.hint) {
            (false, _) => "FAIL",
            (true, Some(_)) => "old",
            (true, None) => "ok",
        };
        writeln!(text, "{mark:<5} {:<7} {}", check.what, check.found).ok();
        if let Some(hint) = &check.hint {
            writeln!(text, "{:<13} hint: {hint}", "").ok();
        }
    }
    print(&text)?;
    // The results so far are useful even if the time limit has expired.
    cancel.check()?;
    match checks.iter().filter(|check| !check.good).count() {
        0 => Ok(()),
        failed => Err(Unwell(failed).into()),
    }
}

/// Checks whether the default base's release is available and signed.
fn packages(machine: &Machine, environment: &Environment, cancel: &Cancel, view: &View) -> Check {
    let suite = DEFAULT_BASE.trim_start_matches("apt:");
    let request = ReleaseRequest { release: suite, suites: &[], components: &[], moment: None };
    let client = &crate::packages::client(environment, machine.offline);
    let host = Host { environment, cache: &machine.cache, client, cancel, reporter: view.reporter() };
    match crate::packages::open(&request, &machine.packages, host) {
        Ok(archive) => {
            let releases = archive.dated();
            let facts: Vec<ReleaseFacts> = releases.iter().map(Dated::facts).collect();
            let old: Vec<String> =
                stale(&releases, clock::unix_now()).iter().map(ToString::to_string).collect();
            let hint = (!old.is_empty()).then(|| old.join("; "));
            Check { hint, ..Check::good("debian", release_lines(&facts).join("; ")) }
        }
        Err(error) => Check::bad("debian", &error),
    }
}
