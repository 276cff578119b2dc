//! Which packages compile C code when they are built.
//!
//! It decides only whether a musl program needs zig beside rust-lld, so a package that is wrongly counted costs a
//! download, and one that is missed fails with cc's own message. What tells is a build dependency on one of the
//! libraries that run C compilers: a package without one would have to start a compiler by itself.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, PackageId};

/// Libraries for build scripts that run a C or C++ compiler or a build system of theirs.
const COMPILER_DRIVERS: &[&str] = &["autotools", "cc", "cmake", "cxx-build", "gcc", "meson-next", "nasm-rs"];

/// The names of the packages below the selected ones (themselves included) that compile C code, sorted.
#[must_use]
pub fn packages<'a>(metadata: &Metadata, selected: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let Some(resolve) = &metadata.resolve else { return Vec::new() };
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut names: BTreeMap<&PackageId, &str> = BTreeMap::new();
    for package in &metadata.packages {
        names.insert(&package.id, package.name.as_str());
    }
    let selected: BTreeSet<&str> = selected.into_iter().collect();
    let mut queue: Vec<&PackageId> =
        nodes.keys().filter(|id| selected.contains(id.repr.as_str())).copied().collect();
    let mut seen: BTreeSet<&PackageId> = queue.iter().copied().collect();
    let mut found = BTreeSet::new();
    while let Some(id) = queue.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in &node.deps {
            let of_kind = |kind| dependency.dep_kinds.iter().any(|info| info.kind == kind);
            let name = names.get(&dependency.pkg).copied().unwrap_or_default();
            if of_kind(DependencyKind::Build)
                && COMPILER_DRIVERS.contains(&name)
                && let Some(name) = names.get(id)
            {
                found.insert((*name).to_owned());
            }
            // What a build script itself is built from runs on the host, with the host's compiler.
            if of_kind(DependencyKind::Normal) && seen.insert(&dependency.pkg) {
                queue.push(&dependency.pkg);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `edges`: package, dependency, kind.
    fn found(edges: &[(&str, &str, Option<&str>)]) -> Vec<String> {
        let names: BTreeSet<&str> = edges.iter().flat_map(|(from, to, _)| [*from, *to]).collect();
        let package = |name: &&str| {
            json!({
                "name": name, "version": "1.0.0", "id": format!("{name}#1"), "dependencies": [], "targets": [],
                "features": {}, "manifest_path": "/w/Cargo.toml"
            })
        };
        let node = |name: &&str| {
            let deps: Vec<Value> = edges
                .iter()
                .filter(|(from, _, _)| from == name)
                .map(|(_, to, kind)| {
                    json!({ "name": to, "pkg": format!("{to}#1"), "dep_kinds": [{ "kind": kind, "target": null }] })
                })
                .collect();
            json!({ "id": format!("{name}#1"), "deps": deps, "dependencies": [], "features": [] })
        };
        let metadata: Metadata = serde_json::from_value(json!({
            "packages": names.iter().map(package).collect::<Vec<_>>(),
            "workspace_members": [], "target_directory": "/t", "version": 1, "workspace_root": "/w",
            "resolve": { "nodes": names.iter().map(node).collect::<Vec<_>>(), "root": null }
        }))
        .unwrap();
        packages(&metadata, ["app#1"])
    }

    #[test]
    fn a_compiler_driver_below_the_program_counts() {
        let edges = [
            ("app", "rusqlite", None),
            ("rusqlite", "libsqlite3-sys", None),
            ("libsqlite3-sys", "cc", Some("build")),
            ("other", "cc", Some("build")),
        ];
        assert_eq!(found(&edges), ["libsqlite3-sys"]);
    }

    #[test]
    fn what_only_the_host_or_the_tests_build_does_not() {
        let edges = [
            ("app", "codegen", Some("build")),
            ("codegen", "tool-sys", None),
            ("tool-sys", "cc", Some("build")),
            ("app", "dev-sys", Some("dev")),
            ("dev-sys", "cc", Some("build")),
        ];
        assert_eq!(found(&edges), Vec::<String>::new());
    }
}
