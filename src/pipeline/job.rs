//! A platform of a run, from the moment that it can be built.

use crate::base::{BaseFacts, ResolvedBase, ResolvedSysroot, SysrootFacts};
use crate::layer::Entry;
use crate::payload::Unit;
use crate::plan::{self, Facts, PlanError, PlatformFacts, PlatformPlan};
use crate::settings::Settings;

use super::probe::Probed;
use super::{BuildError, Failures};

/// A platform that can be built as asked.
#[derive(Debug)]
pub(super) struct Planned<'a> {
    /// What was known of it when it was planned.
    facts: PlatformFacts<'a>,
    /// What is done for it, and why.
    pub(super) plan: PlatformPlan,
    /// What its layers lie on.
    pub(super) base: ResolvedBase,
    /// What its programs are linked against.
    pub(super) sysroot: Option<ResolvedSysroot>,
}

impl Planned<'_> {
    fn known(&self) -> (BaseFacts, Option<SysrootFacts>) {
        (self.base.facts(), self.sysroot.as_ref().map(ResolvedSysroot::facts))
    }

    /// Plans the platform again if it was planned without knowing that its standard library has to be built. That shows only
    /// when rustup was asked for the library.
    pub(super) fn builds_standard(&mut self, settings: &Settings, facts: &Facts) -> Result<(), PlanError> {
        if !self.facts.linker.builds_standard {
            self.facts.linker.builds_standard = true;
            self.plan = plan::plan_platform(settings, facts, &self.facts, &self.known())?;
        }
        Ok(())
    }
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
pub(super) fn plan_all<'a>(
    settings: &Settings,
    facts: &Facts,
    platforms: Vec<Probed<'a>>,
) -> (Vec<Planned<'a>>, Failures) {
    let (mut planned, mut failures) = (Vec::new(), Failures::new());
    for Probed { facts: platform, base, sysroot } in platforms {
        let plan = || -> Result<_, BuildError> {
            let (base, sysroot) = (base?, sysroot.transpose()?);
            let known = (base.facts(), sysroot.as_ref().map(ResolvedSysroot::facts));
            let plan = plan::plan_platform(settings, facts, &platform, &known)?;
            Ok((plan, base, sysroot))
        };
        match plan() {
            Ok((plan, base, sysroot)) => planned.push(Planned { facts: platform, plan, base, sysroot }),
            Err(error) => {
                failures.insert(platform.wanted.platform.clone(), error);
            }
        }
    }
    (planned, failures)
}
