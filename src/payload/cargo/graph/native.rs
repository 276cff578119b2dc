//! What the crates of programs say about the libraries that they link. Pure over cargo's metadata.
//!
//! Only crates that are compiled for the targets count: build scripts and procedural macros are linked for the host.
//! What is left out is needed by neither Linux nor the targets.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::cargo_platform::CfgExpr;
use cargo_metadata::{Metadata, Node, Package, PackageId};
use serde_json::{Map, Value};

use super::needs::{Surroundings, Walk, on_linux};
use crate::payload::cargo::project::{Binary, Maker, ProgramKind};

/// The crates of a graph that are compiled for the targets, as far as libraries are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Natives {
    /// Those that may link a library, by name and version.
    pub crates: Vec<Native>,
    /// The names of all.
    pub present: BTreeSet<String>,
}

/// A crate that may link a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Native {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The library that it links, as its manifest says.
    pub links: Option<String>,
    /// Its features that are on.
    pub features: BTreeSet<String>,
    /// What it asks pkg-config for according to its metadata for system-deps, with these features; sorted.
    pub pkg_config: Vec<String>,
}

impl Natives {
    /// Reads cargo's metadata for the given binaries and targets, and for the packages whose builds make files for the
    /// image. `known` is true for the names of crates that count although neither `links` nor metadata say so.
    #[must_use]
    pub(crate) fn of(
        metadata: &Metadata,
        (binaries, makers): (&[Binary], &BTreeMap<String, Maker>),
        targets: &[&str],
        known: &dyn Fn(&str) -> bool,
    ) -> Self {
        let surroundings = Surroundings { host: "", targets, variable: &|_| None };
        let walk = Walk::new(metadata, surroundings);
        let is_wanted = |id: &&PackageId| {
            binaries.iter().any(|binary| binary.package_id == id.repr)
                || makers.values().any(|maker| maker.package_id == id.repr)
        };
        let has_examples = |id: &PackageId| {
            let is_ours = |binary: &&Binary| binary.package_id == id.repr;
            binaries.iter().filter(is_ours).any(|binary| binary.kind == ProgramKind::Example)
        };
        let wanted = walk.packages.keys().copied().filter(is_wanted).collect();
        let built = walk.built(wanted, &has_examples).into_iter().filter(|(_, side)| side.targets);
        let mut natives = Self::default();
        for (id, _) in built {
            let (Some(package), Some(node)) = (walk.packages.get(id), walk.nodes.get(id)) else { continue };
            natives.present.insert(package.name.to_string());
            natives.crates.extend(Native::of(package, node, known));
        }
        natives.crates.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
        natives
    }
}

impl Native {
    /// The crate, unless it says nothing about libraries.
    fn of(package: &Package, node: &Node, known: &dyn Fn(&str) -> bool) -> Option<Self> {
        let features: BTreeSet<String> = node.features.iter().map(ToString::to_string).collect();
        let described = package.metadata.get("system-deps").and_then(Value::as_object);
        if package.links.is_none() && described.is_none() && !known(&package.name) {
            return None;
        }
        let mut pkg_config = described.map(|described| asked(described, &features)).unwrap_or_default();
        pkg_config.sort();
        pkg_config.dedup();
        Some(Self {
            name: package.name.to_string(),
            version: package.version.to_string(),
            links: package.links.clone(),
            features,
            pkg_config,
        })
    }
}

/// What system-deps asks pkg-config for, for a crate with these metadata and features. Optional dependencies are left
/// out, and so are `fallback-names`: the names of the same libraries elsewhere.
fn asked(described: &Map<String, Value>, features: &BTreeSet<String>) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in described {
        match (key.starts_with("cfg("), value) {
            (true, Value::Object(inner)) if applies(key) => names.extend(asked(inner, features)),
            (true, _) => {}
            (false, Value::Object(dependency)) => names.extend(asked_for(key, dependency, features)),
            // A version alone.
            (false, _) => names.push(key.clone()),
        }
    }
    names
}

/// False if a `cfg(…)` never holds on Linux. What depends on more than that may hold.
fn applies(key: &str) -> bool {
    let expression = key.strip_prefix("cfg(").and_then(|key| key.strip_suffix(')'));
    let expression = expression.and_then(|text| text.parse::<CfgExpr>().ok());
    expression.is_none_or(|expression| on_linux(&expression) != Some(false))
}

/// The name that a dependency of system-deps has for pkg-config, unless it is optional or its feature is off. The tables
/// of features for versions, such as `v1_2`, may change both: of those that are on, the one with the highest version
/// counts.
fn asked_for(key: &str, dependency: &Map<String, Value>, features: &BTreeSet<String>) -> Option<String> {
    let text = |table: &Map<String, Value>, name: &str| table.get(name)?.as_str().map(str::to_owned);
    let is_optional = |table: &Map<String, Value>| table.get("optional").and_then(Value::as_bool);
    if text(dependency, "feature").is_some_and(|feature| !features.contains(&feature)) {
        return None;
    }
    let on = dependency.iter().filter(|(name, _)| name.starts_with('v') && features.contains(*name));
    let highest = on
        .filter_map(|(_, table)| table.as_object())
        .max_by_key(|table| numbers(text(table, "version").as_deref().unwrap_or_default()));
    let optional = highest.and_then(is_optional).or_else(|| is_optional(dependency)).unwrap_or(false);
    let name = highest.and_then(|table| text(table, "name")).or_else(|| text(dependency, "name"));
    (!optional).then(|| name.unwrap_or_else(|| key.to_owned()))
}

/// The numbers of the lowest version of a requirement: `1.2`, `>= 1.2`, or `>= 1.2, < 2`.
fn numbers(requirement: &str) -> Vec<u64> {
    let lowest = requirement.split(',').next().unwrap_or_default();
    let numbers = lowest.trim_start_matches(['>', '=', ' ']).split('.');
    numbers.map_while(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests;
