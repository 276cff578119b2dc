//! `--load` and `docker-daemon:` with both image stores of Docker 26: containerd's, which holds all platforms of an
//! image under one name, and the classic one, which holds one platform.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::command::{Run, xbuild};
use crate::support::docker::{Daemon, path_with};
use crate::support::docker26::{self, Store, docker};
use crate::support::layout::{Layout, digest_of};
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::{base, tools};

const NAME: &str = "example.com/team/loaded:1";
const PROGRAM: &str = "/usr/local/bin/loaded";

fn project() -> Project {
    Project::quick("loaded")
}

fn build(daemon: &Daemon, project: &Project, words: &str) -> Run {
    docker26::with(daemon, project.build().words(words))
}

fn run(daemon: &Daemon, project: &Project, words: &str) -> Run {
    docker26::with(daemon, xbuild().dir(project.dir()).words(words))
}

/// Makes the layout `three` in the project's directory, with three platforms: the project's two, and one of somebody
/// else's. Returns its digest.
fn three_platforms(project: &Project) -> String {
    base::write(&project.path("other"), &["linux/arm/v7"]);
    project.build().words("--output own").run().success();
    let words = "index create --output three --tag loaded:3 own other:base";
    xbuild().dir(project.dir()).words(words).run().success().digest()
}

/// A field of `docker image inspect`.
fn field(daemon: &Daemon, name: &str, field: &str) -> String {
    let format = format!("{{{{{field}}}}}");
    docker(daemon).args(["image", "inspect", "--format", &format, name]).text().trim().to_owned()
}

fn digest(daemon: &Daemon, project: &Project, image: &str) -> Value {
    tools::json(&run(daemon, project, "inspect --json").arg(image).text())["digest"].clone()
}

fn platforms(report: &str) -> Vec<String> {
    let report = tools::json(report);
    let platforms = report["platforms"].as_array().expect("platforms").iter();
    platforms.map(|platform| platform["platform"].as_str().expect("a platform").to_owned()).collect()
}

#[test]
fn containerds_store_gets_every_platform() {
    let (daemon, project) = (docker26::start(Store::Containerd), project());
    let words = format!("--load=docker --tag {NAME} --tag loaded:2 --iidfile id");
    let first = build(&daemon, &project, &words).run().success();
    let index = first.digest();
    first.tells(&["loaded", NAME, "loaded:2", "into docker", "linux/amd64, linux/arm64"]);
    assert_eq!(fs::read_to_string(project.path("id")).expect("the file of IDs"), index);
    for name in [NAME, "loaded:2"] {
        assert_eq!(field(&daemon, name, ".Id"), index, "{name}");
        assert_eq!(docker26::run(&daemon, "linux/amd64", name, PROGRAM).text(), "loaded on x86_64\n");
        assert_eq!(docker26::run(&daemon, "linux/arm64", name, PROGRAM).text(), "loaded on aarch64\n");
    }
    // The printed name can be run.
    for words in ["--load=docker --quiet", "--load=docker --quiet --platform amd64 --tag one:1"] {
        let id = build(&daemon, &project, words).text();
        let said = docker(&daemon).words("run --rm --network none").arg(id.trim()).text();
        assert_eq!(said, "loaded on x86_64\n", "{words}");
    }
    // A platform other than the machine's can be loaded alone.
    build(&daemon, &project, "--load=docker --platform arm64 --tag foreign:1").run().success();
    assert_eq!(docker26::run(&daemon, "linux/arm64", "foreign:1", PROGRAM).text(), "loaded on aarch64\n");
    docker(&daemon).words("image rm one:1 foreign:1 loaded:latest").run().success();
    // Loading it again changes nothing.
    let images = || -> BTreeSet<String> {
        let list = docker(&daemon).words("image ls --all --no-trunc --format {{.ID}}{{.Repository}}").text();
        list.lines().map(str::to_owned).collect()
    };
    let before = images();
    build(&daemon, &project, &words).run().success();
    assert_eq!(images(), before);
    assert_eq!(field(&daemon, NAME, ".Id"), index);
    // Three platforms, from a layout.
    let three = three_platforms(&project);
    run(&daemon, &project, "copy three docker-daemon:loaded:3").run().success();
    assert_eq!(field(&daemon, "loaded:3", ".Id"), three);
    // What Docker saves of it is complete, for other tools too.
    docker(&daemon).args(["save", "loaded:3", "--output"]).arg(project.path("saved.tar")).run().success();
    let [from, to] = [("oci-archive", "saved.tar:3"), ("dir", "dir")]
        .map(|(transport, path)| format!("{transport}:{}", project.path(path).display()));
    tools::skopeo("linux/arm64").words("copy --quiet --all").args([from, to]).run().success();
    let manifest = fs::read(project.path("dir/manifest.json")).expect("what skopeo has written");
    assert_eq!(digest_of(&manifest), three);
    // Copy it out again, by name, by ID, and to a registry.
    for image in ["loaded:3", &*three, &three["sha256:".len()..][..12]] {
        assert_eq!(digest(&daemon, &project, &format!("docker-daemon:{image}")), three.as_str());
    }
    run(&daemon, &project, "copy docker-daemon:loaded:3 back").run().success();
    let back = Layout::valid(&project.path("back"));
    assert_eq!(back.tags().remove("3").as_deref(), Some(&*three));
    let registry = Registry::open();
    let name = registry.name("team/loaded:3");
    run(&daemon, &project, "push docker-daemon:loaded:3").arg(&name).run().success();
    assert_eq!(digest(&daemon, &project, &format!("docker://{name}")), three.as_str());
    // A changed image takes over the name.
    project.write("src/main.rs", "fn main() { println!(\"changed\"); }\n");
    build(&daemon, &project, &words).run().success();
    assert_eq!(docker26::run(&daemon, "linux/amd64", NAME, PROGRAM).text(), "changed\n");
}

/// containerd's store holds the index of all platforms and the content of one.
#[test]
fn what_docker_pulled_for_one_platform_is_an_image_of_it() {
    let (daemon, project, registry) = (docker26::start(Store::Containerd), project(), Registry::open());
    let three = three_platforms(&project);
    let name = registry.name("team/loaded:3");
    run(&daemon, &project, "push three").arg(&name).run().success();
    docker(&daemon).words("pull --quiet").arg(&name).run().success();
    assert_eq!(field(&daemon, &name, ".Id"), three);
    let image = format!("docker-daemon:{name}");
    let verified = run(&daemon, &project, "verify --json").arg(&image).run().success();
    assert_eq!(platforms(&verified.stdout), ["linux/amd64"]);
    verified.tells(&["the engine has linux/amd64", "not linux/arm/v7, linux/arm64"]);
    let layout = Layout::valid(&project.path("three"));
    let expected = |platform: &str| {
        let index = layout.document(&three);
        let entries = index["manifests"].as_array().expect("an index").clone();
        let architecture = platform.split('/').nth(1).expect("an architecture");
        let entry = entries.iter().find(|entry| entry["platform"]["architecture"] == architecture);
        entry.expect("the platform")["digest"].clone()
    };
    assert_eq!(digest(&daemon, &project, &image), expected("linux/amd64"));
    run(&daemon, &project, "copy").args([&*image, "one"]).run().success();
    let one = Layout::valid(&project.path("one"));
    assert_eq!(one.tags().get("3").map(String::as_str), expected("linux/amd64").as_str());
    let refused = run(&daemon, &project, "verify --platform linux/arm64").arg(&image).run();
    refused.fails(ExitCode::NoImage, &["linux/arm64", "linux/amd64"]);
    // If its own platform is missing, Docker 26 writes nothing.
    docker(&daemon).words("image rm").arg(&name).run().success();
    docker(&daemon).words("pull --quiet --platform linux/arm64").arg(&name).run().success();
    let refused = run(&daemon, &project, "verify").arg(&image).run();
    refused.fails(ExitCode::Engine, &["linux/arm64", "not its own", "hint", &format!("docker://{name}")]);
    docker(&daemon).words("pull --quiet --platform linux/amd64").arg(&name).run().success();
    // With another platform it is an index of both.
    let verified = run(&daemon, &project, "verify --json").arg(&image).run().success();
    assert_eq!(platforms(&verified.stdout), ["linux/amd64", "linux/arm64"]);
    run(&daemon, &project, "copy").args([&*image, "two"]).run().success();
    let two = Layout::valid(&project.path("two"));
    let index = two.tags().remove("3").expect("an image");
    let names: Vec<String> = two.images(&index).into_iter().map(|image| image.platform).collect();
    assert_eq!(names, ["linux/amd64", "linux/arm64"]);
}

#[test]
fn the_classic_store_gets_its_own_platform() {
    let (daemon, project) = (docker26::start(Store::Classic), project());
    let words = format!("--load=docker --tag {NAME} --quiet");
    let id = build(&daemon, &project, &words).text().trim().to_owned();
    assert_eq!(field(&daemon, NAME, ".Id"), id);
    assert_eq!(docker(&daemon).words("run --rm --network none").arg(&id).text(), "loaded on x86_64\n");
    // Its archives are layouts, too.
    run(&daemon, &project, "copy").args([&format!("docker-daemon:{NAME}"), "back"]).run().success();
    let back = Layout::valid(&project.path("back"));
    let manifest = back.document(back.tags().get("1").expect("an image that kept its name"));
    assert_eq!(manifest["config"]["digest"], id.as_str());
    run(&daemon, &project, "verify").arg(format!("docker-daemon:{id}")).run().success();
    let run = build(&daemon, &project, "--platform arm64 --load=docker").run();
    run.fails(ExitCode::NoImage, &["linux/amd64", "linux/arm64", "hint", "--platform linux/amd64"]);
}

/// Docker 28 and newer are asked for the platform that they have.
#[test]
fn a_foreign_image_is_asked_for_by_its_platform() {
    let project = project();
    project
        .build()
        .words("--platform arm64 --tag foreign:1 --output type=oci,dest=foreign.tar")
        .run()
        .success();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
         info*) echo 'linux x86_64 [[\"driver-type\",\"io.containerd.snapshotter.v1\"]]' ;;\n\
         'image inspect'*Architecture*) echo linux/arm64 ;;\n\
         'image inspect'*) echo sha256:0 ;;\n\
         'save --output '*' --platform linux/arm64 foreign:1') cp '{}' \"$3\" ;;\n\
         *) echo 'Error response from daemon: content digest sha256:0: not found' >&2; exit 1 ;;\nesac\n",
        project.path("foreign.tar").display()
    );
    let path = path_with(&project.path("bin"), &[("docker", &script)]);
    let verify = xbuild().dir(project.dir()).words("verify --json docker-daemon:foreign:1");
    let verified = verify.env("PATH", path).run().success();
    assert_eq!(platforms(&verified.stdout), ["linux/arm64"]);
}
