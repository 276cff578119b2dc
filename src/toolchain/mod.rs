//! Toolchains: found on the machine or provided in the cache, and the arguments that each needs.
//!
//! [`zig`] compiles C and C++ and links; [`rust`] is always the project's own toolchain, to which only standard
//! libraries are added. Facts about them are data: `toolchains/*.toml`. Nothing is installed into the system and
//! nothing needs root. Clang with a sysroot is deliberately absent; it would become a separate module beside these two.

pub(crate) mod driver;
pub(crate) mod objcopy;
pub(crate) mod rust;
pub(crate) mod zig;

use serde::Serialize;

/// The toolchain that compiles and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ToolchainChoice {
    /// The linker that cargo's own configuration names for the triple if there is one, otherwise rust-lld for static
    /// programs without C code, otherwise zig.
    #[default]
    Auto,
    /// zig, whatever cargo's configuration says.
    Zig,
    /// Only what cargo's own configuration and environment set up.
    Cargo,
}
