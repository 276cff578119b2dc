//! Checks that a file is for the platform: its machine, ABI and processor.

use super::finding::Problem;
use super::obstacle::Needs;
use crate::elf::{Asks, Elf, Object, promise};
use crate::target::catalog::{ArmData, Endianness, LoaderDirectories, Target};
use crate::target::identity::{machine_name, says_class};
use crate::target::platform::Platform;

/// The machine, class in bits and byte order of a platform's programs; `None` if xbuild does not know the platform.
fn identity(platform: &Platform) -> Option<(u16, u8, Endianness)> {
    let of = |target: &Target| (target.elf.machine, target.elf.class, target.elf.endianness);
    Target::of_architecture(platform).map(of)
}

/// A machine's name for messages.
pub(super) fn describe(machine: u16, class: u8, endianness: Endianness) -> String {
    let name = machine_name(machine);
    match endianness {
        _ if says_class(machine, class) => name,
        Endianness::Little => format!("{class}-bit {name}"),
        Endianness::Big => format!("{class}-bit big-endian {name}"),
    }
}

/// The same as [`describe`] for a file.
pub(crate) fn describe_elf(elf: &Elf) -> String {
    describe(elf.machine, elf.class, elf.endianness)
}

/// True if a file is for another machine whose programs the platform's kernel usually runs as well.
pub(super) fn is_compatible(platform: &Platform, elf: &Elf) -> bool {
    Target::of_architecture(platform).is_some_and(|target| target.elf.also_runs.contains(&elf.machine))
}

/// What prevents a file from running on the platform's processors, whatever else is in the image.
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
    if let Some(other) = Target::of_architecture(platform).and_then(|target| target.elf.other_abi.as_ref())
        && elf.flags & other.mask == other.value
    {
        let (found, wanted) = (other.name.clone(), format!("{platform} ({})", other.own));
        return vec![Problem::WrongArchitecture { path: path(), found, wanted }];
    }
    let target = Target::judging(platform);
    target.and_then(|target| processor(target, platform, &path(), elf)).into_iter().collect()
}

/// What a file needs by its build attributes and GNU properties, and the platform does not have.
fn processor(target: &Target, platform: &Platform, path: &str, elf: &Elf) -> Option<Problem> {
    let processor = |needs: &str, promised: &str| Problem::Processor {
        path: path.to_owned(),
        needs: Needs::Architecture(needs.to_owned()),
        promised: promised.to_owned(),
    };
    if let Some((data, arm)) = target.processor.arm.as_ref().zip(elf.arm) {
        // An Armv8 processor that runs 32-bit code has all extensions of Armv7.
        let needs = [(8, arm.is_v8()), (7, arm.is_v7())].into_iter().find(|(_, needs)| *needs)?.0;
        return (needs > data.architecture).then(|| processor(&format!("Armv{needs}"), &data.name));
    }
    // Only x86-64 has levels.
    let level = target.level(platform).filter(|_| !target.processor.variants.is_empty())?;
    let needed = u32::BITS - elf.x86_levels.leading_zeros();
    let name = |level: u32| target.level_name(level).map_or_else(|| format!("level {level}"), str::to_owned);
    (needed > level).then(|| processor(&name(needed), &name(level)))
}

/// The data of a platform whose processors may lack NEON: it is optional in Armv7, and older ones never have it.
fn without_neon(platform: &Platform) -> Option<&'static ArmData> {
    Target::judging(platform)?.processor.arm.as_ref()
}

/// The instructions of a file that the platform does not promise, if the file does not check the processor first.
pub(super) fn instructions(platform: &Platform, path: &str, object: &Object) -> Vec<Problem> {
    vector_unit(platform, path, object).into_iter().chain(beyond(platform, path, object)).collect()
}

/// An instruction that the platform does not promise.
fn beyond(platform: &Platform, path: &str, object: &Object) -> Option<Problem> {
    let level = Target::judging(platform)?.level(platform)?;
    // A program for 32-bit x86 also runs on 64-bit x86, so only the baseline is promised for it.
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

fn vector_unit(platform: &Platform, path: &str, object: &Object) -> Option<Problem> {
    let data = without_neon(platform)?;
    let code = object.code.as_ref().filter(|code| code.asks == Asks::No)?;
    match (&code.neon, &code.high_registers) {
        (Some(function), _) => {
            let (needs, promised) = (Needs::Neon(function.clone()), data.instead_of_neon.clone());
            Some(Problem::Processor { path: path.to_owned(), needs, promised })
        }
        (None, Some(function)) if data.half_the_registers => {
            Some(Problem::Registers { path: path.to_owned(), function: function.clone() })
        }
        _ => None,
    }
}

/// True if a file has NEON code that not all processors of the platform support, and checks first, or may do so.
pub(super) fn chooses(platform: &Platform, object: &Object) -> bool {
    let choice = |code: &crate::elf::ArmCode| code.neon.is_some() && code.asks != Asks::No;
    without_neon(platform).is_some() && object.code.as_ref().is_some_and(choice)
}

/// What glibc's loader knows about a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Processor {
    /// The subdirectories of `glibc-hwcaps` that it searches, best first.
    pub(super) hwcaps: Vec<&'static str>,
    /// Up to glibc 2.36: the names whose combinations are subdirectories, in order. After `tls` comes the platform's
    /// name, then the processor's features that glibc considers important.
    pub(super) legacy: Vec<&'static str>,
    /// The bits that stand for the legacy names in a cache's entries.
    pub(super) bits: u64,
}

/// In a cache's entry: the library is in a `tls` subdirectory.
const TLS: u64 = 1 << 63;

/// What every processor of a platform has.
pub(super) fn hardware(platform: &Platform) -> Processor {
    let Some(target) = Target::judging(platform).or_else(|| Target::of_architecture(platform)) else {
        return Processor { hwcaps: Vec::new(), legacy: vec!["tls"], bits: TLS };
    };
    let mut processor = Processor::of(&target.loader.least);
    // A variant includes those below it.
    if let Some(variant) = platform.variant().filter(|_| target.variant(platform).is_some()) {
        let known = target.processor.variants.range(..=variant.to_owned()).rev();
        processor.hwcaps.splice(0..0, known.map(|(_, variant)| variant.hwcaps.as_str()));
    }
    processor
}

/// What the newest processors have, whatever the variant.
pub(super) fn newest_hardware(platform: &Platform) -> Processor {
    let target = Target::of_architecture(platform);
    target.map_or_else(|| hardware(platform), |target| Processor::of(&target.loader.newest))
}

/// `AT_PLATFORM` of a platform's baseline processor, for a file that may be for another platform which that processor
/// runs.
pub(super) fn platform_name(platform: &Platform, elf: &Elf) -> &'static str {
    let own = Target::judging(platform).filter(|target| target.elf.machine == elf.machine);
    own.or_else(|| Target::of_machine(elf.machine, elf.class)).map_or("", |target| &target.loader.platform)
}

impl Processor {
    fn of(data: &'static LoaderDirectories) -> Self {
        let texts = |list: &'static [String]| list.iter().map(String::as_str);
        let (hwcaps, legacy) =
            (texts(&data.hwcaps).collect(), ["tls"].into_iter().chain(texts(&data.names)).collect());
        Self { hwcaps, legacy, bits: data.bits | TLS }
    }

    /// The subdirectories that a glibc before 2.37 searches before each of its own directories, in order.
    pub(super) fn legacy_dirs(&self) -> Vec<String> {
        let count = self.legacy.len();
        let dir = |mask: usize| {
            let names = self.legacy.iter().enumerate().filter(|(at, _)| mask >> (count - 1 - at) & 1 != 0);
            names.map(|(_, name)| *name).collect::<Vec<_>>().join("/")
        };
        (1..1_usize << count).rev().map(dir).collect()
    }

    /// The subdirectory names that a better processor adds to those of `least`.
    pub(super) fn names_beyond(&self, least: &Self) -> Vec<&'static str> {
        let hwcaps = self.hwcaps.iter().filter(|name| !least.hwcaps.contains(name));
        hwcaps.chain(self.legacy.iter().filter(|name| !least.legacy.contains(name))).copied().collect()
    }
}

/// How a file passes floating point arguments, if that is known.
pub(super) fn float_abi(elf: &Elf) -> Option<&'static str> {
    let known = &Target::of_machine(elf.machine, elf.class)?.elf.float_abi;
    let named =
        known.iter().find(|flags| elf.flags & flags.mask == flags.value).map(|flags| flags.name.as_str());
    named.or_else(|| elf.arm.filter(|arm| arm.float_arguments == 1).map(|_| "hard"))
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

    /// What a file needs and what the platform promises, for each finding.
    fn short(problems: Vec<Problem>) -> Vec<(String, String)> {
        let pair = |problem| match problem {
            Problem::Processor { needs, promised, .. } => (needs.to_string(), promised),
            other => (other.check().to_owned(), String::new()),
        };
        problems.into_iter().map(pair).collect()
    }

    #[test]
    fn legacy_directories_come_in_glibcs_order() {
        // The output of glibc 2.36 with `LD_DEBUG=libs` on a Cortex-A15.
        let expected = "tls/v7l/neon/vfp tls/v7l/neon tls/v7l/vfp tls/v7l tls/neon/vfp tls/neon tls/vfp tls v7l/neon/vfp \
                        v7l/neon v7l/vfp v7l neon/vfp neon vfp";
        assert_eq!(newest_hardware(&platform("linux/arm/v7")).legacy_dirs().join(" "), expected);
        for text in ["linux/arm64", "linux/arm64/v9"] {
            assert_eq!(hardware(&platform(text)).legacy, ["tls", "aarch64"], "{text}");
        }
        let arm64 = newest_hardware(&platform("linux/arm64")).legacy_dirs().join(" ");
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
            // Of an unknown variant only the baseline is promised.
            ("linux/amd64/v9", Some("x86-64")),
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
