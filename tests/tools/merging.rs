//! Merges images that CI runners have pushed, using the files in which builds report their results.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::support::command::Run;
use crate::support::layout::digest_of;
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::tools;

/// The project on a runner that pushes its platform by digest, as workflows with docker buildx do.
fn push_by_digest(project: &Project, registry: &Registry, platform: &str) -> (String, Value) {
    let output = format!("type=image,push=true,push-by-digest=true,name={}", registry.name("me/app"));
    let file = format!("{platform}.json");
    let run =
        project.build().words("--platform").arg(platform).args(["--metadata-file", &file, "-o", &output]);
    let digest = run.run().success().digest();
    (digest, tools::json(&fs::read_to_string(project.path(&file)).expect("a file of the run")))
}

fn create(project: &Project, words: &str) -> Run {
    project.xbuild().words("index create").words(words)
}

fn index(registry: &Registry, tag: &str) -> Value {
    let name = format!("docker://{}", registry.name(&format!("me/app:{tag}")));
    tools::json(&registry.skopeo("inspect").args(["--raw", &name]).text())
}

#[test]
fn what_runners_pushed_is_merged_by_their_metadata() {
    let (registry, project) = (Registry::open(), Project::quick("app"));
    let made = ["amd64", "arm64"].map(|platform| push_by_digest(&project, &registry, platform));
    for (digest, metadata) in &made {
        assert_eq!(metadata["containerimage.digest"], digest.as_str());
        assert_eq!(metadata["image.name"], registry.name("me/app"));
    }
    let name = registry.name("me/app");
    create(&project, &format!("-t {name}:ours -f amd64.json -f arm64.json")).run().success();
    let ours = index(&registry, "ours");
    let all = format!("type=image,push=true,name={name}:whole");
    project.build().args(["-o", &all]).run().success();
    assert_eq!(ours, index(&registry, "whole"), "one build for all gives another index");
    // docker buildx's file has more in it.
    let buildx = |at: usize| {
        let (digest, metadata) = &made[at];
        json!({
            "buildx.build.provenance": { "builder": { "id": "" }, "materials": [], "invocation": {} },
            "buildx.build.ref": "builder/builder0/0fjb6ubs52xx3vygf6fgdl611",
            "containerimage.config.digest": metadata["containerimage.config.digest"],
            "containerimage.descriptor": {
                "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest,
                "size": metadata["containerimage.descriptor"]["size"],
                "annotations": { "org.opencontainers.image.created": "2026-02-08T21:28:03Z" },
            },
            "containerimage.digest": digest,
            "image.name": format!("{name},docker.io/me/other:1"),
        })
    };
    let descriptor = |at: usize| buildx(at)["containerimage.descriptor"].clone();
    let bake = json!({ "buildx.build.warnings": [], "amd64": buildx(0), "arm64": buildx(1) });
    for (tag, documents) in [
        ("buildx", vec![buildx(0), buildx(1)]),
        ("bake", vec![bake]),
        ("descriptors", vec![json!([descriptor(0), descriptor(1)])]),
        ("descriptor", vec![descriptor(0), descriptor(1)]),
    ] {
        let mut words = format!("-t {name}:{tag}");
        for (at, document) in documents.iter().enumerate() {
            project.write(&format!("{tag}-{at}.json"), &document.to_string());
            write!(words, " -f {tag}-{at}.json").expect("a text");
        }
        create(&project, &words).run().success();
        assert_eq!(index(&registry, tag), ours, "{tag}");
    }
    // Also as lines, with a comment.
    let lines = made.iter().map(|(digest, _)| format!("{name}@{digest}\n"));
    project.write("lines", &format!("# runners\n\n{}", lines.collect::<String>()));
    let finished = create(&project, &format!("-t {name}:lines -f lines")).run().success();
    assert_eq!(finished.digest(), digest_of(registry_bytes(&registry, "ours").as_bytes()));
}

fn registry_bytes(registry: &Registry, tag: &str) -> String {
    let name = format!("docker://{}", registry.name(&format!("me/app:{tag}")));
    registry.skopeo("inspect").args(["--raw", &name]).text()
}
