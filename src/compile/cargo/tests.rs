//! cargo is a shell script here, so that a test can say what it does.

use super::*;
use crate::report::Silent;
use crate::sys::fs;

const TRIPLES: [&str; 2] = ["aarch64-unknown-linux-gnu", "x86_64-unknown-linux-gnu"];

/// A project folder with a program in cargo's place: a shell script.
struct Setup {
    folder: fs::TempDir,
    settings: CargoSettings,
    binaries: Vec<Binary>,
}

impl Setup {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = format!("#!/bin/sh\ncd '{}'\n{script}\n", folder.path().display());
        fs::write_atomic(&folder.path().join("cargo"), script.as_bytes(), 0o755).unwrap();
        let binaries = ["a", "b"].map(|name| Binary {
            name: name.into(),
            package: "p".into(),
            package_id: "p#1".into(),
        });
        let settings = CargoSettings { profile: "release".into(), ..CargoSettings::default() };
        Self { folder, settings, binaries: binaries.into() }
    }

    fn request(&self) -> Request<'_> {
        let target = |triple: &&str| TargetRequest {
            triple: (*triple).into(),
            name: (*triple).into(),
            rustflags: vec!["-Clink-arg=a b\"c".into()],
            ..TargetRequest::default()
        };
        Request {
            cargo: Path::new("./cargo"),
            folder: self.folder.path(),
            manifest: Path::new("Cargo.toml"),
            target_directory: Path::new("/t"),
            settings: &self.settings,
            binaries: &self.binaries,
            targets: TRIPLES.iter().map(target).collect(),
            color: false,
            on_failure: OnFailure::KeepGoing,
        }
    }

    fn compile(&self, request: &Request<'_>) -> (Vec<String>, BTreeMap<String, CompileError>) {
        let cargo = self.folder.path().join("cargo");
        let request = Request { cargo: &cargo, ..request.clone() };
        let mut payloads = Vec::new();
        let failures = compile(&request, &Cancel::new(), &Silent, &mut |triple, binaries| {
            let names: Vec<_> = binaries.into_iter().map(|binary| binary.name).collect();
            payloads.push(format!("{triple}: {}", names.join(" ")));
        })
        .unwrap();
        (payloads, failures)
    }
}

fn message(triple: &str, name: &str) -> String {
    let target = serde_json::json!({
        "kind": ["bin"], "crate_types": ["bin"], "name": name, "src_path": "/p/src/main.rs",
        "edition": "2024", "doc": true, "doctest": false, "test": true
    });
    let message = serde_json::json!({
        "reason": "compiler-artifact", "package_id": "p#1", "manifest_path": "/p/Cargo.toml",
        "target": target, "filenames": [], "executable": format!("/t/{triple}/release/{name}"), "fresh": false,
        "profile": { "opt_level": "3", "debuginfo": 0, "debug_assertions": false, "overflow_checks": false,
            "test": false },
        "features": []
    });
    format!("echo '{message}'\n")
}

#[test]
fn payloads_are_told_apart_and_complete() {
    let script: String =
        ["b", "a"].iter().flat_map(|name| TRIPLES.map(|triple| message(triple, name))).collect();
    let setup = Setup::new(&script);
    let (payloads, failures) = setup.compile(&setup.request());
    assert_eq!(payloads, TRIPLES.map(|triple| format!("{triple}: a b")));
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn a_triple_that_fails_leaves_the_others_alone() {
    let script = message(TRIPLES[0], "a")
        + &message(TRIPLES[0], "b")
        + &message(TRIPLES[1], "a")
        + "echo 'error: linking for x86_64-unknown-linux-gnu failed' >&2; exit 101";
    let setup = Setup::new(&script);
    let (payloads, failures) = setup.compile(&setup.request());
    assert_eq!(payloads, [format!("{}: a b", TRIPLES[0])]);
    let error = failures[TRIPLES[1]].to_string();
    assert!(error.contains("`b`") && !error.contains("`a`") && error.contains("linking for"), "{error}");
    assert_eq!(failures.len(), 1);
}

#[test]
fn a_triple_s_time_limit_ends_it_and_the_others_go_on() {
    // The second triple hangs in the first process; the second process is asked for the first only.
    let script = format!(
        "case \"$*\" in *x86_64*) sleep 60;; *) {} {} ;; esac",
        message(TRIPLES[0], "a"),
        message(TRIPLES[0], "b")
    );
    let setup = Setup::new(&script);
    let mut request = setup.request();
    request.targets[1].limit = Some(Duration::from_millis(200));
    let (payloads, failures) = setup.compile(&request);
    assert_eq!(payloads, [format!("{}: a b", TRIPLES[0])]);
    assert!(matches!(failures[TRIPLES[1]], CompileError::TimedOut { .. }));
    assert_eq!(failures.len(), 1);
}

#[test]
fn flags_with_spaces_and_quotes_arrive_whole() {
    let setup = Setup::new("for a; do echo \"$a\"; done > arguments; echo \"$RUSTFLAGS\" >> arguments");
    setup.compile(&setup.request());
    let text = fs::read_to_string(setup.folder.path().join("arguments")).unwrap();
    let config =
        text.lines().find_map(|line| line.strip_prefix("target.x86_64-unknown-linux-gnu.rustflags="));
    let value: toml::Table = toml::from_str(&format!("flags = {}", config.unwrap())).unwrap();
    assert_eq!(value["flags"][0].as_str(), Some("-Clink-arg=a b\"c"));
    assert!(text.contains("--keep-going") && text.contains("--bin\na\n--bin\nb"), "{text}");
}

#[test]
fn a_cargo_that_does_not_exist_fails_the_whole_run() {
    let setup = Setup::new("");
    let missing = Path::new("/nonexistent/cargo");
    let request = Request { cargo: missing, ..setup.request() };
    let error = compile(&request, &Cancel::new(), &Silent, &mut |_, _| ()).unwrap_err();
    assert!(error.is_not_found());
}
