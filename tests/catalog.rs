//! Checks every data file of `targets/` and `toolchains/` against rustc and the ELF specification.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use object::elf;
use xbuild::target::catalog::{Endianness, Libc, Target};
use xbuild::target::platform::Platform;

/// The stems and texts of the data files in a directory.
fn data_files(dir: &str) -> BTreeMap<String, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&dir).expect("a directory of the repository") {
        let path = entry.expect("a directory of the repository").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let stem = name.strip_suffix(".toml").unwrap_or_else(|| panic!("{name} is not a data file"));
        files.insert(stem.to_owned(), fs::read_to_string(&path).expect("UTF-8"));
    }
    files
}

fn rustc(arguments: &[&str]) -> String {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(program).args(arguments).output().expect("rustc can be started");
    assert!(output.status.success(), "rustc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_stem_is_an_identity() {
    let files = data_files("targets");
    assert_eq!(files.len(), Target::all().len());
    for (stem, text) in &files {
        let target: Target = toml::from_str(text).unwrap_or_else(|error| panic!("{stem}: {error}"));
        assert_eq!(target.triple, *stem);
        assert_eq!(Target::by_triple(stem), Some(&target), "what is embedded is not the file");
    }
    for (stem, text) in data_files("toolchains") {
        let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{stem}: {error}"));
        assert_eq!(table["name"].as_str(), Some(stem.as_str()));
    }
}

#[test]
fn rustc_knows_every_triple() {
    let known = rustc(&["--print", "target-list"]);
    let known: BTreeSet<&str> = known.lines().collect();
    for target in Target::all() {
        assert!(known.contains(target.triple.as_str()), "{}", target.triple);
    }
}

#[test]
fn rustc_agrees_on_the_machine() {
    for target in Target::all() {
        let triple = &target.triple;
        let cfg = rustc(&["--print", "cfg", "--target", triple]);
        let value = |key: &str| {
            let found = cfg.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("{triple} has no {key}")).trim_matches('"').to_owned()
        };
        assert_eq!(value("target_os"), target.platform.os(), "{triple}");
        assert_eq!(value("target_pointer_width"), target.elf.class.to_string(), "{triple}");
        let endianness = match target.elf.endianness {
            Endianness::Little => "little",
            Endianness::Big => "big",
        };
        assert_eq!(value("target_endian"), endianness, "{triple}");
        let libc = match target.libc {
            Libc::Gnu => "gnu",
            Libc::Musl => "musl",
        };
        assert_eq!(value("target_env"), libc, "{triple}");

        // rustc's architecture, in the terms of OCI and of ELF.
        let (architecture, machine) = match value("target_arch").as_str() {
            "x86_64" => ("amd64", elf::EM_X86_64),
            "x86" => ("386", elf::EM_386),
            "aarch64" => ("arm64", elf::EM_AARCH64),
            "arm" => ("arm", elf::EM_ARM),
            "riscv64" => ("riscv64", elf::EM_RISCV),
            "powerpc64" => ("ppc64le", elf::EM_PPC64),
            "s390x" => ("s390x", elf::EM_S390),
            "loongarch64" => ("loong64", elf::EM_LOONGARCH),
            other => panic!("{triple}: this test does not know {other} yet: add its machine"),
        };
        assert_eq!(target.platform.architecture(), architecture, "{triple}");
        assert_eq!(target.elf.machine, machine.0, "{triple}");
    }
}

#[test]
fn flags_are_of_the_machines_own_processor_supplement() {
    for target in Target::all() {
        let triple = &target.triple;
        let rule = target.elf.flags;
        if let Some(rule) = rule {
            assert_eq!(rule.value & !rule.mask, 0, "{triple}: the value has bits that the mask lacks");
        }
        let is = |mask: u32, value: u32| {
            rule.is_some_and(|rule| rule.mask & mask == mask && rule.value & mask == value)
        };
        if triple.ends_with("hf") {
            assert!(is(elf::EF_ARM_ABI_FLOAT_HARD, elf::EF_ARM_ABI_FLOAT_HARD), "{triple}: hard float");
            assert!(is(elf::EF_ARM_EABIMASK, elf::EF_ARM_EABI_VER5.0), "{triple}: EABI 5");
        }
        if triple.starts_with("powerpc64le") {
            assert!(is(elf::EF_PPC64_ABI, 2), "{triple}: ELFv2");
        }
        if triple.starts_with("loongarch64") {
            assert!(
                is(elf::EF_LARCH_ABI_MODIFIER_MASK, elf::EF_LARCH_ABI_DOUBLE_FLOAT.0),
                "{triple}: double float"
            );
        }
        if triple.starts_with("riscv64gc") {
            assert!(is(elf::EF_RISCV_FLOAT_ABI, elf::EF_RISCV_FLOAT_ABI_DOUBLE.0), "{triple}: double float");
        }
    }
}

#[test]
fn dynamic_programs_have_a_loader_and_static_ones_have_none() {
    let loaders = BTreeMap::from([
        ("x86_64", "/lib64/ld-linux-x86-64.so.2"),
        ("i686", "/lib/ld-linux.so.2"),
        ("aarch64", "/lib/ld-linux-aarch64.so.1"),
        ("armv7", "/lib/ld-linux-armhf.so.3"),
        ("arm", "/lib/ld-linux-armhf.so.3"),
        ("riscv64gc", "/lib/ld-linux-riscv64-lp64d.so.1"),
        ("powerpc64le", "/lib64/ld64.so.2"),
        ("s390x", "/lib/ld64.so.1"),
        ("loongarch64", "/lib64/ld-linux-loongarch-lp64d.so.1"),
    ]);
    for target in Target::all() {
        let machine = target.triple.split('-').next().expect("a triple");
        let expected = match target.libc {
            Libc::Gnu => Some(loaders[machine]),
            Libc::Musl => None,
        };
        assert_eq!(target.elf.interpreter.as_deref(), expected, "{}", target.triple);
    }
}

#[test]
fn a_platform_and_a_libc_are_one_target() {
    let mut seen = BTreeSet::new();
    for target in Target::all() {
        assert!(seen.insert((&target.platform, target.libc)), "{}", target.triple);
        let text = target.platform.to_string();
        assert_eq!(text.parse::<Platform>().expect("a platform"), target.platform, "{text} is not normal");
    }
}

#[test]
fn the_platforms_of_the_manual_are_served() {
    let served: BTreeSet<String> =
        Target::all().iter().map(|target| format!("{} {}", target.platform, target.libc)).collect();
    for expected in [
        "linux/amd64 glibc",
        "linux/amd64 musl",
        "linux/arm64 glibc",
        "linux/arm64 musl",
        "linux/arm/v7 glibc",
        "linux/arm/v7 musl",
        "linux/386 glibc",
        "linux/arm/v6 glibc",
        "linux/riscv64 glibc",
        "linux/ppc64le glibc",
        "linux/s390x glibc",
        "linux/loong64 glibc",
        "linux/riscv64 musl",
        "linux/ppc64le musl",
        "linux/s390x musl",
    ] {
        assert!(served.contains(expected), "{expected}");
    }
}
