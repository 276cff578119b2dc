//! Where an image goes, what is printed, and what a second run leaves unchanged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::command::tool;
use crate::support::layout::{Layout, REF_NAME, digest_of};
use crate::support::project::Project;
use crate::support::{names, scratch, tools};

/// Every file below a directory with the digest of its content.
fn snapshot(dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for name in names(dir) {
        let path = dir.join(&name);
        if path.is_dir() {
            let below = snapshot(&path).into_iter();
            files.extend(below.map(|(path, digest)| (format!("{name}/{path}"), digest)));
        } else {
            files.insert(name, digest_of(&fs::read(path).expect("a file of the layout")));
        }
    }
    files
}

#[test]
fn the_default_is_a_layout_in_the_target_directory() {
    let project = Project::quick("app");
    let finished = project.build().run().success();
    let layout = Layout::valid(&project.default_layout("app"));
    assert_eq!(layout.tags(), BTreeMap::from([(String::new(), finished.digest())]));
    assert!(finished.stdout.contains("target/xbuild/app@sha256:"), "{}", finished.describe());
    assert_eq!(layout.reachable, layout.stored);
}

#[test]
fn build_is_the_default_command_and_takes_a_path() {
    let project = Project::quick("app");
    let first = project.build().run().success().digest();
    assert_eq!(project.xbuild().run().success().digest(), first);
    assert_eq!(project.xbuild().arg(".").run().success().digest(), first);
    let elsewhere = scratch();
    let from_elsewhere = project.xbuild().dir(elsewhere.path()).arg("build").arg(project.dir());
    assert_eq!(from_elsewhere.run().success().digest(), first);
    assert!(names(elsewhere.path()).is_empty(), "a relative default would be beside the project");
    let by_manifest = project.xbuild().dir(elsewhere.path()).arg("--manifest-path");
    assert_eq!(by_manifest.arg(project.path("Cargo.toml")).run().success().digest(), first);
}

#[test]
fn a_second_run_changes_nothing() {
    let project = Project::quick("app");
    let first = project.build().words("--tag app:1").run().success().digest();
    let before = snapshot(&project.default_layout("app"));
    let second = project.build().words("--tag app:1").run().success().digest();
    assert_eq!(first, second);
    assert_eq!(snapshot(&project.default_layout("app")), before);
}

#[test]
fn an_archive_is_the_same_image_and_the_same_bytes_every_time() {
    let project = Project::quick("app");
    let dir = project.build().words("--tag app:1 --output type=oci,dest=directory,tar=false").run().success();
    let archive = project.build().words("--tag app:1 --output type=oci,dest=image.tar").run().success();
    assert_eq!(dir.digest(), archive.digest());
    let first = fs::read(project.path("image.tar")).expect("the archive");
    project.build().words("--tag app:1 --output type=oci,dest=image.tar").run().success();
    assert!(fs::read(project.path("image.tar")).expect("the archive") == first, "the archive's bytes differ");

    fs::create_dir(project.path("unpacked")).expect("a directory of the test");
    tool("tar").words("-C unpacked -xf image.tar").dir(project.dir()).run().success();
    let unpacked = Layout::valid(&project.path("unpacked"));
    assert_eq!(unpacked.tags(), Layout::valid(&project.path("directory")).tags());
    let reference = format!("oci-archive:{}:1", project.path("image.tar").display());
    let inspected = tools::skopeo("linux/arm64").arg("inspect").arg(reference).text();
    assert_eq!(tools::json(&inspected)["Architecture"], "arm64");
}

#[test]
fn several_outputs_at_once() {
    let project = Project::quick("app");
    let run = project.build().words("--output one --output type=oci,dest=two.tar").run().success();
    assert_eq!(Layout::valid(&project.path("one")).tags().remove(""), Some(run.digest()));
    assert!(project.path("two.tar").is_file());
}

#[test]
fn other_tags_are_kept_and_ours_replaced() {
    let project = Project::quick("app");
    let build = |words: &str| project.build().words("--output image").words(words).run().success().digest();
    let one = build("--tag app:one");
    let two = build("--tag registry.example/team/app:two --label number=2");
    assert_ne!(one, two);
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(tag, digest)| ((*tag).to_owned(), (*digest).to_owned())).collect()
    };
    let layout = Layout::valid(&project.path("image"));
    assert_eq!(layout.tags(), expected(&[("one", &one), ("two", &two)]));
    let entry = layout.entries.iter().find(|entry| entry["annotations"][REF_NAME] == "two");
    let name = &entry.expect("it was found by its tag")["annotations"]["io.containerd.image.name"];
    assert_eq!(name, "registry.example/team/app:two");

    let three = build("--tag app:one --label number=3");
    let layout = Layout::valid(&project.path("image"));
    assert_eq!(layout.tags(), expected(&[("one", &three), ("two", &two)]));
    assert!(!layout.stored.contains(&one), "the replaced image's index is still stored");
    assert_eq!(layout.reachable, layout.stored);
}

#[test]
fn one_image_under_two_names() {
    let project = Project::quick("app");
    let digest = project.build().words("--tag app:1 --tag app:latest").run().success().stdout;
    let digest = digest.lines().next().and_then(|line| line.rsplit_once('@')).expect("a reference").1;
    let tags = Layout::valid(&project.default_layout("app")).tags();
    assert_eq!(tags.values().collect::<Vec<_>>(), [digest, digest]);
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["1", "latest"]);
}

#[test]
fn a_changed_program_replaces_the_untagged_image() {
    let project = Project::quick("app");
    let first = project.build().run().success().digest();
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    let second = project.build().run().success().digest();
    assert_ne!(first, second);
    let layout = Layout::valid(&project.default_layout("app"));
    assert_eq!(layout.tags(), BTreeMap::from([(String::new(), second)]));
    assert_eq!(layout.reachable, layout.stored, "blobs of the replaced image are still stored");
}

#[test]
fn files_of_other_programs_in_a_layout_are_left_alone() {
    let project = Project::quick("app");
    project.build().run().success();
    let note = project.default_layout("app").join("note.txt");
    fs::write(&note, "mine").expect("our own directory");
    project.write("src/main.rs", "fn main() {}\n");
    project.build().run().success();
    assert_eq!(fs::read_to_string(note).expect("it is still there"), "mine");
}

#[test]
fn a_blob_that_was_spoiled_is_written_again() {
    let project = Project::quick("app");
    let digest = project.build().run().success().digest();
    let layout = Layout::valid(&project.default_layout("app"));
    for blob in &layout.stored {
        let path = layout.path.join("blobs").join(blob.replace(':', "/"));
        let bytes = fs::read(&path).expect("a blob");
        fs::remove_file(&path).expect("our own file");
        fs::write(&path, vec![0; bytes.len()]).expect("our own file");
    }
    assert_eq!(project.build().run().success().digest(), digest);
    Layout::valid(&project.default_layout("app"));
}

#[test]
fn every_view_prints_the_reference_alone() {
    let project = Project::quick("app");
    let first = project.build().run().success().digest();
    for view in ["auto", "plain", "tty", "json", "quiet"] {
        let finished = project.build().args(["--progress", view]).run().success();
        assert_eq!(finished.digest(), first, "{view}");
        assert_eq!(finished.stderr.is_empty(), view == "quiet", "{}", finished.describe());
        if view == "json" {
            let events: Vec<Value> = finished.stderr.lines().map(tools::json).collect();
            let last = events.last().expect("events");
            assert_eq!((&last["event"], &last["digest"]), (&"published".into(), &first.clone().into()));
            let built = events.iter().filter(|event| event["event"] == "built").count();
            assert_eq!(built, 2, "{}", finished.describe());
        }
    }
}

#[test]
fn nobody_listens_and_the_image_is_built_all_the_same() {
    let project = Project::quick("app");
    // Both streams are closed as soon as anything is written.
    let closed = ["sh", "-c", "{ \"$@\" 2>&3; echo $? >code; } 3>&1 | true", "sh"];
    project.build().words("--progress plain").wrapped(closed).run();
    Layout::valid(&project.default_layout("app"));
    let code = fs::read_to_string(project.path("code")).expect("the exit code");
    assert_ne!(code.trim(), "101", "it panicked");
}

#[test]
fn created_is_the_commits_date() {
    let project = Project::quick("app");
    let hash = project.commit(1_600_000_000);
    let digest = project.build().env_remove("SOURCE_DATE_EPOCH").run().success().digest();
    let layout = Layout::valid(&project.default_layout("app"));
    for image in layout.images(&digest) {
        assert_eq!(image.config["created"], "2020-09-13T12:26:40Z");
        let annotations = &image.manifest["annotations"];
        assert_eq!(annotations["org.opencontainers.image.revision"], hash.as_str());
        assert_eq!(annotations["org.opencontainers.image.created"], "2020-09-13T12:26:40Z");
        assert_eq!(annotations["org.opencontainers.image.version"], "1.2.3");
    }
    let annotations = &layout.document(&digest)["annotations"];
    assert_eq!(annotations["org.opencontainers.image.revision"], hash.as_str());
}

#[test]
fn layers_are_compressed_as_asked() {
    let project = Project::quick("app");
    for (compression, media_type) in [
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("none", "application/vnd.oci.image.layer.v1.tar"),
    ] {
        let digest = project.build().args(["--compression", compression]).run().success().digest();
        for image in Layout::valid(&project.default_layout("app")).images(&digest) {
            for layer in image.manifest["layers"].as_array().expect("layers") {
                assert_eq!(layer["mediaType"], media_type);
            }
        }
    }
}
