//! Docker: the test's own daemon, with storage that is removed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::command::{Run, Running, tool};

/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon. It needs root, as Docker's own does, or sudo.
pub(crate) struct Daemon {
    dir: tempfile::TempDir,
    process: Option<Running>,
}

impl Daemon {
    /// The machine's own Docker.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_with(|dir| {
            let at = |name: &str| dir.join(name);
            as_root("dockerd")
                .arg("--data-root")
                .arg(at("data"))
                .arg("--exec-root")
                .arg(at("exec"))
                .arg("--pidfile")
                .arg(at("pid"))
                .arg("--host")
                .arg(format!("unix://{}", at("socket").display()))
                .words("--storage-driver vfs")
        })
    }

    /// Starts a daemon whose socket appears as `socket` in the directory that `command` is given.
    #[track_caller]
    pub(crate) fn start_with(command: impl FnOnce(&Path) -> Run) -> Self {
        // Sockets need a short path.
        let dir = tempfile::Builder::new().prefix("xbuild-docker-").tempdir().expect("a temporary directory");
        let process = command(dir.path())
            .args(["--group".to_owned(), rustix::process::getegid().as_raw().to_string()])
            .words("--bridge none --iptables=false --ip6tables=false")
            .start();
        let daemon = Self { dir, process: Some(process) };
        let start = Instant::now();
        while !daemon.docker().arg("version").run().status.success() {
            let log = daemon.process.as_ref().map(Running::stderr).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "dockerd does not answer; it takes root:\n{log}");
            thread::sleep(Duration::from_millis(200));
        }
        daemon
    }

    /// The daemon's own directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The value for `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    /// `docker`, connected to this daemon.
    pub(crate) fn docker(&self) -> Run {
        tool("docker").env("DOCKER_HOST", self.host()).env_remove("DOCKER_CONTEXT")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        stop(self.process.take(), self.dir.path());
    }
}

/// Runs a program as root, or with sudo.
pub(crate) fn as_root(program: &str) -> Run {
    if rustix::process::geteuid().is_root() { tool(program) } else { tool("sudo").args(["-n", program]) }
}

/// Asks a daemon to end, waits for that, and removes the files that root has written.
fn stop(process: Option<Running>, dir: &Path) {
    let Some(mut process) = process else { return };
    process.signal(rustix::process::Signal::TERM);
    let start = Instant::now();
    while !process.has_ended() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(50));
    }
    as_root("rm").arg("-rf").arg(dir).run();
}

/// containerd alone, whose image store newer versions of Docker use; with its client.
pub(crate) struct Containerd {
    dir: tempfile::TempDir,
    process: Option<Running>,
}

impl Containerd {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("xbuild-ctr-").tempdir().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        let configuration = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n",
            at("root").display(),
            at("state").display(),
            at("socket").display(),
            at("ttrpc").display()
        );
        fs::write(at("config.toml"), configuration).expect("a temporary directory");
        let process = as_root("containerd").arg("--config").arg(at("config.toml")).start();
        let containerd = Self { dir, process: Some(process) };
        let start = Instant::now();
        while !containerd.ctr().words("version").run().status.success() {
            let log = containerd.process.as_ref().map(Running::stderr).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "containerd does not answer; it takes root:\n{log}");
            thread::sleep(Duration::from_millis(200));
        }
        containerd
    }

    /// `ctr`, connected to it.
    pub(crate) fn ctr(&self) -> Run {
        as_root("ctr").arg("--address").arg(self.dir.path().join("socket"))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        stop(self.process.take(), self.dir.path());
    }
}

/// A `PATH` on which the only engines are those that the test adds: scripts of these names, before everything else.
pub(crate) fn path_with(dir: &Path, scripts: &[(&str, &str)]) -> std::ffi::OsString {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(dir).expect("a directory of the test");
    for (name, text) in scripts {
        let path: PathBuf = dir.join(name);
        fs::write(&path, text).expect("a directory of the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }
    let own = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&own));
    std::env::join_paths(dirs).expect("paths without a colon")
}
