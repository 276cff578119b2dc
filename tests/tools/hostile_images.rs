//! A small image that refers to itself many times, in every command that reads, pushes or builds.

use xbuild::error::ExitCode;

use crate::support::command::Run;
use crate::support::lattice::{lattice, project_on, soon};
use crate::support::registry::Registry;

#[test]
fn an_index_that_leads_everywhere_is_walked_once() {
    // At the deepest level that is followed, with 60^6 paths to the image.
    let project = project_on(&|layout| lattice(layout, 6, 60));
    let registry = Registry::open();
    let name = registry.name("team/app:1");
    let unrunnable = |run: Run| {
        let finished = soon(run, "verify");
        assert_eq!(
            finished.status.code(),
            Some(ExitCode::Unrunnable.number().into()),
            "{}",
            finished.describe()
        );
    };
    unrunnable(project.xbuild().words("verify base"));
    let images = [
        "inspect base",
        "ls base",
        "copy base oci:copied",
        "copy base oci-archive:copied.tar",
        "copy oci-archive:copied.tar oci:again",
        "tag base :more",
        "index create base -o oci:merged",
        "build --base oci:base -o oci:built",
        "build --base oci-archive:copied.tar -o oci:built",
        "copy --platform linux/amd64 base oci:thin",
    ];
    for words in images {
        soon(project.xbuild().words(words), words).success();
    }
    soon(project.xbuild().words("push base").arg(&name), "push").success();
    for words in ["inspect", "ls"] {
        soon(project.xbuild().words(words).arg(&name), words).success();
    }
    unrunnable(project.xbuild().arg("verify").arg(&name));
    soon(project.xbuild().arg("pull").arg(&name).words("-o oci:pulled"), "pull").success();
    soon(project.xbuild().words("build -o oci:built --base").arg(&name), "build").success();
    // A digest that no entry has is searched for everywhere.
    let nothing = format!("base@sha256:{}", "0".repeat(64));
    soon(project.xbuild().arg("inspect").arg(&nothing), "a digest")
        .fails(ExitCode::NoImage, &["has no image"]);
}
