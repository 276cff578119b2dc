//! Where Debian's packages come from, as configured.

use std::path::PathBuf;

use serde::Serialize;

use super::sources::is_of_release;

/// Where Debian's packages come from. For a setting that is `None` or empty `packages::debian` uses the host's own apt
/// sources, and then Debian's official mirrors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DebianSettings {
    /// The URL of a mirror of the archive (`…/debian`).
    pub mirror: Option<String>,
    /// The URL of a mirror of the security archive (`…/debian-security`).
    pub security_mirror: Option<String>,
    /// The URL of an archive of snapshots, with `debian/<date>` and `debian-security/<date>` below it.
    pub snapshot: Option<String>,
    /// Files with further `OpenPGP` keys that may sign a release. Absolute.
    pub keyrings: Vec<PathBuf>,
}

/// The suites and components of packages for an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebianSources {
    /// The project's suites; all must be of the image's release.
    pub project: Vec<String>,
    /// The user's suites; those of other releases are ignored.
    pub user: Vec<String>,
    /// The components; empty for `main`.
    pub components: Vec<String>,
    /// The moment as of which everything is taken; `None` for current packages.
    pub snapshot: Option<String>,
}

impl DebianSources {
    /// The suites of a release: the project's, or the user's if it has none.
    #[must_use]
    pub fn of_release(&self, release: &str) -> Vec<String> {
        let suites = if self.project.is_empty() { &self.user } else { &self.project };
        suites.iter().filter(|suite| is_of_release(suite, release)).cloned().collect()
    }
}
