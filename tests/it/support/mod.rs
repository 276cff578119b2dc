//! What the tests are made with: processes with limits, projects, layouts, and tools that we did not write.

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

/// The folder that all tests write to, below cargo's target folder.
pub(crate) fn scratch_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A new folder in it, gone with the value. Its name is in lower case, for podman names an image that it reads from a
/// layout by the layout's path.
pub(crate) fn scratch() -> tempfile::TempDir {
    fs::create_dir_all(scratch_root()).expect("the target folder is ours");
    let name = format!("t-{:016x}", rand::random::<u64>());
    let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir_in(scratch_root());
    folder.expect("the target folder is ours")
}

/// The project's own folder.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Copies a folder with what is in it, `target` folders apart.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder of the test");
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            if name != "target" {
                copy_folder(&from, &to);
            }
        } else {
            fs::copy(&from, &to).expect("a file of the test");
        }
    }
}
