//! The program that rustc calls as linker if the Rust toolchain's own linker is used.
//!
//! This is a bare linker, but flags, build scripts and crates are written for a compiler driver: `-Wl,--build-id=sha1`,
//! `-fuse-ld=mold`, `-static-pie`. Such arguments are translated for the linker, or dropped if they tell a compiler
//! which linker or libraries to use.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::run::{Error, append, code};
use super::translate::Remark;
use super::work::Note;
use super::{response, scripts};
use crate::sys::env::Environment;
use crate::sys::process::Command;
use crate::sys::{fs, store, usage};

/// The hidden command with which the programs are called as this linker.
pub(crate) const COMMAND: &str = "__lld";

/// Incremented when the translation changes in a way that changes programs.
const FORMAT: u32 = 1;

/// Compiler options that have no meaning for a linker which is given every file and library.
const DROPPED: &[&str] = &[
    "-nostartfiles",
    "-nodefaultlibs",
    "-nostdlib",
    "-nostdlib++",
    "-static-libgcc",
    "-static-libstdc++",
    "-shared-libgcc",
    "-pthread",
    "-pipe",
    "-pg",
];
/// The same with a value, or as a prefix of several options.
const DROPPED_PREFIXES: &[&str] = &[
    "-fuse-ld=",
    "--ld-path=",
    "--target=",
    "-march=",
    "-mcpu=",
    "-mtune=",
    "-mfpu=",
    "-mfloat-abi=",
    "-m32",
    "-m64",
    "-fPI",
    "-fpi",
    "-flto",
    "-fno-",
    "-fstack",
    "-fsanitize",
    "-g",
    "-std=",
    "-O",
    "--sysroot=",
];
/// Options of the linker itself that start with one of these prefixes.
const KEPT: &[&str] = &["-O0", "-O1", "-O2", "-gc-sections", "-gdb-index"];

/// Writes the script that rustc calls for `lld` and returns its path, which depends on what the script does.
pub(crate) fn install(lld: &Path, triple: &str, program: &Path, cache: &Path) -> io::Result<PathBuf> {
    let hash = Sha256::digest(format!("{FORMAT}\0{}\0{triple}", lld.display()));
    let dir = cache.join("wrappers").join(&hex::encode(hash)[..16]);
    usage::mark(&dir);
    store::dir(&dir)?;
    // rustc recognises the linker's command-line syntax by this name.
    let path = dir.join("rust-lld");
    let words = [OsStr::new(COMMAND), OsStr::new(triple), lld.as_os_str()];
    let script = scripts::script(program, &words);
    scripts::write_if_different(&path, script.as_bytes(), 0o755)?;
    Ok(path)
}

/// Replaces this process with the linker. Returns only if that fails.
pub(crate) fn run(arguments: Vec<OsString>, environment: &Environment) -> Result<u8, Error> {
    let mut arguments = arguments.into_iter();
    let (Some(triple), Some(lld)) = (arguments.next(), arguments.next()) else {
        return Err(Error::Usage);
    };
    let read = |path: &OsStr| fs::read(Path::new(path));
    let (arguments, remarks) = translate(response::expand(arguments, &read)?);
    append(&Note::remarks("rust-lld", &triple.to_string_lossy(), &remarks), environment)?;
    replaced_by(&Command::new(PathBuf::from(lld)), arguments)
}

/// Replaces this process with one of LLVM's programs, or waits for it if its arguments have to be in a file.
pub(crate) fn replaced_by(program: &Command, arguments: Vec<OsString>) -> Result<u8, Error> {
    let Some(text) = response::for_lld(&arguments) else {
        return Err(program.clone().args(arguments).exec().into());
    };
    let output = arguments.iter().skip_while(|argument| *argument != "-o").nth(1).map(PathBuf::from);
    let dir = output.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    let mut file = fs::temporary_file(dir)?;
    file.write_all(&text)?;
    let mut argument = OsString::from("@");
    argument.push(file.path());
    // rustc recognises the linker's syntax by these; they must come first.
    let flavor =
        arguments.iter().take(2).filter(|_| arguments.first().is_some_and(|first| first == "-flavor"));
    Ok(code(program.clone().args(flavor.cloned()).arg(argument).inherit()?.code()))
}

/// Translates arguments for a compiler into arguments for the linker. The linker's own options stay as they are.
pub(super) fn translate(arguments: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<Remark>) {
    let (mut out, mut remarks): (Vec<OsString>, Vec<Remark>) = (Vec::new(), Vec::new());
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let Some(word) = argument.to_str() else {
            out.push(argument);
            continue;
        };
        let mut drop = |reason: &str| {
            remarks.push(Remark { argument: word.to_owned(), reason: reason.to_owned() });
        };
        match word {
            "-o" | "-L" | "-l" | "-u" | "-T" | "-e" | "-z" | "-m" | "-flavor" | "-soname" | "-rpath" => {
                out.push(argument);
                out.extend(rest.next());
            }
            "-Xlinker" => out.extend(rest.next()),
            "-target" | "-x" => {
                rest.next();
                drop("it is for a compiler, and the linker is given every file and library");
            }
            "-rdynamic" => out.push("--export-dynamic".into()),
            "-static-pie" => {
                out.extend(["-static", "-pie", "--no-dynamic-linker", "-z", "text"].map(OsString::from));
            }
            _ if is_compilers(word) => {
                drop("it is for a compiler, and the linker is given every file and library");
            }
            _ => match word.strip_prefix("-Wl,") {
                Some(list) => out.extend(list.split(',').map(OsString::from)),
                None => out.push(argument),
            },
        }
    }
    tolerate_undefined_versions(&mut out);
    (out, remarks)
}

/// GNU ld accepts undefined names in a version script; LLVM's linker needs an option for it.
fn tolerate_undefined_versions(arguments: &mut Vec<OsString>) {
    let has = |names: &[&str]| {
        arguments.iter().filter_map(|argument| argument.to_str()).any(|word| {
            let name = word.split_once('=').map_or(word, |(name, _)| name);
            word.starts_with('-') && names.contains(&name.trim_start_matches('-'))
        })
    };
    if has(&["version-script"]) && !has(&["undefined-version", "no-undefined-version"]) {
        arguments.push("--undefined-version".into());
    }
}

fn is_compilers(word: &str) -> bool {
    if KEPT.contains(&word) {
        return false;
    }
    // `-B` with a directory is a compiler's option; `-Bstatic` and the like are the linker's.
    let dir = word.strip_prefix("-B").is_some_and(|rest| rest.starts_with(['/', '.']));
    let warning = word.starts_with("-W") && !word.starts_with("-Wl,");
    dir || warning
        || DROPPED.contains(&word)
        || DROPPED_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> (String, Vec<String>) {
        let (arguments, remarks) = translate(text.split_whitespace().map(OsString::from));
        let words: Vec<_> = arguments.iter().map(|word| word.to_str().unwrap()).collect();
        (words.join(" "), remarks.into_iter().map(|remark| remark.argument).collect())
    }

    #[test]
    fn what_is_said_to_a_compiler_is_said_to_the_linker() {
        for (given, expected) in [
            ("-Wl,--build-id=sha1", "--build-id=sha1"),
            ("-Wl,-z,nodelete", "-z nodelete"),
            ("-Wl,-rpath,/a -Wl,--as-needed", "-rpath /a --as-needed"),
            ("-Xlinker -z -Xlinker now", "-z now"),
            ("-rdynamic", "--export-dynamic"),
            ("-Wl,--version-script=/x/v.map", "--version-script=/x/v.map --undefined-version"),
            ("--version-script=/x --no-undefined-version", "--version-script=/x --no-undefined-version"),
            ("-static-pie", "-static -pie --no-dynamic-linker -z text"),
        ] {
            assert_eq!(said(given), (expected.to_owned(), Vec::new()), "{given}");
        }
    }

    #[test]
    fn what_is_a_compilers_business_is_left_out_with_a_remark() {
        for given in [
            "-fuse-ld=mold",
            "-static-libgcc",
            "-nostartfiles",
            "-m64",
            "-march=x86-64-v3",
            "-B/usr/libexec/mold",
            "-pthread",
            "-O3",
            "-g",
            "-flto=thin",
            "-Wall",
        ] {
            assert_eq!(said(given), (String::new(), vec![given.to_owned()]), "{given}");
        }
    }

    #[test]
    fn what_rustc_says_stays_as_it_is() {
        let given = "-flavor gnu /s/rcrt1.o --eh-frame-hdr -z noexecstack -L /s -o /w/-march=x --gc-sections \
            -static -pie --no-dynamic-linker -z text -z relro -z now -O1 --strip-debug -Bstatic -lc -m elf_x86_64";
        assert_eq!(said(given), (given.split_whitespace().collect::<Vec<_>>().join(" "), Vec::new()));
    }
}
