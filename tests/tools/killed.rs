//! After kill -9 at any moment, there is no layout, a valid old one or a valid new one, and the next run succeeds.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::command::Run;
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::{base, names};

/// Kills for each of the two cases: with and without an existing layout.
const KILLS: u32 = 40;

/// The rounds of a test: the usual number, or the number in `XBUILD_TEST_KILLS`.
pub(crate) fn rounds(usual: u32) -> u32 {
    std::env::var("XBUILD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// A sequence of numbers that is the same in every run (splitmix64), so that a failure can be reproduced.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to 1.
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let top = u32::try_from((mixed ^ (mixed >> 31)) >> 32).expect("32 bits");
        f64::from(top) / (f64::from(u32::MAX) + 1.0)
    }
}

/// A project whose image takes long enough to write that a kill interrupts it: a base, and a few megabytes of files
/// that do not compress.
fn project() -> Project {
    let project = Project::program("app").file(
        "xbuild.toml",
        "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"oci:base:base\"\n\
         [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n\
         [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"\n\
         [[files]]\nfrom = \"noise\"\nto = \"/noise\"\n",
    );
    base::write(&project.path("base"), &["linux/amd64", "linux/arm64"]);
    let mut numbers = Numbers(1);
    fs::create_dir(project.path("noise")).expect("a directory of the test");
    for file in 0..4 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        let noise: Vec<u8> = (0..3 << 20).map(|_| (numbers.next() * 256.0) as u8).collect();
        fs::write(project.path(&format!("noise/{file}")), noise).expect("a directory of the test");
    }
    project
}

/// A build into `images/out`; the variant's label makes it a different image.
fn build(project: &Project, variant: &str) -> Run {
    project.build().words("--output images/out --label").arg(format!("variant={variant}"))
}

/// Runs a build to its end. Returns its digest and how long it took. The next kill is timed by that, since other tests
/// make the machine faster and slower.
fn finish(project: &Project, variant: &str) -> (String, Duration) {
    let finished = build(project, variant).run().success();
    (finished.digest(), finished.elapsed)
}

/// Starts a build, and kills it after `share` of a run's duration. Half of the moments are in the last part of a run,
/// where the image is written.
fn kill(project: &Project, variant: &str, duration: Duration, share: f64) -> bool {
    let mut running = build(project, variant).start();
    let end = Instant::now() + duration.mul_f64(share);
    while Instant::now() < end && !running.has_ended() {
        thread::sleep(Duration::from_millis(1));
    }
    if !running.has_ended() {
        running.signal(Signal::KILL);
    }
    running.wait().was_killed()
}

fn moment(numbers: &mut Numbers, round: u32) -> f64 {
    let number = numbers.next();
    if round.is_multiple_of(2) { number * 1.1 } else { 0.5 + number * 0.6 }
}

/// What killed runs have left beside and in the layout, except empty lock files.
fn leftovers(dir: &Path) -> Vec<String> {
    let weighs = |path: &Path| path.is_dir() || fs::metadata(path).is_ok_and(|file| file.len() > 0);
    let mut found = Vec::new();
    for (dir, expected) in [
        (dir.to_owned(), vec!["out"]),
        (dir.join("out"), vec!["blobs", "index.json", "oci-layout"]),
        (dir.join("out/blobs"), vec!["sha256"]),
    ] {
        for name in names(&dir) {
            if !expected.contains(&name.as_str()) && weighs(&dir.join(&name)) {
                found.push(dir.join(name).display().to_string());
            }
        }
    }
    found
}

#[test]
fn over_an_existing_layout() {
    let project = project();
    let out = project.path("images/out");
    let mut digests = [String::new(), String::new()];
    for (digest, variant) in digests.iter_mut().zip(["a", "b"]) {
        *digest = build(&project, variant).run().success().digest();
    }
    let mut duration = finish(&project, "b").1;
    let (mut numbers, mut killed, mut outcomes) = (Numbers(2), 0, [0, 0]);
    let kills = rounds(KILLS);
    for round in 0..kills {
        // The layout holds one variant; the killed run would replace it by the other.
        let (old, new) = if round % 2 == 0 { (1, 0) } else { (0, 1) };
        killed += u32::from(kill(&project, ["a", "b"][new], duration, moment(&mut numbers, round)));
        let layout = Layout::open(&out).unwrap_or_else(|fault| panic!("round {round}: {fault}"));
        let found = layout.tags().remove("").expect("an image");
        let outcome = [old, new].iter().position(|variant| digests[*variant] == found);
        outcomes[outcome.unwrap_or_else(|| panic!("round {round}: {found} is neither old nor new"))] += 1;
        let next;
        (next, duration) = finish(&project, ["a", "b"][new]);
        assert_eq!(next, digests[new], "round {round}");
        let layout = Layout::valid(&out);
        assert_eq!(layout.reachable, layout.stored, "round {round}: blobs have piled up");
        assert_eq!(leftovers(&project.path("images")), [""; 0], "round {round}");
    }
    // Otherwise the test has proved nothing.
    assert!(killed >= kills / 2, "only {killed} of {kills} runs were killed in time");
    assert!(outcomes[0] > 0, "no kill came before the new image was there: {outcomes:?}");
}

#[test]
fn over_no_layout() {
    let project = project();
    let (images, out) = (project.path("images"), project.path("images/out"));
    build(&project, "a").run().success();
    let (digest, mut duration) = finish(&project, "a");
    let (mut numbers, mut killed, mut absent) = (Numbers(3), 0, 0);
    let kills = rounds(KILLS);
    for round in 0..kills {
        fs::remove_dir_all(&images).expect("a directory of the test");
        killed += u32::from(kill(&project, "a", duration, moment(&mut numbers, round)));
        if out.exists() {
            let layout = Layout::open(&out).unwrap_or_else(|fault| panic!("round {round}: {fault}"));
            assert_eq!(layout.tags().remove("").as_ref(), Some(&digest), "round {round}");
        } else {
            absent += 1;
        }
        let next;
        (next, duration) = finish(&project, "a");
        assert_eq!(next, digest, "round {round}");
        Layout::valid(&out);
        assert_eq!(leftovers(&images), [""; 0], "round {round}");
    }
    assert!(killed >= kills / 2, "only {killed} of {kills} runs were killed in time");
    assert!(absent > 0, "no kill came before the layout was there");
}

/// Archives, reports and files beside a destination: existing ones are whole, and the next run removes everything that
/// a dead one has left.
#[test]
fn over_archives_and_files() {
    let project = project();
    let images = project.path("images");
    fs::create_dir(&images).expect("a directory of the test");
    let words = "--output type=oci,dest=images/out.tar --output type=tar,dest=images/root.tar --output \
                 type=local,dest=images/files --metadata-file images/metadata.json --label variant=";
    let build = |variant: &str| project.build().words(&format!("{words}{variant}"));
    let content = || {
        let read = |name: &str| fs::read(images.join(name)).ok();
        [read("out.tar"), read("metadata.json")]
    };
    let mut expected = Vec::new();
    let mut duration = Duration::ZERO;
    for variant in ["a", "b", "b"] {
        duration = build(variant).run().success().elapsed;
        expected.push(content());
    }
    let mut rest = names(&images);
    let (mut numbers, mut killed) = (Numbers(4), 0);
    let kills = rounds(KILLS / 2);
    for round in 0..kills {
        let variant = ["a", "b"][round as usize % 2];
        let mut running = build(variant).start();
        let end = Instant::now() + duration.mul_f64(moment(&mut numbers, round));
        while Instant::now() < end && !running.has_ended() {
            thread::sleep(Duration::from_millis(1));
        }
        if !running.has_ended() {
            running.signal(Signal::KILL);
        }
        killed += u32::from(running.wait().was_killed());
        for (at, found) in content().into_iter().enumerate() {
            let whole = expected.iter().any(|expected| expected[at] == found);
            assert!(whole, "round {round}: a part of an image is there");
        }
        let finished = build(variant).run().success();
        duration = finished.elapsed;
        assert_eq!(content(), expected[round as usize % 2], "round {round}");
        rest.sort();
        assert_eq!(names(&images), rest, "round {round}");
    }
    assert!(killed >= kills / 4, "only {killed} of {kills} runs were killed in time");
}
