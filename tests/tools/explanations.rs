//! Checks what the installed tools really print when something is missing, and that all of it is understood. What other
//! versions print is in `src/payload/cargo/explain/said.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use xbuild::error::ExitCode;
use xbuild::internal::payload::explain::{Cause, causes};

use crate::support::command::{Run, tool};
use crate::support::project::Project;
use crate::support::{base, scratch, scratch_root, tools};

/// C files that lack something, and one that lacks nothing.
fn write_sources(dir: &Path) {
    for (name, text) in [
        ("whole.c", "int main(void) { return 0; }\n"),
        ("symbol.c", "int nowhere(void); int main(void) { return nowhere(); }\n"),
        ("header.c", "#include <nosuch/nosuch.h>\n"),
    ] {
        fs::write(dir.join(name), text).expect("a directory of the test");
    }
}

#[track_caller]
fn prints(run: Run, expected: &[Cause]) {
    let finished = run.run();
    assert!(!finished.status.success(), "{}", finished.describe());
    assert_eq!(
        causes(&finished.stderr),
        expected.iter().cloned().collect::<BTreeSet<_>>(),
        "{}",
        finished.describe()
    );
}

fn library(name: &str) -> Cause {
    Cause::Library(name.into())
}

#[test]
fn zig() {
    let dir = scratch();
    write_sources(dir.path());
    let zig = tools::zig();
    let cache = scratch_root().join("cache/xbuild/zig");
    let cc = |words: &str| {
        tool(&zig)
            .words("cc -target aarch64-linux-gnu.2.36 -O1 -fno-sanitize=all")
            .words(words)
            .dir(dir.path())
            .env("ZIG_GLOBAL_CACHE_DIR", &cache)
            .env("ZIG_LOCAL_CACHE_DIR", &cache)
    };
    prints(cc("whole.c -lnosuch -lother -o x"), &[library("nosuch"), library("other")]);
    prints(cc("whole.c -Wl,-Bstatic -lnosuch -o x"), &[library("nosuch")]);
    prints(cc("whole.c -L. -l:libnosuch.so.5 -o x"), &[library("libnosuch.so.5")]);
    prints(cc("symbol.c -o x"), &[Cause::Symbol("nowhere".into())]);
    prints(cc("-c header.c -o x.o"), &[Cause::Header("nosuch/nosuch.h".into())]);
    prints(cc("whole.c -Wl,--nosuch -o x"), &[Cause::Argument("--nosuch".into())]);
    prints(cc("whole.c -Wl,-z,nosuch -o x"), &[Cause::Argument("-z nosuch".into())]);
    prints(cc("whole.c -static -o x"), &[Cause::StaticGlibc]);
}

#[test]
fn the_hosts_compiler_and_linkers() {
    let dir = scratch();
    write_sources(dir.path());
    let cc = |words: &str| tool("cc").words(words).dir(dir.path()).env("LC_ALL", "C");
    cc("-c whole.c -o whole.o").run().success();
    cc("-c symbol.c -o symbol.o").run().success();
    prints(cc("whole.o -lnosuch -o x"), &[library("nosuch")]);
    prints(cc("symbol.o -o x"), &[Cause::Symbol("nowhere".into())]);
    prints(cc("-c header.c"), &[Cause::Header("nosuch/nosuch.h".into())]);
    prints(tool("sh").args(["-c", "exec nosuch-tool"]), &[Cause::HostTool("nosuch-tool".into())]);
    let sysroot = PathBuf::from(tool("rustc").words("--print sysroot").text().trim_end());
    let lld = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    let lld = |words: &str| tool(&lld).words("-flavor gnu").words(words).dir(dir.path());
    prints(lld("whole.o -lnosuch -o x"), &[library("nosuch")]);
    prints(lld("-e main symbol.o -o x"), &[Cause::Symbol("nowhere".into())]);
}

#[test]
fn rustc_and_pkg_config() {
    let dir = scratch();
    fs::write(dir.path().join("main.rs"), "fn main() {}\n").expect("a directory of the test");
    let rustc = |words: &str| tool("rustc").words("main.rs -o x").words(words).dir(dir.path());
    // No toolchain has a standard library for this target.
    prints(rustc("--target sparcv9-sun-solaris"), &[Cause::Standard]);
    prints(rustc("-Clinker=nosuch-gcc"), &[Cause::Tool("nosuch-gcc".into())]);
    prints(rustc("-lnosuch"), &[library("nosuch")]);
    prints(rustc("--crate-type rlib -lstatic=nosuch"), &[library("nosuch")]);
    prints(tool("pkg-config").words("--print-errors --exists nosuch"), &[Cause::Package("nosuch".into())]);
}

/// A project whose program cannot be linked.
fn unlinked(name: &str) -> Project {
    let project = Project::program(name).file(
        "xbuild.toml",
        "platforms = [\"linux/arm64\"]\nbase = \"oci:base\"\n\n\
         [platform.\"linux/arm64\"]\ntriple = \"aarch64-unknown-linux-gnu\"\ntoolchain = \"zig\"\n",
    );
    base::write(&project.path("base"), &["linux/arm64"]);
    project
}

#[test]
fn a_library_that_is_missing_is_told_once_and_what_to_do_in_the_end() {
    let declared = "#[link(name = \"nosuch\")] unsafe extern \"C\" { fn nosuch() -> i32; }\n\
                    fn main() { println!(\"{}\", unsafe { nosuch() }); }\n";
    let plain = declared.replace("#[link(name = \"nosuch\")] ", "");
    let script = "fn main() { println!(\"cargo::rustc-link-lib=nosuch\"); }\n";
    for (name, main, build) in [("by-script", &*plain, Some(script)), ("by-attribute", declared, None)] {
        let project = unlinked(name).file("src/main.rs", main);
        if let Some(build) = build {
            project.write("build.rs", build);
        }
        let finished = project.build().words("--progress plain").run().fails(
            ExitCode::Compile,
            &[
                "some arguments are omitted",
                "does not compile, as reported above:",
                "unable to find dynamic system library",
                "hint: the program links the system library `nosuch`",
            ],
        );
        assert_eq!(
            finished.stderr.matches("some arguments are omitted").count(),
            1,
            "{}",
            finished.describe()
        );
        // With `-q` the whole error is printed.
        let finished = project.build().arg("-q").run();
        assert_eq!(
            finished.stderr.matches("some arguments are omitted").count(),
            1,
            "{}",
            finished.describe()
        );
    }
}
