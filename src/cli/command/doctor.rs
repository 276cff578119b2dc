//! `xbuild doctor`: what is installed, what is missing, and what to do about it.

use std::fmt::Write as _;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::Limit;
use crate::cli::toolchains::{detect, provided_request, provided_row};
use crate::cli::view::{View, print};
use crate::error::{CacheFault, Explain, io_hint};
use crate::event::{ReleaseFacts, release_lines};
use crate::host::Host;
use crate::packages::{self, Dated, ReleaseRequest, stale};
use crate::settings::{DEFAULT_BASE, Machine};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::{clock, fs, store};
use crate::toolchain::provided;
use crate::toolchain::rust::Rust;

/// Check the machine: what is installed, what is missing, and what to do about it
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorOptions {
    #[command(flatten)]
    limit: Limit,
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

impl Run for DoctorOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild doctor`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        let Context { environment, view, cancel, .. } = *context;
        let machine = &context.machine(false)?;
        let request = provided_request(machine, environment);
        let mut checks = Vec::new();
        match detect(environment, cancel) {
            Ok(rust) => {
                checks.push(Check::good("rust", format!("{} in {}", rust.version, rust.sysroot.display())));
                checks.push(Check::good("lld", lld(&rust)));
            }
            Err(error) => checks.push(Check::bad("rust", &error)),
        }
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
}

/// The linker that a Rust toolchain includes. Without one everything can still be built.
fn lld(rust: &Rust) -> String {
    match rust.lld() {
        Ok(Some(path)) => path.display().to_string(),
        Ok(None) => {
            format!("none in this Rust, so `toolchain = \"lld\"` cannot be used; {} links", provided::NAME)
        }
        Err(error) => error.to_string(),
    }
}

/// Checks whether the default base's release is available and signed.
fn packages(machine: &Machine, environment: &Environment, cancel: &Cancel, view: &View) -> Check {
    let suite = DEFAULT_BASE.trim_start_matches("apt:");
    let request = ReleaseRequest { release: suite, suites: &[], components: &[], moment: None };
    let client = &packages::client(environment, machine.offline);
    let host = Host { environment, cache: &machine.cache, client, cancel, reporter: view.reporter() };
    match packages::open(&request, &machine.packages, host) {
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
