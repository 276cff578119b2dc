//! What a plan needs to know of the project, the machine and the bases.

use std::collections::BTreeMap;

use semver::Version;
use serde::Serialize;

use crate::base::BaseFacts;
use crate::oci::Digest;
use crate::payload::cargo::Linker;
use crate::payload::cargo::processor::ProcessorFlag;
use crate::payload::cargo::project::Project;
use crate::target::platform::Platform;
use crate::vcs::Commit;

/// What was found.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The cargo project.
    pub project: Project,
    /// The commit that is checked out.
    pub commit: Option<Commit>,
    /// The first package that compiles C code, if there is one.
    pub c_code: Option<String>,
    /// What links each platform's programs.
    pub linkers: BTreeMap<Platform, Linker>,
    /// The processors that rustc compiles for, on platforms that promise more than their targets.
    pub cpus: BTreeMap<Platform, String>,
    /// Flags that ask for more than the processors of a platform have.
    pub processor_flags: BTreeMap<Platform, Vec<ProcessorFlag>>,
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
pub(crate) struct ZigFacts {
    /// Its version.
    pub version: Version,
    /// Where it is, or where it would come from.
    pub from: String,
    /// The newest glibc that it links for, as (2, minor).
    pub newest_glibc: (u32, u32),
    /// The digest of its files, where a copy of it in the cache can be held to one.
    pub files: Option<Digest>,
}

/// Where the standard library of a triple comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardLibrary {
    /// The toolchain has it.
    Installed,
    /// rustup will be asked to add it, or, where the channel does not carry it, it is built from `rust-src`.
    #[default]
    Rustup,
}
