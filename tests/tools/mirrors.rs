//! A mirror that is out of step, tampered with or broken is detected by Debian's real signatures and digests.

use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::command::{Finished, Run, xbuild};
use crate::support::mirror::{Alter, Mirror};
use crate::support::project::Project;
use crate::support::scratch;

/// The default base for one platform, with the host's own compiler and an empty cache, so that only Debian's packages
/// are fetched.
fn build(project: &Project, mirror: &Mirror, cache: &Path) -> Run {
    project
        .build()
        .words("--platform linux/amd64 --toolchain cargo")
        .env("XBUILD_CACHE_DIR", cache)
        .env("XBUILD_DEBIAN_MIRROR", mirror.url())
}

fn project() -> Project {
    Project::program("app").file("xbuild.toml", "[debian]\nsuites = [\"bookworm\"]\n")
}

fn run_against(alter: Alter) -> Finished {
    let (project, cache, mirror) = (project(), scratch(), Mirror::start(alter));
    let finished = build(&project, &mirror, cache.path()).run();
    assert!(mirror.altered() > 0, "asked for {:?}: {}", mirror.asked(), finished.describe());
    assert!(!project.default_layout("app").exists());
    finished
}

fn is_package(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "deb")
}

fn flip_a_bit(bytes: &mut [u8]) -> bool {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    true
}

#[test]
fn an_altered_package() {
    let finished = run_against(|path, bytes| is_package(path) && flip_a_bit(bytes));
    finished.fails(ExitCode::CorruptDownload, &["sha256", "hint"]);
}

#[test]
fn a_truncated_package() {
    let finished = run_against(|path, bytes| {
        let half = bytes.len() / 2;
        is_package(path) && {
            bytes.truncate(half);
            true
        }
    });
    finished.fails(ExitCode::CorruptDownload, &["hint"]);
}

#[test]
fn an_index_out_of_step_with_its_release() {
    let finished = run_against(|path, bytes| {
        (path.contains("/Packages.") || path.contains("/by-hash/")) && flip_a_bit(bytes)
    });
    finished.fails(
        ExitCode::OutOfStep,
        &["bookworm", "main", "amd64", "expected sha256:", "found sha256:", "hint", "mirror"],
    );
}

#[test]
fn doctor_finds_an_index_out_of_step_for_one_platform_alone() {
    let (cache, mirror) =
        (scratch(), Mirror::start(|path, bytes| path.contains("binary-arm64/") && flip_a_bit(bytes)));
    let run = xbuild()
        .arg("doctor")
        .env("XBUILD_CACHE_DIR", cache.path())
        .env("XBUILD_DEBIAN_MIRROR", mirror.url())
        .run();
    assert_eq!(run.status.code(), Some(ExitCode::Toolchain.number().into()), "{}", run.describe());
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(
        lines.iter().any(|line| line.contains("linux/arm64: ") && line.contains("out of step")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains("linux/amd64: ")), "{lines:?}");
}

#[test]
fn a_release_whose_text_was_altered() {
    let finished = run_against(|path, bytes| {
        // One digit of a digest in the signed text.
        let position = bytes.windows(8).position(|window| window == b"SHA256:\n").unwrap_or_default() + 10;
        path.ends_with("/InRelease") && {
            bytes[position] = if bytes[position] == b'0' { b'1' } else { b'0' };
            true
        }
    });
    finished.fails(ExitCode::BadSignature, &["bookworm", "hint"]);
}

#[test]
fn a_release_without_a_signature() {
    let finished = run_against(|path, bytes| {
        path.ends_with("/InRelease") && {
            *bytes = b"Origin: Debian\nSuite: oldstable\nCodename: bookworm\nSHA256:\n".to_vec();
            true
        }
    });
    finished.fails(ExitCode::BadSignature, &["hint"]);
}

#[test]
fn a_moment_that_is_asked_for_is_taken_from_the_snapshots_and_told() {
    let (project, cache, mirror) = (project(), scratch(), Mirror::start(|_, _| false));
    let moment = "20260801T000000Z";
    project.write("xbuild.toml", &format!("[debian]\nsuites = [\"bookworm\"]\nsnapshot = \"{moment}\"\n"));
    let plan = || {
        project
            .xbuild()
            .words("plan --platform linux/amd64 --toolchain cargo")
            .env("XBUILD_CACHE_DIR", cache.path())
            .env("XBUILD_DEBIAN_SNAPSHOT", mirror.snapshots())
    };
    let finished = plan().run().success();
    assert!(mirror.asked().iter().all(|path| path.starts_with(&format!("/snapshot/debian/{moment}/"))));
    let place = format!("from {}/debian/{moment} (the requested snapshot)", mirror.snapshots());
    let releases = finished.stdout.lines().find(|line| line.trim_start().starts_with("releases"));
    let releases = releases.unwrap_or_else(|| panic!("{}", finished.describe()));
    assert!(releases.contains("bookworm of 20") && releases.ends_with(&place), "{releases}");
    // As JSON, too, with every release's date.
    let json: serde_json::Value = serde_json::from_str(&plan().arg("--json").run().success().stdout).unwrap();
    let release = &json["platforms"][0]["base"]["releases"][0];
    assert_eq!(release["mirror-from"], "snapshot");
    assert_eq!(release["date"].as_str().unwrap().len(), 10, "{release}");
    // The release is of July 2026, and today is later.
    let warning =
        format!("Debian's bookworm {}", place.replacen("from ", "from `", 1).replacen(" (", "` (", 1));
    assert!(finished.stderr.contains(&format!("warning: {warning}")), "{}", finished.describe());
    assert!(finished.stderr.contains("days ago"), "{}", finished.describe());
}

#[test]
fn a_mirror_that_has_no_such_release_is_told_with_the_way_to_an_old_one() {
    let (project, cache, mirror) = (project(), scratch(), Mirror::start(|_, _| false));
    mirror.lose("/dists/");
    let finished = build(&project, &mirror, cache.path()).run();
    finished.fails(ExitCode::NoBase, &["has no suite bookworm", "snapshot = "]);
}

#[test]
fn what_was_fetched_once_serves_offline() {
    let (project, cache, mirror) = (project(), scratch(), Mirror::start(|_, _| false));
    let online = build(&project, &mirror, cache.path()).run().success().digest();
    let asked = mirror.asked().len();
    let offline = build(&project, &mirror, cache.path()).arg("--offline").run().success().digest();
    assert_eq!(online, offline);
    assert_eq!(mirror.asked().len(), asked, "offline, and yet it asked the mirror");
}

#[test]
fn a_cache_that_was_altered_is_not_believed() {
    let (project, cache, mirror) = (project(), scratch(), Mirror::start(|_, _| false));
    let before = build(&project, &mirror, cache.path()).run().success().digest();
    let mut spoiled = 0;
    let mut dirs = vec![cache.path().to_owned()];
    while let Some(dir) = dirs.pop() {
        for name in crate::support::names(&dir) {
            let path = dir.join(name);
            if path.is_dir() {
                dirs.push(path);
            } else if std::fs::metadata(&path).is_ok_and(|file| file.len() > 1000) {
                let mut bytes = std::fs::read(&path).expect("a file of the cache");
                flip_a_bit(&mut bytes);
                std::fs::remove_file(&path).expect("a file of the cache");
                std::fs::write(&path, bytes).expect("a file of the cache");
                spoiled += 1;
            }
        }
    }
    assert!(spoiled > 0);
    assert_eq!(build(&project, &mirror, cache.path()).run().success().digest(), before);
}
