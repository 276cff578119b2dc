//! Which tools builds may need, for small graphs.

use serde_json::{Value, json};

use super::*;
use crate::payload::cargo::sample;

const HOST: &str = "x86_64-unknown-linux-gnu";
const ARM64: &str = "aarch64-unknown-linux-gnu";

/// A package with its version and its dependencies as (name, kind). A name that ends with `-macro` is a procedural
/// macro's; `app`, the program, and names that end with `-sys` have build scripts.
type Crate<'a> = (&'a str, &'a str, &'a [(&'a str, Option<&'a str>)]);

const BUILD: Option<&str> = Some("build");
const DEV: Option<&str> = Some("dev");

fn metadata(crates: &[Crate<'_>]) -> Metadata {
    let packages: Vec<Value> = crates
        .iter()
        .map(|(name, version, dependencies)| {
            let is_program = *name == "app";
            let mut package = if is_program {
                sample::package(name, &["app"], false, None)
            } else {
                sample::of_registry(name, version)
            };
            if name.ends_with("-macro") {
                package["targets"] = json!([sample::target("proc-macro", name, &[])]);
            }
            if is_program || name.ends_with("-sys") {
                let script = sample::target("custom-build", "build-script-build", &[]);
                package["targets"].as_array_mut().unwrap().push(script);
            }
            let dependency = |(name, kind): &(&str, Option<&str>)| {
                json!({
                    "name": name, "source": null, "req": "*", "kind": kind, "rename": null, "optional": false,
                    "uses_default_features": true, "features": [], "target": null, "registry": null
                })
            };
            package["dependencies"] = dependencies.iter().map(dependency).collect();
            package
        })
        .collect();
    sample::metadata(&packages)
}

/// The needs as `tool: package (dependency)`, on this machine, with these variables.
fn needs_with(
    metadata: &Metadata,
    kind: ProgramKind,
    targets: &[&str],
    variables: &[(&str, &str)],
) -> Vec<String> {
    let id = metadata.workspace_members[0].repr.clone();
    let binary = Binary { name: "app".into(), package: "app".into(), kind, package_id: id };
    let variable = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    let surroundings = Surroundings { host: HOST, targets, variable: &variable };
    needs(metadata, (&[binary], &BTreeMap::new()), surroundings)
        .into_iter()
        .flat_map(|(tool, by)| {
            by.into_iter().map(|NeededBy { package, through }| {
                format!("{}: {package} ({})", tool.name, through.as_deref().unwrap_or("itself"))
            })
        })
        .collect()
}

fn needs_of(crates: &[Crate<'_>]) -> Vec<String> {
    needs_with(&metadata(crates), ProgramKind::Bin, &[ARM64], &[])
}

#[test]
fn what_a_build_script_can_call_shows_what_it_may_need() {
    let direct = [("app", "1.0.0", &[("prost-build", BUILD)][..]), ("prost-build", "0.14.6", &[])];
    assert_eq!(needs_of(&direct), ["protoc: app (prost-build)"]);
    // Through another package, and for a package further down.
    let deep = [
        ("app", "1.0.0", &[("api-sys", None)][..]),
        ("api-sys", "1.0.0", &[("tonic-prost-build", BUILD)]),
        ("tonic-prost-build", "0.14.9", &[("prost-build", None)]),
        ("prost-build", "0.14.6", &[]),
    ];
    assert_eq!(needs_of(&deep), ["protoc: api-sys (tonic-prost-build)"]);
    // A program may depend on it as on any library, and then it does not run while it is built.
    let normal = [("app", "1.0.0", &[("prost-build", None)][..]), ("prost-build", "0.14.6", &[])];
    assert_eq!(needs_of(&normal), [""; 0]);
    // Old versions brought a protoc.
    let old = [("app", "1.0.0", &[("prost-build", BUILD)][..]), ("prost-build", "0.9.0", &[])];
    assert_eq!(needs_of(&old), [""; 0]);
}

#[test]
fn what_provides_the_tool_counts_for_the_build_script_that_uses_it() {
    for other in ["protoc-bin-vendored", "protoc-prebuilt", "protox"] {
        let crates = [
            ("app", "1.0.0", &[("prost-build", BUILD), (other, BUILD), ("api-sys", None)][..]),
            ("api-sys", "1.0.0", &[("prost-build", BUILD)]),
            ("prost-build", "0.14.6", &[]),
            (other, "1.0.0", &[]),
        ];
        assert_eq!(needs_of(&crates), ["protoc: api-sys (prost-build)"], "{other}");
    }
    // This one compiles it, which needs other tools.
    let crates = [
        ("app", "1.0.0", &[("prost-build", BUILD), ("protobuf-src", BUILD)][..]),
        ("prost-build", "0.14.6", &[]),
        ("protobuf-src", "2.1.1", &[("z-sys", None)]),
        ("z-sys", "1.0.0", &[("cmake", BUILD)]),
        ("cmake", "0.1.58", &[]),
    ];
    assert_eq!(needs_of(&crates), ["cmake: z-sys (cmake)", "make: z-sys (cmake)"]);
}

#[test]
fn builds_for_the_host_count_and_tests_do_not() {
    let crates = |kind| {
        metadata(&[
            ("app", "1.0.0", &[("a-macro", None), ("tool", BUILD), ("mock-sys", DEV)]),
            ("a-macro", "1.0.0", &[("helper", None)]),
            ("helper", "1.0.0", &[("capnpc", kind)]),
            ("tool", "1.0.0", &[("b-sys", None)]),
            ("b-sys", "1.0.0", &[("meson", BUILD)]),
            ("mock-sys", "1.0.0", &[("nasm-rs", BUILD)]),
            ("capnpc", "0.27.0", &[]),
            ("meson", "1.0.0", &[]),
            ("nasm-rs", "0.3.2", &[]),
        ])
    };
    let with = |kind, program| needs_with(&crates(kind), program, &[HOST], &[]);
    let found = with(None, ProgramKind::Bin);
    assert_eq!(found, ["ninja: b-sys (meson)", "meson: b-sys (meson)", "capnp: a-macro (helper)"]);
    // Without a build script, `helper` has nothing to call it from.
    assert_eq!(with(BUILD, ProgramKind::Bin), ["ninja: b-sys (meson)", "meson: b-sys (meson)"]);
    // Examples are built with the dependencies of tests.
    let found = with(BUILD, ProgramKind::Example);
    assert!(found.contains(&"nasm: mock-sys (nasm-rs)".to_owned()), "{found:?}");
}

#[test]
fn a_need_may_depend_on_the_target() {
    let nasm = [
        ("app", "1.0.0", &[("simd-sys", None), ("mozjpeg-sys", None)][..]),
        ("simd-sys", "1.0.0", &[("nasm-rs", BUILD)]),
        ("mozjpeg-sys", "2.2.3", &[("nasm-rs", BUILD)]),
        ("nasm-rs", "0.3.2", &[]),
    ];
    let of = |targets: &[&str]| needs_with(&metadata(&nasm), ProgramKind::Bin, targets, &[]);
    assert_eq!(of(&[ARM64]), [""; 0]);
    assert_eq!(of(&[ARM64, "i686-unknown-linux-gnu"]), ["nasm: simd-sys (nasm-rs)"]);
    let crypto = |version| {
        metadata(&[
            ("app", "1.0.0", &[("aws-lc-sys", None)]),
            ("aws-lc-sys", version, &[("cmake", BUILD)]),
            ("cmake", "0.1.58", &[]),
        ])
    };
    let of = |version, target| needs_with(&crypto(version), ProgramKind::Bin, &[target], &[]);
    assert_eq!(of("0.30.0", ARM64), [""; 0]);
    let arm = "armv7-unknown-linux-gnueabihf";
    assert_eq!(of("0.30.0", arm), ["cmake: aws-lc-sys (itself)", "libclang: aws-lc-sys (itself)"]);
    assert_eq!(of("0.47.0", arm), [""; 0]);
}

#[test]
fn dependencies_of_other_systems_do_not_count() {
    let crates = [("app", "1.0.0", &[("prost-build", BUILD)][..]), ("prost-build", "0.14.6", &[])];
    for (platform, counts) in [
        ("cfg(windows)", false),
        ("cfg(target_os = \"macos\")", false),
        ("cfg(any(windows, target_vendor = \"apple\"))", false),
        ("cfg(all(unix, not(target_os = \"linux\")))", false),
        ("x86_64-pc-windows-msvc", false),
        ("cfg(not(windows))", true),
        ("cfg(all(unix, target_arch = \"x86_64\"))", true),
        ("cfg(any(target_env = \"musl\", windows))", true),
        (ARM64, true),
    ] {
        let mut metadata = metadata(&crates);
        let nodes = &mut metadata.resolve.as_mut().unwrap().nodes;
        let kinds = nodes.iter_mut().flat_map(|node| &mut node.deps).flat_map(|dep| &mut dep.dep_kinds);
        kinds.for_each(|kind| kind.target = Some(platform.parse().unwrap()));
        let found = needs_with(&metadata, ProgramKind::Bin, &[ARM64], &[]);
        assert_eq!(!found.is_empty(), counts, "{platform}");
    }
}

#[test]
fn features_and_variables_count() {
    let clang = [
        ("app", "1.0.0", &[("bindgen", BUILD)][..]),
        ("bindgen", "0.73.2", &[("clang-sys", None)]),
        ("clang-sys", "1.9.1", &[]),
    ];
    let with_features = |features: &[&str]| {
        let mut metadata = metadata(&clang);
        let script = sample::target("custom-build", "build-script-build", &[]);
        metadata.packages[2].targets.push(serde_json::from_value(script).unwrap());
        let enabled = serde_json::from_value(json!(features)).unwrap();
        metadata.resolve.as_mut().unwrap().nodes[2].features = enabled;
        needs_with(&metadata, ProgramKind::Bin, &[ARM64], &[])
    };
    assert_eq!(with_features(&["runtime"]), ["libclang: app (bindgen)"]);
    assert_eq!(with_features(&[]), ["libclang: clang-sys (itself)"]);
    assert_eq!(with_features(&["static"]), ["libclang.a: clang-sys (itself)"]);
    let cmake = metadata(&[("app", "1.0.0", &[("cmake", BUILD)]), ("cmake", "0.1.58", &[])]);
    let with = |variables| needs_with(&cmake, ProgramKind::Bin, &[ARM64], variables);
    assert_eq!(with(&[]), ["cmake: app (cmake)", "make: app (cmake)"]);
    assert_eq!(with(&[("CMAKE_GENERATOR", "Ninja")]), ["cmake: app (cmake)", "ninja: app (cmake)"]);
}
