//! `--load` and the engines' storage, with podman, Docker and containerd themselves.

use std::collections::BTreeSet;

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::command::{Run, xbuild};
use crate::support::docker::{Containerd, Daemon, path_with};
use crate::support::layout::Layout;
use crate::support::podman::{self, podman};
use crate::support::project::Project;
use crate::support::tools;

/// The run with podman on its `PATH`, in the tests' own storage.
fn with_podman(project: &Project, run: Run) -> Run {
    run.env("PATH", path_with(&project.path("bin"), &[("podman", &podman::script())]))
}

#[test]
fn podman_gets_every_platform_and_runs_its_own() {
    let project = Project::quick("loaded");
    let name = "example.com/xbuild-tests/loaded:1";
    let load = || with_podman(&project, project.build().args(["--load=podman", "--tag", name]));
    let digest = load().run().success().digest();
    let layout = Layout::valid(&project.default_layout("loaded"));
    let list = tools::json(&podman().args(["manifest", "inspect", name]).text());
    let found: BTreeSet<&str> = list["manifests"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|entry| entry["digest"].as_str())
        .collect();
    let index = layout.document(&digest);
    let expected: BTreeSet<&str> = index["manifests"]
        .as_array()
        .expect("an index")
        .iter()
        .filter_map(|entry| entry["digest"].as_str())
        .collect();
    assert_eq!(found, expected, "podman has other images than the layout");
    let said = podman().args(["run", "--rm", "--network", "none", name]).text();
    assert_eq!(said, "loaded on x86_64\n");
    // The ID that `-q` prints can be run: the image of podman's own platform.
    let quiet = with_podman(&project, project.build().args(["--load=podman", "--quiet", "--tag", name]));
    let id = quiet.text();
    assert_eq!(podman().words("run --rm --network none").arg(id.trim()).text(), "loaded on x86_64\n");
    // Load a changed image: the name moves, and no image of ours keeps another name.
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    load().run().success();
    assert_eq!(podman().args(["run", "--rm", "--network", "none", name]).text(), "changed\n");
    let names = podman().args(["images", "--format", "{{.Repository}}"]).text();
    assert!(!names.contains("xbuild-load"), "{names}");
    // Copy it back out of podman's storage.
    let copy = with_podman(&project, xbuild().dir(project.dir()).arg("copy"));
    copy.arg(format!("podman:{name}")).arg("back").run().success();
    let back = Layout::valid(&project.path("back"));
    let digest = back.tags().remove("1").expect("an image that kept its name");
    let platforms: Vec<String> = back.images(&digest).into_iter().map(|image| image.platform).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    podman().args(["manifest", "rm", name]).run().success();
}

#[test]
fn docker_gets_its_own_platform_and_runs_it() {
    let daemon = Daemon::start();
    let project = Project::quick("loaded");
    let build = |words: &str| project.build().words(words).env("DOCKER_HOST", daemon.host());
    let id = build("--load=docker --tag team/loaded:1 --tag loaded:2 --quiet").text();
    for name in ["team/loaded:1", "loaded:2", id.trim()] {
        let said = daemon.docker().args(["run", "--rm", "--network", "none", name]).text();
        assert_eq!(said, "loaded on x86_64\n");
    }
    // Its ID is the one that `--iidfile` has for a build for one platform.
    build("--platform amd64 --iidfile id --output type=docker,dest=one.tar --tag one:1").run().success();
    let id = std::fs::read_to_string(project.path("id")).expect("the file of IDs");
    let archive = project.path("one.tar");
    daemon.docker().args(["load", "--input"]).arg(&archive).run().success();
    let inspected = daemon.docker().args(["image", "inspect", "--format", "{{.Id}}", "one:1"]).text();
    assert_eq!(inspected.trim(), id);
    // Copy it back out of its storage.
    let copy = xbuild().dir(project.dir()).env("DOCKER_HOST", daemon.host());
    copy.words("copy docker-daemon:one:1 back").run().success();
    let back = Layout::valid(&project.path("back"));
    let manifest = back.document(back.tags().values().next().expect("an image"));
    assert_eq!(manifest["config"]["digest"], id.as_str());
    // And load it from a layout.
    let copy = xbuild().dir(project.dir()).env("DOCKER_HOST", daemon.host());
    copy.words("copy back docker-daemon:again:3").run().success();
    let said = daemon.docker().words("run --rm --network none again:3").text();
    assert_eq!(said, "loaded on x86_64\n");
    // Docker cannot use an image for another platform only.
    let run = build("--platform arm64 --load=docker").run();
    run.fails(ExitCode::NoImage, &["linux/amd64", "linux/arm64", "hint", "--platform linux/amd64"]);
}

#[test]
fn containerds_image_store_takes_all_platforms() {
    let containerd = Containerd::start();
    let project = Project::quick("loaded");
    let digest = project
        .build()
        .words("--tag example.com/team/loaded:1 --output type=oci,dest=all.tar")
        .run()
        .success();
    let import = containerd.ctr().words("images import --all-platforms").arg(project.path("all.tar"));
    import.run().success();
    let list = containerd.ctr().words("images ls").text();
    let line =
        list.lines().find(|line| line.contains("example.com/team/loaded:1")).expect("the image's name");
    assert!(line.contains(&digest.digest()), "{list}");
    assert!(line.contains("linux/amd64") && line.contains("linux/arm64"), "{list}");
}

#[test]
fn an_engine_that_is_not_there_is_known_before_anything_is_compiled() {
    let project = Project::quick("app");
    // Only cargo and what the test puts there are on this PATH.
    let cargo = which::which("cargo").expect("cargo runs these tests");
    let only = |scripts: &[(&str, &str)]| {
        let dir = project.path("bin");
        path_with(&dir, scripts);
        let dirs = [dir, cargo.parent().expect("a directory").to_owned()];
        std::env::join_paths(dirs).expect("paths without a colon")
    };
    let build = |words: &str, path: std::ffi::OsString| project.build().words(words).env("PATH", path).run();
    build("--load=podman", only(&[])).fails(ExitCode::Engine, &["podman", "not on PATH", "hint"]);
    build("--load", only(&[])).fails(ExitCode::Engine, &["neither `docker` nor `podman`", "hint"]);
    let down = "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n";
    let run = build("--load", only(&[("docker", down)]));
    run.fails(ExitCode::Engine, &["does not answer", "Cannot connect", "hint", "podman"]);
    assert!(!project.path("target/x86_64-unknown-linux-musl").exists(), "it was compiled");
    let run =
        xbuild().dir(project.dir()).words("inspect docker-daemon:x").env("PATH", only(&[("docker", down)]));
    run.run().fails(ExitCode::Engine, &["Cannot connect"]);
}

#[test]
fn an_engine_that_hangs_is_given_up() {
    let project = Project::quick("app");
    let hangs = "#!/bin/sh\nexec sleep 1000\n";
    let path = path_with(&project.path("bin"), &[("docker", hangs)]);
    let run = project.build().words("--load=docker --timeout 2s").env("PATH", path).run();
    run.fails(ExitCode::TimedOut, &["2s"]);
    assert!(!project.path("target/x86_64-unknown-linux-musl").exists(), "it was compiled");
}

#[test]
fn an_image_that_an_engine_lacks() {
    let project = Project::quick("app");
    let run = with_podman(&project, xbuild().words("inspect podman:localhost/nothing-like-it:1"));
    run.run().fails(ExitCode::NoImage, &["podman has no image", "nothing-like-it", "hint"]);
}

/// podman's handling of an archive for Docker.
#[test]
fn podman_loads_an_archive_for_docker() {
    let project = Project::quick("archived");
    let name = "example.com/xbuild-tests/archived:1";
    let words = format!("--platform amd64 --tag {name} --output type=docker,dest=d.tar");
    project.build().words(&words).run().success();
    podman().args(["load", "--input"]).arg(project.path("d.tar")).run().success();
    let said = podman().args(["run", "--rm", "--network", "none", name]).text();
    assert_eq!(said, "archived on x86_64\n");
    let inspected: Value = tools::json(&podman().args(["image", "inspect", name]).text());
    assert_eq!(inspected[0]["Architecture"], "amd64");
}
