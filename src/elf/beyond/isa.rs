//! What each machine's processors have in common, and the names of what only newer ones have, from `extensions.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

use super::step::{State, Step};
use super::{a64, ppc64, riscv, s390, x86};

static MACHINES: LazyLock<Vec<Machine>> = LazyLock::new(|| {
    let data: Data =
        toml::from_str(include_str!("extensions.toml")).expect("the data is part of the program and tested");
    let mut machines: Vec<Machine> = data.machine.into_iter().map(Machine::new).collect();
    // 32-bit x86 has the same extensions as x86-64.
    if let Some(extensions) = machines.iter().find(|m| m.number == X86_64).map(|m| m.extensions.clone()) {
        machines
            .iter_mut()
            .filter(|machine| machine.number == X86)
            .for_each(|m| m.extensions.clone_from(&extensions));
    }
    machines
});

const X86: u16 = 3;
const PPC64: u16 = 21;
const S390: u16 = 22;
const X86_64: u16 = 62;
const A64: u16 = 183;
const RISCV: u16 = 243;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    machine: Vec<MachineData>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineData {
    number: u16,
    promise: Vec<String>,
    #[serde(default)]
    extensions: Vec<ExtensionData>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExtensionData {
    name: String,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    patterns: String,
    level: Option<u8>,
}

/// A kind of processors.
#[derive(Debug)]
pub(super) struct Machine {
    /// `e_machine`.
    pub(super) number: u16,
    /// The names of the platform's baseline processor and of its levels.
    pub(super) promise: Vec<String>,
    extensions: Vec<Extension>,
    patterns: Vec<Pattern>,
    /// The patterns to compare with, for each value of an instruction's highest bits.
    buckets: Vec<Vec<u16>>,
    /// Which buckets have any patterns. It is small enough to stay in the processor's cache.
    busy: Vec<bool>,
}

/// The number of an instruction's highest bits that select its bucket: enough that most buckets are empty.
const CHOOSING: u32 = 11;
/// The lowest of these bits in a number of 48 bits.
const CHOSEN: u32 = 48 - CHOOSING;

#[derive(Clone, Debug)]
struct Extension {
    name: String,
    features: Vec<String>,
    level: u8,
}

#[derive(Debug)]
struct Pattern {
    value: u64,
    mask: u64,
    name: String,
    extension: usize,
}

/// What an instruction needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The lowest level of the platform that has it; higher than all levels if none has it.
    pub(super) level: u8,
    pub(super) extension: String,
    pub(super) name: String,
}

/// No level has it.
const BEYOND_ALL: u8 = u8::MAX;

impl Machine {
    pub(super) fn of(number: u16) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.number == number)
    }

    fn new(data: MachineData) -> Self {
        let (mut extensions, mut patterns) = (Vec::new(), Vec::new());
        for (index, extension) in data.extensions.into_iter().enumerate() {
            for pattern in extension.patterns.split(',').map(str::trim).filter(|text| !text.is_empty()) {
                patterns.push(Pattern::parse(pattern, index));
            }
            let level = extension.level.unwrap_or(BEYOND_ALL);
            extensions.push(Extension { name: extension.name, features: extension.features, level });
        }
        let mut buckets = vec![Vec::new(); 1 << CHOOSING];
        for (number, pattern) in (0_u16..).zip(&patterns) {
            let open = !(pattern.mask >> CHOSEN) & ((1 << CHOOSING) - 1);
            // Every combination of the open bits, down to none.
            let mut bits = open;
            loop {
                let bucket = usize::try_from(pattern.value >> CHOSEN | bits).unwrap_or(0);
                buckets[bucket].push(number);
                if bits == 0 {
                    break;
                }
                bits = (bits - 1) & open;
            }
        }
        let busy = buckets.iter().map(|bucket: &Vec<u16>| !bucket.is_empty()).collect();
        Self { number: data.number, promise: data.promise, extensions, patterns, buckets, busy }
    }

    fn is_x86(&self) -> bool {
        matches!(self.number, X86 | X86_64)
    }

    /// Decodes the instruction that some bytes begin with.
    pub(super) fn step(&self, bytes: &[u8], address: u64, state: &mut State) -> Option<Step> {
        let word = || Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?));
        let mut step = match self.number {
            X86 => return x86::step(bytes, address, false, state),
            X86_64 => return x86::step(bytes, address, true, state),
            A64 => a64::step(word()?, address, state),
            PPC64 => ppc64::step(word()?, address, state),
            S390 => s390::step(bytes, address, state)?,
            RISCV => riscv::step(word().or_else(|| half(bytes))?, address, state),
            _ => return None,
        };
        step.candidate = self.pattern(bytes, usize::from(step.size));
        Some(step)
    }

    /// The size of the instruction that some bytes begin with, if a quick look shows that it is not beyond the baseline
    /// processor, does not branch to an address in the instruction and does not check the processor.
    #[inline]
    pub(super) fn quiet(&self, bytes: &[u8]) -> Option<usize> {
        match self.number {
            X86_64 => x86::quiet(bytes),
            A64 => {
                let word = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
                (!self.busy[usize::try_from(word >> (32 - CHOOSING)).ok()?] && a64::is_quiet(word))
                    .then_some(4)
            }
            _ => None,
        }
    }

    /// True if some code has any instruction beyond the baseline processor.
    pub(super) fn has_any(&self, code: &[u8]) -> bool {
        let next = |at: usize| match self.skim(&code[at..]) {
            Some((_, true)) if self.level(&code[at..]) > 1 => None,
            Some((size, _)) => Some(at + size),
            None => Some(at + 1),
        };
        if self.number == X86_64 {
            return x86::through(code, next).is_none();
        }
        let mut at = Some(0);
        while let Some(here) = at.filter(|here| *here < code.len()) {
            at = next(here);
        }
        at.is_none()
    }

    /// The size of the instruction that some bytes begin with, and whether it may be beyond the baseline processor.
    #[inline]
    fn skim(&self, bytes: &[u8]) -> Option<(usize, bool)> {
        let size = match self.number {
            X86 => return x86::skim(bytes, false),
            X86_64 => return x86::skim(bytes, true),
            A64 => 4,
            PPC64 => ppc64::size(*bytes.get(3)?),
            S390 => s390::size(*bytes.first()?),
            RISCV => riscv::size(*bytes.first()?),
            _ => return None,
        };
        (size <= bytes.len()).then(|| (size, self.pattern(bytes, size) != 0))
    }

    /// An instruction in the form of the patterns: its highest byte is the highest of 48 bits.
    #[inline]
    fn number(&self, bytes: &[u8], size: usize) -> Option<u64> {
        let word = match (self.number, size) {
            (S390, _) => {
                let mut word = 0;
                for at in 0..6 {
                    word = word << 8 | u64::from(if at < size { *bytes.get(at)? } else { 0 });
                }
                word
            }
            (_, 2) => u64::from(half(bytes)?) << 16,
            _ => u64::from(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?)) << 16,
        };
        Some(word)
    }

    /// One more than the number of the pattern that matches an instruction; 0 if none does.
    #[inline]
    fn pattern(&self, bytes: &[u8], size: usize) -> u16 {
        let Some(word) = self.number(bytes, size) else { return 0 };
        let chosen = usize::try_from(word >> CHOSEN).unwrap_or(0);
        if self.busy[chosen] { self.pattern_of(word, &self.buckets[chosen]) } else { 0 }
    }

    fn pattern_of(&self, word: u64, bucket: &[u16]) -> u16 {
        let fits = |number: &&u16| {
            let pattern = &self.patterns[usize::from(**number)];
            word & pattern.mask == pattern.value
        };
        let level = |number: &u16| self.extensions[self.patterns[usize::from(*number)].extension].level;
        bucket.iter().find(fits).filter(|number| level(number) > 0).map_or(0, |number| number + 1)
    }

    /// What a candidate needs; `None` if all processors have it.
    pub(super) fn meaning(&self, bytes: &[u8], candidate: u16) -> Option<Meaning> {
        if !self.is_x86() {
            let pattern = self.patterns.get(usize::from(candidate.checked_sub(1)?))?;
            let extension = &self.extensions[pattern.extension];
            let (level, name) = (extension.level, pattern.name.clone());
            return Some(Meaning { level, extension: extension.name.clone(), name });
        }
        let (features, mnemonic) = x86::needs(bytes, self.number == X86_64)?;
        let named = |extension: &&Extension| {
            features
                .iter()
                .any(|feature| extension.features.iter().any(|name| *name == format!("{feature:?}")))
        };
        let extension = self.extensions.iter().filter(named).max_by_key(|extension| extension.level)?;
        let name = format!("{mnemonic:?}").to_ascii_lowercase();
        // 32-bit x86 has no levels.
        let level = if self.number == X86 { BEYOND_ALL } else { extension.level };
        Some(Meaning { level, extension: extension.name.clone(), name })
    }

    /// The level of a candidate that some bytes begin with; 0 if all processors have it.
    pub(super) fn level(&self, bytes: &[u8]) -> u8 {
        if !self.is_x86() {
            return BEYOND_ALL;
        }
        let Some((features, _)) = x86::needs(bytes, self.number == X86_64) else { return 0 };
        let levels = features.iter().map(|feature| Self::feature_level(*feature));
        let level = levels.max().unwrap_or(0);
        if self.number == X86 && level > 0 { BEYOND_ALL } else { level }
    }

    fn feature_level(feature: iced_x86::CpuidFeature) -> u8 {
        static LEVELS: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let machine = Machine::of(X86_64);
            let level = |feature: iced_x86::CpuidFeature| {
                let name = format!("{feature:?}");
                let extensions = machine.iter().flat_map(|machine| &machine.extensions);
                let found = extensions.filter(|extension| extension.features.contains(&name));
                found.map(|extension| extension.level).max().unwrap_or(0)
            };
            iced_x86::CpuidFeature::values().map(level).collect()
        });
        LEVELS.get(feature as usize).copied().unwrap_or(0)
    }
}

fn half(bytes: &[u8]) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?)))
}

impl Pattern {
    fn parse(text: &str, extension: usize) -> Self {
        let parts = text.split_once(' ').and_then(|(numbers, name)| Some((numbers.split_once('/')?, name)));
        let ((value, mask), name) = parts.expect("the data is part of the program and tested");
        let number = |text: &str| {
            let number = u64::from_str_radix(text, 16).expect("the data is part of the program and tested");
            // Patterns of IBM Z may have six bytes. All are aligned to the highest byte.
            if text.len() == 12 { number } else { number << 16 }
        };
        Self { value: number(value), mask: number(mask), name: name.to_owned(), extension }
    }
}
