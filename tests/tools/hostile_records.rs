//! Records of the cache that xbuild has not written: each is refused by its name or ignored, soon, and with little
//! memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use xbuild::error::ExitCode;

use crate::support::bounds::bounded;
use crate::support::command::tool;
use crate::support::mirror::Mirror;
use crate::support::project::Project;
use crate::support::scratch;

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
