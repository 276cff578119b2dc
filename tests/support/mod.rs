//! Tools for all integration tests: processes with limits, projects and layouts.

pub(crate) mod base;
pub(crate) mod bounds;
pub(crate) mod command;
pub(crate) mod lattice;
pub(crate) mod layout;
pub(crate) mod project;
pub(crate) mod step;
pub(crate) mod times;
pub(crate) mod verdict;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The three platforms that every example is built for, in the order of an index.
pub(crate) const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm/v7", "linux/arm64"];

/// The directory that all tests write to, below cargo's target directory.
pub(crate) fn scratch_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A new directory in it, removed with the value. Its name is in lower case, because podman names an image that it
/// reads from a layout by the layout's path.
pub(crate) fn scratch() -> tempfile::TempDir {
    times::start();
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

/// A port on loopback that nothing listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    listener.local_addr().expect("a bound socket").port()
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
}
