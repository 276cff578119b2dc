//! Which tools of this machine the builds of packages may need, as far as the dependency graph shows. Pure.
//!
//! What a build script or a procedural macro can call is in its dependencies. The data of the tools names the packages
//! that run a tool; a package whose build script depends on one of these, directly or through others, may need the tool.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use cargo_metadata::cargo_platform::{Cfg, CfgExpr, Platform};
use cargo_metadata::{DependencyKind, Metadata, Node, NodeDep, Package, PackageId, TargetKind};

use super::is_macro;
use crate::payload::cargo::project::{Binary, Maker, ProgramKind};
use crate::toolchain::host_tools::{HostToolsData, NeededBy, Sign, Tool};

/// What the needs depend on beside the graph.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The host's triple.
    pub host: &'a str,
    /// The triples of the targets.
    pub targets: &'a [&'a str],
    /// The value of a variable that build scripts get.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A tool, and the packages whose builds may need it, sorted.
pub(crate) type Need = (&'static Tool, Vec<NeededBy>);

/// The tools that the builds of these programs may need, and of the packages whose builds make files for the image.
#[must_use]
pub(crate) fn needs(
    metadata: &Metadata,
    (binaries, makers): (&[Binary], &BTreeMap<String, Maker>),
    surroundings: Surroundings<'_>,
) -> Vec<Need> {
    let walk = Walk::new(metadata, surroundings);
    let is_wanted = |id: &&PackageId| {
        binaries.iter().any(|binary| binary.package_id == id.repr)
            || makers.values().any(|maker| maker.package_id == id.repr)
    };
    let wanted: Vec<_> = walk.packages.keys().copied().filter(is_wanted).collect();
    let has_examples = |id: &PackageId| {
        let is_ours = |binary: &&Binary| binary.package_id == id.repr;
        binaries.iter().filter(is_ours).any(|binary| binary.kind == ProgramKind::Example)
    };
    let built = walk.built(wanted, &has_examples);
    let callers: Vec<Caller<'_>> = built.into_iter().filter_map(|(id, side)| walk.caller(id, side)).collect();
    let needed = |tool: &'static Tool| {
        let by: BTreeSet<NeededBy> = callers.iter().filter_map(|caller| walk.need(tool, caller)).collect();
        (!by.is_empty()).then(|| (tool, by.into_iter().collect()))
    };
    HostToolsData::get().tool.iter().filter_map(needed).collect()
}

/// For what a package is built.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    pub(super) host: bool,
    pub(super) targets: bool,
}

/// A package with code that runs while it, or what depends on it, is compiled.
struct Caller<'a> {
    package: &'a Package,
    side: Side,
    /// Its dependencies that this code can call, each with all that it can call in turn.
    callable: Vec<(&'a Package, BTreeSet<&'a PackageId>)>,
}

/// cargo's metadata, and how far their dependencies are followed.
pub(super) struct Walk<'a> {
    pub(super) packages: BTreeMap<&'a PackageId, &'a Package>,
    pub(super) nodes: BTreeMap<&'a PackageId, &'a Node>,
    surroundings: Surroundings<'a>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(metadata: &'a Metadata, surroundings: Surroundings<'a>) -> Self {
        let packages = metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        Self { packages, nodes: nodes.map(|node| (&node.id, node)).collect(), surroundings }
    }

    /// The packages that another one depends on in this way, except where neither the host nor a target needs them.
    fn dependencies(&self, id: &PackageId, kind: DependencyKind) -> impl Iterator<Item = &'a PackageId> {
        let is_needed = move |dependency: &&NodeDep| {
            let mut of_kind = dependency.dep_kinds.iter().filter(|info| info.kind == kind);
            of_kind.any(|info| info.target.as_ref().is_none_or(|platform| self.may_be(platform)))
        };
        let node = self.nodes.get(id).copied();
        node.into_iter().flat_map(|node| &node.deps).filter(is_needed).map(|dependency| &dependency.pkg)
    }

    /// False if a dependency's platform is neither the host nor a target.
    fn may_be(&self, platform: &Platform) -> bool {
        match platform {
            Platform::Name(triple) => {
                self.surroundings.host == triple || self.surroundings.targets.contains(&triple.as_str())
            }
            Platform::Cfg(expression) => on_linux(expression) != Some(false),
        }
    }

    /// All packages that are built for these, and for what.
    pub(super) fn built(
        &self,
        wanted: Vec<&'a PackageId>,
        has_examples: &dyn Fn(&PackageId) -> bool,
    ) -> BTreeMap<&'a PackageId, Side> {
        let mut built: BTreeMap<&PackageId, Side> = BTreeMap::new();
        let mut open: Vec<(&PackageId, bool)> = wanted.into_iter().map(|id| (id, false)).collect();
        while let Some((id, on_host)) = open.pop() {
            let Some(package) = self.packages.get(id) else { continue };
            let on_host = on_host || is_macro(package);
            let side = built.entry(id).or_default();
            let is_known = if on_host { &mut side.host } else { &mut side.targets };
            if std::mem::replace(is_known, true) {
                continue;
            }
            open.extend(self.dependencies(id, DependencyKind::Normal).map(|id| (id, on_host)));
            open.extend(self.dependencies(id, DependencyKind::Build).map(|id| (id, true)));
            // Examples are built with the dependencies of tests.
            if !on_host && has_examples(id) {
                open.extend(self.dependencies(id, DependencyKind::Development).map(|id| (id, false)));
            }
        }
        built
    }

    /// The package with what its build script can call or, if it is a procedural macro, the macro.
    fn caller(&self, id: &'a PackageId, side: Side) -> Option<Caller<'a>> {
        let package = *self.packages.get(id)?;
        let has_script = package.targets.iter().any(|target| target.kind.contains(&TargetKind::CustomBuild));
        let mut direct: Vec<&PackageId> = Vec::new();
        if has_script {
            direct.extend(self.dependencies(id, DependencyKind::Build));
        }
        if is_macro(package) {
            direct.extend(self.dependencies(id, DependencyKind::Normal));
        }
        let mut callable: Vec<_> = direct
            .into_iter()
            .filter_map(|direct| Some((*self.packages.get(direct)?, self.reached(direct))))
            .collect();
        callable.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
        (has_script || is_macro(package)).then_some(Caller { package, side, callable })
    }

    /// A package and its dependencies of the same program.
    fn reached(&self, id: &'a PackageId) -> BTreeSet<&'a PackageId> {
        let (mut reached, mut open) = (BTreeSet::new(), vec![id]);
        while let Some(id) = open.pop() {
            if reached.insert(id) {
                open.extend(self.dependencies(id, DependencyKind::Normal));
            }
        }
        reached
    }

    /// That the build of a package may need a tool, if it shows any sign of that.
    fn need(&self, tool: &Tool, caller: &Caller<'_>) -> Option<NeededBy> {
        tool.sign.iter().find_map(|sign| self.shown(sign, caller))
    }

    /// That a build may need a tool, if it shows this sign.
    fn shown(&self, sign: &Sign, caller: &Caller<'_>) -> Option<NeededBy> {
        let is = |names: &[String], package: &Package| names.iter().any(|name| **name == *package.name);
        if is(&sign.except, caller.package) || !self.applies(sign, caller.side) {
            return None;
        }
        let named = |id: &PackageId, names: &[String]| {
            self.packages.get(id).is_some_and(|package| is(names, package))
        };
        let mut all = caller.callable.iter().flat_map(|(_, reached)| reached);
        if all.any(|id| named(id, &sign.unless)) {
            return None;
        }
        let package = caller.package.name.to_string();
        if is(&sign.built, caller.package) && self.is_meant(sign, &caller.package.id) {
            return Some(NeededBy { package, through: None });
        }
        let uses = |reached: &BTreeSet<&PackageId>| {
            reached.iter().any(|id| named(id, &sign.used) && self.is_meant(sign, id))
        };
        let (direct, _) = caller.callable.iter().find(|(_, reached)| uses(reached))?;
        Some(NeededBy { package, through: Some(direct.name.to_string()) })
    }

    /// True if a package has the versions and features that a sign asks for.
    fn is_meant(&self, sign: &Sign, id: &PackageId) -> bool {
        let version = self.packages.get(id).map(|package| &package.version);
        let features = self.nodes.get(id).map_or(&[][..], |node| &node.features);
        let has = |name: &String| features.iter().any(|feature| **feature == **name);
        sign.versions.as_ref().is_none_or(|wanted| version.is_some_and(|version| wanted.matches(version)))
            && sign.features.iter().all(has)
            && !sign.without_features.iter().any(has)
    }

    /// True if a sign is one for what the package is built for, and with these variables.
    fn applies(&self, sign: &Sign, side: Side) -> bool {
        let Surroundings { host, targets, variable } = self.surroundings;
        let targets = targets.iter().filter(|_| side.targets);
        let mut triples = targets.chain([&host].into_iter().filter(|_| side.host));
        let begins =
            |triple: &str, texts: &[String]| texts.iter().any(|text| triple.starts_with(text.as_str()));
        let contains = |(name, text): (&String, &String)| {
            variable(name).is_some_and(|value| value.to_string_lossy().contains(text.as_str()))
        };
        triples.any(|triple| {
            (sign.only_for.is_empty() || begins(triple, &sign.only_for)) && !begins(triple, &sign.not_for)
        }) && sign.when.iter().all(contains)
            && !sign.unless_set.iter().any(|name| variable(name).is_some())
    }
}

/// Whether an expression is true on Linux, where the host and all targets are; `None` if that depends on more.
pub(super) fn on_linux(expression: &CfgExpr) -> Option<bool> {
    match expression {
        CfgExpr::True => Some(true),
        CfgExpr::False => Some(false),
        CfgExpr::Not(inner) => on_linux(inner).map(|inner| !inner),
        CfgExpr::All(parts) => all(parts.iter().map(on_linux)),
        CfgExpr::Any(parts) => {
            all(parts.iter().map(|part| on_linux(part).map(|part| !part))).map(|none| !none)
        }
        CfgExpr::Value(Cfg::Name(name)) => match name.as_str() {
            "unix" => Some(true),
            "windows" => Some(false),
            _ => None,
        },
        CfgExpr::Value(Cfg::KeyPair(key, value)) => match (key.as_str(), value.as_str()) {
            ("target_os", value) => Some(value == "linux"),
            ("target_family", value) => Some(value == "unix"),
            ("target_env", "msvc") | ("target_vendor", "apple") => Some(false),
            _ => None,
        },
    }
}

/// Whether all are true: one that is false is enough to know that they are not.
fn all(parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let parts: BTreeSet<Option<bool>> = parts.collect();
    if parts.contains(&Some(false)) {
        return Some(false);
    }
    (!parts.contains(&None)).then_some(true)
}

#[cfg(test)]
mod tests;
