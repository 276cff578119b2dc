//! What must be there before cargo starts: standard libraries, the toolchain, and the configured files.

use std::time::Duration;

use super::job::{Job, Planned};
use super::{BuildError, Failures};
use crate::base::ResolvedSysroot;
use crate::files;
use crate::host::Host;
use crate::lock::Pins;
use crate::packages;
use crate::payload::Unit;
use crate::payload::project::Project;
use crate::pipeline::probe::{self, Probe};
use crate::plan::PlatformPlan;
use crate::settings::Settings;
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

/// Provides what platforms are linked with.
struct Provider<'a> {
    settings: &'a Settings,
    probe: &'a Probe<'a>,
    pins: &'a Pins,
    /// The toolchain that platforms share, once one has needed it.
    found: Option<provided::Provided>,
}

impl Provider<'_> {
    /// What the linker of a plan needs.
    fn kit(
        &mut self,
        plan: &PlatformPlan,
        sysroot: Option<&ResolvedSysroot>,
        (packages, host): (Host<'_>, Host<'_>),
    ) -> Result<Kit, BuildError> {
        Ok(match (plan.linker, sysroot) {
            (Linker::Configured, _) => Kit::Configured,
            (Linker::RustLld, _) => Kit::RustLld,
            (Linker::Lld, Some(sysroot)) => {
                let multiarch = plan.target.port.as_ref().map_or("", |port| &port.multiarch);
                let request = packages::ProvideRequest { multiarch, verify: self.pins.strict };
                let (set, urls) = (sysroot.packages.set.plain(), &sysroot.packages.urls);
                let found = packages::provide_sysroot(&set, urls, &request, packages)?;
                Kit::Lld(Box::new(found))
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

/// Provides what the plans need: packages by way of the first host, and everything else by the second. Returns the platforms that can be built, and the failures of those that lack something.
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
    let mut provider = Provider { settings, probe, pins, found: None };
    let mut jobs = Vec::new();
    for (planned, files, standard) in with_standard {
        let Planned { plan, base, sysroot, .. } = planned;
        match provider.kit(&plan, sysroot.as_ref(), (packages, host)) {
            Ok(kit) => {
                let unit = unit(&plan, &probe.facts.project, standard, kit);
                jobs.push(Job { plan, base, unit, files });
            }
            Err(error @ BuildError::Unpack(_)) => {
                host.cancel.check()?;
                failures.insert(plan.platform, error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((jobs, failures))
}
