//! `xbuild doctor`: what is installed, what is missing, and what to do about it.

use std::fmt::Write as _;
use std::thread;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::options::Limit;
use crate::cli::toolchains::{detect, provided_request, provided_row};
use crate::cli::view::{View, print};
use crate::error::{CacheFault, Explain, io_hint};
use crate::event::{ReleaseFacts, release_lines};
use crate::host::Host;
use crate::packages::{self, Archive, BaseRequest, Dated, ReleaseRequest, stale};
use crate::settings::{DEFAULT_BASE, DEFAULT_PLATFORMS, Machine};
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::threads::{self, Task};
use crate::sys::{clock, fs, store};
use crate::target::catalog::{Libc, Target};
use crate::toolchain::rust::Rust;
use crate::toolchain::{compiler, provided};

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
        checks.push(Check::good(compiler::NAME, compiler(environment, cancel)));
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
        checks.extend(packages(machine, environment, cancel, view));
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

/// The compiler of this machine. Without one most C code can still be built.
fn compiler(environment: &Environment, cancel: &Cancel) -> String {
    match compiler::find(environment, cancel) {
        Ok(found) => format!("{} {}", found.version, found.program.display()),
        Err(error) => {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            format!(
                "{error}, so C code is not compiled against a distribution's libraries{hint}; {} compiles it",
                provided::NAME
            )
        }
    }
}

/// Checks whether the default base's release is available and signed, and whether each default platform's packages are as
/// signed: mirrors can be out of step for one architecture alone.
fn packages(machine: &Machine, environment: &Environment, cancel: &Cancel, view: &View) -> Vec<Check> {
    let suite = DEFAULT_BASE.trim_start_matches("apt:");
    let request = ReleaseRequest { release: suite, suites: &[], components: &[], moment: None };
    let client = &packages::client(environment, machine.offline);
    let host = Host { environment, cache: &machine.cache, client, cancel, reporter: view.reporter() };
    let archive = match packages::open(&request, &machine.packages, host) {
        Ok(archive) => archive,
        Err(error) => return vec![Check::bad("debian", &error)],
    };
    let releases = archive.dated();
    let facts: Vec<ReleaseFacts> = releases.iter().map(Dated::facts).collect();
    let old: Vec<String> = stale(&releases, clock::unix_now()).iter().map(ToString::to_string).collect();
    let hint = (!old.is_empty()).then(|| old.join("; "));
    let mut checks = vec![Check { hint, ..Check::good("debian", release_lines(&facts).join("; ")) }];
    let archive = &archive;
    checks.extend(thread::scope(|scope| {
        let check = |platform: &'static str| threads::begin(scope, move || base_for(platform, archive, host));
        let running: Vec<_> = DEFAULT_PLATFORMS.iter().map(|platform| check(platform)).collect();
        running.into_iter().filter_map(Task::join).collect::<Vec<_>>()
    }));
    checks
}

/// Chooses the packages of the default base for a platform. `None` if they can be chosen.
fn base_for(platform: &'static str, archive: &Archive, host: Host<'_>) -> Option<Check> {
    let target = Target::by_platform(&platform.parse().ok()?, Libc::Gnu)?;
    let architecture = &target.port.as_ref()?.architecture;
    let request = BaseRequest { architecture, extra: &[], sysroot: Some(&[]) };
    let error = archive.resolve_base(&request, host).err()?;
    let found = format!("{platform}: {error}");
    Some(Check { found, ..Check::bad("debian", &error) })
}
