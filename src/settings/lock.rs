//! Which file pins a project's bases and toolchains, and whether it may change.

use std::path::PathBuf;

use super::Flags;
use crate::config::Project;

/// The lock of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockSettings {
    /// The absolute path of the file, which need not exist: `xbuild.lock` beside the project's first configuration
    /// file.
    pub path: PathBuf,
    /// True if the file must not change and only what it pins may be used: `--locked` or `--frozen` on the command
    /// line.
    pub locked: bool,
}

impl LockSettings {
    /// The lock is beside the project's configuration: a workspace's configuration has one lock for all its packages. A
    /// configuration file of another name (`--config prod.toml`) has a lock of that name.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::parse_project;
    use crate::config::{Document, ProjectFile};
    use crate::origin::Source;

    fn document(path: &str) -> Document<ProjectFile> {
        parse_project(Source { path: path.into(), shown: path.into(), text: String::new(), foreign: false })
            .unwrap()
    }

    #[test]
    fn the_lock_lies_beside_what_configures_the_project() {
        let path = |documents: &[&str]| {
            let documents = documents.iter().map(|path| document(path)).collect();
            let project = Project { manifest_path: "/w/a/Cargo.toml".into(), documents };
            LockSettings::of(&project, &Flags::default()).path.display().to_string()
        };
        assert_eq!(path(&[]), "/w/a/xbuild.lock");
        assert_eq!(path(&["/w/a/xbuild.toml", "/w/xbuild.toml"]), "/w/a/xbuild.lock");
        assert_eq!(path(&["/w/xbuild.toml"]), "/w/xbuild.lock");
        // Never `Cargo.lock`.
        assert_eq!(path(&["/w/Cargo.toml"]), "/w/xbuild.lock");
        assert_eq!(path(&["/etc/prod.toml"]), "/etc/prod.lock");
    }

    #[test]
    fn only_the_command_line_says_that_it_must_not_change() {
        let project = Project { manifest_path: "/p/Cargo.toml".into(), documents: Vec::new() };
        let locked = |flags: Flags| LockSettings::of(&project, &flags).locked;
        assert!(!locked(Flags::default()));
        assert!(locked(Flags { locked: true, ..Flags::default() }));
        assert!(locked(Flags { frozen: true, ..Flags::default() }));
        assert!(!locked(Flags { offline: true, ..Flags::default() }));
    }
}
