//! Versions of C libraries.

/// A glibc version, as (2, minor).
pub type GlibcVersion = (u32, u32);
