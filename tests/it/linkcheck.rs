//! Images that would not run are not published, unless the user says that they are right.

use std::fs;

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::layout::Layout;
use crate::support::project::Project;

/// A static program for one platform on a base without programs, which starts something else.
fn starting(entrypoint: &str) -> Project {
    let project = Project::bare("app");
    base::write(&project.path("base"), &["linux/amd64"]);
    let text = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    project.write("xbuild.toml", &format!("{text}[image]\nentrypoint = [\"{entrypoint}\"]\n"));
    project
}

#[test]
fn an_entrypoint_that_is_not_there_is_not_published() {
    let project = starting("/usr/local/bin/ap");
    let run = project.build().run();
    run.fails(
        ExitCode::Unrunnable,
        &["error[not-found]: linux/amd64", "/usr/local/bin/ap", "hint:", "[check] allow"],
    );
    assert!(!project.default_layout("app").join("index.json").exists());
    // With `--check warn` it is published, and the errors are reported all the same.
    let run = project.build().words("--check warn").run().success();
    assert!(run.stderr.contains("warning[not-found]: linux/amd64"), "{}", run.stderr);
    Layout::valid(&project.default_layout("app"));
    let run = project.build().words("--check off").run().success();
    assert!(!run.stderr.contains("not-found"), "{}", run.stderr);
}

#[test]
fn what_is_allowed_needs_a_reason() {
    let project = starting("/usr/local/bin/ap");
    let text = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    let allow = |rest: &str| {
        project
            .write("xbuild.toml", &format!("{text}[check]\nallow = [{{ check = \"not-found\"{rest} }}]\n"));
    };
    allow("");
    project.build().run().fails(ExitCode::Config, &["reason", "xbuild.toml"]);
    allow(", reason = \" \"");
    project.build().run().fails(ExitCode::Config, &["reason", "hint"]);
    allow(", missing = \"/else\", reason = \"mounted\"");
    let run = project.build().run();
    run.fails(ExitCode::Unrunnable, &["nothing is found any more that `[check] allow` allows", "not-found"]);
    allow(", missing = \"/usr/local/bin/*\", reason = \"it is mounted there\"");
    let run = project.build().words("-v").run().success();
    assert!(
        run.stderr.contains("allowed[not-found]") && run.stderr.contains("it is mounted there"),
        "{}",
        run.stderr
    );
}

#[test]
fn scripts_are_looked_into() {
    let project = starting("/start.sh").script("start.sh", "#!/bin/sh\nexec /usr/local/bin/app\n");
    let text = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    project.write("xbuild.toml", &format!("{text}[[files]]\nfrom = \"start.sh\"\nto = \"/start.sh\"\n"));
    project.build().run().fails(ExitCode::Unrunnable, &["missing-interpreter", "/bin/sh", "/start.sh"]);
}

#[test]
fn a_base_without_a_loader_does_not_carry_a_dynamic_program() {
    let text = "platforms = [\"linux/amd64\"]\nbase = \"oci:base:base\"\ntoolchain = \"cargo\"\n\
                [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-gnu\"\n";
    let project = Project::program("app").file("xbuild.toml", text);
    base::write(&project.path("base"), &["linux/amd64"]);
    let run = project.build().words("--progress json").run();
    let run = run.fails(ExitCode::Unrunnable, &["ld-linux-x86-64.so.2"]);
    let events = run.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let finding = events.into_iter().find(|event| event["event"] == "finding").expect("a finding");
    assert_eq!(finding["check"], "missing-loader");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["file"], "/usr/local/bin/app");
    assert_eq!(finding["loader"], "/lib64/ld-linux-x86-64.so.2");
    assert!(finding["remedy"].as_str().is_some_and(|remedy| remedy.contains("musl")), "{finding}");
}
