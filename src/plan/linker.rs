//! Decides what links a platform's programs. The build does what is decided here.

use super::PlatformFacts;
use crate::payload::cargo::Linker;
use crate::target::catalog::Libc;
use crate::toolchain::ToolchainChoice;

/// What the choice of a linker depends on beside the settings.
#[derive(Clone, Debug)]
pub(crate) struct LinkerFacts {
    /// True if cargo's configuration names a linker for the triple.
    pub configured: bool,
    /// True if the Rust toolchain has rust-lld.
    pub rust_lld: bool,
    /// True if it is known that the triple's standard library has to be built from its source.
    pub builds_standard: bool,
    /// The first package that compiles C code, if there is one.
    pub c_code: Option<String>,
}

/// What links, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkerChoice {
    /// What links.
    pub linker: Linker,
    /// Why, in a few words.
    pub from: String,
}

impl PlatformFacts<'_> {
    /// What links the platform's programs, and compiles C code if it is zig.
    #[must_use]
    pub(crate) fn linker(&self) -> LinkerChoice {
        let toolchain = &self.wanted.toolchain;
        let LinkerFacts { configured, rust_lld, builds_standard, c_code } = &self.linker;
        let is_musl = self.wanted.target.value.libc == Libc::Musl;
        // A standard library that is built from its source comes without musl's start-up files.
        let rust_can_link = is_musl && c_code.is_none() && !builds_standard && *rust_lld;
        let (linker, from) = match (toolchain.value, c_code) {
            (ToolchainChoice::Cargo, _) => (Linker::Configured, toolchain.origin.to_string()),
            (ToolchainChoice::Zig, _) => (Linker::Zig, toolchain.origin.to_string()),
            (ToolchainChoice::Auto, _) if *configured => {
                (Linker::Configured, "cargo's configuration names a linker for the triple".into())
            }
            (ToolchainChoice::Auto, _) if rust_can_link => {
                (Linker::RustLld, "musl, and no crate compiles C code".into())
            }
            (ToolchainChoice::Auto, Some(package)) => {
                (Linker::Zig, format!("it also compiles the C code of `{package}`"))
            }
            (ToolchainChoice::Auto, None) => {
                (Linker::Zig, "it links for every C library without a sysroot".into())
            }
        };
        LinkerChoice { linker, from }
    }
}
