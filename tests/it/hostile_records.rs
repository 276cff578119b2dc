//! Locks and records of the cache that xbuild has not written: each is refused by its name or ignored, soon, and with
//! little memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use xbuild::error::ExitCode;

use crate::support::command::{Finished, Run, tool};
use crate::support::mirror::Mirror;
use crate::support::project::Project;
use crate::support::scratch;

/// xbuild's own memory limit, in KiB.
const MEMORY: u64 = 256 << 10;
/// The time limit, for a busy machine.
const TIME: Duration = Duration::from_secs(60);

/// Runs it within the limits.
fn bounded(run: Run, what: &str) -> Finished {
    let (mut running, mut peak) = (run.start(), 0);
    while !running.has_ended() {
        peak = peak.max(running.peak());
        thread::sleep(Duration::from_millis(2));
    }
    let finished = running.wait();
    assert!(peak < MEMORY, "{what}: {peak} KiB");
    assert!(finished.elapsed < TIME, "{what}: {}", finished.describe());
    assert!(!finished.stderr.contains("panicked"), "{what}: {}", finished.describe());
    finished
}

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
        ("a later format", "version = 3\nnew = 1\n".into(), "version 3"),
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
        ("a moment", apt(&[], &[("snapshot", "\"yesterday\"")]), "no moment like"),
        ("a moment that is a path", apt(&[], &[("snapshot", "\"../20260801T000000Z\"")]), "no moment like"),
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

/// A change to a record.
type Change = (&'static str, fn(&Path), Expected);

/// The expected result.
#[derive(Clone, Copy)]
enum Expected {
    /// The record is ignored.
    Absent,
    /// The cache is refused, with these words.
    Refused(&'static str),
}

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a record of the test");
}

fn changes() -> Vec<Change> {
    use Expected::{Absent, Refused};
    vec![
        ("truncated", |path| put(path, &fs::read(path).expect("a record")[..20]), Absent),
        ("empty", |path| put(path, b""), Absent),
        ("foreign", |path| put(path, b"hello"), Absent),
        ("of another shape", |path| put(path, b"[null]"), Absent),
        ("deep", |path| put(path, "[".repeat(1 << 20).as_bytes()), Absent),
        ("no text", |path| put(path, &[0xff; 4096]), Absent),
        (
            "huge",
            |path| fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file"),
            Absent,
        ),
        (
            "a link to nothing",
            |path| {
                fs::remove_file(path).expect("ours");
                std::os::unix::fs::symlink("nothing", path).expect("a link of the test");
            },
            Absent,
        ),
        (
            "a link to a device",
            |path| {
                fs::remove_file(path).expect("ours");
                std::os::unix::fs::symlink("/dev/zero", path).expect("a link of the test");
            },
            Refused("a device"),
        ),
        (
            "a directory",
            |path| {
                fs::remove_file(path).expect("ours");
                fs::create_dir(path).expect("a directory of the test");
            },
            Refused("a directory and not a file"),
        ),
        (
            "a pipe",
            |path| {
                fs::remove_file(path).expect("ours");
                tool("mkfifo").arg(path).run().success();
            },
            Refused("a pipe"),
        ),
        ("the group's, too", |path| mode(path, 0o664), Refused("others may write to")),
        ("everybody's", |path| mode(path, 0o646), Refused("others may write to")),
    ]
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
}

/// The only file in a directory of the cache whose name ends like this.
fn record(dir: &Path, end: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory of the cache") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn records_of_the_cache_that_nobody_of_ours_has_written() {
    let (project, mirror) = (Project::program("app"), Mirror::start(|_, _| false));
    project.write("xbuild.toml", "platforms = [\"linux/amd64\"]\n[debian]\nsuites = [\"bookworm\"]\n");
    let place = scratch();
    let cache = place.path().join("cache");
    let run = |command: &str, what: &str| {
        let run = project.xbuild().words(command).words("--toolchain cargo");
        let run = run.env("XBUILD_CACHE_DIR", &cache).env("XBUILD_DEBIAN_MIRROR", mirror.url());
        bounded(run, what)
    };
    let digest = run("build", "at first").success().digest();
    for (name, dir, end, command) in [
        ("index", "rootfs", "", "build --offline"),
        ("base", "bases", ".json", "build --offline"),
        ("answer", "debian/resolved", "", "build --offline"),
        ("newest release", "debian/newest", "", "build"),
    ] {
        let path = record(&cache.join(dir), end);
        let before = fs::read(&path).expect("a record");
        for (what, change, expected) in changes() {
            change(&path);
            let what = format!("{name}, {what}");
            let finished = run(command, &what);
            match expected {
                Expected::Absent => assert_eq!(finished.success().digest(), digest, "{what}"),
                Expected::Refused(words) => {
                    let code = finished.status.code();
                    assert_eq!(
                        code,
                        Some(ExitCode::Cache.number().into()),
                        "{what}: {}",
                        finished.describe()
                    );
                    finished.tells(&[words, "hint"]);
                }
            }
            if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) }.expect("ours");
            put(&path, &before);
            mode(&path, 0o644);
        }
        assert_eq!(run(command, name).success().digest(), digest, "{name}");
    }
}
