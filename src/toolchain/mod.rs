//! Toolchains: found on the machine or provided in the cache, and the arguments that each needs.
//!
//! [`zig`] compiles C and C++ and links; [`rust`] is always the project's own toolchain, to which only standard
//! libraries are added. Facts about them are data: `toolchains/*.toml`. Nothing is installed into the system and
//! nothing needs root. Others know of zig only what [`provided`] passes on, and choose a linker by [`choose()`].
//! [`clang`] compiles against a sysroot; others know of it what [`compiler`] passes on.

mod choose;
pub(crate) mod clang;
pub(crate) mod compiler;
pub(crate) mod driver;
pub(crate) mod host_tools;
pub(crate) mod objcopy;
pub(crate) mod provided;
pub(crate) mod rust;
pub(crate) mod zig;

use serde::Serialize;

use crate::packages::Sysroot;

pub use choose::{Compiler, Linker, Obstacle};
pub(crate) use choose::{CompilerFacts, Libraries, LinkerChoice, LinkerFacts, choose, is_certainly_provided};

/// The toolchain that is asked for to compile and link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ToolchainChoice {
    /// The linker that cargo's own configuration names for the triple if there is one, otherwise rust-lld for static
    /// programs without C code, otherwise zig.
    #[default]
    Auto,
    /// The linker that the Rust toolchain includes, with the C library of the base's release, for programs without C
    /// code.
    Lld,
    /// The same with Clang of this machine for C and C++ code.
    Clang,
    /// zig, whatever cargo's configuration says.
    Zig,
    /// Only what cargo's own configuration and environment set up.
    Cargo,
}

impl ToolchainChoice {
    /// The names that [`ToolchainChoice::by_name`] knows.
    pub(crate) const NAMES: [&str; 5] = ["auto", "lld", "clang", "zig", "cargo"];
    /// All choices, in the same order.
    pub(crate) const ALL: [Self; 5] = [Self::Auto, Self::Lld, Self::Clang, Self::Zig, Self::Cargo];

    /// True if something may link against packages of a distribution.
    #[must_use]
    pub(crate) fn may_need_sysroot(self) -> bool {
        matches!(self, Self::Auto | Self::Lld | Self::Clang)
    }

    /// The choice with a name.
    #[must_use]
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().zip(Self::NAMES).find_map(|(choice, own)| (own == name).then_some(choice))
    }
}

/// What a platform's programs are linked by, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kit {
    /// What xbuild finds or provides.
    Provided(provided::Provided),
    /// [`Linker::RustLld`].
    RustLld,
    /// [`Linker::Lld`], with its sysroot, and with what compiles C code if anything does.
    Lld(Box<Sysroot>, Option<Box<compiler::Found>>),
    /// [`Linker::Configured`].
    Configured,
}

impl Kit {
    /// What xbuild found or provided, if it links.
    #[must_use]
    pub(crate) fn provided(&self) -> Option<&provided::Provided> {
        match self {
            Self::Provided(found) => Some(found),
            Self::RustLld | Self::Lld(..) | Self::Configured => None,
        }
    }

    /// True if nothing compiles C code for the target.
    #[must_use]
    pub(crate) fn has_no_compiler(&self) -> bool {
        matches!(self, Self::RustLld | Self::Lld(_, None))
    }

    /// Its name and version, for people. `None` if xbuild does not know what links.
    #[must_use]
    pub(crate) fn describe(&self) -> Option<String> {
        match self {
            Self::Provided(found) => Some(format!("{} {}", provided::NAME, found.version)),
            Self::RustLld => Some("rust-lld".into()),
            Self::Lld(sysroot, None) => Some(format!("rust-lld with {}'s C library", sysroot.release)),
            Self::Lld(sysroot, Some(found)) => {
                Some(format!("{} and rust-lld with {}'s C library", found.describe(), sysroot.release))
            }
            Self::Configured => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_has_the_name_that_it_has_in_files() {
        for name in ToolchainChoice::NAMES {
            let choice = ToolchainChoice::by_name(name).unwrap();
            assert_eq!(serde_json::to_value(choice).unwrap(), name);
        }
        assert_eq!(ToolchainChoice::by_name("gcc"), None);
    }
}
