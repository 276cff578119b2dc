//! `xbuild.lock`: a build uses what it pins, wherever and whenever, and reports what does not match.

use std::fs;
use std::path::Path;

use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::{Finished, Run};
use crate::support::layout::Layout;
use crate::support::mirror::Mirror;
use crate::support::project::Project;
use crate::support::registry::Registry;
use crate::support::{copy_dir, scratch};

const LOCK: &str = "xbuild.lock";
const SUITES: &str = "[debian]\nsuites = [\"bookworm\"]\n";

/// A program on Debian's packages for one platform, linked by the host's own compiler.
fn on_packages() -> Project {
    Project::program("app").file("xbuild.toml", SUITES)
}

fn from(run: Run, mirror: &Mirror, cache: &Path) -> Run {
    run.words("--platform linux/amd64 --toolchain cargo")
        .env("XBUILD_CACHE_DIR", cache)
        .env("XBUILD_DEBIAN_MIRROR", mirror.url())
        .env("XBUILD_DEBIAN_SNAPSHOT", format!("{}/nowhere", mirror.url()))
}

fn honest() -> Mirror {
    Mirror::start(|_, _| false)
}

fn text(project: &Project) -> String {
    fs::read_to_string(project.path(LOCK)).expect("a lock")
}

fn edit(project: &Project, from: &str, to: &str) {
    let text = text(project);
    assert!(text.contains(from), "no `{from}` in\n{text}");
    project.write(LOCK, &text.replacen(from, to, 1));
}

/// A copy of a project and its lock, in another directory.
fn elsewhere(project: &Project) -> Project {
    let copy = Project::empty();
    copy_dir(project.dir(), copy.dir());
    copy
}

/// The value of the first line `key = "…"`.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let start = format!("{key} = \"");
    let line = text.lines().find(|line| line.starts_with(&start)).expect("such a line");
    line[start.len()..].trim_end_matches('"')
}

#[test]
fn packages_come_from_the_lock_and_give_one_image_everywhere() {
    let (project, mirror, cache) = (on_packages(), honest(), scratch());
    let unlocked = from(project.build(), &mirror, cache.path()).run().success().digest();
    assert!(!project.path(LOCK).exists(), "a build without a lock writes none");
    let said = from(project.xbuild().arg("lock"), &mirror, cache.path()).run().success();
    assert_eq!(said.stdout, "xbuild.lock\n");
    let locked = text(&project);
    for key in ["libc6", "tzdata", "libstdc++6"] {
        assert!(locked.contains(&format!("name = \"{key}\"")), "{locked}");
    }
    for (key, digits) in [("date", 20), ("snapshot", 16), ("sha256", 64)] {
        assert_eq!(value(&locked, key).len(), digits, "{locked}");
    }
    assert!(!locked.contains("127.0.0.1") && !locked.contains(&project.dir().display().to_string()));
    // Pinning does not change the image, and neither does pinning again.
    assert_eq!(from(project.build(), &mirror, cache.path()).run().success().digest(), unlocked);
    from(project.xbuild().arg("lock"), &mirror, cache.path()).run().success().tells(&["up to date"]);
    assert_eq!(text(&project), locked);

    // Elsewhere, with only the project, and a mirror that no longer has an index.
    let (copy, other, cold) = (elsewhere(&project), honest(), scratch());
    other.lose("/dists/");
    from(copy.build(), &other, scratch().path())
        .arg("--offline")
        .run()
        .fails(ExitCode::Offline, &["--offline"]);
    let there = from(copy.build(), &other, cold.path()).arg("--locked").run().success();
    assert_eq!(there.digest(), unlocked, "{}", there.describe());
    assert!(other.asked().iter().all(|path| path.starts_with("/debian/pool/")), "{:?}", other.asked());
    let asked = other.asked().len();
    let offline = from(copy.build(), &other, cold.path()).words("--locked --offline").run().success();
    assert_eq!((offline.digest(), other.asked().len()), (unlocked, asked));

    // A mismatch is reported before any request.
    copy.write("xbuild.toml", "[debian]\nsuites = [\"bookworm\", \"bookworm-updates\"]\n");
    let said = from(copy.build(), &other, cold.path()).arg("--locked").run();
    let words =
        [LOCK, "--locked", "apt:bookworm for linux/amd64", "bookworm → bookworm, bookworm-updates", "hint"];
    said.fails(ExitCode::Locked, &words);
    copy.write("xbuild.toml", SUITES);
    let said = from(copy.build(), &other, cold.path()).words("--locked --platform linux/arm64").run();
    said.fails(ExitCode::Locked, &["apt:bookworm for linux/arm64: not pinned", "xbuild lock"]);
    assert_eq!(other.asked().len(), asked);
    edit(&copy, "name = \"tzdata\"\nversion = \"2", "name = \"tzdata\"\nversion = \"1");
    let said = from(copy.build(), &other, cold.path()).run();
    said.fails(ExitCode::LockFile, &["damaged", "linux/amd64", "hint", "xbuild lock --update"]);
}

#[test]
fn what_the_mirror_has_dropped_or_altered() {
    let (project, mirror, cache) = (on_packages(), honest(), scratch());
    from(project.xbuild().arg("lock"), &mirror, cache.path()).run().success();
    mirror.lose("/tzdata_");
    let (cold, locked) = (scratch(), text(&project));
    let gone = from(project.build(), &mirror, cold.path()).run();
    gone.fails(ExitCode::Package, &["tzdata", "dropped", "404", "hint", "xbuild lock --update"]);
    // The snapshot archive still has it, as of a moment at which it had everything.
    let build = from(project.build(), &mirror, cold.path()).env("XBUILD_DEBIAN_SNAPSHOT", mirror.snapshots());
    let digest =
        build.run().success().tells(&["the mirror has dropped tzdata", "/snapshot/debian/"]).digest();
    let dated = format!("/snapshot/debian/{}/pool/main/t/tzdata/", value(&locked, "snapshot"));
    assert!(mirror.asked().iter().any(|path| path.starts_with(&dated)), "{:?}", mirror.asked());
    assert!(project.default_layout("app").exists() && !digest.is_empty());

    let liar = Mirror::start(|path, bytes| {
        path.contains("/tzdata_") && {
            bytes[100] ^= 1;
            true
        }
    });
    let altered = from(project.build(), &liar, scratch().path()).run();
    altered.fails(ExitCode::CorruptDownload, &["tzdata", "expected sha256:", "hint"]);
    assert_eq!(text(&project), locked);
}

#[test]
fn a_lock_that_cannot_be_read() {
    let project = Project::quick("app");
    let build = || project.build().run();
    let lock = "version = 1\n\n[rust]\nversion = \"1.95.0\"\n";
    project.write(LOCK, &format!("<<<<<<< ours\n{lock}=======\n{lock}>>>>>>> theirs\n"));
    build().fails(ExitCode::LockFile, &["merge conflict", "line 1", "hint", "xbuild lock"]);
    project.write(LOCK, "version = 4\n");
    build().fails(ExitCode::LockFile, &["format version 4", "supports only 3", "hint", "update xbuild"]);
    project.write(LOCK, &lock.replace("version = \"1", "versoin = \"1"));
    build().fails(ExitCode::LockFile, &["versoin", "xbuild.lock:4:1", "hint"]);
    project.xbuild().arg("lock").run().fails(ExitCode::LockFile, &["versoin"]);
    // `lock --update` works with a lock that needs fixing.
    project.xbuild().words("lock --update").run().success().tells(&["warning", "versoin", "xbuild.lock"]);
    build().success();
}

#[test]
fn toolchains_are_pinned() {
    let project = Project::quick("app");
    // Without a lock there is nothing to compare with.
    for command in ["lock --locked", "build --locked", "build --frozen", "plan --locked"] {
        let words =
            ["`xbuild.lock` is missing", "hint: run `xbuild lock`", "`locked = true` under [payload]"];
        project.xbuild().words(command).run().fails(ExitCode::Locked, &words);
    }
    project.build().run().success();
    // Cargo.lock alone can be enforced.
    let text_before = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    project.write("xbuild.toml", &format!("{text_before}[payload]\nlocked = true\n"));
    project.build().run().success();
    let cargo = fs::read_to_string(project.path("Cargo.lock")).expect("cargo has made it");
    project.write("Cargo.lock", &cargo.replace("1.2.3", "1.2.2"));
    project.build().run().fails(ExitCode::Compile, &["Cargo.lock", "--locked"]);
    project.write("Cargo.lock", &cargo);
    assert!(!project.path(LOCK).exists());
    project.xbuild().arg("lock").run().success();
    let locked = text(&project);
    let version = value(&locked[locked.find("[rust]").expect("a toolchain")..], "version").to_owned();
    project.build().arg("--locked").run().success();
    edit(&project, &version, "1.2.3");
    let moved = ["rust: 1.2.3", "→", version.as_str()];
    project.xbuild().words("lock --locked").run().fails(ExitCode::Locked, &moved);
    project
        .build()
        .arg("--locked")
        .run()
        .fails(ExitCode::Locked, &moved)
        .tells(&["xbuild lock --update rust"]);
    // The project chooses its toolchain, so the build goes on, and pins nothing else.
    project.build().run().success().tells(&["warning", "pins another toolchain", "1.2.3"]);
    project.xbuild().arg("lock").run().success();
    assert!(text(&project).contains("1.2.3"));
    project.xbuild().words("lock --update rust").run().success().tells(&moved);
    assert_eq!(text(&project), locked);
    // Only the pinned zig is used, and this version has no archive.
    let zig = |run: Run| run.words("--toolchain zig");
    zig(project.xbuild().arg("lock")).run().success();
    let with_zig = text(&project);
    let version = value(&with_zig[with_zig.find("[zig]").expect("a toolchain")..], "version").to_owned();
    edit(&project, &format!("[zig]\nversion = \"{version}\""), "[zig]\nversion = \"0.15.99\"");
    let words = ["zig 0.15.99, which is pinned", "hint"];
    zig(project.build()).arg("--offline").run().fails(ExitCode::Offline, &words);
    zig(project.xbuild().words("lock --update zig")).run().success().tells(&["zig: 0.15.99", "→", &version]);
    project.xbuild().arg("lock").run().success().tells(&["zig: ", "is not used any more"]);
    assert_eq!(text(&project), locked);
    project
        .xbuild()
        .words("lock --update libc6")
        .run()
        .fails(ExitCode::Usage, &["`libc6`", "hint", "rust, sysroot, zig"]);
}

/// The base digest that each image's annotations state.
fn grounds(project: &Project, finished: &Finished) -> Vec<String> {
    let images = Layout::valid(&project.default_layout("app")).images(&finished.digest());
    let annotation = |name: &str, image: &crate::support::layout::Image| {
        image.manifest["annotations"][name].as_str().unwrap_or_default().to_owned()
    };
    images.iter().map(|image| annotation("org.opencontainers.image.base.digest", image)).collect()
}

#[test]
fn a_layout_is_pinned_by_digest_and_not_by_its_tag() {
    let project = Project::on_layout();
    project.xbuild().arg("lock").run().success();
    let before = project.build().arg("--locked").run().success();
    let pinned = grounds(&project, &before);
    assert!(pinned.iter().all(|digest| text(&project).contains(digest)), "{}", text(&project));
    assert!(text(&project).contains("base = \"oci:base:base\""));

    // The tag moves; a build stays on the same bytes.
    base::write_as(&project.path("base"), &["linux/amd64", "linux/arm64"], "another base");
    let after = project.build().run().success();
    assert_eq!(after.digest(), before.digest());
    let said = project.xbuild().words("lock --update --locked").run();
    let said = said.fails(
        ExitCode::Locked,
        &["oci:base:base for linux/amd64", &pinned[0], "→", "linux/arm64", &pinned[1]],
    );
    assert!(!said.stderr.contains("rust:"), "{}", said.describe());

    // The pinned content is gone.
    let blob = project.path("base/blobs").join(pinned[1].replace(':', "/"));
    fs::remove_file(blob).expect("the manifest");
    let gone = project.build().run();
    gone.fails(ExitCode::NoBase, &["linux/arm64", "pinned", &pinned[1], "hint", "xbuild lock --update"]);

    let moved = project.xbuild().words("lock --update oci:base:base").run().success();
    let moved = moved.tells(&["xbuild.lock", "linux/amd64", &pinned[0], "→", "linux/arm64", &pinned[1], "→"]);
    assert_eq!(moved.stdout, "xbuild.lock\n");
    let now = grounds(&project, &project.build().arg("--locked").run().success());
    assert!(now.iter().all(|digest| !pinned.contains(digest)));

    // A platform gets another platform's manifest.
    edit(&project, &now[0], "X");
    edit(&project, &now[1], &now[0]);
    edit(&project, "X", &now[1]);
    project.build().run().fails(ExitCode::CorruptBase, &["pinned", "linux/a"]);
}

#[test]
fn a_registry_is_asked_for_what_is_pinned_and_not_for_the_tag() {
    let (registry, project) = (Registry::open(), Project::on_layout());
    let (name, layout) = (registry.name("team/base:1"), project.path("base"));
    let fill = || registry.fill(&format!("oci:{}:base", layout.display()), "team/base:1");
    fill();
    let on_registry = |text: &str| text.replace("oci:base:base", &name);
    project
        .write("xbuild.toml", &on_registry(&fs::read_to_string(project.path("xbuild.toml")).expect("ours")));
    let with = |run: Run, cache: &Path| run.env("XBUILD_CACHE_DIR", cache);
    let (warm, cold) = (scratch(), scratch());
    with(project.xbuild().arg("lock"), warm.path()).run().success();
    let before = with(project.build().arg("--locked"), warm.path()).run().success();
    let pinned = grounds(&project, &before);
    assert!(text(&project).contains(&format!("base = \"{name}\"")), "{}", text(&project));
    assert!(value(&text(&project), "index").starts_with("sha256:"));

    // The tag moves. Another machine builds what is pinned and does not even look up the tag.
    base::write_as(&layout, &["linux/amd64", "linux/arm64"], "another base");
    fill();
    let copy = elsewhere(&project);
    with(copy.build(), cold.path())
        .words("--locked --offline")
        .run()
        .fails(ExitCode::Offline, &["team/base", "hint"]);
    let asked = registry.requests().len();
    let there = with(copy.build(), cold.path()).arg("--locked").run().success();
    assert_eq!(there.digest(), before.digest());
    let requests = registry.requests().split_off(asked);
    assert!(requests.iter().all(|request| !request.contains("/manifests/1")), "{requests:?}");
    assert!(requests.iter().any(|request| request.contains(&pinned[0])), "{requests:?}");
    let offline = with(copy.build(), cold.path()).words("--locked --offline").run().success();
    assert_eq!(offline.digest(), before.digest());

    // The change is reported, and used when asked for.
    let said = with(project.xbuild().words("lock --update --locked"), warm.path()).run();
    said.fails(
        ExitCode::Locked,
        &[&format!("{name} for linux/amd64"), &pinned[0], "→", "linux/arm64", &pinned[1]],
    );
    let reference = format!("docker://{}@{}", registry.name("team/base"), pinned[1]);
    registry.skopeo("delete").arg(&reference).run().success();
    let gone = with(copy.build(), scratch().path()).arg("--locked").run();
    gone.fails(ExitCode::NoBase, &["linux/arm64", "pinned", &pinned[1], "hint", "xbuild lock --update"]);
    with(project.xbuild().args(["lock", "--update", &name]), warm.path()).run().success();
    let now = grounds(&project, &with(project.build().arg("--locked"), warm.path()).run().success());
    assert!(now.iter().all(|digest| !pinned.contains(digest)), "{now:?}");
}

#[test]
fn a_build_completes_a_lock_and_takes_nothing_from_it() {
    let project = Project::on_layout();
    project.xbuild().words("lock --platform linux/amd64").run().success();
    let one = text(&project);
    assert!(one.contains("linux/amd64") && !one.contains("linux/arm64"));
    project.xbuild().arg("plan").run().success();
    assert_eq!(text(&project), one, "a plan writes nothing");
    project
        .build()
        .arg("--locked")
        .run()
        .fails(ExitCode::Locked, &["oci:base:base for linux/arm64: not pinned"]);
    project.build().run().success().tells(&["`xbuild.lock` was completed", "oci:base:base for linux/arm64"]);
    let both = text(&project);
    assert!(both.contains("linux/amd64") && both.contains("linux/arm64"));
    // Some of the platforms need only a part of the lock.
    project.build().words("--locked --platform linux/arm64").run().success();
    project.build().words("--platform linux/arm64 --base scratch").run().success();
    assert_eq!(text(&project), both);
    // `lock` reduces it to exactly what is needed.
    let fewer = project.xbuild().words("lock --platform linux/arm64").run().success();
    fewer.tells(&["oci:base:base for linux/amd64: not used any more"]);
    assert!(!text(&project).contains("linux/amd64"));
}

#[test]
fn a_configuration_of_another_name_has_its_own_lock() {
    let project = Project::on_layout();
    let text = fs::read_to_string(project.path("xbuild.toml")).expect("it was written");
    project.write("prod.toml", &text);
    let said = project.xbuild().words("lock --config prod.toml").run().success();
    assert_eq!(said.stdout, "prod.lock\n");
    assert!(project.path("prod.lock").exists() && !project.path(LOCK).exists());
    project.build().words("--config prod.toml --locked").run().success();
}
