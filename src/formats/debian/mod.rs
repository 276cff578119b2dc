//! Which of Debian's packages exist, and which of them are needed: pure, over bytes.
//!
//! `packages` finds and verifies the indexes that are read here, and downloads what is chosen.

pub mod index;
pub mod relation;
pub mod resolve;
#[cfg(test)]
mod testing;
