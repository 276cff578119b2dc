//! Tools that builds need on this machine: what is said before anything is compiled, and when a build fails without one.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use xbuild::error::ExitCode;

use crate::support::command::Run;
use crate::support::project::Project;
use crate::support::{base, json};

/// A package that stands in for the one that runs cmake.
const CMAKE: &str = "[package]\nname = \"cmake\"\nversion = \"0.1.58\"\nedition = \"2024\"\n";

/// Makes a project's build script depend on a package `cmake` beside it.
fn with_cmake(project: Project) -> Project {
    let manifest = std::fs::read_to_string(project.path("Cargo.toml")).expect("it was written");
    let dependency = "\n[build-dependencies]\ncmake = { path = \"cmake\" }\n";
    project
        .file("Cargo.toml", &(manifest + dependency))
        .file("cmake/Cargo.toml", CMAKE)
        .file("cmake/src/lib.rs", "pub fn build() {}\n")
}

/// A directory of the project with the programs that xbuild needs, and with `make`.
fn programs(project: &Project) -> PathBuf {
    let dir = project.path("programs");
    for name in ["cargo", "rustc", "rustup", "git"] {
        if let Ok(program) = which::which(name) {
            std::fs::create_dir_all(&dir).expect("a directory of the test");
            symlink(program, dir.join(name)).expect("a directory of the test");
        }
    }
    dir
}

#[test]
fn a_tool_that_is_missing_is_told_before_compiling_and_one_that_is_there_is_not() {
    let project = with_cmake(Project::quick("app")).file("build.rs", "fn main() { cmake::build() }\n");
    let project = project.script("programs/make", "#!/bin/sh\n");
    let programs = programs(&project);
    let plan = || project.xbuild().arg("plan").env("PATH", &programs);
    let host_tools = |run: Run| json(&run.text())["host-tools"].clone();
    let missing = plan().run().success();
    missing.tells(&[
        "warning: `cmake` is not installed on this machine, and building `app` (through `cmake`) may need it: install",
        "set CMAKE to its path",
    ]);
    let [cmake, make] = [0, 1].map(|index| host_tools(plan().arg("--json"))[index].clone());
    assert_eq!(cmake["name"], "cmake");
    assert!(cmake["path"].is_null(), "{cmake}");
    assert_eq!(cmake["needed-by"], serde_json::json!([{ "package": "app", "through": "cmake" }]));
    assert_eq!(make["path"], programs.join("make").to_str().expect("UTF-8"));

    let project = project.script("programs/cmake", "#!/bin/sh\n").script("other/cmake", "#!/bin/sh\n");
    let plan = || project.xbuild().arg("plan").env("PATH", &programs);
    let found = plan().run().success();
    assert!(!found.stderr.contains("cmake"), "{}", found.describe());
    plan().arg("-v").run().success().tells(&["detail: `cmake` for `app`: ", "programs/cmake"]);
    let other = project.path("other/cmake");
    let named = host_tools(plan().arg("--json").env("CMAKE", &other));
    assert_eq!(named[0]["path"], other.to_str().expect("UTF-8"));
}

#[test]
fn a_build_that_fails_without_a_tool_says_so_again() {
    let script = "fn main() { cmake::build(); panic!(\"it does not work\") }\n";
    let project = with_cmake(Project::bare("app")).file("build.rs", script);
    base::write(&project.path("base"), &["linux/amd64"]);
    let build = || project.build().env("CMAKE", "/no/such/cmake").words("--progress plain");
    let lack = "`cmake` is not at `/no/such/cmake`, which CMAKE names";
    let failed = build().run().fails(ExitCode::Compile, &["it does not work", "hint: ", lack]);
    assert_eq!(failed.stderr.matches(lack).count(), 2, "{}", failed.describe());
    // What the package prints says more.
    let said =
        "failed to execute command: No such file or directory (os error 2)\\nis `cmake` not installed?";
    project.write("build.rs", &script.replace("it does not work", said));
    let failed = build().run().fails(ExitCode::Compile, &["hint: `cmake` is not at `/no/such/cmake`"]);
    assert!(failed.stderr.contains("correct CMAKE, or unset it and install it"), "{}", failed.describe());
}

/// A search that nobody needs holds nothing up.
#[test]
fn a_python_that_hangs_does_not_hold_up_an_error() {
    let project = Project::quick("app").file("Cargo.toml", "nothing");
    let project = project.script("programs/python3", "#!/bin/sh\nexec sleep 600\n");
    let programs = format!("{}:/usr/bin:/bin", programs(&project).display());
    let run = project.xbuild().words("build --toolchain zig").env("PATH", programs).run();
    assert!(!run.status.success() && run.elapsed < Duration::from_secs(60), "{}", run.describe());
}
