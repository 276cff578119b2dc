//! Docker 26 beside the machine's own Docker: Debian trixie's packages, unpacked once into the tests' cache and started
//! in their own mount namespace. It is the version in Debian that can have containerd's image store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::command::{Run, tool};
use super::docker::{Daemon, as_root, path_with};
use super::{scratch_root, tools};
use crate::corpus::packages::Userland;

const PACKAGES: [&str; 4] = ["docker.io", "docker-cli", "containerd", "runc"];
/// The path of the daemon's own directory inside its root filesystem.
const INSIDE: &str = "/srv";
/// Enters the root filesystem $1, with the directory $2 in it as `/srv`, and executes the remaining arguments. The
/// mounts are gone with the last process.
const ENTER: &str = r#"set -eu
root=$1 directory=$2
shift 2
mount --bind "$root" "$root"
for name in proc sys dev; do mount --rbind "/$name" "$root/$name"; done
for name in run tmp; do mount -t tmpfs tmpfs "$root/$name"; done
mount --bind "$directory" "$root/srv"
PATH=/usr/sbin:/usr/bin:/sbin:/bin exec chroot "$root" "$@""#;

/// The image store of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// The daemon's own: one platform per name.
    Classic,
    /// containerd's: all platforms.
    Containerd,
}

/// The root filesystem with Docker.
static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let userland = Userland::get("trixie", "amd64", &PACKAGES);
    let root = scratch_root().join("cache/docker26");
    if root.join("complete").exists() {
        return root;
    }
    // Left by an earlier run that was stopped.
    fs::remove_dir_all(&root).ok();
    userland.unpack(&PACKAGES, &root);
    for dir in ["proc", "sys", "dev", "run", "tmp", "srv"] {
        fs::create_dir_all(root.join(dir)).expect("the cache is ours");
    }
    fs::write(root.join("complete"), "").expect("the cache is ours");
    root
});

/// Starts a daemon with this store.
#[track_caller]
pub(crate) fn start(store: Store) -> Daemon {
    Daemon::start_with(|dir| {
        let containerd = store == Store::Containerd;
        let features = serde_json::json!({ "features": { "containerd-snapshotter": containerd } });
        fs::write(dir.join("daemon.json"), features.to_string()).expect("a temporary directory");
        let driver = if containerd { "native" } else { "vfs" };
        as_root("unshare")
            .words("--mount --propagation private sh -c")
            .args([ENTER, "enter"])
            .arg(&*ROOT)
            .arg(dir)
            .words("dockerd --data-root /srv/data --exec-root /srv/exec --pidfile /srv/pid --host unix:///srv/socket")
            .words("--config-file /srv/daemon.json --storage-driver")
            .arg(driver)
    })
}

/// A script for `docker` on a `PATH`: the client of the same packages, with their own libraries.
pub(crate) fn script() -> String {
    let root = ROOT.display();
    format!(
        "#!/bin/sh\nexec '{root}/usr/lib64/ld-linux-x86-64.so.2' --inhibit-cache --library-path \
         '{root}/usr/lib/x86_64-linux-gnu' '{root}/usr/bin/docker' \"$@\"\n"
    )
}

/// The run with this daemon and the client of the same version.
pub(crate) fn with(daemon: &Daemon, run: Run) -> Run {
    let path = path_with(&daemon.dir().join("bin"), &[("docker", &script())]);
    run.env("PATH", path).env("DOCKER_HOST", daemon.host()).env_remove("DOCKER_CONTEXT")
}

/// `docker`, connected to this daemon.
pub(crate) fn docker(daemon: &Daemon) -> Run {
    let script = daemon.dir().join("bin/docker");
    with(daemon, tool(script))
}

/// `docker run` of a platform's image with the given program, under emulation if it is of another platform.
pub(crate) fn run(daemon: &Daemon, platform: &str, name: &str, program: &str) -> Run {
    let run = docker(daemon).words("run --rm --network none --platform").arg(platform);
    let Some(emulator) = tools::emulator(platform) else { return run.arg(name) };
    let here = daemon.dir().join("emulator");
    if !here.exists() {
        fs::copy(emulator, &here).expect("a temporary directory");
        fs::set_permissions(&here, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    run.args(["--volume", &format!("{}:/.emulator:ro", Path::new(INSIDE).join("emulator").display())]).args([
        "--entrypoint",
        "/.emulator",
        name,
        program,
    ])
}
