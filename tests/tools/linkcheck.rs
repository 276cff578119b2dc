//! Programs among the files of an image for two platforms.

use std::fs;

use xbuild::error::ExitCode;

use crate::support::project::Project;

#[test]
fn a_program_among_the_files_is_for_its_platform() {
    let project = Project::quick("app");
    fs::copy("/bin/true", project.path("helper")).expect("a program of this host");
    let text = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    project.write("xbuild.toml", &format!("{text}[[files]]\nfrom = \"helper\"\nto = \"/opt/helper\"\n"));
    let run = project.build().run();
    let run = run.fails(
        ExitCode::Unrunnable,
        &["error[wrong-architecture]: linux/arm64", "/opt/helper is for x86-64"],
    );
    // On its own platform it lacks its loader.
    assert!(run.stderr.contains("error[missing-loader]: linux/amd64"), "{}", run.stderr);
}
