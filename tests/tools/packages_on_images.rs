//! Debian's packages on base images that are Debian: checked with dpkg itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::packages::linked_to_sqlite;
use crate::support::command::{Run, tool};
use crate::support::layout::Layout;
use crate::support::podman::Pulled;
use crate::support::project::Project;
use crate::support::scratch;
use crate::support::tools::{architecture, unpack};

const PLATFORMS: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\n";

/// A Debian image: xbuild's own base, whose packages are files in `status.d`.
fn without_dpkg() -> Project {
    let text = format!("{PLATFORMS}[debian]\nsuites = [\"bookworm\"]\n");
    let project = Project::program("below").file("xbuild.toml", &text);
    project.build().words("--tag below:1").run().success();
    project
}

/// The same with dpkg's database as one file, in which `libc` is the version of libc6.
fn with_dpkg(libc: &str) -> Project {
    let project = without_dpkg();
    let layout = Layout::valid(&project.default_layout("below"));
    let digest = layout.tags()["1"].clone();
    let files = layout.files(&layout.image(&digest, "linux/amd64").manifest["layers"][0]);
    let paragraphs = files
        .iter()
        .filter(|(path, _)| path.starts_with("var/lib/dpkg/status.d/") && !path.ends_with(".md5sums"));
    let status: String =
        paragraphs.map(|(_, text)| String::from_utf8_lossy(text).trim_end().to_owned() + "\n\n").collect();
    let version = |line: &str| {
        let before = status.find("Package: libc6\n").expect("libc6 is in the base");
        let at = status[before..].find(line).expect("a version") + before + line.len();
        at..at + status[at..].find('\n').expect("a line")
    };
    let mut status = status.clone();
    if !libc.is_empty() {
        status.replace_range(version("\nVersion: "), libc);
    }
    let text = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    let file = "[[files]]\nfrom = \"status\"\nto = \"/var/lib/dpkg/status\"\n";
    project.write("xbuild.toml", &format!("{text}{file}"));
    project.write("status", &status);
    project.build().words("--tag below:1").run().success();
    project
}

fn on(below: &Project) -> String {
    format!(
        "base = \"oci:{}:1\"\n{PLATFORMS}\n[debian]\nsuites = [\"bookworm\"]\n",
        below.default_layout("below").display()
    )
}

fn dpkg_query(root: &Path, words: &str) -> Run {
    tool("dpkg-query").arg(format!("--admindir={}", root.join("var/lib/dpkg").display())).words(words)
}

fn layout(project: &Project) -> PathBuf {
    project.default_layout("app")
}

#[test]
fn the_hint_for_a_missing_library_is_good_for_a_debian_image_too() {
    let below = with_dpkg("");
    let configuration = on(&below);
    let project = linked_to_sqlite(&configuration);
    let run = project.build().run().fails(ExitCode::Unrunnable, &["libsqlite3.so.0", "under [debian]"]);
    let hint = run.stderr.split("add it with `").nth(1).and_then(|rest| rest.split('`').next());
    let hint = hint.unwrap_or_else(|| panic!("no remedy: {}", run.stderr));
    project.write("xbuild.toml", &format!("{configuration}{hint}\n"));
    let digest = project.build().run().success().digest();
    let built = Layout::valid(&layout(&project));
    for platform in ["linux/amd64", "linux/arm64"] {
        let said = Pulled::from_layout(&layout(&project), platform).run(&[]).text();
        assert_eq!(said.trim(), format!("SQLite 3.40.1 on {}", architecture(platform)));
        // One layer above the base's, with exactly the package's content.
        let image = built.image(&digest, platform);
        let layers = image.manifest["layers"].as_array().expect("layers");
        let files = built.files(&layers[layers.len() - 2]);
        let names: Vec<&str> = files
            .keys()
            .filter(|path| !path.contains("/info/"))
            .map(|path| path.rsplit('/').next().expect("a name"))
            .collect();
        assert_eq!(names, ["libsqlite3.so.0.8.6", "copyright", "status"], "{platform}");
        let history = image.config["history"].as_array().expect("a history");
        assert_eq!(history[history.len() - 2]["created_by"], "xbuild: Debian's packages libsqlite3-0");
        // dpkg knows the package and its files, in addition to the existing ones.
        let dir = scratch();
        let root = unpack(&layout(&project), platform, dir.path());
        let listed = dpkg_query(&root, "-W -f ${binary:Package}=${db:Status-Abbrev}\\n").text();
        assert!(listed.contains("libsqlite3-0") && listed.contains("base-files="), "{listed}");
        assert!(listed.lines().all(|line| line.ends_with("ii ")), "{listed}");
        let files = dpkg_query(&root, "-L libsqlite3-0").text();
        assert!(files.contains("libsqlite3.so.0.8.6"), "{files}");
        let faults =
            tool("dpkg").arg(format!("--root={}", root.display())).words("--verify libsqlite3-0").text();
        assert!(!faults.contains("libsqlite3.so"), "{faults}");
    }
}

#[test]
fn packages_on_an_image_are_planned_pinned_and_held_to() {
    let below = without_dpkg();
    let project = Project::program("app");
    project.write("xbuild.toml", &format!("{}packages = [\"media-types\", \"tzdata\"]\n", on(&below)));
    let plan: Value = serde_json::from_str(&project.xbuild().words("plan --json").text()).expect("JSON");
    let added = plan["platforms"][0]["base"]["added"].as_array().expect("packages");
    // tzdata is already installed.
    assert_eq!(added.len(), 1, "{plan}");
    assert_eq!(added[0]["name"], "media-types");
    let unlocked = project.build().run().success().digest();
    project.xbuild().arg("lock").run().success();
    let lock = fs::read_to_string(project.path("xbuild.lock")).expect("a lock");
    for part in [
        "[image.debian]",
        "packages = [\n    \"media-types\",\n    \"tzdata\",\n]",
        "[[image.debian.package]]",
        "name = \"media-types\"",
        "sha256 = ",
    ] {
        assert!(lock.contains(part), "no {part}: {lock}");
    }
    for options in ["", "--locked", "--locked --offline"] {
        assert_eq!(project.build().words(options).run().success().digest(), unlocked, "{options}");
    }
    let built = Layout::valid(&layout(&project));
    let image = built.image(&unlocked, "linux/arm64");
    let layers = image.manifest["layers"].as_array().expect("layers");
    let files = built.files(&layers[layers.len() - 2]);
    assert!(files.contains_key("var/lib/dpkg/status.d/media-types") && files.contains_key("etc/mime.types"));
    let moved = "packages: media-types, tzdata → media-types, netbase, tzdata";
    project
        .build()
        .words("--locked --debian-package netbase")
        .run()
        .fails(ExitCode::Locked, &["for linux/amd64", moved, "hint: run `xbuild lock`"]);
    let run = project.build().words("--debian-package libonig5").run().success();
    run.tells(&["`xbuild.lock` was completed", "libonig5 6.9.8-1 is new"]);
}

#[test]
fn what_a_base_has_is_never_upgraded() {
    let below = with_dpkg("2.28-10");
    let project = Project::program("app");
    project.write("xbuild.toml", &format!("{}packages = [\"libsqlite3-0\"]\n", on(&below)));
    let run = project.build().run().fails(
        ExitCode::Package,
        &[
            "linux/amd64",
            "libsqlite3-0 needs libc6 (>= 2.34)",
            "the base has libc6 2.28-10",
            "hint: use a base image of another date, in which libc6 fits",
        ],
    );
    assert!(!run.stderr.contains("Compiling"), "{}", run.stderr);
}

#[test]
fn another_distribution_takes_no_packages_of_debian() {
    for (release, found) in [
        (
            "ID=ubuntu\nID_LIKE=debian\nPRETTY_NAME=\"Ubuntu 24.04 LTS\"\nVERSION_CODENAME=noble\n",
            "it is Ubuntu 24.04 LTS",
        ),
        ("ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.22\"\n", "it is Alpine Linux v3.22"),
        ("", "it has no /etc/os-release"),
    ] {
        let below = Project::quick("below");
        if !release.is_empty() {
            let text = fs::read_to_string(below.path("xbuild.toml")).expect("our own file");
            below.write("os-release", release);
            let file = "[[files]]\nfrom = \"os-release\"\nto = \"/etc/os-release\"\n";
            below.write("xbuild.toml", &format!("{text}{file}"));
        }
        below.build().words("--tag below:1").run().success();
        let project = Project::program("app");
        project.write("xbuild.toml", &format!("{}packages = [\"jq\"]\n", on(&below)));
        let run = project.build().run().fails(
            ExitCode::Package,
            &["linux/amd64", "(jq) cannot be added", found, "hint: use a base that is Debian"],
        );
        assert!(!run.stderr.contains("Compiling"), "{}", run.stderr);
    }
    let project = Project::quick("app");
    let run = project.build().words("--debian-package jq").run();
    run.fails(ExitCode::Usage, &["base `scratch`", "hint: use a base with Debian's packages"]);
}
