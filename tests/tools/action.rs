//! `action.yml` with xbuild itself.

use std::os::unix::fs::symlink;

use xbuild::error::ExitCode;

use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::step::Step;
use crate::support::tools;

#[test]
fn the_step_builds_an_image() {
    let (step, project) = (Step::new(), Project::quick("acted"));
    symlink(env!("CARGO_BIN_EXE_xbuild"), step.path("xbuild/bin/xbuild")).expect("a directory of the test");
    let inputs = [
        ("tags", "example.com/team/acted:1"),
        ("labels", "org.example.text=one, two"),
        ("outputs", "image\ntype=oci,dest=image.tar"),
    ];
    step.run(project.dir(), &inputs).success();
    let outputs = step.outputs();
    let layout = Layout::valid(&project.path("image"));
    assert_eq!(layout.tags().get("1"), Some(&outputs["digest"]));
    assert!(project.path("image.tar").is_file());
    assert_eq!(outputs["reference"], format!("example.com/team/acted:1@{}", outputs["digest"]));
    assert_eq!(outputs["imageid"], outputs["digest"]);
    let metadata = tools::json(&outputs["metadata"]);
    assert_eq!(metadata["containerimage.digest"], outputs["digest"].as_str());
    assert!(metadata["containerimage.digest/linux/arm64"].is_string());
    let labels = layout.image(&outputs["digest"], "linux/arm64").config["config"]["Labels"].clone();
    assert_eq!(labels["org.example.text"], "one, two");
    // The step fails if xbuild fails.
    let failed = step.run(project.dir(), &[("path", "nowhere")]);
    assert_ne!(failed.status.code(), Some(0), "{}", failed.describe());
    assert!(step.outputs().is_empty());
    let failed = step.run(project.dir(), &[("platforms", "linux/pdp11")]);
    assert_eq!(
        failed.status.code(),
        Some(i32::from(ExitCode::UnknownPlatform.number())),
        "{}",
        failed.describe()
    );
}
