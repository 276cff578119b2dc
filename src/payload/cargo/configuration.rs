//! cargo's own configuration for a target: flags and linker.
//!
//! Read by cargo-config2 as cargo reads it: `.cargo/config.toml` up the directories, `CARGO_HOME`, and the environment,
//! which overrides them. The rules for rustflags are cargo's ("build.rustflags" in its reference): cargo uses only the
//! first that is set of `CARGO_ENCODED_RUSTFLAGS`, `RUSTFLAGS`, the target's own flags and the build's flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use cargo_config2::Error;
use cargo_config2::{Config, Flags, PathAndArgs, ResolveOptions};

use super::config_source::{ConfigSource, ConfigSources};
use crate::sys::env::Environment;
use crate::target::catalog::Target;
use crate::toolchain::rust::Rust;

/// The variables that replace every target's own flags.
pub(super) const GLOBAL_FLAGS: [&str; 2] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"];

/// cargo's configuration in the project's directory.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// Without [`GLOBAL_FLAGS`], so that a target's own flags are visible as well. Behind a lock, since it resolves
    /// targets on demand.
    config: Mutex<Config>,
    /// The flags of [`GLOBAL_FLAGS`], if one of them is set.
    global: Option<Vec<String>>,
    /// Where the settings are made.
    sources: ConfigSources,
}

/// A user's flags for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserFlags {
    /// The flags.
    pub flags: Vec<String>,
    /// Where they come from.
    pub source: FlagSource,
    /// The target's own flags that cargo would leave out because `source` is the environment.
    pub overridden: Vec<String>,
}

/// Where flags come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagSource {
    /// `CARGO_ENCODED_RUSTFLAGS` or `RUSTFLAGS`.
    Environment,
    /// `target.<triple>.rustflags`, `target.<cfg>.rustflags` or `CARGO_TARGET_<TRIPLE>_RUSTFLAGS`. cargo adds
    /// further flags for the target to these.
    Target,
    /// `build.rustflags` or `CARGO_BUILD_RUSTFLAGS`, or none. cargo ignores them if a target has flags.
    Build,
}

impl Configuration {
    /// Reads the configuration that cargo would read in `dir`.
    pub(crate) fn load(
        dir: &Path,
        environment: &Environment,
        rust: &Rust,
    ) -> Result<Self, cargo_config2::Error> {
        // cargo takes an empty variable as no flags, not as an unset variable.
        let value =
            |wanted: &str| environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let global = value("CARGO_ENCODED_RUSTFLAGS")
            .map(|value| Flags::from_encoded(&value.to_string_lossy()))
            .or_else(|| {
                value("RUSTFLAGS").map(|value| Flags::from_space_separated(&value.to_string_lossy()))
            });
        let others = environment.iter().filter(|(name, _)| !GLOBAL_FLAGS.iter().any(|global| name == global));
        let options = ResolveOptions::default()
            .env(others)
            .host_triple(rust.host.clone())
            .rustc(PathAndArgs::new(&rust.rustc))
            .cargo(rust.cargo.clone());
        let config = Mutex::new(Config::load_with_options(dir, options)?);
        let sources = ConfigSources::load(dir, Self::home_dir(environment), environment);
        Ok(Self { config, global: global.map(|flags| flags.flags), sources })
    }

    /// The value of a variable in `[env]`, which cargo passes to compilers and build scripts unless the environment
    /// already has it.
    #[must_use]
    pub(crate) fn variable(&self, name: &str) -> Option<OsString> {
        self.config().env.get(name).map(|variable| variable.value.clone())
    }

    /// The value that build scripts get if the environment has this one: the configuration may override it.
    #[must_use]
    pub(crate) fn variable_over(&self, name: &str, environments: Option<OsString>) -> Option<OsString> {
        let config = self.config();
        let configured = config.env.get(name);
        match environments {
            Some(value) if !configured.is_some_and(|variable| variable.force) => Some(value),
            _ => configured.map(|variable| variable.value.clone()),
        }
    }

    /// Where the target's linker is set, if it is.
    #[must_use]
    pub(crate) fn linker_source(&self, target: &Target) -> Option<ConfigSource> {
        self.sources.linker(target)
    }

    /// Where those flags of the target are set that contain a word.
    #[must_use]
    pub(crate) fn flags_place(&self, target: &Target, word: &str) -> Option<ConfigSource> {
        self.sources.flags(target, word)
    }

    /// Where the linker of build scripts and procedural macros is set, if it is; `host` is the host's target.
    #[must_use]
    pub(crate) fn host_linker_source(&self, host: &Target) -> Option<ConfigSource> {
        self.sources.linker_of_host(host)
    }

    /// The triples that cargo would build for by default, and where they are set.
    #[must_use]
    pub(crate) fn build_targets(&self) -> Option<(Vec<String>, String)> {
        let config = self.config();
        let triples = config.build.target.as_ref()?.iter().map(|triple| triple.triple().to_owned()).collect();
        let source = self.sources.build_target();
        Some((
            triples,
            source.map_or_else(|| "cargo's configuration".to_owned(), |source| source.to_string()),
        ))
    }

    /// The linker that is configured for the target, by name or path, in `target.<triple>.linker` or among the
    /// flags.
    pub(crate) fn linker(&self, target: &Target) -> Result<Option<PathBuf>, cargo_config2::Error> {
        if let Some(linker) = linker_flag(&self.flags(target)?.flags) {
            return Ok(Some(linker));
        }
        self.config().linker(target.triple.as_str())
    }

    /// The flags that cargo would use for the target.
    pub(crate) fn flags(&self, target: &Target) -> Result<UserFlags, cargo_config2::Error> {
        let config = self.config();
        let resolved = config.rustflags(target.triple.as_str())?.map(|flags| flags.flags);
        let build = config.build.rustflags.as_ref().map(|flags| flags.flags.clone());
        // cargo-config2 returns the build's flags if the target has none.
        let own = resolved.filter(|flags| Some(flags) != build.as_ref()).unwrap_or_default();
        Ok(match (&self.global, own.is_empty()) {
            (Some(global), _) => {
                UserFlags { flags: global.clone(), source: FlagSource::Environment, overridden: own }
            }
            (None, false) => UserFlags { flags: own, source: FlagSource::Target, overridden: Vec::new() },
            (None, true) => UserFlags {
                flags: build.unwrap_or_default(),
                source: FlagSource::Build,
                overridden: Vec::new(),
            },
        })
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        // A panic while it was locked cannot have damaged it: it is only read.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `CARGO_HOME`.
    #[must_use]
    pub(crate) fn home_dir(environment: &Environment) -> Option<PathBuf> {
        environment.path("CARGO_HOME").or_else(|| Some(environment.path("HOME")?.join(".cargo")))
    }
}

/// The variable with a target's flags. cargo uses them in addition to those in files.
pub(super) fn flags_variable(target: &Target) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", target.underscored().to_uppercase())
}

/// The variable with a target's linker.
pub(super) fn linker_variable(target: &Target) -> String {
    format!("CARGO_TARGET_{}_LINKER", target.underscored().to_uppercase())
}

/// The last `-Clinker=…` or `-C linker=…`.
fn linker_flag(flags: &[String]) -> Option<PathBuf> {
    let last =
        crate::toolchain::rust::flags::codegen(flags).into_iter().rev().find(|(name, _)| name == "linker");
    last.map(|(_, path)| path.into())
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::sys::fs;

    fn load(config: &str, variables: &[(&str, &str)]) -> (fs::TempDir, Configuration) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".cargo")).unwrap();
        fs::write_atomic(&dir.path().join(".cargo/config.toml"), config.as_bytes(), 0o644).unwrap();
        let rust = Rust {
            rustc: "rustc".into(),
            cargo: "cargo".into(),
            version: Version::new(1, 95, 0),
            commit: None,
            host: "x86_64-unknown-linux-gnu".into(),
            sysroot: "/none".into(),
            rustup: None,
        };
        let environment = variables.iter().copied().collect();
        let configuration = Configuration::load(dir.path(), &environment, &rust).unwrap();
        (dir, configuration)
    }

    fn flags(config: &str, variables: &[(&str, &str)]) -> (Vec<String>, FlagSource, Vec<String>) {
        let (_dir, configuration) = load(config, variables);
        let user = configuration.flags(Target::by_triple("aarch64-unknown-linux-gnu").unwrap()).unwrap();
        (user.flags, user.source, user.overridden)
    }

    const FILE: &str =
        "[build]\nrustflags = ['-Cb']\n[target.aarch64-unknown-linux-gnu]\nrustflags = ['-Ct', 'a b']";

    #[test]
    fn the_first_of_cargos_sources_counts() {
        let owned = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
        let own = owned(&["-Ct", "a b"]);
        assert_eq!(flags("", &[]), (vec![], FlagSource::Build, vec![]));
        assert_eq!(
            flags("build.rustflags = '-Cb -Cc'", &[]),
            (owned(&["-Cb", "-Cc"]), FlagSource::Build, vec![])
        );
        assert_eq!(flags(FILE, &[]), (own.clone(), FlagSource::Target, vec![]));
        assert_eq!(
            flags(FILE, &[("RUSTFLAGS", "-Cx -Cy")]),
            (owned(&["-Cx", "-Cy"]), FlagSource::Environment, own.clone())
        );
        assert_eq!(
            flags(FILE, &[("RUSTFLAGS", "-Cx"), ("CARGO_ENCODED_RUSTFLAGS", "-Ce\u{1f}a b")]),
            (owned(&["-Ce", "a b"]), FlagSource::Environment, own.clone())
        );
        assert_eq!(flags(FILE, &[("RUSTFLAGS", "")]), (vec![], FlagSource::Environment, own));
        assert_eq!(
            flags("", &[("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Cz")]),
            (owned(&["-Cz"]), FlagSource::Target, vec![])
        );
    }

    #[test]
    fn a_linker_is_found_wherever_cargo_takes_it_from() {
        let linker = |config: &str, variables: &[(&str, &str)]| {
            let (_dir, configuration) = load(config, variables);
            configuration.linker(Target::by_triple("aarch64-unknown-linux-gnu").unwrap()).unwrap()
        };
        assert_eq!(linker("", &[]), None);
        let file = "target.aarch64-unknown-linux-gnu.linker = 'a64-gcc'";
        assert_eq!(linker(file, &[]), Some("a64-gcc".into()));
        let variable = ("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "other");
        assert_eq!(linker(file, &[variable]), Some("other".into()));
        for flags in ["-Clinker=x", "-C linker=x", "-Clinker=y -C linker=x", "--codegen=linker=x"] {
            assert_eq!(linker("", &[("RUSTFLAGS", flags)]), Some("x".into()), "{flags}");
        }
        assert_eq!(linker("", &[("RUSTFLAGS", "-Clinker-flavor=gcc -Clink-arg=linker=x")]), None);
    }
}
