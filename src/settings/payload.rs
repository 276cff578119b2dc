//! The options for cargo: packages, programs, features, profile and target directory.

use std::path::{Path, PathBuf};

use super::PayloadSettings;
use super::sources::Sources;
use crate::config::ProjectFile;

impl Sources<'_> {
    /// The options of cargo's own commands.
    pub(super) fn payload(&self) -> PayloadSettings {
        let flags = self.flags;
        let list = |given: &[String], get: fn(&ProjectFile) -> Option<&Vec<String>>| {
            if given.is_empty() {
                self.project_value(get).cloned().unwrap_or_default()
            } else {
                given.to_vec()
            }
        };
        let set = |given: bool, get: fn(&ProjectFile) -> Option<bool>| {
            given || self.project_value(get).unwrap_or_default()
        };
        let features = list(&flags.features, |file| file.payload.features.as_ref());
        let features =
            features.iter().flat_map(|text| text.split([',', ' '])).filter(|text| !text.is_empty());
        // A choice of programs on the command line replaces the file's, whatever keys or options are used.
        let chosen =
            !flags.bins.is_empty() || flags.all_bins || !flags.examples.is_empty() || flags.all_examples;
        let programs = |given: &[String], get: fn(&ProjectFile) -> Option<&Vec<String>>| {
            if chosen { given.to_vec() } else { list(&[], get) }
        };
        let all = |given: bool, get: fn(&ProjectFile) -> Option<bool>| {
            if chosen { given } else { set(false, get) }
        };
        // A choice of packages does so, too.
        let exclude = list(&flags.exclude, |file| file.payload.exclude.as_ref());
        let workspace = flags.workspace
            || flags.packages.is_empty()
                && (!exclude.is_empty() || set(false, |file| file.payload.workspace));
        PayloadSettings {
            packages: if workspace {
                Vec::new()
            } else {
                list(&flags.packages, |file| file.payload.packages.as_ref())
            },
            bins: programs(&flags.bins, |file| file.payload.bins.as_ref()),
            all_bins: all(flags.all_bins, |file| file.payload.all_bins),
            examples: programs(&flags.examples, |file| file.payload.examples.as_ref()),
            all_examples: all(flags.all_examples, |file| file.payload.all_examples),
            workspace,
            exclude,
            features: features.map(str::to_owned).collect(),
            all_features: set(flags.all_features, |file| file.payload.all_features),
            no_default_features: set(flags.no_default_features, |file| file.payload.no_default_features),
            profile: flags
                .profile
                .clone()
                .or_else(|| self.project_value(|file| file.payload.profile.clone()))
                .unwrap_or_else(|| "release".to_owned()),
            locked: set(flags.locked, |file| file.payload.locked),
            offline: flags.offline,
            frozen: flags.frozen,
            target_dir: self.target_dir(),
            variables: self.variables(),
            jobs: flags.jobs,
            verbose: flags.verbose,
            allow_native_cpu: set(false, |file| file.payload.allow_native_cpu),
        }
    }

    /// cargo's target directory, if it is set where relative paths start from the current directory.
    fn target_dir(&self) -> Option<PathBuf> {
        let variable = || {
            ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].iter().find_map(|name| self.environment.path(name))
        };
        self.flags.target_dir.clone().or_else(variable).map(|path| self.host.dir.join(path))
    }

    /// See [`PayloadSettings::variables`].
    fn variables(&self) -> Vec<(String, PathBuf)> {
        let names_path = |name: &str, value: &Path| match name {
            // The value may begin with `{workspace-root}`.
            "CARGO_BUILD_BUILD_DIR" => !value.to_string_lossy().starts_with('{'),
            "RUSTC_WRAPPER"
            | "RUSTC_WORKSPACE_WRAPPER"
            | "CARGO_BUILD_RUSTC_WRAPPER"
            | "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER" => value.components().count() > 1,
            _ => {
                name.starts_with("CARGO_TARGET_")
                    && name.ends_with("_LINKER")
                    && value.components().count() > 1
            }
        };
        let found = self.environment.iter().filter_map(|(name, value)| {
            let (name, path) = (name.to_str()?, Path::new(value));
            let counts = !value.is_empty() && path.is_relative() && names_path(name, path);
            counts.then(|| (name.to_owned(), self.host.dir.join(path)))
        });
        found.collect()
    }
}
