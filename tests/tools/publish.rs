//! Pulls bases from a real registry and pushes images to it, with the real program.

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::Run;
use crate::support::layout::{Layout, digest_of};
use crate::support::project::Project;
use crate::support::registry::{PASSWORD, Registry, USER};

const STATIC: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n\
    [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n\
    [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"\n";

/// A project, and the layout of a base for more platforms than it builds.
fn project() -> Project {
    let project = Project::program("app").file("xbuild.toml", STATIC);
    base::write(&project.path("base"), &["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    project
}

fn fill(registry: &Registry, project: &Project, name: &str) {
    registry.fill(&format!("oci:{}:base", project.path("base").display()), name);
}

/// A run with its own cache, so that its requests can be counted.
fn build(project: &Project) -> Run {
    project.build().env("XBUILD_CACHE_DIR", project.path("cache")).env("HOME", project.path("home"))
}

fn uploads(requests: &[String]) -> Vec<&String> {
    let begins = |request: &&String| request.starts_with("POST ") && !request.contains("mount=");
    requests.iter().filter(begins).collect()
}

#[test]
fn a_base_from_a_registry_gives_the_image_that_its_layout_gives() {
    let (registry, project) = (Registry::open(), project());
    fill(&registry, &project, "team/base:1");
    let base = registry.name("team/base:1");
    let digest = build(&project).args(["--base", &base]).run().success().digest();
    let built = Layout::valid(&project.default_layout("app"));
    let original = Layout::valid(&project.path("base"));
    for image in built.images(&digest) {
        let below = original.image(&original.tags()[base::TAG], &image.platform);
        assert_eq!(image.manifest["layers"][0], below.manifest["layers"][0]);
        assert_eq!(image.config["config"]["Labels"]["from-base"], "yes");
        let annotation = |name: &str| image.manifest["annotations"][name].as_str().map(str::to_owned);
        assert_eq!(annotation("org.opencontainers.image.base.name").as_deref(), Some(base.as_str()));
        let digest = annotation("org.opencontainers.image.base.digest").expect("an annotation");
        assert!(original.stored.contains(&digest), "{digest} is no manifest of the base");
    }
    // Now everything is in the cache: only the tag is looked up, and offline not even that.
    let before = registry.requests().len();
    assert_eq!(build(&project).args(["--base", &base]).run().success().digest(), digest);
    let again = registry.requests().split_off(before);
    assert!(again.iter().all(|request| request.contains("/manifests/1 ")), "{again:?}");
    drop(registry);
    assert_eq!(build(&project).args(["--base", &base]).arg("--offline").run().success().digest(), digest);
}

#[test]
fn a_push_to_the_bases_registry_moves_none_of_its_bytes() {
    let (registry, project) = (Registry::open(), project());
    fill(&registry, &project, "team/base:1");
    let (base, name) = (registry.name("team/base:1"), registry.name("me/app:1.0"));
    let arguments = ["--base", &base, "--tag", &name, "--push"];
    let finished = build(&project).args(arguments).run().success();
    let digest = finished.digest();
    assert_eq!(finished.stdout, format!("{}@{digest}\n", registry.name("me/app")));
    // The base's layers are mounted, and what is read of them is read once, for its index.
    let requests = registry.requests();
    let mounted =
        requests.iter().filter(|request| request.contains("from=team/base") && request.ends_with(" 201"));
    assert_eq!(mounted.count(), 2, "{requests:#?}");
    assert!(!project.default_layout("app").exists());
    let index = registry.skopeo("inspect").arg("--raw").arg(format!("docker://{name}")).text();
    assert_eq!(digest_of(index.as_bytes()), digest);
    registry.copy_out("me/app:1.0", &project.path("copy"));
    let copy = Layout::valid(&project.path("copy"));
    assert_eq!(copy.images(&digest).len(), 2);
    // Again: the index exists, and so does everything that the tag refers to.
    let before = registry.requests().len();
    assert_eq!(build(&project).args(arguments).run().success().digest(), digest);
    let again = registry.requests().split_off(before);
    let pushed: Vec<&String> = again.iter().filter(|request| request.contains("/me/app/")).collect();
    assert!(pushed.len() <= 2 && uploads(&again).is_empty(), "{again:#?}");
    // Into another repository, from a machine whose cache knows the base: not even the index is read again.
    let before = registry.requests().len();
    let other = registry.name("other/app:1.0");
    build(&project).args(["--base", &base, "--tag", &other, "--push"]).run().success();
    let again = registry.requests().split_off(before);
    assert!(
        !again.iter().any(|request| request.starts_with("GET") && request.contains("/blobs/")),
        "{again:#?}"
    );
}

#[test]
fn only_what_changed_is_sent() {
    let (registry, project) = (Registry::with_password(), Project::quick("app"));
    project.write("data", "one");
    project.write(
        "xbuild.toml",
        "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"scratch\"\n[[files]]\nfrom = \"data\"\nto = \"/data\"\n",
    );
    let (name, other) = (registry.name("me/app:1"), registry.name("me/app:latest"));
    let push = || {
        let output = format!("type=registry,\"name={name},{other}\"");
        let run =
            build(&project).env("XBUILD_REGISTRY_USERNAME", USER).env("XBUILD_REGISTRY_PASSWORD", PASSWORD);
        run.args(["-o", &output]).run().success()
    };
    let first = push();
    let sent = |requests: &[String]| uploads(requests).len();
    // Two programs, two configurations, and the layer of files, which both platforms have in common.
    assert_eq!(sent(&registry.requests()), 5, "{:#?}", registry.requests());
    let before = registry.requests().len();
    project.write("data", "two");
    let second = push();
    assert_ne!(first.digest(), second.digest());
    let again = registry.requests().split_off(before);
    assert_eq!(sent(&again), 3, "{again:#?}");
    for tag in ["1", "latest"] {
        let name = format!("docker://{}", registry.name(&format!("me/app:{tag}")));
        let index = registry.skopeo("inspect").args(["--raw", &name]).text();
        assert_eq!(digest_of(index.as_bytes()), second.digest());
    }
    assert!(!second.stderr.contains(PASSWORD) && second.stderr.contains("pushed"), "{}", second.describe());
}

#[test]
fn an_image_may_have_a_digest_and_no_tag() {
    let (registry, project) = (Registry::open(), Project::quick("app"));
    let output = format!("type=image,push=true,push-by-digest=true,name={}", registry.name("me/app"));
    let finished = build(&project).args(["-o", &output]).run().success();
    let digest = finished.digest();
    assert_eq!(finished.stdout, format!("{}@{digest}\n", registry.name("me/app")));
    registry.copy_out(&format!("me/app@{digest}"), &project.path("copy"));
    assert!(!registry.storage("repositories/me/app/_manifests/tags").exists());
}

#[test]
fn a_name_to_push_to_is_asked_for_before_anything_is_built() {
    let project = Project::quick("app");
    build(&project)
        .arg("--push")
        .run()
        .fails(ExitCode::Usage, &["no name to push", "--tag registry.example"]);
    build(&project)
        .args(["--push", "-t", ":v1"])
        .run()
        .fails(ExitCode::Usage, &["`:v1`", "registry.example"]);
    let tagged = ["-o", "type=registry,push-by-digest=true,name=r.example/a:1"];
    build(&project).args(tagged).run().fails(ExitCode::Usage, &["leave the tag out"]);
}

#[test]
fn a_base_that_is_not_there_or_not_for_the_platform_says_what_there_is() {
    let (registry, project) = (Registry::open(), project());
    base::write(&project.path("base"), &["linux/amd64", "linux/arm/v7"]);
    fill(&registry, &project, "team/base:1");
    let run = |base: &str| build(&project).args(["--base", &registry.name(base)]).run();
    run("team/base:1").fails(
        ExitCode::NotInBase,
        &["linux/arm64", "it has linux/amd64, linux/arm/v7", "leave linux/arm64 out"],
    );
    run("team/base:2").fails(ExitCode::NoBase, &["team/base:2` does not exist", "MANIFEST_UNKNOWN"]);
    run("team/none").fails(ExitCode::NoBase, &["team/none:latest` does not exist"]);
}

#[test]
fn docker_types_zstd_layers_and_attestations_are_read() {
    let (registry, project) = (Registry::open(), project());
    fill(&registry, &project, "team/base:oci");
    let from = format!("docker://{}", registry.name("team/base:oci"));
    let convert = |options: &[&str], name: &str| {
        let to = format!("docker://{}", registry.name(name));
        registry
            .skopeo("copy")
            .args(["--quiet", "--all"])
            .args(options.iter().copied())
            .args([&from, &to])
            .run()
            .success();
    };
    convert(&["--format", "v2s2"], "team/base:docker");
    // skopeo does not recompress what the registry already has, so use another registry for the zstd layers.
    let second = Registry::open();
    let zstd = ["--quiet", "--all", "--dest-compress", "--dest-compress-format", "zstd"];
    let layout = format!("oci:{}:base", project.path("base").display());
    let to = format!("docker://{}", second.name("team/base:zstd"));
    second.skopeo("copy").args(zstd).args([&layout, &to]).run().success();
    for (base, word) in
        [(registry.name("team/base:docker"), "docker"), (second.name("team/base:zstd"), "+zstd")]
    {
        let raw = registry.skopeo("inspect").args(["--raw", &format!("docker://{base}")]).text();
        let index: Value = serde_json::from_str(&raw).expect("an index");
        let first = format!(
            "docker://{}@{}",
            base.rsplit_once(':').expect("a tag").0,
            index["manifests"][0]["digest"].as_str().expect("a digest")
        );
        let manifest = registry.skopeo("inspect").args(["--raw", &first]).text();
        assert!(manifest.contains(word), "{manifest}");
        let digest = build(&project).args(["--base", &base]).run().success().digest();
        let layout = Layout::valid(&project.default_layout("app"));
        let images = layout.images(&digest);
        assert_eq!(images.len(), 2);
        let files = layout.files(&images[0].manifest["layers"][0]);
        assert_eq!(files["etc/base"], b"the base for linux/amd64\n");
    }
    // An index in an index, preceded by an attestation.
    let index: Value =
        serde_json::from_str(&registry.skopeo("inspect").args(["--raw", &from]).text()).expect("an index");
    let mut attestation = index["manifests"][0].clone();
    attestation["platform"] = serde_json::json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = serde_json::json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let media_type = "application/vnd.oci.image.index.v1+json";
    let inner = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type,
        "manifests": [attestation, index["manifests"][0], index["manifests"][1], index["manifests"][2]],
    })
    .to_string();
    let entry = registry.put_manifest("team/base", "inner", media_type, &inner);
    let outer = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [entry] });
    registry.put_manifest("team/base", "outer", media_type, &outer.to_string());
    let base = registry.name("team/base:outer");
    let digest = build(&project).args(["--base", &base]).run().success().digest();
    assert_eq!(Layout::valid(&project.default_layout("app")).images(&digest).len(), 2);
}

#[test]
fn a_pinned_base_stays_when_its_tag_moves() {
    let (registry, project) = (Registry::open(), project());
    fill(&registry, &project, "team/base:1");
    project.write("xbuild.toml", &format!("base = \"{}\"\n{STATIC}", registry.name("team/base:1")));
    project.xbuild().env("XBUILD_CACHE_DIR", project.path("cache")).arg("lock").run().success();
    let pinned = build(&project).run().success().digest();
    let name = format!("docker://{}", registry.name("team/base:1"));
    registry
        .skopeo("copy")
        .args(["--quiet", "--all", "--format", "v2s2"])
        .args([&name, &name])
        .run()
        .success();
    let raw = registry.skopeo("inspect").args(["--raw", &name]).text();
    assert!(raw.contains("docker"), "the tag has not moved: {raw}");
    // From another machine, which has nothing in its cache.
    let run = project.build().env("XBUILD_CACHE_DIR", project.path("other-cache")).arg("--locked");
    project.write("Cargo.lock", &std::fs::read_to_string(project.path("Cargo.lock")).expect("cargo made it"));
    assert_eq!(run.run().success().digest(), pinned);
}
