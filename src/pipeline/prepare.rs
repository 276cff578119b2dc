//! What must be there before cargo starts: standard libraries, the toolchain, and the configured files.

use std::time::Duration;

use super::job::{Job, Planned};
use super::{BuildError, Failures};
use crate::files;
use crate::host::Host;
use crate::lock::Pins;
use crate::payload::Unit;
use crate::payload::project::Project;
use crate::pipeline::probe::{self, Probe};
use crate::plan::PlatformPlan;
use crate::settings::Settings;
use crate::toolchain::rust::{self, Standard};
use crate::toolchain::{Kit, provided};

/// What is compiled for a platform.
fn unit(plan: &PlatformPlan, project: &Project, standard: Standard, kit: Kit) -> Unit {
    let limit = plan.timeout.map(Duration::from_secs);
    let makers = plan.files.iter().filter_map(|file| {
        let maker = project.makers.get(file.from_build.as_ref()?)?;
        Some(maker.parts.iter().map(|part| (maker.package_id.clone(), *part)))
    });
    let parts = makers.flatten().collect();
    let (platform, target, glibc) = (plan.platform.clone(), plan.target, plan.glibc);
    Unit { platform, target, glibc, standard, kit, limit, parts }
}

/// The toolchain that the plans name: the one that was found when they were made, unless it is to be verified or there was
/// none.
fn provide(
    settings: &Settings,
    probe: &Probe<'_>,
    pins: &Pins,
    host: Host<'_>,
) -> Result<provided::Provided, provided::ProvideError> {
    let request = probe::provided_request(settings, pins, host);
    match probe.provided.as_ref().filter(|found| found.is_ready(&request)) {
        Some(found) => {
            found.report_failed(host.reporter);
            Ok(found.toolchain.clone())
        }
        None => provided::provide(&request, host.client, host.cancel, host.reporter),
    }
}

/// Provides what the plans need. Returns the platforms that can be built, and the failures of those that lack something.
pub(super) fn prepare(
    settings: &Settings,
    probe: &Probe<'_>,
    pins: &Pins,
    planned: Vec<Planned<'_>>,
    host: Host<'_>,
) -> Result<(Vec<Job>, Failures), BuildError> {
    let mut failures = Failures::new();
    // The files cost least to check, so they come first.
    let mut with_files = Vec::new();
    for platform in planned {
        match files::entries(&platform.plan.files) {
            Ok(entries) => with_files.push((platform, entries)),
            Err(error) => {
                failures.insert(platform.plan.platform, error.into());
            }
        }
    }
    if !failures.is_empty() {
        super::conclude(settings, &failures, host.reporter)?;
    }
    let mut with_standard = Vec::new();
    for (mut platform, files) in with_files {
        let wanted = (&platform.plan.platform, platform.plan.target);
        match rust::provide(&probe.rust, wanted, host) {
            Ok(standard) => {
                if standard == Standard::Built {
                    platform.builds_standard(settings, &probe.facts)?;
                }
                with_standard.push((platform, files, standard));
            }
            Err(error) => {
                host.cancel.check()?;
                failures.insert(platform.plan.platform, error.into());
            }
        }
    }
    let mut found = None;
    let mut jobs = Vec::new();
    for (Planned { plan, base, .. }, files, standard) in with_standard {
        let kit = Kit::of(plan.linker, &mut found, || provide(settings, probe, pins, host))?;
        let unit = unit(&plan, &probe.facts.project, standard, kit);
        jobs.push(Job { plan, base, unit, files });
    }
    Ok((jobs, failures))
}
