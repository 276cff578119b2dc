//! What a plan needs to know of the project, the machine and each platform.

use semver::Version;
use serde::Serialize;

use super::linker::LinkerFacts;
use crate::oci::Digest;
use crate::payload::cargo::processor::ProcessorFlag;
use crate::payload::cargo::project::Project;
use crate::settings::PlatformSettings;
use crate::target::abi::GlibcVersion;
use crate::vcs::Commit;

/// What all platforms of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The cargo project.
    pub project: Project,
    /// The commit that is checked out.
    pub commit: Option<Commit>,
    /// The zig that is there or would be provided.
    pub zig: ZigFacts,
}

/// What is known of one platform beside its base.
#[derive(Clone, Debug)]
pub(crate) struct PlatformFacts<'a> {
    /// What the settings ask for.
    pub wanted: &'a PlatformSettings,
    /// What the choice of its linker depends on.
    pub linker: LinkerFacts,
    /// The processor that rustc compiles for, if the platform promises more than its target.
    pub cpu: Option<String>,
    /// Flags that ask for more than the platform's processors have.
    pub processor_flags: Vec<ProcessorFlag>,
    /// Where the triple's standard library will come from.
    pub standard_library: StandardLibrary,
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
    pub newest_glibc: GlibcVersion,
    /// The digest of its files, if a copy of it in the cache can be compared with one.
    pub files: Option<Digest>,
}

/// Where the standard library of a triple comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StandardLibrary {
    /// The toolchain has it.
    Installed,
    /// rustup adds it. If the channel does not carry it, it is built from `rust-src`.
    Rustup,
}
