//! Whether a file is one for the platform: machine, ABI and processor.

use super::finding::Problem;
use crate::catalog::{Endianness, Target};
use crate::elf::{Asks, Elf, Object, machine_name, promise};
use crate::platform::Platform;

/// Machine, class in bits and byte order of a platform's programs; `None` for one that xbuild does not know.
fn identity(platform: &Platform) -> Option<(u16, u8, Endianness)> {
    let of = |target: &Target| (target.elf.machine, target.elf.class, target.elf.endianness);
    Target::all().iter().find(|target| target.platform.architecture() == platform.architecture()).map(of)
}

/// What a file is for, in words.
pub(super) fn describe(machine: u16, class: u8, endianness: Endianness) -> String {
    let name = machine_name(machine);
    match (machine, endianness) {
        // The name says the rest.
        (3 | 62 | 183 | 22, _) if (machine == 3) == (class == 32) => name,
        (_, Endianness::Little) => format!("{class}-bit {name}"),
        (_, Endianness::Big) => format!("{class}-bit big-endian {name}"),
    }
}

/// As [`describe`] for a file.
pub(crate) fn describe_elf(elf: &Elf) -> String {
    describe(elf.machine, elf.class, elf.endianness)
}

/// True if a file is for 32-bit x86 on 64-bit x86, where the kernel runs it as a rule.
pub(super) fn is_compatible(platform: &Platform, elf: &Elf) -> bool {
    platform.architecture() == "amd64" && elf.machine == 3
}

/// What keeps a file from running on the platform's processors, whatever else is in the image.
pub(crate) fn problems(platform: &Platform, path: &str, elf: &Elf) -> Vec<Problem> {
    let path = || path.to_owned();
    if let Some((machine, class, endianness)) = identity(platform)
        && (elf.machine, elf.class, elf.endianness) != (machine, class, endianness)
    {
        let wanted = format!("{platform} ({})", describe(machine, class, endianness));
        return vec![Problem::WrongArchitecture { path: path(), found: describe_elf(elf), wanted }];
    }
    if !matches!(elf.os_abi, 0 | 3) {
        return vec![Problem::BrokenElf { path: path(), reason: format!("its OS ABI is {}", elf.os_abi) }];
    }
    // The first ABI of 64-bit PowerPC has other calls; little-endian systems have the second only.
    if elf.machine == 21 && elf.endianness == Endianness::Little && elf.flags & 3 == 1 {
        let (found, wanted) = ("64-bit PowerPC with ELFv1".into(), format!("{platform} (ELFv2)"));
        return vec![Problem::WrongArchitecture { path: path(), found, wanted }];
    }
    processor(platform, &path(), elf)
}

fn processor(platform: &Platform, path: &str, elf: &Elf) -> Vec<Problem> {
    let processor = |needs: &str, promised: &str| Problem::Processor {
        path: path.to_owned(),
        needs: needs.to_owned(),
        promised: promised.to_owned(),
    };
    match (platform.architecture(), platform.variant()) {
        ("amd64", variant) => {
            let level = level(variant);
            let needed = 32 - elf.x86_levels.leading_zeros();
            let promised = if level == 1 { "x86-64".into() } else { format!("x86-64-v{level}") };
            let short = needed > level;
            short.then(|| processor(&format!("x86-64-v{needed}"), &promised)).into_iter().collect()
        }
        ("arm", variant) => {
            let Some(arm) = elf.arm else { return Vec::new() };
            match variant {
                // What is 32-bit on an Armv8 has all there is.
                Some("v7") | None if arm.is_v8() => vec![processor("Armv8", "Armv7")],
                Some("v5" | "v6") if arm.is_v8() => vec![processor("Armv8", "an older Arm")],
                Some("v5" | "v6") if arm.is_v7() => vec![processor("Armv7", "an older Arm")],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// True if the processors of a platform may lack NEON: it is an option of Armv7's, and older ones have none.
fn may_lack_neon(platform: &Platform) -> bool {
    platform.architecture() == "arm" && matches!(platform.variant(), Some("v5" | "v6" | "v7") | None)
}

/// What a file's instructions need and the platform does not promise, where the file does not ask the processor
/// first.
pub(super) fn instructions(platform: &Platform, path: &str, object: &Object) -> Vec<Problem> {
    let mut problems = vector_unit(platform, path, object);
    problems.extend(beyond(platform, path, object));
    problems
}

/// An instruction that only newer processors have than the platform promises.
fn beyond(platform: &Platform, path: &str, object: &Object) -> Option<Problem> {
    let level = match (platform.architecture(), platform.variant()) {
        ("amd64", variant) => level(variant),
        // Other variants promise more than is known here.
        (_, Some(_)) => return None,
        _ => 1,
    };
    // A program for 32-bit x86 runs on 64-bit x86 as well, which has no more at least.
    let level = if object.elf.class == 32 { 1 } else { level };
    let found = object.beyond.iter().find(|found| u32::from(found.level) == level)?;
    let promised = promise(object.elf.machine, found.level)?;
    Some(Problem::Instruction {
        path: path.to_owned(),
        extension: found.extension.clone(),
        instruction: found.instruction.clone(),
        function: found.function.clone(),
        promised: promised.to_owned(),
    })
}

fn vector_unit(platform: &Platform, path: &str, object: &Object) -> Vec<Problem> {
    let Some(code) = object.code.as_ref().filter(|code| may_lack_neon(platform) && code.asks == Asks::No)
    else {
        return Vec::new();
    };
    let v7 = matches!(platform.variant(), Some("v7") | None);
    match (&code.neon, &code.high_registers) {
        (Some(function), _) => {
            let promised = if v7 { "VFPv3-D16" } else { "an older Arm" };
            let needs = format!("NEON (in {function}, and it does not ask whether it is there)");
            vec![Problem::Processor { path: path.to_owned(), needs, promised: promised.to_owned() }]
        }
        (None, Some(function)) if v7 => {
            vec![Problem::Registers { path: path.to_owned(), function: function.clone() }]
        }
        _ => Vec::new(),
    }
}

/// True if a file has NEON code that is not for all processors of the platform, and asks first, or may.
pub(super) fn chooses(platform: &Platform, object: &Object) -> bool {
    let choice = |code: &crate::elf::ArmCode| code.neon.is_some() && code.asks != Asks::No;
    may_lack_neon(platform) && object.code.as_ref().is_some_and(choice)
}

/// The level of an amd64 variant.
fn level(variant: Option<&str>) -> u32 {
    match variant {
        Some("v2") => 2,
        Some("v3") => 3,
        Some("v4") => 4,
        _ => 1,
    }
}

/// The folders that glibc takes libraries from on certain processors only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Processor {
    /// Those below `glibc-hwcaps`, best first.
    pub(super) hwcaps: &'static [&'static str],
    /// Until glibc 2.36: the names that every combination makes a folder of, in their order. After `tls` comes the
    /// platform's name, then what the processor has, as far as glibc thinks it important.
    pub(super) legacy: &'static [&'static str],
    /// What the legacy names are in a cache's entries.
    pub(super) bits: u64,
}

/// In a cache's entry: the library is in a folder `tls`.
const TLS: u64 = 1 << 63;

/// What every processor of a platform has.
pub(super) fn hardware(platform: &Platform) -> Processor {
    let (hwcaps, legacy, bits): (&[&str], &[&str], u64) = match (platform.architecture(), platform.variant())
    {
        ("amd64", Some("v2")) => (&LEVELS[2..], &["tls", "x86_64"], 0b10),
        ("amd64", Some("v3")) => (&LEVELS[1..], &["tls", "x86_64"], 0b10),
        ("amd64", Some("v4")) => (LEVELS, &["tls", "x86_64"], 0b10),
        ("amd64", _) => (&[], &["tls", "x86_64"], 0b10),
        ("arm", Some("v7") | None) => (&[], &["tls", "v7l", "vfp"], 1 << 6),
        ("arm64", _) => (&[], &["tls", "aarch64"], 0),
        ("386", _) => (&[], &["tls", "i686"], 0),
        _ => (&[], &["tls"], 0),
    };
    Processor { hwcaps, legacy, bits: bits | TLS }
}

/// What the newest have.
pub(super) fn newest_hardware(platform: &Platform) -> Processor {
    let least = hardware(platform);
    let (hwcaps, legacy, bits): (&[&str], &[&str], u64) = match platform.architecture() {
        "amd64" => (LEVELS, &["tls", "haswell", "avx512_1", "x86_64"], 0b110),
        "arm" => (&[], &["tls", "v7l", "neon", "vfp"], 1 << 12 | 1 << 6),
        "arm64" => (&[], &["tls", "aarch64", "atomics"], 1 << 8),
        "386" => (&[], &["tls", "i686", "sse2"], 1 << 26),
        "ppc64le" => (&["power10", "power9"], least.legacy, 0),
        "s390x" => (&["z16", "z15", "z14", "z13"], least.legacy, 0),
        _ => (least.hwcaps, least.legacy, 0),
    };
    Processor { hwcaps, legacy, bits: bits | least.bits }
}

impl Processor {
    /// The folders that a glibc before 2.37 looks in before each of its own, in their order.
    pub(super) fn legacy_folders(self) -> Vec<String> {
        let count = self.legacy.len();
        let folder = |mask: usize| {
            let names = self.legacy.iter().enumerate().filter(|(at, _)| mask >> (count - 1 - at) & 1 != 0);
            names.map(|(_, name)| *name).collect::<Vec<_>>().join("/")
        };
        (1..1_usize << count).rev().map(folder).collect()
    }

    /// The names that a better processor takes folders of, beside those of this one.
    pub(super) fn names_beyond(self, least: Self) -> Vec<&'static str> {
        let new = |list: &'static [&'static str], old: &'static [&'static str]| {
            list.iter().copied().filter(move |name| !old.contains(name))
        };
        new(self.hwcaps, least.hwcaps).chain(new(self.legacy, least.legacy)).collect()
    }
}

const LEVELS: &[&str] = &["x86-64-v4", "x86-64-v3", "x86-64-v2"];

/// How a file passes floating point arguments, where it says so.
pub(super) fn float_abi(elf: &Elf) -> Option<&'static str> {
    match elf.machine {
        40 if elf.flags & 0x400 != 0 => Some("hard"),
        40 if elf.flags & 0x200 != 0 => Some("soft"),
        40 if elf.arm.is_some_and(|arm| arm.float_arguments == 1) => Some("hard"),
        243 => Some(match elf.flags & 6 {
            0 => "soft",
            2 => "single-precision",
            4 => "double-precision",
            _ => "quad-precision",
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::sample::Sample;
    use crate::elf::{ArmAttributes, ArmCode, Beyond};

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn object(machine: u16) -> Object {
        let class = if machine == 40 { 32 } else { 64 };
        let sample = Sample { class, machine, flags: 0x0500_0400, ..Sample::program("/lib/ld.so", &[]) };
        Object::parse(&sample.bytes()).unwrap()
    }

    /// What a file needs and what the platform promises, of each finding.
    fn short(problems: Vec<Problem>) -> Vec<(String, String)> {
        let pair = |problem| match problem {
            Problem::Processor { needs, promised, .. } => (needs, promised),
            other => (other.check().to_owned(), String::new()),
        };
        problems.into_iter().map(pair).collect()
    }

    #[test]
    fn legacy_folders_come_in_glibcs_order() {
        // What `LD_DEBUG=libs` of glibc 2.36 says on a Cortex-A15.
        let expected = "tls/v7l/neon/vfp tls/v7l/neon tls/v7l/vfp tls/v7l tls/neon/vfp tls/neon tls/vfp tls v7l/neon/vfp \
                        v7l/neon v7l/vfp v7l neon/vfp neon vfp";
        assert_eq!(newest_hardware(&platform("linux/arm/v7")).legacy_folders().join(" "), expected);
        let arm64 = newest_hardware(&platform("linux/arm64")).legacy_folders().join(" ");
        assert_eq!(arm64, "tls/aarch64/atomics tls/aarch64 tls/atomics tls aarch64/atomics aarch64 atomics");
    }

    #[test]
    fn levels_of_x86_are_compared() {
        for (text, levels, found) in [
            ("linux/amd64", 0, None),
            ("linux/amd64", 0b1, None),
            ("linux/amd64", 0b11, Some(("x86-64-v2", "x86-64"))),
            ("linux/amd64", 0b100, Some(("x86-64-v3", "x86-64"))),
            ("linux/amd64/v2", 0b10, None),
            ("linux/amd64/v2", 0b1000, Some(("x86-64-v4", "x86-64-v2"))),
            ("linux/amd64/v3", 0b111, None),
            ("linux/amd64/v4", 0b1111, None),
        ] {
            let mut elf = object(62).elf;
            elf.x86_levels = levels;
            let found: Vec<_> =
                found.into_iter().map(|(needs, has): (&str, &str)| (needs.into(), has.into())).collect();
            assert_eq!(short(problems(&platform(text), "/app", &elf)), found, "{text} {levels:#b}");
        }
    }

    #[test]
    fn instructions_are_compared_with_the_level() {
        let beyond = |level| Beyond {
            level,
            extension: "AVX2".into(),
            instruction: "vpaddd".into(),
            function: "sum".into(),
        };
        let object = Object { beyond: vec![beyond(1), beyond(2)], ..object(62) };
        for (text, promised) in [
            ("linux/amd64", Some("x86-64")),
            ("linux/amd64/v2", Some("x86-64-v2")),
            ("linux/amd64/v3", None),
            ("linux/amd64/v4", None),
        ] {
            let found = instructions(&platform(text), "/app", &object);
            let found: Vec<_> = found
                .iter()
                .map(|problem| match problem {
                    Problem::Instruction { promised, .. } => promised.as_str(),
                    other => other.check(),
                })
                .collect();
            assert_eq!(found, promised.into_iter().collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn architectures_of_arm_are_compared() {
        let v8 = ("Armv8", "Armv7");
        for (text, architecture, found) in [
            ("linux/arm/v7", 10, None),
            ("linux/arm/v7", 14, Some(v8)),
            ("linux/arm/v7", 22, Some(v8)),
            ("linux/arm/v8", 14, None),
            ("linux/arm/v6", 6, None),
            ("linux/arm/v6", 10, Some(("Armv7", "an older Arm"))),
            ("linux/arm/v5", 14, Some(("Armv8", "an older Arm"))),
        ] {
            let mut elf = object(40).elf;
            elf.arm = Some(ArmAttributes { architecture, profile: b'A', ..ArmAttributes::default() });
            let found: Vec<_> =
                found.into_iter().map(|(needs, has): (&str, &str)| (needs.into(), has.into())).collect();
            assert_eq!(short(problems(&platform(text), "/app", &elf)), found, "{text} {architecture}");
        }
    }

    #[test]
    fn neon_is_for_those_who_ask() {
        let found = |text: &str, neon: Option<&str>, registers: Option<&str>, asks| {
            let code =
                ArmCode { neon: neon.map(Into::into), high_registers: registers.map(Into::into), asks };
            let object = Object { code: Some(code), ..object(40) };
            let kinds: Vec<_> =
                instructions(&platform(text), "/app", &object).iter().map(Problem::check).collect();
            (kinds, chooses(&platform(text), &object))
        };
        for text in ["linux/arm/v7", "linux/arm", "linux/arm/v6"] {
            assert_eq!(found(text, Some("sum"), None, Asks::No), (vec!["processor"], false), "{text}");
            assert_eq!(found(text, Some("sum"), Some("f"), Asks::Yes), (vec![], true), "{text}");
            assert_eq!(found(text, Some("sum"), None, Asks::Unknown), (vec![], true), "{text}");
        }
        assert_eq!(found("linux/arm/v7", None, Some("f"), Asks::No), (vec!["registers"], false));
        assert_eq!(found("linux/arm/v8", Some("sum"), Some("f"), Asks::No), (vec![], false));
    }
}
