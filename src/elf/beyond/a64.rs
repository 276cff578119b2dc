//! Decodes where A64 code continues. Arm Architecture Reference Manual for A-profile, "A64 Instruction Set Encoding".

#![allow(
    clippy::match_same_arms,
    clippy::verbose_bit_mask,
    reason = "encodings read best as manuals have them"
)]

use super::step::{Flow, State, Step, Test, signed};

pub(super) fn step(word: u32, address: u64, state: &mut State) -> Step {
    let mut step = Step::new(4);
    let relative = |bits: u32, shift: u32| {
        address.wrapping_add_signed(signed(u64::from(word >> shift & ((1 << bits) - 1)), bits) << 2)
    };
    step.flow = match word {
        _ if word >> 26 == 0b00_0101 => Flow::Jump(relative(26, 0)),
        _ if word >> 26 == 0b10_0101 => Flow::Call(relative(26, 0)),
        _ if word >> 24 == 0x54 => Flow::Branch(relative(19, 5), state.test),
        // cbz, cbnz; tbz, tbnz. Out-of-line atomic operations have their flag in register 16, which holds no other
        // values.
        _ if word >> 25 & 0x3f == 0b01_1010 => {
            Flow::Branch(relative(19, 5), if word & 31 == 16 { Test::Flag } else { Test::Value })
        }
        _ if word >> 25 & 0x3f == 0b01_1011 => Flow::Branch(relative(14, 5), Test::Value),
        _ if word & 0xffff_fc1f == 0xd61f_0000 => match state.slot {
            Some((register, slot)) if register == word >> 5 & 31 => Flow::Slot(slot),
            _ => Flow::Stop,
        },
        _ if word & 0xffff_fc1f == 0xd63f_0000 || word & 0xfeff_f800 == 0xd63f_0800 => {
            Flow::CallUnknown(state.slot.filter(|slot| slot.0 == word >> 5 & 31).map(|slot| slot.1))
        }
        _ if word & 0xffff_fc1f == 0xd65f_0000 || word & 0xfe9f_f800 == 0xd61f_0800 => Flow::Stop,
        // brk, hlt, and bytes that are not code.
        _ if word >> 16 == 0 || word & 0xffe0_001f == 0xd420_0000 || word & 0xffe0_001f == 0xd440_0000 => {
            Flow::Trap
        }
        _ => Flow::Next,
    };
    // Reads a register that identifies the processor.
    step.asks = word & 0xffff_f000 == 0xd538_0000;
    step.idle = word == 0xd503_201f;
    step.asks_kernel = asks_kernel(word);
    pages(word, address, &mut step, state);
    if let Some(test) = tests(word) {
        state.test = test;
    }
    step
}

/// True if an instruction does not branch, checks nothing and sets nothing that a later branch may use.
#[inline]
pub(super) fn is_quiet(word: u32) -> bool {
    // Branches and system instructions; adrp; a load of 64 bits.
    word >> 26 & 7 != 0b101
        && word & 0x9f00_0000 != 0x9000_0000
        && word & 0xffc0_0000 != 0xf940_0000
        && !asks_kernel(word)
}

/// True if an instruction sets a function's first argument to a number by which the kernel is asked about the
/// processor: 16, 26 or 29.
fn asks_kernel(word: u32) -> bool {
    matches!(word & 0x7fff_ffff, 0x5280_0200 | 0x5280_0340 | 0x5280_03a0 | 0x321c_03e0 | 0x327c_03e0)
}

/// Tracks addresses, which are made in two steps. The first one sets the page.
fn pages(word: u32, address: u64, step: &mut Step, state: &mut State) {
    let (target, from) = (word & 31, word >> 5 & 31);
    let offset = u64::from(word >> 10 & 0xfff);
    if word & 0x9f00_0000 == 0x9000_0000 {
        let pages = signed(u64::from(word >> 5 & 0x7_ffff) << 2 | u64::from(word >> 29 & 3), 21);
        state.page = Some((target, (address & !0xfff).wrapping_add_signed(pages << 12)));
        return;
    }
    if word & 0x9f00_0000 == 0x1000_0000 {
        let offset = signed(u64::from(word >> 5 & 0x7_ffff) << 2 | u64::from(word >> 29 & 3), 21);
        step.address = Some(address.wrapping_add_signed(offset));
        return;
    }
    let Some((register, page)) = state.page else { return };
    if register != from {
        return;
    }
    // add, ldr
    if word & 0xffc0_0000 == 0x9100_0000 {
        step.address = Some(page.wrapping_add(offset));
    } else if word & 0xffc0_0000 == 0xf940_0000 {
        let slot = page.wrapping_add(offset * 8);
        step.address = Some(slot);
        step.loads = true;
        state.slot = Some((target, slot));
    }
}

/// True if an instruction extracts or tests bit 8 of a value: `HWCAP_ATOMICS`.
pub(super) fn takes_lse(word: u32) -> bool {
    // ubfx; lsr
    word & 0x7fbf_fc00 == 0x5308_2000
        || matches!(word & 0xffff_fc00, 0xd348_fc00 | 0x5308_7c00)
        // and, tst with 0x100, in 32 and 64 bits; tbz, tbnz
        || matches!(word & 0x9fff_fc00, 0x1218_0000 | 0x9278_0000)
        || word & 0x7ef8_0000 == 0x3640_0000
}

/// True for an instruction that sets flags.
pub(super) fn sets_flags(word: u32) -> bool {
    tests(word).is_some()
}

/// What an instruction compares, if it sets flags.
fn tests(word: u32) -> Option<Test> {
    match word >> 24 & 0x7f {
        // subs with two registers
        0x6b => Some(Test::Plain),
        // subs, adds, ands with a constant; ands, adds with registers; ccmp and others with a carry
        0x71 | 0x31 | 0x72 | 0x6a | 0x2b | 0x3a | 0x7a => Some(Test::Value),
        // fcmp
        0x1e if word & 0xff20_fc07 == 0x1e20_2000 => Some(Test::Plain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quiet_leads_nowhere_and_leaves_nothing() {
        let (mut word, mut quiet) = (0x1234_5678_u32, 0);
        for _ in 0..1_000_000 {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if !is_quiet(word) {
                continue;
            }
            quiet += 1;
            let before = State { test: Test::Plain, page: Some((word >> 5 & 31, 0x1000)), slot: None };
            let mut state = before;
            let step = step(word, 0x1000, &mut state);
            assert!(matches!(step.flow, Flow::Next | Flow::Trap), "{word:#x} {step:?}");
            assert!(!step.asks && !step.asks_kernel, "{word:#x} {step:?}");
            assert_eq!((state.page, state.slot), (before.page, before.slot), "{word:#x}");
        }
        assert!(quiet > 500_000, "{quiet}");
        for asks in [0xd538_0400, 0x5280_0200, 0xd280_0340] {
            assert!(!is_quiet(asks), "{asks:#x}");
        }
    }
}
