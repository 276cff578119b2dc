//! What xbuild knows of targets and toolchains: `targets/*.toml` and `toolchains/*.toml`, embedded.
//!
//! Facts about a triple or a tool are data. Adding a target is adding a file; nothing here or
//! elsewhere matches on a triple's text. No IO: the files are part of the binary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};

use crate::target::platform::Platform;

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
    /// What glibc's dynamic loader goes by there.
    #[serde(default)]
    pub loader: LoaderData,
    /// What rustc must be told to make what is said here.
    #[serde(default)]
    pub rust: RustData,
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
    /// Another ABI of the same machine, which its files may say.
    pub other_abi: Option<OtherAbi>,
    /// How files pass floating point arguments, by bits of `e_flags`; the first that fits counts.
    #[serde(default)]
    pub float_abi: Vec<NamedFlags>,
    /// Values of `e_machine` of other programs that the kernel runs there as a rule.
    #[serde(default)]
    pub also_runs: Vec<u16>,
}

/// What the flags of a file of another ABI are, and what the two are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherAbi {
    /// The bits looked at.
    pub mask: u32,
    /// What they are in the other.
    pub value: u32,
    /// The other.
    pub name: String,
    /// The platform's.
    pub own: String,
}

/// `e_flags & mask == value`, and what that is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFlags {
    /// The bits looked at.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
    /// What it is called.
    pub name: String,
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
    /// Variants with lesser processors that have no target of their own; files are judged as for this one.
    #[serde(default)]
    pub lesser: Vec<String>,
    /// What build attributes of 32-bit Arm are held to.
    pub arm: Option<ArmData>,
}

/// What processors of a 32-bit Arm platform are (Addenda to, and Errata in, the ABI for the Arm Architecture, `Tag_CPU_arch`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ArmData {
    /// The version of the architecture.
    pub architecture: u8,
    /// What it is called.
    pub name: String,
    /// What they have where others have NEON.
    pub instead_of_neon: String,
    /// True if there may be 16 registers of double precision only, and files are held to that.
    #[serde(default)]
    pub half_the_registers: bool,
}

/// What glibc's dynamic loader goes by when it looks for libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LoaderData {
    /// `AT_PLATFORM` of the least processor, for `$PLATFORM`; empty where the kernel has no name for it.
    #[serde(default)]
    pub platform: String,
    /// What entries of `/etc/ld.so.cache` for the platform are marked with, by `e_flags`; the first that fits counts.
    #[serde(default)]
    pub cache: Vec<CacheMark>,
    /// The bits of `e_flags` that it compares with its own before it takes a library.
    pub abi: Option<AbiBits>,
    /// The directories that it takes on every processor of the platform.
    #[serde(default)]
    pub least: LoaderDirectories,
    /// The directories that it takes on the newest.
    #[serde(default)]
    pub newest: LoaderDirectories,
}

/// How entries of the loader's cache are marked (glibc, `sysdeps/generic/ldconfig.h`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheMark {
    /// The bits of `e_flags` looked at.
    #[serde(default)]
    pub mask: u32,
    /// What they must be.
    #[serde(default)]
    pub value: u32,
    /// The mark.
    pub mark: u32,
}

/// Bits of `e_flags` in which a library must be like the loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AbiBits {
    /// The bits.
    pub mask: u32,
    /// True if a library that has none of them is taken.
    #[serde(default)]
    pub none_fits: bool,
}

/// The directories that glibc's loader takes libraries from on certain processors only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderDirectories {
    /// Those below `glibc-hwcaps`, best first.
    #[serde(default)]
    pub hwcaps: Vec<String>,
    /// Until glibc 2.36: the names that every combination, behind `tls`, makes a directory of, in their order.
    #[serde(default)]
    pub names: Vec<String>,
    /// What these names are in the entries of `/etc/ld.so.cache`.
    #[serde(default)]
    pub bits: u64,
}

/// What rustc must be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RustData {
    /// Flags, before those of the user.
    #[serde(default)]
    pub flags: Vec<String>,
    /// True if Rust's releases have no standard library for it, which has to be compiled.
    #[serde(default)]
    pub library_from_source: bool,
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
    /// The directory below `glibc-hwcaps` for them.
    pub hwcaps: String,
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

    /// What a platform's files are held to: the target for it, of whatever C library, or for the variant next to it.
    #[must_use]
    pub fn judging(platform: &Platform) -> Option<&'static Self> {
        let next_to = |target: &&Self| {
            let lesser = |own| target.processor.lesser.iter().any(|name| name == own);
            let same = target.platform.architecture() == platform.architecture();
            same && (!target.processor.variants.is_empty() || platform.variant().is_some_and(lesser))
        };
        TARGETS.iter().find(|target| target.serves(platform)).or_else(|| TARGETS.iter().find(next_to))
    }

    /// A target of a platform's architecture, whatever the variant.
    #[must_use]
    pub fn of_architecture(platform: &Platform) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.platform.architecture() == platform.architecture())
    }

    /// A target of a machine.
    #[must_use]
    pub fn of_machine(machine: u16, class: u8) -> Option<&'static Self> {
        TARGETS.iter().find(|target| (target.elf.machine, target.elf.class) == (machine, class))
    }

    /// The target whose machine the kernel calls so: `x86_64`, `armv7l`.
    #[must_use]
    pub fn by_machine_name(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.machine_name == name)
    }

    /// How much better the processors of a platform are than the target's: 1 if not at all, 2 for the first of its variants, and so on.
    /// Where variants are known, another one counts as none; where none are, it may have whatever there is: `None`.
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

    /// What processors of a [`level`](Self::level) are called.
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

/// The stem and text of every embedded TOML document of a directory.
fn documents(dir: &'static Dir<'static>) -> impl Iterator<Item = (&'static str, &'static str)> {
    dir.files().filter(|file| file.path().extension().is_some_and(|extension| extension == "toml")).map(
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
