//! What can be built for: platforms as images name them, and the targets of `targets/*.toml` with all that is known of each.

pub mod abi;
pub mod catalog;
pub mod platform;
