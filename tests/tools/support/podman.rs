//! podman, with its own storage, without systemd and without the machine's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::command::{Run, tool};
use super::tools::{emulator, json, reference};

/// The directories of the tests' podman. Its sockets need a short path, so they are not below cargo's target directory.
static STORE: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = std::env::temp_dir().join(format!("xbuild-podman-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir_all(&dir).expect("a temporary directory");
    // Some machines refuse the limits that podman would set by default.
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    fs::write(dir.join("containers.conf"), limits).expect("a temporary directory");
    dir
});

/// An image in podman's storage.
#[derive(Debug)]
pub(crate) struct Pulled {
    id: String,
    platform: String,
}

/// A container that runs in the background; removed with the value.
#[derive(Debug)]
pub(crate) struct Container(String);

pub(crate) fn podman() -> Run {
    let dir = &*STORE;
    tool("podman")
        .env("CONTAINERS_CONF", dir.join("containers.conf"))
        .words("--runtime runc --cgroup-manager cgroupfs --events-backend none --storage-driver vfs --root")
        .arg(dir.join("root"))
        .arg("--runroot")
        .arg(dir.join("run"))
}

impl Pulled {
    /// Has podman read a platform's image from a layout.
    #[track_caller]
    pub(crate) fn from_layout(layout: &Path, platform: &str) -> Self {
        // podman names the image by the layout's path, moves that name with each pull and prints the image that it then
        // points to: during a concurrent pull of another platform, that may be the other image.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _pull = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts = platform.split('/');
        let mut run = podman().words("pull --quiet");
        for option in ["--os", "--arch", "--variant"] {
            if let Some(part) = parts.next() {
                run = run.args([option, part]);
            }
        }
        let id = run.arg(reference(layout)).text().trim().to_owned();
        Self { id, platform: platform.to_owned() }
    }

    /// The image's entrypoint, as podman reports it.
    fn entrypoint(&self) -> Vec<String> {
        let answer = podman().words("image inspect").arg(&self.id).text();
        let entrypoint = &json(&answer)[0]["Config"]["Entrypoint"];
        serde_json::from_value(entrypoint.clone()).unwrap_or_else(|_| panic!("no entrypoint: {answer}"))
    }

    /// `podman run` with `options`: the unchanged image with its own user, environment and directory. If it is for
    /// another platform, qemu-user is mounted into it and started with the image's entrypoint, so that nothing depends
    /// on the kernel's settings for foreign programs.
    fn command(&self, options: &str, program: Option<&str>) -> Run {
        let mut run = podman().arg("run").words(options);
        let mut entrypoint = program.map_or_else(|| self.entrypoint(), |program| vec![program.to_owned()]);
        if let Some(emulator) = emulator(&self.platform) {
            run = run.arg("--volume").arg(format!("{}:/.emulator:ro", emulator.display()));
            entrypoint.insert(0, "/.emulator".to_owned());
        }
        run.arg("--entrypoint").arg(serde_json::json!(entrypoint).to_string()).arg(&self.id)
    }

    /// Runs the image's entrypoint with `arguments` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.command("--rm --network none", None).args(arguments.iter().copied())
    }

    /// Runs another program of the image to its end.
    pub(crate) fn run_program(&self, program: &str, arguments: &[&str]) -> Run {
        self.command("--rm --network none", Some(program)).args(arguments.iter().copied())
    }

    /// Starts the image's entrypoint in the background, on this machine's own network.
    #[track_caller]
    pub(crate) fn start(&self, variables: &[(&str, &str)]) -> Container {
        let variables: Vec<String> =
            variables.iter().map(|(name, value)| format!("--env {name}={value}")).collect();
        let options = format!("--detach --no-healthcheck --network host {}", variables.join(" "));
        Container(self.command(&options, None).text().trim().to_owned())
    }
}

impl Container {
    /// Copies a file out of the container.
    #[track_caller]
    pub(crate) fn copy(&self, path: &str, to: &Path) {
        podman().arg("cp").arg(format!("{}:{path}", self.0)).arg(to).run().success();
    }

    /// Its program's output.
    pub(crate) fn logs(&self) -> String {
        podman().arg("logs").arg(&self.0).run().describe()
    }

    /// Asks the program to stop. Returns its exit code.
    #[track_caller]
    pub(crate) fn stop(&self) -> String {
        podman().words("stop --time 20").arg(&self.0).run().success();
        podman().words("inspect --format {{.State.ExitCode}}").arg(&self.0).text().trim().to_owned()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        podman().words("rm --force --volumes --time 0").arg(&self.0).run();
    }
}

/// A script that runs `podman` with the tests' storage, for programs that look for it on `PATH`.
pub(crate) fn script() -> String {
    let dir = STORE.display();
    let program = which::which("podman").expect("tests/run installs podman");
    format!(
        "#!/bin/sh\nexport CONTAINERS_CONF='{dir}/containers.conf'\nexec '{}' --runtime runc --cgroup-manager \
         cgroupfs --events-backend none --storage-driver vfs --root '{dir}/root' --runroot '{dir}/run' \"$@\"\n",
        program.display()
    )
}
