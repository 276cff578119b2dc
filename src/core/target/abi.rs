//! Versions of C libraries.

pub use crate::elf::GlibcVersion;
