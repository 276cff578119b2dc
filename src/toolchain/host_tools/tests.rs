//! Looking for tools, and what is said about them.

use std::ffi::OsString;
use std::path::Path;

use globset::Glob;

use super::search::Machine;
use super::*;
use crate::sys::cancel::Cancel;
use crate::sys::fs;

const HOST: &str = "x86_64-unknown-linux-gnu";

/// Looks for a tool on a machine with these files, some of them programs, and with these variables. `/` at the beginning
/// of a value is the machine's root.
fn find_for(name: &str, targets: &[&str], files: &[&str], variables: &[(&str, &str)]) -> HostTool {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let (file, text) = file.split_once('=').unwrap_or((file, ""));
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write_atomic(&path, text.as_bytes(), 0o755).unwrap();
    }
    let variable = |name: &str| {
        let (_, value) = variables.iter().find(|(known, _)| *known == name)?;
        let in_root = |path: &str| match path.strip_prefix('/') {
            Some(rest) => root.path().join(rest).display().to_string(),
            None => path.to_owned(),
        };
        Some(OsString::from(in_root(value)))
    };
    let machine =
        Machine { root: root.path(), variable: &variable, host: HOST, targets, cancel: &Cancel::new() };
    let by = NeededBy { package: "app".into(), through: None };
    let mut found = machine.find(Tool::by_name(name).unwrap(), vec![by]).unwrap();
    let shorten = |path: &PathBuf| path.strip_prefix(root.path()).unwrap_or(path).to_owned();
    found.path = found.path.as_ref().map(shorten);
    if let Some(misnamed) = &mut found.misnamed {
        misnamed.value = shorten(&misnamed.value);
    }
    found
}

fn path_of(name: &str, files: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let found = find_for(name, &[HOST], files, variables);
    assert_eq!(found.is_missing(), found.path.is_none());
    found.path.map(|path| path.display().to_string())
}

#[test]
fn the_data_is_sound() {
    let data = HostToolsData::get();
    assert_eq!(data.name, "host-tools");
    for tool in &data.tool {
        assert_ne!(tool.programs.is_empty(), tool.library.is_none(), "{}", tool.name);
        assert!(!tool.sign.is_empty(), "{}", tool.name);
        for sign in &tool.sign {
            assert!(!sign.used.is_empty() || !sign.built.is_empty(), "{}: {sign:?}", tool.name);
        }
        for distribution in tool.packages.keys() {
            assert!(data.distribution.iter().any(|known| known.name == *distribution), "{distribution}");
        }
        if let Some(library) = &tool.library {
            assert!(data.search.contains_key(&library.search), "{}", library.search);
            assert!(library.files.iter().all(|pattern| Glob::new(pattern).is_ok()), "{}", tool.name);
        }
    }
    let parts = data.search.values().flat_map(|search| &search.directories);
    assert!(parts.flat_map(|directory| directory.split('/')).all(|part| Glob::new(part).is_ok()));
    assert!(data.distribution.iter().all(|known| known.install.contains("{packages}")));
}

#[test]
fn a_program_is_in_the_search_path_or_where_a_variable_says() {
    let (bin, path) = ("usr/bin/protoc", ("PATH", "/usr/bin"));
    assert_eq!(path_of("protoc", &[bin], &[path]).as_deref(), Some(bin));
    assert_eq!(path_of("protoc", &["usr/bin/other"], &[path]), None);
    assert_eq!(path_of("protoc", &["opt/p"], &[path, ("PROTOC", "/opt/p")]).as_deref(), Some("opt/p"));
    assert_eq!(path_of("protoc", &["usr/bin/p"], &[path, ("PROTOC", "p")]).as_deref(), Some("usr/bin/p"));
    // Nobody falls back to the search path then.
    let found = find_for("protoc", &[HOST], &[bin], &[path, ("PROTOC", "/opt/p")]);
    assert!(found.lack().contains("`protoc` is not at `opt/p`, which PROTOC names"), "{}", found.lack());
    assert!(found.remedy().starts_with("correct PROTOC, or unset it and "), "{}", found.remedy());
    // The directory that this is relative to is a build script's.
    assert_eq!(path_of("protoc", &[], &[("PROTOC", "../p")]).as_deref(), Some("../p"));
    // One of several names is enough.
    assert_eq!(path_of("ninja", &["usr/bin/samu"], &[path]).as_deref(), Some("usr/bin/samu"));
}

#[test]
fn each_target_may_have_a_program_of_its_own() {
    let arm = "aarch64-unknown-linux-gnu";
    let find = |variables: &[(&str, &str)]| {
        let variables = [&[("PATH", "/usr/bin")], variables].concat();
        find_for("cmake", &[HOST, arm], &["opt/cmake"], &variables)
    };
    assert!(find(&[]).is_missing());
    assert!(!find(&[("CMAKE", "/opt/cmake")]).is_missing());
    // The host has none.
    assert!(find(&[("CMAKE_aarch64_unknown_linux_gnu", "/opt/cmake")]).is_missing());
    assert!(!find(&[("TARGET_CMAKE", "/opt/cmake"), ("HOST_CMAKE", "/opt/cmake")]).is_missing());
    let found = find(&[("CMAKE", "/opt/cmake"), ("CMAKE_aarch64-unknown-linux-gnu", "/opt/none")]);
    assert_eq!(found.misnamed.unwrap().variable, "CMAKE_aarch64-unknown-linux-gnu");
}

#[test]
fn a_library_is_where_those_who_load_it_look() {
    let path = |files: &[&str], variables: &[(&str, &str)]| path_of("libclang", files, variables);
    let debian = "usr/lib/llvm-14/lib/libclang.so.1";
    assert_eq!(path(&[debian], &[]).as_deref(), Some(debian));
    assert_eq!(path(&["usr/lib64/libclang.so.20.1"], &[]).as_deref(), Some("usr/lib64/libclang.so.20.1"));
    assert_eq!(path(&["opt/lib/libclang.so"], &[]), None);
    // Another library of a similar name.
    assert_eq!(path(&["usr/lib/libclang-cpp.so.14"], &[]), None);
    let own = [("LIBCLANG_PATH", "/opt/lib")];
    assert_eq!(path(&["opt/lib/libclang-19.so"], &own).as_deref(), Some("opt/lib/libclang-19.so"));
    assert_eq!(path(&[debian], &own), None);
    let file = [("LIBCLANG_PATH", "/opt/libclang.so.1")];
    assert_eq!(path(&["opt/libclang.so.1"], &file).as_deref(), Some("opt/libclang.so.1"));
    assert_eq!(path(&["l/libclang.so"], &[("LD_LIBRARY_PATH", "/l")]).as_deref(), Some("l/libclang.so"));
    assert_eq!(path_of("libclang.a", &["usr/lib/libclang.a"], &[]).as_deref(), Some("usr/lib/libclang.a"));
}

#[test]
fn a_library_may_be_below_a_prefix_that_a_program_prints() {
    let root = tempfile::tempdir().unwrap();
    let prefix = root.path().join("llvm");
    fs::create_dir_all(prefix.join("lib")).unwrap();
    fs::write_atomic(&prefix.join("lib/libclang.so"), b"", 0o644).unwrap();
    let script = format!("bin/llvm-config=#!/bin/sh\necho {}\n", prefix.display());
    let found = path_of("libclang", &[&script], &[("PATH", "/bin")]);
    assert_eq!(found.as_deref().map(Path::new), Some(&*prefix.join("lib/libclang.so")));
    let failing = "opt/config=#!/bin/sh\nexit 1\n";
    assert_eq!(
        path_of("libclang", &[&script, failing], &[("PATH", "/bin"), ("LLVM_CONFIG_PATH", "/opt/config")]),
        None
    );
}

#[test]
fn a_distribution_is_known_by_its_name_or_what_it_is_derived_from() {
    let name = |text: &str| HostToolsData::get().distribution_of(text).map(|known| known.name.as_str());
    assert_eq!(name("PRETTY_NAME=\"x\"\nID=debian\n"), Some("Debian"));
    assert_eq!(name("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Some("Debian"));
    assert_eq!(name("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Some("Fedora"));
    assert_eq!(name("ID=alpine"), Some("Alpine"));
    assert_eq!(name("ID=arch\n"), None);
    assert_eq!(name(""), None);
}

#[test]
fn a_warning_says_what_is_missing_for_whom_and_what_to_do() {
    let find = |name, os_release| find_for(name, &[HOST], &[os_release], &[]);
    let mut protoc = find("protoc", "etc/os-release=ID=debian");
    protoc.needed_by = vec![NeededBy { package: "api".into(), through: Some("prost-build".into()) }];
    assert_eq!(
        protoc.warning(),
        "`protoc` is not installed on this machine, and building `api` (through `prost-build`) may need it: install it \
         with `apt-get install protobuf-compiler`, or set PROTOC to its path"
    );
    let mut make = find("make", "usr/lib/os-release=ID=alpine");
    make.needed_by =
        ["a", "b", "c", "d", "e"].map(|name| NeededBy { package: name.into(), through: None }).into();
    assert_eq!(
        make.warning(),
        "`make` is not installed on this machine, and building `a`, `b`, `c` and 2 more may need it: install it with \
         `apk add make`"
    );
    let library = find("libclang", "etc/os-release=ID=arch");
    assert_eq!(library.remedy(), "install it, or set LIBCLANG_PATH to the directory that has it");
    // Where the machine is not known.
    assert_eq!(
        Tool::by_name("nasm").unwrap().remedy(),
        "install it (`apt-get install nasm` on Debian, `dnf install nasm` on Fedora, `apk add nasm` on Alpine), or set \
         NASM to its path"
    );
    assert_eq!(
        Tool::by_name("libclang.a").unwrap().remedy(),
        "install it, or set LIBCLANG_STATIC_PATH to the directory that has it"
    );
}
