//! `xbuild verify`: a good image in every form, and images that differ from it in one respect each.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::command::{Finished, tool, xbuild};
use crate::support::layout::{Layout, digest_of};
use crate::support::project::Project;
use crate::support::tools::{json, reference, skopeo};
use crate::support::{copy_dir, scratch};

/// An image for two platforms, static programs on an empty base, built once.
static GOOD: LazyLock<(Project, PathBuf)> = LazyLock::new(|| {
    let project = Project::quick("app").file("etc/app.conf", "x = 1\n");
    project.write(
        "xbuild.toml",
        "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"scratch\"\n\
         [[files]]\nfrom = \"etc/app.conf\"\nto = \"/etc/app.conf\"\n",
    );
    project.build().words("--tag example.org/app:1.0").run().success();
    let layout = project.default_layout("app");
    (project, layout)
});

/// A copy of the good image, to be changed.
pub(crate) struct Copy {
    dir: tempfile::TempDir,
}

/// Which document is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Config,
    Manifest,
    Index,
}

impl Copy {
    pub(crate) fn new() -> Self {
        let copy = Self { dir: scratch() };
        copy_dir(&GOOD.1, &copy.path());
        copy
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        let digest = digest.as_str().expect("a digest");
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    fn read(&self, descriptor: &Value) -> Value {
        json(&fs::read_to_string(self.blob(&descriptor["digest"])).expect("a blob"))
    }

    /// Stores a blob and updates the descriptor.
    fn store(&self, descriptor: &mut Value, bytes: &[u8]) {
        descriptor["digest"] = digest_of(bytes).into();
        descriptor["size"] = bytes.len().into();
        fs::write(self.blob(&descriptor["digest"]), bytes).expect("a directory of the test");
    }

    /// Changes documents and updates their digests. The platform is that of the entry, and empty for the index itself.
    pub(crate) fn edit(&self, alter: impl Fn(Document, &str, &mut Value)) -> &Self {
        let mut root = json(&fs::read_to_string(self.path().join("index.json")).expect("a layout"));
        let mut index = self.read(&root["manifests"][0]);
        for entry in index["manifests"].as_array_mut().expect("manifests") {
            let platform = entry["platform"]["architecture"].as_str().expect("a platform").to_owned();
            let mut manifest = self.read(entry);
            let mut config = self.read(&manifest["config"]);
            alter(Document::Config, &platform, &mut config);
            self.store(&mut manifest["config"], config.to_string().as_bytes());
            alter(Document::Manifest, &platform, &mut manifest);
            self.store(entry, manifest.to_string().as_bytes());
        }
        alter(Document::Index, "", &mut index);
        self.store(&mut root["manifests"][0], index.to_string().as_bytes());
        fs::write(self.path().join("index.json"), root.to_string()).expect("a directory of the test");
        self
    }

    /// Replaces the tar archive of every layer and updates the documents.
    fn edit_layers(&self, alter: impl Fn(Vec<u8>) -> Vec<u8>) -> &Self {
        let (mut root, mut index) = {
            let root = json(&fs::read_to_string(self.path().join("index.json")).expect("a layout"));
            let index = self.read(&root["manifests"][0]);
            (root, index)
        };
        for entry in index["manifests"].as_array_mut().expect("manifests") {
            let mut manifest = self.read(entry);
            let mut config = self.read(&manifest["config"]);
            for (at, layer) in manifest["layers"].as_array_mut().expect("layers").iter_mut().enumerate() {
                let bytes = fs::read(self.blob(&layer["digest"])).expect("a layer");
                let mut tar = Vec::new();
                flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut tar).expect("gzip");
                let tar = alter(tar);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&tar).expect("in memory");
                self.store(layer, &encoder.finish().expect("in memory"));
                config["rootfs"]["diff_ids"][at] = digest_of(&tar).into();
            }
            self.store(&mut manifest["config"], config.to_string().as_bytes());
            self.store(entry, manifest.to_string().as_bytes());
        }
        self.store(&mut root["manifests"][0], index.to_string().as_bytes());
        fs::write(self.path().join("index.json"), root.to_string()).expect("a directory of the test");
        self
    }

    fn verify(&self) -> Verdict {
        verify(&self.path(), "")
    }
}

/// The output of `xbuild verify --json`.
struct Verdict {
    finished: Finished,
    report: Value,
}

fn verify(image: &Path, options: &str) -> Verdict {
    let finished = xbuild().arg("verify").arg(image).arg("--json").words(options).run();
    let report = if finished.stdout.is_empty() { Value::Null } else { json(&finished.stdout) };
    Verdict { finished, report }
}

impl Verdict {
    /// The kinds of findings of the image as a whole and of each platform, sorted.
    fn checks(&self) -> Vec<String> {
        let platforms = self.report["platforms"].as_array().expect("platforms");
        let lists = std::iter::once(&self.report["findings"]).chain(platforms.iter().map(|p| &p["findings"]));
        let mut checks: Vec<String> = lists
            .flat_map(|list| list.as_array().expect("findings"))
            .map(|finding| finding["check"].as_str().expect("a kind").to_owned())
            .collect();
        checks.sort();
        checks.dedup();
        checks
    }

    #[track_caller]
    fn is(&self, code: Option<ExitCode>, checks: &[&str]) {
        let number = code.map_or(0, |code| i32::from(code.number()));
        assert_eq!(self.finished.status.code(), Some(number), "{}", self.finished.describe());
        assert_eq!(self.checks(), checks, "{}", self.finished.describe());
    }
}

const UNSOUND: Option<ExitCode> = Some(ExitCode::Unsound);

#[test]
fn a_good_image_is_good_in_every_form() {
    let (dir, layout) = (scratch(), &GOOD.1);
    let verdict = verify(layout, "--strict");
    verdict.is(None, &[]);
    let platforms = verdict.report["platforms"].as_array().expect("platforms");
    let names: Vec<&str> = platforms.iter().filter_map(|platform| platform["platform"].as_str()).collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
    for platform in platforms {
        assert_eq!(platform["runs"], true);
        assert_eq!(platform["checked"], json!(["/usr/local/bin/app"]));
    }
    // The same image as written by other tools.
    let archive = dir.path().join("oci.tar");
    let to = format!("oci-archive:{}", archive.display());
    skopeo("linux/amd64").words("copy --quiet --all").arg(reference(layout)).arg(to).run().success();
    verify(&archive, "").is(None, &[]);
    let docker = dir.path().join("docker.tar");
    let to = format!("docker-archive:{}:example.org/app:1.0", docker.display());
    skopeo("linux/arm64").words("copy --quiet").arg(reference(layout)).arg(to).run().success();
    let verdict = verify(&docker, "");
    verdict.is(None, &[]);
    assert_eq!(verdict.report["platforms"][0]["platform"], "linux/arm64");
    // From another builder: umoci adds a layer.
    let other = Copy::new();
    let single = dir.path().join("single");
    let to = format!("oci:{}:image", single.display());
    skopeo("linux/amd64").words("copy --quiet").arg(reference(&other.path())).arg(to).run().success();
    let file = dir.path().join("file");
    fs::write(&file, "text").expect("a directory of the test");
    tool("umoci")
        .words("insert --rootless --image")
        .arg(format!("{}:image", single.display()))
        .arg(&file)
        .arg("/opt/file")
        .run()
        .success();
    // umoci leaves out the padding of the last file and the end of the archive.
    verify(&single, "").is(None, &["no-end"]);
}

#[test]
fn it_is_told_to_people_too() {
    let shown = xbuild().arg("verify").arg(&GOOD.1).run().success();
    for word in ["linux/amd64     ok", "linux/arm64     ok", "2 layers, ", "1 file checked"] {
        assert!(shown.stdout.contains(word), "{}", shown.describe());
    }
    let copy = Copy::new();
    copy.edit(|document, _, value| {
        if document == Document::Config {
            value["config"]["Entrypoint"] = json!(["/usr/local/bin/ap"]);
        }
    });
    let shown = xbuild().arg("verify").arg(copy.path()).run();
    assert_eq!(shown.status.code(), Some(i32::from(ExitCode::Unrunnable.number())), "{}", shown.describe());
    assert!(shown.stdout.contains("error[not-found]"), "{}", shown.describe());
    assert!(shown.stdout.contains("hint: "), "{}", shown.describe());
    shown.tells(&["has 2 errors"]);
    xbuild().words("verify ./nowhere").run().fails(ExitCode::NoImage, &["nowhere", "hint: "]);
    let only = xbuild().words("verify --platform linux/s390x").arg(&GOOD.1).run();
    only.fails(ExitCode::NoImage, &["linux/s390x", "linux/amd64, linux/arm64"]);
    let one = verify(&GOOD.1, "--platform linux/arm64");
    assert_eq!(one.report["platforms"].as_array().map(Vec::len), Some(1));
}

#[test]
fn damaged_blobs_are_found() {
    let blobs = |copy: &Copy| {
        let layout = Layout::valid(&copy.path());
        let index = layout.document(layout.entries[0]["digest"].as_str().expect("a digest"));
        let manifest = layout.document(index["manifests"][0]["digest"].as_str().expect("a digest"));
        (copy.blob(&manifest["layers"][0]["digest"]), copy.blob(&manifest["config"]["digest"]))
    };
    let copy = Copy::new();
    fs::remove_file(blobs(&copy).0).expect("a layer");
    copy.verify().is(UNSOUND, &["missing-blob"]);

    let copy = Copy::new();
    let layer = blobs(&copy).0;
    let bytes = fs::read(&layer).expect("a layer");
    fs::write(&layer, &bytes[..bytes.len() - 1]).expect("a layer");
    copy.verify().is(UNSOUND, &["wrong-size"]);
    let mut altered = bytes.clone();
    *altered.last_mut().expect("a byte") ^= 1;
    fs::write(&layer, &altered).expect("a layer");
    copy.verify().is(UNSOUND, &["wrong-digest"]);

    let copy = Copy::new();
    let config = blobs(&copy).1;
    fs::write(&config, fs::read_to_string(&config).expect("a config").replace("amd64", "amd46"))
        .expect("a config");
    let verdict = copy.verify();
    verdict.is(UNSOUND, &["wrong-digest"]);
    // The other platform is checked all the same.
    assert_eq!(verdict.report["platforms"][1]["runs"], true);
}

#[test]
fn documents_that_contradict_each_other_are_found() {
    type Alter = fn(Document, &str, &mut Value);
    let cases: [(Alter, &[&str]); 6] = [
        (
            |document, _, value| {
                if document == Document::Config {
                    value["rootfs"]["diff_ids"][0] = digest_of(b"something else").into();
                }
            },
            &["wrong-diff-id"],
        ),
        (
            |document, _, value| {
                if document == Document::Config {
                    value["rootfs"]["diff_ids"].as_array_mut().expect("a list").pop();
                }
            },
            &["layer-count"],
        ),
        (
            |document, _, value| {
                if document == Document::Config {
                    value["history"].as_array_mut().expect("a list").pop();
                }
            },
            &["history"],
        ),
        (
            |document, platform, value| {
                if document == Document::Config && platform == "arm64" {
                    value["architecture"] = "amd64".into();
                }
            },
            &["platform-mismatch"],
        ),
        (
            |document, _, value| {
                if document == Document::Manifest {
                    value["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
                }
            },
            &["media-type"],
        ),
        (
            |document, _, value| {
                if document == Document::Index {
                    let second = value["manifests"][1].clone();
                    value["manifests"][0]["platform"] = second["platform"].clone();
                }
            },
            &["foreign-programs", "platform-mismatch", "platform-twice", "wrong-architecture"],
        ),
    ];
    for (alter, checks) in cases {
        let copy = Copy::new();
        copy.edit(alter).verify().is(UNSOUND, checks);
    }
}

#[test]
fn one_platforms_programs_in_another_are_found() {
    let copy = Copy::new();
    let layout = Layout::valid(&copy.path());
    let digest = layout.entries[0]["digest"].as_str().expect("a digest").to_owned();
    let amd64 = layout.image(&digest, "linux/amd64");
    copy.edit(|document, platform, value| match (document, platform) {
        (Document::Config, "arm64") => value["rootfs"] = amd64.config["rootfs"].clone(),
        (Document::Manifest, "arm64") => value["layers"] = amd64.manifest["layers"].clone(),
        _ => {}
    });
    let verdict = copy.verify();
    verdict.is(UNSOUND, &["foreign-programs", "same-layer", "wrong-architecture"]);
    let same = &verdict.report["findings"][0];
    assert_eq!(same["platforms"], json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(same["example"], "usr/local/bin/app");
    // The layer with only a text is the same on both platforms, which is fine.
    assert_eq!(verdict.report["findings"].as_array().map(Vec::len), Some(1), "{}", verdict.report);
    assert_eq!(verdict.report["platforms"][0]["runs"], true);
    assert_eq!(verdict.report["platforms"][1]["runs"], false);
}

#[test]
fn what_follows_an_archive_and_what_it_lacks_is_found() {
    let copy = Copy::new();
    copy.edit_layers(|mut tar| {
        tar.extend(b"garbage");
        tar
    });
    copy.verify().is(UNSOUND, &["trailing-bytes"]);
    let copy = Copy::new();
    copy.edit_layers(|mut tar| {
        let end = tar.iter().rposition(|byte| *byte != 0).expect("entries") / 512 * 512 + 512;
        tar.truncate(end);
        tar
    });
    copy.verify().is(None, &["no-end"]);
    verify(&copy.path(), "--strict").is(UNSOUND, &["no-end", "unreachable-blob"]);
    // In the middle of a file.
    let copy = Copy::new();
    copy.edit_layers(|mut tar| {
        tar.truncate(700);
        tar
    });
    copy.verify().is(UNSOUND, &["broken-layer"]);
    // After the compressed stream.
    let copy = Copy::new();
    copy.edit(|document, platform, value| {
        if document == Document::Manifest && platform == "amd64" {
            let mut bytes = fs::read(copy.blob(&value["layers"][0]["digest"])).expect("a layer");
            bytes.extend(b"garbage");
            copy.store(&mut value["layers"][0], &bytes);
        }
    });
    copy.verify().is(UNSOUND, &["broken-layer"]);
}

#[test]
fn a_blob_that_nothing_leads_to_is_found_by_the_strict() {
    let copy = Copy::new();
    copy.store(&mut json!({}), b"stray");
    copy.verify().is(None, &[]);
    let verdict = verify(&copy.path(), "--strict");
    verdict.is(UNSOUND, &["unreachable-blob"]);
    verdict.finished.tells(&["has 1 warning, and --strict was given"]);
}
