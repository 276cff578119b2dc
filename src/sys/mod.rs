//! The only ambient access: files, environment, processes, clock and HTTP downloads.
//!
//! Every other room takes values. `tests/tidy.rs` holds the sources to that, so a reviewer who wants to
//! know what xbuild touches reads this folder.

pub(crate) mod below;
pub mod cancel;
pub mod clock;
pub mod download;
pub mod env;
pub mod fs;
pub mod hash;
pub mod http;
mod locks;
pub(crate) mod log;
#[cfg(test)]
pub(crate) mod loopback;
pub mod process;
pub mod staging;
pub mod store;
pub mod threads;
pub mod usage;
