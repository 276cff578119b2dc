//! The compiler wrapper: the programs that cargo, cc-rs and `CMake` call as C compiler, archiver and linker.
//!
//! Each target gets a directory in the cache with small shell scripts that call xbuild back (`xbuild __zig …`), which
//! translates the arguments for zig ([`translate`]). The directory's path is part of rustc's flags. It must stay the
//! same as long as the scripts' behaviour stays the same, and must change when that changes: cargo rebuilds for a new
//! path and not for new content. So it is named by a hash of the wrapper's parameters. The path of the xbuild program
//! is not one of them: it may move without a rebuild.

pub(crate) mod link;
pub(crate) mod lld;
pub(crate) mod neutral;
pub(crate) mod prime;
pub(crate) mod response;
pub(crate) mod run;
pub(crate) mod rustc;
pub(crate) mod scripts;
mod side;
pub(crate) mod translate;
pub(crate) mod work;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::sys::env::Environment;
use crate::sys::usage;
use crate::target::abi::GlibcVersion;
use crate::target::catalog::{Target, Variant};
use crate::toolchain::clang;
use crate::toolchain::objcopy::Objcopy;
use crate::toolchain::zig::Zig;

use run::{COMMAND, run};
use scripts::Scripts;
pub(crate) use scripts::Tools;
pub(crate) use side::{DIR_VARIABLE, host_variables};

/// Incremented when the scripts or the translation change in a way that changes programs, so that they are linked
/// again.
const FORMAT: u32 = 2;

/// The directory in xbuild's cache for zig's caches. It gets a new name when the content of older ones is unusable: zig
/// does not track all dependencies of its own libraries.
const CACHE: &str = "zig-2";

/// The variable with the path of the xbuild that the scripts call.
pub(crate) const PROGRAM_VARIABLE: &str = "XBUILD_PROGRAM";
/// The variable with the path of a file to which remarks are appended, as JSON lines.
pub(crate) const REMARKS_VARIABLE: &str = "XBUILD_REMARKS";
/// The variable with path prefixes to replace, `from=to`, separated by the unit separator.
pub(crate) const PREFIXES_VARIABLE: &str = "XBUILD_PREFIXES";
/// The separator of the prefixes.
pub(crate) const SEPARATOR: char = '\x1f';

/// Everything that determines the behaviour of a wrapper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Spec {
    /// [`FORMAT`].
    format: u32,
    /// The zig program.
    zig: PathBuf,
    /// Its version.
    version: Version,
    /// The target's triple.
    triple: String,
    /// zig's `-target`, with the glibc to link for.
    target: String,
    /// zig's `-mcpu`, if its baseline differs from rustc's, or if better processors are promised.
    cpu: Option<String>,
    /// True if code may be compiled for the processor of the build machine.
    #[serde(default)]
    native: bool,
    /// The program that strips debug information, if there is one.
    objcopy: Option<Objcopy>,
    /// The directory for zig's caches.
    cache: PathBuf,
    /// True if the triple is also the host's, so that build scripts which compile for the host call this wrapper as
    /// well.
    host: bool,
    /// The directory with zig's own files, if zig reports it.
    library: Option<PathBuf>,
}

impl Spec {
    /// A wrapper around `zig` for `target`; `glibc` is the oldest glibc to run with, for glibc targets.
    /// `cache` is xbuild's cache directory.
    #[must_use]
    pub(crate) fn new(
        zig: &Zig,
        target: &Target,
        glibc: Option<GlibcVersion>,
        objcopy: Option<Objcopy>,
        cache: &Path,
    ) -> Self {
        // Without a suffix zig chooses a glibc version, which depends on zig's version.
        let suffix = glibc.map(|version| format!(".{version}")).unwrap_or_default();
        Self {
            format: FORMAT,
            zig: zig.program.clone(),
            version: zig.version.clone(),
            triple: target.triple.clone(),
            target: format!("{}{suffix}", target.zig.target),
            cpu: target.zig.cpu.clone(),
            native: false,
            objcopy,
            cache: cache.join(CACHE),
            host: false,
            library: None,
        }
    }

    /// The same with zig's own files in `library`, see [`Zig::library`].
    #[must_use]
    pub(crate) fn with_library(self, library: Option<PathBuf>) -> Self {
        Self { library, ..self }
    }

    /// The same for a compiler on the host triple `host`.
    #[must_use]
    pub(crate) fn on(mut self, host: &str) -> Self {
        self.host = self.triple == host;
        self
    }

    /// The same for the processors of a platform's variant. With `native`, C code may be compiled for the processor of
    /// this machine.
    #[must_use]
    pub(crate) fn for_processor(mut self, variant: Option<&Variant>, native: bool) -> Self {
        self.cpu = variant.map(|variant| variant.zig.clone()).or(self.cpu);
        self.native = native;
        self
    }

    /// zig's `-target`: `aarch64-linux-gnu.2.36`.
    #[must_use]
    pub(crate) fn zig_target(&self) -> &str {
        &self.target
    }

    /// zig's `-mcpu`, if there is one.
    #[must_use]
    pub(crate) fn zig_cpu(&self) -> Option<&str> {
        self.cpu.as_deref()
    }

    /// The directory of zig's caches.
    #[must_use]
    pub(crate) fn zig_cache(&self) -> &Path {
        &self.cache
    }

    /// The zig version.
    #[must_use]
    pub(crate) fn zig_version(&self) -> &Version {
        &self.version
    }
}

/// An installed wrapper: absolute paths of its scripts and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrapper {
    /// Its behaviour.
    pub spec: Spec,
    /// C compiler.
    pub cc: PathBuf,
    /// The C compiler as linker for rustc and for us: it always compiles for the target.
    pub linker: PathBuf,
    /// C++ compiler.
    pub cxx: PathBuf,
    /// Archiver.
    pub ar: PathBuf,
    /// The program that makes the index of an archive.
    pub ranlib: PathBuf,
    /// `CMake`'s toolchain file.
    pub cmake: PathBuf,
    /// An empty directory, which pkg-config and `CMake` search instead of the host's libraries.
    pub empty: PathBuf,
    /// A wrapper for the host's pkg-config that decides whether it is called for the host or the target; only if the
    /// host has the target's triple.
    pub pkg_config: Option<PathBuf>,
}

impl Wrapper {
    /// Writes the scripts if they are missing or call another xbuild. Each is written by a rename, so that several
    /// processes can do this at once.
    pub(crate) fn install(spec: Spec, target: &Target, program: &Path, cache: &Path) -> io::Result<Self> {
        // A caller of the wrapper uses what zig has compiled.
        usage::mark(&spec.cache);
        let scripts = Scripts::in_cache(&serde_json::to_vec_pretty(&spec)?, COMMAND, program, cache)?;
        // cc-rs looks for `zig` in a compiler's name to determine its kind.
        let wrapper = Self {
            cc: scripts.write("zig-cc", "cc")?,
            linker: scripts.write("zig-linker", run::LINKER)?,
            cxx: scripts.write("zig-c++", "c++")?,
            ar: scripts.write("zig-ar", "ar")?,
            ranlib: scripts.write("zig-ranlib", "ranlib")?,
            cmake: scripts.cmake(),
            pkg_config: scripts.of_host(spec.host)?,
            empty: scripts.empty(),
            spec,
        };
        scripts::write_cmake(&wrapper.tools(), target)?;
        Ok(wrapper)
    }

    /// What build scripts get of it.
    #[must_use]
    pub(crate) fn tools(&self) -> Tools {
        Tools {
            cc: self.cc.clone(),
            cxx: self.cxx.clone(),
            ar: self.ar.clone(),
            ranlib: self.ranlib.clone(),
            cmake: self.cmake.clone(),
            empty: self.empty.clone(),
            pkg_config: self.pkg_config.clone(),
            root: None,
        }
    }
}

/// Runs the hidden command that this process was called for, if `arguments` begin with one: cargo, rustc and build
/// scripts call us back that way. Returns the exit code.
///
/// A build makes the running program cargo's compiler and linker. So a program that uses the library to build must call
/// this first, with its arguments after the program's name, and exit with the code.
#[must_use]
pub fn called(arguments: &[OsString], environment: &Environment, stderr: &mut dyn Write) -> Option<u8> {
    let (command, rest) = arguments.split_first()?;
    let rest = rest.to_vec();
    match command.to_str()? {
        COMMAND => Some(run(rest, environment, stderr)),
        rustc::COMMAND => Some(run::ended(rustc::run(rest, environment), stderr)),
        link::COMMAND => Some(run::ended(link::run(rest, environment), stderr)),
        lld::COMMAND => Some(run::ended(lld::run(rest, environment), stderr)),
        clang::COMMAND => Some(run::ended(clang::run(rest, environment), stderr)),
        _ => None,
    }
}

/// The first arguments of zig when it compiles or links.
fn leading(spec: &Spec) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-target".into(), spec.target.clone().into()];
    arguments.extend(spec.cpu.iter().map(|cpu| format!("-mcpu={cpu}").into()));
    // By default zig compiles unoptimised C with checks for undefined behaviour. Other compilers do not, and rustc does
    // not link the run-time library for these checks.
    arguments.push("-fno-sanitize=all".into());
    arguments
}

/// The first arguments of zig when it links; with `objects_only` it compiles nothing in the same call.
fn leading_link(spec: &Spec, objects_only: bool) -> Vec<OsString> {
    let mut arguments = leading(spec);
    // Without `-g` zig strips all symbols.
    arguments.push("-g".into());
    if objects_only {
        // Without a level zig builds a run-time library for checks of undefined behaviour, for every target, although
        // nothing uses it: several times the work of everything else. With a level it would also drop unreferenced
        // sections, which is for the caller to decide.
        arguments.extend(["-O2".into(), "-Wl,--no-gc-sections".into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::cancel::Cancel;
    use crate::sys::fs;
    use crate::sys::process::Command;
    use crate::toolchain::zig::ZigWay;

    fn zig(program: &str) -> Zig {
        Zig { program: program.into(), version: Version::new(0, 17, 1), way: ZigWay::Cache }
    }

    fn install(cache: &Path, glibc: GlibcVersion, program: &str) -> Wrapper {
        let target = Target::by_triple("aarch64-unknown-linux-gnu").unwrap();
        let spec = Spec::new(&zig("/z/zig"), target, Some(glibc), None, cache);
        Wrapper::install(spec, target, Path::new(program), cache).unwrap()
    }

    #[test]
    fn the_path_follows_the_parameters_and_not_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let first = install(dir.path(), GlibcVersion(2, 36), "/a/xbuild");
        let moved = install(dir.path(), GlibcVersion(2, 36), "/b/xbuild");
        let other = install(dir.path(), GlibcVersion(2, 28), "/b/xbuild");
        assert_eq!(first.cc, moved.cc);
        assert_ne!(first.cc, other.cc);
        assert!(fs::read_to_string(&first.cc).unwrap().contains("/b/xbuild"));
        assert_eq!(first.spec.zig_target(), "aarch64-linux-gnu.2.36");
    }

    #[test]
    fn scripts_hand_on_every_argument_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("it's a \"directory\" $HOME");
        fs::create_dir(&odd).unwrap();
        let echo = odd.join("echo");
        fs::write_atomic(&echo, b"#!/bin/sh\nprintf '[%s]' \"$@\"\n", 0o755).unwrap();
        let wrapper = install(&odd, GlibcVersion(2, 36), echo.to_str().unwrap());
        let command = Command::new(&wrapper.cc).args(["a b", "", "$x", "*"]);
        let output = command.env_remove(PROGRAM_VARIABLE).text(&Cancel::new()).unwrap();
        let spec = wrapper.cc.with_file_name("spec.json");
        assert_eq!(output.trim_end(), format!("[{COMMAND}][{}][cc][a b][][$x][*]", spec.display()));
    }

    #[test]
    fn a_spec_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let wrapper = install(dir.path(), GlibcVersion(2, 36), "/a/xbuild");
        let bytes = fs::read(wrapper.cc.with_file_name("spec.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Spec>(&bytes).unwrap(), wrapper.spec);
    }
}
