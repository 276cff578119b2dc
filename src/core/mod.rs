//! What all rooms of xbuild stand on: words, the machine, and platforms as data.
//!
//! It is a package of its own because the formats, which are compiled with full optimisation, stand on it.
//!
//! `xbuild` passes on a part of it as its own interface. What is public beyond that is internal.

#![allow(clippy::missing_errors_doc, reason = "what `xbuild` passes on has them, the rest is internal")]

pub mod error;
pub mod oci;
pub mod origin;
pub mod sys;
pub mod target;
pub mod text;

pub use xbuild_elf as elf;
