//! What an ELF file is and what it needs: pure, over bytes.
//!
//! The header, the program headers and the dynamic segment with its symbols are read the way the kernel and the dynamic
//! loader read them (gABI; symbol versions follow LSB's "Symbol Versioning"). Section headers may be stripped. They are
//! used only for what the loader itself does not need: Arm's build attributes and the names in a static program. A file
//! without them is valid.
//!
//! Nothing here panics, whatever the bytes, and the memory that a parsed file takes is bounded.

mod arm;
mod attributes;
mod beyond;
mod code;
mod glibc;
mod image;
mod object;
mod parse;
mod property;
mod rpath;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
mod strings;
mod symbols;
mod versions;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use attributes::ArmAttributes;
pub use beyond::{Beyond, promise};
pub use code::ArmCode;
pub use code::Asks;
pub use glibc::GlibcVersion;
pub use object::Loader;
pub use object::{Object, extent};
pub use rpath::runpath_to_rpath;
pub use symbols::{Symbols, Undefined};

/// Byte order of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endianness {
    /// `ELFDATA2LSB`.
    Little,
    /// `ELFDATA2MSB`.
    Big,
}

/// An ELF file's identity and needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Elf {
    /// `EI_CLASS` in bits: 32 or 64.
    pub class: u8,
    /// `EI_DATA`.
    pub endianness: Endianness,
    /// `EI_OSABI`: 0 (System V) or 3 (GNU) for everything that Linux runs.
    pub os_abi: u8,
    /// `e_type`.
    pub kind: Kind,
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`.
    pub flags: u32,
    /// `PT_INTERP`: the dynamic loader's path.
    pub interpreter: Option<String>,
    /// True if there is a dynamic segment.
    pub dynamic: bool,
    /// `DT_NEEDED`, in the file's order, which is the loader's.
    pub needed: Vec<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_RPATH`, not yet split at its colons.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`, not yet split at its colons.
    pub runpath: Option<String>,
    /// True if `DT_FLAGS_1` has `DF_1_PIE`.
    pub pie_flag: bool,
    /// True if `DT_FLAGS_1` has `DF_1_NODEFLIB`: the loader does not search its own directories for this file's
    /// libraries.
    pub no_default_dirs: bool,
    /// `DT_FILTER`: libraries whose definitions replace its own. glibc's loader fails if one is missing.
    pub filters: Vec<String>,
    /// `DT_AUXILIARY`: the same as `DT_FILTER`, except that these may be missing.
    pub auxiliaries: Vec<String>,
    /// True if it has compact relative relocations (`DT_RELR`), which glibc supports since 2.36 and musl since 1.2.4.
    pub relr: bool,
    /// The x86-64 levels that its code needs (`GNU_PROPERTY_X86_ISA_1_NEEDED`): bit 0 is the baseline, bit 1 is v2, and
    /// so on. Usually 0, as few files have the property.
    pub x86_levels: u32,
    /// Arm's build attributes, if the file has any.
    pub arm: Option<ArmAttributes>,
    /// The symbol versions that it needs (`DT_VERNEED`), in the file's order.
    pub versions_needed: Vec<VersionNeed>,
    /// The symbol versions that it defines (`DT_VERDEF`), without the one that names the file itself.
    pub versions_defined: Vec<String>,
}

/// `e_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `ET_EXEC`: a program at a fixed address.
    Executable,
    /// `ET_DYN`: a shared library or a position-independent program.
    Shared,
    /// `ET_REL`: an object file.
    Relocatable,
    /// Any other value.
    Other(u16),
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Executable => formatter.write_str("a program"),
            Self::Shared => formatter.write_str("a shared object"),
            Self::Relocatable => formatter.write_str("an object file"),
            Self::Other(number) => write!(formatter, "ELF type {number}"),
        }
    }
}

/// A symbol version that a file needs from a library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VersionNeed {
    /// The library's `DT_SONAME`, for example `libc.so.6`.
    pub library: String,
    /// The version, for example `GLIBC_2.34`.
    pub version: String,
    /// `VER_FLG_WEAK`: the loader only warns if it is missing.
    pub weak: bool,
}

/// Bytes that are not an ELF file, or a broken one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is no ELF magic number.
    #[error("it is not an ELF file{}", match kind { Some(kind) => format!(" but {kind}"), None => String::new() })]
    NotElf {
        /// What the file looks like, if its first bytes are known.
        kind: Option<&'static str>,
    },
    /// A structure points outside the file or is inconsistent.
    #[error("it is a broken ELF file: {0}")]
    Broken(String),
}

impl Elf {
    /// Reads the headers and the dynamic segment. Never panics, whatever the bytes.
    ///
    /// # Errors
    ///
    /// If the bytes are not an ELF file, or end too early.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        parse::parse(bytes).map(|parsed| parsed.elf)
    }

    /// True if it runs without a dynamic loader.
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.needed.is_empty()
    }

    /// True if it can be executed: a fixed-address program, or a shared object that is marked as a program.
    #[must_use]
    pub fn is_program(&self) -> bool {
        match self.kind {
            Kind::Executable => true,
            Kind::Shared => self.interpreter.is_some() || self.pie_flag,
            Kind::Relocatable | Kind::Other(_) => false,
        }
    }

    /// The newest `GLIBC_2.x` that it defines. For a `libc.so.6` this is its version.
    #[must_use]
    pub fn newest_glibc_defined(&self) -> Option<GlibcVersion> {
        self.versions_defined.iter().filter_map(|version| glibc_version(version)).max()
    }
}

/// Parses `GLIBC_2.34` and `GLIBC_2.3.4` into numbers; `None` for `GLIBC_PRIVATE` and the like.
#[must_use]
pub fn glibc_version(version: &str) -> Option<GlibcVersion> {
    let mut numbers = version.strip_prefix("GLIBC_")?.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some(GlibcVersion(major, minor)),
        _ => None,
    }
}

/// The parts of a file that are loaded when it runs, so without debugging information and the static linker's symbols.
///
/// # Errors
///
/// If the bytes are not an ELF file, or end too early.
pub fn loaded(bytes: &[u8]) -> Result<Vec<&[u8]>, ParseError> {
    Ok(parse::parse(bytes)?.image.loads().map(|load| load.bytes).take(object::MOST_LOADS).collect())
}

#[cfg(test)]
mod tests;
