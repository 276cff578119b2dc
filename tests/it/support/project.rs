//! Cargo projects in folders of their own.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::{Run, tool, xbuild};

/// A cargo project without dependencies.
#[derive(Debug)]
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// An empty folder.
    pub(crate) fn empty() -> Self {
        Self { folder: super::scratch() }
    }

    /// An empty folder that is not inside of our own repository, where cargo finds no Cargo.toml above.
    pub(crate) fn outside() -> Self {
        Self { folder: tempfile::tempdir().expect("the system has a folder for temporary files") }
    }

    /// A package without any source file.
    pub(crate) fn package(name: &str) -> Self {
        // The empty table makes it the root of its own workspace: it lies inside of our own repository.
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2024\"\n\n[workspace]\n");
        Self::empty().file("Cargo.toml", &manifest)
    }

    /// A package with a program that prints its name and architecture.
    pub(crate) fn program(name: &str) -> Self {
        let main = format!("fn main() {{ println!(\"{name} on {{}}\", std::env::consts::ARCH); }}\n");
        Self::package(name).file("src/main.rs", &main)
    }

    /// A program on the base `scratch` for two platforms that need no toolchain beside rustup's: the
    /// quickest image there is.
    pub(crate) fn quick(name: &str) -> Self {
        Self::program(name)
            .file("xbuild.toml", "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"scratch\"\n")
    }

    /// Two static platforms on a layout beside the project, compiled by what rustup has.
    pub(crate) fn on_layout() -> Self {
        const STATIC: &str = "platforms = [\"linux/amd64\", \"linux/arm64\"]\nbase = \"oci:base:base\"\n\
            [platform.\"linux/amd64\"]\ntriple = \"x86_64-unknown-linux-musl\"\n\
            [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-musl\"\n";
        let project = Self::program("app").file("xbuild.toml", STATIC);
        super::base::write(&project.path("base"), &["linux/amd64", "linux/arm64"]);
        project
    }

    /// The same project with this file.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a path in a folder")).expect("a folder of the test");
        fs::write(path, text).expect("a folder of the test");
    }

    /// Writes a shell script that may be executed.
    pub(crate) fn script(self, path: &str, text: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        self.write(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).expect("our own file");
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the project.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The folder that the image goes to where nothing else is asked for.
    pub(crate) fn default_layout(&self, package: &str) -> PathBuf {
        self.path("target/xbuild").join(package)
    }

    /// `xbuild build` in the project's folder. `SOURCE_DATE_EPOCH` is set: the folder lies in our own
    /// repository, whose commits are not the project's.
    pub(crate) fn build(&self) -> Run {
        self.xbuild().arg("build")
    }

    /// `xbuild` in the project's folder.
    pub(crate) fn xbuild(&self) -> Run {
        xbuild().folder(self.folder.path()).env("SOURCE_DATE_EPOCH", "1700000000")
    }

    /// Makes it a git repository with one commit of this date, in seconds since 1970; the commit's hash.
    pub(crate) fn commit(&self, date: u64) -> String {
        let git = |words: &str| {
            let date = format!("{date} +0000");
            tool("git")
                .folder(self.folder.path())
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
