//! What each triple's rustc gets on its command line: the user's flags as cargo would have taken them, then ours.
//!
//! Our flags are few: the linker, and `--remap-path-prefix` for every folder whose place differs from machine to
//! machine. They are given through `--config target.<triple>.rustflags`, not through `RUSTFLAGS`, since that would
//! reach every triple alike, and not through `CARGO_TARGET_<TRIPLE>_LINKER`, since that would also link the build
//! scripts where the host's triple is a target.
//!
//! `RUSTFLAGS` in the environment makes cargo ignore every `target.*.rustflags`, also ours. So it is taken out of
//! cargo's environment and put in front of ours, triple by triple.

use std::path::{Path, PathBuf};

use cargo_config2::{Config, Flags, ResolveOptions};

use crate::error::{ExitCode, Explain};
use crate::sys::env::Environment;

/// The variables that hold flags for every triple, strongest first.
const FLAG_VARIABLES: [&str; 2] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"];

/// cargo's configuration, as far as it concerns flags and linkers.
#[derive(Debug)]
pub struct CargoConfig {
    config: Config,
    /// The flags of `RUSTFLAGS` or its encoded form.
    environment: Option<Vec<String>>,
}

/// What cargo's configuration says for one triple.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserFlags {
    /// Flags that must be passed on with ours, since ours would otherwise displace them.
    pub pass_on: Vec<String>,
    /// Flags that cargo adds by itself.
    pub added_by_cargo: Vec<String>,
    /// The linker that is configured for the triple.
    pub linker: Option<PathBuf>,
    /// True if cargo alone would ignore `added_by_cargo`, because `RUSTFLAGS` is set.
    pub joined: bool,
}

/// Why cargo's configuration could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read cargo's configuration: {0}")]
pub struct CargoConfigError(#[from] cargo_config2::Error);

impl Explain for CargoConfigError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Config
    }

    fn hint(&self) -> Option<String> {
        Some("`cargo config get` (nightly) and .cargo/config.toml in this folder and above show what cargo reads".into())
    }
}

impl CargoConfig {
    /// Reads the configuration that cargo would read in `folder`.
    pub fn load(folder: &Path, environment: &Environment) -> Result<Self, CargoConfigError> {
        let encoded = environment.var(FLAG_VARIABLES[0]).map(Flags::from_encoded);
        let plain = environment.var(FLAG_VARIABLES[1]).map(Flags::from_space_separated);
        let others = environment.iter().filter(|(name, _)| !FLAG_VARIABLES.iter().any(|flag| name == flag));
        let config = Config::load_with_options(folder, ResolveOptions::default().env(others))?;
        Ok(Self { config, environment: encoded.or(plain).map(|flags| flags.flags) })
    }

    /// What it says for `triple`.
    pub fn of(&self, triple: &str) -> Result<UserFlags, CargoConfigError> {
        let resolved = self.config.rustflags(triple)?.map(|flags| flags.flags).unwrap_or_default();
        let build = self.config.build.rustflags.as_ref().map(|flags| flags.flags.clone()).unwrap_or_default();
        // cargo takes `build.rustflags` only where no `target.*.rustflags` exists, and ours will exist.
        let (from_build, from_target) =
            if !build.is_empty() && resolved == build { (build, Vec::new()) } else { (Vec::new(), resolved) };
        let joined = self.environment.is_some() && !from_target.is_empty();
        let pass_on = self.environment.clone().unwrap_or(from_build);
        let linker = self.config.linker(triple)?;
        let linker = linker.or_else(|| linker_of(&pass_on)).or_else(|| linker_of(&from_target));
        Ok(UserFlags { pass_on, added_by_cargo: from_target, linker, joined })
    }
}

/// The value of `-C linker=…` among flags.
fn linker_of(flags: &[String]) -> Option<PathBuf> {
    let mut previous = "";
    let mut found = None;
    for flag in flags {
        let value = flag
            .strip_prefix("-Clinker=")
            .or_else(|| flag.strip_prefix("--codegen=linker="))
            .or_else(|| flag.strip_prefix("linker=").filter(|_| matches!(previous, "-C" | "--codegen")));
        found = value.map(PathBuf::from).or(found);
        previous = flag;
    }
    found
}

/// Folders whose place differs from machine to machine, and the names that stand for them in binaries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRemaps(Vec<(PathBuf, String)>);

impl PathRemaps {
    /// Adds a folder; one that is given twice keeps its first name.
    pub fn add(&mut self, folder: impl Into<PathBuf>, name: impl Into<String>) {
        let folder = folder.into();
        if !self.0.iter().any(|(known, _)| *known == folder) {
            self.0.push((folder, name.into()));
        }
    }

    /// The pairs, outer folders first: of several that match, rustc and clang take the last.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&Path, &str)> {
        let mut pairs: Vec<_> =
            self.0.iter().map(|(folder, name)| (folder.as_path(), name.as_str())).collect();
        pairs.sort_by_key(|(folder, _)| (folder.components().count(), folder.to_owned()));
        pairs
    }

    /// The pairs for rustc. With them, cargo leaves flags out of the hashes in file names, which makes even the
    /// names of `OUT_DIR` the same on every machine.
    #[must_use]
    pub fn rustflags(&self) -> Vec<String> {
        self.pairs()
            .into_iter()
            .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs;

    const TRIPLE: &str = "aarch64-unknown-linux-gnu";

    fn user_flags(config: &str, variables: &[(&str, &str)]) -> UserFlags {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(".cargo")).unwrap();
        fs::write_atomic(&folder.path().join(".cargo/config.toml"), config.as_bytes(), 0o644).unwrap();
        let environment: Environment =
            variables.iter().copied().chain([("CARGO_HOME", "/nonexistent")]).collect();
        CargoConfig::load(folder.path(), &environment).unwrap().of(TRIPLE).unwrap()
    }

    #[test]
    fn flags_of_the_triple_are_left_to_cargo() {
        let flags = user_flags("[target.aarch64-unknown-linux-gnu]\nrustflags = [\"-Ca\"]\n", &[]);
        assert_eq!((flags.pass_on, flags.added_by_cargo, flags.joined), (vec![], vec!["-Ca".into()], false));
    }

    #[test]
    fn flags_of_the_build_table_are_passed_on() {
        let flags = user_flags("[build]\nrustflags = [\"-Ca\", \"-Cb\"]\n", &[]);
        assert_eq!(flags.pass_on, ["-Ca", "-Cb"]);
        assert!(flags.added_by_cargo.is_empty());
    }

    #[test]
    fn the_environment_wins_and_a_join_is_told() {
        let build = "[build]\nrustflags = [\"-Cb\"]\n";
        assert_eq!(user_flags(build, &[("RUSTFLAGS", "-Ca  -Cc")]).pass_on, ["-Ca", "-Cc"]);
        let both = [("RUSTFLAGS", "-Ca"), ("CARGO_ENCODED_RUSTFLAGS", "-Cx y\u{1f}-Cz")];
        assert_eq!(user_flags(build, &both).pass_on, ["-Cx y", "-Cz"]);
        let target = "[target.aarch64-unknown-linux-gnu]\nrustflags = [\"-Ct\"]\n";
        assert!(user_flags(target, &both).joined);
    }

    #[test]
    fn a_linker_is_found_wherever_it_is_configured() {
        let table = "[target.aarch64-unknown-linux-gnu]\nlinker = \"/usr/bin/ld-a\"\n";
        assert_eq!(user_flags(table, &[]).linker, Some("/usr/bin/ld-a".into()));
        let variable = [("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "/usr/bin/ld-b")];
        assert_eq!(user_flags("", &variable).linker, Some("/usr/bin/ld-b".into()));
        assert_eq!(user_flags("", &[("RUSTFLAGS", "-C linker=c -Clinker=d")]).linker, Some("d".into()));
        assert_eq!(user_flags("", &[]).linker, None);
    }

    #[test]
    fn inner_folders_are_remapped_last() {
        let mut remaps = PathRemaps::default();
        remaps.add("/w/p/target", "/target");
        remaps.add("/w/p", "/project");
        remaps.add("/w/p", "/again");
        assert_eq!(
            remaps.rustflags(),
            ["--remap-path-prefix=/w/p=/project", "--remap-path-prefix=/w/p/target=/target"]
        );
    }
}
