//! Read-only probes: what the project, the machine and the base images are.
//!
//! Everything that `plan` needs to know is gathered here, so that planning itself is pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::platform::Platform;

pub mod metadata;
pub mod project;
pub mod vcs;

/// What was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The cargo project.
    pub project: project::Project,
    /// The commit that is checked out.
    pub commit: Option<vcs::Commit>,
    /// The packages that compile C code when they are built, sorted.
    pub c_code: Vec<String>,
    /// The linkers that cargo's own configuration names, by triple.
    pub configured_linkers: BTreeMap<String, PathBuf>,
    /// Where each triple's standard library will come from.
    pub standard_libraries: BTreeMap<String, StandardLibrary>,
    /// The zig that is there or would be provided.
    pub zig: ZigFacts,
    /// The base of each platform; a platform whose base could not be resolved is absent.
    pub bases: BTreeMap<Platform, BaseFacts>,
}

/// A zig that is there, or the one that would be provided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZigFacts {
    /// Its version.
    pub version: String,
    /// Where it is, or where it would come from.
    pub from: String,
    /// The newest glibc that it links for, as (2, minor).
    pub newest_glibc: (u32, u32),
}

/// Where the standard library of a triple comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum StandardLibrary {
    /// The toolchain has it.
    Installed,
    /// rustup will be asked to add it, or, where the channel does not carry it, it is built from `rust-src`.
    #[default]
    Rustup,
    /// It cannot be had.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// A base image before its layers are needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BaseFacts {
    /// Its name, as the annotation `org.opencontainers.image.base.name` has it.
    pub name: String,
    /// Its identity: the manifest's digest, or that of the package list that it is assembled from.
    pub digest: Option<String>,
    /// What it is made of, in a few words.
    pub content: String,
    /// The newest glibc version that its `libc.so.6` provides, as (2, minor).
    pub glibc: Option<(u32, u32)>,
}
