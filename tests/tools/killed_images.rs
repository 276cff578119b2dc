//! kill -9 while images are copied, two processes at a time: nothing is broken, and the next run removes what the dead
//! ones have left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::killed::{Numbers, rounds};
use crate::support::base::{self, Layer};
use crate::support::command::{Run, Running, xbuild};
use crate::support::docker::path_with;
use crate::support::layout::Layout;
use crate::support::podman::{self, podman};
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::{names, scratch};

/// The default number of rounds of each kind.
const ROUNDS: u32 = 12;
/// The same for rounds with podman, which is slow.
const LOADS: u32 = 6;
const VARIANTS: [&str; 2] = ["a", "b"];

/// Layouts `a` and `b` of one image each, which take a while to write, in their own directory.
struct Images {
    dir: tempfile::TempDir,
    digests: BTreeMap<&'static str, String>,
}

impl Images {
    fn new() -> Self {
        let dir = scratch();
        let mut digests = BTreeMap::new();
        for (seed, variant) in (1..).zip(VARIANTS) {
            let path = dir.path().join("from").join(variant);
            let mut numbers = Numbers::new(seed);
            let layers: Vec<Layer> = (0..4).map(|_| noise(&mut numbers)).collect();
            base::write_layers(&path, &layers, &serde_json::json!({}));
            let tags = Layout::valid(&path).tags();
            digests.insert(variant, tags.into_values().next().expect("an image"));
        }
        Self { dir, digests }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// xbuild in this directory, with its own directory for temporary files.
    fn xbuild(&self, words: &str) -> Run {
        fs::create_dir_all(self.path("tmp")).expect("a directory of the test");
        xbuild().dir(self.dir.path()).env("TMPDIR", self.path("tmp")).words(words)
    }

    /// Checks that a layout has some of the variants under their names, whole, or does not exist.
    fn check(&self, layout: &Path, what: &str) {
        if !layout.exists() {
            return;
        }
        let found = Layout::open(layout).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        for (tag, digest) in found.tags() {
            assert_eq!(self.digests.get(tag.as_str()), Some(&digest), "{what}: {tag}");
        }
    }

    /// Checks that a layout has all of them, and that nothing else is in it or beside it.
    fn check_whole(&self, dir: &str, what: &str) {
        let layout = self.path(dir).join("out");
        let found = Layout::valid(&layout);
        let tags: BTreeMap<_, _> =
            self.digests.iter().map(|(tag, digest)| ((*tag).into(), digest.clone())).collect();
        assert_eq!(found.tags(), tags, "{what}");
        assert_eq!(found.reachable, found.stored, "{what}: blobs have piled up");
        assert_eq!(names(&layout), ["blobs", "index.json", "oci-layout"], "{what}");
        assert_eq!(names(&layout.join("blobs")), ["sha256"], "{what}");
        assert_eq!(names(&self.path(dir)), ["out"], "{what}");
        assert_eq!(names(&self.path("tmp")), [""; 0], "{what}: temporary files are left");
    }
}

/// A layer that does not compress.
fn noise(numbers: &mut Numbers) -> Layer {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    let bytes: Vec<u8> = (0..1 << 20).map(|_| (numbers.next() * 256.0) as u8).collect();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, "noise", bytes.as_slice()).expect("in memory");
    let tar = builder.into_inner().expect("in memory");
    Layer { stored: tar.clone(), tar, media_type: "application/vnd.oci.image.layer.v1.tar" }
}

/// Starts two runs at once, kills one or both after a share of their duration, and waits for both. Returns how many
/// were killed.
fn kill_among(runs: [Run; 2], numbers: &mut Numbers, round: u32, duration: Duration) -> u32 {
    let mut running: Vec<Running> = runs.into_iter().map(Run::start).collect();
    let end = Instant::now() + duration.mul_f64(0.05 + numbers.next() * 0.7);
    while Instant::now() < end && running.iter_mut().any(|run| !run.has_ended()) {
        thread::sleep(Duration::from_millis(1));
    }
    for (at, run) in running.iter_mut().enumerate() {
        // In turn the first, the second, both.
        if (round % 3 == 2 || round as usize % 3 == at) && !run.has_ended() {
            run.signal(Signal::KILL);
        }
    }
    running.into_iter().map(|run| u32::from(run.wait().was_killed())).sum()
}

/// Rounds of `run`, which writes a variant to `directory/out`.
fn rounds_of(what: &str, images: &Images, run: &dyn Fn(&str) -> Run) {
    let (count, mut killed, mut absent) = (rounds(ROUNDS), 0, 0);
    let mut numbers = Numbers::new(7);
    let layout = images.path("to/out");
    let finish = || {
        let start = Instant::now();
        for variant in VARIANTS {
            run(variant).run().success();
        }
        start.elapsed()
    };
    let mut duration = finish();
    for round in 0..count {
        let what = format!("{what}, round {round}");
        if round % 2 == 0 {
            fs::remove_dir_all(images.path("to")).expect("a directory of the test");
        }
        // Two at once take about as long as one after the other.
        killed += kill_among(VARIANTS.map(run), &mut numbers, round, duration);
        absent += u32::from(!layout.exists());
        images.check(&layout, &what);
        duration = finish();
        images.check_whole("to", &what);
    }
    println!("{what}: {count} rounds, {killed} killed, {absent} times nothing was there");
    assert!(killed >= count / 4, "{what}: only {killed} runs were killed in {count} rounds");
}

#[test]
fn copies() {
    let images = Images::new();
    rounds_of("copy", &images, &|variant| {
        images.xbuild(&format!("copy oci:from/{variant} oci:to/out:{variant}"))
    });
}

#[test]
fn pulls() {
    let (images, registry) = (Images::new(), Registry::open());
    for variant in VARIANTS {
        images
            .xbuild(&format!("push oci:from/{variant} {}", registry.name(&format!("team/app:{variant}"))))
            .run()
            .success();
    }
    rounds_of("pull", &images, &|variant| {
        images.xbuild(&format!(
            "pull {} -o oci:to/out:{variant}",
            registry.name(&format!("team/app:{variant}"))
        ))
    });
}

#[test]
fn archives() {
    let images = Images::new();
    let (count, mut killed) = (rounds(ROUNDS), 0);
    let run =
        |variant: &str| images.xbuild(&format!("copy oci:from/{variant} oci-archive:to/out.tar:{variant}"));
    fs::create_dir_all(images.path("to")).expect("a directory of the test");
    let archive = images.path("to/out.tar");
    let (mut expected, mut duration) = (Vec::new(), Duration::ZERO);
    for variant in VARIANTS {
        duration += run(variant).run().success().elapsed;
        expected.push(fs::read(&archive).expect("an archive"));
    }
    let mut numbers = Numbers::new(8);
    for round in 0..count {
        if round % 2 == 0 {
            fs::remove_file(&archive).expect("an archive");
        }
        killed += kill_among(VARIANTS.map(run), &mut numbers, round, duration);
        if let Ok(found) = fs::read(&archive) {
            assert!(expected.contains(&found), "round {round}: a part of an archive is there");
        }
        duration = VARIANTS.iter().map(|variant| run(variant).run().success().elapsed).sum();
        assert_eq!(fs::read(&archive).expect("an archive"), expected[1], "round {round}");
        assert_eq!(names(&images.path("to")), ["out.tar"], "round {round}");
        assert_eq!(names(&images.path("tmp")), [""; 0], "round {round}: temporary files are left");
    }
    println!("archive: {count} rounds, {killed} killed");
    assert!(killed >= count / 4, "only {killed} runs were killed in {count} rounds");
}

/// Under a name, podman has one of the images or nothing, and none of the temporary names stay.
#[test]
fn loads() {
    let images = Images::new();
    let (count, mut killed) = (rounds(LOADS), 0);
    let name = |variant: &str| format!("localhost/xbuild-killed:{variant}");
    let path = path_with(&images.path("bin"), &[("podman", &podman::script())]);
    let run = |variant: &str| {
        let words = format!("copy oci:from/{variant} podman:{}", name(variant));
        images.xbuild(&words).env("PATH", &path)
    };
    let layers = |variant: &str| {
        let asked = podman().words("image inspect --format {{.RootFS.Layers}}").arg(name(variant)).run();
        asked.status.success().then_some(asked.stdout)
    };
    let remove = |variant: &&str| {
        podman().args(["rmi", "--force", "--ignore", &name(variant)]).run().success();
    };
    let finish = || -> Duration { VARIANTS.iter().map(|variant| run(variant).run().success().elapsed).sum() };
    let mut duration = finish();
    let expected = VARIANTS.map(|variant| layers(variant).expect("an image"));
    assert_ne!(expected[0], expected[1]);
    let mut numbers = Numbers::new(11);
    for round in 0..count {
        if round % 2 == 0 {
            VARIANTS.iter().for_each(remove);
        }
        killed += kill_among(VARIANTS.map(run), &mut numbers, round, duration);
        for (variant, expected) in VARIANTS.iter().zip(&expected) {
            assert!(layers(variant).is_none_or(|found| found == *expected), "round {round}: {variant}");
        }
        duration = finish();
        assert_eq!(VARIANTS.map(|variant| layers(variant).unwrap_or_default()), expected, "round {round}");
        // podman has finished by now what it was doing when xbuild died, and the next run sees it.
        run("a").run().success();
        let known = podman().args(["images", "--format", "{{.Repository}}"]).text();
        let dir = hex::encode(images.dir.path().as_os_str().as_encoded_bytes());
        assert!(!known.contains(&dir), "round {round}: {known}");
        assert_eq!(names(images.dir.path()), ["bin", "from", "tmp"], "round {round}");
        assert_eq!(names(&images.path("tmp")), [""; 0], "round {round}: temporary files are left");
    }
    VARIANTS.iter().for_each(remove);
    println!("load: {count} rounds, {killed} killed");
    assert!(killed >= count / 4, "only {killed} runs were killed in {count} rounds");
}

/// Two projects that fill one cache at the same time.
#[test]
fn cache_writes() {
    let (count, mut killed) = (rounds(ROUNDS), 0);
    let place = scratch();
    let cache = place.path().join("cache");
    let projects = VARIANTS.map(|variant| {
        let configuration = "platforms = [\"linux/amd64\"]\nbase = \"oci:base.tar\"\n\
             [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n";
        let project = Project::program(variant).file("xbuild.toml", configuration);
        let mut numbers = Numbers::new(5);
        let layers: Vec<Layer> = (0..4).map(|_| noise(&mut numbers)).collect();
        base::write_layers(&project.path("base"), &layers, &serde_json::json!({}));
        crate::support::command::tool("tar")
            .words("-C base -cf base.tar .")
            .dir(project.dir())
            .run()
            .success();
        project
    });
    let run = |at: usize| projects[at].build().env("XBUILD_CACHE_DIR", &cache);
    let mut numbers = Numbers::new(10);
    let expected = [0, 1].map(|at| run(at).run().success().digest());
    let mut duration = run(0).run().success().elapsed + run(1).run().success().elapsed;
    for round in 0..count {
        if round % 3 != 2 {
            fs::remove_dir_all(&cache).expect("a cache of the test");
        }
        killed += kill_among([run(0), run(1)], &mut numbers, round, duration);
        let start = Instant::now();
        assert_eq!([0, 1].map(|at| run(at).run().success().digest()), expected, "round {round}");
        duration = start.elapsed();
        let left = half_made(&cache);
        assert_eq!(left, [""; 0], "round {round}");
    }
    println!("cache: {count} rounds, {killed} killed");
    assert!(killed >= count / 4, "only {killed} runs were killed in {count} rounds");
}

/// What dead runs have left in a cache, except empty locks.
fn half_made(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for name in names(dir) {
        let path = dir.join(&name);
        if name.starts_with(".xbuild-") || name.ends_with(".partial") {
            found.push(path.display().to_string());
        } else if path.is_dir() {
            found.extend(half_made(&path));
        }
    }
    found
}
