//! `xbuild verify` reports the same about an image wherever it is, and in whatever form other tools have written it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::command::{Run, tool, xbuild};
use crate::support::docker::{Daemon, path_with};
use crate::support::docker26::{self, Store};
use crate::support::layout::Layout;
use crate::support::podman::{self, podman};
use crate::support::registry::Registry;
use crate::support::tools::{json, reference, skopeo};
use crate::verify::{Copy, Document};

/// Kind, severity and text of each finding, by platform.
type Findings = BTreeMap<String, Vec<[String; 3]>>;

/// All destinations for images, started once.
struct Places {
    registry: Registry,
    classic: Daemon,
    containerd: Daemon,
}

/// A good image, one whose entrypoint does not exist, and one with the program of another platform.
fn images() -> [(&'static str, Copy, Option<ExitCode>); 3] {
    let (lost, foreign) = (Copy::new(), Copy::new());
    lost.edit(|document, _, value| {
        if document == Document::Config {
            value["config"]["Entrypoint"] = serde_json::json!(["/usr/local/bin/ap"]);
        }
    });
    let layout = Layout::valid(&foreign.path());
    let amd64 = layout.image(layout.entries[0]["digest"].as_str().expect("a digest"), "linux/amd64");
    foreign.edit(|document, platform, value| match (document, platform) {
        (Document::Config, "arm64") => value["rootfs"] = amd64.config["rootfs"].clone(),
        (Document::Manifest, "arm64") => value["layers"] = amd64.manifest["layers"].clone(),
        _ => {}
    });
    [
        ("good", Copy::new(), None),
        ("lost", lost, Some(ExitCode::Unrunnable)),
        ("foreign", foreign, Some(ExitCode::Unsound)),
    ]
}

/// Returns the findings, after checking the exit code: it is that of the whole image if the destination has a faulty
/// platform.
#[track_caller]
fn findings(run: Run, code: Option<ExitCode>) -> Findings {
    let finished = run.run();
    assert!(!finished.stdout.is_empty(), "{}", finished.describe());
    let report = json(&finished.stdout);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut found = Findings::new();
    for platform in report["platforms"].as_array().expect("platforms") {
        let list = platform["findings"].as_array().expect("findings").iter();
        let list = list.map(|finding| ["check", "severity", "message"].map(|key| text(&finding[key])));
        found.insert(text(&platform["platform"]), list.collect());
    }
    let faulty = found.values().any(|list| !list.is_empty());
    let expected = code.filter(|_| faulty).map_or(0, |code| i32::from(code.number()));
    assert_eq!(finished.status.code(), Some(expected), "{}", finished.describe());
    found
}

fn verify(image: &str) -> Run {
    xbuild().args(["verify", "--json", image])
}

#[test]
fn an_image_is_the_same_in_every_place_and_form() {
    let places = Places {
        registry: Registry::open(),
        classic: Daemon::start(),
        containerd: docker26::start(Store::Containerd),
    };
    for (name, copy, code) in images() {
        let layout = copy.path();
        let expected = findings(verify(&layout.display().to_string()), code);
        assert_eq!(expected.keys().collect::<Vec<_>>(), ["linux/amd64", "linux/arm64"], "{name}");
        let faults: Vec<&str> = expected.values().flatten().map(|finding| &*finding[0]).collect();
        let known: &[&str] = match name {
            "good" => &[],
            "lost" => &["not-found", "not-found"],
            _ => &["foreign-programs", "wrong-architecture"],
        };
        assert_eq!(faults, known, "{name}");
        let work = crate::support::scratch();
        for (place, run, platforms) in places.all(name, &layout, work.path()) {
            let found = findings(run, code);
            assert_eq!(found.keys().collect::<Vec<_>>(), platforms, "{name} in {place}");
            for (platform, found) in found {
                assert_eq!(found, expected[&platform], "{name} in {place}");
            }
        }
    }
}

impl Places {
    /// Copies the image to all destinations. Returns the name of each, how it is verified there, and its platforms.
    fn all(
        &self,
        name: &str,
        layout: &Path,
        work: &Path,
    ) -> Vec<(&'static str, Run, &'static [&'static str])> {
        const BOTH: &[&str] = &["linux/amd64", "linux/arm64"];
        const OWN: &[&str] = &["linux/amd64"];
        let at = |file: &str| work.join(file).display().to_string();
        let mut all = vec![("a layout", verify(&reference(layout)), BOTH)];
        // Written by skopeo.
        let archive = format!("oci-archive:{}", at("oci.tar"));
        skopeo("linux/amd64")
            .words("copy --quiet --all")
            .args([&reference(layout), &archive])
            .run()
            .success();
        all.push(("an archive of skopeo's", verify(&archive), BOTH));
        let archive = format!("docker-archive:{}", at("docker.tar"));
        skopeo("linux/arm64").words("copy --quiet").args([&reference(layout), &archive]).run().success();
        all.push(("an archive for Docker of skopeo's", verify(&archive), &["linux/arm64"]));
        let remote = format!("docker://{}", self.registry.name(&format!("verified/{name}:1")));
        skopeo("linux/amd64")
            .words("copy --quiet --all --dest-tls-verify=false")
            .args([&reference(layout), &remote])
            .run()
            .success();
        all.push(("a registry", verify(&remote), BOTH));
        // podman.
        let image = format!("example.com/xbuild-tests/verified-{name}:1");
        let path = path_with(&work.join("podman"), &[("podman", &podman::script())]);
        let with_podman = |run: Run| run.env("PATH", &path);
        let stored = format!("podman:{image}");
        with_podman(xbuild().arg("copy").args([&reference(layout), &stored])).run().success();
        all.push(("podman", with_podman(verify(&stored)), BOTH));
        for (place, format) in
            [("podman save, OCI", "oci-archive"), ("podman save, Docker", "docker-archive")]
        {
            let file = at(&format!("podman-{format}.tar"));
            podman().words("save --quiet --format").args([format, "--output", &file, &image]).run().success();
            all.push((place, verify(&file), OWN));
        }
        // Docker 20.10, and 26 with containerd's store.
        let image = format!("verified-{name}:1");
        let stored = format!("docker-daemon:{image}");
        let classic = |run: Run| run.env("DOCKER_HOST", self.classic.host());
        classic(xbuild().arg("copy").args([&reference(layout), &stored])).run().success();
        all.push(("Docker", classic(verify(&stored)), OWN));
        let file = at("saved.tar");
        self.classic.docker().args(["save", "--output", &file, &image]).run().success();
        all.push(("docker save", verify(&file), OWN));
        let containerd = |run: Run| docker26::with(&self.containerd, run);
        containerd(xbuild().arg("copy").args([&reference(layout), &stored])).run().success();
        all.push(("Docker with containerd's store", containerd(verify(&stored)), BOTH));
        let file = at("saved26.tar");
        docker26::docker(&self.containerd).args(["save", "--output", &file, &image]).run().success();
        all.push(("docker save of containerd's store", verify(&file), BOTH));
        all
    }
}

/// Missing or changed bytes, in a layout, an archive of it, and a registry.
#[test]
fn damage_is_the_same_in_every_place() {
    let registry = Registry::open();
    let layer = |copy: &Copy| {
        let layout = Layout::valid(&copy.path());
        let digest = layout.entries[0]["digest"].as_str().expect("a digest").to_owned();
        let manifest = layout.image(&digest, "linux/arm64").manifest;
        manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned()
    };
    let archive = |copy: &Copy| {
        let file = copy.path().with_extension("tar");
        tool("tar").arg("-C").arg(copy.path()).arg("-cf").arg(&file).arg(".").run().success();
        format!("oci-archive:{}", file.display())
    };
    // Both platforms may share the layer.
    let kinds = |image: &str| -> Vec<String> {
        let found = findings(verify(image), Some(ExitCode::Unsound));
        let kinds: BTreeSet<String> = found.into_values().flatten().map(|[kind, ..]| kind).collect();
        kinds.into_iter().collect()
    };
    for (kind, damage) in [("missing-blob", None), ("wrong-digest", Some(1)), ("wrong-size", Some(0))] {
        let copy = Copy::new();
        let digest = layer(&copy);
        let blob = copy.path().join("blobs").join(digest.replace(':', "/"));
        let mut bytes = fs::read(&blob).expect("a layer");
        match damage {
            None => fs::remove_file(&blob).expect("a layer"),
            Some(keep) => {
                let last = bytes.pop().expect("a byte");
                bytes.extend(std::iter::repeat_n(!last, keep));
                fs::write(&blob, &bytes).expect("a layer");
            }
        }
        assert_eq!(kinds(&copy.path().display().to_string()), [kind]);
        assert_eq!(kinds(&archive(&copy)), [kind]);
    }
    let copy = Copy::new();
    let remote = format!("docker://{}", registry.name("damaged:1"));
    skopeo("linux/amd64")
        .words("copy --quiet --all --dest-tls-verify=false")
        .args([&reference(&copy.path()), &remote])
        .run()
        .success();
    assert_eq!(kinds(&remote), [""; 0]);
    let stored = registry.blob(&layer(&copy));
    let mut bytes = fs::read(&stored).expect("a blob that was pushed");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&stored, bytes).expect("the registry's storage");
    assert_eq!(kinds(&remote), ["wrong-digest"]);
    fs::remove_file(stored).expect("the registry's storage");
    assert_eq!(kinds(&remote), ["missing-blob"]);
}
