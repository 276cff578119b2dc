//! Prints how many tests a plain `cargo test` leaves out: those of the program `tools`, which need more than every machine
//! has. This is a test program without tests, so that cargo runs it with the others.

use std::fs;
use std::path::Path;

/// Set by `tests/run`, which runs those tests as well.
const ALL_RUN: &str = "XBUILD_TEST_ALL";

fn main() {
    // Whoever selects or lists tests knows which.
    let selects = |argument: String| argument == "--list" || !argument.starts_with('-');
    if std::env::var_os(ALL_RUN).is_some() || std::env::args().skip(1).any(selects) {
        return;
    }
    let count = tests_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools"));
    assert_ne!(count, 0, "tests/tools has no tests");
    println!(
        "\nleft out: {count} tests in tests/tools with podman, skopeo, zig, several targets and a network; tests/run \
         installs what is missing and runs them\n"
    );
}

/// The number of tests in a directory's sources.
fn tests_in(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("the sources are where they were compiled");
    let paths = entries.map(|entry| entry.expect("a readable directory").path());
    paths
        .map(|path| match path.extension() {
            _ if path.is_dir() => tests_in(&path),
            Some(extension) if extension == "rs" => {
                let text = fs::read_to_string(&path).expect("a source file is text");
                text.lines().filter(|line| *line == "#[test]").count()
            }
            _ => 0,
        })
        .sum()
}
