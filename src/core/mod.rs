//! What all rooms of xbuild stand on: the machine, platforms as data, and the formats whose every byte is read.
//!
//! It is a package of its own for the compiler's sake. These rooms handle each byte of each image and are compiled with
//! full optimisation, which costs most of the time that compiling xbuild takes; the others call them and are compiled
//! without. A change in the others leaves these compiled.
//!
//! `xbuild` passes on a part of it as its own interface. What is public beyond that is internal.

#![allow(clippy::missing_errors_doc, reason = "what `xbuild` passes on has them, the rest is internal")]

pub mod archive;
pub mod debian;
pub mod error;
pub mod layer;
pub mod machine_paths;
pub mod oci;
pub mod origin;
pub mod rootfs;
pub mod sys;
pub mod target;
pub mod text;

pub use xbuild_elf as elf;
