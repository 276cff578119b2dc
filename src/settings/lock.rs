//! Which file pins a project's bases and toolchains, and whether it may change.

use std::path::PathBuf;

use super::Flags;
use crate::config::Project;

/// The lock of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockSettings {
    /// The absolute path of the file, which need not exist: `xbuild.lock` beside the project's first configuration file.
    pub path: PathBuf,
    /// True if it must not change and nothing but what it pins may be used: `--locked` or `--frozen` on the command line.
    pub locked: bool,
}

impl LockSettings {
    /// The lock lies beside what configures the project, which is what it belongs to: a workspace's configuration has one
    /// lock for all its packages. A configuration file of another name (`--config prod.toml`) has a lock of that name.
    pub(super) fn of(project: &Project, flags: &Flags) -> Self {
        let path = match project.documents.first().map(|document| &document.source.path) {
            Some(path) if path.file_name().is_none_or(|name| name != "Cargo.toml") => {
                path.with_extension("lock")
            }
            Some(path) => path.with_file_name("xbuild.lock"),
            None => project.manifest_path.with_file_name("xbuild.lock"),
        };
        Self { path, locked: flags.locked || flags.frozen }
    }
}
