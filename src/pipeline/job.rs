//! A platform of a run, from the moment that it can be built.

use crate::base::ResolvedBase;
use crate::layer::Entry;
use crate::payload::cargo::Unit;
use crate::plan::{self, Facts, PlatformPlan};
use crate::settings::Settings;

use super::Failures;
use super::probe::Probed;

/// A platform that can be built as asked.
#[derive(Debug)]
pub(super) struct Planned {
    /// What is done for it, and why.
    pub(super) plan: PlatformPlan,
    /// What its layers lie on.
    pub(super) base: ResolvedBase,
}

/// A platform with everything that its build needs.
#[derive(Debug)]
pub(super) struct Job {
    /// What is done for it, and why.
    pub(super) plan: PlatformPlan,
    /// What its layers lie on.
    pub(super) base: ResolvedBase,
    /// What cargo compiles for it, and with what.
    pub(super) unit: Unit,
    /// The entries of its files layer.
    pub(super) files: Vec<Entry>,
}

/// Plans every platform. The failures are those of platforms without a base, and of those that cannot be built as asked.
pub(super) fn plan_all(
    settings: &Settings,
    facts: &Facts,
    platforms: Vec<Probed<'_>>,
) -> (Vec<Planned>, Failures) {
    let (mut planned, mut failures) = (Vec::new(), Failures::new());
    for Probed { facts: platform, base } in platforms {
        let plan = |base: ResolvedBase| {
            let plan = plan::plan_platform(settings, facts, &platform, &base.facts())?;
            Ok(Planned { plan, base })
        };
        match base.map_err(Into::into).and_then(plan) {
            Ok(platform) => planned.push(platform),
            Err(error) => {
                failures.insert(platform.wanted.platform.clone(), error);
            }
        }
    }
    (planned, failures)
}
