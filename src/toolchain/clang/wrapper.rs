//! The programs that build scripts call in place of Clang, and what determines their behaviour.

use std::io;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::Found;
use super::run::COMMAND;
use crate::packages::Sysroot;
use crate::target::catalog::{Target, Variant};
use crate::toolchain::driver::Tools;
use crate::toolchain::driver::scripts::{Root, Scripts, write_cmake};

/// Incremented when the scripts or the translation change in a way that changes programs.
const FORMAT: u32 = 1;

/// Everything that determines the behaviour of a wrapper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Spec {
    /// [`FORMAT`].
    format: u32,
    /// The Clang program.
    pub(super) clang: PathBuf,
    /// Its version.
    pub(super) version: Version,
    /// The directory of its own headers, if it names one.
    pub(super) resources: Option<PathBuf>,
    /// The archiver.
    pub(super) ar: PathBuf,
    /// The program that makes the index of an archive.
    pub(super) ranlib: PathBuf,
    /// The target's triple.
    pub(super) triple: String,
    /// Clang's `--target`.
    pub(super) target: String,
    /// The target's further arguments.
    pub(super) arguments: Vec<String>,
    /// The processors that a platform's variant promises, if it is one with better processors.
    pub(super) cpu: Option<String>,
    /// The sysroot's directory.
    pub(super) sysroot: PathBuf,
    /// What determines the sysroot's content, so that code is compiled again when it changes.
    identity: String,
    /// The name of the directories with the target's libraries.
    pub(super) multiarch: String,
    /// The directory of GCC's own files, below the sysroot.
    gcc: String,
    /// LLVM's linker, under the name by which it links ELF files: `ld.lld`.
    pub(super) linker: PathBuf,
    /// True if code may be compiled for the processor of the build machine.
    #[serde(default)]
    pub(super) native: bool,
    /// True if the triple is also the host's, so that build scripts which compile for the host call this wrapper as
    /// well.
    pub(super) host: bool,
}

impl Spec {
    /// A wrapper around Clang for `target`, with its sysroot and with `linker`.
    #[must_use]
    pub(crate) fn new(clang: &Found, target: &Target, sysroot: &Sysroot, linker: &Path) -> Self {
        Self {
            format: FORMAT,
            clang: clang.program.clone(),
            version: clang.version.clone(),
            resources: clang.resources.clone(),
            ar: clang.ar.clone(),
            ranlib: clang.ranlib.clone(),
            triple: target.triple.clone(),
            target: target.clang.target.clone().unwrap_or_else(|| sysroot.multiarch.clone()),
            arguments: target.clang.arguments.clone(),
            cpu: None,
            sysroot: sysroot.path.clone(),
            identity: sysroot.identity.clone(),
            multiarch: sysroot.multiarch.clone(),
            gcc: sysroot.gcc.clone(),
            linker: linker.to_owned(),
            native: false,
            host: false,
        }
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
        self.cpu = variant.map(|variant| variant.cpu.clone());
        self.native = native;
        self
    }

    /// The target's headers and libraries.
    pub(super) fn root(&self) -> Root {
        Root { path: self.sysroot.clone(), multiarch: self.multiarch.clone() }
    }

    /// The arguments with which bindgen, which calls Clang's library and not this wrapper, reads the sysroot's headers.
    #[must_use]
    pub(crate) fn bindgen_arguments(&self) -> String {
        let words = super::arguments::leading_target(self);
        shell_words::join(words.iter().map(|word| word.to_string_lossy()))
    }
}

/// An installed wrapper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrapper {
    /// Its behaviour.
    pub spec: Spec,
    /// Its programs and files.
    pub tools: Tools,
}

impl Wrapper {
    /// Writes the scripts if they are missing or call another xbuild.
    pub(crate) fn install(spec: Spec, target: &Target, program: &Path, cache: &Path) -> io::Result<Self> {
        let scripts = Scripts::in_cache(&serde_json::to_vec_pretty(&spec)?, COMMAND, program, cache)?;
        // cc-rs looks for `clang` in a compiler's name to determine its kind, if it cannot ask the compiler itself.
        let tools = Tools {
            cc: scripts.write("clang-cc", "cc")?,
            cxx: scripts.write("clang-c++", "c++")?,
            ar: scripts.write("ar", "ar")?,
            ranlib: scripts.write("ranlib", "ranlib")?,
            cmake: scripts.cmake(),
            empty: scripts.empty(),
            pkg_config: scripts.of_host(spec.host)?,
            root: Some(spec.root()),
        };
        write_cmake(&tools, target)?;
        Ok(Self { spec, tools })
    }
}
