//! Computes which features a build enables, for programs with `required-features`. Pure over cargo's metadata.
//!
//! cargo's own list in the metadata is for a build of the whole workspace, including features that one member enables
//! in another. A build of only some members enables fewer, and a program that cargo would then skip must not be chosen.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{Dependency, DependencyKind, Metadata, Node, Package, PackageId};

use crate::settings::PayloadSettings;

/// The enabled features, by package.
#[derive(Debug)]
pub(crate) struct Features<'a> {
    packages: BTreeMap<&'a PackageId, &'a Package>,
    nodes: BTreeMap<&'a PackageId, &'a Node>,
    on: BTreeMap<&'a PackageId, BTreeSet<String>>,
    /// Optional dependencies that some feature enables, by package and the dependency's name in it.
    optional: BTreeSet<(&'a PackageId, String)>,
    visited: BTreeSet<&'a PackageId>,
    /// True if development dependencies are built too, as for examples.
    development: bool,
    selected: Vec<&'a PackageId>,
}

impl<'a> Features<'a> {
    /// The features that a build of the selected packages enables.
    #[must_use]
    pub(crate) fn of(
        metadata: &'a Metadata,
        selected: &[&'a Package],
        request: &PayloadSettings,
        development: bool,
    ) -> Self {
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node));
        let mut features = Self {
            packages: metadata.packages.iter().map(|package| (&package.id, package)).collect(),
            nodes: nodes.collect(),
            on: BTreeMap::new(),
            optional: BTreeSet::new(),
            visited: BTreeSet::new(),
            development,
            selected: selected.iter().map(|package| &package.id).collect(),
        };
        for package in selected {
            features.visit(package);
            if request.all_features {
                for name in package.features.keys() {
                    features.turn_on(package, name);
                }
            }
            if !request.no_default_features {
                features.turn_on(package, "default");
            }
            for wanted in &request.features {
                match wanted.split_once('/') {
                    Some((name, feature)) if name.trim_end_matches('?') == package.name.as_str() => {
                        features.turn_on(package, feature);
                    }
                    _ => features.ask(package, wanted),
                }
            }
        }
        features
    }

    /// Those of `required` that are off for a package.
    #[must_use]
    pub(crate) fn lacking(&self, package: &Package, required: &[String]) -> Vec<String> {
        let is_on = |id: &PackageId, feature: &str| {
            self.on.get(id).is_some_and(|features| features.contains(feature))
        };
        let lacks = |wanted: &&String| match wanted.split_once('/') {
            Some((name, feature)) => {
                let mut dependencies = package.dependencies.iter().filter(|one| key(one) == name);
                !dependencies
                    .any(|one| self.resolved(package, one).is_some_and(|other| is_on(&other.id, feature)))
            }
            None => !is_on(&package.id, wanted),
        };
        required.iter().filter(lacks).cloned().collect()
    }

    /// Applies an element of a feature's list, or an element of `--features`.
    fn ask(&mut self, package: &'a Package, wanted: &str) {
        if let Some(name) = wanted.strip_prefix("dep:") {
            self.take(package, name);
        } else if let Some((name, feature)) = wanted.split_once('/') {
            let weak = name.ends_with('?');
            let name = name.trim_end_matches('?');
            if !weak {
                self.take(package, name);
                // The implicit feature of an optional dependency, unless the manifest hides it.
                self.turn_on(package, name);
            }
            for dependency in package.dependencies.iter().filter(|one| key(one) == name) {
                if let Some(other) = self.resolved(package, dependency) {
                    self.turn_on(other, feature);
                }
            }
        } else {
            self.turn_on(package, wanted);
        }
    }

    fn turn_on(&mut self, package: &'a Package, feature: &str) {
        let Some(list) = package.features.get(feature) else { return };
        if self.on.entry(&package.id).or_default().insert(feature.to_owned()) {
            for wanted in list {
                self.ask(package, wanted);
            }
        }
    }

    /// Enables an optional dependency.
    fn take(&mut self, package: &'a Package, name: &str) {
        if self.optional.insert((&package.id, name.to_owned())) {
            for dependency in package.dependencies.iter().filter(|one| one.optional && key(one) == name) {
                self.follow(package, dependency);
            }
        }
    }

    fn visit(&mut self, package: &'a Package) {
        if self.visited.insert(&package.id) {
            for dependency in package.dependencies.iter().filter(|one| !one.optional) {
                self.follow(package, dependency);
            }
        }
    }

    /// Enables the features that a package asks of a dependency. Build dependencies are built separately, for the host.
    fn follow(&mut self, package: &'a Package, dependency: &Dependency) {
        let counts = match dependency.kind {
            DependencyKind::Normal => true,
            DependencyKind::Development => self.development && self.selected.contains(&&package.id),
            _ => false,
        };
        if !counts {
            return;
        }
        let Some(other) = self.resolved(package, dependency) else { return };
        self.visit(other);
        if dependency.uses_default_features {
            self.turn_on(other, "default");
        }
        for feature in &dependency.features {
            self.turn_on(other, feature);
        }
    }

    /// The package that a dependency was resolved to.
    fn resolved(&self, package: &Package, dependency: &Dependency) -> Option<&'a Package> {
        let found =
            self.nodes.get(&package.id)?.deps.iter().filter_map(|one| self.packages.get(&one.pkg).copied());
        let mut found = found.filter(|other| other.name.as_str() == dependency.name);
        found.find(|other| dependency.req.matches(&other.version) || other.source.is_none())
    }
}

/// The name of a dependency within the package.
fn key(dependency: &Dependency) -> &str {
    dependency.rename.as_deref().unwrap_or(&dependency.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::payload::cargo::sample::{metadata, of_registry, package};

    fn dependency(name: &str, optional: bool, features: &[&str]) -> Value {
        json!({
            "name": name, "source": null, "req": "*", "kind": null, "rename": null, "optional": optional,
            "uses_default_features": true, "features": features, "target": null, "registry": null
        })
    }

    /// `app` has the features of a usual package, depends on `store` and, if enabled, on `log`; `other` enables a
    /// feature of `app`.
    fn workspace() -> Metadata {
        let mut app = package("app", &["app"], true, None);
        app["features"] = json!({
            "default": ["fast"], "fast": [], "tools": ["dep:log", "store/admin"], "log": ["dep:log"], "extra": []
        });
        app["dependencies"] = json!([dependency("store", false, &[]), dependency("log", true, &["std"])]);
        let mut other = package("other", &["other"], false, None);
        other["dependencies"] = json!([dependency("app", false, &["extra"])]);
        let mut store = package("store", &[], true, None);
        store["features"] = json!({ "admin": [], "default": ["disk"], "disk": [] });
        let mut log = of_registry("log", "0.4.0");
        log["features"] = json!({ "std": [] });
        metadata(&[app, other, store, log])
    }

    fn lacking(selected: &[&str], features: &[&str], change: fn(&mut PayloadSettings)) -> Vec<String> {
        let metadata = workspace();
        let selected: Vec<&Package> =
            metadata.packages.iter().filter(|package| selected.contains(&package.name.as_str())).collect();
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        let mut request = PayloadSettings { features, ..PayloadSettings::default() };
        change(&mut request);
        let features = Features::of(&metadata, &selected, &request, false);
        let all = ["fast", "tools", "extra", "store/admin", "store/disk", "log/std"];
        features.lacking(&metadata.packages[0], &all.map(ToOwned::to_owned))
    }

    #[test]
    fn features_are_on_as_cargo_turns_them_on() {
        let nothing = |_: &mut PayloadSettings| ();
        assert_eq!(lacking(&["app"], &[], nothing), ["tools", "extra", "store/admin", "log/std"]);
        assert_eq!(lacking(&["app"], &["tools"], nothing), ["extra"]);
        assert_eq!(lacking(&["app"], &["app/tools"], nothing), ["extra"]);
        assert_eq!(lacking(&["app"], &["store/admin"], nothing), ["tools", "extra", "log/std"]);
        assert_eq!(lacking(&["app"], &[], |request| request.all_features = true), [""; 0]);
        assert_eq!(
            lacking(&["app"], &["extra"], |request| request.no_default_features = true),
            ["fast", "tools", "store/admin", "log/std"]
        );
    }

    #[test]
    fn what_another_selected_member_asks_for_is_on() {
        let nothing = |_: &mut PayloadSettings| ();
        assert_eq!(lacking(&["app", "other"], &[], nothing), ["tools", "store/admin", "log/std"]);
    }
}
