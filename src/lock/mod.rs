//! `xbuild.lock`: the pinned inputs of a project's images. Pure: `pipeline` reads and writes the file.
//!
//! A lock pins the base of each platform to the byte: an image by the digest of its manifest, Debian's packages by
//! their paths, sizes and digests. It also records the toolchains that made the programs. It contains no mirror and no
//! local directory, so a build from it gives the same image for everyone.
//!
//! | Module | What it knows |
//! |---|---|
//! | here | the file's structure |
//! | [`text`] | parsing a lock with all checks, and writing it; one text per lock |
//! | [`pins`] | which parts of it a run needs, and which of them do not match the run |
//! | [`compare`] | the differences between two locks, in a readable form |
//!
//! The digests in a lock were taken from verified data when it was written (signed releases, a registry's answer), and
//! are reviewed together with the project. So a pinned file needs no signature again: its digest identifies it. A
//! signature would add that the file is still current, which a lock gives up.

pub(crate) mod compare;
mod error;
pub(crate) mod pins;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use semver::Version;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub use compare::Difference;
pub use error::LockError;
pub(crate) use pins::{Pin, Pins, base_name, newest};

use crate::oci::Digest;
use crate::packages::Pool;
use crate::target::platform::Platform;
use crate::toolchain::compiler::NAME as COMPILER;
use crate::toolchain::provided::NAME;

/// The newest version of the format. Older versions are read and rewritten, newer ones are refused. Format 3 added
/// sysroots; a lock without one is written as format 2, which older releases read.
pub(crate) const VERSION: u32 = 3;
/// The name of sysroots in messages, and for `xbuild lock --update`.
pub(crate) const SYSROOT: &str = "sysroot";

/// `xbuild.lock`. Entries are sorted by base and platform; there is at most one of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    /// The version of the format.
    pub version: u32,
    /// The project's Rust toolchain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rust: Option<RustPin>,
    /// zig, if a platform's programs are linked by it.
    #[serde(rename = "zig", skip_serializing_if = "Option::is_none")]
    pub provided: Option<ToolchainPin>,
    /// Clang, if it compiles C code for a platform.
    #[serde(rename = "clang", default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<CompilerPin>,
    /// Bases that are images: from a layout or a registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image: Vec<ImagePin>,
    /// Bases that are assembled from Debian's packages.
    #[serde(rename = "apt", default, skip_serializing_if = "Vec::is_empty")]
    pub assembled: Vec<AssembledPin>,
    /// What programs are linked against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sysroot: Vec<SysrootPin>,
}

impl Default for Lock {
    fn default() -> Self {
        Self {
            version: VERSION,
            rust: None,
            provided: None,
            compiler: None,
            image: Vec::new(),
            assembled: Vec::new(),
            sysroot: Vec::new(),
        }
    }
}

/// The Rust toolchain that compiled the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RustPin {
    /// The release in the output of `rustc -vV`: `1.95.0`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub version: Version,
    /// The commit that it was built from, if `rustc` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// The Clang of the machine that compiled C code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CompilerPin {
    /// The version in the output of `clang --version`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub version: Version,
}

/// The zig that linked the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ToolchainPin {
    /// The output of `zig version`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub version: Version,
    /// The digest of the package from which xbuild provides this version. Absent if zig was found on the machine and
    /// xbuild does not provide its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub package: Option<Digest>,
    /// The digest of all its files, program and library, which a copy in the cache must have: the output of `find zig
    /// lib -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`. Absent in locks of format 1, and if zig was found on
    /// the machine and xbuild does not provide its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub files: Option<Digest>,
}

/// An image of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImagePin {
    /// The base as it is configured; a path is relative to the lock's directory: `oci:images/base:1`.
    pub base: String,
    /// The platform that is built.
    #[cfg_attr(test, schemars(with = "String"))]
    pub platform: Platform,
    /// The value of the annotation `org.opencontainers.image.base.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The digest that the name resolved to, if that is an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub index: Option<Digest>,
    /// The digest of the platform's manifest.
    #[cfg_attr(test, schemars(with = "String"))]
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The manifest's media type.
    pub media_type: String,
    /// Debian's packages that are added to it.
    #[serde(rename = "debian", skip_serializing_if = "Option::is_none")]
    pub additions: Option<Box<AdditionsPin>>,
}

/// Debian's packages on an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// The schema and the parser's messages have this name.
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "DebianPin"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "struct DebianPin")]
pub struct AdditionsPin {
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The image's release, by its codename.
    pub release: String,
    /// A time at which the snapshot archive has every package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The suites, in the order in which they were searched.
    pub suites: Vec<String>,
    /// The components.
    pub components: Vec<String>,
    /// The requested packages, sorted.
    pub packages: Vec<String>,
    /// The signed releases that list the packages, one per suite.
    #[serde(default)]
    pub index: Vec<IndexPin>,
    /// The packages that the image lacks, sorted by name.
    #[serde(default)]
    pub package: Vec<PackagePin>,
}

/// Debian's packages for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// The schema and the parser's messages have this name.
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "AptPin"))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", expecting = "struct AptPin")]
pub struct AssembledPin {
    /// The base as it is configured: `apt:bookworm`.
    pub base: String,
    /// The platform that is built.
    #[cfg_attr(test, schemars(with = "String"))]
    pub platform: Platform,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The release's codename.
    pub release: String,
    /// The digest of the recipe that makes a base of packages. Another release of xbuild may have another recipe.
    #[cfg_attr(test, schemars(with = "String"))]
    pub recipe: Digest,
    /// The base's digest, which depends on its packages and the recipe. It is the image's
    /// `org.opencontainers.image.base.digest` if the payload needs no library beyond the recipe's.
    #[cfg_attr(test, schemars(with = "String"))]
    pub digest: Digest,
    /// A time at which the snapshot archive has every package: `20260712T101637Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The suites, in the order in which they were searched.
    pub suites: Vec<String>,
    /// The components.
    pub components: Vec<String>,
    /// The packages that were requested in addition to those of the base, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// The signed releases that list the packages, one per suite.
    #[serde(default)]
    pub index: Vec<IndexPin>,
    /// The packages, sorted by name: those of the base, and those that are added because the payload needs their
    /// libraries.
    #[serde(default)]
    pub package: Vec<PackagePin>,
}

/// The packages that programs of one platform are linked against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SysrootPin {
    /// The platform that is built.
    #[cfg_attr(test, schemars(with = "String"))]
    pub platform: Platform,
    /// True if C code is compiled against it, too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub c_code: bool,
    /// Debian's packages.
    #[serde(rename = "debian")]
    pub packages: AdditionsPin,
    /// What the base gets if programs need libraries of these packages, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_run_time: Vec<PackagePin>,
}

/// A signed release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IndexPin {
    /// The suite: `bookworm-security`.
    pub suite: String,
    /// The release's date, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// Fingerprints of the trusted keys that signed it.
    pub signers: Vec<String>,
}

/// A Debian package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackagePin {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The archive that has it; absent for Debian's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pool: Pool,
    /// The path of its `.deb` on every mirror of that archive.
    pub path: String,
    /// The size of its `.deb` in bytes.
    pub size: u64,
    /// The SHA-256 of its `.deb`, in hexadecimal.
    #[serde(with = "hex::serde")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub sha256: [u8; 32],
    /// Its unpacked size in KiB, as declared in the package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed_size: Option<u64>,
    /// Locks of older releases repeat data of the package here. It is ignored and no longer written.
    #[serde(default, skip_serializing)]
    #[cfg_attr(test, schemars(with = "String"))]
    pub replaces: Unread,
    /// Why it is included, for readers of the lock.
    pub why: String,
    /// The libraries that it is included for; absent if it is in the base whatever the payload needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<String>,
    /// True if it is included because it was requested, or because a requested package needs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub added: bool,
}

/// A field that is accepted and whose value is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Unread;

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Lock {
    /// The entry of an assembled base.
    #[must_use]
    pub fn assembled(&self, base: &str, platform: &Platform) -> Option<&AssembledPin> {
        self.assembled.iter().find(|pin| pin.base == base && pin.platform == *platform)
    }

    /// The entry of a base that is an image.
    #[must_use]
    pub fn image(&self, base: &str, platform: &Platform) -> Option<&ImagePin> {
        self.image.iter().find(|pin| pin.base == base && pin.platform == *platform)
    }

    /// The names of the bases that have entries, sorted, each once.
    #[must_use]
    pub fn bases(&self) -> Vec<&str> {
        let assembled = self.assembled.iter().map(|pin| pin.base.as_str());
        let mut names: Vec<&str> = assembled.chain(self.image.iter().map(|pin| pin.base.as_str())).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The same with this sysroot, which replaces one of the same platform.
    #[must_use]
    pub fn with_sysroot(mut self, pin: SysrootPin) -> Self {
        self.sysroot.retain(|known| known.platform != pin.platform);
        self.sysroot.push(pin);
        self.sorted()
    }

    /// The same without the entries with this name: a base, `rust`, `zig`, `clang` or `sysroot`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        match name {
            "rust" => self.rust = None,
            NAME => self.provided = None,
            COMPILER => self.compiler = None,
            SYSROOT => self.sysroot.clear(),
            name => {
                self.assembled.retain(|pin| pin.base != name);
                self.image.retain(|pin| pin.base != name);
            }
        }
        self
    }

    /// The same with this entry, which replaces one with the same base and platform.
    #[must_use]
    pub fn with(mut self, pin: Pin) -> Self {
        let (base, platform) = pin.key();
        let (base, platform) = (base.to_owned(), platform.clone());
        self.assembled.retain(|known| known.base != base || known.platform != platform);
        self.image.retain(|known| known.base != base || known.platform != platform);
        match pin {
            Pin::Assembled(pin) => self.assembled.push(*pin),
            Pin::Image(pin) => self.image.push(*pin),
        }
        self.sorted()
    }

    /// The same in the order in which a lock is written.
    #[must_use]
    fn sorted(mut self) -> Self {
        self.image.sort_by(|a, b| (&a.base, &a.platform).cmp(&(&b.base, &b.platform)));
        self.assembled.sort_by(|a, b| (&a.base, &a.platform).cmp(&(&b.base, &b.platform)));
        for pin in &mut self.assembled {
            pin.package.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.sysroot.sort_by(|a, b| a.platform.cmp(&b.platform));
        let of_images = self.image.iter_mut().filter_map(|pin| pin.additions.as_deref_mut());
        for additions in of_images.chain(self.sysroot.iter_mut().map(|pin| &mut pin.packages)) {
            additions.package.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self
    }
}
