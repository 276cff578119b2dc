//! What x86's opcodes imply for the rest of an instruction. Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 2, appendix A. These are tables, as all code of all files is examined.

#![allow(clippy::match_same_arms, reason = "encodings read best as manuals have them")]

use std::sync::LazyLock;

/// What an opcode implies for the rest of the instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) modrm: bool,
    /// Its operands are registers, whatever the bits are: moves from and to control registers.
    pub(super) registers: bool,
    pub(super) constant: Constant,
    pub(super) may_need: bool,
}

/// The constants after the operands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Constant {
    None,
    Byte,
    /// Four bytes, or two after `66`.
    Word,
    /// A jump's offset. In 64-bit code its size is always the same.
    Jump,
    Two,
    Three,
    Four,
    /// A segment and a word.
    Far,
    /// An address of the address size.
    Address,
    /// Eight bytes after `REX.W`.
    Quad,
    /// A byte or word if the operation is the first or second of its group.
    TestByte,
    TestWord,
    /// Two bytes after `66` or `f2`.
    Extract,
}

/// Shapes for 32- and 64-bit code, each map without VEX, and each opcode.
pub(super) static SHAPES: [[[Shape; 256]; 4]; 2] = shapes();
/// The role of each byte where an opcode may begin.
pub(super) static BYTES: [Byte; 256] = kinds();

/// The role of a byte where an opcode may begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Byte {
    Opcode,
    /// More of the opcode may follow.
    Lead,
    Prefix,
    /// A prefix in 64-bit code, and an opcode in 32-bit code.
    Rex,
}

const fn kinds() -> [Byte; 256] {
    let mut kinds = [Byte::Opcode; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte {
            0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 => Byte::Prefix,
            0x40..=0x4f => Byte::Rex,
            0x0f | 0xc4 | 0xc5 | 0x62 | 0x8f => Byte::Lead,
            _ => Byte::Opcode,
        };
        byte += 1;
    }
    kinds
}

const fn shapes() -> [[[Shape; 256]; 4]; 2] {
    let none = Shape { modrm: false, registers: false, constant: Constant::None, may_need: false };
    let mut shapes = [[[none; 256]; 4]; 2];
    let mut wide = 0;
    while wide < 2 {
        let mut map = 0;
        while map < 4 {
            let mut opcode = 0;
            while opcode < 256 {
                shapes[wide][map][opcode] = shape(wide == 1, map, opcode);
                opcode += 1;
            }
            map += 1;
        }
        wide += 1;
    }
    shapes
}

const fn shape(wide: bool, map: usize, opcode: usize) -> Shape {
    let constant = match map {
        0 => constant(opcode, wide),
        1 => match opcode {
            0x80..=0x8f => Constant::Jump,
            0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => Constant::Byte,
            0x78 => Constant::Extract,
            _ => Constant::None,
        },
        3 => Constant::Byte,
        _ => Constant::None,
    };
    Shape {
        modrm: has_modrm(map, opcode, wide),
        registers: map == 1 && matches!(opcode, 0x20..=0x23),
        constant,
        may_need: match map {
            0 => matches!(opcode, 0xc6 | 0xc7 | 0xdb | 0xdd | 0xdf),
            1 => matches!(
                opcode,
                0x01 | 0x12 | 0x16 | 0x2b | 0x78 | 0x79 | 0x7c | 0x7d | 0xb8 | 0xbd | 0xc7 | 0xd0 | 0xf0
            ),
            _ => true,
        },
    }
}

const fn has_modrm(map: usize, opcode: usize, wide: bool) -> bool {
    match map {
        0 => match opcode {
            0x00..=0x3f => opcode & 7 < 4,
            0x62 => !wide,
            0x63 | 0x69 | 0x6b | 0x80..=0x8f | 0xc0 | 0xc1 | 0xc4..=0xc7 => true,
            0xd0..=0xd3 | 0xd8..=0xdf | 0xf6 | 0xf7 | 0xfe | 0xff => true,
            _ => false,
        },
        1 => !matches!(
            opcode,
            0x04..=0x0c | 0x0e | 0x30..=0x37 | 0x77 | 0x80..=0x8f | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf
        ),
        _ => true,
    }
}

/// The constants of one-byte opcodes.
const fn constant(opcode: usize, wide: bool) -> Constant {
    match opcode {
        0x00..=0x3f if opcode & 7 == 4 => Constant::Byte,
        0x00..=0x3f if opcode & 7 == 5 => Constant::Word,
        0x68 | 0x69 | 0x81 | 0xa9 | 0xc7 => Constant::Word,
        0x6a | 0x6b | 0x70..=0x80 | 0x82 | 0x83 | 0xa8 | 0xb0..=0xb7 | 0xc0 | 0xc1 | 0xc6 => Constant::Byte,
        0xcd | 0xd4 | 0xd5 | 0xe0..=0xe7 | 0xeb => Constant::Byte,
        0x9a | 0xea if !wide => Constant::Far,
        0xa0..=0xa3 => Constant::Address,
        0xb8..=0xbf => Constant::Quad,
        0xc2 | 0xca => Constant::Two,
        0xc8 => Constant::Three,
        0xe8 | 0xe9 => Constant::Jump,
        0xf6 => Constant::TestByte,
        0xf7 => Constant::TestWord,
        _ => Constant::None,
    }
}

/// The prefixes that may come before REX. [`SHORT`] is set for one that may be part of the opcode or shorten constants.
/// Segment prefixes change nothing that matters.
static PREFIXES: [u8; 256] = prefixes();
const PREFIX: u8 = 1;
const SHORT: u8 = 0x20;

const fn prefixes() -> [u8; 256] {
    let mut prefixes = [0; 256];
    (prefixes[0x64], prefixes[0x65]) = (PREFIX, PREFIX);
    let short = PREFIX | SHORT;
    (prefixes[0x66], prefixes[0xf2], prefixes[0xf3]) = (short, short, short);
    prefixes
}

/// The sizes of most instructions of 64-bit code, looked up without a branch: by the map (one-byte opcodes, and those
/// after `0f`), the opcode and the byte after it.
pub(super) struct Sizes(Box<[u8; ENTRIES]>);

const ENTRIES: usize = 2 << 16;

/// The number of bytes from the opcode on. 0 if the size depends on more, or if it may need more than the baseline
/// processor.
const COUNT: u8 = 0x0f;
/// Four more if the following byte encodes an address without a base.
const SCALED: u8 = 0x10;
/// Four of them are a constant, which [`SHORT`] may shorten. It is the same bit.
const WORD: u8 = SHORT;
/// Four more after `REX.W`.
const QUAD: u8 = 0x40;
/// It branches to an address in the instruction, or checks the processor's features.
pub(super) const LEADS: u8 = 0x80;

static SIZES: LazyLock<Sizes> = LazyLock::new(Sizes::new);

impl Sizes {
    /// The table, which is shared.
    pub(super) fn get() -> &'static Self {
        &SIZES
    }

    fn new() -> Self {
        let mut sizes = vec![0; ENTRIES];
        for (at, sizes) in sizes.chunks_exact_mut(256).enumerate() {
            for (modrm, size) in (0..=u8::MAX).zip(sizes) {
                *size = Self::entry(at >> 8, at & 0xff, modrm).unwrap_or(0);
            }
        }
        Self(sizes.into_boxed_slice().try_into().expect("there are so many"))
    }

    fn entry(map: usize, opcode: usize, modrm: u8) -> Option<u8> {
        let shape = shape(true, map, opcode);
        let first = map == 0 && !matches!(BYTES[opcode], Byte::Opcode);
        let longer = map == 1 && matches!(opcode, 0x38 | 0x3a);
        // Of these, only the instructions that begin and abort transactions need an extension.
        let needs = shape.may_need && !(map == 0 && matches!(opcode, 0xc6 | 0xc7) && modrm != 0xf8);
        if first || longer || needs || shape.registers {
            return None;
        }
        let tests = modrm >> 3 & 7 < 2;
        let mut entry = 1 + match shape.constant {
            Constant::None => 0,
            Constant::Byte => 1,
            Constant::Word | Constant::Jump => 4 | WORD,
            Constant::Quad => 4 | WORD | QUAD,
            Constant::TestByte => u8::from(tests),
            Constant::TestWord if tests => 4 | WORD,
            Constant::TestWord => 0,
            _ => return None,
        };
        if shape.modrm {
            entry += match (modrm >> 6, modrm & 7) {
                (3, _) => 1,
                (0, 4) => 2 | SCALED,
                (0, 5) => 5,
                (0, _) => 1,
                (1, 4) => 3,
                (1, _) => 2,
                (_, 4) => 6,
                _ => 5,
            };
        }
        let leads = match map {
            0 => matches!(opcode, 0x70..=0x7f | 0xe0..=0xe3 | 0xe8 | 0xe9 | 0xeb),
            _ => matches!(opcode, 0x80..=0x8f | 0xa2),
        };
        Some(entry | if leads { LEADS } else { 0 })
    }

    /// The size of an instruction that needs no extension and has at most one prefix beside REX, as most do. 0 for all
    /// others, and for those that the caller does `not` want.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "all code of all files passes through it")]
    pub(super) fn size(&self, bytes: &[u8; 16], not: u8) -> usize {
        let prefix = PREFIXES[usize::from(bytes[0])];
        let mut at = usize::from(prefix & PREFIX);
        let byte = bytes[at];
        let is_rex = u8::from(byte >> 4 == 4);
        at += usize::from(is_rex);
        let map = usize::from(bytes[at] == 0x0f);
        at += map;
        let entry = self.0[map << 16 | usize::from(bytes[at]) << 8 | usize::from(bytes[at + 1])];
        let scaled = u8::from(entry & SCALED != 0) & u8::from(bytes[at + 2] & 7 == 5);
        let quad = u8::from(entry & QUAD != 0) & is_rex & byte >> 3;
        let size = at + usize::from((entry & COUNT) + 4 * (scaled + quad));
        let unknown = entry & prefix & SHORT | entry & not;
        if unknown == 0 && entry & COUNT > 0 { size } else { 0 }
    }
}
