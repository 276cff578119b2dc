//! Read-only probes: what the project, the machine and the base images are.
//!
//! Everything that `plan` needs to know is gathered here, so that planning itself is pure.

pub mod project;
pub mod vcs;
