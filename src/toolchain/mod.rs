//! Toolchains: found on the machine or provided into the cache, and what each needs to be told.
//!
//! [`zig`] compiles C and C++ and links; [`rust`] is always the project's own toolchain, to which only
//! standard libraries are added. Facts about them are data: `toolchains/*.toml`. Nothing is installed into
//! the system and nothing needs root. Deliberately absent: clang with a sysroot, which has its own room to
//! come beside these two.

pub(crate) mod driver;
pub(crate) mod objcopy;
pub(crate) mod rust;
pub(crate) mod zig;

use serde::Serialize;

/// What compiles and links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ToolchainChoice {
    /// rust-lld for static programs without C code, the linker that cargo's own configuration names for the
    /// triple where there is one, otherwise zig.
    #[default]
    Auto,
    /// zig, whatever cargo's configuration says.
    Zig,
    /// Only what cargo's own configuration and environment set up.
    Cargo,
}
