//! Small layers with a large effect: whatever they contain, xbuild ends and uses less memory than docs/security.md
//! states.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use serde_json::json;
use tar::EntryType;
use xbuild::error::ExitCode;

use crate::support::base::{self, Layer};
use crate::support::command::{Finished, Run, xbuild};
use crate::support::project::Project;
use crate::support::scratch;

/// The memory limit for such a layer, in KiB.
const MEMORY: u64 = 256 << 10;
/// The address space limit, in bytes: an allocation beyond it fails before the machine runs out of memory.
const ADDRESSES: u64 = 8 << 30;
const TIME: Duration = Duration::from_secs(60);

type Entry = (String, EntryType, String);

fn file(path: String) -> Entry {
    (path, EntryType::Regular, String::new())
}

fn link(path: String, target: String) -> Entry {
    (path, EntryType::Symlink, target)
}

/// A layer of entries without content.
fn layer(entries: impl IntoIterator<Item = Entry>) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, target) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        header.set_entry_type(kind);
        let appended = if target.is_empty() {
            builder.append_data(&mut header, path, std::io::empty())
        } else {
            builder.append_link(&mut header, path, target)
        };
        appended.expect("in memory");
    }
    let tar = builder.into_inner().expect("in memory");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&tar).expect("in memory");
    let stored = encoder.finish().expect("in memory");
    Layer { tar, stored, media_type: "application/vnd.oci.image.layer.v1.tar+gzip" }
}

/// Files below two thousand directories each: as whole paths with all their ancestors, they would take gigabytes.
fn too_deep() -> Layer {
    let deep = "a/".repeat(2_000);
    layer((0..1_000).map(|number| file(format!("{number}/{deep}x"))))
}

/// Files below directories without entries: nearly as deep, and with nearly as long a path, as is allowed.
fn implied() -> Layer {
    let deep = "fifteen-letters/".repeat(240);
    layer((0..1_000).map(|number| file(format!("{number}/{deep}x"))))
}

fn long_path() -> Layer {
    layer([file("a/".repeat(2_048) + "x")])
}

/// Everything unusual that is allowed.
fn allowed() -> Layer {
    let names = (0..4_000).map(|number| file(format!("many/{number}")));
    let long = (0..1_000).map(|number| file(format!("long/{number:0>255}")));
    let deep = (0..20).map(|number| file(format!("deep/{number}/{}x", "a/".repeat(200))));
    let hard =
        (1..2_000).map(|number| (format!("hard/{number}"), EntryType::Link, format!("hard/{}", number - 1)));
    let whiteouts = (0..2_000).map(|_| file("gone/.wh.x".into()));
    let opaque = (0..2_000).map(|_| file("gone/.wh..wh..opq".into()));
    // Each resolves twice through the one before: the fifth through 31 links, the sixth through more than are followed.
    let doubling = (1..1_000).map(|number| {
        let before = number - 1;
        link(format!("links/{number}"), format!("{before}/../{before}"))
    });
    let through = (0..=5).map(|number| file(format!("links/{number}/{number}")));
    // A path through eight hundred directories to each file, and a link to itself.
    let winding = link("winding".into(), "many/../".repeat(400) + "long");
    let along = (0..200).map(|number| file(format!("winding/along-{number}")));
    let entries = names.chain(long).chain(deep).chain([file("hard/0".into())]).chain(hard);
    let entries = entries.chain(whiteouts).chain(opaque);
    let entries = entries.chain([file("links/0/x".into())]).chain(doubling).chain(through);
    layer(entries.chain([winding, link("itself".into(), "itself".into())]).chain(along))
}

/// Runs it to its end, and checks the limits.
fn bounded(run: Run, what: &str) -> Finished {
    // One arena, so that the measured memory is the memory that was allocated.
    let mut running = run.env("MALLOC_ARENA_MAX", "1").start();
    let mut peak = 0;
    while !running.has_ended() {
        peak = peak.max(running.peak());
        thread::sleep(Duration::from_millis(2));
    }
    let finished = running.wait();
    println!("{what}: {peak} KiB, {:?}", finished.elapsed);
    assert!(peak > 0 && peak < MEMORY, "{what}: {peak} KiB: {}", finished.describe());
    assert!(finished.elapsed < TIME, "{what}: {}", finished.describe());
    finished
}

fn verify(layer: Layer, what: &str) -> Finished {
    let dir = scratch();
    let layout = dir.path().join("layout");
    base::write_layers(&layout, &[layer], &json!({}));
    let run = xbuild().words("verify").arg(&layout).env("XBUILD_CACHE_DIR", dir.path().join("cache"));
    bounded(run.wrapped(["prlimit".to_owned(), format!("--as={ADDRESSES}")]), what)
}

fn build(layer: Layer, what: &str) -> (Project, Finished) {
    build_with(layer, what, "")
}

fn build_with(layer: Layer, what: &str, more: &str) -> (Project, Finished) {
    let project = Project::bare("app");
    base::write_layers(&project.path("base"), &[layer], &json!({}));
    let words = format!("--base oci:base -o type=tar,dest=files.tar -o type=local,dest=files {more}");
    let run = project.build().words(&words).env("XBUILD_CACHE_DIR", project.path("cache"));
    let finished = bounded(run, what);
    (project, finished)
}

/// The name of a layer, a function that makes it, and the words of the refusal.
type Refused = (&'static str, fn() -> Layer, &'static str);

#[test]
fn what_is_small_and_would_take_gigabytes_is_refused() {
    let cases: [Refused; 3] = [
        ("too deep", too_deep, "directories deep; at most 256 are supported"),
        ("implied", implied, "the paths in it take more than 268435456 bytes"),
        ("long path", long_path, "more than Linux accepts"),
    ];
    for (what, layer, words) in cases {
        let stored = layer().stored.len();
        assert!(stored < 100_000, "{what}: {stored} bytes");
        let finished = verify(layer(), what);
        let said = finished.stdout.contains("broken-layer") && finished.stdout.contains(words);
        assert!(said, "{what}: {}", finished.describe());
        assert_eq!(finished.status.code(), Some(ExitCode::Unsound.number().into()), "{what}");
        let (project, finished) = build(layer(), what);
        finished.fails(ExitCode::CorruptBase, &[words, "hint"]);
        assert!(!project.path("files.tar").exists() && !project.path("files").exists(), "{what}");
    }
}

#[test]
fn what_is_strange_and_allowed_is_an_image() {
    let finished = verify(allowed(), "allowed");
    assert!(!finished.stdout.contains("broken-layer"), "{}", finished.describe());
    let (project, finished) = build(allowed(), "allowed");
    finished.success();
    let count = |path: &str| fs::read_dir(project.path("files").join(path)).expect("an output").count();
    assert_eq!((count("many"), count("hard"), count("deep")), (4_000, 2_000, 20));
    // The files behind the winding link are at its target.
    assert_eq!(count("long"), 1_200);
    assert!(!project.path("files/gone/.wh.x").exists());
    let mut archive = tar::Archive::new(fs::File::open(project.path("files.tar")).expect("an output"));
    let paths = archive.entries().expect("an archive").map(|entry| {
        let entry = entry.expect("an entry");
        entry.path().expect("a path").into_owned()
    });
    assert_eq!(paths.filter(|path| path.starts_with("hard") && path.ends_with("1999")).count(), 1);
}

#[test]
fn what_lies_behind_more_links_than_are_followed_is_written_nowhere() {
    let around = link("around".into(), "around".into());
    let chain = (1..60).map(|number| link(format!("l{number}"), format!("l{}", number - 1)));
    let layer = |path: &str| {
        layer(
            [around.clone(), file("l0/x".into())].into_iter().chain(chain.clone()).chain([file(path.into())]),
        )
    };
    for (path, reason, told) in [
        ("around/y", "behind links that lead in a circle", "the links of `around/y` lead in a circle"),
        ("l59/y", "behind more than 40 links", "`l59/y` leads through 59 links"),
    ] {
        let verified = verify(layer(path), path);
        assert!(verified.stdout.contains(&format!("/{path} is {reason}")), "{}", verified.describe());
        let (project, finished) = build(layer(path), path);
        finished.fails(ExitCode::Unrunnable, &["refused-entry", path, reason, "hint"]);
        assert!(!project.path("files.tar").exists() && !project.path("files").exists(), "{path}");
        let (project, finished) = build_with(layer(path), path, "--check warn");
        finished.fails(ExitCode::CorruptImage, &[told, "hint"]);
        assert!(!project.path("files.tar").exists() && !project.path("files").exists(), "{path}");
    }
    build(layer("l40/y"), "l40/y").1.success();
}
