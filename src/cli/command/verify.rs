//! `xbuild verify`: does an image match what it claims, and will it run?

use std::fmt::Write as _;

use clap::Args;

use crate::cli::context::{Context, Failure, Run};
use crate::cli::images::Images;
use crate::cli::options::Limit;
use crate::cli::view::{json_text, print};
use crate::linkcheck::Severity;
use crate::target::platform::Platform;
use crate::text::counted;
use crate::text::visible::{line, lines};
use crate::verify::{self, Finding, Report, VerifyError};

/// Check an image, whoever built it: every blob and document, and whether each platform runs
#[derive(Clone, Debug, Args)]
#[command(after_help = VERIFY_HELP)]
pub(crate) struct VerifyOptions {
    /// The image
    image: String,
    /// Only these platforms, separated by commas [default: all]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Treat warnings as errors, and look for blobs of a layout that nothing refers to
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: Limit,
}

const VERIFY_HELP: &str = "\
Every blob is read once and held to its digest, size and diff_id, every document to the specification, and what
each platform starts to what the kernel and the dynamic loader would say. Nothing is executed.

Images are named as for `xbuild inspect`: a layout or an archive, podman:NAME, docker-daemon:NAME, docker://NAME.

Exit codes: 0 where no error was found; 27 where a blob or document is not what it says; 25 where all are, and some
platform will not run; with --strict both for warnings, too.";

impl Run for VerifyOptions {
    fn limit(&self) -> Option<(&'static str, Option<&str>)> {
        Some(("`xbuild verify`", self.limit.timeout.as_deref()))
    }

    fn run(&self, context: &Context<'_>) -> Result<(), Failure> {
        Images::run(context, [], |images| {
            let source = images.open(&self.image)?;
            let wanted = verify::Options { platforms: self.platform.clone(), strict: self.strict };
            let report = verify::verify(&source, &wanted, context.cancel)?;
            context.view.finish();
            print(&if self.json { json_text(&report) } else { text(&report) })?;
            Ok(verdict(&report, self.strict)?)
        })
    }
}

/// The report as text.
fn text(report: &Report) -> String {
    let mut text = format!("{}  {}\n", line(&report.reference), report.digest);
    findings(&mut text, &report.findings, "");
    let width = report.platforms.iter().map(|platform| platform.platform.len()).max().unwrap_or(0).max(15);
    for platform in &report.platforms {
        let verdict = match platform.runs {
            _ if platform.findings.iter().any(|finding| finding.severity == Severity::Error) => "fails",
            Some(_) => "ok",
            None => "not known",
        };
        // Writing to a string cannot fail.
        writeln!(
            text,
            "{:<width$} {verdict:<9} {}, {:.1} MB, {} checked",
            platform.platform,
            counted(platform.layers, "layer"),
            megabytes(platform.size),
            counted(platform.checked.len(), "file")
        )
        .ok();
        findings(&mut text, &platform.findings, "  ");
        for layer in &platform.elsewhere {
            writeln!(text, "  not here: the layer {}, which is at {}", layer.digest, layer.urls.join(", "))
                .ok();
        }
        for unseen in &platform.unseen {
            writeln!(text, "  not seen: {}", line(&unseen.to_string())).ok();
        }
    }
    text
}

#[allow(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
fn megabytes(size: u64) -> f64 {
    size as f64 / 1e6
}

fn findings(text: &mut String, findings: &[Finding], indent: &str) {
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let file = finding.file.as_ref().map_or_else(String::new, |file| format!("{}: ", line(file)));
        writeln!(text, "{indent}{severity}[{}]: {file}{}", finding.what.check(), lines(&finding.message))
            .ok();
        if let Some(remedy) = &finding.remedy {
            writeln!(text, "{indent}  hint: {}", lines(remedy)).ok();
        }
    }
}

/// The failure that a report results in.
fn verdict(report: &Report, strict: bool) -> Result<(), VerifyError> {
    let warnings = if strict { report.warnings } else { 0 };
    if report.errors + warnings == 0 {
        return Ok(());
    }
    let unsound = report.is_unsound() || (report.errors == 0 && report.is_doubtful());
    let (reference, errors) = (report.reference.clone(), report.errors);
    Err(VerifyError::Failed { reference, errors, warnings, unsound })
}
