//! Toolchains: found on the machine or provided into the cache, and what each needs to be told.
//!
//! [`zig`] compiles C and C++ and links; [`rust`] is always the project's own toolchain, to which only
//! standard libraries are added. Facts about them are data: `toolchains/*.toml`. Nothing is installed into
//! the system and nothing needs root. Deliberately absent: clang with a sysroot, which has its own room to
//! come beside these two.

pub mod objcopy;
pub mod rust;
pub mod zig;
