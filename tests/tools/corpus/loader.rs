//! Asks the real loader: umoci unpacks the image and its entrypoint is started in that root, natively or under
//! qemu-user, with every symbol bound at the start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::image::{Image, TAG};
use crate::support::command::{Finished, Run, tool};

/// The name of the emulator in the root that it is copied into.
const EMULATOR: &str = ".emulator";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Unpacks a layout's image. Returns its root.
pub(super) fn unpack(layout: &Path, root: &Path) {
    let mut umoci = tool("umoci").args(["raw", "unpack"]);
    if !is_root() {
        umoci = umoci.arg("--rootless");
    }
    umoci.arg("--image").arg(format!("{}:{TAG}", layout.display())).arg(root).run().success();
}

/// Runs a program of a root to its end; successful if it ran as it should.
pub(super) fn runs(image: &Image, root: &Path, cpu: Option<&str>) -> Finished {
    let path = image.env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(PATH);
    let mut arguments: Vec<String> = image.entrypoint.clone();
    if let Some(emulator) = emulator(image.platform, cpu) {
        let inside = root.join(EMULATOR);
        fs::copy(&emulator, &inside).expect("a root of the test");
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).expect("a root of the test");
        let program = on_path(root, &arguments[0], path);
        let mut line = vec![format!("/{EMULATOR}")];
        // The processor that the platform promises, not the best one.
        let promised = (image.platform == "linux/arm/v7").then_some("cortex-a15");
        if let Some(cpu) = cpu.or(promised) {
            line.extend(["-cpu".to_owned(), cpu.to_owned()]);
        }
        // The kernel would start a script's interpreter, which the emulator does not do.
        line.extend(interpreter(root, &program));
        line.push(program);
        line.extend(arguments.drain(1..));
        arguments = line;
    }
    let mut run = inside(root, image.user);
    for (name, _) in std::env::vars_os() {
        // podman finds its own configuration with these.
        if is_root() || !["HOME", "USER", "XDG_RUNTIME_DIR"].iter().any(|kept| name == *kept) {
            run = run.env_remove(name);
        }
    }
    run = run.args(arguments).env("PATH", path).env("LD_BIND_NOW", "1");
    for entry in &image.env {
        let (name, value) = entry.split_once('=').expect("NAME=value");
        run = run.env(name, value);
    }
    run.run()
}

/// A program in the root itself, for example its `ldconfig`.
pub(super) fn tool_of(platform: &str, root: &Path, line: &[&str]) -> Finished {
    let mut run = inside(root, None);
    if let Some(emulator) = emulator(platform, None) {
        let inside = root.join(EMULATOR);
        fs::copy(&emulator, &inside).expect("a root of the test");
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o755)).expect("a root of the test");
        run = run.arg(format!("/{EMULATOR}"));
    }
    let finished = run.args(line.iter().copied()).run().success();
    fs::remove_file(root.join(EMULATOR)).ok();
    finished
}

/// `chroot` into the root, as a user, with the machine's `/proc` and `/dev` in it as in a container; in a user
/// namespace unless the tests run as root.
fn inside(root: &Path, user: Option<&str>) -> Run {
    const MOUNT: &str = "root=$1; shift; for name in proc dev; do \
        /usr/bin/mkdir -p \"$root/$name\" && /usr/bin/mount --rbind \"/$name\" \"$root/$name\" || exit 99; done; exec \"$@\"";
    let find = |name: &str| {
        which::which(name)
            .unwrap_or_else(|_| panic!("{name} is missing; /usr/sbin is on the PATH of tests/run"))
    };
    let mut run = if is_root() {
        tool(find("unshare"))
    } else {
        tool(find("podman")).arg("unshare").arg(find("unshare"))
    };
    // The variables are only for the program; the commands before it are found without them.
    run = run.args(["--mount", "/bin/sh", "-c", MOUNT, "sh"]).arg(root);
    run = run.arg(find("chroot"));
    if let Some(user) = user {
        let user = if user.contains(':') { user.to_owned() } else { format!("{user}:{user}") };
        run = run.arg(format!("--userspec={user}")).arg("--groups=");
    }
    run.arg(root)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The static qemu-user for a platform; `None` if its programs run natively.
fn emulator(platform: &str, cpu: Option<&str>) -> Option<PathBuf> {
    let architecture = match platform.split('/').nth(1)? {
        "amd64" if cpu.is_none() => return None,
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    let name = format!("qemu-{architecture}-static");
    Some(which::which(&name).unwrap_or_else(|_| panic!("{name} is not installed; tests/run installs it")))
}

/// The path of a command on a root's `PATH`, found as `execvp` does: the first executable file.
fn on_path(root: &Path, command: &str, path: &str) -> String {
    if command.contains('/') {
        return command.to_owned();
    }
    let found = path.split(':').map(|dir| format!("{dir}/{command}")).find(|candidate| {
        let file = root.join(candidate.trim_start_matches('/'));
        // The target of a link inside the root cannot be resolved from outside.
        fs::symlink_metadata(file)
            .is_ok_and(|file| file.is_symlink() || (file.is_file() && file.permissions().mode() & 0o111 != 0))
    });
    found.unwrap_or_else(|| command.to_owned())
}

/// The interpreter of a script and its argument, parsed from its first line as the kernel does.
fn interpreter(root: &Path, program: &str) -> Vec<String> {
    let bytes = fs::read(root.join(program.trim_start_matches('/'))).unwrap_or_default();
    let Some(line) = bytes.strip_prefix(b"#!") else { return Vec::new() };
    let line =
        String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
    let line = line.trim_matches([' ', '\t']);
    match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => vec![interpreter.to_owned(), argument.trim_start().to_owned()],
        None => vec![line.to_owned()],
    }
}
