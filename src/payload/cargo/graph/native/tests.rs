//! What crates say about libraries, for small graphs.

use serde_json::json;

use super::*;
use crate::payload::cargo::sample;

const ARM64: &str = "aarch64-unknown-linux-gnu";

/// A dependency: the crate, its kind and its platform.
type Dependency<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

/// A crate with what it links, its metadata for system-deps, its features that are on, and its dependencies. A name that
/// ends with `-macro` is a procedural macro's.
struct Crate<'a> {
    name: &'a str,
    links: Option<&'a str>,
    described: Value,
    features: &'a [&'a str],
    dependencies: &'a [Dependency<'a>],
}

impl<'a> Crate<'a> {
    fn new(name: &'a str, links: Option<&'a str>, dependencies: &'a [Dependency<'a>]) -> Self {
        Self { name, links, described: Value::Null, features: &[], dependencies }
    }

    fn described(name: &'a str, features: &'a [&'a str], described: Value) -> Self {
        Self { described, features, ..Self::new(name, None, &[]) }
    }
}

fn metadata(crates: &[Crate<'_>]) -> Metadata {
    let packages: Vec<Value> = crates
        .iter()
        .map(|krate| {
            let mut package = if krate.name == "app" {
                sample::package("app", &["app"], false, None)
            } else {
                sample::of_registry(krate.name, "1.0.0")
            };
            if krate.name.ends_with("-macro") {
                package["targets"] = json!([sample::target("proc-macro", krate.name, &[])]);
            }
            package["links"] = krate.links.into();
            if !krate.described.is_null() {
                package["metadata"] = json!({ "system-deps": krate.described });
            }
            package
        })
        .collect();
    let id = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap()["id"].clone();
    let mut value = serde_json::to_value(sample::metadata(&packages)).unwrap();
    let nodes: Vec<Value> = crates
        .iter()
        .map(|krate| {
            let deps = krate.dependencies.iter().map(|(name, kind, target)| {
                let kinds = json!([{ "kind": kind, "target": target }]);
                json!({ "name": name, "pkg": id(name), "dep_kinds": kinds })
            });
            let ids: Vec<_> = krate.dependencies.iter().map(|(name, ..)| id(name)).collect();
            json!({
                "id": id(krate.name), "deps": deps.collect::<Vec<_>>(), "dependencies": ids,
                "features": krate.features
            })
        })
        .collect();
    value["resolve"]["nodes"] = nodes.into();
    serde_json::from_value(value).unwrap()
}

fn natives(crates: &[Crate<'_>], kind: ProgramKind, known: &[&str]) -> Natives {
    let metadata = metadata(crates);
    let app = metadata.packages.iter().find(|package| package.name.as_str() == "app").unwrap();
    let (name, package) = ("app".to_owned(), "app".to_owned());
    let binary = Binary { package, name, kind, package_id: app.id.repr.clone() };
    let known = |name: &str| known.contains(&name);
    Natives::of(&metadata, (&[binary], &BTreeMap::new()), &[ARM64], &known)
}

fn names(crates: &[Crate<'_>], kind: ProgramKind) -> Vec<String> {
    natives(crates, kind, &[]).crates.into_iter().map(|native| native.name).collect()
}

/// What a crate with these features and metadata asks pkg-config for.
fn pkg_config(features: &[&str], described: Value) -> Vec<String> {
    let crates =
        [Crate::new("app", None, &[("x-sys", None, None)]), Crate::described("x-sys", features, described)];
    natives(&crates, ProgramKind::Bin, &[]).crates.remove(0).pkg_config
}

#[test]
fn crates_that_link_or_are_described_or_known_count() {
    let crates = [
        Crate::new("app", None, &[("pq-sys", None, None), ("pcap", None, None), ("glib-sys", None, None)]),
        Crate { features: &["bundled", "default"], ..Crate::new("pq-sys", Some("pq"), &[]) },
        Crate::new("pcap", None, &[("libc", None, None)]),
        Crate::described("glib-sys", &[], json!({ "glib_2_0": { "name": "glib-2.0", "version": "2.56" } })),
        Crate::new("libc", None, &[]),
    ];
    let natives = natives(&crates, ProgramKind::Bin, &["pcap"]);
    let native = |name: &str, links: Option<&str>, features: &[&str], pkg_config: &[&str]| Native {
        name: name.into(),
        version: "1.0.0".into(),
        links: links.map(Into::into),
        features: features.iter().map(ToString::to_string).collect(),
        pkg_config: pkg_config.iter().map(ToString::to_string).collect(),
    };
    let expected = [
        native("glib-sys", None, &[], &["glib-2.0"]),
        native("pcap", None, &[], &[]),
        native("pq-sys", Some("pq"), &["bundled", "default"], &[]),
    ];
    assert_eq!(natives.crates, expected);
    let present: Vec<_> = natives.present.iter().map(String::as_str).collect();
    assert_eq!(present, ["app", "glib-sys", "libc", "pcap", "pq-sys"]);
}

#[test]
fn what_runs_on_the_host_does_not_count() {
    let build = Some("build");
    let dependencies =
        [("a-macro", None, None), ("tool", build, None), ("mock", Some("dev"), None), ("b", None, None)];
    let crates = [
        Crate::new("app", None, &dependencies),
        Crate::new("a-macro", None, &[("u-sys", None, None)]),
        Crate::new("tool", None, &[("v-sys", None, None)]),
        Crate::new("mock", None, &[("w-sys", None, None)]),
        Crate::new("b", None, &[("x-sys", None, None), ("v-sys", Some("build"), None)]),
        Crate::new("u-sys", Some("u"), &[]),
        Crate::new("v-sys", Some("v"), &[]),
        Crate::new("w-sys", Some("w"), &[]),
        Crate::new("x-sys", Some("x"), &[]),
    ];
    assert_eq!(names(&crates, ProgramKind::Bin), ["x-sys"]);
    // Examples are built with the dependencies of tests.
    assert_eq!(names(&crates, ProgramKind::Example), ["w-sys", "x-sys"]);
}

#[test]
fn dependencies_of_other_platforms_do_not_count() {
    let dependencies = [
        ("v-sys", None, Some("cfg(windows)")),
        ("w-sys", None, Some("x86_64-apple-darwin")),
        ("x-sys", None, Some("cfg(target_arch = \"aarch64\")")),
        ("y-sys", None, Some(ARM64)),
    ];
    let crates = [
        Crate::new("app", None, &dependencies),
        Crate::new("v-sys", Some("v"), &[]),
        Crate::new("w-sys", Some("w"), &[]),
        Crate::new("x-sys", Some("x"), &[]),
        Crate::new("y-sys", Some("y"), &[]),
    ];
    assert_eq!(names(&crates, ProgramKind::Bin), ["x-sys", "y-sys"]);
}

#[test]
fn metadata_for_system_deps_are_read() {
    let described = json!({
        "testlib": "1.2",
        "glib": { "name": "glib-2.0", "version": "2.64" },
        "more": { "version": "2", "optional": true },
        "data": { "version": "4.5", "feature": "use-data" },
        "cfg(target_os = \"linux\")": { "linuxlib": "1", "maybe": { "version": "1", "optional": true } },
        "cfg(not(unix))": { "elsewhere": "1" },
        "cfg(target_pointer_width = \"64\")": { "wide": "1" },
    });
    let always = ["glib-2.0", "linuxlib", "testlib", "wide"];
    assert_eq!(pkg_config(&[], described.clone()), always);
    assert_eq!(pkg_config(&["use-data"], described), ["data", "glib-2.0", "linuxlib", "testlib", "wide"]);
    assert_eq!(pkg_config(&[], json!({ "strange": 1 })), ["strange"]);
}

#[test]
fn features_of_versions_choose_the_name() {
    let described = json!({
        "gst_gl": {
            "name": "gstreamer-gl-1.0", "version": "1.14",
            "v1_2": { "version": "1.2", "name": "gl-of-1.2" },
            "v1_18": { "version": ">= 1.18, < 2", "name": "gstreamer-gl-egl-1.0" },
            "v1_20": { "version": "1.20", "optional": true },
        },
    });
    assert_eq!(pkg_config(&[], described.clone()), ["gstreamer-gl-1.0"]);
    assert_eq!(pkg_config(&["v1_2"], described.clone()), ["gl-of-1.2"]);
    // 1.18 is more than 1.2.
    assert_eq!(pkg_config(&["v1_18", "v1_2"], described.clone()), ["gstreamer-gl-egl-1.0"]);
    assert_eq!(pkg_config(&["v1_18", "v1_20"], described), [""; 0]);
}
