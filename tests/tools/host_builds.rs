//! Projects that also build programs for the build machine, which is also one of the platforms.

use crate::support::command::tool;
use crate::support::project::Project;

/// A build script that compiles C or C++ with the compiler and archiver that the variables name for the target.
const COMPILE: &str = r#"
fn tool(name: &str, default: &str) -> String {
    let target = std::env::var("TARGET").unwrap().replace('-', "_");
    std::env::var(format!("{name}_{target}")).unwrap_or_else(|_| default.into())
}
fn call(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let (object, library) = (format!("{out}/words.o"), format!("{out}/lib{}.a", std::env::var("CARGO_PKG_NAME").unwrap()));
    if std::path::Path::new("words.cpp").exists() {
        call(&tool("CXX", "c++"), &["-O1", "-fPIC", "-c", "words.cpp", "-o", &object]);
        println!("cargo::rustc-link-lib=stdc++");
    } else {
        call(&tool("CC", "cc"), &["-O1", "-fPIC", "-c", "words.c", "-o", &object]);
    }
    call(&tool("AR", "ar"), &["cq", &library, &object]);
    println!("cargo::rustc-link-search=native={out}\ncargo::rustc-link-lib=static={}", std::env::var("CARGO_PKG_NAME").unwrap());
}
"#;

const CPP: &str = r#"#include <map>
#include <string>
extern "C" int distinct(const char *text) {
    std::map<std::string, int> seen;
    std::string word;
    for (; *text; text++) {
        if (*text == ' ') { seen[word]++; word.clear(); } else { word += *text; }
    }
    seen[word]++;
    return static_cast<int>(seen.size());
}
"#;

const LIBRARY: &str = "unsafe extern \"C\" { fn words(text: *const std::ffi::c_char) -> i32; }\n\
    pub fn count() -> i32 { unsafe { words(c\"a b a c\".as_ptr()) } }\n";

const C: &str = "int words(const char *text) { int n = 1; while (*text) n += *text++ == ' '; return n; }\n";

/// Starts a cargo that builds a tool for this machine, and runs it.
const NESTED: &str = r#"
fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    let directory = format!("{out}/tool");
    let cargo = std::env::var("CARGO").unwrap();
    let arguments = ["build", "--offline", "--manifest-path", "tool/Cargo.toml", "--target-dir", &directory];
    assert!(std::process::Command::new(cargo).args(arguments).status().unwrap().success());
    let said = std::process::Command::new(format!("{directory}/debug/tool")).output().unwrap();
    println!("cargo::rustc-env=SAID={}", String::from_utf8(said.stdout).unwrap());
    println!("cargo::rustc-env=COUNTED={} {}", generator::count(), words::count());
}
"#;

fn project() -> Project {
    let manifest = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{more}")
    };
    let words = "words = { path = \"words\" }\n";
    let words = format!(
        "\n[dependencies]\n{words}\n[build-dependencies]\n{words}generator = {{ path = \"generator\" }}\n"
    );
    let main = "#![allow(unexpected_cfgs)]\nfn main() {\n    \
        println!(\"{} {} {} {}\", env!(\"COUNTED\"), words::count(), env!(\"SAID\"), cfg!(of_a_text));\n}\n";
    Project::empty()
        .file("Cargo.toml", &manifest("counter", &format!("{words}\n[workspace]\nexclude = [\"tool\"]\n")))
        .file("src/main.rs", main)
        .file("build.rs", NESTED)
        .file("words/Cargo.toml", &manifest("words", ""))
        .file("words/src/lib.rs", LIBRARY)
        .file("words/build.rs", COMPILE)
        .file("words/words.c", C)
        .file("generator/Cargo.toml", &manifest("generator", ""))
        .file("generator/src/lib.rs", &LIBRARY.replace("words(", "distinct("))
        .file("generator/build.rs", COMPILE)
        .file("generator/words.cpp", CPP)
        .file("tool/Cargo.toml", &manifest("tool", "\n[workspace]\n"))
        .file("tool/src/main.rs", "fn main() { println!(\"nested\"); }\n")
}

#[test]
fn what_runs_here_is_built_with_the_hosts_tools() {
    // C++ for the host, C for both sides, a cargo in a build script, and flags in the forms that cargo accepts.
    let project = project()
        .file(
            ".cargo/config.toml",
            "[target.x86_64-unknown-linux-gnu]\nrustflags = \"--cfg of_a_text\"\n\
             [target.'cfg(target_os = \"linux\")']\n\
             rustflags = [\"-Clink-arg=-Wl,--disable-new-dtags,-rpath,/opt/lib\"]\n",
        )
        .file("xbuild.toml", "platforms = [\"linux/amd64\"]\ntoolchain = \"zig\"\n");
    project.build().run().success();
    let path = project.path("target/x86_64-unknown-linux-gnu/release/counter");
    let elf =
        xbuild::internal::elf::Elf::parse(&std::fs::read(&path).expect("a program")).expect("a program");
    assert_eq!((elf.rpath.as_deref(), elf.runpath.as_deref()), (Some("/opt/lib"), None));
    assert_eq!(tool(path).text(), "3 4 4 nested true\n");
}
