//! The only code with ambient access: files, environment, processes, clock and HTTP downloads.
//!
//! Every other room takes values. `tests/tidy.rs` enforces that, so a reviewer who wants to know what xbuild accesses
//! need only read this directory.

pub(crate) mod below;
pub(crate) mod cancel;
pub(crate) mod clock;
pub(crate) mod download;
pub(crate) mod env;
pub(crate) mod fs;
pub(crate) mod hash;
pub(crate) mod http;
mod locks;
pub(crate) mod log;
#[cfg(test)]
pub(crate) mod loopback;
pub(crate) mod process;
pub(crate) mod staging;
pub(crate) mod store;
pub(crate) mod threads;
pub(crate) mod usage;
