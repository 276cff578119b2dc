//! Small images that refer to themselves many times, and reads that take long: every command ends soon, by itself or
//! when told to.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::{Finished, Run, xbuild};
use crate::support::layout::REF_NAME;
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::scratch;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The time limit of such a command. It takes far less, but the machine may be busy.
const SOON: Duration = Duration::from_secs(20);
/// How soon a run must end when told to.
const TOLD: Duration = Duration::from_secs(6);

fn index(layout: &Path, entries: &[Value], level: usize) -> Value {
    let document = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": { "level": level.to_string() },
    });
    base::blob(layout, INDEX, &base::document(&document))
}

/// An image below this many levels of indexes, two on each level, each of which names both of the next level `fan`
/// times. Thousands of paths lead to each of them.
fn lattice(layout: &Path, levels: usize, fan: usize) {
    base::write(layout, &["linux/amd64"]);
    let root: Value = json_of(&layout.join("index.json"));
    let mut below = [root["manifests"][0].clone(), root["manifests"][0].clone()];
    for entry in &mut below {
        entry.as_object_mut().expect("an entry").remove("annotations");
    }
    for level in 0..levels {
        let entries: Vec<Value> = (0..fan).map(|number| below[number % 2].clone()).collect();
        below = [index(layout, &entries, 2 * level), index(layout, &entries, 2 * level + 1)];
    }
    let mut top = below[0].clone();
    top["annotations"] = json!({ REF_NAME: "base" });
    fs::write(layout.join("index.json"), base::document(&json!({ "schemaVersion": 2, "manifests": [top] })))
        .expect("a directory of the test");
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a document")).expect("JSON")
}

/// Runs it and checks that it ends in time.
fn soon(run: Run, what: &str) -> Finished {
    let finished = run.run();
    println!("{what}: {:?}", finished.elapsed);
    assert!(finished.elapsed < SOON, "{what}: {}", finished.describe());
    finished
}

fn project_on(layout: &dyn Fn(&Path)) -> Project {
    let target = "[platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n";
    let project =
        Project::program("app").file("xbuild.toml", &format!("platforms = [\"linux/amd64\"]\n{target}"));
    layout(&project.path("base"));
    project
}

#[test]
fn an_index_that_leads_everywhere_is_walked_once() {
    // At the deepest level that is followed, with 60^6 paths to the image.
    let project = project_on(&|layout| lattice(layout, 6, 60));
    let registry = Registry::open();
    let name = registry.name("team/app:1");
    let unrunnable = |run: Run| {
        let finished = soon(run, "verify");
        assert_eq!(
            finished.status.code(),
            Some(ExitCode::Unrunnable.number().into()),
            "{}",
            finished.describe()
        );
    };
    unrunnable(project.xbuild().words("verify base"));
    let images = [
        "inspect base",
        "ls base",
        "copy base oci:copied",
        "copy base oci-archive:copied.tar",
        "copy oci-archive:copied.tar oci:again",
        "tag base :more",
        "index create base -o oci:merged",
        "build --base oci:base -o oci:built",
        "build --base oci-archive:copied.tar -o oci:built",
        "copy --platform linux/amd64 base oci:thin",
    ];
    for words in images {
        soon(project.xbuild().words(words), words).success();
    }
    soon(project.xbuild().words("push base").arg(&name), "push").success();
    for words in ["inspect", "ls"] {
        soon(project.xbuild().words(words).arg(&name), words).success();
    }
    unrunnable(project.xbuild().arg("verify").arg(&name));
    soon(project.xbuild().arg("pull").arg(&name).words("-o oci:pulled"), "pull").success();
    soon(project.xbuild().words("build -o oci:built --base").arg(&name), "build").success();
    // A digest that no entry has is searched for everywhere.
    let nothing = format!("base@sha256:{}", "0".repeat(64));
    soon(project.xbuild().arg("inspect").arg(&nothing), "a digest")
        .fails(ExitCode::NoImage, &["has no image"]);
}

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
    finished.fails(ExitCode::Interrupted, &["interrupted", "was ended"]);
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
