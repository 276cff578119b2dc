//! Cargo projects, each in its own directory.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::{Run, tool, xbuild};

/// A cargo project without dependencies.
#[derive(Debug)]
pub(crate) struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    /// An empty directory.
    pub(crate) fn empty() -> Self {
        Self { dir: super::scratch() }
    }

    /// An empty directory outside this repository, so that cargo finds no Cargo.toml above it.
    pub(crate) fn outside() -> Self {
        Self { dir: tempfile::tempdir().expect("the system has a directory for temporary files") }
    }

    /// A package without any source file.
    pub(crate) fn package(name: &str) -> Self {
        // The empty table makes it the root of its own workspace, since it is inside this repository.
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2024\"\n\n[workspace]\n");
        Self::empty().file("Cargo.toml", &manifest)
    }

    /// A package with a program that prints its name and architecture.
    pub(crate) fn program(name: &str) -> Self {
        let main = format!("fn main() {{ println!(\"{name} on {{}}\", std::env::consts::ARCH); }}\n");
        Self::package(name).file("src/main.rs", &main)
    }

    /// A program on the base `scratch` for two platforms that need no toolchain but rustup's: the quickest image to
    /// build.
    pub(crate) fn quick(name: &str) -> Self {
        Self::program(name)
            .file("xbuild.toml", "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"scratch\"\n")
    }

    /// A program without any library, for linux/amd64, on the layout `base`, which the test writes. Every machine that has Rust
    /// and a linker can build it: it needs neither another target of Rust nor a toolchain for C.
    pub(crate) fn bare(name: &str) -> Self {
        const MAIN: &str = r#"#![no_std]
#![no_main]

core::arch::global_asm!(".globl _start", "_start:", "mov edi, 0", "mov eax, 231", "syscall");

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
"#;
        const BUILD: &str = r#"fn main() {
    for argument in ["-nostartfiles", "-nostdlib", "-static"] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
"#;
        const HOST: &str = "platforms = [\"linux/amd64\"]\nbase = \"oci:base\"\ntoolchain = \"cargo\"\n\
            [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-gnu\"\n";
        let project =
            Self::package(name).file("src/main.rs", MAIN).file("build.rs", BUILD).file("xbuild.toml", HOST);
        let manifest = fs::read_to_string(project.path("Cargo.toml")).expect("it was written");
        project.file("Cargo.toml", &(manifest + "\n[profile.release]\npanic = \"abort\"\n"))
    }

    /// Two static platforms on a layout beside the project, compiled with what rustup has.
    pub(crate) fn on_layout() -> Self {
        const STATIC: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"oci:base:base\"\n\
            [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n\
            [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"\n";
        let project = Self::program("app").file("xbuild.toml", STATIC);
        super::base::write(&project.path("base"), &["linux/amd64", "linux/arm64"]);
        project
    }

    /// Adds this file to the project.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    /// Writes a file, and creates the directories above it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a path in a directory")).expect("a directory of the test");
        fs::write(path, text).expect("a directory of the test");
    }

    /// Writes an executable shell script.
    pub(crate) fn script(self, path: &str, text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).expect("our own file");
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the project.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The directory of the image if no output is given.
    pub(crate) fn default_layout(&self, package: &str) -> PathBuf {
        self.path("target/xbuild").join(package)
    }

    /// `xbuild build` in the project's directory. `SOURCE_DATE_EPOCH` is set, since the directory is in this
    /// repository, whose commits are not the project's.
    pub(crate) fn build(&self) -> Run {
        self.xbuild().arg("build")
    }

    /// `xbuild` in the project's directory.
    pub(crate) fn xbuild(&self) -> Run {
        xbuild().dir(self.dir.path()).env("SOURCE_DATE_EPOCH", "1700000000")
    }

    /// Makes it a git repository with one commit of this date, in seconds since 1970. Returns the commit's hash.
    pub(crate) fn commit(&self, date: u64) -> String {
        let git = |words: &str| {
            let date = format!("{date} +0000");
            tool("git")
                .dir(self.dir.path())
                .words("-c user.name=test -c user.email=test@example.org -c init.defaultBranch=main")
                .words("-c commit.gpgSign=false")
                .words(words)
                .env("GIT_AUTHOR_DATE", &date)
                .env("GIT_COMMITTER_DATE", &date)
                .text()
        };
        self.write(".gitignore", "target\nCargo.lock\n");
        git("init -q .");
        git("add .");
        git("commit -q -m test");
        git("rev-parse HEAD").trim().to_owned()
    }
}
