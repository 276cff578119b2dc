//! Nothing in the current directory is executed: being in a directory that somebody else has filled is no consent.

use std::path::PathBuf;

use crate::support::base;
use crate::support::command::{Run, xbuild};
use crate::support::project::Project;

/// Programs and Python modules that other programs would pick up from the current directory.
const PROGRAMS: [&str; 19] = [
    "zig",
    "cargo",
    "rustc",
    "rustup",
    "git",
    "python3",
    "python",
    "pip",
    "pip3",
    "uv",
    "docker",
    "podman",
    "kubectl",
    "clang",
    "cc",
    "ld.lld",
    "sh",
    "docker-credential-trap",
    "rust-lld",
];
const MODULES: [&str; 8] =
    ["ziglang", "pip", "os", "site", "json", "sitecustomize", "usercustomize", "importlib"];

/// A directory of traps, and the file in which each trap records its name.
struct Traps {
    directory: Project,
    mark: PathBuf,
}

impl Traps {
    fn set() -> Self {
        let mut directory = Project::outside();
        let mark = directory.path("sprung");
        let script = format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\nexit 1\n", mark.display());
        for name in PROGRAMS {
            directory = directory.script(&format!("bin/{name}"), &script);
            // In that case the module has the same file name.
            if !MODULES.contains(&name) {
                directory = directory.script(name, &script);
            }
        }
        let module = format!("open('{}', 'a').write(__name__ + chr(10))\n", mark.display());
        for name in MODULES {
            directory.write(&format!("{name}.py"), &module);
            directory.write(&format!("{name}/__init__.py"), &module);
            directory.write(&format!("{name}/__main__.py"), &module);
        }
        let trap = directory.path("cargo").display().to_string();
        directory.write(
            ".cargo/config.toml",
            &format!("[build]\nrustc = \"{trap}\"\nrustc-wrapper = \"{trap}\"\n"),
        );
        directory.write("rust-toolchain.toml", "[toolchain]\npath = \".\"\n");
        directory.write(".git/HEAD", "ref: refs/heads/main\n");
        directory.write(".git/config", &format!("[core]\n\tfsmonitor = {trap}\n\tbare = false\n"));
        directory.write(".git/refs/heads/.keep", "");
        directory.write(".git/objects/.keep", "");
        directory.write("uv.toml", "offline = true\n");
        Self { directory, mark }
    }

    /// xbuild in the directory, with a `PATH` that names the directory in every way.
    fn xbuild(&self) -> Run {
        let path = std::env::var("PATH").expect("a PATH");
        xbuild().dir(self.directory.dir()).env("PATH", format!(".::bin:./bin:{path}:"))
    }

    #[track_caller]
    fn are_not_sprung(&self, after: &str) {
        let sprung = std::fs::read_to_string(&self.mark).unwrap_or_default();
        assert!(sprung.is_empty(), "{after} ran what lies in the current directory:\n{sprung}");
    }
}

#[test]
fn commands_run_nothing_of_the_directory_that_one_stands_in() {
    let traps = Traps::set();
    let project = Project::program("app").file("xbuild.toml", "base = \"scratch\"\n");
    let layout = project.path("base");
    base::write(&layout, &["linux/amd64"]);
    let cache = crate::support::scratch();
    let manifest = project.path("Cargo.toml").display().to_string();
    let image = format!("oci:{}", layout.display());
    let copied = project.path("copied").display().to_string();
    let commands: [&[&str]; 16] = [
        &["toolchain", "list"],
        &["toolchain", "path", "zig"],
        &["doctor", "--offline"],
        &["targets"],
        &["plan", "--manifest-path", &manifest],
        &["plan", "--manifest-path", &manifest, "--toolchain", "zig"],
        &["lock", "--manifest-path", &manifest, "--offline"],
        &["matrix", "--manifest-path", &manifest],
        &["inspect", &image],
        &["ls", &image],
        &["verify", &image],
        &["copy", &image, &copied],
        &["resolve", "-f", &manifest],
        &["completions", "bash"],
        &["inspect", "docker-daemon:absent:1"],
        &["inspect", "podman:absent:1"],
    ];
    for command in commands {
        // Some commands fail, since there is no engine and the cache is empty; only what they executed matters.
        traps.xbuild().env("XDG_CACHE_HOME", cache.path()).args(command).run();
        traps.are_not_sprung(&command.join(" "));
    }
}

#[test]
fn a_build_of_a_project_elsewhere_runs_nothing_of_the_directory_that_one_stands_in() {
    let traps = Traps::set();
    let project = Project::quick("app");
    let manifest = project.path("Cargo.toml");
    traps.xbuild().words("build --manifest-path").arg(&manifest).run().success();
    traps.are_not_sprung("build");
}

#[test]
fn build_scripts_do_not_see_the_passwords_of_registries() {
    let script = "fn main() {\n    for (name, value) in std::env::vars() {\n        \
        assert!(!value.contains(\"hunter2\"), \"{name} reaches build scripts\");\n    }\n}\n";
    let project = Project::quick("app").file("build.rs", script);
    let secret = r#"{"auths":{"r.example":{"auth":"dTpodW50ZXIy","password":"hunter2"}}}"#;
    let run = project.xbuild().arg("build").env("XBUILD_REGISTRY_USERNAME", "me");
    run.env("XBUILD_REGISTRY_PASSWORD", "hunter2").env("DOCKER_AUTH_CONFIG", secret).run().success();
    project.write("build.rs", &format!("{script}// again\n"));
    project.xbuild().arg("build").env("XBUILD_REGISTRY_TOKEN", "hunter2").run().success();
}
