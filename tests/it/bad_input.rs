//! Mistakes that users make: each has a message with a next step, and its own exit code.

use std::fs;
use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::Run;
use crate::support::project::Project;
use crate::support::{free_port, scratch};

#[test]
fn no_manifest() {
    let project = Project::outside();
    project.build().run().fails(ExitCode::NoManifest, &["error", "Cargo.toml", "hint"]);
    let missing = project.path("nowhere");
    project.xbuild().arg("build").arg(&missing).run().fails(ExitCode::NoManifest, &["nowhere"]);
}

/// Without this the default base would be resolved at the same time, from the network.
const SCRATCH: &str = "base = \"scratch\"\n";

#[test]
fn no_binary() {
    let project =
        Project::package("none").file("examples/only.rs", "fn main() {}\n").file("xbuild.toml", SCRATCH);
    project.build().run().fails(ExitCode::NoBinary, &["none", "no binary target", "hint"]);
    let project = Project::quick("app");
    project.build().words("--bin ap").run().fails(ExitCode::NoBinary, &["`ap`", "did you mean `app`?"]);
}

#[test]
fn a_library() {
    let project = Project::package("shelf").file("src/lib.rs", "").file("xbuild.toml", SCRATCH);
    project.build().run().fails(ExitCode::LibraryOnly, &["`shelf` is a library", "hint", "src/main.rs"]);
}

#[test]
fn several_binaries_without_a_choice() {
    let project = Project::package("many")
        .file("src/bin/one.rs", "fn main() {}\n")
        .file("src/bin/two.rs", "fn main() {}\n")
        .file("xbuild.toml", SCRATCH);
    project
        .build()
        .run()
        .fails(ExitCode::AmbiguousBinary, &["several binaries", "one", "two", "hint", "--bin"]);
}

#[test]
fn an_unknown_platform() {
    let project = Project::quick("app");
    for (given, meant) in [("linux/amd46", "linux/amd64"), ("lnux/arm64", "linux/arm64")] {
        let words = [given, "did you mean", meant];
        project.build().args(["--platform", given]).run().fails(ExitCode::UnknownPlatform, &words);
    }
}

#[test]
fn a_platform_that_nothing_serves() {
    // This platform has no static target.
    let project = Project::quick("app");
    let run = project.build().words("--platform linux/386 --base scratch").run();
    run.fails(ExitCode::UnservedPlatform, &["linux/386", "hint"]);
}

#[test]
fn an_unknown_option() {
    Project::quick("app")
        .build()
        .arg("--platfrom")
        .run()
        .fails(ExitCode::Usage, &["--platfrom", "--platform"]);
}

#[test]
fn an_unknown_key() {
    let project = Project::program("app").file("xbuild.toml", "base = \"scratch\"\nplatfroms = []\n");
    project.build().run().fails(ExitCode::Config, &["platfroms", "xbuild.toml:2:1", "platforms"]);
    let project = Project::program("app");
    let manifest = fs::read_to_string(project.path("Cargo.toml")).expect("it was written");
    let line = manifest.lines().count() + 2;
    project.write("Cargo.toml", &(manifest + "[package.metadata.xbuild]\nbaes = \"scratch\"\n"));
    project.build().run().fails(ExitCode::Config, &["baes", &format!("Cargo.toml:{line}:1"), "base"]);
}

#[test]
fn a_missing_file() {
    let files =
        "platforms = [\"linux/amd64\"]\nbase = \"scratch\"\n[[files]]\nfrom = \"missing.txt\"\nto = \"/m\"\n";
    let project = Project::program("app").file("xbuild.toml", files);
    project.build().run().fails(ExitCode::MissingFile, &["missing.txt", "hint"]);
    // A pattern that matches nothing is the same mistake.
    project.write("xbuild.toml", &files.replace("missing.txt", "*.nothing"));
    project.build().run().fails(ExitCode::MissingFile, &["*.nothing"]);
}

#[test]
fn a_path_that_escapes() {
    let files = |from: &str, to: &str| {
        format!(
            "platforms = [\"linux/amd64\"]\nbase = \"scratch\"\n[[files]]\nfrom = \"{from}\"\nto = \"{to}\"\n"
        )
    };
    let project = Project::program("app").file("inside.txt", "");
    for (from, to, word) in [
        ("../secret", "/secret", "../secret"),
        ("inside.txt", "/../x", "/../x"),
        ("/etc/hostname", "/h", "/etc/hostname"),
    ] {
        project.write("xbuild.toml", &files(from, to));
        project.build().run().fails(ExitCode::PathEscape, &[word, "hint"]);
    }
    // A link is followed only if it stays inside.
    std::os::unix::fs::symlink("/etc/hostname", project.path("link")).expect("a link");
    project.write("xbuild.toml", &files("link", "/h"));
    project.build().run().fails(ExitCode::PathEscape, &["link"]);
}

#[test]
fn a_dynamic_program_on_scratch() {
    let dynamic = "platforms = [\"linux/amd64\"]\nbase = \"scratch\"\ntoolchain = \"cargo\"\n\
                   [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-gnu\"\n";
    let project = Project::program("dynamic").file("xbuild.toml", dynamic);
    project.build().run().fails(ExitCode::Unrunnable, &["linux/amd64", "scratch", "hint"]);
    assert!(!project.default_layout("dynamic").exists());
}

#[test]
fn a_base_that_is_not_there() {
    let project = Project::program("app");
    let run = project.build().words("--platform linux/amd64 --base oci:nowhere").run();
    run.fails(ExitCode::NoBase, &["nowhere", "hint"]);
}

#[test]
fn a_base_that_lacks_a_platform_says_what_it_has() {
    let project = Project::program("app");
    base::write(&project.path("base"), &["linux/amd64", "linux/riscv64"]);
    let run = project.build().words("--platform linux/amd64,linux/arm64 --base oci:base:base").run();
    let finished = run.fails(ExitCode::NotInBase, &["linux/arm64"]);
    assert!(finished.stderr.contains("linux/riscv64"), "{}", finished.describe());
    assert!(!project.default_layout("app").exists());
}

fn with_an_empty_cache(project: &Project, cache: &Path) -> Run {
    project.build().env("XBUILD_CACHE_DIR", cache).words("--platform linux/amd64 --toolchain cargo")
}

#[test]
fn offline_with_nothing_in_the_cache() {
    let (project, cache) = (Project::program("app"), scratch());
    let run = with_an_empty_cache(&project, cache.path()).arg("--offline").run();
    run.fails(ExitCode::Offline, &["--offline", "hint"]);
}

#[test]
fn a_mirror_that_is_not_there() {
    let (project, cache) = (Project::program("app"), scratch());
    let port = free_port();
    let mirror = format!("http://127.0.0.1:{port}/debian");
    let run = with_an_empty_cache(&project, cache.path()).env("XBUILD_DEBIAN_MIRROR", &mirror).run();
    run.fails(ExitCode::Network, &["127.0.0.1", "hint"]);
}

#[test]
fn a_time_stamp_that_is_no_number() {
    let run = Project::quick("app").build().env("SOURCE_DATE_EPOCH", "yesterday").run();
    run.fails(ExitCode::Config, &["yesterday", "SOURCE_DATE_EPOCH"]);
}

#[test]
fn a_link_out_of_the_project_shows_nothing_of_its_file() {
    let outside = scratch();
    let secret = outside.path().join("secret");
    fs::write(&secret, "root:$6$hidden$:19000:0:99999\n").expect("a file of the test");
    for (name, code) in [
        ("xbuild.toml", ExitCode::Config),
        ("Cargo.toml", ExitCode::Config),
        ("xbuild.lock", ExitCode::LockFile),
    ] {
        let project = Project::quick("app");
        let build = || project.build().run();
        fs::remove_file(project.path(name)).ok();
        fs::copy(&secret, project.path(name)).expect("our own file");
        // The project's own file is shown in messages.
        let own = build().fails(code, &[&format!("{name}:1:"), "hidden"]);
        fs::remove_file(project.path(name)).expect("our own file");
        std::os::unix::fs::symlink(&secret, project.path(name)).expect("our own file");
        let linked = build().fails(code, &[name]);
        assert!(!linked.stderr.contains("hidden"), "{}\n{}", own.stderr, linked.stderr);
    }
    // The messages of cargo and rustup about their files.
    for name in [".cargo/config.toml", "Cargo.lock", "rust-toolchain.toml"] {
        let project = Project::quick("app");
        fs::create_dir(project.path(".cargo")).expect("a directory of the test");
        fs::remove_file(project.path(name)).ok();
        std::os::unix::fs::symlink(&secret, project.path(name)).expect("our own file");
        // If the variable names a toolchain, rustup does not read the file.
        let build = || project.build().env_remove("RUSTUP_TOOLCHAIN");
        let linked = build().run();
        assert!(!linked.status.success() && linked.stderr.contains(name), "{}", linked.describe());
        assert!(!linked.stderr.contains("hidden"), "{}", linked.describe());
        let json = build().words("--progress json").run();
        assert!(!json.stderr.contains("hidden"), "{}", json.describe());
    }
}
