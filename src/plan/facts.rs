//! What a plan needs to know of the project, the machine and each platform.

use serde::Serialize;

use crate::packages::Development;
use crate::payload::processor::ProcessorFlag;
use crate::payload::project::Project;
use crate::settings::PlatformSettings;
use crate::toolchain::host_tools::HostTool;
use crate::toolchain::provided::ProvidedFacts;
use crate::toolchain::{LinkerChoice, LinkerFacts, choose};
use crate::vcs::Commit;

/// What all platforms of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The cargo project.
    pub project: Project,
    /// The commit that is checked out.
    pub commit: Option<Commit>,
    /// The toolchain that is there or would be provided.
    pub provided: ProvidedFacts,
    /// The tools of this machine that builds of packages may need.
    pub tools: Vec<HostTool>,
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
    /// The development packages that its programs are compiled and linked against, if anything is.
    pub development: Vec<Development>,
    /// Where the triple's standard library will come from.
    pub standard_library: StandardLibrary,
}

impl PlatformFacts<'_> {
    /// What links the platform's programs, and why.
    #[must_use]
    pub(crate) fn linker(&self) -> LinkerChoice {
        choose(&self.wanted.toolchain, self.wanted.target.value.libc, &self.linker)
    }
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
