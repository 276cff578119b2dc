//! What a test may find missing on a machine. A test that needs such a thing is ignored, with a reason that names it, so that
//! `cargo test` passes everywhere; `tests/run` installs the tools and runs every test.

use std::ffi::OsStr;

/// The programs that a machine may lack, and what reasons call them.
const PROGRAMS: [(&str, &str); 13] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("docker", "docker"),
    ("docker-registry", "docker-registry"),
    ("dockerd", "docker"),
    ("kubectl", "kubectl"),
    ("openssl", "openssl"),
    ("pkg-config", "pkg-config"),
    ("podman", "podman"),
    ("skopeo", "skopeo"),
    ("strace", "strace"),
    ("umoci", "umoci"),
    ("unshare", "user namespaces"),
];

/// The same for a program that is about to be started; most programs are everywhere.
#[track_caller]
pub(crate) fn needs_program(program: &OsStr) {
    if let Some((_, what)) = PROGRAMS.iter().find(|(name, _)| program == *name) {
        needs(what);
    }
}

/// Asserts that ignored tests are to run. A test that lacks its `#[ignore]` thereby fails on machines that have the tool, too.
#[track_caller]
pub(crate) fn needs(what: &str) {
    let asked = std::env::args().any(|argument| argument == "--include-ignored" || argument == "--ignored");
    assert!(asked, "a test that needs {what} has `#[ignore = \"needs {what}: tests/run\"]`");
}
