//! Commands that resolve a base from the network, or compile.

use crate::support::command::{Run, cargo_xbuild};
use crate::support::project::Project;
use crate::support::{PLATFORMS, names, tools};

#[test]
fn a_plan_tells_all_and_does_nothing() {
    let project = Project::program("app").file("xbuild.toml", "[debian]\nsuites = [\"bookworm\"]\n");
    let before = names(project.dir());
    let human = project.xbuild().arg("plan").text();
    let json = tools::json(&project.xbuild().words("plan --json").text()).to_string();
    for text in [&human, &json] {
        for platform in PLATFORMS {
            assert!(text.contains(platform), "{text}");
        }
        assert!(text.contains("armv7-unknown-linux-gnueabihf") && text.contains("apt:bookworm"), "{text}");
    }
    assert!(!project.path("target").exists(), "a plan builds nothing: {before:?} {:?}", names(project.dir()));
}

#[test]
fn the_cargo_subcommand_is_the_same_program() {
    let project = Project::quick("app");
    let first = project.build().run().success().digest();
    let epoch = |run: Run| run.env("SOURCE_DATE_EPOCH", "1700000000");
    // As cargo calls it: with the subcommand's name as its first argument.
    let run = epoch(cargo_xbuild().dir(project.dir()).words("xbuild build"));
    assert_eq!(run.run().success().digest(), first);
    let run = epoch(cargo_xbuild().dir(project.dir()).arg("xbuild"));
    assert_eq!(run.run().success().digest(), first);
}
