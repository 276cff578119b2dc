//! What the opcodes of x86 say of the rest of an instruction. Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 2, appendix A. Tables, since all code of all files is looked through.

#![allow(clippy::match_same_arms, reason = "encodings read best as manuals have them")]

/// What an opcode says of the instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) modrm: bool,
    /// Its operands are registers, whatever the bits say: moves from and to control registers.
    pub(super) registers: bool,
    pub(super) constant: Constant,
    pub(super) may_need: bool,
}

/// The constants behind the operands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Constant {
    None,
    Byte,
    /// Four bytes, or two behind `66`.
    Word,
    /// Where a jump goes: in 64-bit code its size is always the same.
    Jump,
    Two,
    Three,
    Four,
    /// A segment and a word.
    Far,
    /// An address as wide as addresses are.
    Address,
    /// Eight bytes behind `REX.W`.
    Quad,
    /// A byte or word where the operation is the first or second of its group.
    TestByte,
    TestWord,
    /// Two bytes behind `66` or `f2`.
    Extract,
}

/// For 32- and 64-bit code, each map without VEX, and each opcode. A table, since all code is looked through.
pub(super) static SHAPES: [[[Shape; 256]; 4]; 2] = shapes();
/// What each byte is where an opcode may begin.
pub(super) static BYTES: [Byte; 256] = kinds();

/// What a byte is where an opcode may begin.
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

/// The constants of the opcodes of one byte.
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

/// For the opcodes of one byte and those behind `0f`, what most of 64-bit code is told by: how many bytes of constants
/// there are, [`MODRM`], [`LEADS`], [`RARE`], or [`OTHER`].
static PLAIN: [[u8; 256]; 2] = plains();
const MODRM: u8 = 0x80;
/// It may need more than the least processor, or its size is not so simple.
const OTHER: u8 = 0x40;
/// It leads to a place that stands in it, or asks what the processor has.
const LEADS: u8 = 0x20;
/// How many constants it has, other bytes say: [`rare`].
const RARE: u8 = 0x10;
/// The number of bytes.
const BYTES_OF: u8 = 0x0f;

/// The prefixes that most of code has at most one of, before REX.
static PREFIXES: [u8; 256] = prefixes();
/// A segment, which alters nothing that matters.
const SEGMENT: u8 = 1;
/// It may be a part of the opcode, or make constants shorter.
const SHORT: u8 = 2;

const fn prefixes() -> [u8; 256] {
    let mut prefixes = [0; 256];
    (prefixes[0x64], prefixes[0x65]) = (SEGMENT, SEGMENT);
    (prefixes[0x66], prefixes[0xf2], prefixes[0xf3]) = (SHORT, SHORT, SHORT);
    prefixes
}

/// By the byte behind the opcode: how many bytes it and the address of the operand have, and [`SCALED`].
static ADDRESSES: [u8; 256] = addresses();
/// Where there are more of them if the next byte says so.
const SCALED: u8 = 0x80;

const fn plains() -> [[u8; 256]; 2] {
    let mut plains = [[OTHER; 256]; 2];
    let mut map = 0;
    while map < 2 {
        let mut opcode = 0;
        while opcode < 256 {
            let shape = shape(true, map, opcode);
            let constant = match shape.constant {
                Constant::None => 0,
                Constant::Byte => 1,
                Constant::Word | Constant::Jump => 4,
                _ => OTHER,
            };
            let first = map == 0 && !matches!(BYTES[opcode], Byte::Opcode);
            let longer = map == 1 && matches!(opcode, 0x38 | 0x3a);
            let rare = map == 0 && matches!(opcode, 0xb8..=0xbf | 0xc6 | 0xc7 | 0xf6 | 0xf7);
            if rare {
                plains[map][opcode] = RARE | if shape.modrm { MODRM } else { 0 };
            } else if !shape.may_need && !shape.registers && !first && !longer && constant != OTHER {
                let leads = match map {
                    0 => matches!(opcode, 0x70..=0x7f | 0xe0..=0xe3 | 0xe8 | 0xe9 | 0xeb),
                    _ => matches!(opcode, 0x80..=0x8f | 0xa2),
                };
                plains[map][opcode] =
                    constant | if shape.modrm { MODRM } else { 0 } | if leads { LEADS } else { 0 };
            }
            opcode += 1;
        }
        map += 1;
    }
    plains
}

const fn addresses() -> [u8; 256] {
    let mut addresses = [1; 256];
    let mut modrm = 0;
    while modrm < 256 {
        addresses[modrm] = match (modrm >> 6, modrm & 7) {
            (3, _) => 1,
            (0, 4) => 2 | SCALED,
            (0, 5) => 5,
            (0, _) => 1,
            (1, 4) => 3,
            (1, _) => 2,
            (_, 4) => 6,
            _ => 5,
        };
        modrm += 1;
    }
    addresses
}

/// The size of an instruction of 64-bit code that needs nothing and has at most one prefix beside REX: most are like that.
#[inline]
pub(super) fn plain(bytes: &[u8; 16]) -> Option<usize> {
    size_unless(OTHER, bytes)
}

/// The same of one that leads nowhere and asks nothing, either.
#[inline]
pub(super) fn quiet(bytes: &[u8; 16]) -> Option<usize> {
    size_unless(OTHER | LEADS, bytes)
}

#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "all code of all files is looked through with it, for either question"
)]
fn size_unless(not: u8, bytes: &[u8; 16]) -> Option<usize> {
    let prefix = PREFIXES[usize::from(bytes[0])];
    let mut at = usize::from(prefix != 0);
    let rex = if bytes[at] >> 4 == 4 { bytes[at] } else { 0 };
    at += usize::from(rex != 0);
    let mut map = 0;
    if bytes[at] == 0x0f {
        (at, map) = (at + 1, 1);
    }
    let opcode = bytes[at];
    let shape = PLAIN[map][usize::from(opcode)];
    if shape & not != 0 {
        return None;
    }
    let mut constant = shape & BYTES_OF;
    if shape & RARE != 0 {
        constant = rare(opcode, bytes[at + 1], rex)?;
    }
    if constant >= 4 && prefix == SHORT {
        return None;
    }
    let mut size = at + 1 + usize::from(constant);
    if shape & MODRM != 0 {
        let address = ADDRESSES[usize::from(bytes[at + 1])];
        size += usize::from(address & !SCALED);
        if address & SCALED != 0 && bytes[at + 2] & 7 == 5 {
            size += 4;
        }
    }
    Some(size)
}

/// How many bytes of constants there are where more than the opcode says so; `None` where that is not all.
#[inline]
fn rare(opcode: u8, modrm: u8, rex: u8) -> Option<u8> {
    Some(match opcode {
        0xb8..=0xbf => {
            if rex & 8 != 0 {
                8
            } else {
                4
            }
        }
        // What aborts and begins transactions.
        0xc6 | 0xc7 if modrm == 0xf8 => return None,
        0xc6 => 1,
        0xc7 => 4,
        0xf6 => u8::from(modrm >> 3 & 7 < 2),
        _ if modrm >> 3 & 7 < 2 => 4,
        _ => 0,
    })
}
