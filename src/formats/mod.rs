//! The formats whose every byte is read or written.
//!
//! It is a package of its own for the compiler's sake. These rooms handle each byte of each image and are compiled with
//! full optimisation, which takes several times as long as compiling the same lines without. The others call them and
//! are compiled without. A change in `xbuild` itself leaves these compiled.
//!
//! `xbuild` passes on a part of it as its own interface. What is public beyond that is internal.

#![allow(clippy::missing_errors_doc, reason = "what `xbuild` passes on has them, the rest is internal")]

pub mod archive;
pub mod debian;
pub mod layer;
pub mod machine_paths;
pub mod rootfs;

pub(crate) use xbuild_core::{elf, error, oci, sys, target};
