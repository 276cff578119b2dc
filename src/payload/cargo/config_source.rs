//! Finds where a setting of cargo's configuration is made: the file and line, or the variable.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::sys::env::Environment;
use crate::sys::fs;
use crate::target::catalog::Target;

/// The user's configuration, in the order in which cargo searches it.
#[derive(Debug, Default)]
pub(super) struct ConfigSources {
    /// Names of variables that are set.
    variables: Vec<(String, String)>,
    /// Configuration files, the nearest first.
    files: Vec<(PathBuf, String)>,
}

/// Where a value is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// In a variable of the environment.
    Variable(String),
    /// In a file.
    File {
        /// The key: `target.x86_64-unknown-linux-gnu.linker`.
        key: String,
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(formatter, "${name}"),
            Self::File { key, path, line } => write!(formatter, "`{key}` in {}:{line}", path.display()),
        }
    }
}

impl ConfigSources {
    /// Reads what cargo reads in `dir`. Unreadable files are ignored here; the code that reads the configuration itself
    /// reports them.
    pub(super) fn load(dir: &Path, home: Option<PathBuf>, environment: &Environment) -> Self {
        let variables = environment
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())))
            .filter(|(name, _)| name.starts_with("CARGO_") || name == "RUSTFLAGS")
            .collect();
        let files = cargo_config2::Walk::with_cargo_home(dir, home)
            .filter_map(|path| Some((path.clone(), fs::read_to_string(&path).ok()?)))
            .collect();
        Self { variables, files }
    }

    /// Where the linker of a target is set.
    pub(super) fn linker(&self, target: &Target) -> Option<ConfigSource> {
        self.flags(target, "linker=").or_else(|| self.linker_of_host(target))
    }

    /// Where those flags of a target are set that contain a word.
    pub(super) fn flags(&self, target: &Target, word: &str) -> Option<ConfigSource> {
        let own = super::configuration::flags_variable(target);
        let flags = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", own.as_str(), "CARGO_BUILD_RUSTFLAGS"];
        let in_flags = |name: &&str| self.value(name).is_some_and(|value| value.contains(word));
        if let Some(name) = flags.into_iter().find(in_flags) {
            return Some(ConfigSource::Variable(name.to_owned()));
        }
        self.keys("rustflags", target, &|value| has_word(value, word))
            .or_else(|| self.find(&["build", "rustflags"], &|value| has_word(value, word)))
    }

    /// The same without flags, which do not apply to what is compiled for the host.
    pub(super) fn linker_of_host(&self, target: &Target) -> Option<ConfigSource> {
        let name = super::configuration::linker_variable(target);
        let variable = self.value(&name).is_some().then_some(ConfigSource::Variable(name));
        variable.or_else(|| self.keys("linker", target, &|_| true))
    }

    /// Where the targets to build for are set.
    pub(super) fn build_target(&self) -> Option<ConfigSource> {
        let name = "CARGO_BUILD_TARGET";
        let variable = self.value(name).map(|_| ConfigSource::Variable(name.to_owned()));
        variable.or_else(|| self.find(&["build", "target"], &|_| true))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| &**value)
    }

    /// A key of the target's own table, or of a table for targets like it.
    fn keys(&self, key: &str, target: &Target, fits: &dyn Fn(&DeValue<'_>) -> bool) -> Option<ConfigSource> {
        self.find(&["target", &target.triple, key], fits).or_else(|| {
            self.files.iter().find_map(|file| {
                let root = DeTable::parse(&file.1).ok()?;
                let DeValue::Table(targets) = root.get_ref().get("target")?.get_ref() else { return None };
                let names = targets.keys().map(|name| name.get_ref().to_string());
                names
                    .filter(|name| name.starts_with("cfg("))
                    .find_map(|name| source(file, &["target", &name, key], fits))
            })
        })
    }

    fn find(&self, keys: &[&str], fits: &dyn Fn(&DeValue<'_>) -> bool) -> Option<ConfigSource> {
        self.files.iter().find_map(|file| source(file, keys, fits))
    }
}

fn source(
    (path, text): &(PathBuf, String),
    keys: &[&str],
    fits: &dyn Fn(&DeValue<'_>) -> bool,
) -> Option<ConfigSource> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let (last, tables) = keys.split_last()?;
    for key in tables {
        let DeValue::Table(inner) = table.get(*key)?.get_ref() else { return None };
        table = inner;
    }
    let value: &Spanned<DeValue<'_>> = table.get(*last)?;
    if !fits(value.get_ref()) {
        return None;
    }
    let line = text.get(..value.span().start)?.matches('\n').count() + 1;
    Some(ConfigSource::File { key: keys.join("."), path: path.clone(), line })
}

/// True for flags that contain a word, as a string or as an array.
fn has_word(value: &DeValue<'_>, word: &str) -> bool {
    match value {
        DeValue::String(text) => text.contains(word),
        DeValue::Array(array) => array.iter().any(|value| has_word(value.get_ref(), word)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str, variables: &[(&str, &str)]) -> (fs::TempDir, ConfigSources) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".cargo")).unwrap();
        fs::create_dir_all(dir.path().join("inner")).unwrap();
        fs::write_atomic(&dir.path().join(".cargo/config.toml"), text.as_bytes(), 0o644).unwrap();
        let environment = variables.iter().copied().collect();
        let sources = ConfigSources::load(&dir.path().join("inner"), None, &environment);
        (dir, sources)
    }

    fn linker(text: &str, variables: &[(&str, &str)]) -> Option<String> {
        let (dir, sources) = sources(text, variables);
        let target = Target::by_triple("x86_64-unknown-linux-gnu").unwrap();
        let found = sources.linker(target)?.to_string();
        Some(found.replace(&*dir.path().to_string_lossy(), "…"))
    }

    #[test]
    fn a_linker_is_told_with_its_line_wherever_it_stands() {
        let file = |key: &str, line| Some(format!("`target.{key}` in …/.cargo/config.toml:{line}"));
        assert_eq!(linker("", &[]), None);
        assert_eq!(
            linker("\n[target.x86_64-unknown-linux-gnu]\nlinker = 'clang'\n", &[]),
            file("x86_64-unknown-linux-gnu.linker", 3)
        );
        assert_eq!(
            linker("[target.'cfg(unix)']\nrunner = 'x'\nlinker = 'clang'\n", &[]),
            file("cfg(unix).linker", 3)
        );
        assert_eq!(
            linker("[target.'cfg(unix)']\nrustflags = ['-C', 'linker=clang']\n", &[]),
            file("cfg(unix).rustflags", 2)
        );
        assert_eq!(
            linker("build.rustflags = '-Clinker=clang'\n", &[]),
            Some("`build.rustflags` in …/.cargo/config.toml:1".into())
        );
        let name = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER";
        assert_eq!(linker("", &[(name, "clang")]), Some(format!("${name}")));
        assert_eq!(linker("", &[("RUSTFLAGS", "-Clinker=clang")]), Some("$RUSTFLAGS".into()));
    }

    #[test]
    fn targets_to_build_for_are_told_with_their_line() {
        let (_dir, sources) = sources("[build]\n\ntarget = ['a', 'b']\n", &[]);
        assert!(matches!(sources.build_target(), Some(ConfigSource::File { line: 3, .. })));
        let (_dir, sources) = self::sources("build.target = 'a'", &[("CARGO_BUILD_TARGET", "b")]);
        assert_eq!(sources.build_target(), Some(ConfigSource::Variable("CARGO_BUILD_TARGET".into())));
    }
}
