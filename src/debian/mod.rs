//! Placeholder.
pub mod certificates;
pub mod error;
pub mod index;
pub mod keys;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod sources;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod unpack;
