//! skopeo, umoci and qemu-user: third-party readers of our layouts; and projects that need a compiler.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{Run, tool, xbuild};
use super::layout::{Layout, REF_NAME};
use super::project::Project;

pub(crate) use super::json;

/// The name by which skopeo and podman find the only image of a layout: `oci:PATH` or `oci:PATH:TAG`.
#[track_caller]
pub(crate) fn reference(layout: &Path) -> String {
    let opened = Layout::valid(layout);
    let [entry] = &opened.entries[..] else { panic!("not one image: {:?}", opened.entries) };
    match entry["annotations"][REF_NAME].as_str() {
        Some(tag) => format!("oci:{}:{tag}", layout.display()),
        None => format!("oci:{}", layout.display()),
    }
}

/// The zig that xbuild provides; installs it first.
#[track_caller]
pub(crate) fn zig() -> PathBuf {
    xbuild().words("toolchain install zig --quiet").run().success();
    PathBuf::from(xbuild().words("toolchain path zig --quiet").text().trim_end())
}

/// Installs the zig that xbuild provides into another cache, as its archive would.
#[track_caller]
pub(crate) fn put_zig(cache: &Path) {
    zig();
    let (own, to) = (super::scratch_root().join("cache/xbuild/toolchains"), cache.join("toolchains"));
    std::fs::create_dir_all(&to).expect("a directory of the test");
    let copy = "cp -a --reflink=auto \"$0\"/zig-* \"$1\" && chmod 700 \"$1\" \"${1%/*}\"";
    tool("sh").arg("-c").arg(copy).arg(own).arg(to).run().success();
}

/// skopeo for one platform.
pub(crate) fn skopeo(platform: &str) -> Run {
    let mut parts = platform.split('/');
    let mut run = tool("skopeo").arg("--insecure-policy");
    for option in ["--override-os", "--override-arch", "--override-variant"] {
        if let Some(part) = parts.next() {
            run = run.args([option, part]);
        }
    }
    run
}

/// `skopeo inspect` of a platform.
#[track_caller]
pub(crate) fn inspect(layout: &Path, platform: &str) -> Value {
    json(&skopeo(platform).arg("inspect").arg(reference(layout)).text())
}

/// `skopeo inspect --config` of a platform: its image configuration.
#[track_caller]
pub(crate) fn inspect_config(layout: &Path, platform: &str) -> Value {
    json(&skopeo(platform).words("inspect --config").arg(reference(layout)).text())
}

/// Copies everything with skopeo, which verifies every digest.
#[track_caller]
pub(crate) fn copy_all(layout: &Path) {
    let dir = super::scratch();
    let to = format!("dir:{}", dir.path().join("copy").display());
    skopeo("linux/amd64").words("copy --quiet --all").arg(reference(layout)).arg(to).run().success();
}

/// Unpacks a platform's image into `dir` with umoci, and returns its root filesystem. umoci takes the first image of a
/// nested index, so skopeo first selects the platform's image.
#[track_caller]
pub(crate) fn unpack(layout: &Path, platform: &str, dir: &Path) -> PathBuf {
    let single = dir.join("single");
    let to = format!("oci:{}:image", single.display());
    skopeo(platform).words("copy --quiet").arg(reference(layout)).arg(to).run().success();
    let mut umoci = tool("umoci").arg("unpack");
    if !rustix::process::geteuid().is_root() {
        umoci = umoci.arg("--rootless");
    }
    let bundle = dir.join("bundle");
    umoci.arg("--image").arg(format!("{}:image", single.display())).arg(&bundle).run().success();
    bundle.join("rootfs")
}

/// `rustc`'s name for the architecture of a platform.
pub(crate) fn architecture(platform: &str) -> &'static str {
    match platform {
        "linux/amd64" => "x86_64",
        "linux/arm64" => "aarch64",
        "linux/arm/v7" => "arm",
        other => panic!("no example is built for {other}"),
    }
}

/// The path of the static qemu-user that runs a platform's programs; `None` for our own platform.
pub(crate) fn emulator(platform: &str) -> Option<PathBuf> {
    let name = match platform {
        "linux/amd64" => return None,
        "linux/arm64" => "qemu-aarch64",
        "linux/arm/v7" => "qemu-arm",
        other => panic!("no example is built for {other}"),
    };
    let found = [format!("{name}-static"), name.to_owned()]
        .into_iter()
        .find_map(|name| which::which(name).ok())
        .unwrap_or_else(|| panic!("{name}-static is not installed; tests/run installs it"));
    // The source of a bind mount must not be a link.
    Some(found.canonicalize().expect("a path that was found"))
}

/// A program of a root filesystem, run with that filesystem's own loader and libraries, as on a machine of its
/// platform.
pub(crate) fn program(root: &Path, platform: &str, path: &str) -> Run {
    let program = root.join(path.trim_start_matches('/'));
    if let Some(emulator) = emulator(platform) {
        return tool(emulator).arg("-L").arg(root).arg(program);
    }
    // Its own loader, at the path that the program names, and only its own libraries.
    let loader = root.join("lib64/ld-linux-x86-64.so.2");
    let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|dir| root.join(dir));
    let libraries = std::env::join_paths(libraries).expect("paths without a colon");
    tool(loader).arg("--inhibit-cache").arg("--library-path").arg(libraries).arg(program)
}

impl Project {
    /// The same with a build script, and the sign by which C code is known: the script may use a package called `cc`, in
    /// which nothing is.
    pub(crate) fn compiling_c(self, build_script: &str) -> Self {
        let manifest = fs::read_to_string(self.path("Cargo.toml")).expect("a package's manifest");
        self.file("Cargo.toml", &format!("{manifest}\n[build-dependencies]\ncc = {{ path = \"cc\" }}\n"))
            .file("cc/Cargo.toml", "[package]\nname = \"cc\"\nversion = \"1.0.0\"\nedition = \"2024\"\n")
            .file("cc/src/lib.rs", "")
            .file("build.rs", build_script)
    }
}
