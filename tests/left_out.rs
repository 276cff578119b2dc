//! Prints how many tests a plain `cargo test` leaves out: those of the program `tools`, which need more than every machine
//! has. This is a test program without tests, so that cargo runs it with the others.

use std::fs;
use std::path::Path;

/// Set by `tests/run`, which runs those tests as well.
const ALL_RUN: &str = "XBUILD_TEST_ALL";
/// libtest's options that are followed by a value.
const WITH_VALUE: [&str; 7] =
    ["--color", "--format", "--logfile", "--shuffle-seed", "--skip", "--test-threads", "-Z"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(ALL_RUN).is_some() || arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    let (filters, exact) = (filters(&arguments), arguments.iter().any(|argument| argument == "--exact"));
    let selected = |name: &String| {
        filters.is_empty()
            || filters
                .iter()
                .any(|filter| if exact { name == *filter } else { name.contains(filter.as_str()) })
    };
    let mut names = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools"), "", &mut names);
    assert!(!names.is_empty(), "tests/tools has no tests");
    let count = names.iter().filter(|name| selected(name)).count();
    if count > 0 {
        let tests = if count == 1 { "test" } else { "tests" };
        println!(
            "\nleft out: {count} {tests} in tests/tools with podman, skopeo, zig, several targets and a network; \
             tests/run installs what is missing and runs them\n"
        );
    }
}

/// The arguments that select tests by their names.
fn filters(arguments: &[String]) -> Vec<&String> {
    let mut filters = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if WITH_VALUE.contains(&argument.as_str()) {
            rest.next();
        } else if !argument.starts_with('-') {
            filters.push(argument);
        }
    }
    filters
}

/// Adds the names of the tests in a directory, as libtest has them: `module::test`.
fn collect(dir: &Path, module: &str, names: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("the sources are where they were compiled") {
        let path = entry.expect("a readable directory").path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, &format!("{module}{stem}::"), names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = if stem == "mod" { module.to_owned() } else { format!("{module}{stem}::") };
            let text = fs::read_to_string(&path).expect("a source file is text");
            names.extend(tests(&text).map(|name| format!("{module}{name}")));
        }
    }
}

/// The functions with `#[test]`, whatever other attributes they have.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n#[test]\n").skip(1).filter_map(|rest| {
        let line = rest.lines().find_map(|line| line.strip_prefix("fn "));
        line.and_then(|line| line.split('(').next())
    })
}
