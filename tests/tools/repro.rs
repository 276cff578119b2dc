//! `xbuild repro`: what is the same in both builds, and what leaks into an image from the build's surroundings.

use xbuild::error::ExitCode;

use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::tools::json;

/// Makes the program print what its build script printed.
fn leaking(script: &str) -> Project {
    Project::quick("app")
        .file("build.rs", &format!("fn main() {{ println!(\"cargo::rustc-env=LEAK={{}}\", {script}); }}\n"))
        .file("src/main.rs", "fn main() { println!(\"built {}\", env!(\"LEAK\")); }\n")
}

#[test]
fn a_project_that_leaks_nothing_is_reproducible() {
    let project = Project::quick("app");
    let finished = project.xbuild().arg("repro").words("--platform linux/amd64 --keep kept").run().success();
    let digest = finished.stdout.trim().strip_prefix("reproducible: ").expect("the verdict").to_owned();
    let finished =
        finished.tells(&["first build", "second build: with another directory", "umask 077", "TZ="]);
    // Both images exist and are identical.
    for name in ["first", "second"] {
        let layout = Layout::valid(&project.path("kept").join(name));
        assert_eq!(layout.entries[0]["digest"], digest, "{}", finished.describe());
        assert_eq!(layout.images(&digest).len(), 1, "the option --platform is for both builds");
    }
    project
        .xbuild()
        .arg("repro")
        .words("--keep kept")
        .run()
        .fails(ExitCode::Usage, &["kept", "exists already", "hint: name a directory"]);
}

#[test]
fn a_path_in_a_program_is_shown_with_its_section() {
    let project = leaking("std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()");
    let finished = project.xbuild().arg("repro").words("--platform linux/amd64 --json").run();
    assert_eq!(
        finished.status.code(),
        Some(ExitCode::NotReproducible.number().into()),
        "{}",
        finished.describe()
    );
    let report = json(&finished.stdout);
    assert_eq!(report["reproducible"], false);
    let layer = &report["differences"][0];
    assert_eq!(
        (&layer["difference"], &layer["platform"]),
        (&"layer".into(), &"linux/amd64".into()),
        "{report}"
    );
    let change = &layer["changes"][0];
    assert_eq!(
        (&change["change"], &change["path"]),
        (&"content".into(), &"usr/local/bin/app".into()),
        "{report}"
    );
    let sections: Vec<&str> = change["sections"]
        .as_array()
        .expect("sections")
        .iter()
        .map(|section| section["name"].as_str().expect("a name"))
        .collect();
    assert!(sections.contains(&".rodata"), "{sections:?}");
    let text = change["sections"].to_string();
    assert!(text.contains("/another/place/"), "the place of the copy is shown: {text}");

    let shown = project.xbuild().arg("repro").words("--platform linux/amd64").run();
    assert!(shown.stdout.starts_with("not reproducible\nfirst  sha256:"), "{}", shown.describe());
    assert!(shown.stdout.contains("  /usr/local/bin/app: "), "{}", shown.describe());
    shown.tells(&["error: the image is not reproducible: 1 difference", "hint: look for"]);
}

#[test]
fn what_else_surrounds_a_build_is_varied_too() {
    for (script, both) in [
        ("std::env::var(\"TZ\").unwrap_or_default()", "Pacific/Kiritimati"),
        ("std::env::var(\"LC_ALL\").unwrap_or_default()", "tr_TR.UTF-8"),
        ("std::env::var(\"NUM_JOBS\").unwrap()", "\"second\""),
    ] {
        let finished = leaking(script).xbuild().arg("repro").words("--platform linux/amd64 --json").run();
        assert_eq!(finished.status.code(), Some(26), "{script}: {}", finished.describe());
        assert!(finished.stdout.contains(both), "{script}: {}", finished.describe());
    }
}

#[test]
fn a_build_that_fails_is_told_by_which() {
    let project = Project::quick("app").file("src/main.rs", "fn main() { nothing }\n");
    let finished = project.xbuild().arg("repro").words("--platform linux/amd64").run();
    finished.fails(ExitCode::Compile, &["error: the first build failed", "cannot find value `nothing`"]);
}
