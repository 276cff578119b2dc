//! Small images that refer to themselves many times, and reads that take long: every command ends soon, by itself or
//! when told to.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::xbuild;
use crate::support::lattice::{json_of, lattice, project_on, soon};
use crate::support::layout::REF_NAME;
use crate::support::scratch;

/// How soon a run must end when told to.
const TOLD: Duration = Duration::from_secs(6);

#[test]
fn an_index_that_is_too_deep_is_told() {
    let project = project_on(&|layout| lattice(layout, 40, 2));
    for words in [
        "inspect base",
        "ls base",
        "copy base oci:copied",
        "copy base oci-archive:copied.tar",
        "index create base -o oci:merged",
        "push base 127.0.0.1:1/team/app:1",
        "tag base :more",
    ] {
        soon(project.xbuild().words(words), words).fails(ExitCode::CorruptImage, &["is nested too deep"]);
    }
    let verified = soon(project.xbuild().words("verify base"), "verify");
    assert!(verified.stdout.contains("too-deep"), "{}", verified.describe());
    assert_eq!(verified.status.code(), Some(ExitCode::Unsound.number().into()));
    soon(project.xbuild().words("build --base oci:base -o oci:built"), "build")
        .fails(ExitCode::CorruptBase, &["is nested too deep"]);
}

#[test]
fn a_list_of_many_images_is_read_once() {
    let dir = scratch();
    let layout = dir.path().join("many");
    base::write(&layout, &["linux/amd64"]);
    let image = json_of(&layout.join("index.json"))["manifests"][0].clone();
    // Every entry is an index of its own with the same name: too many to compare each with each.
    let entry = |number: usize| {
        let mut entry = image.clone();
        entry["annotations"] = json!({ REF_NAME: format!("name-{}", number / 2) });
        entry["digest"] = json!(format!("sha256:{number:064x}"));
        entry
    };
    let entries: Vec<Value> = (0..12_000).map(entry).collect();
    let document = base::document(&json!({ "schemaVersion": 2, "manifests": entries }));
    assert!(document.len() < 4 << 20);
    fs::write(layout.join("index.json"), document).expect("a directory of the test");
    let run = |words: &str| soon(xbuild().dir(dir.path()).words(words), words);
    let told = run("inspect many");
    assert!(told.stderr.len() < 10_000, "{} bytes", told.stderr.len());
    told.fails(ExitCode::NoImage, &["has not one image", " and 11980 more"]);
    run("inspect many:other").fails(ExitCode::NoImage, &["has no image", " and 11980 more"]);
}

#[test]
fn reading_that_goes_on_for_long_ends_when_it_is_told_to() {
    // A layer of a few kilobytes that unpacks to one file of 40 GiB.
    let dir = scratch();
    let layout = dir.path().join("large");
    let zeros = zstd::encode_all(&vec![0; 64 << 20][..], 1).expect("in memory");
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros").expect("a name");
    header.set_mode(0o644);
    header.set_size(40 << 30);
    header.set_cksum();
    let mut stored = zstd::encode_all(&header.as_bytes()[..], 1).expect("in memory");
    stored.extend(zeros.repeat(641));
    let media_type = "application/vnd.oci.image.layer.v1.tar+zstd";
    base::write_layers(&layout, &[base::Layer { tar: Vec::new(), stored, media_type }], &json!({}));
    let mut running = xbuild().arg("verify").arg(&layout).env("XBUILD_CACHE_DIR", dir.path()).start();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!running.has_ended(), "it ended too early: {}", running.stderr());
    let start = Instant::now();
    running.signal(Signal::INT);
    let finished = running.wait();
    assert!(start.elapsed() < TOLD, "{:?}: {}", start.elapsed(), finished.describe());
    finished.fails(ExitCode::Interrupted, &["interrupted"]);
}

#[test]
fn what_does_not_react_is_ended() {
    // A pipe without a writer: reading from it ends only with the process.
    let dir = scratch();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
    let start = |signals: u32| {
        let run = xbuild().dir(dir.path()).words("index create --dry-run -f pipe");
        let mut running = run.start();
        std::thread::sleep(Duration::from_secs(1));
        assert!(!running.has_ended(), "it ended too early: {}", running.stderr());
        let start = Instant::now();
        for _ in 0..signals {
            running.signal(Signal::INT);
            std::thread::sleep(Duration::from_millis(200));
        }
        let finished = running.wait();
        (start.elapsed(), finished)
    };
    let (elapsed, finished) = start(1);
    assert!(elapsed > Duration::from_secs(4) && elapsed < Duration::from_secs(9), "{elapsed:?}");
    finished.fails(ExitCode::Interrupted, &["interrupted", "was killed"]);
    // The second signal does not wait.
    let (elapsed, finished) = start(2);
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    assert_eq!(
        finished.status.code(),
        Some(ExitCode::Interrupted.number().into()),
        "{}",
        finished.describe()
    );
}
