//! x86 code: the size of each instruction, where execution continues, and which instructions need a closer look.
//!
//! Only size and flow are decoded here, since all code of all files is examined. [`needs`] looks up what the few
//! candidates need of a processor. Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2
//! and appendix A.

#![allow(
    clippy::match_same_arms,
    clippy::verbose_bit_mask,
    reason = "encodings read best as manuals have them"
)]

mod shape;

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use self::shape::{BYTES, Byte, Constant, LEADS, SHAPES, Shape, Sizes};
use super::step::{Flow, State, Step, Test};

/// Maximum size of an instruction in bytes; a longer one faults.
const LONGEST: usize = 15;

/// The parts of an instruction that matter here.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    size: u8,
    /// 0 for opcodes of one byte, 1 for those after `0f`, 2 after `0f 38`, 3 after `0f 3a`.
    map: u8,
    opcode: u8,
    modrm: u8,
    /// It is encoded with VEX, EVEX or XOP.
    vector: bool,
    /// The prefixes `66`, `f2` and `f3`.
    short: bool,
    repne: bool,
    rep: bool,
    /// `REX.W`.
    wide: bool,
    /// The offset in the instruction of a four-byte address that is an operand's whole address; 0 if it has none.
    alone: u8,
    /// That address is relative to the end of the instruction.
    relative: bool,
    /// The number of bytes of constants at its end.
    constant: u8,
    /// Some instructions with this opcode may need more than the baseline processor.
    may_need: bool,
}

impl Parts {
    fn reg(self) -> u8 {
        self.modrm >> 3 & 7
    }

    /// Its operand is a register, not memory.
    fn register(self) -> bool {
        self.modrm >> 6 == 3
    }

    /// The constant at its end, sign-extended.
    fn constant(self, bytes: &[u8]) -> i64 {
        let (size, constant) = (usize::from(self.size), usize::from(self.constant));
        bytes.get(size - constant..size).map_or(0, signed)
    }

    /// The address of an operand, if it is in the instruction itself.
    fn fixed(self, bytes: &[u8], end: u64, wide: bool) -> Option<u64> {
        let at = usize::from(self.alone);
        let offset = signed(bytes.get(at..at + 4).filter(|_| at > 0)?);
        let target = if self.relative { end } else { 0 }.wrapping_add_signed(offset);
        Some(if wide { target } else { target & 0xffff_ffff })
    }
}

/// The size of the instruction that some bytes begin with, and whether it may need more than the baseline processor.
pub(super) fn skim(bytes: &[u8], wide: bool) -> Option<(usize, bool)> {
    let parts = parts(bytes, wide)?;
    Some((parts.size.into(), is_candidate(parts)))
}

/// The size of the instruction of 64-bit code that some bytes begin with, if a [`Step`] would have nothing else of
/// interest for building the call graph.
#[inline]
pub(super) fn quiet(bytes: &[u8]) -> Option<usize> {
    let size = Sizes::get().size(bytes.first_chunk()?, LEADS);
    (size > 0).then_some(size)
}

/// The number of parts of the code that are scanned at once.
const LANES: usize = 4;

/// Scans 64-bit code. `next` is called with the offset of every instruction whose size is not in the table. It returns
/// the offset of the next instruction, or `None` to stop.
///
/// The offset of an instruction is only known once the previous one is decoded, and a processor spends most of its time
/// waiting for that. So several parts of the code are scanned at once. All parts but the first may begin in the middle
/// of an instruction, but decoding soon falls into step. The scan of the previous part then continues into a part until
/// it reaches an offset where that part's scan was. `next` may thus be called for offsets where no instruction begins,
/// but it is called for all where one does.
pub(super) fn through(code: &[u8], next: impl Fn(usize) -> Option<usize>) -> Option<()> {
    let sizes = Sizes::get();
    let step = |at: usize| {
        let size = code[at..].first_chunk().map_or(0, |bytes| sizes.size(bytes, 0));
        if size > 0 { Some(at + size) } else { next(at) }
    };
    let part = code.len() / LANES;
    let starts: [usize; LANES] = std::array::from_fn(|lane| lane * part);
    let ends: [usize; LANES] =
        std::array::from_fn(|lane| starts.get(lane + 1).copied().unwrap_or(code.len()));
    let (mut lanes, mut begun) = (starts, [0_u128; LANES]);
    for lane in 0..LANES {
        while lanes[lane] < ends[lane].min(starts[lane] + 128) {
            begun[lane] |= 1 << (lanes[lane] - starts[lane]);
            lanes[lane] = step(lanes[lane])?;
        }
    }
    while (0..LANES).all(|lane| lanes[lane] < ends[lane]) {
        for at in &mut lanes {
            *at = step(*at)?;
        }
    }
    let mut at = 0;
    for lane in 0..LANES {
        while lanes[lane] < ends[lane] {
            lanes[lane] = step(lanes[lane])?;
        }
        while at < ends[lane] {
            let from_start = at - starts[lane];
            if from_start < 128 && begun[lane] >> from_start & 1 != 0 {
                at = lanes[lane];
                break;
            }
            at = step(at)?;
        }
    }
    Some(())
}

/// Decodes the instruction that some bytes begin with.
pub(super) fn step(bytes: &[u8], address: u64, wide: bool, state: &mut State) -> Option<Step> {
    let parts = parts(bytes, wide)?;
    let end = address.wrapping_add(parts.size.into());
    let target = || {
        let target = end.wrapping_add_signed(parts.constant(bytes));
        if wide { target } else { target & 0xffff_ffff }
    };
    let mut step = Step::new(parts.size.into());
    step.candidate = u16::from(is_candidate(parts));
    if parts.vector {
        return Some(step);
    }
    let fixed = parts.fixed(bytes, end, wide);
    step.flow = match (parts.map, parts.opcode) {
        (0, 0x70..=0x7f | 0xe0..=0xe3) | (1, 0x80..=0x8f) => {
            let loops = parts.map == 0 && parts.opcode >= 0xe0;
            Flow::Branch(target(), if loops { Test::Plain } else { state.test })
        }
        (0, 0xeb | 0xe9) => Flow::Jump(target()),
        (0, 0xe8) => Flow::Call(target()),
        (0, 0xc2 | 0xc3 | 0xca | 0xcb | 0xcf | 0xea) => Flow::Stop,
        // Zeros are not code.
        (0, 0x00) if bytes[0] == 0 && parts.modrm == 0 => Flow::Trap,
        (0, 0xcc | 0xf4) | (1, 0x0b | 0xb9 | 0xff) => Flow::Trap,
        (0, 0xff) if parts.reg() == 2 || parts.reg() == 3 => Flow::CallUnknown(fixed),
        (0, 0xff) if parts.reg() == 4 || parts.reg() == 5 => fixed.map_or(Flow::Stop, Flow::Slot),
        _ => Flow::Next,
    };
    step.asks = parts.map == 1 && (parts.opcode == 0xa2 || parts.opcode == 0x01 && parts.modrm == 0xd0);
    step.idle = parts.map == 0 && matches!(parts.opcode, 0x90 | 0xcc)
        || parts.map == 1 && matches!(parts.opcode, 0x1e | 0x1f);
    // The address of an object: `lea`, or a 32-bit constant in code at a fixed address.
    step.address = match (parts.map, parts.opcode) {
        (0, 0x8d) => fixed,
        (0, 0x8b) => fixed.inspect(|_| step.loads = true),
        (0, 0x68 | 0xb8..=0xbf | 0xc7) => u64::try_from(parts.constant(bytes)).ok(),
        _ => None,
    };
    if let Some(test) = tests(parts) {
        state.test = test;
    }
    if parts.map == 0 && matches!(parts.opcode, 0xe8 | 0xff) {
        state.test = Test::Value;
    }
    Some(step)
}

/// What an instruction compares, if it sets flags.
fn tests(parts: Parts) -> Option<Test> {
    // A value at a fixed address, or a single byte, is likely a stored flag.
    let memory = if parts.alone > 0 { Test::Flag } else { Test::Value };
    let byte = if parts.register() { Test::Value } else { Test::Flag };
    Some(match (parts.map, parts.opcode, parts.reg()) {
        (0, 0x80, 7) | (0, 0xf6, 0 | 1) => byte,
        (0, 0x84 | 0xa8, _) => Test::Flag,
        (0, 0x81 | 0x83, 7) | (0, 0xf7, 0 | 1) | (1, 0xba, 4) | (1, 0xa3, _) => memory,
        // Two values, neither of which is a constant.
        (0, 0x28..=0x2b | 0x38..=0x3b, _) | (1, 0x2e | 0x2f, _) => Test::Plain,
        (0, 0x00..=0x3f, _) if parts.opcode & 7 < 6 => Test::Value,
        (0, 0x80..=0x83 | 0x85 | 0xa9 | 0xc0 | 0xc1 | 0xd0..=0xd3 | 0xf6 | 0xf7 | 0xfe, _) => Test::Value,
        (0, 0xff, 0 | 1) => Test::Value,
        (1, 0xa3..=0xa5 | 0xab..=0xad | 0xaf..=0xb1 | 0xb3 | 0xb8 | 0xba..=0xbd | 0xc0 | 0xc1 | 0xc7, _) => {
            Test::Value
        }
        _ => return None,
    })
}

/// True if an instruction may need more than the baseline processor. This includes everything newer than SSE2.
fn is_candidate(parts: Parts) -> bool {
    let (reg, register) = (parts.reg(), parts.register());
    parts.vector
        || parts.may_need
            && match (parts.map, parts.opcode) {
                (2 | 3, _) => true,
                // popcnt and lzcnt. (On old processors tzcnt does what bsf does, and compilers rely on that.)
                (1, 0xb8 | 0xbd) => parts.rep,
                (1, 0xd0 | 0x7c | 0x7d) => true,
                (1, 0xf0) => parts.repne,
                (1, 0x12 | 0x16) => parts.rep || parts.repne,
                // rdrand, rdseed
                (1, 0xc7) => register && reg >= 6 && !parts.rep,
                // xbegin, xabort; xend, xtest
                (0, 0xc6 | 0xc7) => parts.modrm == 0xf8,
                (1, 0x01) => matches!(parts.modrm, 0xd5 | 0xd6),
                // SSE4A
                (1, 0x78 | 0x79) => parts.short || parts.repne,
                (1, 0x2b) => parts.rep || parts.repne,
                // fisttp
                (0, 0xdb | 0xdd | 0xdf) => reg == 1 && !register,
                _ => false,
            }
}

/// What an instruction needs, in iced's names, and its mnemonic.
pub(super) fn needs(bytes: &[u8], wide: bool) -> Option<(&'static [iced_x86::CpuidFeature], Mnemonic)> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let instruction = Decoder::new(if wide { 64 } else { 32 }, bytes, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then(|| (instruction.code().cpuid_features(), instruction.mnemonic()))
}

/// The shape of an instruction that is encoded with VEX, EVEX or XOP, in the form of [`SHAPES`]. The three maps of XOP
/// have constants of one, zero and four bytes.
fn vector(parts: Parts) -> Shape {
    let constant = match (parts.map, parts.opcode) {
        (1, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6) | (3 | 8, _) => Constant::Byte,
        (10, _) => Constant::Four,
        _ => Constant::None,
    };
    Shape { modrm: parts.map != 1 || parts.opcode != 0x77, registers: false, constant, may_need: true }
}

/// Splits an instruction into its parts; `None` if the bytes end before it does.
#[inline(always)]
#[allow(clippy::inline_always, reason = "all code of all files passes through it, in either width")]
fn parts(bytes: &[u8], wide: bool) -> Option<Parts> {
    let mut parts = Parts::default();
    let mut small_address = false;
    let mut at = 0;
    let kind = loop {
        let byte = *bytes.get(at)?;
        match BYTES[usize::from(byte)] {
            Byte::Prefix => match byte {
                0x66 => parts.short = true,
                0x67 => small_address = true,
                0xf2 => parts.repne = true,
                0xf3 => parts.rep = true,
                _ => {}
            },
            Byte::Rex if wide => {
                // It counts only as the last prefix.
                let next = BYTES[usize::from(*bytes.get(at + 1)?)];
                if !matches!(next, Byte::Prefix | Byte::Rex) {
                    parts.wide = byte & 8 != 0;
                    at += 1;
                    break next;
                }
            }
            kind => break kind,
        }
        at += 1;
        if at >= LONGEST {
            return None;
        }
    };
    parts.opcode = *bytes.get(at)?;
    at += 1;
    if matches!(kind, Byte::Lead) {
        at = lead(bytes, at, wide, &mut parts)?;
    }
    let shape = if parts.vector {
        vector(parts)
    } else {
        SHAPES[usize::from(wide)][usize::from(parts.map & 3)][usize::from(parts.opcode)]
    };
    parts.may_need = shape.may_need;
    if shape.modrm {
        parts.modrm = *bytes.get(at)?;
        at += 1;
        if parts.modrm >> 6 != 3 && !shape.registers {
            at = if !wide && small_address {
                at + small(parts.modrm)
            } else {
                memory(bytes, at, wide, &mut parts)?
            };
        }
    }
    parts.constant = match shape.constant {
        Constant::None => 0,
        Constant::Byte => 1,
        rare => size_of(rare, parts, wide, small_address),
    };
    let size = at + usize::from(parts.constant);
    parts.size = u8::try_from(size).ok()?;
    (size <= LONGEST && size <= bytes.len()).then_some(parts)
}

/// Reads the rest of an opcode that begins with a lead byte. Returns the offset of its end.
fn lead(bytes: &[u8], mut at: usize, wide: bool, parts: &mut Parts) -> Option<usize> {
    let next = bytes.get(at).copied();
    // In 32-bit code these bytes are still instructions of their own if their operand is in memory.
    let free = wide || next.is_some_and(|next| next >> 6 == 3);
    let (skip, map) = match parts.opcode {
        0x0f => {
            parts.map = 1;
            parts.opcode = next?;
            at += 1;
            if matches!(parts.opcode, 0x38 | 0x3a) {
                parts.map = if parts.opcode == 0x38 { 2 } else { 3 };
                parts.opcode = *bytes.get(at)?;
                at += 1;
            }
            return Some(at);
        }
        0xc5 if free => (1, 1),
        0xc4 if free => (2, next? & 31),
        0x62 if free => (3, next? & 7),
        0x8f if next? & 31 >= 8 => (2, next? & 31),
        _ => return Some(at),
    };
    parts.vector = true;
    parts.map = map;
    parts.opcode = *bytes.get(at + skip)?;
    Some(at + skip + 1)
}

/// The offset of the end of a memory operand's address that begins at `at`.
#[inline]
fn memory(bytes: &[u8], mut at: usize, wide: bool, parts: &mut Parts) -> Option<usize> {
    let (mode, rm) = (parts.modrm >> 6, parts.modrm & 7);
    let scaled = rm == 4;
    let (mut base, mut index) = (rm, 4);
    if scaled {
        let byte = *bytes.get(at)?;
        (base, index) = (byte & 7, byte >> 3 & 7);
        at += 1;
    }
    let size = match mode {
        0 if base == 5 => {
            if index == 4 {
                (parts.alone, parts.relative) = (u8::try_from(at).ok()?, wide && !scaled);
            }
            4
        }
        0 => 0,
        1 => 1,
        _ => 4,
    };
    Some(at + size)
}

/// The size of a 16-bit address.
fn small(modrm: u8) -> usize {
    match modrm >> 6 {
        0 if modrm & 7 == 6 => 2,
        0 => 0,
        number => usize::from(number),
    }
}

/// The size of a constant in bytes.
fn size_of(constant: Constant, parts: Parts, wide: bool, small_address: bool) -> u8 {
    let word = if parts.short && !parts.wide { 2 } else { 4 };
    match constant {
        Constant::None => 0,
        Constant::Byte => 1,
        Constant::Word => word,
        Constant::Jump => {
            if wide {
                4
            } else {
                word
            }
        }
        Constant::Two => 2,
        Constant::Three => 3,
        Constant::Four => 4,
        Constant::Far => word + 2,
        Constant::Address => match (wide, small_address) {
            (true, false) => 8,
            (false, true) => 2,
            _ => 4,
        },
        Constant::Quad => {
            if parts.wide {
                8
            } else {
                word
            }
        }
        Constant::TestByte => u8::from(parts.reg() < 2),
        Constant::TestWord => {
            if parts.reg() < 2 {
                word
            } else {
                0
            }
        }
        Constant::Extract => {
            if parts.short || parts.repne {
                2
            } else {
                0
            }
        }
    }
}

fn signed(bytes: &[u8]) -> i64 {
    let Some(last) = bytes.last() else { return 0 };
    let sign = if last & 0x80 == 0 { 0 } else { -1 };
    bytes.iter().rev().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size and flow agree with those of a complete decoder, whatever the bytes.
    #[test]
    fn sizes_are_those_of_a_whole_decoder() {
        let mut seed = 0x1234_5678_9abc_def0_u64;
        let (mut compared, mut passed_over, mut bytes) = (0, 0, [0_u8; 16]);
        for round in 0..400_000_u32 {
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 56) as u8;
            }
            // Force more of what is rare in random bytes.
            match round % 8 {
                0 => bytes[0] = 0x0f,
                1 => bytes[..2].copy_from_slice(&[0x66, 0x0f]),
                2 => bytes[..3].copy_from_slice(&[0xf3, 0x48, 0x0f]),
                3 => bytes[0] = 0xc4,
                4 => bytes[0] = 0x62,
                5 => bytes[0] = 0xc5,
                _ => {}
            }
            for wide in [true, false] {
                let bits = if wide { 64 } else { 32 };
                let mut decoder = Decoder::with_ip(bits, &bytes, 0x1000, DecoderOptions::NONE);
                let whole = decoder.decode();
                if whole.is_invalid() {
                    continue;
                }
                let step = step(&bytes, 0x1000, wide, &mut State::default());
                let step = step.unwrap_or_else(|| panic!("{bytes:02x?} {whole:?}"));
                assert_eq!(skim(&bytes, wide), Some((whole.len(), step.candidate != 0)), "{bytes:02x?}");
                assert_eq!(usize::from(step.size), whole.len(), "{wide} {bytes:02x?} {whole:?}");
                let size = if wide { Sizes::get().size(&bytes, 0) } else { 0 };
                assert!(size == 0 || (size, 0) == (whole.len(), step.candidate), "{bytes:02x?} {whole:?}");
                if wide && let Some(size) = quiet(&bytes) {
                    assert_eq!((size, step.candidate, step.asks), (whole.len(), 0, false), "{bytes:02x?}");
                    let leads = matches!(step.flow, Flow::Branch(..) | Flow::Jump(_) | Flow::Call(_));
                    assert!(!leads && !step.asks_kernel, "{bytes:02x?} {whole:?}");
                    passed_over += 1;
                }
                if let Flow::Branch(target, _) | Flow::Jump(target) | Flow::Call(target) = step.flow
                    && bytes[0] != 0x66
                {
                    assert_eq!(target, whole.near_branch_target(), "{bytes:02x?} {whole:?}");
                }
                compared += 1;
            }
        }
        assert!(compared > 200_000 && passed_over > 50_000, "{compared} {passed_over}");
    }

    /// Every instruction is visited, wherever the parts of the code begin.
    #[test]
    fn all_code_is_looked_through_whatever_its_parts_begin_with() {
        // A constant that contains an instruction, and a prefix that makes it part of the next but one.
        let (popcnt, hides) =
            ([0xf3, 0x0f, 0xb8, 0xc0], [0x48, 0xb8, 0xf3, 0x0f, 0xb8, 0xc0, 0xf3, 0x0f, 0xb8, 0xc0]);
        for count in 0..90 {
            let whole = hides.repeat(count);
            let of = |code: &[u8]| {
                let mut seen = Vec::new();
                let next = |at: usize| skim(&code[at..], true).map_or(at + 1, |(size, _)| at + size);
                let mut at = 0;
                while at < code.len() {
                    seen.push(at);
                    at = next(at);
                }
                let asked = std::cell::RefCell::new(Vec::new());
                let looked = through(code, |at| {
                    asked.borrow_mut().push(at);
                    Some(next(at))
                });
                assert_eq!(looked, Some(()));
                seen.retain(|at| {
                    code[*at..].first_chunk().is_none_or(|bytes| Sizes::get().size(bytes, 0) == 0)
                });
                for at in &seen {
                    assert!(asked.borrow().contains(at), "{at} of {}", code.len());
                }
                seen
            };
            of(&whole);
            for at in 0..count {
                let code = [&whole[..at * hides.len()], &popcnt[..], &whole[at * hides.len()..], &[0x90; 16]]
                    .concat();
                assert_eq!(of(&code).first(), Some(&(at * hides.len())), "{count}");
            }
        }
    }
}
