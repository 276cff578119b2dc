//! The settings of the link check.

use super::error::{Error, Problem};
use super::flags::Flags;
use super::platforms::known_platform;
use crate::config::{AllowTable, Document, ProjectFile};
use crate::linkcheck::{self, Allowance, CheckMode};
use crate::origin::Origin;
use crate::sys::env::Environment;

/// The link check of finished images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckSettings {
    /// What errors do.
    pub mode: CheckMode,
    /// The allowed findings, in the order of the configuration.
    pub allow: Vec<Allowance>,
}

/// The mode from the source with the highest precedence; allowed findings are collected from all of the project's
/// files.
pub(super) fn check(
    project: &[Document<ProjectFile>],
    flags: &Flags,
    environment: &Environment,
) -> Result<CheckSettings, Error> {
    let flag = flags.check.as_deref().map(|text| (text, Origin::Flag("--check")));
    let variable = || environment.var("XBUILD_CHECK").map(|text| (text, Origin::Environment("XBUILD_CHECK")));
    let file = || {
        project.iter().find_map(|document| {
            let text = document.value.check.mode.as_ref()?;
            Some((text.get_ref().as_str(), Origin::Project(document.location(text.span()))))
        })
    };
    let mode = match flag.or_else(variable).or_else(file) {
        Some((text, origin)) => mode(text).map_err(|problem| problem.at(&origin))?,
        None => CheckMode::default(),
    };
    let mut allow = Vec::new();
    for document in project {
        for table in &document.value.check.allow {
            let origin = Origin::Project(document.location(table.reason.span()));
            allow.push(allowance(table, document).map_err(|problem| problem.at(&origin))?);
        }
    }
    Ok(CheckSettings { mode, allow })
}

fn mode(text: &str) -> Result<CheckMode, Problem> {
    match text {
        "error" => Ok(CheckMode::Error),
        "warn" => Ok(CheckMode::Warn),
        "off" => Ok(CheckMode::Off),
        _ => Err(Problem::UnknownWord {
            what: "mode of the check",
            given: text.to_owned(),
            known: vec!["error", "warn", "off"],
        }),
    }
}

fn allowance(table: &AllowTable, document: &Document<ProjectFile>) -> Result<Allowance, Problem> {
    if let Some(check) = &table.check
        && !linkcheck::Problem::CHECKS.contains(&check.as_str())
    {
        return Err(Problem::UnknownWord {
            what: "check",
            given: check.clone(),
            known: linkcheck::Problem::CHECKS.to_vec(),
        });
    }
    let reason = table.reason.get_ref().trim();
    if reason.is_empty() {
        return Err(Problem::Form {
            what: "a reason",
            given: table.reason.get_ref().clone(),
            remedy: "say why this is right, for whoever reads it next",
        });
    }
    if table.check.is_none() && table.file.is_none() && table.missing.is_none() {
        return Err(Problem::Form {
            what: "something to allow",
            given: reason.to_owned(),
            remedy: "name the `check`, the `file` or what is `missing`; `mode = \"warn\"` lets everything pass",
        });
    }
    Ok(Allowance {
        check: table.check.clone(),
        file: table.file.clone(),
        missing: table.missing.clone(),
        platform: table.platform.as_deref().map(known_platform).transpose()?,
        reason: reason.to_owned(),
        place: Origin::Project(document.location(table.reason.span())).to_string(),
    })
}
