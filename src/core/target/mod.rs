//! The possible platforms as images name them, and the targets of `targets/*.toml` with everything that is known about
//! them.

pub mod abi;
pub mod catalog;
pub mod identity;
pub mod platform;
