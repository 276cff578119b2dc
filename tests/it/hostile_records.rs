//! Locks that xbuild has not written: each is refused by its name, soon, and with little memory.

use std::fs;

use xbuild::error::ExitCode;

use crate::support::bounds::bounded;
use crate::support::command::tool;
use crate::support::project::Project;

fn image(change: &[(&str, &str)]) -> String {
    let digest = format!("\"sha256:{}\"", "a".repeat(64));
    let fields = [
        ("base", "\"oci:base:base\""),
        ("platform", "\"linux/amd64\""),
        ("digest", digest.as_str()),
        ("size", "400"),
        ("media-type", "\"application/vnd.oci.image.manifest.v1+json\""),
    ];
    format!("version = 2\n\n[[image]]\n{}", with(&fields, change))
}

fn apt(packages: &[String], change: &[(&str, &str)]) -> String {
    let digest = format!("\"sha256:{}\"", "b".repeat(64));
    let fields = [
        ("base", "\"apt:bookworm\""),
        ("platform", "\"linux/s390x\""),
        ("architecture", "\"s390x\""),
        ("release", "\"bookworm\""),
        ("recipe", digest.as_str()),
        ("digest", digest.as_str()),
        ("suites", "[\"bookworm\"]"),
        ("components", "[\"main\"]"),
    ];
    format!("version = 2\n\n[[apt]]\n{}{}", with(&fields, change), packages.concat())
}

fn package(change: &[(&str, &str)]) -> String {
    let digest = format!("\"{}\"", "c".repeat(64));
    let fields = [
        ("name", "\"libc6\""),
        ("version", "\"2.36-9\""),
        ("path", "\"pool/main/g/glibc/libc6.deb\""),
        ("size", "1"),
        ("sha256", digest.as_str()),
        ("why", "\"x\""),
    ];
    format!("\n[[apt.package]]\n{}", with(&fields, change))
}

/// Lines `key = value`; a change replaces a line, or is appended.
fn with(fields: &[(&str, &str)], change: &[(&str, &str)]) -> String {
    let value = |key: &str| change.iter().find(|(changed, _)| *changed == key).map(|(_, value)| *value);
    let lines = fields.iter().map(|(key, before)| format!("{key} = {}\n", value(key).unwrap_or(before)));
    let more = change.iter().filter(|(key, _)| fields.iter().all(|(known, _)| known != key));
    lines.chain(more.map(|(key, value)| format!("{key} = {value}\n"))).collect()
}

/// The name of a lock, its text, and the words of the refusal.
#[allow(clippy::too_many_lines, reason = "a table")]
fn locks() -> Vec<(&'static str, String, &'static str)> {
    let path = |path: &str| apt(&[package(&[("path", path)])], &[]);
    let escape = "\"\\u001b[2J\\u0007evil\"";
    vec![
        ("empty", String::new(), "missing field `version`"),
        ("a text as version", "version = \"2\"\n".into(), "invalid type: string"),
        ("a later format", "version = 4\nnew = 1\n".into(), "version 4"),
        ("format 0", "version = 0\n".into(), "version 0"),
        ("a large version", "version = 99999999999\n".into(), "version 99999999999"),
        ("a version beyond 64 bits", format!("version = {}\n", "9".repeat(1 << 20)), "version 9999"),
        ("a negative version", "version = -2\n".into(), "version -2"),
        ("a control character", "version = 2\n\u{1}\n".into(), "expected `=`"),
        ("deep arrays", format!("version = 2\nx = {}\n", "[".repeat(200_000)), "recursion"),
        ("deep tables", format!("version = 2\nx = {}1\n", "{a=".repeat(200_000)), "recursion"),
        ("deep keys", format!("version = 2\n{}a = 1\n", "a.".repeat(200_000)), "recursion limit"),
        ("deep headers", format!("version = 2\n[{}a]\n", "a.".repeat(200_000)), "recursion limit"),
        ("a long text", format!("version = 2\nx = \"{}", "x".repeat(8 << 20)), "invalid basic string"),
        ("a key twice", "version = 2\nversion = 2\n".into(), "duplicate key"),
        ("a table twice", "version = 2\n[rust]\nversion = \"1.0.0\"\n[rust]\n".into(), "duplicate key"),
        ("an unknown key", "version = 2\nnew-key = 1\n".into(), "unknown field `new-key`"),
        ("an unknown key of a package", apt(&[package(&[("md5", "\"x\"")])], &[]), "unknown field `md5`"),
        ("a version of Rust", "version = 2\n[rust]\nversion = \"x\"\n".into(), "unexpected character 'x'"),
        ("Rust as a list", "version = 2\nrust = [1]\n".into(), "expected semver"),
        (
            "files of zig",
            "version = 2\n[zig]\nversion = \"0.17.1\"\nfiles = \"sha256:00\"\n".into(),
            "sha256:00",
        ),
        ("a short digest", image(&[("digest", "\"sha256:aaaa\"")]), "sha256:aaaa"),
        ("a long digest", image(&[("digest", &format!("\"sha256:{}\"", "a".repeat(65)))]), "sha256:aaa"),
        (
            "a digest in capitals",
            image(&[("digest", &format!("\"sha256:{}\"", "A".repeat(64)))]),
            "sha256:AAA",
        ),
        ("an unknown digest", image(&[("digest", &format!("\"md5:{}\"", "a".repeat(32)))]), "md5"),
        ("a digest that is a path", image(&[("digest", "\"sha256:../../../etc/passwd\"")]), "../"),
        ("a negative size", image(&[("size", "-1")]), "invalid value"),
        ("half a byte", image(&[("size", "0.5")]), "invalid type: floating point"),
        ("an image twice", image(&[]) + &image(&[])["version = 2\n".len()..], "twice"),
        ("a base twice", apt(&[], &[]) + &apt(&[], &[])["version = 2\n".len()..], "twice"),
        ("a package twice", apt(&[package(&[]), package(&[])], &[]), "the package libc6 twice"),
        ("a package's digest", apt(&[package(&[("sha256", "\"cc\"")])], &[]), "Invalid string length"),
        (
            "a package's digest in words",
            apt(&[package(&[("sha256", &format!("\"{}\"", "x".repeat(64)))])], &[]),
            "Invalid character 'x'",
        ),
        ("a path upwards", path("\"pool/../../etc/passwd\""), "is not valid in an archive"),
        ("a path from the root", path("\"/etc/passwd\""), "is not valid in an archive"),
        ("an empty path", path("\"\""), "is not valid in an archive"),
        ("a path with a query", path("\"pool/a?b\""), "is not valid in an archive"),
        ("a path with a line end", path("\"pool/a\\nb\""), "is not valid in an archive"),
        ("a path with a backslash", path("'pool\\a'"), "is not valid in an archive"),
        ("a moment", apt(&[], &[("snapshot", "\"yesterday\"")]), "not a time like"),
        ("a moment that is a path", apt(&[], &[("snapshot", "\"../20260801T000000Z\"")]), "not a time like"),
        (
            "what writes to a terminal",
            apt(&[package(&[("name", escape)]), package(&[("name", escape)])], &[]),
            "twice",
        ),
        ("a merge", "version = 2\n<<<<<<< ours\n=======\n>>>>>>> theirs\n".into(), "merge conflict"),
    ]
}

#[test]
fn locks_that_nobody_of_ours_has_written() {
    let project = Project::quick("app");
    let lock = project.path("xbuild.lock");
    let plan = |what: &str| bounded(project.xbuild().arg("plan"), what);
    let refused = |what: &str, words: &str| {
        let finished = plan(what);
        let code = finished.status.code();
        assert_eq!(code, Some(ExitCode::LockFile.number().into()), "{what}: {}", finished.describe());
        let said = &finished.stderr;
        assert!(said.contains(words) && said.contains("hint"), "{what}: {}", finished.describe());
        assert!(!said.contains('\u{1b}') && !said.contains('\u{7}'), "{what}: {said:?}");
    };
    let cases = locks();
    for (what, text, words) in &cases {
        fs::write(&lock, text).expect("a file of the test");
        refused(what, words);
    }
    // Not text, and not a file.
    fs::write(&lock, b"version = 2\n# \xff\xfe\n").expect("a file of the test");
    refused("no UTF-8", "not UTF-8");
    fs::File::create(&lock).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    refused("a terabyte", "more than 64 MiB");
    fs::remove_file(&lock).expect("ours");
    fs::create_dir(&lock).expect("a directory of the test");
    refused("a directory", "a directory and not a file");
    fs::remove_dir(&lock).expect("ours");
    tool("mkfifo").arg(&lock).run().success();
    refused("a pipe", "a pipe, a socket or a device");
    fs::remove_file(&lock).expect("ours");
    std::os::unix::fs::symlink("/dev/zero", &lock).expect("a link of the test");
    refused("a device", "a pipe, a socket or a device");
    fs::remove_file(&lock).expect("ours");
    assert!(cases.len() + 5 >= 35);

    // Large or unusual but valid locks: platforms and bases that are not built here do not matter.
    let many: Vec<String> =
        (0..20_000).map(|number| package(&[("name", format!("\"p{number}\"").as_str())])).collect();
    for (what, text) in [
        ("many packages", apt(&many, &[])),
        ("another platform", image(&[("platform", "\"windows/amd64\"")])),
        ("a platform that is none", image(&[("platform", "\"linux/../..\"")])),
        ("the oldest format", "version = 1\n".into()),
        ("a mark at its start", "\u{feff}version = 2\n".into()),
    ] {
        fs::write(&lock, text).expect("a file of the test");
        let finished = plan(what);
        assert!(finished.status.success(), "{what}: {}", finished.describe());
    }
}
