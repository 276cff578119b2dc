//! From sources to artifacts: cargo, the compiler behind its linker, and what both are told.

pub mod c_code;
pub mod cargo;
pub mod rustflags;
