//! `toolchain = "lld"`: programs linked against packages of the base's own release, without zig.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xbuild::error::ExitCode;

use crate::support::command::{Run, tool};
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::{PLATFORMS, copy_dir, scratch, tools};

/// What depends most on how a program is linked: unwinding, threads and their variables, names, files.
const MAIN: &str = r#"use std::cell::Cell;
use std::net::ToSocketAddrs;
use std::{fs, panic, thread};

thread_local! {
    static OWN: Cell<u32> = const { Cell::new(1) };
}

struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        println!("dropped");
    }
}

fn main() {
    panic::set_hook(Box::new(|_| ()));
    let caught = panic::catch_unwind(|| {
        let _loud = Loud;
        fs::read("/no/such/file").expect("a file");
    });
    println!("caught {}", caught.is_err());
    let threads: Vec<_> = (0..4)
        .map(|number| thread::spawn(move || OWN.with(|own| own.replace(number) + own.get())))
        .collect();
    let sum: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!("threads {sum} {}", OWN.with(Cell::get));
    println!("panicking thread {}", thread::spawn(|| panic!("x")).join().is_err());
    println!("address {}", "127.0.0.1:80".to_socket_addrs().unwrap().next().unwrap());
    println!("backtrace {}", !std::backtrace::Backtrace::force_capture().to_string().is_empty());
}
"#;
const SAID: &str =
    "dropped\ncaught true\nthreads 10 1\npanicking thread true\naddress 127.0.0.1:80\nbacktrace true\n";

const CONFIGURATION: &str = "toolchain = \"lld\"\n[debian]\nsuites = [\"bookworm\"]\n";

fn project(configuration: &str) -> Project {
    Project::package("app").file("src/main.rs", MAIN).file("xbuild.toml", configuration)
}

/// Without any zig on the machine, and without one that could be downloaded.
fn without_zig(run: Run) -> Run {
    run.env("XBUILD_ZIG", "/no/such/zig")
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

#[test]
fn programs_run_on_the_root_that_they_were_linked_for() {
    let project = project(CONFIGURATION);
    let layout = project.path("out");
    let build = without_zig(project.build()).arg("--output").arg(&layout).run().success();
    let digest = build.digest();
    Layout::valid(&layout);
    for platform in PLATFORMS {
        let dir = scratch();
        let root = tools::unpack(&layout, platform, dir.path());
        assert_eq!(tools::program(&root, platform, "/usr/local/bin/app").text(), SAID, "{platform}");
    }
    // The same anywhere, and again.
    let elsewhere = Project::empty();
    for name in ["Cargo.toml", "xbuild.toml"] {
        fs::copy(project.path(name), elsewhere.path(name)).expect("a file of the test");
    }
    copy_dir(&project.path("src"), &elsewhere.path("src"));
    assert_eq!(without_zig(elsewhere.build()).run().success().digest(), digest);
}

#[test]
fn the_plan_names_what_programs_are_linked_against() {
    let project = project(CONFIGURATION);
    let plan = without_zig(project.xbuild().arg("plan")).arg("--json").run().success();
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    for platform in plan["platforms"].as_array().expect("platforms") {
        assert_eq!(platform["linker"], "lld");
        assert_eq!(platform["glibc"], json!([2, 36]));
        assert_eq!(platform["sysroot"]["release"], "bookworm");
        let packages = platform["sysroot"]["packages"].as_array().expect("packages");
        let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        for name in ["libc6", "libc6-dev", "libgcc-s1", "libgcc-12-dev"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(packages.iter().all(|package| package["why"].as_str().is_some_and(|why| !why.is_empty())));
    }
    let text = without_zig(project.xbuild().arg("plan")).run().success().stdout;
    assert!(text.contains("rust-lld with a sysroot  (xbuild.toml:1:13)"), "{text}");
    assert!(text.contains("sysroot     bookworm: "), "{text}");
}

#[test]
fn a_lock_pins_the_sysroot_and_only_that_is_used() {
    let project = project(&CONFIGURATION.replace("toolchain", "platforms = [\"linux/arm64\"]\ntoolchain"));
    let locked = |more: &str| -> Run { without_zig(project.build()).words(more) };
    let digest = locked("").run().success().digest();
    without_zig(project.xbuild().arg("lock")).run().success();
    let text = fs::read_to_string(project.path("xbuild.lock")).expect("a lock");
    assert!(
        text.contains("[[sysroot]]\nplatform = \"linux/arm64\"") && text.contains("name = \"libc6-dev\""),
        "{text}"
    );
    assert!(!text.contains("[zig]"), "{text}");
    // Neither the network nor an index is needed any more.
    assert_eq!(locked("--locked --offline").run().success().digest(), digest);
    // A lock of another release has none.
    let at = text.find("[[sysroot]]").expect("it has one");
    project.write("xbuild.lock", &text[..at].replace("version = 3", "version = 2"));
    locked("--locked").run().fails(ExitCode::Locked, &["are not pinned, and --locked forbids"]);
    locked("").run().success();
    assert_eq!(fs::read_to_string(project.path("xbuild.lock")).expect("a lock"), text, "it is completed");
    // It has a name of its own.
    without_zig(project.xbuild().words("lock --update sysroot")).run().success();
    without_zig(project.xbuild().words("lock --update sysrot"))
        .run()
        .fails(ExitCode::Usage, &["hint", "sysroot"]);
    // Another package than the pinned one is not taken.
    let package = text.split("name = \"libc6-dev\"").nth(1).expect("it is pinned");
    let digest = package.split("sha256 = \"").nth(1).and_then(|rest| rest.get(..64)).expect("a digest");
    project.write("xbuild.lock", &text.replace(digest, &"0".repeat(64)));
    let run = locked("--locked").run();
    assert!(!run.status.success(), "{}", run.describe());
    assert!(run.stderr.contains(&"0".repeat(64)), "{}", run.describe());
}

#[test]
fn what_is_in_the_cache_is_checked_if_everything_is_pinned() {
    let cache = scratch();
    let project = project(&CONFIGURATION.replace("toolchain", "platforms = [\"linux/arm64\"]\ntoolchain"));
    let run = |run: Run| without_zig(run).env("XBUILD_CACHE_DIR", cache.path());
    run(project.xbuild().arg("lock")).run().success();
    let digest = run(project.build()).arg("--locked").run().success().digest();
    let sysroots = cache.path().join("sysroots");
    assert!(files(&sysroots) > 0);
    // Someone changes the start files of every program.
    let mut changed = 0;
    for entry in walk(&sysroots) {
        if entry.ends_with("Scrt1.o") {
            fs::write(&entry, "not an object").expect("a file of the test");
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    fs::remove_dir_all(project.path("target")).expect("a directory of the test");
    let again = run(project.build()).arg("--locked").run().success();
    assert_eq!(again.digest(), digest);
    assert!(again.stderr.contains("warning"), "{}", again.describe());
}

/// A build script that passes these to the linker; `DIR` is the package's directory.
fn linked_with(arguments: &[&str]) -> String {
    let lines = arguments.iter().fold(String::new(), |text, argument| {
        format!("{text}    println!(\"cargo::rustc-link-arg-bins={}\");\n", argument.replace("DIR", "{dir}"))
    });
    format!(
        "fn main() {{\n    let dir = std::env::var(\"CARGO_MANIFEST_DIR\").unwrap();\n    println!(\"cargo::rerun-if-changed={{dir}}\");\n{lines}}}\n"
    )
}

#[test]
fn what_is_said_to_the_linker_is_seen_in_the_program() {
    const MAIN: &str = "extern \"C\" {\n    fn wrapped() -> i32;\n}\n\n#[no_mangle]\npub extern \"C\" fn \
        __wrap_wrapped() -> i32 {\n    7\n}\n\n#[no_mangle]\npub extern \"C\" fn listed() {}\n\nfn main() {\n    \
        println!(\"{}\", unsafe { wrapped() });\n}\n";
    let arguments = [
        "-Wl,--build-id=0x0123456789abcdef",
        "-Wl,-z,nodelete,-z,pack-relative-relocs",
        "-Wl,--defsym=defined_here=0x42,--wrap=wrapped",
        "-Wl,-Map=DIR/map",
        "-Wl,--dynamic-list=DIR/list",
        "-Wl,-rpath,/opt/own,--disable-new-dtags",
        "-Wl,--icf=all",
        "-Xlinker",
        "--hash-style=both",
        "-fuse-ld=mold",
        "-march=armv8-a",
    ];
    let project = project(&CONFIGURATION.replace("toolchain", "platforms = [\"linux/arm64\"]\ntoolchain"))
        .file("src/main.rs", MAIN)
        .file("build.rs", &linked_with(&arguments))
        .file("list", "{ listed; };\n");
    let manifest = fs::read_to_string(project.path("Cargo.toml")).expect("it was written");
    project.write("Cargo.toml", &manifest.replace("\"2024\"", "\"2021\""));
    let layout = project.path("out");
    let run = without_zig(project.build()).words("-v --output").arg(&layout).run().success();
    // Which linker links, and for which processor, is not for the program to say.
    for argument in ["-fuse-ld=mold", "-march=armv8-a"] {
        assert!(run.stderr.contains(&format!("`{argument}`")), "{argument}: {}", run.describe());
    }
    let dir = scratch();
    let root = tools::unpack(&layout, "linux/arm64", dir.path());
    assert_eq!(tools::program(&root, "linux/arm64", "/usr/local/bin/app").text(), "7\n");
    let map = fs::read_to_string(project.path("map")).expect("the linker wrote it");
    assert!(map.contains("Scrt1.o") && map.contains("libgcc_eh.a"), "{map}");
    let program = root.join("usr/local/bin/app");
    let said = tool("readelf").words("--wide --all").arg(program).run().success().stdout;
    for effect in [
        "Build ID: 0123456789abcdef",
        "NODELETE",
        "(RELR)",
        "GLIBC_ABI_DT_RELR",
        "Library rpath: [/opt/own]",
        "(GNU_HASH)",
        "(HASH)",
        " listed",
        "BIND_NOW",
        "Requesting program interpreter: /lib/ld-linux-aarch64.so.1",
    ] {
        assert!(said.contains(effect), "no `{effect}` in\n{said}");
    }
    // The unwinder is inside, and nothing of it is visible.
    let dynamic =
        said.split(".dynsym").nth(1).and_then(|rest| rest.split("Symbol table").next()).unwrap_or("");
    assert!(!dynamic.contains("_Unwind") && !said.contains("libgcc_s.so"), "{said}");
}

#[test]
fn what_lld_cannot_do_is_said_before_anything_is_compiled() {
    let c_code = project(CONFIGURATION).compiling_c("fn main() {}");
    without_zig(c_code.build()).run().fails(ExitCode::Config, &["`app` compiles C code", "xbuild.toml:1:13"]);
    let old = project(&format!("glibc = \"2.17\"\n{CONFIGURATION}"));
    let said = ["no release of Debian has a glibc as old as 2.17", "xbuild.toml:1:9"];
    without_zig(old.build()).run().fails(ExitCode::Config, &said);
}

/// Every file below a directory.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            found.extend(walk(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}
