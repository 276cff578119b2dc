//! The link check of a finished image, before anything is published.

use std::collections::BTreeSet;
use std::path::{Component, PathBuf};

use serde_json::Value;

use super::run::Finished;
use crate::base::BaseImage;
use crate::error::{ExitCode, Explain};
use crate::event::{Event, Level, Reporter};
use crate::image::{AddedLayer, Image};
use crate::linkcheck::{self, CheckMode, Execution, Finding, MachinePaths, Report, Severity};
use crate::payload::Payload;
use crate::plan::PlatformPlan;
use crate::rootfs::{Change, IndexError, LayerIndex};
use crate::settings::{BaseSource, CheckSettings};
use crate::sys::cancel::{Cancel, Cancelled};

/// Why an image is not published.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It would not run.
    #[error("the image would not run: {}", summary(findings))]
    Unrunnable {
        /// What keeps it from running.
        findings: Vec<Finding>,
    },
    /// A layer that was just written cannot be read.
    #[error("cannot read a layer that was just written: {0}")]
    Index(#[from] IndexError),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The first finding, and how many more there are.
fn summary(findings: &[Finding]) -> String {
    let Some(first) = findings.first() else { return String::new() };
    let more = match findings.len() {
        1 => String::new(),
        2 => ", and one more".to_owned(),
        count => format!(", and {} more", count - 1),
    };
    format!("{}: {}{more}", first.file, first.problem)
}

impl Explain for CheckError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unrunnable { .. } => ExitCode::Unrunnable,
            Self::Index(IndexError::Io(error)) => ExitCode::of_io(error),
            Self::Index(_) => ExitCode::Internal,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unrunnable { findings } => {
                let check = findings.first().map_or("", |finding| finding.problem.check());
                let remedy = findings.first().map_or("", |finding| finding.remedy.as_str());
                Some(format!(
                    "{remedy}. If it is right as it is: `[check] allow = [{{ check = \"{check}\", reason = \"…\" }}]`; \
                     --check warn publishes all the same"
                ))
            }
            Self::Index(_) => Some("look at the disk, and build again".into()),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// Checks a platform's image and marks the findings that are allowed. `None` if the check is off.
pub(super) fn check(
    settings: &CheckSettings,
    plan: &PlatformPlan,
    payload: &Payload,
    base: &BaseImage,
    (layers, image): (&[AddedLayer], &Image),
    cancel: &Cancel,
) -> Result<Option<Report>, CheckError> {
    if settings.mode == CheckMode::Off {
        return Ok(None);
    }
    let mut root = (*base.root).clone();
    let mut paths = Vec::new();
    for added in layers {
        let index = LayerIndex::read(&added.layer.blob, &added.layer.descriptor, cancel)?;
        root.lay(&index, cancel).map_err(IndexError::from)?;
        let files = index.entries.into_iter().filter(|(_, change)| match change {
            Change::Put(node) => node.file().is_some(),
            Change::Link(_) => true,
        });
        paths.extend(files.map(|(path, _)| path));
    }
    // If the base has a link to a directory on the path, the file is in that directory.
    let added: BTreeSet<String> = paths.iter().filter_map(|path| root.real_path(path)).collect();
    // xbuild has just assembled it and read it back.
    let config: Value = serde_json::from_slice(&image.config.bytes).unwrap_or_default();
    let origin = if let BaseSource::Packages { suite, .. } = &plan.base_source {
        linkcheck::Origin::Packages { release: suite.clone() }
    } else if plan.base_source == BaseSource::Scratch {
        linkcheck::Origin::Scratch
    } else {
        linkcheck::Origin::Base
    };
    let request = linkcheck::Request {
        platform: &plan.platform,
        root: &root,
        execution: &Execution::of_config(&config),
        added: &added,
        origin: &origin,
    };
    let mut report = linkcheck::check(&request, cancel)?;
    report.add_machine_paths(&request, &machine_paths(payload));
    linkcheck::allow(&mut report.findings, &settings.allow);
    Ok(Some(report))
}

/// The paths of this machine that are in programs, each with the variable that has such a value.
fn machine_paths(payload: &Payload) -> MachinePaths {
    let with_variable = |path: &PathBuf| {
        // `OUT_DIR` is called `out` and is where cargo builds. All others are in the package that is compiled.
        let parts: Vec<_> = path.components().map(Component::as_os_str).collect();
        let of_build = parts.windows(3).any(|parts| parts[0] == "build" && parts[2] == "out");
        let variable = if of_build { "OUT_DIR" } else { "CARGO_MANIFEST_DIR" };
        (path.display().to_string(), Some(variable))
    };
    let of_file =
        |(file, paths): (&String, &Vec<PathBuf>)| (file.clone(), paths.iter().map(with_variable).collect());
    payload.machine_paths.iter().map(of_file).collect()
}

/// An error if the report fails the platform.
pub(super) fn verdict(mode: CheckMode, report: &Report) -> Result<(), CheckError> {
    if mode != CheckMode::Error || !report.fails() {
        return Ok(());
    }
    let fails = |finding: &&Finding| finding.severity == Severity::Error && finding.allowed.is_none();
    Err(CheckError::Unrunnable { findings: report.findings.iter().filter(fails).cloned().collect() })
}

/// Reports the findings in platform order, and the allowances that no finding needs.
pub(super) fn report(settings: &CheckSettings, finished: &[Finished<'_>], reporter: &dyn Reporter) {
    let mut used = vec![false; settings.allow.len()];
    let checked = finished.iter().filter_map(|done| Some((&done.job.plan.platform, done.report.as_ref()?)));
    let checked: Vec<_> = checked.collect();
    for (platform, report) in &checked {
        for finding in &report.findings {
            for (allowance, used) in settings.allow.iter().zip(&mut used) {
                *used |= allowance.fits(finding);
            }
            let mut finding = finding.clone();
            // A finding that does not fail the run is shown as a warning.
            if settings.mode == CheckMode::Warn {
                finding.severity = Severity::Warning;
            }
            let message = finding.problem.to_string();
            reporter.report(Event::Finding { finding: Box::new(finding), message });
        }
        for unseen in &report.unseen {
            let (platform, text) = (Some((*platform).clone()), unseen.to_string());
            reporter.report(Event::Note { level: Level::Detail, platform, text });
        }
    }
    for (allowance, _) in settings.allow.iter().zip(used).filter(|(_, used)| !used && !checked.is_empty()) {
        let is_checked = |wanted| checked.iter().any(|(platform, _)| *platform == wanted);
        let built = allowance.platform.as_ref().is_none_or(is_checked);
        if built {
            let text =
                format!("nothing is found any more that `[check] allow` allows at {}", allowance.place);
            reporter.report(Event::Note { level: Level::Info, platform: None, text });
        }
    }
}
