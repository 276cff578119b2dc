//! Where Debian's packages come from, as configured.

use std::path::PathBuf;

use serde::Serialize;

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
