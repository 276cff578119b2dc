//! Carries a plan out: compile, fetch bases, write layers, assemble images, publish.
//!
//! One thread coordinates. cargo has a thread, every base has one (they wait for the network), and layers are
//! written on rayon's pool. A platform's layers begin as soon as its programs and its base are there, while
//! others still compile. A platform that fails leaves the others alone; at the end every failure is reported, in
//! platform order, and nothing is published unless all succeeded or a partial image was asked for.

mod check;
mod error;
mod locking;
mod prepare;
pub(crate) mod probe;
mod publish;
mod run;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::Explain;
use crate::event::{Event, Level, Reporter};
use crate::image::Image;
use crate::packages::debian;
use crate::plan::{self, Plan};
use crate::settings::{Partial, Settings};
use crate::sys::cancel::Cancel;
use crate::sys::clock::Instant;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::target::platform::Platform;
use probe::Probe;

use locking::Locking;

pub use crate::lock::Difference;
pub use crate::output::report::Published;
pub use crate::toolchain::driver::called;
pub use check::CheckError;
pub use error::BuildError;
pub use locking::{Locked, Update, lock};

/// What a build has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the image is called: its first tag, else the path of the first output.
    pub reference: String,
    /// The digest of the index.
    pub digest: String,
    /// The image's documents.
    pub published: Published,
    /// How many platforms failed, and the error that says so; only with [`Partial::Allow`].
    pub failed: Option<Failed>,
}

/// That some platforms are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    count: usize,
    all: usize,
    code: crate::error::ExitCode,
}

impl Failed {
    /// As an error, for the exit code.
    #[must_use]
    pub fn error(self) -> BuildError {
        BuildError::Partial { failed: self.count, all: self.all, code: self.code }
    }
}

/// Each platform's failure.
type Failures = BTreeMap<Platform, BuildError>;

/// Plans without building: what [`run`] would do.
///
/// # Errors
///
/// If the project, a toolchain or a base cannot be found out about, if the lock does not fit and may not change, if a
/// platform cannot be built as asked, or if the work is cancelled or takes longer than the settings allow.
pub fn plan_only(
    settings: &Settings,
    environment: &Environment,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Plan, BuildError> {
    let cancel = cancel.within(settings.timeout, "planning");
    let packages = debian_client(settings, environment);
    let locking = Locking::open(settings)?;
    let probe = probe::gather(settings, locking.pins(), environment, &packages, &cancel, reporter)?;
    locking.check(&probe, reporter)?;
    let (plan, failures, _) = planned(settings, probe);
    tell_processors(&plan, reporter);
    conclude(settings, &failures, reporter)?;
    Ok(plan)
}

/// The client for Debian's packages, which takes the way that this machine's apt takes.
fn debian_client(settings: &Settings, environment: &Environment) -> Client {
    let environment = debian::apt_conf::with_proxies(environment, Path::new("/"));
    Client::with(&environment, settings.machine.offline)
}

/// The plan, and the platforms that cannot be built as asked.
fn planned(settings: &Settings, mut probe: Probe) -> (Plan, Failures, Probe) {
    let (plan, unplannable) = plan::plan(settings, &probe.facts);
    let mut failures: Failures =
        unplannable.into_iter().map(|(platform, error)| (platform, error.into())).collect();
    let unresolved: Vec<Platform> = probe
        .resolved
        .iter()
        .filter(|(_, base)| base.is_err())
        .map(|(platform, _)| platform.clone())
        .collect();
    for platform in unresolved {
        if let Some(Err(error)) = probe.resolved.remove(&platform) {
            failures.insert(platform, error.into());
        }
    }
    (plan, failures, probe)
}

/// Warns of flags that compile for more than a platform's processors have.
fn tell_processors(plan: &Plan, reporter: &dyn Reporter) {
    for platform in &plan.platforms {
        for flag in &platform.processor {
            let better = platform.target.better(&platform.platform);
            let say = better.map_or_else(String::new, |(name, _)| {
                let own = &platform.target.platform;
                format!("; `--platform {own}/{name}` builds for newer ones, and the image says so")
            });
            let text = format!(
                "{} has `{}`: not every processor that {} promises runs such programs{say}",
                flag.from, flag.flag, platform.platform
            );
            reporter.report(Event::Note {
                level: Level::Warning,
                platform: Some(platform.platform.clone()),
                text,
            });
        }
    }
}

/// Reports every failure in platform order. An error unless there is none, or a partial image was asked for.
fn conclude(
    settings: &Settings,
    failures: &Failures,
    reporter: &dyn Reporter,
) -> Result<Option<Failed>, BuildError> {
    let Some(first) = failures.values().next() else { return Ok(None) };
    for (platform, error) in failures {
        reporter.report(Event::failed(Some(platform.clone()), error));
    }
    let (failed, all, code) = (failures.len(), settings.platforms.len(), first.exit_code());
    if settings.partial == Partial::Refuse || failed == all {
        return Err(BuildError::Platforms { failed, all, code });
    }
    Ok(Some(Failed { count: failed, all, code }))
}

/// Builds and publishes. `stdout` takes what an output of the settings sends there.
///
/// # Errors
///
/// As [`plan_only`], and if cargo fails, if a program is not for its platform or will not run there, if a base cannot be
/// fetched, or if an output cannot be written. Of a platform that fails the reporter is told why; where a partial image
/// was asked for, that is no error, and [`Outcome::failed`] says so.
pub fn run(
    settings: &Settings,
    environment: &Environment,
    reporter: &dyn Reporter,
    cancel: &Cancel,
    stdout: &mut dyn Write,
) -> Result<Outcome, BuildError> {
    let start = Instant::now();
    let cancel = cancel.within(settings.timeout, "the build");
    let (client, packages) = (Client::new(settings.machine.offline), debian_client(settings, environment));
    let locking = Locking::open(settings)?;
    let probe = probe::gather(settings, locking.pins(), environment, &packages, &cancel, reporter)?;
    locking.check(&probe, reporter)?;
    locking.complete(settings, &probe, reporter)?;
    let (plan, mut failures, probe) = planned(settings, probe);
    tell_processors(&plan, reporter);
    // Reported again, with the rest, only if the run goes on without these platforms.
    if !failures.is_empty() && (settings.partial == Partial::Refuse || plan.platforms.is_empty()) {
        conclude(settings, &failures, reporter)?;
    }
    let registries = probe.bases.registries();
    registries.telling(reporter, || {
        // A place that cannot be written to is known before an hour of compiling, not after.
        let outputs = publish::Publisher::open(&plan, environment, registries, reporter, &cancel)?;
        let pins = locking.pins();
        let given =
            prepare::Given { settings, environment, plan: &plan, probe: &probe, pins, client: &client };
        let prepared = prepare::prepare(&given, &cancel, reporter)?;
        failures.extend(prepared.failures);
        let work = run::Work {
            settings,
            environment,
            plan: &plan,
            probe: &probe,
            client: &packages,
            verify_cache: locking.pins().strict,
            units: &prepared.units,
            zig: prepared.zig.as_ref(),
            files: &prepared.files,
            blobs: outputs.blobs(),
            reporter,
            start,
            checks: Mutex::default(),
        };
        let (images, more) = work.execute(&cancel)?;
        failures.extend(more);
        let checks = work.checks.into_inner().unwrap_or_else(PoisonError::into_inner);
        check::tell(&settings.check, &checks, reporter);
        cancel.check()?;
        let failed = conclude(settings, &failures, reporter)?;
        let images: Vec<Image> = images.into_values().collect();
        let published = outputs.publish(&images, stdout, &cancel)?;
        let digest = published.root.digest.to_string();
        let reference = plan::reference(&plan);
        reporter.report(Event::Published {
            reference: reference.clone(),
            digest: digest.clone(),
            milliseconds: run::milliseconds(start),
        });
        Ok(Outcome { reference, digest, published, failed })
    })
}
