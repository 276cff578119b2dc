//! Tools for the tests: processes with limits, projects, layouts, and third-party programs.

pub(crate) mod base;
pub(crate) mod command;
pub(crate) mod docker;
pub(crate) mod docker26;
pub(crate) mod example;
pub(crate) mod fault;
pub(crate) mod http;
pub(crate) mod layout;
pub(crate) mod mirror;
pub(crate) mod podman;
pub(crate) mod project;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod token;
pub(crate) mod tools;

use std::fs;
use std::path::{Path, PathBuf};

/// The three platforms that every example is built for, in the order of an index.
pub(crate) const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm/v7", "linux/arm64"];

/// The directory that all tests write to, below cargo's target directory.
pub(crate) fn scratch_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A new directory in it, removed with the value. Its name is in lower case, because podman names an image that it
/// reads from a layout by the layout's path.
pub(crate) fn scratch() -> tempfile::TempDir {
    fs::create_dir_all(scratch_root()).expect("the target directory is ours");
    let name = format!("t-{:016x}", rand::random::<u64>());
    let dir = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in(scratch_root());
    dir.expect("the target directory is ours")
}

/// The project's own directory.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("a readable directory").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Copies a directory with its content, except `target` directories.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory of the test");
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            if name != "target" {
                copy_dir(&from, &to);
            }
        } else {
            fs::copy(&from, &to).expect("a file of the test");
        }
    }
}
