//! Which development packages the crates of a graph need, and which package has a library.
//!
//! The map is data, `libraries.toml`. Pure: it is known before anything is compiled, and asks no index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

const DATA: &str = include_str!("libraries.toml");

static PARSED: LazyLock<Data> =
    LazyLock::new(|| toml::from_str(DATA).expect("libraries.toml is part of the program and tested"));

/// A crate whose build looks for a library.
#[derive(Clone, Debug)]
pub(crate) struct NativeCrate<'a> {
    /// Its name.
    pub name: &'a str,
    /// The library that it links, as its manifest says.
    pub links: Option<&'a str>,
    /// Its features that are on.
    pub features: &'a BTreeSet<String>,
    /// What it asks pkg-config for according to its metadata, with these features.
    pub pkg_config: Vec<&'a str>,
}

/// A development package that a crate needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Development {
    /// The package.
    pub package: String,
    /// What the crate does that it needs the package for, for the user.
    pub why: String,
}

/// The development packages of a release that these crates need, by name. Each is there once, for the first crate (by
/// name) that needs it.
///
/// `present` has the names of all crates that are compiled for the target. A package that the release does not have is
/// left out: not every crate that names a library fails without it. For a release that the data does not know, the
/// packages of the newest one are taken.
#[must_use]
pub(crate) fn development(
    crates: &[NativeCrate<'_>],
    present: &BTreeSet<&str>,
    release: &str,
) -> Vec<Development> {
    let mut wanted: BTreeMap<&str, Development> = BTreeMap::new();
    let mut crates: Vec<_> = crates.iter().collect();
    crates.sort_by_key(|krate| krate.name);
    for krate in crates {
        for (package, why) in PARSED.needs(krate, present, release) {
            wanted.entry(package).or_insert_with(|| Development { package: package.to_owned(), why });
        }
    }
    wanted.into_values().collect()
}

/// The development package with a library, by the name that a linker (`pq` of `-lpq`) or pkg-config (`libpq`) is given.
/// Where its name differs between releases, that of the newest release.
#[must_use]
fn package_of_library(name: &str) -> Option<&'static str> {
    let data = &*PARSED;
    data.linker.get(name).or_else(|| data.pkg_config.get(name)).and_then(PerRelease::newest)
}

/// What to do about a library that was not found, if a package has it: the name is one that a linker or pkg-config is given.
#[must_use]
pub(crate) fn remedy(library: &str) -> Option<String> {
    let package = package_of_library(library)?;
    Some(format!(
        "compile against Debian's, with `build-packages = [\"auto\", \"{package}\"]` under [debian]"
    ))
}

/// The names of crates that need packages though their manifests do not say what they link.
pub(crate) fn crates_by_name() -> impl Iterator<Item = &'static str> {
    PARSED.libraries.iter().flat_map(|library| &library.crates).map(String::as_str)
}

/// `libraries.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Data {
    libraries: Vec<Library>,
    /// By the names of pkg-config.
    pkg_config: BTreeMap<String, PerRelease>,
    /// By the names that a linker is given.
    linker: BTreeMap<String, PerRelease>,
}

/// What the builds of some crates need.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Library {
    /// The library that the crates link.
    links: Option<String>,
    /// The crates' names. Only these are meant, if there are any.
    #[serde(default)]
    crates: Vec<String>,
    #[serde(default)]
    packages: Vec<PerRelease>,
    /// Features that must all be on.
    #[serde(default)]
    with: BTreeSet<String>,
    /// Features that must all be off.
    #[serde(default)]
    unless: BTreeSet<String>,
    /// Crates that must not be in the graph.
    #[serde(default)]
    unless_crates: BTreeSet<String>,
    /// When the crate compiles a copy of its own.
    copy: Option<OwnCopy>,
    /// The crates and versions that say so.
    #[cfg_attr(not(test), expect(dead_code, reason = "for whoever brings the data up to date"))]
    read: String,
}

/// When a crate compiles a library's sources, which it has.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum OwnCopy {
    Always,
    /// If it does not find the library.
    IfMissing,
}

/// A package's name, which may differ between releases.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PerRelease {
    Same(String),
    /// By the release's codename. One that is not listed does not have the package.
    Each(BTreeMap<String, String>),
}

/// The releases that the data knows, oldest first.
const RELEASES: &[&str] = &["bullseye", "bookworm", "trixie"];

impl PerRelease {
    fn of(&self, release: &str) -> Option<&str> {
        match self {
            Self::Same(name) => Some(name),
            Self::Each(names) if RELEASES.contains(&release) => names.get(release).map(String::as_str),
            Self::Each(names) => names.get(*RELEASES.last()?).map(String::as_str),
        }
    }

    fn newest(&self) -> Option<&str> {
        RELEASES.iter().rev().find_map(|release| self.of(release))
    }
}

impl Data {
    /// The entries for a crate: those with its name or, if there are none, those for what it links.
    fn entries(&self, krate: &NativeCrate<'_>) -> Vec<&Library> {
        let named = |library: &&Library| library.crates.iter().any(|name| name == krate.name);
        let by_name: Vec<_> = self.libraries.iter().filter(named).collect();
        if !by_name.is_empty() {
            return by_name;
        }
        let linked = |library: &&Library| krate.links.is_some() && library.links.as_deref() == krate.links;
        self.libraries.iter().filter(linked).collect()
    }

    /// The packages that a crate needs, and the reasons.
    fn needs(&self, krate: &NativeCrate<'_>, present: &BTreeSet<&str>, release: &str) -> Vec<(&str, String)> {
        let name = krate.name;
        let entries = self.entries(krate);
        // The metadata of a crate do not say when it compiles a copy of its own; the entries do.
        if entries.is_empty() {
            let asked = krate.pkg_config.iter().filter_map(|asked| {
                let package = self.pkg_config.get(*asked)?.of(release)?;
                Some((package, format!("`{name}` asks pkg-config for {asked}")))
            });
            return asked.collect();
        }
        let why = match krate.links {
            Some(library) => format!("`{name}` links {library}"),
            None => format!("`{name}` is linked with it"),
        };
        let needed = entries.into_iter().filter(|library| library.is_needed(krate, present));
        let packages = needed.flat_map(|library| &library.packages);
        packages.filter_map(|package| Some((package.of(release)?, why.clone()))).collect()
    }
}

impl Library {
    fn is_needed(&self, krate: &NativeCrate<'_>, present: &BTreeSet<&str>) -> bool {
        self.copy.is_none()
            && self.with.is_subset(krate.features)
            && self.unless.is_disjoint(krate.features)
            && !self.unless_crates.iter().any(|name| present.contains(name.as_str()))
    }
}

#[cfg(test)]
mod tests;
