//! `linux/amd64/v3` beside `linux/amd64`: two programs of one triple, each for its own processors, including the C
//! code.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use xbuild::error::ExitCode;
use xbuild::internal::elf::Object;

use crate::support::command::{Run, tool};
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::{repository, scratch, tools};

const ALL: &str = "linux/amd64";
const NEWER: &str = "linux/amd64/v3";

/// Loops for which compilers have wider instructions, in Rust and in C.
const MAIN: &str = r#"
unsafe extern "C" { fn of_c(numbers: *const u32, count: usize) -> u32; }

#[unsafe(no_mangle)]
#[inline(never)]
fn of_rust(numbers: &[u32]) -> u32 {
    numbers.iter().map(|number| number.wrapping_mul(3) ^ 5).fold(0, u32::wrapping_add)
}

fn main() {
    let numbers: Vec<u32> = (0..std::env::args().count() as u32 * 1000).collect();
    println!("{} {}", of_rust(&numbers), unsafe { of_c(numbers.as_ptr(), numbers.len()) });
}
"#;

const C: &str = "#include <stddef.h>\n\
    unsigned of_c(const unsigned *numbers, size_t count) {\n    unsigned sum = 0;\n    \
    for (size_t at = 0; at < count; at++) sum += numbers[at] * 3 ^ 5;\n    return sum;\n}\n";

const FUNCTIONS: [&str; 2] = ["of_rust", "of_c"];

fn project() -> Project {
    let lock = fs::read_to_string(repository().join("tests/fixtures/leaky/Cargo.lock")).expect("a lock file");
    // The crates of another test, so that nothing has to be fetched for this one alone.
    let others = ["leaky", "parts", "smallvec"].map(|name| format!("name = \"{name}\""));
    let parts =
        lock.split("\n[[package]]\n").filter(|part| !others.iter().any(|name| part.starts_with(name)));
    let lock = parts.collect::<Vec<_>>().join("\n[[package]]\n");
    Project::empty()
        .file(
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[build-dependencies]\ncc = \"1\"\n\n\
             [workspace]\n",
        )
        .file("Cargo.lock", &format!("{lock}\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\ndependencies = [\n \"cc\",\n]\n"))
        .file("build.rs", "fn main() { cc::Build::new().file(\"src/sum.c\").opt_level(3).compile(\"sum\"); }\n")
        .file("src/main.rs", MAIN)
        .file("src/sum.c", C)
        .file("xbuild.toml", "platforms = [\"linux/amd64\", \"linux/amd64/v3\"]\nbase = \"scratch\"\n")
}

/// The program of a platform's image, as chosen by skopeo and unpacked by umoci.
fn program(layout: &Path, platform: &str, dir: &Path) -> PathBuf {
    tools::unpack(layout, platform, dir).join("usr/local/bin/app")
}

/// True if a function uses AVX's wide registers.
fn is_wide(program: &Path, function: &str) -> bool {
    let code = tool("objdump").arg(format!("--disassemble={function}")).arg(program).text();
    assert!(code.contains(&format!("<{function}>:")), "{function} is in the program:\n{code}");
    code.contains("%ymm")
}

fn on(processor: &str, program: &Path) -> Run {
    let qemu = ["qemu-x86_64-static", "qemu-x86_64"].into_iter().find_map(|name| which::which(name).ok());
    tool(qemu.expect("tests/run installs it")).args(["-cpu", processor]).arg(program)
}

#[test]
fn a_level_of_processors_is_built_for_beside_all_of_them() {
    let project = project();
    let plan = tools::json(&project.xbuild().words("plan --json --quiet").text());
    let planned: Vec<_> = plan["platforms"].as_array().expect("platforms").iter().collect();
    let said = |at: usize| (planned[at]["platform"].as_str(), planned[at]["cpu"].as_str());
    assert_eq!((said(0), said(1)), ((Some(ALL), None), (Some(NEWER), Some("x86-64-v3"))));
    let text = project.xbuild().words("plan --quiet").text();
    assert_eq!(text.matches("  processor   x86-64-v3  (the platform's)\n").count(), 1, "{text}");

    let run = project.build().run().success();
    let path = project.default_layout("app");
    let layout = Layout::valid(&path);
    let index = layout.document(&run.digest());
    let entries = index["manifests"].as_array().expect("an index");
    let variants: Vec<_> = entries.iter().map(|entry| entry["platform"]["variant"].as_str()).collect();
    assert_eq!(variants, [None, Some("v3")], "{index}");

    let (first, second) = (scratch(), scratch());
    let (least, newer) = (program(&path, ALL, first.path()), program(&path, NEWER, second.path()));
    for (program, wide) in [(&least, false), (&newer, true)] {
        for function in FUNCTIONS {
            assert_eq!(is_wide(program, function), wide, "{function} of {}", program.display());
        }
    }
    let needs =
        |program: &Path| Object::parse(&fs::read(program).expect("a program")).expect("a program").beyond;
    assert_eq!(needs(&least), []);
    assert!(needs(&newer).iter().all(|found| found.level < 3), "{:?}", needs(&newer));

    // The baseline processor runs one program, and only better ones run the other.
    let sum = on("qemu64", &least).text();
    assert_eq!(on("max", &newer).text(), sum);
    assert_eq!(on("qemu64", &newer).run().status.signal(), Some(4), "an illegal instruction");
    project.xbuild().arg("verify").arg(&path).run().success();
}

#[test]
fn a_level_says_its_own_name_wherever_it_is_named() {
    let project = project();
    project.write("xbuild.toml", "platforms = [\"linux/amd64/v3\"]\nbase = \"scratch\"\n");
    let run = project.xbuild().words("build -v --progress json").run().success();
    let named: Vec<_> =
        run.stderr.lines().chain(run.stdout.lines()).filter(|line| line.contains("linux/amd64")).collect();
    assert!(named.len() > 3, "{named:?}");
    for line in named {
        assert!(!line.replace(NEWER, "").contains(ALL), "{line}");
    }
}

/// A nightly cargo has flags in profiles, which only rustc gets; `RUSTC_BOOTSTRAP` makes a stable cargo behave the
/// same.
#[test]
fn flags_of_profiles_may_not_compile_for_this_machine_either() {
    let manifest = |cpu: &str| {
        format!(
            "cargo-features = [\"profile-rustflags\"]\n\n[package]\nname = \"app\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n\
             [profile.release]\nrustflags = [\"-Ctarget-cpu={cpu}\"]\n\n[workspace]\n"
        )
    };
    let project = Project::quick("app").file("Cargo.toml", &manifest("native"));
    let build = || project.build().env("RUSTC_BOOTSTRAP", "1");
    let refused =
        ["`-Ctarget-cpu=native` compiles for the processor of this machine", "allow-native-cpu = true"];
    build().run().fails(ExitCode::Compile, &refused);
    // On a platform that promises more, the flag is within the promise.
    project.write("xbuild.toml", "platforms = [\"linux/amd64/v3\"]\nbase = \"scratch\"\n");
    build().run().success();
    project.write("xbuild.toml", "platforms = [\"linux/amd64\"]\nbase = \"scratch\"\n");
    build().run().fails(ExitCode::Compile, &refused);
    project.write("Cargo.toml", &manifest("x86-64"));
    build().run().success();
}
