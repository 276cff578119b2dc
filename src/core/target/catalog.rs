//! The data about targets: `targets/*.toml`, embedded.
//!
//! Facts about a triple are data. To add a target, add a file; no code anywhere compares a triple's text. No IO: the
//! files are part of the binary.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize, Serializer};

pub use crate::elf::Endianness;
use crate::target::abi::GlibcVersion;
use crate::target::platform::Platform;

static TARGET_FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../targets");

/// Every target, sorted by platform and then triple.
static TARGETS: LazyLock<Vec<Target>> = LazyLock::new(|| {
    let mut targets: Vec<Target> = documents().map(|(_, text)| parse(text)).collect();
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
    /// The output of `uname -m`, which is also `CMake`'s name of the processor.
    pub machine_name: String,
    /// The label of a hosted GitHub runner of exactly this platform, if there is one.
    pub runner: Option<String>,
    /// The ELF header of its programs.
    pub elf: ElfIdentity,
    /// Debian's port for it, if there is one.
    #[serde(rename = "debian")]
    pub port: Option<DebianPort>,
    /// zig's name for it.
    pub zig: ZigTarget,
    /// How Clang must be called for it.
    #[serde(default)]
    pub clang: ClangTarget,
    /// The processors that the platform guarantees.
    pub processor: ProcessorData,
    /// The data that glibc's dynamic loader searches by.
    #[serde(default)]
    pub loader: LoaderData,
    /// How rustc must be called for this target.
    #[serde(default)]
    pub rust: RustData,
    /// Variables that are set for build scripts when they compile for it.
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
    /// `PT_INTERP` of a dynamically linked program; none if programs are static.
    pub interpreter: Option<String>,
    /// Another ABI of the same machine, as its files declare it.
    pub other_abi: Option<OtherAbi>,
    /// How files pass floating point arguments, by bits of `e_flags`; the first match counts.
    #[serde(default)]
    pub float_abi: Vec<NamedFlags>,
    /// Values of `e_machine` of other programs that the kernel usually runs as well.
    #[serde(default)]
    pub also_runs: Vec<u16>,
}

/// How to recognise a file of another ABI, and the names of both ABIs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherAbi {
    /// The bits to compare.
    pub mask: u32,
    /// Their value in the other ABI.
    pub value: u32,
    /// The other ABI's name.
    pub name: String,
    /// The name of the platform's ABI.
    pub own: String,
}

/// `e_flags & mask == value`, and a name for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFlags {
    /// The bits to compare.
    pub mask: u32,
    /// Their value.
    pub value: u32,
    /// The name.
    pub name: String,
}

/// `e_flags & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagRule {
    /// The bits to compare.
    pub mask: u32,
    /// Their value.
    pub value: u32,
}

/// What all processors of a platform have, in compilers' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProcessorData {
    /// Names of processors that have nothing beyond that.
    pub cpus: Vec<String>,
    /// Features that all have, in rustc's names.
    pub features: Vec<String>,
    /// Names that C compilers use for features that not all have, or prefixes of such names: `-mavx2`.
    #[serde(default)]
    pub c_features: Vec<String>,
    /// The platform's variants with better processors. Each includes those before it.
    #[serde(default)]
    pub variants: BTreeMap<String, Variant>,
    /// Variants with lesser processors that have no target of their own. Their files are checked as for this target.
    #[serde(default)]
    pub lesser: Vec<String>,
    /// The baseline for the build attributes of 32-bit Arm.
    pub arm: Option<ArmData>,
}

/// The processors of a 32-bit Arm platform (Addenda to, and Errata in, the ABI for the Arm Architecture,
/// `Tag_CPU_arch`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ArmData {
    /// The version of the architecture.
    pub architecture: u8,
    /// Its name.
    pub name: String,
    /// What they have instead of NEON.
    pub instead_of_neon: String,
    /// True if they may have only 16 registers of double precision, which files are then checked for.
    #[serde(default)]
    pub half_the_registers: bool,
}

/// The data by which glibc's dynamic loader searches for libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoaderData {
    /// `AT_PLATFORM` of the baseline processor, for `$PLATFORM`; empty if the kernel has no name for it.
    #[serde(default)]
    pub platform: String,
    /// The flags of entries in `/etc/ld.so.cache` for the platform, by `e_flags`; the first match counts.
    #[serde(default)]
    pub cache: Vec<CacheMark>,
    /// The bits of `e_flags` in which a library must match the loader.
    pub abi: Option<AbiBits>,
    /// The directories that it searches on every processor of the platform.
    #[serde(default)]
    pub least: LoaderDirectories,
    /// The directories that it searches on the newest processors.
    #[serde(default)]
    pub newest: LoaderDirectories,
}

/// The flags of entries in the loader's cache (glibc, `sysdeps/generic/ldconfig.h`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheMark {
    /// The bits of `e_flags` to compare.
    #[serde(default)]
    pub mask: u32,
    /// Their value.
    #[serde(default)]
    pub value: u32,
    /// The flags of an entry.
    pub mark: u32,
}

/// Bits of `e_flags` in which a library must match the loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AbiBits {
    /// The bits.
    pub mask: u32,
    /// True if a library in which none of them is set is accepted too.
    #[serde(default)]
    pub none_fits: bool,
}

/// The directories that glibc's loader searches on certain processors only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderDirectories {
    /// Those below `glibc-hwcaps`, best first.
    #[serde(default)]
    pub hwcaps: Vec<String>,
    /// Up to glibc 2.36: the names whose combinations, after `tls`, are subdirectories, in order.
    #[serde(default)]
    pub names: Vec<String>,
    /// The bits of these names in the entries of `/etc/ld.so.cache`.
    #[serde(default)]
    pub bits: u64,
}

/// How rustc must be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RustData {
    /// Flags, which come before the user's.
    #[serde(default)]
    pub flags: Vec<String>,
    /// True if Rust's releases have no standard library for it, so that it must be compiled.
    #[serde(default)]
    pub library_from_source: bool,
}

/// A variant of a platform with better processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Variant {
    /// Their name in rustc, GCC and Clang.
    pub cpu: String,
    /// Their name in zig.
    pub zig: String,
    /// The features that they have beyond the previous variant.
    pub features: Vec<String>,
    /// Their directory below `glibc-hwcaps`.
    pub hwcaps: String,
}

impl Variant {
    /// The names of the processors, in any compiler.
    #[must_use]
    pub fn cpu_names(&self) -> [&str; 2] {
        [&self.cpu, &self.zig]
    }
}

/// A Debian port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPort {
    /// `dpkg --print-architecture`: `amd64`, `armhf`, …
    pub architecture: String,
    /// The multiarch directory under `/usr/lib`: `arm-linux-gnueabihf`, …
    pub multiarch: String,
}

/// zig's name for a target, and the differences in how zig must be called for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ZigTarget {
    /// `-target` without the glibc suffix.
    pub target: String,
    /// `-mcpu`, if zig's baseline differs from rustc's.
    pub cpu: Option<String>,
    /// The oldest glibc, as (2, minor), that zig can link for; `None` if there is no glibc.
    #[serde(default, serialize_with = "as_text")]
    pub minimum_glibc: Option<GlibcVersion>,
    /// Processors as named in `-march` and `-mcpu` of GCC and Clang, with zig's names.
    #[serde(default)]
    pub cpus: BTreeMap<String, String>,
    /// The same for processor features.
    #[serde(default)]
    pub features: BTreeMap<String, String>,
    /// Arguments that are replaced by others, or removed, for this target.
    #[serde(default)]
    pub arguments: BTreeMap<String, Vec<String>>,
}

/// How Clang must be called for a target, so that its own defaults do not matter: they differ by version and distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClangTarget {
    /// `--target`, if it is not the name of the directories with the target's libraries.
    pub target: Option<String>,
    /// Arguments that come before the caller's.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// Writes a version as a string, `2.36`.
#[allow(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn as_text<S: Serializer>(version: &Option<GlibcVersion>, serializer: S) -> Result<S::Ok, S::Error> {
    version.map(|version| version.to_string()).serialize(serializer)
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

    /// The target for exactly this platform and C library.
    #[must_use]
    pub fn by_platform(platform: &Platform, libc: Libc) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.serves(platform) && target.libc == libc)
    }

    /// The target that a platform's files are checked against: the one for it, with any C library, or else for a
    /// related variant.
    #[must_use]
    pub fn judging(platform: &Platform) -> Option<&'static Self> {
        let next_to = |target: &&Self| {
            let lesser = |own| target.processor.lesser.iter().any(|name| name == own);
            let same = target.platform.architecture() == platform.architecture();
            same && (!target.processor.variants.is_empty() || platform.variant().is_some_and(lesser))
        };
        TARGETS.iter().find(|target| target.serves(platform)).or_else(|| TARGETS.iter().find(next_to))
    }

    /// A target of a platform's architecture, with any variant.
    #[must_use]
    pub fn of_architecture(platform: &Platform) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.platform.architecture() == platform.architecture())
    }

    /// A target of a machine.
    #[must_use]
    pub fn of_machine(machine: u16, class: u8) -> Option<&'static Self> {
        TARGETS.iter().find(|target| (target.elf.machine, target.elf.class) == (machine, class))
    }

    /// The target with the kernel's name for the machine: `x86_64`, `armv7l`.
    #[must_use]
    pub fn by_machine_name(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.machine_name == name)
    }

    /// The level of a platform's processors: 1 for the target's own, 2 for the first of its variants, and so on. An
    /// unknown variant has level 1 if the target has variants. If it has none, the level is unknown: `None`.
    #[must_use]
    pub fn level(&self, platform: &Platform) -> Option<u32> {
        if self.platform == *platform {
            return Some(1);
        }
        let variant = platform.variant()?;
        let variants = &self.processor.variants;
        let place = variants.keys().position(|name| name == variant).map(|place| place + 2);
        u32::try_from(place.or((!variants.is_empty()).then_some(1))?).ok()
    }

    /// The name of the processors of a [`level`](Self::level).
    #[must_use]
    pub fn level_name(&self, level: u32) -> Option<&str> {
        match level {
            0 => None,
            1 => self.processor.cpus.first().map(String::as_str),
            level => {
                let place = usize::try_from(level - 2).ok()?;
                self.processor.variants.values().nth(place).map(|variant| variant.cpu.as_str())
            }
        }
    }

    /// True if this target's programs are for a platform: its own, or the same with better processors.
    #[must_use]
    pub fn serves(&self, platform: &Platform) -> bool {
        self.platform == *platform || self.variant(platform).is_some()
    }

    /// The variant with better processors that a platform promises.
    #[must_use]
    pub fn variant(&self, platform: &Platform) -> Option<&Variant> {
        let (own, other) = (&self.platform, platform);
        let same = (own.os(), own.architecture()) == (other.os(), other.architecture());
        let name = platform.variant().filter(|_| same && own.variant().is_none())?;
        self.processor.variants.get(name)
    }

    /// A variant with better processors than a platform's: v3, which is the most common one, or else the next one.
    #[must_use]
    pub fn better(&self, platform: &Platform) -> Option<(&str, &Variant)> {
        let own = platform.variant().filter(|_| self.variant(platform).is_some());
        let newer =
            self.processor.variants.iter().filter(|(name, _)| own.is_none_or(|own| name.as_str() > own));
        let chosen = newer.clone().find(|(name, _)| *name == "v3").or_else(|| newer.clone().next());
        chosen.map(|(name, variant)| (name.as_str(), variant))
    }

    /// The triple in the form of cc-rs's environment variables: `aarch64_unknown_linux_gnu`.
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

/// The stem and text of every embedded TOML document.
fn documents() -> impl Iterator<Item = (&'static str, &'static str)> {
    let is_toml = |path: &Path| path.extension().is_some_and(|extension| extension == "toml");
    TARGET_FILES.files().filter(move |file| is_toml(file.path())).map(|file| {
        let stem =
            file.path().file_stem().and_then(|stem| stem.to_str()).expect("data files have UTF-8 names");
        (stem, file.contents_utf8().expect("data files are UTF-8"))
    })
}

/// Parses an embedded document. The data is part of the binary and `tests/catalog.rs` reads every file, so a fault in
/// it is a fault of the build, not of the user.
fn parse<T: serde::de::DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap_or_else(|error| panic!("an embedded data file is wrong: {error}\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_identities() {
        for (stem, text) in documents() {
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
