//! What zig builds for itself is the same whatever is in its cache, and wherever zig, the cache and the project are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::command::xbuild;
use crate::support::{base, repository, scratch, scratch_root, tools};

const TRIPLE: &str = "aarch64-unknown-linux-gnu";

/// Each profile, and the directory of its program.
const PROFILES: [(&str, &str); 4] =
    [("dev", "debug"), ("release", "release"), ("full", "full"), ("bare", "bare")];

/// A program with C code in it, for profiles that keep all, some and none of symbols and debug information. It would
/// not run on its base, which does not matter here.
fn write_project(dir: &Path) {
    let files = [
        (
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[build-dependencies]\ncc = \"1\"\n\n\
             [profile.full]\ninherits = \"release\"\ndebug = 2\nstrip = \"none\"\n\n\
             [profile.bare]\ninherits = \"release\"\nstrip = \"symbols\"\n\n[workspace]\n",
        ),
        ("build.rs", "fn main() { cc::Build::new().file(\"src/place.c\").compile(\"place\"); }\n"),
        (
            // zig's run-time library has the division; its headers have the type.
            "src/place.c",
            "#include <stdio.h>\n#include <stddef.h>\n\
             __int128 quotient(__int128 a, __int128 b) { return a / b; }\n\
             size_t place(FILE *to) { return to == NULL ? sizeof __FILE__ : 0; }\n",
        ),
        (
            "src/main.rs",
            "unsafe extern \"C\" { fn quotient(a: i128, b: i128) -> i128; fn place(to: *const u8) -> usize; }\n\
             fn main() {\n    let count = std::env::args().count();\n    assert!(count > 0, \"at {}\", file!());\n    \
             let place = unsafe { place(std::ptr::null()) };\n    \
             println!(\"{} {place}\", unsafe { quotient(1 << 70, count as i128) });\n}\n",
        ),
        (
            "xbuild.toml",
            "platforms = [\"linux/arm64\"]\nbase = \"oci:base\"\nglibc = \"2.36\"\n\n\
             [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-gnu\"\ntoolchain = \"zig\"\n",
        ),
    ];
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().expect("a path in a directory")).expect("a directory of the test");
        fs::write(path, text).expect("a directory of the test");
    }
    base::write(&dir.join("base"), &["linux/arm64"]);
    let lock = fs::read_to_string(repository().join("tests/fixtures/leaky/Cargo.lock")).expect("a lock file");
    // The same crates as in another test, so that nothing has to be fetched for this test alone.
    let lock: String = lock
        .split("\n[[package]]\n")
        .filter(|part| {
            ["name = \"leaky\"", "name = \"parts\"", "name = \"smallvec\""]
                .iter()
                .all(|name| !part.starts_with(name))
        })
        .collect::<Vec<_>>()
        .join("\n[[package]]\n");
    let own = "\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\ndependencies = [\n \"cc\",\n]\n";
    fs::write(dir.join("Cargo.lock"), lock + own).expect("a directory of the test");
}

/// The programs of these profiles, built in this order, with everything below `dir`: the project, the cache, and zig.
fn programs(dir: &Path, project: &str, zig: &Path, profiles: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    let project = dir.join(project);
    fs::create_dir_all(&project).expect("a directory of the test");
    write_project(&project);
    let mut programs: Vec<_> = profiles
        .iter()
        .map(|(profile, directory)| {
            xbuild()
                .dir(&project)
                .words("build --check off --profile")
                .arg(*profile)
                .env("XBUILD_CACHE_DIR", dir.join("cache"))
                .env("XBUILD_ZIG", zig)
                .env("SOURCE_DATE_EPOCH", "1700000000")
                .run()
                .success();
            let program = project.join("target").join(TRIPLE).join(directory).join("app");
            ((*profile).to_owned(), fs::read(program).expect("a program"))
        })
        .collect();
    programs.sort();
    programs
}

/// The texts of a program that contain one of these directories.
fn naming(program: &[u8], directories: &[PathBuf]) -> Vec<String> {
    let texts = program.split(|byte| !(0x20..0x7f).contains(byte)).map(String::from_utf8_lossy);
    let names = |text: &str| directories.iter().any(|directory| text.contains(&*directory.to_string_lossy()));
    texts.filter(|text| names(text)).map(std::borrow::Cow::into_owned).collect()
}

#[test]
fn two_histories_of_the_cache_give_the_same_programs_and_no_path_of_the_machine() {
    let zig = tools::zig();
    let (one, other) = (scratch(), scratch());
    let first = programs(one.path(), "project", &zig, &PROFILES);

    // The same zig in another directory, below the project itself, as in a virtual environment.
    let moved = other.path().join("somewhere/else/entirely/venv");
    fs::create_dir_all(&moved).expect("a directory of the test");
    fs::copy(&zig, moved.join("zig")).expect("the same file system has room");
    std::os::unix::fs::symlink(zig.with_file_name("lib"), moved.join("lib"))
        .expect("a directory of the test");
    let reversed: Vec<_> = PROFILES.into_iter().rev().collect();
    let second = programs(other.path(), "somewhere/else/entirely", &moved.join("zig"), &reversed);

    let home = |name: &str, below: &str| {
        let own = std::env::var_os(name).map(PathBuf::from);
        own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(below)))
    };
    let mut directories =
        vec![scratch_root(), repository().to_owned(), std::env::temp_dir(), zig.with_file_name("lib")];
    directories.extend(home("CARGO_HOME", ".cargo").into_iter().chain(home("RUSTUP_HOME", ".rustup")));
    for ((profile, a), (_, b)) in first.iter().zip(&second) {
        for program in [a, b] {
            assert_eq!(naming(program, &directories), Vec::<String>::new(), "{profile}");
        }
        assert!(a == b, "the programs of the profile {profile} differ");
    }
    // Check that the test would find something.
    let full = &first.iter().find(|(profile, _)| profile == "full").expect("a profile").1;
    assert_ne!(naming(full, &["/proc/self/fd/9/libc".into()]), Vec::<String>::new());
    assert_ne!(naming(full, &["/zig/lib".into()]), Vec::<String>::new());
}

#[test]
fn a_cold_cache_is_another_condition_of_repro() {
    let project = scratch();
    write_project(project.path());
    let zig = tools::zig();
    let run = || xbuild().dir(project.path()).env("XBUILD_ZIG", &zig);
    run()
        .words("repro --cold --check off --profile full")
        .run()
        .success()
        .tells(&["second build: with another directory", "an empty cache"]);
}
