//! The arguments of a call of Clang. Pure.
//!
//! Everything on which Clang would decide by itself is said first: versions and distributions have other defaults, and
//! where a sysroot lacks something, Clang would take this machine's. The caller's arguments come later and take
//! precedence, except for those that say what only the wrapper may say.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::data::{ClangData, Drop, Own};
use super::wrapper::Spec;
use crate::toolchain::driver::run::Error;
use crate::toolchain::driver::translate::{Remark, Task, task};
use crate::toolchain::driver::work::has_sources;

/// The arguments of a caller, less those that say what only the wrapper may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    /// The purpose of the call.
    pub purpose: Purpose,
    /// The caller's arguments.
    pub arguments: Vec<OsString>,
    /// What was dropped.
    pub remarks: Vec<Remark>,
}

/// The purpose of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It compiles or preprocesses.
    Compile,
    /// It only links.
    Link,
    /// It compiles and links.
    Both,
    /// It only queries, for example the version.
    Ask,
}

/// Options whose value is the next argument, even if it looks like an option.
const VALUES: &[&str] =
    &["-o", "-L", "-I", "-D", "-U", "-x", "-l", "-u", "-z", "-T", "-MF", "-MT", "-MQ", "-Xlinker", "-Xclang"];
/// With one of these, a link says itself what is linked.
const KINDS: &[&str] = &["-shared", "-static", "-static-pie", "-pie", "-no-pie", "-nopie", "-r"];
/// What selects LLVM's C++ library, which no sysroot has. Clang would take this machine's headers.
const LIBCXX: &str = "-stdlib=libc++";

/// Endings of assembler files.
const ASSEMBLER: &[&str] = &["s", "S", "sx"];

/// Takes a caller's arguments apart.
pub(super) fn translate(arguments: &[OsString], spec: &Spec) -> Result<Translation, Error> {
    let mut out = Vec::new();
    let mut remarks = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(word) = argument.to_str() else {
            out.push(argument.clone());
            continue;
        };
        if word == LIBCXX {
            return Err(Error::NoLibcxx(word.to_owned()));
        }
        if let Some((drop, joined)) = dropped(word) {
            let value = match joined {
                Some(value) => value.to_owned(),
                None => rest.next().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default(),
            };
            if !is_own(drop.own, &value, spec) {
                let argument = if joined.is_some() { word.to_owned() } else { format!("{word} {value}") };
                remarks.push(Remark { argument, reason: drop.remark.clone() });
            }
            continue;
        }
        out.push(argument.clone());
        if VALUES.contains(&word) {
            out.extend(rest.next().cloned());
        }
    }
    Ok(Translation { purpose: purpose(&out), arguments: out, remarks })
}

/// The rule for an option that is dropped, and its value if that is part of the word.
fn dropped(word: &str) -> Option<(&'static Drop, Option<&str>)> {
    ClangData::get().drop.iter().find_map(|drop| {
        let value = word.strip_prefix(drop.name.as_str())?;
        let joined = drop.name.ends_with('=');
        (joined || value.is_empty()).then_some((drop, joined.then_some(value)))
    })
}

/// True if a value names what the wrapper names anyway.
fn is_own(own: Own, value: &str, spec: &Spec) -> bool {
    let machine = |name: &str| name.split('-').next().unwrap_or_default().to_owned();
    match own {
        // rustc's, LLVM's and GCC's names for the same target differ, also in how they name the machine: `riscv64gc`,
        // `riscv64`.
        Own::Target => {
            let given = machine(value);
            [&spec.triple, &spec.target, &spec.multiarch].iter().any(|name| machine(name) == given)
                || spec.triple.starts_with(&given)
        }
        Own::Sysroot => spec.sysroot == OsStr::new(value),
        Own::Gcc => {
            OsStr::new(value).as_encoded_bytes().starts_with(spec.sysroot.as_os_str().as_encoded_bytes())
        }
        Own::Linker => value == "lld" || spec.linker == OsStr::new(value),
    }
}

fn purpose(arguments: &[OsString]) -> Purpose {
    // With this option Clang prints what it would do for the others.
    let arguments: Vec<OsString> = arguments.iter().filter(|word| *word != "-###").cloned().collect();
    match task(&arguments) {
        Task::Compile => Purpose::Compile,
        Task::Ask => Purpose::Ask,
        Task::Link(_) if has_sources(&arguments) => Purpose::Both,
        Task::Link(_) => Purpose::Link,
    }
}

/// True if an assembler file may be among the arguments.
fn has_assembler(arguments: &[OsString]) -> bool {
    arguments.iter().filter_map(|argument| argument.to_str()).any(|word| {
        // The language of `-x`, which may be joined to it.
        let language = word.strip_prefix("-x").unwrap_or(word);
        let ending = Path::new(word).extension().and_then(OsStr::to_str);
        language.starts_with("assembler") || ending.is_some_and(|ending| ASSEMBLER.contains(&ending))
    })
}

/// The first arguments, which say for what Clang compiles and against what.
pub(super) fn leading_target(spec: &Spec) -> Vec<OsString> {
    let joined = |name: &str, path: &OsStr| {
        let mut argument = OsString::from(name);
        argument.push(path);
        argument
    };
    vec![
        format!("--target={}", spec.target).into(),
        joined("--sysroot=", spec.sysroot.as_os_str()),
        // Otherwise it would look for this machine's GCC if it does not like the sysroot's.
        joined("--gcc-toolchain=", spec.sysroot.join("usr").as_os_str()),
    ]
}

/// The arguments before the caller's.
pub(super) fn leading(spec: &Spec, tool: &OsStr, translation: &Translation) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    // The same program compiles both languages.
    if tool == "c++" {
        arguments.push("--driver-mode=g++".into());
    }
    if spec.version >= ClangData::get().configured_since {
        arguments.push("--no-default-config".into());
    }
    arguments.extend(leading_target(spec));
    // A link of objects does not use these, and would warn of them.
    arguments.push("--start-no-unused-arguments".into());
    // The default of distributions' compilers. That of Clang changed between versions.
    arguments.push("-fPIE".into());
    arguments.extend(spec.arguments.iter().map(Into::into));
    arguments.extend(spec.cpu.iter().map(|cpu| format!("-march={cpu}").into()));
    // This enables nothing: it only says which DWARF `-g` means.
    let data = ClangData::get();
    if spec.version < data.names_of_assembler_since && has_assembler(&translation.arguments) {
        arguments.push("-fdebug-default-version=4".into());
    }
    arguments.push("--end-no-unused-arguments".into());
    if matches!(translation.purpose, Purpose::Link | Purpose::Both) {
        let says_kind =
            translation.arguments.iter().any(|word| word.to_str().is_some_and(|word| KINDS.contains(&word)));
        if !says_kind {
            arguments.push("-pie".into());
        }
        arguments.push("-fuse-ld=lld".into());
        let mut path = OsString::from("--ld-path=");
        path.push(&spec.linker);
        arguments.push(path);
        // Some of these depend on the distribution on which Clang runs.
        arguments
            .extend(["-Wl,-z,relro,-z,now", "-Wl,--build-id=none", "-Wl,--hash-style=gnu"].map(Into::into));
    }
    arguments
}
