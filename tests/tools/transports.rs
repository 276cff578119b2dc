//! Existing images, written by other tools and read by xbuild, and the other way round.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::command::{Run, tool, xbuild};
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::{base, scratch, tools};

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm/v7", "linux/arm64"];

/// A directory with a layout of three platforms, `base:base`.
fn with_base() -> tempfile::TempDir {
    let dir = scratch();
    base::write(&dir.path().join("base"), &PLATFORMS);
    dir
}

fn xbuild_in(dir: &Path) -> Run {
    xbuild().dir(dir)
}

fn skopeo_in(dir: &Path) -> Run {
    tools::skopeo("linux/amd64").dir(dir)
}

fn inspect(dir: &Path, image: &str) -> Value {
    tools::json(&xbuild_in(dir).args(["inspect", "--json", image]).text())
}

/// The digest of each platform's manifest, as printed by `xbuild inspect`.
fn manifests(dir: &Path, image: &str) -> BTreeMap<String, String> {
    let found = inspect(dir, image);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let images = found["images"].as_array().expect("a list").iter();
    images.map(|image| (text(&image["platform"]), text(&image["digest"]))).collect()
}

#[test]
fn what_skopeo_writes_is_read() {
    let dir = with_base();
    let expected = manifests(dir.path(), "base");
    assert_eq!(expected.keys().collect::<Vec<_>>(), PLATFORMS.iter().collect::<Vec<_>>());
    for to in ["oci:layout:1.0", "oci-archive:archive.tar:1.0"] {
        skopeo_in(dir.path()).words("copy --quiet --all oci:base:base").arg(to).run().success();
        assert_eq!(manifests(dir.path(), to), expected, "{to}");
        let path = to.split(':').nth(1).expect("a path");
        assert_eq!(manifests(dir.path(), path), expected, "{path}");
    }
    // An archive of `docker save` has no manifest; the configuration in it is the image's.
    let to = "docker-archive:docker.tar:example.com/app:1";
    skopeo_in(dir.path()).words("copy --quiet oci:base:base").arg(to).run().success();
    let found = inspect(dir.path(), "docker-archive:docker.tar");
    assert_eq!(found["names"][0], "example.com/app:1");
    assert_eq!(found["images"][0]["platform"], "linux/amd64");
    let own = inspect(dir.path(), &format!("base@{}", expected["linux/amd64"]));
    assert_eq!(found["images"][0]["run"], own["images"][0]["run"]);
}

#[test]
fn what_umoci_writes_is_read() {
    let dir = scratch();
    let umoci = |words: &str| tool("umoci").dir(dir.path()).words(words).run().success();
    fs::write(dir.path().join("file"), "content").expect("a directory of the test");
    umoci("init --layout made");
    umoci("new --image made:first");
    umoci("insert --rootless --image made:first file /etc/file");
    umoci("config --image made:first --config.entrypoint /etc/file --architecture arm64");
    let found = inspect(dir.path(), "oci:made:first");
    assert_eq!(found["images"][0]["platform"], "linux/arm64");
    assert_eq!(found["images"][0]["run"]["entrypoint"][0], "/etc/file");
    let list = tools::json(&xbuild_in(dir.path()).words("ls --json made").text());
    assert_eq!(list[0]["names"][0], "first");
}

#[test]
fn what_is_copied_is_read_by_others_and_is_the_same() {
    let dir = with_base();
    let copy = |words: &str| xbuild_in(dir.path()).arg("copy").words(words).run().success();
    let expected = manifests(dir.path(), "base");
    copy("base oci-archive:all.tar:2.0");
    copy("all.tar again");
    let raw = |from: &str| skopeo_in(dir.path()).args(["inspect", "--raw", from]).text();
    let ours = raw("oci:base:base");
    for from in ["oci-archive:all.tar:2.0", "oci:again:2.0"] {
        assert_eq!(raw(from), ours, "{from}");
    }
    Layout::valid(&dir.path().join("again"));
    let text = xbuild_in(dir.path()).args(["inspect", "--raw", "again"]).text();
    assert_eq!(text, ours, "the bytes are the document's own");
    copy("base oci:one:arm --platform linux/arm/v7");
    assert_eq!(
        manifests(dir.path(), "one"),
        BTreeMap::from([("linux/arm/v7".into(), expected["linux/arm/v7"].clone())])
    );
    copy("one docker-archive:arm.tar:example.com/app:1");
    let read = tools::json(&skopeo_in(dir.path()).words("inspect docker-archive:arm.tar").text());
    assert_eq!(read["Architecture"], "arm");
    let item = tools::json(&tool("tar").dir(dir.path()).words("-xOf arm.tar manifest.json").text());
    assert_eq!(item[0]["RepoTags"][0], "example.com/app:1");
    // Copying an image onto itself changes nothing.
    let before = fs::read(dir.path().join("again/index.json")).expect("an index");
    copy("again again");
    assert_eq!(fs::read(dir.path().join("again/index.json")).expect("an index"), before);
}

#[test]
fn images_go_to_a_registry_and_come_back() {
    let (dir, registry) = (with_base(), Registry::open());
    let run = |words: &str| xbuild_in(dir.path()).words(words).run();
    let name = registry.name("team/app:1");
    let pushed = run(&format!("push base {name} {}", registry.name("team/app:latest"))).success();
    let raw = skopeo_in(dir.path()).words("inspect --raw oci:base:base").text();
    for tag in ["1", "latest"] {
        let from = format!("docker://{}", registry.name(&format!("team/app:{tag}")));
        let inspect = skopeo_in(dir.path()).words("inspect --tls-verify=false --raw").arg(from);
        assert_eq!(inspect.text(), raw);
    }
    let reference = pushed.stdout.lines().next().expect("a reference").to_owned();
    assert!(reference.starts_with(&registry.name("team/app@sha256:")), "{reference}");
    run(&format!("pull {reference}")).success();
    assert_eq!(manifests(dir.path(), "app"), manifests(dir.path(), "base"));
    Layout::valid(&dir.path().join("app"));
    run(&format!("pull {name} -o oci-archive:pulled.tar --platform arm64")).success();
    assert_eq!(manifests(dir.path(), "pulled.tar").len(), 1);
    // Between two repositories of one registry, blobs are mounted and not sent.
    let before = registry.requests().len();
    run(&format!("copy docker://{name} docker://{}", registry.name("other/app:2"))).success();
    let requests = registry.requests();
    assert!(!requests[before..].iter().any(|request| request.starts_with("PATCH")), "{requests:?}");
    assert_eq!(manifests(dir.path(), &registry.name("other/app:2")), manifests(dir.path(), "base"));
    let list = tools::json(&run(&format!("ls --json {}", registry.name("team/app"))).success().stdout);
    let names: Vec<&Value> = list.as_array().expect("a list").iter().map(|row| &row["names"][0]).collect();
    assert_eq!(names, [&registry.name("team/app:1"), &registry.name("team/app:latest")]);
    run(&format!("inspect {}", registry.name("team/none:1")))
        .fails(ExitCode::NotFound, &["team/none", "hint"]);
    run("push base").fails(ExitCode::Usage, &["no name", "hint", "xbuild push"]);
    run("push base Wrong/Name").fails(ExitCode::Usage, &["Wrong"]);
}

#[test]
fn runners_are_merged_to_what_one_build_makes() {
    let project = Project::quick("app");
    let build = |words: &str| project.build().words(words).run().success().digest();
    let all = build("--output all --tag app:1");
    build("--platform amd64 --output type=oci,dest=linux-amd64.tar");
    build("--platform arm64 --output linux-arm64");
    let merge = |words: &str| xbuild_in(project.dir()).words("index create").words(words).run();
    let merged = merge("-o merged -t app:1 --metadata-file m.json linux-amd64.tar linux-arm64").success();
    assert_eq!(merged.digest(), all, "a merge has another digest than one build for all");
    let layout = Layout::valid(&project.path("merged"));
    assert_eq!(layout.tags(), BTreeMap::from([("1".to_owned(), all.clone())]));
    let metadata = tools::json(&fs::read_to_string(project.path("m.json")).expect("the metadata"));
    assert_eq!(metadata["containerimage.digest"], all.as_str());
    assert!(metadata["containerimage.digest/linux/arm64"].is_string());
    // A dry run.
    let dry = merge("--dry-run linux-arm64").success().stdout;
    assert_eq!(tools::json(&dry)["manifests"].as_array().map(Vec::len), Some(1));
    // Build one platform again.
    project.write("src/main.rs", "fn main() {}\n");
    build("--platform arm64 --output new");
    let run = merge("-o merged -t app:1 linux-arm64 new")
        .fails(ExitCode::NoImage, &["linux/arm64", "differ", "hint"]);
    drop(run);
    fs::write(project.path("sources"), "# the new one\nnew\n").expect("our own directory");
    merge("-o merged -t app:1 --append -f sources --annotation k=v").success();
    let layout = Layout::valid(&project.path("merged"));
    let index = layout.document(&layout.tags()["1"]);
    assert_eq!(
        (&index["annotations"]["k"], index["manifests"].as_array().map(Vec::len)),
        (&"v".into(), Some(2))
    );
    merge("-o merged -t app:1 new --annotation manifest:k=v")
        .fails(ExitCode::Usage, &["manifest-descriptor"]);
    merge("new").fails(ExitCode::Usage, &["nothing says where", "hint"]);
    let matrix = project.xbuild().words("matrix --json").text();
    let jobs = tools::json(&matrix)["include"].clone();
    assert_eq!(
        (&jobs[0]["platform"], &jobs[1]["runner"]),
        (&"linux/amd64".into(), &"ubuntu-24.04-arm".into())
    );
    assert_eq!((matrix.lines().count(), &jobs[1]["artifact"]), (1, &"linux-arm64".into()));
}

#[test]
fn names_are_added_and_listed() {
    let dir = with_base();
    let run = |words: &str| xbuild_in(dir.path()).words(words).run();
    run("tag base ghcr.io/me/app:1 :mine").success();
    let list = tools::json(&run("ls --json base").success().stdout);
    assert_eq!(list[0]["names"].as_array().map(Vec::len), Some(3));
    let copied = skopeo_in(dir.path()).words("copy --quiet --all oci:base:mine oci:other:x").run();
    copied.success();
    let tree = run("inspect base:mine").success().stdout;
    for word in ["index sha256:", "├── linux/amd64", "└── linux/arm64", "config  sha256:", "layer  sha256:"]
    {
        assert!(tree.contains(word), "{word}: {tree}");
    }
    run("tag base a:b:c").fails(ExitCode::Config, &["a:b:c"]);
    skopeo_in(dir.path()).words("copy --quiet oci:base:mine oci-archive:a.tar").run().success();
    run("tag a.tar x:1").fails(ExitCode::Usage, &["not in a layout or a registry", "xbuild copy"]);
}

#[test]
fn images_that_are_not_there_or_are_damaged() {
    let dir = with_base();
    let run = |words: &str| xbuild_in(dir.path()).words(words).run();
    fs::write(dir.path().join("note.txt"), "a note").expect("a directory of the test");
    run("inspect ./nowhere").fails(ExitCode::NoImage, &["nowhere", "hint", "oci:PATH"]);
    run("inspect oci:nowhere").fails(ExitCode::NoImage, &["nowhere", "hint"]);
    run("inspect base:other").fails(ExitCode::NoImage, &["other", "it has base", "hint"]);
    run("inspect note.txt").fails(ExitCode::CorruptImage, &["note.txt", "hint"]);
    run("inspect ftp://x").fails(ExitCode::Usage, &["ftp", "hint"]);
    run("copy base out --platform linux/s390x")
        .fails(ExitCode::NoImage, &["linux/s390x", "linux/arm/v7", "hint"]);
    run("copy base docker-archive:x.tar").fails(ExitCode::NoImage, &["one platform", "hint", "--platform"]);
    run("copy base note.txt").fails(ExitCode::NotALayout, &["note.txt", "hint"]);
    run("ls").fails(ExitCode::NoImage, &["target/xbuild"]);
    // A layer with a flipped bit: nothing of it is written.
    let layout = Layout::valid(&dir.path().join("base"));
    let image = layout.image(&layout.tags()[base::TAG], "linux/arm64");
    let digest = image.manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    let blob = dir.path().join("base/blobs").join(digest.replace(':', "/"));
    let mut bytes = fs::read(&blob).expect("a blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&blob).expect("our own file");
    fs::write(&blob, bytes).expect("our own file");
    for to in ["out", "oci-archive:out.tar"] {
        let finished = run(&format!("copy base {to}"));
        finished
            .fails(ExitCode::CorruptImage, &["altered", digest.split(':').nth(1).expect("a digest"), "hint"]);
    }
    assert!(!dir.path().join("out").exists() && !dir.path().join("out.tar").exists());
}

#[test]
fn a_name_without_a_registry_is_docker_hubs_and_that_is_said() {
    let (dir, registry) = (with_base(), Registry::open());
    let configuration = format!("[registry.\"docker.io\"]\nrewrite = \"{}\"\n", registry.name("hub"));
    fs::create_dir_all(dir.path().join("config/xbuild")).expect("a directory of the test");
    fs::write(dir.path().join("config/xbuild/config.toml"), configuration).expect("a directory of the test");
    let run = |words: &str| {
        xbuild_in(dir.path()).env("XDG_CONFIG_HOME", dir.path().join("config")).words(words).run()
    };
    run("push base docker.io/library/app:1").success();
    let taken = run("inspect --raw app:1")
        .success()
        .tells(&["no file or directory `app:1`", "docker.io/library/app:1"]);
    assert_eq!(taken.stdout, run("inspect --raw base").success().stdout);
    let in_full = run("inspect --raw docker.io/library/app:1").success();
    assert!(!in_full.stderr.contains("no file or directory"), "{}", in_full.describe());
    let missing = run("verify nowhere");
    missing
        .fails(ExitCode::NotFound, &["no file or directory `nowhere`", "docker.io/library/nowhere:latest"]);
}
