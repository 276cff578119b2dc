//! Decodes Arm's instructions, A32 and T32, as far as is needed to follow execution and to recognise those that not
//! every Armv7 processor has (Arm Architecture Reference Manual for Armv7-A and Armv7-R, chapters A5 to A8).

/// The two instruction sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A32: words.
    Arm,
    /// T32: one or two halfwords.
    Thumb,
}

/// Where execution continues after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// At the next one.
    Next,
    /// At an unknown address, and not at the next instruction.
    Away,
    /// Only at this address.
    Jump(u32),
    /// At this address, or at the next instruction.
    Branch(u32),
    /// At this address, in this mode, and then at the next instruction.
    Call(u32, Mode),
    /// At an address in a register, and then at the next instruction.
    CallRegister,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Its size in bytes.
    pub(super) size: u32,
    pub(super) flow: Flow,
    /// The address and size of the data that it loads relative to itself.
    pub(super) literal: Option<(u32, u32)>,
    /// It is one of Advanced SIMD (NEON).
    pub(super) neon: bool,
    /// It is a floating point instruction that uses one of the registers d16 to d31, which `VFPv3-D16` lacks.
    pub(super) high: bool,
    /// It sets the first argument register to 16.
    pub(super) sixteen: bool,
    /// `IT`: how many of the following instructions are conditional.
    pub(super) conditional: u8,
}

impl Instruction {
    fn new(size: u32) -> Self {
        Self {
            size,
            flow: Flow::Next,
            literal: None,
            neon: false,
            high: false,
            sixteen: false,
            conditional: 0,
        }
    }
}

/// Sign-extends a number of `bits` bits.
fn signed(value: u32, bits: u32) -> u32 {
    let sign = 1 << (bits - 1);
    (value ^ sign).wrapping_sub(sign)
}

/// An address relative to another, above it if `up`.
fn relative(from: u32, up: bool, offset: u32) -> u32 {
    if up { from.wrapping_add(offset) } else { from.wrapping_sub(offset) }
}

/// Decodes the A32 instruction `word` at an address.
pub(super) fn a32(word: u32, address: u32) -> Instruction {
    let mut found = Instruction::new(4);
    let (condition, group) = (word >> 28, word >> 25 & 7);
    let pc = address.wrapping_add(8);
    if condition == 15 {
        found.neon = word >> 25 == 0x79 || word >> 24 == 0xf4 && word & 1 << 20 == 0;
        if group == 0b101 {
            let offset = signed((word & 0x00ff_ffff) << 2, 26) | (word >> 23 & 2);
            found.flow = Flow::Call(pc.wrapping_add(offset), Mode::Thumb);
        }
        return found;
    }
    let always = condition == 14;
    let away = if always { Flow::Away } else { Flow::Next };
    let loads = word & 1 << 20 != 0;
    let (to_pc, from_pc, up) = (word >> 12 & 15 == 15, word >> 16 & 15 == 15, word & 1 << 23 != 0);
    match group {
        0b101 => {
            let target = pc.wrapping_add(signed((word & 0x00ff_ffff) << 2, 26));
            found.flow = match (word & 1 << 24 != 0, always) {
                (true, _) => Flow::Call(target, Mode::Arm),
                (false, true) => Flow::Jump(target),
                (false, false) => Flow::Branch(target),
            };
        }
        0b000 | 0b001 => {
            let comparison = word >> 23 & 3 == 2;
            if word & 0x0fff_fff0 == 0x012f_ff30 {
                found.flow = Flow::CallRegister;
            } else if word & 0x0fff_fff0 == 0x012f_ff10 || to_pc && !comparison {
                found.flow = away;
            } else if word & 0x0e5f_00f0 == 0x004f_00d0 {
                found.literal = Some((relative(pc, up, word >> 4 & 0xf0 | word & 15), 8));
            }
            found.sixteen = matches!(word, 0xe3a0_0010 | 0xe300_0010);
        }
        0b010 | 0b011 if group == 0b010 || word & 1 << 4 == 0 => {
            if loads && to_pc && word & 1 << 22 == 0 {
                found.flow = away;
            }
            if group == 0b010 && loads && from_pc {
                found.literal = Some((relative(pc, up, word & 0xfff), 4));
            }
        }
        0b011 if word & 0xfff0_00f0 == 0xe7f0_00f0 => found.flow = Flow::Away,
        0b100 if loads && word & 1 << 15 != 0 => found.flow = away,
        0b110 | 0b111 => coprocessor(&mut found, word, pc),
        _ => {}
    }
    found
}

/// False only if [`a32`] sets none of `neon`, `high` and `sixteen` for this word.
pub(super) fn a32_may_tell(word: u32) -> bool {
    word >> 28 == 15 || word >> 26 & 3 == 3 || matches!(word, 0xe3a0_0010 | 0xe300_0010)
}

/// The same for [`t32`], by the first halfword.
pub(super) fn t32_may_tell(first: u16) -> bool {
    matches!(first >> 8, 0xec..=0xef | 0xf9 | 0xff) || matches!(first, 0x2010 | 0xf04f | 0xf240)
}

/// The size in bytes of a T32 instruction that certainly does not affect where execution continues, as most do not.
pub(super) fn t32_goes_on(first: u16, second: u16) -> Option<u32> {
    match first >> 11 {
        // Loads of data in the code, branches, and what makes other instructions conditional.
        0b01001 | 0b11010.. if first >> 11 < 0b11101 => None,
        0b01000 if first >> 8 & 7 >= 4 => None,
        0b10110 | 0b10111 => None,
        0..0b11101 => Some(2),
        // Branches have the highest bit of their second halfword set.
        0b11110 => (second >> 15 == 0).then_some(4),
        // Loads into the program counter are branches too.
        _ if matches!(first >> 8, 0xf8 | 0xf9) => (first & 15 != 15 && second >> 12 != 15).then_some(4),
        _ => matches!(first >> 8, 0xea | 0xeb | 0xef | 0xfa | 0xfb | 0xff).then_some(4),
    }
}

/// Decodes the T32 instruction that begins with `first`, and continues with `second` if it has two halfwords.
pub(super) fn t32(first: u16, second: u16, address: u32) -> Instruction {
    let pc = address.wrapping_add(4);
    if first >> 11 < 0b11101 { narrow(u32::from(first), pc) } else { wide(first, second, pc) }
}

fn narrow(half: u32, pc: u32) -> Instruction {
    let mut found = Instruction::new(2);
    match half >> 12 {
        0b0100 if half >> 11 == 0b01001 => {
            found.literal = Some(((pc & !3).wrapping_add((half & 0xff) << 2), 4));
        }
        0b0100 => match half & 0xff87 {
            0x4780 => found.flow = Flow::CallRegister,
            0x4700 | 0x4687 | 0x4487 => found.flow = Flow::Away,
            _ => {}
        },
        0b1101 if half >> 8 & 15 == 14 => found.flow = Flow::Away,
        0b1101 if half >> 8 & 15 < 14 => {
            found.flow = Flow::Branch(pc.wrapping_add(signed((half & 0xff) << 1, 9)));
        }
        0b1110 => found.flow = Flow::Jump(pc.wrapping_add(signed((half & 0x7ff) << 1, 12))),
        0b1011 if half & 0xf500 == 0xb100 => {
            found.flow = Flow::Branch(pc.wrapping_add(half >> 3 & 0x40 | half >> 2 & 0x3e));
        }
        0b1011 if half >> 8 == 0xbd => found.flow = Flow::Away,
        0b1011 if half >> 8 == 0xbf && half & 15 != 0 => {
            found.conditional = 4 - u8::try_from((half & 15).trailing_zeros()).unwrap_or(0);
        }
        _ => found.sixteen = half == 0x2010,
    }
    found
}

fn wide(first: u16, second: u16, pc: u32) -> Instruction {
    let mut found = Instruction::new(4);
    let (first, second) = (u32::from(first), u32::from(second));
    let word = first << 16 | second;
    let (aligned, up) = (pc & !3, first & 1 << 7 != 0);
    found.neon = first >> 8 & 0xef == 0xef || first >> 8 == 0xf9 && first & 1 << 4 == 0;
    found.sixteen = matches!(word, 0xf04f_0010 | 0xf240_0010);
    if first >> 11 == 0b11110 && second & 1 << 15 != 0 {
        let sign = first >> 10 & 1;
        let (j1, j2) = (second >> 13 & 1, second >> 11 & 1);
        let (i1, i2) = (1 ^ j1 ^ sign, 1 ^ j2 ^ sign);
        let far = sign << 24 | i1 << 23 | i2 << 22 | (first & 0x3ff) << 12 | (second & 0x7ff) << 1;
        let near = sign << 20 | j2 << 19 | j1 << 18 | (first & 0x3f) << 12 | (second & 0x7ff) << 1;
        found.flow = match second & 0x5000 {
            0x5000 => Flow::Call(pc.wrapping_add(signed(far, 25)), Mode::Thumb),
            0x4000 => Flow::Call(aligned.wrapping_add(signed(far, 25)), Mode::Arm),
            0x1000 => Flow::Jump(pc.wrapping_add(signed(far, 25))),
            _ if first & 0xfff0 == 0xf7f0 => Flow::Away,
            // Hints, barriers and the like.
            _ if first & 0x380 == 0x380 => Flow::Next,
            _ => Flow::Branch(pc.wrapping_add(signed(near, 21))),
        };
        return found;
    }
    let table = first & 0xfff0 == 0xe8d0 && second & 0xffe0 == 0xf000;
    let to_pc = second >> 12 == 15 && matches!(first & 0xfff0, 0xf8d0 | 0xf850);
    let pops = matches!(first & 0xffd0, 0xe890 | 0xe910) && second & 1 << 15 != 0;
    if table || to_pc || pops {
        found.flow = Flow::Away;
    }
    if first & 0xfe1f == 0xf81f {
        found.literal = Some((relative(aligned, up, second & 0xfff), 4));
    } else if first & 0xfe5f == 0xe85f && first & 0x120 != 0 {
        found.literal = Some((relative(aligned, up, (second & 0xff) << 2), 8));
    }
    if matches!(first >> 8, 0xec..=0xee) {
        coprocessor(&mut found, word, aligned);
    }
    found
}

/// Decodes the floating point instructions, which have the same encoding in both sets.
fn coprocessor(found: &mut Instruction, word: u32, pc: u32) {
    let bit = |number: u32| word & 1 << number != 0;
    let number = word >> 8 & 15;
    if !matches!(number, 10 | 11) {
        return;
    }
    // The number of a double's register has its highest bit in a separate field.
    let double = number == 11;
    if word >> 25 & 7 == 0b110 {
        let (literal, transfer) = (word >> 16 & 15 == 15, word >> 21 & 0x7f == 0b110_0010);
        if literal && word & 0x0f30_0000 == 0x0d10_0000 {
            found.literal = Some((relative(pc, bit(23), (word & 0xff) << 2), if double { 8 } else { 4 }));
        }
        let last = (u32::from(bit(22)) << 4 | word >> 12 & 15) + (word & 0xff) / 2;
        found.high = double
            && match (transfer, bit(24) && !bit(21)) {
                (true, _) => bit(5),
                (false, true) => bit(22),
                // Saving or restoring all sixteen registers does not count: only code that knows that they exist does
                // so.
                (false, false) => last > 16 && word & 0x0040_f0ff != 0x0040_0020,
            };
        return;
    }
    if word >> 24 & 15 != 0b1110 || !double {
        return;
    }
    if bit(4) {
        // Moves between a register and a part of a vector. Parts of 32 bits are used for floating point as well.
        found.neon = !bit(20) && bit(23) || bit(22) || bit(5);
        found.high = bit(7);
        return;
    }
    // One side of a conversion may be single precision.
    let (conversion, two) = (word >> 16 & 15, word & 0x00b0_0000 == 0x00b0_0000);
    found.high = match (two, conversion) {
        (false, _) => bit(22) || bit(7) || bit(5),
        (true, _) if !bit(6) => bit(22),
        (true, 0 | 1 | 4 | 5) => bit(22) || bit(5),
        _ => false,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encodings are those of GNU's assembler.
    #[test]
    fn instructions_are_told_apart() {
        // vadd.i32 q0, q1, q2; vld1.32 {d0-d1}, [r0]; vdup.32 q0, r0; vmov.16 d0[0], r0
        for word in [0xf222_0844, 0xf420_0a8f, 0xeea0_0b10, 0xee00_0b30] {
            assert!(a32(word, 0).neon, "{word:#x}");
        }
        // vmov.32 d0[0], r0; vadd.f64 d0, d1, d2; vldr d15, [r0]; pld [r0]; pli [r0]; vmov r0, r1, d0; vmrs
        for word in
            [0xee00_0b10, 0xee31_0b02, 0xed90_fb00, 0xf5d0_f000, 0xf4d0_f000, 0xec51_0b10, 0xeef1_fa10]
        {
            let found = a32(word, 0);
            assert!(!found.neon && !found.high && found.flow == Flow::Next, "{word:#x} {found:?}");
        }
        // vldr d16, [r0]; vadd.f64 d0, d17, d2; vmov d16, r0, r1; vpush {d8-d16}; vmov.f64 d16, #1.0; vcmp.f64 d0, d31
        for word in [0xedd0_0b00, 0xee31_0b82, 0xec41_0b30, 0xed2d_8b12, 0xeef7_0b00, 0xeeb4_0b6f] {
            let found = a32(word, 0);
            assert!(!found.neon && found.high, "{word:#x} {found:?}");
        }
        // vcvt.s32.f64 s1, d0; vpush {d8-d15}; vcvt.f32.f64 s1, d0
        // and vldmia r0, {d16-d31}
        for word in [0xeefd_0bc0, 0xed2d_8b10, 0xeef7_0bc0, 0xecd0_0b20] {
            assert!(!a32(word, 0).high, "{word:#x}");
        }
        let thumb = |word: u32| {
            let (first, second) = (u16::try_from(word >> 16).unwrap(), u16::try_from(word & 0xffff).unwrap());
            t32(first, second, 0x1000)
        };
        for word in [0xef22_0844, 0xff22_0844, 0xf920_0a8f, 0xeea0_0b10] {
            assert!(thumb(word).neon, "{word:#x}");
        }
        // ldrsb.w r0, [r0]; vldr d0, [r0]; mov.w; bl
        for word in [0xf990_0000, 0xed90_0b00, 0xf04f_0010, 0xf000_f800] {
            assert!(!thumb(word).neon, "{word:#x}");
        }
        assert!(thumb(0xedd0_0b00).high);
    }

    #[test]
    fn what_may_tell_nothing_tells_nothing() {
        let tells = |found: Instruction| found.neon || found.high || found.sixteen;
        let (mut word, mut goes_on) = (0x1234_5678_u32, 0);
        for _ in 0..1_000_000 {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [first, second] = [word >> 16, word & 0xffff].map(|half| u16::try_from(half).unwrap());
            assert!(a32_may_tell(word) || !tells(a32(word, 0)), "{word:#x}");
            let found = t32(first, second, 0x1000);
            assert!(t32_may_tell(first) || !tells(found), "{word:#x}");
            if let Some(size) = t32_goes_on(first, second) {
                assert_eq!((found.size, found.flow, found.literal), (size, Flow::Next, None), "{word:#x}");
                assert_eq!(found.conditional, 0, "{word:#x}");
                goes_on += 1;
            }
        }
        for word in [0xe3a0_0010, 0xe300_0010, 0xf04f_0010, 0xf240_0010] {
            assert!(a32_may_tell(word) || t32_may_tell(u16::try_from(word >> 16).unwrap()), "{word:#x}");
        }
        assert!(t32_may_tell(0x2010) && goes_on > 500_000, "{goes_on}");
    }

    #[test]
    fn execution_is_followed() {
        let arm = |word| a32(word, 0x1000).flow;
        assert_eq!(arm(0xea00_0000), Flow::Jump(0x1008));
        assert_eq!(arm(0x0aff_fffe), Flow::Branch(0x1000));
        assert_eq!(arm(0xeb00_0001), Flow::Call(0x100c, Mode::Arm));
        assert_eq!(arm(0xfb00_0000), Flow::Call(0x100a, Mode::Thumb));
        assert_eq!(arm(0xe12f_ff33), Flow::CallRegister);
        // bx lr; pop {pc}; mov pc, lr; udf; bxeq lr
        for word in [0xe12f_ff1e, 0xe49d_f004, 0xe1a0_f00e, 0xe7f0_00f0, 0xe8bd_8010] {
            assert_eq!(arm(word), Flow::Away, "{word:#x}");
        }
        assert_eq!(arm(0x012f_ff1e), Flow::Next);
        // ldr r0, [pc, #12]; vldr d0, [pc, #-8]
        assert_eq!(a32(0xe59f_000c, 0x1000).literal, Some((0x1014, 4)));
        assert_eq!(a32(0xed1f_0b02, 0x1000).literal, Some((0x1000, 8)));
        assert!(a32(0xe3a0_0010, 0).sixteen && !a32(0xe3a0_0011, 0).sixteen);
        let thumb = |first, second| t32(first, second, 0x1002);
        assert_eq!(thumb(0xe7fe, 0).flow, Flow::Jump(0x1002));
        assert_eq!(thumb(0xd0fe, 0).flow, Flow::Branch(0x1002));
        assert_eq!(thumb(0xb108, 0).flow, Flow::Branch(0x1008));
        assert_eq!(thumb(0xf000, 0xf801).flow, Flow::Call(0x1008, Mode::Thumb));
        assert_eq!(thumb(0xf000, 0xe800).flow, Flow::Call(0x1004, Mode::Arm));
        assert_eq!(thumb(0xf7ff, 0xbffe).flow, Flow::Jump(0x1002));
        assert_eq!(thumb(0xf43f, 0xaffe).flow, Flow::Branch(0x1002));
        // bx lr; pop {r4, pc}; pop.w {r4-r8, pc}; udf; tbb; ldr.w pc, [r0]
        for (first, second) in
            [(0x4770, 0), (0xbd10, 0), (0xe8bd, 0x81f0), (0xde00, 0), (0xe8df, 0xf000), (0xf8d0, 0xf000)]
        {
            assert_eq!(thumb(first, second).flow, Flow::Away, "{first:#x}");
        }
        // dmb; nop.w
        for (first, second) in [(0xf3bf, 0x8f5b), (0xf3af, 0x8000)] {
            assert_eq!(thumb(first, second).flow, Flow::Next, "{first:#x}");
        }
        assert_eq!(thumb(0x4801, 0).literal, Some((0x1008, 4)));
        assert_eq!(thumb(0xf8df, 0x0004).literal, Some((0x1008, 4)));
        assert_eq!((thumb(0xbf08, 0).conditional, thumb(0xbf04, 0).conditional), (1, 2));
        assert_eq!((thumb(0xbf01, 0).conditional, thumb(0xbf00, 0).conditional), (4, 0));
    }
}
