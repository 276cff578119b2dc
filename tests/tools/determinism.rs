//! The same input gives the same index digest, whatever surrounds the build.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::command::{Run, xbuild};
use crate::support::layout::Layout;
use crate::support::{copy_dir, repository, scratch};

/// Changes the surroundings of a run; it may write to the directory.
type Vary = fn(Run, &Path) -> Run;

/// A project with everything that leaks paths and order into programs: C code with `__FILE__`, a build script, a
/// library of its own, and panics with source locations.
fn write_project(dir: &Path) {
    copy_dir(&repository().join("tests/fixtures/leaky"), dir);
}

/// `xbuild build` of the project in `dir` for all three platforms.
fn build(dir: &Path) -> Run {
    xbuild().dir(dir).words("build").env("SOURCE_DATE_EPOCH", "1700000000").umask("022")
}

fn layout_of(dir: &Path) -> PathBuf {
    dir.join("target/xbuild/leaky")
}

/// Fails with the first difference between the layouts of two builds.
#[track_caller]
fn assert_same(what: &str, (dir, digest): &(PathBuf, String), (other, other_digest): &(PathBuf, String)) {
    if digest == other_digest {
        return;
    }
    let (one, two) = (Layout::valid(dir), Layout::valid(other));
    for (a, b) in one.images(digest).iter().zip(two.images(other_digest)) {
        assert_eq!(a.config, b.config, "{what}: the configurations differ");
        assert_eq!(a.manifest, b.manifest, "{what}: the manifests differ");
    }
    panic!("{what}: {digest} is not {other_digest}, though the manifests are the same");
}

#[test]
fn nothing_around_the_build_is_in_the_image() {
    let reference = scratch();
    write_project(reference.path());
    let first = build(reference.path()).run().success().digest();
    let first = (layout_of(reference.path()), first);

    let again = build(reference.path()).run().success().digest();
    assert_same("a second time in the same place", &first, &(first.0.clone(), again));

    // Each is a full build in a new directory with a name of another length, so all but the first differ in that too.
    let variations: [(&str, Vary); 5] = [
        ("another directory", |run, _| run),
        ("another umask and one job", |run, _| run.umask("077").words("-j 1")),
        ("two jobs, another time zone and locale", |run, _| {
            let run = run.words("-j 2").env("TZ", "Pacific/Kiritimati");
            run.env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8")
        }),
        ("another target directory", |run, scratch| run.arg("--target-dir").arg(scratch.join("elsewhere"))),
        ("another home of cargo", |run, scratch| run.env("CARGO_HOME", cargo_home(scratch))),
    ];
    for (number, (what, vary)) in variations.into_iter().enumerate() {
        let scratch = scratch();
        let dir = scratch.path().join("x".repeat(number * 7 + 1));
        fs::create_dir(&dir).expect("a directory of the test");
        write_project(&dir);
        let layout = scratch.path().join("image");
        let run = vary(build(&dir).arg("--output").arg(&layout), scratch.path());
        let digest = run.run().success().digest();
        assert_same(what, &first, &(layout, digest));
    }
}

/// A cargo home in another directory. Links to the configuration and to downloads keep this machine's access to its
/// registry.
fn cargo_home(scratch: &Path) -> PathBuf {
    let real = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let home = scratch.join("another cargo home");
    fs::create_dir(&home).expect("a directory of the test");
    for name in ["config.toml", "config"] {
        if real.join(name).exists() {
            std::os::unix::fs::symlink(real.join(name), home.join(name)).expect("a directory of the test");
        }
    }
    home
}

#[test]
fn the_date_is_an_input() {
    let dir = scratch();
    write_project(dir.path());
    let first = build(dir.path()).run().success().digest();
    let other = build(dir.path()).env("SOURCE_DATE_EPOCH", "1700000001").run().success().digest();
    assert_ne!(first, other);
}
