//! x86 code: where instructions end, where execution goes on, and which instructions are worth a closer look.
//!
//! Only lengths and flow are told here, since all code of all files is looked through. What an instruction needs of a
//! processor is then looked up for the few that may need something ([`needs`]).
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A.

#![allow(
    clippy::match_same_arms,
    clippy::verbose_bit_mask,
    reason = "encodings read best as manuals have them"
)]

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::step::{Flow, State, Step, Test};

/// A longer instruction faults, in bytes.
const LONGEST: usize = 15;

/// The parts of an instruction that matter here.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    size: usize,
    /// 0 for opcodes of one byte, 1 for those behind `0f`, 2 behind `0f 38`, 3 behind `0f 3a`.
    map: u8,
    opcode: u8,
    modrm: u8,
    has_modrm: bool,
    /// It is encoded with VEX, EVEX or XOP.
    vector: bool,
    /// The prefixes `66`, `f2` and `f3`.
    short: bool,
    repne: bool,
    rep: bool,
    /// `REX.W`.
    wide: bool,
    /// An operand is at an address that stands in the instruction.
    fixed: Option<u64>,
    /// The constant at its end, with its sign.
    constant: i64,
}

impl Parts {
    fn reg(self) -> u8 {
        self.modrm >> 3 & 7
    }

    /// Its operand is a register and not in memory.
    fn register(self) -> bool {
        self.modrm >> 6 == 3
    }
}

/// The instruction that some bytes begin with.
pub(super) fn step(bytes: &[u8], address: u64, wide: bool, state: &mut State) -> Option<Step> {
    let parts = parts(bytes, address, wide)?;
    let end = address.wrapping_add(parts.size as u64);
    let target = || {
        let target = end.wrapping_add_signed(parts.constant);
        if wide { target } else { target & 0xffff_ffff }
    };
    let mut step = Step::new(parts.size);
    step.candidate = u16::from(is_candidate(parts));
    if parts.vector {
        return Some(step);
    }
    step.flow = match (parts.map, parts.opcode) {
        (0, 0x70..=0x7f | 0xe0..=0xe3) | (1, 0x80..=0x8f) => {
            let loops = parts.map == 0 && parts.opcode >= 0xe0;
            Flow::Branch(target(), if loops { Test::Plain } else { state.test })
        }
        (0, 0xeb | 0xe9) => Flow::Jump(target()),
        (0, 0xe8) => Flow::Call(target()),
        (0, 0xc2 | 0xc3 | 0xca | 0xcb | 0xcf | 0xea) => Flow::Stop,
        // Zeros are no code.
        (0, 0x00) if bytes[0] == 0 && parts.modrm == 0 => Flow::Trap,
        (0, 0xcc | 0xf4) | (1, 0x0b | 0xb9 | 0xff) => Flow::Trap,
        (0, 0xff) if parts.reg() == 2 || parts.reg() == 3 => Flow::CallUnknown(parts.fixed),
        (0, 0xff) if parts.reg() == 4 || parts.reg() == 5 => parts.fixed.map_or(Flow::Stop, Flow::Slot),
        _ => Flow::Next,
    };
    step.asks = parts.map == 1 && (parts.opcode == 0xa2 || parts.opcode == 0x01 && parts.modrm == 0xd0);
    step.idle = parts.map == 0 && matches!(parts.opcode, 0x90 | 0xcc)
        || parts.map == 1 && matches!(parts.opcode, 0x1e | 0x1f);
    // The address of something: `lea`, or a constant of 32 bits in code at a fixed address.
    step.address = match (parts.map, parts.opcode) {
        (0, 0x8d) => parts.fixed,
        (0, 0x8b) => parts.fixed.inspect(|_| step.loads = true),
        (0, 0x68 | 0xb8..=0xbf | 0xc7) => u64::try_from(parts.constant).ok(),
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

/// What an instruction that sets flags compares, if it is one.
fn tests(parts: Parts) -> Option<Test> {
    // What stands at a fixed address, or is a single byte, is a flag of somebody's.
    let memory = if parts.fixed.is_some() { Test::Flag } else { Test::Value };
    let byte = if parts.register() { Test::Value } else { Test::Flag };
    Some(match (parts.map, parts.opcode, parts.reg()) {
        (0, 0x80, 7) | (0, 0xf6, 0 | 1) => byte,
        (0, 0x84 | 0xa8, _) => Test::Flag,
        (0, 0x81 | 0x83, 7) | (0, 0xf7, 0 | 1) | (1, 0xba, 4) | (1, 0xa3, _) => memory,
        // Two values, of which none is a constant.
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

/// True if an instruction may need more than the least processor: all that is newer than SSE2 is among these.
fn is_candidate(parts: Parts) -> bool {
    let (reg, register) = (parts.reg(), parts.register());
    parts.vector
        || match (parts.map, parts.opcode) {
            (2 | 3, _) => true,
            // popcnt and lzcnt. (tzcnt does on old ones what bsf does, and compilers use it so.)
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

/// What an instruction needs by the names of iced, and its own name.
pub(super) fn needs(bytes: &[u8], wide: bool) -> Option<(&'static [iced_x86::CpuidFeature], Mnemonic)> {
    let bytes = &bytes[..bytes.len().min(LONGEST)];
    let instruction = Decoder::new(if wide { 64 } else { 32 }, bytes, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then(|| (instruction.code().cpuid_features(), instruction.mnemonic()))
}

/// Takes an instruction apart; `None` where the bytes end before it does.
fn parts(bytes: &[u8], address: u64, wide: bool) -> Option<Parts> {
    let mut parts = Parts::default();
    let mut small_address = false;
    let mut at = 0;
    loop {
        let byte = *bytes.get(at)?;
        // REX counts where it is the last prefix only.
        parts.wide = wide && byte >> 4 == 4 && byte & 8 != 0;
        match byte {
            0x66 => parts.short = true,
            0x67 => small_address = true,
            0xf2 => parts.repne = true,
            0xf3 => parts.rep = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 => {}
            0x40..=0x4f if wide => {
                if bytes.get(at + 1).is_none_or(|next| !is_prefix(*next)) {
                    at += 1;
                    break;
                }
            }
            _ => break,
        }
        at += 1;
        if at >= LONGEST {
            return None;
        }
    }
    parts.opcode = *bytes.get(at)?;
    at += 1;
    let next = bytes.get(at).copied();
    // What was an instruction of its own in 32-bit code is one there still, where its operand is in memory.
    let free = wide || next.is_some_and(|next| next >> 6 == 3);
    let skip = match parts.opcode {
        0x0f => {
            parts.map = 1;
            parts.opcode = next?;
            at += 1;
            if matches!(parts.opcode, 0x38 | 0x3a) {
                parts.map = if parts.opcode == 0x38 { 2 } else { 3 };
                parts.opcode = *bytes.get(at)?;
                at += 1;
            }
            None
        }
        0xc5 if free => Some((1, 1)),
        0xc4 if free => Some((2, next? & 31)),
        0x62 if free => Some((3, next? & 7)),
        0x8f if next? & 31 >= 8 => Some((2, next? & 31)),
        _ => None,
    };
    if let Some((skip, map)) = skip {
        parts.vector = true;
        at += skip;
        parts.opcode = *bytes.get(at)?;
        at += 1;
        // The maps of XOP have constants of one byte, none and four bytes.
        parts.map = map;
    }
    (parts.has_modrm, at) = (has_modrm(parts, wide), at);
    let mut displacement = None;
    if parts.has_modrm {
        parts.modrm = *bytes.get(at)?;
        at += 1;
        // Moves from and to control registers have no operand in memory, whatever their bits.
        let control = parts.map == 1 && !parts.vector && matches!(parts.opcode, 0x20..=0x23);
        let modrm = if control { 0xc0 } else { parts.modrm };
        let (size, relative) = memory(&bytes[at..], modrm, wide, small_address)?;
        at += size.0;
        displacement = Some((at, size.1, relative));
        at += size.1;
    }
    let constant = constant(parts, wide, small_address);
    parts.size = at + constant;
    if parts.size > LONGEST {
        return None;
    }
    parts.constant = signed(bytes.get(at..parts.size)?);
    if let Some((at, 4, Some(relative))) = displacement {
        let offset = signed(bytes.get(at..at + 4)?);
        let from = if relative { address.wrapping_add(parts.size as u64) } else { 0 };
        let target = from.wrapping_add_signed(offset);
        parts.fixed = Some(if wide { target } else { target & 0xffff_ffff });
    }
    Some(parts)
}

/// True for what may stand before an opcode of 64-bit code.
fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

fn signed(bytes: &[u8]) -> i64 {
    let Some(last) = bytes.last() else { return 0 };
    let sign = if last & 0x80 == 0 { 0 } else { -1 };
    bytes.iter().rev().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

fn has_modrm(parts: Parts, wide: bool) -> bool {
    let opcode = parts.opcode;
    match parts.map {
        0 => match opcode {
            0x00..=0x3f => opcode & 7 < 4,
            0x62 => !wide,
            0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc4..=0xc7 => true,
            0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff => true,
            _ => false,
        },
        1 if parts.vector => opcode != 0x77,
        1 => !matches!(
            opcode,
            0x04..=0x0c | 0x0e | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf
        ),
        _ => true,
    }
}

/// The sizes of the byte that scales an index and of the displacement; whether the address stands there alone
/// (`Some`), and if so whether it is relative.
#[allow(clippy::type_complexity, reason = "used in one place")]
fn memory(rest: &[u8], modrm: u8, wide: bool, small: bool) -> Option<((usize, usize), Option<bool>)> {
    let (mode, rm) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return Some(((0, 0), None));
    }
    if !wide && small {
        let size = match mode {
            0 if rm == 6 => 2,
            0 => 0,
            number => usize::from(number),
        };
        return Some(((0, size), None));
    }
    let scaled = rm == 4;
    let (base, index) = if scaled { (rest.first()? & 7, rest.first()? >> 3 & 7) } else { (rm, 4) };
    let size = match mode {
        0 if base == 5 => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    let alone = mode == 0 && base == 5 && index == 4;
    Some(((usize::from(scaled), size), alone.then_some(wide && !scaled)))
}

/// The size of the constants behind the operands.
fn constant(parts: Parts, wide: bool, small_address: bool) -> usize {
    let word = if parts.short && !parts.wide { 2 } else { 4 };
    // In 64-bit code the size of a jump is always the same.
    let jump = if wide { 4 } else { word };
    let (opcode, reg) = (parts.opcode, parts.reg());
    match parts.map {
        0 => match opcode {
            0x00..=0x3f if opcode & 7 == 4 => 1,
            0x00..=0x3f if opcode & 7 == 5 => word,
            0x68 | 0x69 | 0x81 | 0xa9 | 0xc7 => word,
            0x6a | 0x6b | 0x70..=0x80 | 0x82 | 0x83 | 0xa8 | 0xb0..=0xb7 | 0xc0 | 0xc1 | 0xc6 => 1,
            0xcd | 0xd4 | 0xd5 | 0xe0..=0xe7 | 0xeb => 1,
            0x9a | 0xea if !wide => word + 2,
            0xa0..=0xa3 if wide && !small_address => 8,
            0xa0..=0xa3 if !wide && small_address => 2,
            0xa0..=0xa3 => 4,
            0xb8..=0xbf if parts.wide => 8,
            0xb8..=0xbf => word,
            0xc2 | 0xca => 2,
            0xc8 => 3,
            0xe8 | 0xe9 => jump,
            0xf6 if reg < 2 => 1,
            0xf7 if reg < 2 => word,
            _ => 0,
        },
        1 if parts.vector => usize::from(matches!(opcode, 0x70..=0x73 | 0xc2 | 0xc4..=0xc6)),
        1 => match opcode {
            0x80..=0x8f => jump,
            0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => 1,
            0x78 if parts.short || parts.repne => 2,
            _ => 0,
        },
        3 | 8 => 1,
        10 => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and flow are those of a decoder that tells everything, whatever the bytes.
    #[test]
    fn sizes_are_those_of_a_whole_decoder() {
        let mut seed = 0x1234_5678_9abc_def0_u64;
        let (mut compared, mut bytes) = (0, [0_u8; 16]);
        for round in 0..400_000_u32 {
            for byte in &mut bytes {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (seed >> 56) as u8;
            }
            // More of what is rare by chance.
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
                assert_eq!(usize::from(step.size), whole.len(), "{wide} {bytes:02x?} {whole:?}");
                if let Flow::Branch(target, _) | Flow::Jump(target) | Flow::Call(target) = step.flow
                    && bytes[0] != 0x66
                {
                    assert_eq!(target, whole.near_branch_target(), "{bytes:02x?} {whole:?}");
                }
                compared += 1;
            }
        }
        assert!(compared > 200_000, "{compared}");
    }
}
