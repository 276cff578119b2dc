//! `toolchain = "clang"` and `build-packages`: C and C++ code that is compiled against packages of the base's own release,
//! the libraries of a distribution that programs are linked against, and the packages that the image gets for them.

use std::fs;

use serde_json::Value;
use xbuild::error::ExitCode;

use crate::support::command::Run;
use crate::support::layout::Layout;
use crate::support::project::Project;
use crate::support::{PLATFORMS, copy_dir, scratch, tools};

/// A build script that compiles what lies in `c` as the cc crate does, by the variables that it gets for the target.
const BUILD: &str = r#"
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn of_target(name: &str) -> Option<String> {
    let target = env::var("TARGET").unwrap().replace('-', "_");
    env::var(format!("{name}_{target}")).ok()
}

/// What pkg-config says if it is asked as the pkg-config crate asks it.
fn pkg_config(words: &[&str]) -> String {
    let mut ask = Command::new("pkg-config");
    for name in ["PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "PKG_CONFIG_PATH"] {
        match of_target(name) {
            Some(value) => ask.env(name, value),
            None => ask.env_remove(name),
        };
    }
    let said = ask.args(words).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

fn main() {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let mut objects = Vec::new();
    for file in fs::read_dir("c").unwrap() {
        let file = file.unwrap().path();
        let compiler = if file.extension().unwrap() == "cpp" { "CXX" } else { "CC" };
        let object = out.join(file.file_name().unwrap()).with_extension("o");
        let mut compile = Command::new(of_target(compiler).unwrap());
        compile.args(["-O2", "-g", "-ffunction-sections", "-fdata-sections", "-fPIC", "-c"]);
        assert!(compile.arg(&file).arg("-o").arg(&object).status().unwrap().success());
        objects.push(object);
    }
    let archive = out.join("libown.a");
    assert!(Command::new(of_target("AR").unwrap()).arg("crs").arg(&archive).args(&objects).status().unwrap().success());
    println!("cargo::rustc-link-search=native={}", out.display());
    println!("cargo::rustc-link-lib=static=own");
    for library in fs::read_to_string("libraries").unwrap_or_default().split_whitespace() {
        let version = pkg_config(&["--modversion", library]);
        assert!(!version.starts_with("9."), "{version} of this machine");
        for word in pkg_config(&["--libs", library]).split_whitespace() {
            if let Some(name) = word.strip_prefix("-l") {
                println!("cargo::rustc-link-lib=dylib={name}");
            }
        }
    }
    if fs::exists("c/more.cpp").unwrap() {
        println!("cargo::rustc-link-lib=dylib=stdc++");
    }
}
"#;

fn project(configuration: &str, main: &str) -> Project {
    Project::package("app")
        .compiling_c(BUILD)
        .file("src/main.rs", main)
        .file("xbuild.toml", &format!("{configuration}\n[debian]\nsuites = [\"bookworm\"]\n"))
}

const C_AND_CXX: &str = r#"use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn libc_version() -> *const c_char;
    fn compiled_for() -> *const c_char;
    fn caught(number: i32) -> i32;
}

fn text(text: *const c_char) -> String {
    unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned()
}

fn main() {
    println!("{} {} {}", text(unsafe { libc_version() }), text(unsafe { compiled_for() }), unsafe { caught(41) });
}
"#;

/// Code that depends on headers of the C and the C++ library, on exceptions and on the loader.
fn with_c_and_cxx(configuration: &str) -> Project {
    project(configuration, C_AND_CXX)
        .file(
            "c/own.c",
            "#include <features.h>\n#include <gnu/libc-version.h>\n#include <linux/version.h>\n\
             #if __GLIBC__ != 2 || __GLIBC_MINOR__ != 36\n#error \"another C library's headers\"\n#endif\n\
             const char *libc_version(void) { return gnu_get_libc_version(); }\n\
             const char *compiled_for(void) {\n#if defined __aarch64__\n return \"aarch64\";\n\
             #elif defined __ARM_ARCH_7A__ && defined __ARM_PCS_VFP\n return \"armv7hf\";\n\
             #elif defined __x86_64__\n return \"x86_64\";\n#else\n return \"?\";\n#endif\n}\n",
        )
        .file(
            "c/more.cpp",
            "#include <map>\n#include <stdexcept>\n#include <string>\n\
             static std::map<std::string, int> kept;\n\
             static int thrown(int number) { if (number > 40) throw std::runtime_error(\"big\"); return number; }\n\
             extern \"C\" int caught(int number) {\n\
             try { kept[\"a\"] = thrown(number); } catch (const std::exception &error) { return error.what()[0]; }\n\
             return kept[\"a\"];\n}\n",
        )
}

/// Without any zig on the machine, and with headers of this machine's user that differ from all others.
fn disturbed(run: Run, dir: &std::path::Path) -> Run {
    fs::write(dir.join("zlib.h"), "#error \"this machine's header\"\n").expect("a file of the test");
    fs::write(dir.join("features.h"), "#error \"this machine's header\"\n").expect("a file of the test");
    let package = "Name: zlib\nDescription: of this machine\nVersion: 9.9\nLibs: -lhost\n";
    fs::write(dir.join("zlib.pc"), package).expect("a file of the test");
    run.env("XBUILD_ZIG", "/no/such/zig")
        .env("CPATH", dir)
        .env("LIBRARY_PATH", dir)
        .env("PKG_CONFIG_PATH", dir)
}

#[test]
fn c_and_cxx_are_compiled_against_the_base_s_own_release() {
    let host = scratch();
    let project = with_c_and_cxx("toolchain = \"clang\"");
    let layout = project.path("out");
    let run = disturbed(project.build(), host.path()).arg("--output").arg(&layout).run().success();
    let digest = run.digest();
    Layout::valid(&layout);
    for (platform, machine) in PLATFORMS.iter().zip(["x86_64", "armv7hf", "aarch64"].map(str::to_owned)) {
        let dir = scratch();
        let root = tools::unpack(&layout, platform, dir.path());
        let said = tools::program(&root, platform, "/usr/local/bin/app").text();
        assert_eq!(said.trim(), format!("2.36 {machine} 98"), "{platform}");
        // The base got what programs in C++ need.
        assert!(walk_names(&root.join("usr/lib")).iter().any(|name| name == "libstdc++.so.6"), "{platform}");
    }
    // The same anywhere.
    let elsewhere = Project::outside();
    for name in ["Cargo.toml", "build.rs", "xbuild.toml"] {
        fs::copy(project.path(name), elsewhere.path(name)).expect("a file of the test");
    }
    for name in ["src", "c", "cc"] {
        copy_dir(&project.path(name), &elsewhere.path(name));
    }
    let again = disturbed(elsewhere.build(), host.path()).run().success();
    assert_eq!(again.digest(), digest);
}

fn walk_names(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("a type").is_dir() {
            names.extend(walk_names(&entry.path()));
        } else {
            names.extend(entry.file_name().into_string());
        }
    }
    names
}

const ZLIB: &str = r#"use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn compiled() -> *const c_char;
    fn zlibVersion() -> *const c_char;
}

fn main() {
    let (compiled, linked) = unsafe { (CStr::from_ptr(compiled()), CStr::from_ptr(zlibVersion())) };
    println!("{} {}", compiled.to_str().unwrap(), linked.to_str().unwrap());
}
"#;

fn with_zlib(configuration: &str) -> Project {
    let project = project("", ZLIB)
        .file("c/own.c", "#include <zlib.h>\nconst char *compiled(void) { return ZLIB_VERSION; }\n")
        .file("libraries", "zlib");
    project.write(
        "xbuild.toml",
        &format!("{configuration}\n[debian]\nsuites = [\"bookworm\"]\nbuild-packages = [\"zlib1g-dev\"]\n"),
    );
    project
}

#[test]
fn libraries_of_the_target_are_found_and_never_the_hosts() {
    let host = scratch();
    let project = with_zlib("");
    let layout = project.path("out");
    disturbed(project.build(), host.path()).arg("--output").arg(&layout).run().success();
    for platform in PLATFORMS {
        let dir = scratch();
        let root = tools::unpack(&layout, platform, dir.path());
        let said = tools::program(&root, platform, "/usr/local/bin/app").text();
        assert_eq!(said.trim(), "1.2.13 1.2.13", "{platform}");
        assert!(root.join("var/lib/dpkg/status.d/zlib1g").exists(), "{platform}");
        assert!(!root.join("var/lib/dpkg/status.d/zlib1g-dev").exists(), "{platform}");
    }
    let plan = project.xbuild().arg("plan").arg("--json").run().success();
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    for platform in plan["platforms"].as_array().expect("platforms") {
        assert_eq!(platform["linker"], "lld");
        assert!(
            platform["compiler"]["name"].as_str().is_some_and(|name| name.starts_with("clang ")),
            "{platform}"
        );
        let packages = platform["sysroot"]["packages"].as_array().expect("packages");
        assert!(packages.iter().any(|package| package["name"] == "zlib1g-dev"), "{packages:?}");
    }
}

/// A library that is in no base by itself, and whose own package needs nothing further.
const SQLITE: &str = r#"use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn version() -> *const c_char;
}

fn main() {
    println!("{}", unsafe { CStr::from_ptr(version()) }.to_str().unwrap());
}
"#;

#[test]
fn the_image_gets_what_its_programs_were_linked_against_and_the_lock_pins_it() {
    let project = project("", SQLITE)
        .file("c/own.c", "#include <sqlite3.h>\nconst char *version(void) { return sqlite3_libversion(); }\n")
        .file("libraries", "sqlite3");
    project.write(
        "xbuild.toml",
        "platforms = [\"linux/arm64\"]\n[debian]\nsuites = [\"bookworm\"]\nbuild-packages = [\"libsqlite3-dev\"]\n",
    );
    let digest = project.build().run().success().digest();
    let dir = scratch();
    let root = tools::unpack(&project.default_layout("app"), "linux/arm64", dir.path());
    assert_eq!(tools::program(&root, "linux/arm64", "/usr/local/bin/app").text().trim(), "3.40.1");
    assert!(root.join("var/lib/dpkg/status.d/libsqlite3-0").exists());
    project.xbuild().arg("lock").run().success();
    let lock = fs::read_to_string(project.path("xbuild.lock")).expect("a lock");
    let at_run_time = lock.split("[[sysroot.at-run-time]]").nth(1).expect("it is pinned");
    assert!(at_run_time.contains("name = \"libsqlite3-0\""), "{lock}");
    assert_eq!(project.build().words("--locked --offline").run().success().digest(), digest);
    // So is the version of the compiler.
    let clang = lock
        .split("[clang]\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("its version");
    project.write(
        "xbuild.lock",
        &lock.replace(&format!("[clang]\nversion = \"{clang}\""), "[clang]\nversion = \"13.0.0\""),
    );
    let differs = format!("clang: 13.0.0 → {clang}");
    project.build().arg("--locked").run().fails(ExitCode::Locked, &[&differs, "hint"]);
    let run = project.build().run().success();
    assert!(
        run.stderr.contains("pins another toolchain") && run.stderr.contains(&differs),
        "{}",
        run.describe()
    );
    assert_eq!(run.digest(), digest);
    project.xbuild().words("lock --update clang").run().success();
    assert_eq!(fs::read_to_string(project.path("xbuild.lock")).expect("a lock"), lock);
    // What is asked for is a part of what is pinned.
    let configuration = fs::read_to_string(project.path("xbuild.toml")).expect("our own file");
    project.write(
        "xbuild.toml",
        &configuration.replace("\"libsqlite3-dev\"", "\"libsqlite3-dev\", \"zlib1g-dev\""),
    );
    project.build().arg("--locked").run().fails(ExitCode::Locked, &["are not pinned, and --locked forbids"]);
}

#[test]
fn what_cannot_be_compiled_is_said_before_anything_is() {
    let fails = |configuration: &str, code: ExitCode, words: &[&str]| {
        let project = with_zlib("");
        project.write("xbuild.toml", &format!("{configuration}\n"));
        project.build().run().fails(code, words);
    };
    let unknown = "[debian]\nsuites = [\"bookworm\"]\nbuild-packages = [\"zlib1g-dve\"]";
    fails(unknown, ExitCode::Package, &["zlib1g-dve", "zlib1g-dev"]);
    // One that an architecture lacks fails there alone.
    let elsewhere = "[debian]\nsuites = [\"bookworm\"]\nbuild-packages = [\"libdpdk-dev\"]";
    let missing =
        "linux/arm/v7: what programs are linked against: Debian has no package `libdpdk-dev` for armhf";
    fails(elsewhere, ExitCode::Package, &[missing, "`build-packages`", "1 of 3 platforms failed"]);
    let both = "[debian]\nsuites = [\"bookworm\"]\n\
                build-packages = [\"libcurl4-openssl-dev\", \"libcurl4-gnutls-dev\"]";
    fails(both, ExitCode::Package, &["conflicts with libcurl4-gnutls-dev", "leave one out"]);
    let zig = "toolchain = \"zig\"\n[debian]\nbuild-packages = [\"zlib1g-dev\"]";
    fails(zig, ExitCode::Config, &["`build-packages` asks for libraries", "zig does not link against them"]);
    let musl = "base = \"scratch\"\n[debian]\nbuild-packages = [\"zlib1g-dev\"]";
    fails(musl, ExitCode::Config, &["`build-packages` asks for libraries"]);
    let old = "toolchain = \"clang\"\nglibc = \"2.17\"";
    fails(old, ExitCode::Config, &["no release of Debian has a glibc as old as 2.17", "xbuild.toml:2:9"]);
    // No Clang, one that is none, and one that is too old.
    let project = with_c_and_cxx("toolchain = \"clang\"");
    let with = |program: &str| project.build().env("XBUILD_CLANG", project.path(program));
    with("none").run().fails(ExitCode::Toolchain, &["there is no `", "hint", "`toolchain = \"zig\"`"]);
    let project = project
        .script("old", "#!/bin/sh\necho 'Debian clang version 11.0.1-2'")
        .script("gcc", "#!/bin/sh\necho gcc 12");
    let with = |program: &str| project.build().env("XBUILD_CLANG", project.path(program));
    with("old").run().fails(ExitCode::Toolchain, &["is Clang 11.0.1, and at least 14 is needed"]);
    with("gcc").run().fails(ExitCode::Toolchain, &["is not Clang", "gcc 12"]);
}
