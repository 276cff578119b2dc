//! What is known about a base before its layers are needed.

use serde::Serialize;

use crate::event::ReleaseFacts;
use crate::packages::Package;
use crate::target::abi::GlibcVersion;

/// A base image before its layers are needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BaseFacts {
    /// Its name, in the form of the annotation `org.opencontainers.image.base.name`.
    pub name: String,
    /// Its identity: the manifest's digest, or that of the package list that it is assembled from.
    pub digest: Option<String>,
    /// A short description of its content.
    pub content: String,
    /// The newest glibc version that its `libc.so.6` provides, as (2, minor).
    pub glibc: Option<GlibcVersion>,
    /// The Debian packages that were requested in addition to its own, and those that they need, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<AddedPackage>,
    /// The Debian releases that its packages were chosen from; empty if they are pinned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<ReleaseFacts>,
}

/// A Debian package that is in the image in addition to those of the base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Why it is added.
    pub why: String,
}

impl AddedPackage {
    /// The facts about a package.
    #[must_use]
    pub fn of(package: &Package) -> Self {
        Self { name: package.name.clone(), version: package.version.clone(), why: package.why.clone() }
    }
}
