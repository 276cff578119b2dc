//! Carries a plan out: compile, fetch bases, write layers, assemble images, publish.
//!
//! Everything that belongs to a platform is in its `Job`.
//!
//! One thread coordinates. cargo has a thread, every base has one (they wait for the network), and layers are
//! written on rayon's pool. A platform's layers begin as soon as its programs and its base are there, while
//! others still compile. A platform that fails does not stop the others. At the end every failure is reported, in
//! platform order, and nothing is published unless all succeeded or a partial image was asked for.

mod check;
mod error;
mod job;
mod locking;
mod prepare;
pub(crate) mod probe;
mod publish;
mod run;
#[cfg(test)]
mod tests;
mod tools;

use std::collections::BTreeMap;
use std::io::Write;

use crate::error::Explain;
use crate::event::{Event, Level, Reporter};
use crate::host::Host;
use crate::packages;
use crate::plan::{self, Plan, PlatformPlan};
use crate::settings::{Partial, Settings};
use crate::sys::cancel::Cancel;
use crate::sys::clock::Instant;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::target::platform::Platform;

use locking::Locking;
use publish::Built;

pub use crate::lock::Difference;
pub use crate::output::report::Published;
pub use crate::toolchain::driver::called;
pub use check::CheckError;
pub use error::BuildError;
pub use locking::{Locked, Update, lock};

/// What a build has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The name of the image: its first tag, else the path of the first output.
    pub reference: String,
    /// The digest of the index.
    pub digest: String,
    /// The image's documents.
    pub published: Published,
    /// How many platforms failed. Only set with [`Partial::Allow`].
    pub failed: Option<Failed>,
}

/// Some platforms are missing from a published image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    count: usize,
    all: usize,
    code: crate::error::ExitCode,
}

impl Failed {
    /// The error that reports it, for the exit code.
    #[must_use]
    pub fn error(self) -> BuildError {
        BuildError::Partial { failed: self.count, all: self.all, code: self.code }
    }
}

/// The failures of platforms, in platform order.
type Failures = BTreeMap<Platform, BuildError>;

/// Plans without building: what [`run`] would do.
///
/// # Errors
///
/// If the project, a toolchain or a base cannot be read, if the lock does not fit and may not change, if a platform
/// cannot be built as asked, or if the work is cancelled or takes longer than the settings allow.
pub fn plan_only(
    settings: &Settings,
    environment: &Environment,
    reporter: &dyn Reporter,
    cancel: &Cancel,
) -> Result<Plan, BuildError> {
    let client = &packages::client(environment, settings.machine.offline);
    let cancel = &cancel.within(settings.timeout, "planning");
    let host = Host { environment, cache: &settings.machine.cache, client, cancel, reporter };
    let locking = Locking::open(settings)?;
    let probe = probe::gather(settings, locking.pins(), host)?;
    locking.check(&probe, reporter)?;
    let (planned, failures) = job::plan_all(settings, &probe.facts, probe.platforms);
    let platforms: Vec<PlatformPlan> = planned.into_iter().map(|platform| platform.plan).collect();
    warn_of_processors(&platforms, reporter);
    tools::report(&probe.facts.tools, reporter);
    conclude(settings, &failures, reporter)?;
    Ok(plan::plan(settings, &probe.facts, platforms))
}

/// Warns of flags that compile for more than a platform's processors have.
fn warn_of_processors<'p>(platforms: impl IntoIterator<Item = &'p PlatformPlan>, reporter: &dyn Reporter) {
    for platform in platforms {
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

/// Reports every failure in platform order. If there is one, it is an error unless a partial image was asked for.
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
/// fetched, or if an output cannot be written. The failure of each platform is reported. If a partial image was asked
/// for, it is counted in [`Outcome::failed`] and is not an error.
pub fn run(
    settings: &Settings,
    environment: &Environment,
    reporter: &dyn Reporter,
    cancel: &Cancel,
    stdout: &mut dyn Write,
) -> Result<Outcome, BuildError> {
    let start = Instant::now();
    let client = &packages::client(environment, settings.machine.offline);
    let cancel = &cancel.within(settings.timeout, "the build");
    let host = Host { environment, cache: &settings.machine.cache, client, cancel, reporter };
    let locking = Locking::open(settings)?;
    let mut probe = probe::gather(settings, locking.pins(), host)?;
    locking.check(&probe, reporter)?;
    locking.complete(settings, &probe, reporter)?;
    // From here on what belongs to a platform is in its job, and the plan has what all have in common.
    let platforms = std::mem::take(&mut probe.platforms);
    let (planned, mut failures) = job::plan_all(settings, &probe.facts, platforms);
    let plan = plan::plan(settings, &probe.facts, Vec::new());
    warn_of_processors(planned.iter().map(|platform| &platform.plan), reporter);
    tools::report(&probe.facts.tools, reporter);
    // If the run goes on without these platforms, they are reported at its end.
    if !failures.is_empty() && (settings.partial == Partial::Refuse || planned.is_empty()) {
        conclude(settings, &failures, reporter)?;
    }
    let registries = probe.bases.registries();
    registries.telling(reporter, || {
        // An output that cannot be written to is found out before an hour of compiling, not after it.
        let outputs = publish::Publisher::open(&plan, registries, host)?;
        let toolchains = Host { client: &Client::new(settings.machine.offline), ..host };
        let hosts = (host, toolchains);
        let (jobs, unprepared) = prepare::prepare(settings, &probe, locking.pins(), planned, hosts)?;
        failures.extend(unprepared);
        let work = run::Work {
            settings,
            plan: &plan,
            probe: &probe,
            // A failure that makes the rest pointless stops only the work.
            host: Host { cancel: &cancel.child(), ..host },
            verify_cache: locking.pins().strict,
            jobs: &jobs,
            blobs: outputs.blobs().to_owned(),
            start,
        };
        let finished = work.execute()?;
        check::report(&settings.check, &finished, reporter);
        cancel.check()?;
        let mut images = Vec::new();
        for run::Finished { job, image, .. } in finished {
            match image {
                Ok(image) => images.push(Built { plan: &job.plan, image }),
                Err(error) => {
                    failures.insert(job.plan.platform.clone(), error);
                }
            }
        }
        let failed = conclude(settings, &failures, reporter)?;
        let published = outputs.publish(images, stdout)?;
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
