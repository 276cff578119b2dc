//! What must be there before cargo starts: standard libraries, the toolchain, and the configured files.

use std::thread;
use std::time::Duration;

use super::job::{Job, Planned};
use super::{BuildError, Failures};
use crate::files;
use crate::host::Host;
use crate::lock::Pins;
use crate::packages::{self, Offer, Sysroot};
use crate::payload::Unit;
use crate::payload::project::Project;
use crate::pipeline::probe::{self, Probe};
use crate::plan::PlatformPlan;
use crate::settings::Settings;
use crate::sys::threads::{self, Task};
use crate::toolchain::rust::{self, Standard};
use crate::toolchain::{Kit, Linker, provided};

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

/// The sysroots of the platforms that are linked with one, made in parallel.
fn sysroots<'p>(
    planned: impl Iterator<Item = &'p Planned<'p>>,
    pins: &Pins,
    host: Host<'_>,
) -> Vec<Option<Result<Sysroot, packages::Error>>> {
    thread::scope(|scope| {
        let each = planned.map(|Planned { plan, sysroot, .. }| {
            let resolved = &sysroot.as_ref()?.packages;
            let multiarch = plan.target.port.as_ref().map_or("", |port| port.multiarch.as_str());
            let request = packages::ProvideRequest { multiarch, verify: pins.strict };
            let provide =
                move || packages::provide_sysroot(&resolved.set.plain(), &resolved.urls, &request, host);
            Some(threads::begin(scope, provide))
        });
        let running: Vec<_> = each.collect();
        running.into_iter().map(|task| task.map(Task::join)).collect()
    })
}

/// Provides what platforms are linked with.
struct Provider<'a> {
    settings: &'a Settings,
    probe: &'a Probe<'a>,
    pins: &'a Pins,
    /// The toolchain that platforms share, once one has needed it.
    found: Option<provided::Provided>,
}

impl Provider<'_> {
    /// What a platform is linked with.
    fn kit(
        &mut self,
        plan: &PlatformPlan,
        sysroot: Option<Sysroot>,
        host: Host<'_>,
    ) -> Result<Kit, provided::ProvideError> {
        Ok(match (plan.linker, sysroot) {
            (Linker::Configured, _) => Kit::Configured,
            (Linker::RustLld, _) => Kit::RustLld,
            (Linker::Lld, Some(sysroot)) => {
                let compiler = plan.compiler.as_ref().and(self.probe.compiler.clone());
                Kit::Lld(Box::new(sysroot), compiler.map(Box::new))
            }
            // What xbuild finds or provides itself. A platform that is planned with a sysroot has one.
            _ => {
                let found = match self.found.take() {
                    Some(found) => found,
                    None => self.toolchain(host)?,
                };
                Kit::Provided(self.found.insert(found).clone())
            }
        })
    }

    /// The toolchain that the plans name: the one that was found when they were made, unless it is to be verified or
    /// there was none.
    fn toolchain(&self, host: Host<'_>) -> Result<provided::Provided, provided::ProvideError> {
        let request = probe::provided_request(self.settings, self.pins, host);
        match self.probe.provided.as_ref().filter(|found| found.is_ready(&request)) {
            Some(found) => {
                found.report_failed(host.reporter);
                Ok(found.toolchain.clone())
            }
            None => provided::provide(&request, host.client, host.cancel, host.reporter),
        }
    }
}

/// Provides what the plans need: packages by way of the first host, and everything else by the second. Returns the
/// platforms that can be built, and the failures of those that lack something.
pub(super) fn prepare(
    settings: &Settings,
    probe: &Probe<'_>,
    pins: &Pins,
    planned: Vec<Planned<'_>>,
    (packages, host): (Host<'_>, Host<'_>),
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
    let sysroots = sysroots(with_standard.iter().map(|(planned, ..)| planned), pins, packages);
    let mut provider = Provider { settings, probe, pins, found: None };
    let mut jobs = Vec::new();
    for ((platform, files, standard), made) in with_standard.into_iter().zip(sysroots) {
        let Planned { plan, mut base, sysroot: resolved, .. } = platform;
        match made.transpose() {
            Ok(sysroot) => {
                if let (Some(resolved), Some(sysroot)) = (resolved, &sysroot) {
                    let (packages, owners) = (resolved.at_run_time, sysroot.owners.clone());
                    base.offer(Offer { packages, owners });
                }
                let kit = provider.kit(&plan, sysroot, host)?;
                let unit = unit(&plan, &probe.facts.project, standard, kit);
                jobs.push(Job { plan, base, unit, files });
            }
            Err(error) => {
                host.cancel.check()?;
                failures.insert(plan.platform, error.into());
            }
        }
    }
    Ok((jobs, failures))
}
