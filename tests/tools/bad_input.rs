//! Mistakes of users that show when something is compiled or fetched; those that show before are in `tests/it`.

use std::fs;

use xbuild::error::ExitCode;

use crate::support::base;
use crate::support::command::{Run, xbuild};
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::{names, scratch};

const MUSL: &str = "[platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n";

/// A program that does not compile on some platforms.
fn picky(architectures: &[&str]) -> Project {
    let refuse =
        |name: &&str| format!("#[cfg(target_arch = \"{name}\")]\ncompile_error!(\"not on {name}\");\n");
    let refusals: String = architectures.iter().map(refuse).collect();
    Project::quick("picky").file("src/main.rs", &format!("{refusals}fn main() {{}}\n"))
}

#[test]
fn a_compile_error_on_one_platform() {
    let project = picky(&["aarch64"]);
    let words = ["not on aarch64", "linux/arm64"];
    let finished = project.build().run().fails(ExitCode::Compile, &words);
    assert!(!project.default_layout("picky").exists(), "{}", finished.describe());
}

#[test]
fn a_compile_error_on_every_platform_tells_of_each_in_order() {
    let project = picky(&["x86_64", "aarch64"]);
    let finished = project.build().run().fails(ExitCode::Compile, &["linux/amd64"]);
    let errors: Vec<&str> =
        finished.stderr.lines().filter(|line| line.contains("error") && line.contains("linux/a")).collect();
    let first = |platform: &str| errors.iter().position(|line| line.contains(platform));
    assert!(first("linux/amd64") < first("linux/arm64"), "{}", finished.describe());
    assert!(first("linux/amd64").is_some(), "{}", finished.describe());
    assert!(finished.stderr.contains("not on x86_64") && finished.stderr.contains("not on aarch64"));
    assert!(!project.default_layout("picky").exists());
}

#[test]
fn allow_partial_publishes_the_rest_and_still_fails() {
    let project = picky(&["aarch64"]);
    let finished = project.build().arg("--allow-partial").run();
    assert_eq!(finished.status.code(), Some(ExitCode::Compile.number().into()), "{}", finished.describe());
    let layout = Layout::valid(&project.default_layout("picky"));
    let digest = layout.tags().remove("").expect("an image without a tag");
    let platforms: Vec<String> = layout.images(&digest).into_iter().map(|image| image.platform).collect();
    assert_eq!(platforms, ["linux/amd64"]);
}

#[test]
fn a_failed_run_leaves_the_last_image() {
    let project = Project::quick("picky");
    let before = project.build().run().success().digest();
    project.write("src/main.rs", "fn main() { this is no Rust }\n");
    project.build().run().fails(ExitCode::Compile, &["src/main.rs"]);
    let layout = Layout::valid(&project.default_layout("picky"));
    assert_eq!(layout.tags().remove(""), Some(before));
}

#[test]
fn an_artifact_of_another_machine() {
    // A linker that copies a program of this machine, whatever it is asked to link.
    let project = Project::program("fake")
        .script(
            "linker",
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = -o ] && cp /bin/true \"$2\"; shift; done\n",
        )
        .file("xbuild.toml", "platforms = [\"linux/arm64\"]\nbase = \"scratch\"\ntoolchain = \"cargo\"\n");
    let linker = project.path("linker");
    let run = project.build().env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", linker);
    // rustc would otherwise pass the linker only arguments of its own flavour; either way it is our script.
    let run = run.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS", "-Clinker-flavor=gcc").run();
    run.fails(ExitCode::WrongBinary, &["linux/arm64"]);
    assert!(!project.default_layout("fake").exists());
}

#[test]
fn a_truncated_blob_of_the_base() {
    let project = Project::program("app").file("xbuild.toml", MUSL);
    let layout = project.path("base");
    base::write(&layout, &["linux/amd64"]);
    let opened = Layout::valid(&layout);
    let image = opened.image(&opened.tags()[base::TAG], "linux/amd64");
    let digest = image.manifest["layers"][0]["digest"].as_str().expect("a digest").replace(':', "/");
    let blob = layout.join("blobs").join(&digest);
    let bytes = fs::read(&blob).expect("the base's layer");
    let build = || project.build().words("--platform linux/amd64 --base oci:base:base").run();
    build().success();
    let digits = digest.rsplit('/').next().expect("a digest");
    fs::write(&blob, &bytes[..bytes.len() - 1]).expect("our own file");
    build().fails(ExitCode::CorruptBase, &[digits, "hint"]);
    // The same size, but one bit differs.
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 1;
    fs::write(&blob, altered).expect("our own file");
    build().fails(ExitCode::CorruptBase, &[digits]);
    fs::write(&blob, bytes).expect("our own file");
    build().success();
}

/// Runs xbuild with the output `mounted/image`, where `mounted` is a small file system that only this run sees. What is
/// left there at the end is printed to standard error.
fn on_a_mount(project: &Project, mount: &str) -> Run {
    let dir = project.path("mounted");
    fs::create_dir_all(&dir).expect("a directory of the test");
    let dir = dir.display();
    let script = format!(
        "mount -t tmpfs -o {mount} tmpfs '{dir}' || exit 99; \"$@\"; code=$?; \
         echo \"left: [$(ls -A '{dir}')]\" >&2; exit $code"
    );
    let namespace = ["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    project.build().args(["--output", "mounted/image"]).wrapped(namespace)
}

#[test]
fn a_full_disk() {
    let project = Project::quick("app");
    // Compile first, so that only the image does not fit.
    project.build().run().success();
    let full = on_a_mount(&project, "size=64k").run();
    full.fails(ExitCode::DiskFull, &["hint", "left: []"]);
}

#[test]
fn a_read_only_output() {
    let project = Project::quick("app");
    on_a_mount(&project, "ro").run().fails(ExitCode::ReadOnly, &["hint", "--output", "left: []"]);
}

#[test]
fn an_output_that_is_something_else() {
    let project = Project::quick("app").file("photos/1.jpg", "jpg").file("notes.txt", "notes");
    for output in ["photos", "notes.txt"] {
        let run = project.build().args(["--output", output]).run();
        run.fails(ExitCode::NotALayout, &[output, "hint"]);
    }
    assert_eq!(names(&project.path("photos")), ["1.jpg"]);
    assert_eq!(fs::read_to_string(project.path("notes.txt")).expect("it is still there"), "notes");
    // An empty directory is allowed.
    fs::create_dir(project.path("empty")).expect("a directory of the test");
    project.build().args(["--output", "empty"]).run().success();
    Layout::valid(&project.path("empty"));
}

#[test]
fn no_toolchain_at_all_lists_every_way_with_its_reason() {
    // A configured path that does not exist, and no other way to find zig.
    let (project, dir) = (Project::program("app"), scratch());
    let user = dir.path().join("xbuild");
    fs::create_dir_all(&user).expect("a directory of the test");
    fs::write(user.join("config.toml"), "[zig]\npath = \"/nowhere/zig\"\nways = [\"configured\"]\n")
        .expect("a directory of the test");
    let run = xbuild()
        .dir(project.dir())
        .words("build --platform linux/arm64 --toolchain zig")
        .env("XDG_CONFIG_HOME", dir.path())
        .run();
    run.fails(ExitCode::Toolchain, &["zig", "/nowhere/zig", "hint"]);
}

/// Only 64 KiB of space where an archive is unpacked: in the cache, or beside it.
#[test]
fn a_base_that_has_no_room_is_not_a_damaged_one() {
    let project =
        Project::program("app").file("xbuild.toml", &format!("platforms = [\"linux/amd64\"]\n{MUSL}"));
    let mut random = vec![0; 300 << 10];
    fastrand::Rng::with_seed(7).fill(&mut random);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(random.len() as u64);
    builder.append_data(&mut header, "noise", random.as_slice()).expect("in memory");
    let tar = builder.into_inner().expect("in memory");
    let layer =
        base::Layer { stored: tar.clone(), tar, media_type: "application/vnd.oci.image.layer.v1.tar" };
    base::write_layers(&project.path("base"), &[layer], &serde_json::json!({}));
    project.xbuild().words("copy oci:base oci-archive:base.tar").run().success();
    project.xbuild().words("copy oci:base docker-archive:docker.tar:app:1").run().success();
    let plain = fs::read(project.path("base.tar")).expect("an archive");
    fs::write(project.path("base.tar.zst"), zstd::encode_all(&plain[..], 1).expect("in memory"))
        .expect("a file");
    fs::create_dir(project.path("small")).expect("a directory of the test");
    let small = project.path("small").display().to_string();
    let script = format!("mount -t tmpfs -o size=64k,mode=0700 tmpfs '{small}' || exit 99; exec \"$@\"");
    let in_small =
        |run: Run| run.wrapped(["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]);
    for base in ["oci-archive:base.tar", "docker-archive:docker.tar", "oci-archive:base.tar.zst"] {
        let build = || project.build().words("--output image --base").arg(base);
        let full = in_small(build().env("XBUILD_CACHE_DIR", &small)).run();
        full.fails(ExitCode::DiskFull, &["not enough disk space", "free in", "hint: free some space"]);
        assert!(!project.path("image").exists());
    }
    for words in ["inspect base.tar.zst", "copy base.tar.zst oci:copied", "verify base.tar.zst"] {
        let full = in_small(project.xbuild().words(words).env("TMPDIR", &small)).run();
        full.fails(ExitCode::DiskFull, &["not enough disk space", "hint: free some space"]);
    }
}
