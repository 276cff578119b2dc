//! The report of a verification.

use serde::Serialize;

use super::fault::Fault;
use crate::linkcheck::{self, Problem, Severity, Unseen};
use crate::oci::Digest;

/// The report of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The image as it was named.
    pub reference: String,
    /// The digest of the document that the name resolves to.
    pub digest: Digest,
    /// The number of findings that are errors.
    pub errors: usize,
    /// The number of findings that are warnings.
    pub warnings: usize,
    /// Findings about the image as a whole.
    pub findings: Vec<Finding>,
    /// Its platforms, in platform order.
    pub platforms: Vec<PlatformReport>,
}

/// The report on one platform's image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlatformReport {
    /// The platform; `unknown` if neither index nor configuration has one.
    pub platform: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// The total size of its blobs in bytes, from their descriptors.
    pub size: u64,
    /// True if the programs that it starts will run, false if not; `null` if its layers could not be read.
    pub runs: Option<bool>,
    /// Its findings, errors first.
    pub findings: Vec<Finding>,
    /// The layers that are not here, since they are at their `urls`.
    pub elsewhere: Vec<Elsewhere>,
    /// What could not be checked.
    pub unseen: Vec<Unseen>,
    /// The programs and libraries that were checked, absolute, sorted.
    pub checked: Vec<String>,
}

/// A layer that is not here. This is not a fault, but its content is unknown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Elsewhere {
    /// The layer.
    pub digest: Digest,
    /// Its URLs.
    pub urls: Vec<String>,
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// One sentence, without a full stop at its end.
    pub message: String,
    /// The next step, likewise.
    pub remedy: Option<String>,
    /// The file in the image that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The kind (`check`) and its data.
    #[serde(flatten)]
    pub what: What,
}

/// The problem, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum What {
    /// A problem of the documents and blobs.
    Image(Fault),
    /// A problem of the programs that run.
    Link(Problem),
}

impl What {
    /// The name of the kind, stable across releases.
    #[must_use]
    pub const fn check(&self) -> &'static str {
        match self {
            Self::Image(fault) => fault.check(),
            Self::Link(problem) => problem.check(),
        }
    }
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        Self {
            severity: fault.severity(),
            message: fault.to_string(),
            remedy: fault.remedy().map(ToOwned::to_owned),
            file: None,
            what: What::Image(fault),
        }
    }
}

impl From<linkcheck::Finding> for Finding {
    fn from(finding: linkcheck::Finding) -> Self {
        Self {
            severity: finding.severity,
            message: finding.problem.to_string(),
            remedy: Some(finding.remedy),
            file: Some(finding.file),
            what: What::Link(finding.problem),
        }
    }
}

impl Report {
    /// All findings, the image's own first.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.platforms.iter().flat_map(|platform| &platform.findings))
    }

    /// True if some document or blob is wrong.
    #[must_use]
    pub fn is_unsound(&self) -> bool {
        self.has(Severity::Error)
    }

    /// True if some document or blob may be wrong.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.has(Severity::Warning)
    }

    fn has(&self, severity: Severity) -> bool {
        self.all().any(|finding| finding.severity == severity && matches!(finding.what, What::Image(_)))
    }
}
