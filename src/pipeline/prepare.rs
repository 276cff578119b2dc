//! What must be there before cargo starts: standard libraries, zig, and the configured files.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BuildError, Failures};
use crate::event::Reporter;
use crate::files;
use crate::layer::Entry;
use crate::lock::Pins;
use crate::payload::cargo::{self, Linker, Unit};
use crate::pipeline::probe::{FactsError, Probe};
use crate::plan::{Plan, PlatformPlan};
use crate::settings::Settings;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;
use crate::target::platform::Platform;
use crate::toolchain::rust::{self, Standard};
use crate::toolchain::zig::{self, Zig, ZigRequest};

/// What is there now.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What is compiled, by platform.
    pub(super) units: BTreeMap<Platform, Unit>,
    /// zig, if something needs it.
    pub(super) zig: Option<Zig>,
    /// The entries of each platform's files layer.
    pub(super) files: BTreeMap<Platform, Vec<Entry>>,
    /// The platforms that lack something.
    pub(super) failures: Failures,
}

/// What is known when the plan stands.
pub(super) struct Given<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: &'a Environment,
    pub(super) plan: &'a Plan,
    pub(super) probe: &'a Probe,
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
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<Prepared, BuildError> {
    let Given { settings, environment, plan, probe, pins, client } = *given;
    let machine = &settings.machine;
    let mut prepared =
        Prepared { units: BTreeMap::new(), zig: None, files: BTreeMap::new(), failures: BTreeMap::new() };
    // What costs nothing to find out comes first.
    for platform in &plan.platforms {
        match files::entries(&platform.files) {
            Ok(entries) => {
                prepared.files.insert(platform.platform.clone(), entries);
            }
            Err(error) => {
                prepared.failures.insert(platform.platform.clone(), error.into());
            }
        }
    }
    if !prepared.failures.is_empty() {
        super::conclude(settings, &prepared.failures, reporter)?;
    }
    for platform in &plan.platforms {
        if prepared.failures.contains_key(&platform.platform) {
            continue;
        }
        let target = platform.target;
        let offline = machine.offline;
        let wanted = (&platform.platform, target);
        let standard = match rust::provide(&probe.rust, wanted, &machine.cache, offline, cancel, reporter) {
            Ok(standard) => standard,
            Err(error) => {
                cancel.check()?;
                prepared.failures.insert(platform.platform.clone(), error.into());
                continue;
            }
        };
        let unit = unit(given, platform, standard)?;
        prepared.units.insert(platform.platform.clone(), unit);
    }
    if prepared.units.values().any(|unit| unit.linker == Linker::Zig) {
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
