//! Images in registries: named, thinned out, and copied with what refers to them.

use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::command::{Finished, xbuild};
use crate::support::registry::Registry;
use crate::support::{base, scratch, tools};

/// A folder with a layout of three platforms, `base:base`.
fn with_base() -> tempfile::TempDir {
    let folder = scratch();
    base::write(&folder.path().join("base"), &["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    folder
}

fn run_in(folder: &Path, words: &str) -> Finished {
    xbuild().folder(folder).env("HOME", folder.join("home")).words(words).run()
}

/// A document of a registry as skopeo gets it.
fn raw(registry: &Registry, name: &str) -> String {
    let name = format!("docker://{}", registry.name(name));
    registry.skopeo("inspect").args(["--raw", &name]).text()
}

#[test]
fn an_image_in_a_registry_gets_more_tags_and_nothing_else_moves() {
    let (folder, registry) = (with_base(), Registry::open());
    let run = |words: &str| run_in(folder.path(), words);
    let name = registry.name("team/app");
    run(&format!("push base {name}:1")).success();
    let before = registry.requests().len();
    let tagged = run(&format!("tag {name}:1 :stable {name}:latest")).success();
    let digest = tagged.digest();
    assert_eq!(tagged.stdout, format!("{name}@{digest}\n"));
    tagged.tells(&["team/app:stable is new", "team/app:latest is new"]);
    let requests = registry.requests().split_off(before);
    assert!(requests.iter().all(|request| request.contains("/manifests/")), "{requests:#?}");
    for tag in ["stable", "latest"] {
        assert_eq!(raw(&registry, &format!("team/app:{tag}")), raw(&registry, "team/app:1"));
    }
    // What has the tag already is left alone; another image is told.
    let before = registry.requests().len();
    run(&format!("tag docker://{name}@{digest} :stable")).success().tells(&["stable was it already"]);
    let requests = registry.requests().split_off(before);
    assert!(!requests.iter().any(|request| request.starts_with("PUT")), "{requests:#?}");
    base::write_as(&folder.path().join("base"), &["linux/amd64"], "another");
    run(&format!("push base {name}:2")).success();
    run(&format!("tag {name}:2 :stable")).success().tells(&[&format!("stable was {digest} before")]);
    assert_eq!(raw(&registry, "team/app:stable"), raw(&registry, "team/app:2"));
    // Another repository has not what the name would lead to.
    let other = registry.name("other/app:1");
    run(&format!("tag {name}:1 {other}")).fails(
        ExitCode::Usage,
        &[
            "other/app:1` is in another repository than",
            &format!("xbuild copy docker://{name}:1 docker://{other}"),
        ],
    );
    run(&format!("tag {name}:none :x")).fails(ExitCode::NotFound, &["team/app:none"]);
    run(&format!("tag {name}:1 :not:a:tag")).fails(ExitCode::Config, &["not:a:tag"]);
    assert!(tools::json(&raw(&registry, "team/app:1"))["manifests"].is_array());
}
