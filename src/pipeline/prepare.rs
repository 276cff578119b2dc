//! What must be there before cargo starts: standard libraries, zig, and the configured files.

use std::time::Duration;

use super::job::{Job, Planned};
use super::{BuildError, Failures};
use crate::event::Reporter;
use crate::files;
use crate::lock::Pins;
use crate::payload::cargo::{self, Linker, Unit};
use crate::pipeline::probe::{FactsError, Probe};
use crate::plan::PlatformPlan;
use crate::settings::Settings;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::toolchain::rust::{self, Standard};
use crate::toolchain::zig::{self, Zig, ZigRequest};

/// What is there now.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The platforms that can be built, sorted.
    pub(super) jobs: Vec<Job>,
    /// zig, if something needs it.
    pub(super) zig: Option<Zig>,
    /// The platforms that lack something.
    pub(super) failures: Failures,
}

/// What is known once everything is planned.
pub(super) struct Given<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: &'a Environment,
    pub(super) probe: &'a Probe<'a>,
    pub(super) pins: &'a Pins,
    pub(super) client: &'a Client,
}

/// What is compiled for a platform.
fn unit(given: &Given<'_>, platform: &PlatformPlan, standard: Standard) -> Result<Unit, FactsError> {
    let Given { settings, probe, .. } = *given;
    let target = platform.target;
    let choice = settings
        .platforms
        .iter()
        .find(|wanted| wanted.platform == platform.platform)
        .map_or_else(Default::default, |wanted| wanted.toolchain.value);
    let linker =
        cargo::choose_linker(target, choice, standard, &probe.rust, &probe.configuration, &probe.graph)?;
    let limit = platform.timeout.map(Duration::from_secs);
    let makers = platform.files.iter().filter_map(|file| {
        let maker = probe.facts.project.makers.get(file.from_build.as_ref()?)?;
        Some(maker.parts.iter().map(|part| (maker.package_id.clone(), *part)))
    });
    let parts = makers.flatten().collect();
    let (name, glibc) = (platform.platform.clone(), platform.glibc);
    Ok(Unit { platform: name, target, glibc, standard, linker, limit, parts })
}

/// Provides what the plan needs.
pub(super) fn prepare(
    given: &Given<'_>,
    planned: Vec<Planned>,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Prepared, BuildError> {
    let Given { settings, environment, probe, pins, client } = *given;
    let machine = &settings.machine;
    let mut prepared = Prepared { jobs: Vec::new(), zig: None, failures: Failures::new() };
    // The files cost least to check, so they come first.
    let mut with_files = Vec::new();
    for platform in planned {
        match files::entries(&platform.plan.files) {
            Ok(entries) => with_files.push((platform, entries)),
            Err(error) => {
                prepared.failures.insert(platform.plan.platform, error.into());
            }
        }
    }
    if !prepared.failures.is_empty() {
        super::conclude(settings, &prepared.failures, reporter)?;
    }
    for (Planned { plan, base }, files) in with_files {
        let wanted = (&plan.platform, plan.target);
        match rust::provide(&probe.rust, wanted, &machine.cache, machine.offline, cancel, reporter) {
            Ok(standard) => {
                let unit = unit(given, &plan, standard)?;
                prepared.jobs.push(Job { plan, base, unit, files });
            }
            Err(error) => {
                cancel.check()?;
                prepared.failures.insert(plan.platform, error.into());
            }
        }
    }
    if prepared.jobs.iter().any(|job| job.unit.linker == Linker::Zig) {
        let request = ZigRequest {
            settings: &machine.zig,
            cache: &machine.cache,
            environment,
            pinned: pins.zig.as_ref().map(|pin| &pin.version),
            verified: pins.verified_zig(),
        };
        prepared.zig = Some(zig::provide(&request, client, cancel, reporter)?);
    }
    Ok(prepared)
}
