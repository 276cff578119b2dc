//! What xbuild knows of targets and toolchains: `targets/*.toml` and `toolchains/*.toml`, embedded.
//!
//! Facts about a triple or a tool are data. Adding a target is adding a file; nothing here or
//! elsewhere matches on a triple's text. No IO: the files are part of the binary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

use crate::platform::Platform;

static TARGET_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/targets");
static TOOLCHAIN_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/toolchains");

/// Every target, sorted by platform and then triple.
static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let mut targets: Vec<Target> = documents(&TARGET_FILES).map(|(_, text)| parse(text)).collect();
    targets.sort_by(|a, b| (&a.platform, &a.triple).cmp(&(&b.platform, &b.triple)));
    targets
});

/// The C library that a target's programs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Libc {
    /// glibc, linked dynamically.
    Gnu,
    /// musl, linked statically.
    Musl,
}

impl fmt::Display for Libc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gnu => "glibc",
            Self::Musl => "musl",
        })
    }
}

/// One target triple: `targets/<triple>.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// rustc's target triple.
    pub triple: String,
    /// The platform that an image of its programs is for.
    pub platform: Platform,
    /// The C library.
    pub libc: Libc,
    /// What `uname -m` says there, which is also `CMake`'s name of the processor.
    pub machine_name: String,
    /// The label of a hosted GitHub runner of this very platform, where there is one.
    pub runner: Option<String>,
    /// What the ELF header of its programs says.
    pub elf: ElfIdentity,
    /// Debian's port for it, where there is one.
    pub debian: Option<DebianPort>,
    /// How zig names it.
    pub zig: ZigTarget,
    /// The processors that all of the platform are at least.
    pub processor: ProcessorData,
    /// Variables that build scripts get when they compile for it.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// The ELF identity of a target's programs (gABI, "ELF Header"; psABI of each machine for the flags).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ElfIdentity {
    /// `EI_CLASS` in bits: 32 or 64.
    pub class: u8,
    /// `EI_DATA`.
    pub endianness: Endianness,
    /// `e_machine`, for example 183 for `EM_AARCH64`.
    pub machine: u16,
    /// The bits of `e_flags` that must have a certain value: float ABI, ABI version.
    pub flags: Option<FlagRule>,
    /// `PT_INTERP` of a dynamically linked program; none where programs are static.
    pub interpreter: Option<String>,
}

/// Byte order of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endianness {
    /// `ELFDATA2LSB`.
    Little,
    /// `ELFDATA2MSB`.
    Big,
}

/// `e_flags & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagRule {
    /// The bits looked at.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
}

/// What all processors of a platform are, by compilers' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProcessorData {
    /// Names of processors that have no more.
    pub cpus: Vec<String>,
    /// Features that all have, by rustc's names.
    pub features: Vec<String>,
    /// What compilers of C call features that not all have, or how such names begin: `-mavx2`.
    #[serde(default)]
    pub c_features: Vec<String>,
    /// The platform's variants with better processors, each with all that those before it have.
    #[serde(default)]
    pub variants: BTreeMap<String, Variant>,
}

/// A variant of a platform with better processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Variant {
    /// What rustc, GCC and Clang call them.
    pub cpu: String,
    /// What zig calls them.
    pub zig: String,
    /// What they have beside those of the variant before.
    pub features: Vec<String>,
}

/// A Debian port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPort {
    /// `dpkg --print-architecture`: `amd64`, `armhf`, …
    pub architecture: String,
    /// The multiarch folder under `/usr/lib`: `arm-linux-gnueabihf`, …
    pub multiarch: String,
}

/// What zig calls a target, and what must be said differently to it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ZigTarget {
    /// `-target` without the glibc suffix.
    pub target: String,
    /// `-mcpu`, where zig's baseline is not rustc's.
    pub cpu: Option<String>,
    /// The oldest glibc, as (2, minor), that zig can link for; `None` where there is no glibc.
    #[serde(default, with = "glibc_text")]
    pub minimum_glibc: Option<(u32, u32)>,
    /// Processors as GCC and Clang name them in `-march` and `-mcpu`, and zig's names of them.
    #[serde(default)]
    pub cpus: BTreeMap<String, String>,
    /// Processor features likewise.
    #[serde(default)]
    pub features: BTreeMap<String, String>,
    /// Arguments that are to be replaced by others, or by none, on this target.
    #[serde(default)]
    pub arguments: BTreeMap<String, Vec<String>>,
}

/// A glibc version as text, `2.36`.
pub(crate) mod glibc_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn parse(text: &str) -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    // serde asks for a reference to the field.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn serialize<S: Serializer>(
        version: &Option<(u32, u32)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match version {
            Some((major, minor)) => serializer.collect_str(&format_args!("{major}.{minor}")),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<(u32, u32)>, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format_args!("`{text}` is not a glibc version such as 2.36")))
    }
}

impl Target {
    /// Every target that xbuild knows, sorted by platform.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &TARGETS
    }

    /// The target with this triple.
    #[must_use]
    pub fn by_triple(triple: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.triple == triple)
    }

    /// The target for this very platform and C library.
    #[must_use]
    pub fn by_platform(platform: &Platform, libc: Libc) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.serves(platform) && target.libc == libc)
    }

    /// True if programs for a platform are compiled for it: its own, or the same with better processors.
    #[must_use]
    pub fn serves(&self, platform: &Platform) -> bool {
        self.platform == *platform || self.variant(platform).is_some()
    }

    /// The better processors that a platform promises.
    #[must_use]
    pub fn variant(&self, platform: &Platform) -> Option<&Variant> {
        let (own, other) = (&self.platform, platform);
        let same = (own.os(), own.architecture()) == (other.os(), other.architecture());
        let name = platform.variant().filter(|_| same && own.variant().is_none())?;
        self.processor.variants.get(name)
    }

    /// A variant with better processors than a platform has: v3, which is what most ask for, else the next one.
    #[must_use]
    pub fn better(&self, platform: &Platform) -> Option<(&str, &Variant)> {
        let own = platform.variant().filter(|_| self.variant(platform).is_some());
        let newer =
            self.processor.variants.iter().filter(|(name, _)| own.is_none_or(|own| name.as_str() > own));
        let chosen = newer.clone().find(|(name, _)| *name == "v3").or_else(|| newer.clone().next());
        chosen.map(|(name, variant)| (name.as_str(), variant))
    }

    /// The triple as cargo's environment variables have it: `AARCH64_UNKNOWN_LINUX_GNU`.
    #[must_use]
    pub fn screaming(&self) -> String {
        self.underscored().to_ascii_uppercase()
    }

    /// The triple as cc-rs's environment variables have it: `aarch64_unknown_linux_gnu`.
    #[must_use]
    pub fn underscored(&self) -> String {
        self.triple.replace(['-', '.'], "_")
    }
}

/// Every platform that some target serves, sorted.
#[must_use]
pub fn platforms() -> Vec<Platform> {
    let mut platforms: Vec<_> = TARGETS.iter().map(|target| target.platform.clone()).collect();
    platforms.dedup();
    platforms
}

/// True if programs can be compiled for a platform.
#[must_use]
pub fn builds(platform: &Platform) -> bool {
    TARGETS.iter().any(|target| target.serves(platform))
}

/// `toolchains/<name>.toml` as the type that the toolchain's own room gives it.
pub(crate) fn toolchain<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let text = TOOLCHAIN_FILES.get_file(format!("{name}.toml")).and_then(include_dir::File::contents_utf8);
    parse(text.unwrap_or_else(|| panic!("there is no embedded data file `{name}.toml`")))
}

/// The stem and text of every embedded TOML document of a folder.
fn documents(folder: &'static Dir<'static>) -> impl Iterator<Item = (&'static str, &'static str)> {
    folder.files().filter(|file| file.path().extension().is_some_and(|extension| extension == "toml")).map(
        |file| {
            let stem =
                file.path().file_stem().and_then(|stem| stem.to_str()).expect("data files have UTF-8 names");
            (stem, file.contents_utf8().expect("data files are UTF-8"))
        },
    )
}

/// Parses an embedded document. The data is part of the binary and `tests/catalog.rs` reads every file, so
/// a fault in it is a fault of the build and not of the user.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap_or_else(|error| panic!("an embedded data file is wrong: {error}\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_identities() {
        for (stem, text) in documents(&TARGET_FILES) {
            assert_eq!(parse::<Target>(text).triple, stem);
        }
    }

    #[test]
    fn what_is_better_than_a_platform_is_newer() {
        for (platform, triple, better) in [
            ("linux/amd64", "x86_64-unknown-linux-gnu", Some("v3")),
            ("linux/amd64/v2", "x86_64-unknown-linux-gnu", Some("v3")),
            ("linux/amd64/v3", "x86_64-unknown-linux-gnu", Some("v4")),
            ("linux/amd64/v4", "x86_64-unknown-linux-gnu", None),
            ("linux/arm64", "aarch64-unknown-linux-gnu", None),
        ] {
            let target = Target::by_triple(triple).unwrap();
            assert_eq!(target.better(&platform.parse().unwrap()).map(|(name, _)| name), better, "{platform}");
        }
    }

    #[test]
    fn the_three_main_platforms_have_both_libcs() {
        for platform in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
            let platform: Platform = platform.parse().unwrap();
            assert!(Target::by_platform(&platform, Libc::Gnu).is_some(), "{platform}");
            assert!(Target::by_platform(&platform, Libc::Musl).is_some(), "{platform}");
        }
    }
}
