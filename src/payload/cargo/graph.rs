//! What the dependency graph shows before anything is compiled: is there C code, and in which directories are sources?
//! Pure over cargo's metadata.
//!
//! Only a crate's build script knows whether the crate compiles C code. The graph gives a good sign: such build scripts
//! depend on one of a few crates (`cc`, `cmake`, `pkg-config`, …; the list is data, in `toolchains/rust.toml`), or the
//! crate calls itself `-sys` and `links` something. A wrong yes costs the download of a compiler. A wrong no fails the
//! link with the linker's message, and `toolchain = "zig"` fixes it.

pub(crate) mod native;
pub(crate) mod needs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId, TargetKind};

use crate::payload::cargo::project::{Binary, Maker, ProgramKind};
use crate::toolchain::rust::RustData;

/// What the dependency graph shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graph {
    /// The first package (by name) that seems to compile or link C code, and the reason.
    pub c_code: Option<CCode>,
    /// True if a build script uses bindgen.
    pub bindgen: bool,
    /// True if a build script uses bindgen that runs for what the host needs: other build scripts and procedural
    /// macros.
    pub bindgen_on_host: bool,
    /// The directories of sources, sorted and without duplicates.
    pub sources: Vec<SourceDirectory>,
}

/// The replacement in programs for the directory where cargo stores a registry's packages.
pub(super) const REGISTRY: &str = "/cargo/registry/src";

/// A directory of sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceDirectory {
    /// Its path.
    pub dir: PathBuf,
    /// Its replacement in programs, unless it is in a directory that has a replacement itself.
    pub mapped: String,
}

/// A package that seems to compile or link C code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CCode {
    /// The package.
    pub package: String,
    /// The sign: a package that its build script depends on, or the library that it links.
    pub sign: String,
}

impl Graph {
    /// Reads cargo's metadata for the given binaries, and for the packages whose builds make files for the image.
    /// Optional dependencies of other targets count, too, since the metadata is for all targets.
    #[must_use]
    pub(crate) fn of(metadata: &Metadata, binaries: &[Binary], makers: &BTreeMap<String, Maker>) -> Self {
        let packages: BTreeMap<&PackageId, &Package> =
            metadata.packages.iter().map(|package| (&package.id, package)).collect();
        let nodes: BTreeMap<&PackageId, &Node> =
            metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node)).collect();
        let mut on_host: Vec<&PackageId> = Vec::new();
        let mut open: Vec<&PackageId> = packages
            .keys()
            .copied()
            .filter(|id| {
                binaries.iter().any(|binary| binary.package_id == id.repr)
                    || makers.values().any(|maker| maker.package_id == id.repr)
            })
            .collect();
        let mut seen: BTreeSet<&PackageId> = open.iter().copied().collect();
        let mut signs = BTreeSet::new();
        let mut graph = Self::default();
        while let Some(id) = open.pop() {
            let (Some(package), Some(node)) = (packages.get(id), nodes.get(id)) else { continue };
            // The dependencies of build scripts and procedural macros run on the host.
            let of_kind = |kind: DependencyKind| {
                node.deps
                    .iter()
                    .filter(move |dependency| dependency.dep_kinds.iter().any(|info| info.kind == kind))
            };
            on_host.extend(of_kind(DependencyKind::Build).map(|dependency| &dependency.pkg));
            for dependency in of_kind(DependencyKind::Build) {
                let Some(build) = packages.get(&dependency.pkg) else { continue };
                graph.bindgen |= build.name.as_str() == "bindgen";
                if RustData::get().c_code.build_dependencies.iter().any(|name| *name == *build.name) {
                    signs.insert(CCode { package: package.name.to_string(), sign: build.name.to_string() });
                }
            }
            if let Some(library) = &package.links
                && package.name.ends_with("-sys")
                && package.targets.iter().any(|target| target.kind.contains(&TargetKind::CustomBuild))
            {
                signs.insert(CCode { package: package.name.to_string(), sign: library.clone() });
            }
            // Examples are built with the dependencies of tests.
            let example =
                |binary: &Binary| binary.kind == ProgramKind::Example && binary.package_id == id.repr;
            let development = of_kind(DependencyKind::Development).filter(|_| binaries.iter().any(example));
            for dependency in of_kind(DependencyKind::Normal).chain(development) {
                let is_macro = packages.get(&dependency.pkg).is_some_and(|package| is_macro(package));
                if is_macro {
                    on_host.push(&dependency.pkg);
                } else if seen.insert(&dependency.pkg) {
                    open.push(&dependency.pkg);
                }
            }
        }
        graph.bindgen_on_host = uses_bindgen(on_host, &packages, &nodes);
        graph.c_code = signs.into_iter().next();
        graph.sources = sources(metadata);
        graph
    }
}

/// True if a build script of one of the packages, or of one that they depend on other than for tests, uses bindgen.
fn uses_bindgen<'a>(
    mut open: Vec<&'a PackageId>,
    packages: &BTreeMap<&'a PackageId, &'a Package>,
    nodes: &BTreeMap<&'a PackageId, &'a Node>,
) -> bool {
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id).filter(|_| seen.insert(id)) else { continue };
        for dependency in &node.deps {
            let is = |kind: DependencyKind| dependency.dep_kinds.iter().any(|info| info.kind == kind);
            let is_bindgen =
                packages.get(&dependency.pkg).is_some_and(|package| package.name.as_str() == "bindgen");
            if is(DependencyKind::Build) && is_bindgen {
                return true;
            }
            if is(DependencyKind::Build) || is(DependencyKind::Normal) {
                open.push(&dependency.pkg);
            }
        }
    }
    false
}

fn is_macro(package: &Package) -> bool {
    package.targets.iter().any(|target| target.kind.contains(&TargetKind::ProcMacro))
}

/// The directories of all packages, and directories beside these that files of their targets are in.
///
/// A registry's packages are in one directory: cargo's own, whose name depends on the mirror that they come from, or
/// the one that they were vendored to. One name for all of them keeps the list short, and keeps programs independent of
/// the directory.
fn sources(metadata: &Metadata) -> Vec<SourceDirectory> {
    let mut sources = BTreeSet::new();
    for package in &metadata.packages {
        let Some(dir) = package.manifest_path.parent() else { continue };
        let together = dir.parent().filter(|parent| package.source.is_some() && parent.parent().is_some());
        if let Some(parent) = together {
            let cargos_own = parent.parent().is_some_and(|above| above.ends_with("registry/src"));
            let mapped = if cargos_own { REGISTRY } else { "/vendor" };
            sources.insert(SourceDirectory { dir: parent.into(), mapped: mapped.into() });
            continue;
        }
        let label = label(metadata, package);
        let elsewhere: BTreeSet<_> = package
            .targets
            .iter()
            .filter_map(|target| clean(target.src_path.as_std_path()).parent().map(Path::to_owned))
            .filter(|source| !source.starts_with(dir))
            .collect();
        for (number, source) in elsewhere.into_iter().enumerate() {
            let mapped = format!("/packages/{label}/outside-{number}");
            sources.insert(SourceDirectory { dir: source, mapped });
        }
        let mapped = format!("/packages/{label}");
        sources.insert(SourceDirectory { dir: dir.into(), mapped });
    }
    sources.into_iter().collect()
}

/// A path without `.` and `..`, which cargo leaves in the paths of targets.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

/// The package's name, with its version if another local package has that name too.
fn label(metadata: &Metadata, package: &Package) -> String {
    let same = |other: &&Package| other.name == package.name && other.source.is_none();
    if metadata.packages.iter().filter(same).count() > 1 {
        return format!("{}-{}", package.name, package.version);
    }
    package.name.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A package: its name, what it links, and its dependencies as (name, kind).
    type Sample<'a> = (&'a str, Option<&'a str>, &'a [(&'a str, Option<&'a str>)]);

    fn graph(samples: &[Sample<'_>]) -> Graph {
        let id = |name: &str| format!("registry+https://example.com#{name}@1.0.0");
        let target = |kind: &str, name: &str| {
            json!({
                "kind": [kind], "crate_types": [kind], "name": name, "src_path": "/x.rs", "edition": "2024",
                "doc": true, "doctest": false, "test": true
            })
        };
        let packages: Vec<Value> = samples
            .iter()
            .map(|(name, links, _)| {
                let kind = if name.ends_with("-macro") { "proc-macro" } else { "lib" };
                let targets = json!([target(kind, name), target("custom-build", "build-script-build")]);
                let source = if name.starts_with("local") {
                    Value::Null
                } else {
                    json!("registry+https://example.com")
                };
                json!({
                    "name": name, "version": "1.0.0", "id": id(name), "license": null, "license_file": null,
                    "description": null, "source": source, "dependencies": [], "targets": targets,
                    "features": {}, "manifest_path": format!("/else/{name}/Cargo.toml"), "metadata": null,
                    "publish": null, "authors": [], "categories": [], "keywords": [], "readme": null,
                    "repository": null, "homepage": null, "documentation": null, "edition": "2024",
                    "links": links, "default_run": null, "rust_version": null
                })
            })
            .collect();
        let nodes: Vec<Value> = samples
            .iter()
            .map(|(name, _, dependencies)| {
                let deps: Vec<Value> = dependencies
                    .iter()
                    .map(|(name, kind)| {
                        json!({"name": name, "pkg": id(name), "dep_kinds": [{"kind": kind, "target": null}]})
                    })
                    .collect();
                let ids: Vec<_> = dependencies.iter().map(|(name, _)| id(name)).collect();
                json!({"id": id(name), "deps": deps, "dependencies": ids, "features": []})
            })
            .collect();
        let metadata: Metadata = serde_json::from_value(json!({
            "packages": packages, "workspace_members": [id("app")], "workspace_default_members": [id("app")],
            "resolve": {"nodes": nodes, "root": null}, "target_directory": "/w/target", "version": 1,
            "workspace_root": "/w", "metadata": null
        }))
        .unwrap();
        let (name, kind) = ("app".to_owned(), ProgramKind::Bin);
        let binary = Binary { package: name.clone(), name, kind, package_id: id("app") };
        Graph::of(&metadata, &[binary], &BTreeMap::new())
    }

    #[test]
    fn a_build_script_that_uses_cc_is_c_code() {
        let graph = graph(&[
            ("app", None, &[("zstd", None)]),
            ("zstd", None, &[("zstd-sys", None)]),
            ("zstd-sys", Some("zstd"), &[("cc", Some("build")), ("bindgen", Some("build"))]),
            ("cc", None, &[]),
            ("bindgen", None, &[]),
        ]);
        let found = graph.c_code.unwrap();
        assert_eq!((found.package.as_str(), graph.bindgen), ("zstd-sys", true));
    }

    #[test]
    fn a_sys_crate_that_links_is_c_code_and_others_that_link_are_not() {
        assert_eq!(
            graph(&[("app", None, &[("rayon-core", None)]), ("rayon-core", Some("rayon-core"), &[])]).c_code,
            None
        );
        let found = graph(&[("app", None, &[("z-sys", None)]), ("z-sys", Some("z"), &[])]).c_code;
        assert_eq!(found, Some(CCode { package: "z-sys".into(), sign: "z".into() }));
    }

    #[test]
    fn what_runs_on_the_host_does_not_count() {
        let graph = graph(&[
            ("app", None, &[("a-macro", None), ("tool", Some("build")), ("mock", Some("dev"))]),
            ("a-macro", None, &[("z-sys", None)]),
            ("tool", None, &[("z-sys", None)]),
            ("mock", None, &[("z-sys", None)]),
            ("z-sys", Some("z"), &[("cc", Some("build"))]),
            ("cc", None, &[]),
        ]);
        assert_eq!(graph.c_code, None);
    }

    #[test]
    fn bindgen_counts_for_whom_it_is_run() {
        let on_host = |build: &str, normal: &str| {
            let graph = graph(&[
                ("app", None, &[("tool", Some("build")), ("x-sys", None), ("a-macro", None)]),
                ("tool", None, &[("y-sys", None)]),
                ("a-macro", None, &[]),
                ("y-sys", Some("y"), &[(build, Some("build"))]),
                ("x-sys", Some("x"), &[(normal, Some("build"))]),
                ("bindgen", None, &[]),
                ("cc", None, &[]),
            ]);
            (graph.bindgen, graph.bindgen_on_host)
        };
        assert_eq!(on_host("cc", "bindgen"), (true, false));
        assert_eq!(on_host("bindgen", "cc"), (false, true));
        assert_eq!(on_host("bindgen", "bindgen"), (true, true));
    }

    #[test]
    fn every_directory_of_sources_has_a_name() {
        let graph = graph(&[("app", None, &[("local-a", None)]), ("local-a", None, &[])]);
        let named: Vec<_> = graph
            .sources
            .iter()
            .map(|source| (source.dir.to_str().unwrap(), source.mapped.as_str()))
            .collect();
        let expected = [
            // A registry's packages are in one directory, here the one that they were vendored to.
            ("/", "/packages/local-a/outside-0"),
            ("/else", "/vendor"),
            ("/else/local-a", "/packages/local-a"),
        ];
        assert_eq!(named, expected);
    }
}
