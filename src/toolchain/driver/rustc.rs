//! The program that cargo calls as rustc: the project's own, with linker flags if it compiles for one of our targets.
//!
//! The linker is set neither by cargo's flags for a target nor by `target.<triple>.linker`, since both have too wide a
//! scope. A target's flags are also passed to its build scripts, and if one of these starts cargo, that cargo uses them
//! for everything that it compiles, including WebAssembly and programs for the host. A target's linker also links build
//! scripts and procedural macros if the host's triple is a target. rustc's own `--target` is exact, for cargo and for
//! every cargo that a build script starts: whatever is compiled for the target is linked by our linker, and nothing
//! else is. Our flags also come after all other flags, wherever these are set.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sys::env::Environment;
use crate::sys::process::{Command, ProcessError};
use crate::sys::{fs, store, usage};
use crate::toolchain::rust::flags;

/// The hidden command with which the programs are called as rustc.
pub(crate) const COMMAND: &str = "__rustc";
/// The variable with the [`Rustc`], as JSON.
pub(crate) const VARIABLE: &str = "XBUILD_RUSTC";
/// A path prefix that exists nowhere.
const NOWHERE: &str = "/xbuild-linker";

/// A rustc, and the flags that it gets in addition to cargo's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rustc {
    /// The program.
    pub(crate) program: PathBuf,
    /// The flags by the target's triple.
    pub(crate) targets: BTreeMap<String, Vec<String>>,
    /// True if code for a target may be compiled for the processor of this machine.
    pub(crate) native: bool,
}

/// Writes the script that cargo calls instead of rustc. It is the same for everything that is compiled, so that build
/// scripts which depend on the value of `RUSTC` do not run again.
pub(crate) fn install(program: &Path, cache: &Path) -> io::Result<PathBuf> {
    let dir = cache.join("wrappers").join("rustc");
    usage::mark(&dir);
    store::dir(&dir)?;
    // sccache recognises rustc by its name.
    let path = dir.join("rustc");
    let script = super::scripts::script(program, &[OsStr::new(COMMAND)]);
    super::scripts::write_if_different(&path, script.as_bytes(), 0o755)?;
    Ok(path)
}

/// A flag for cargo that represents `flags`, which cargo does not see. It has no effect on compilations, but cargo
/// recompiles when it changes. It is a path mapping, because cargo leaves flags out of the hashes in file names if
/// there is one, and these hashes are in programs.
pub(crate) fn marker(flags: &[String]) -> String {
    let hash = hex::encode(Sha256::digest(flags.join("\0")));
    format!("--remap-path-prefix={NOWHERE}/{}={NOWHERE}", &hash[..16])
}

/// True if a [`marker`] is among a build script's flags.
pub(crate) fn is_marked(encoded_flags: &str) -> bool {
    encoded_flags.contains(NOWHERE)
}

/// Replaces this process with rustc. Returns only if that fails.
pub(crate) fn run(arguments: Vec<OsString>, environment: &Environment) -> Result<u8, super::run::Error> {
    let rustc: Rustc = match environment.var(VARIABLE) {
        Some(text) => serde_json::from_str(text)?,
        // A user repeats a command line that cargo has shown.
        None => Rustc { program: "rustc".into(), targets: BTreeMap::new(), native: true },
    };
    let read = |path: &OsStr| fs::read_to_string(Path::new(path));
    let words = words(&arguments, &read)?;
    let flags = target(&words).and_then(|triple| rustc.targets.get(&triple).cloned());
    if let Some(flags) = &flags
        && !rustc.native
    {
        // Flags from the configuration were checked before cargo was started; with a nightly cargo, profiles may have
        // flags, too.
        let all: Vec<String> = words.iter().chain(flags).cloned().collect();
        if flags::named(&all).is_some_and(|cpu| cpu == "native") {
            return Err(super::run::Error::Native("-Ctarget-cpu=native".into()));
        }
    }
    Err(become_rustc(&rustc.program, arguments, flags.unwrap_or_default()).into())
}

fn become_rustc(program: &Path, arguments: Vec<OsString>, flags: Vec<String>) -> ProcessError {
    Command::new(program).args(arguments).args(flags).exec()
}

/// The arguments that are UTF-8. If there are too many, cargo writes them to a file, one per line.
fn words(arguments: &[OsString], read: &dyn Fn(&OsStr) -> io::Result<String>) -> io::Result<Vec<String>> {
    let mut words = Vec::new();
    for word in arguments.iter().filter_map(|argument| argument.to_str()) {
        match word.strip_prefix('@') {
            Some(path) => words.extend(read(OsStr::new(path))?.lines().map(str::to_owned)),
            None => words.push(word.to_owned()),
        }
    }
    Ok(words)
}

/// The value of `--target`.
fn target(words: &[String]) -> Option<String> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--target" {
            return rest.next().cloned();
        }
        if let Some(triple) = word.strip_prefix("--target=") {
            return Some(triple.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cancel::Cancel;
    use crate::toolchain::driver::PROGRAM_VARIABLE;

    fn found(arguments: &[&str]) -> Option<String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let read = |path: &OsStr| match path.to_str() {
            Some("many") => Ok("--crate-name\nx\n--target\nb\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        target(&words(&arguments, &read).unwrap())
    }

    #[test]
    fn the_target_is_what_rustc_is_told() {
        assert_eq!(found(&["--crate-name", "x", "--target", "a", "-Clinker=y"]), Some("a".into()));
        assert_eq!(found(&["--target=a"]), Some("a".into()));
        assert_eq!(found(&["@many"]), Some("b".into()));
        assert_eq!(found(&["--crate-name", "target", "-vV"]), None);
    }

    #[test]
    fn this_machines_processor_is_refused_wherever_it_is_asked_for() {
        let run = |native: bool, arguments: &[&str]| {
            let targets =
                [("a".to_owned(), Vec::new()), ("v3".to_owned(), vec!["-Ctarget-cpu=v3".to_owned()])];
            let rustc = Rustc { program: "/no/such/rustc".into(), targets: targets.into(), native };
            let environment = [(VARIABLE, serde_json::to_string(&rustc).unwrap())];
            let environment = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
            run(arguments.iter().map(OsString::from).collect(), &environment).unwrap_err().to_string()
        };
        for arguments in [
            &["--target", "a", "-Ctarget-cpu=native"][..],
            &["-C", "target-cpu=native", "--target=a"],
            &["--target", "a", "-Ctarget_cpu=native"],
            &["--target", "a", "-Ctarget-cpu=b", "--codegen", "target-cpu=native"],
        ] {
            let said = run(false, arguments);
            assert!(
                said.contains("`-Ctarget-cpu=native` compiles for the processor of this machine"),
                "{said}"
            );
            assert!(run(true, arguments).contains("/no/such/rustc"));
        }
        // For the host, for another processor in the end, and for a processor that the platform promises.
        for arguments in [
            &["-Ctarget-cpu=native"][..],
            &["--target", "b", "-Ctarget-cpu=native"],
            &["--target", "a", "-Ctarget-cpu=native", "-Ctarget-cpu=b"],
            &["--target", "v3", "-Ctarget-cpu=native"],
        ] {
            assert!(run(false, arguments).contains("/no/such/rustc"), "{arguments:?}");
        }
    }

    #[test]
    fn the_marker_follows_the_flags_and_does_nothing() {
        let marker =
            |flags: &[&str]| marker(&flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>());
        assert_eq!(marker(&["-Clinker=a"]), marker(&["-Clinker=a"]));
        assert_ne!(marker(&["-Clinker=a"]), marker(&["-Clinker=b"]));
        assert!(!marker(&["-Clinker=a b"]).contains(char::is_whitespace));
        assert!(is_marked(&marker(&[])) && !is_marked("--remap-path-prefix=/w=/workspace"));
    }

    #[test]
    fn the_script_calls_back_with_every_argument() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a \"directory\"");
        fs::create_dir(&odd).unwrap();
        let echo = odd.join("echo");
        fs::write_atomic(&echo, b"#!/bin/sh\nprintf '[%s]' \"$@\"\n", 0o755).unwrap();
        let script = install(&echo, &odd).unwrap();
        assert_eq!(script.file_name().unwrap(), "rustc");
        let command = Command::new(script).args(["--target", "a b"]).env_remove(PROGRAM_VARIABLE);
        assert_eq!(command.text(&Cancel::new()).unwrap().trim_end(), format!("[{COMMAND}][--target][a b]"));
    }
}
