//! cargo's metadata for tests.

use cargo_metadata::Metadata;
use serde_json::{Value, json};

/// A member of the workspace `/w` with its targets.
pub(crate) fn package(name: &str, bins: &[&str], library: bool, default_run: Option<&str>) -> Value {
    let mut targets: Vec<Value> = bins.iter().map(|bin| target("bin", bin, &[])).collect();
    if library {
        targets.push(target("lib", name, &[]));
    }
    json!({
        "name": name, "version": "1.2.3", "id": format!("path+file:///w/{name}#1.2.3"), "license": "MIT",
        "license_file": null, "description": " what it is\n", "source": null, "dependencies": [],
        "targets": targets, "features": {}, "manifest_path": format!("/w/{name}/Cargo.toml"),
        "metadata": null, "publish": null, "authors": ["A", "B"], "categories": [], "keywords": [],
        "readme": null, "repository": "https://example.com/w", "homepage": null, "documentation": null,
        "edition": "2024", "links": null, "default_run": default_run, "rust_version": null
    })
}

/// A library of crates.io.
pub(crate) fn of_registry(name: &str, version: &str) -> Value {
    let mut value = package(name, &[], true, None);
    value["version"] = version.into();
    value["source"] = "registry+https://github.com/rust-lang/crates.io-index".into();
    value["id"] = format!("registry+https://github.com/rust-lang/crates.io-index#{name}@{version}").into();
    value["manifest_path"] = format!("/cargo/registry/src/index/{name}-{version}/Cargo.toml").into();
    value
}

/// A target of a package.
pub(crate) fn target(kind: &str, name: &str, required_features: &[&str]) -> Value {
    let crate_type = if kind == "example" { "bin" } else { kind };
    json!({
        "kind": [kind], "crate_types": [crate_type], "name": name, "src_path": "/w/x.rs", "edition": "2024",
        "doc": true, "doctest": false, "test": true, "required-features": required_features
    })
}

/// cargo's metadata for these packages. Those without a source are the workspace's members; each depends on the
/// packages that its `dependencies` name.
pub(crate) fn metadata(packages: &[Value]) -> Metadata {
    let members: Vec<_> = packages
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| package["id"].clone())
        .collect();
    let nodes: Vec<Value> = packages.iter().map(|package| node(package, packages)).collect();
    serde_json::from_value(json!({
        "packages": packages, "workspace_members": members, "workspace_default_members": members,
        "resolve": { "nodes": nodes, "root": null }, "target_directory": "/w/target", "version": 1,
        "workspace_root": "/w", "metadata": null
    }))
    .unwrap()
}

fn node(package: &Value, packages: &[Value]) -> Value {
    let dependencies = package["dependencies"].as_array().unwrap();
    let deps: Vec<Value> = dependencies
        .iter()
        .filter_map(|dependency| {
            let found = packages.iter().find(|other| other["name"] == dependency["name"])?;
            let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap();
            let kinds = json!([{ "kind": dependency["kind"], "target": null }]);
            Some(json!({ "name": name, "pkg": found["id"], "dep_kinds": kinds }))
        })
        .collect();
    let ids: Vec<_> = deps.iter().map(|dependency| dependency["pkg"].clone()).collect();
    json!({ "id": package["id"], "deps": deps, "dependencies": ids, "features": [] })
}
