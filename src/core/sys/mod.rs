//! The only code with ambient access: files, environment, processes, clock and HTTP downloads.
//!
//! Every other room takes values. `tests/tidy.rs` enforces that, so a reviewer who wants to know what xbuild accesses
//! need only read this directory.

pub mod below;
pub mod cancel;
pub mod clock;
pub mod download;
pub mod env;
pub mod fs;
pub mod hash;
pub mod http;
mod locks;
pub mod log;
#[cfg(any(test, feature = "testing"))]
pub mod loopback;
pub mod partial;
pub mod process;
pub mod staging;
pub mod store;
pub mod threads;
pub mod usage;
