//! Decodes where 64-bit PowerPC code of the second ABI continues. Power ISA, version 3.1, book I, chapter 2.

#![allow(
    clippy::match_same_arms,
    clippy::verbose_bit_mask,
    reason = "encodings read best as manuals have them"
)]

use super::step::{Flow, State, Step, Test, signed};

/// The size of an instruction, by its highest byte: prefixed ones, which exist since version 3.1, have eight bytes.
pub(super) fn size(highest: u8) -> usize {
    if highest >> 2 == 1 { 8 } else { 4 }
}

pub(super) fn step(word: u32, address: u64, state: &mut State) -> Step {
    let opcode = word >> 26;
    let mut step = Step::new(size((word >> 24) as u8));
    let (absolute, links) = (word & 2 != 0, word & 1 != 0);
    let relative =
        |offset: i64| if absolute { offset.cast_unsigned() } else { address.wrapping_add_signed(offset) };
    let always = word >> 21 & 0x14 == 0x14;
    step.flow = match opcode {
        18 => {
            let to = relative(signed((word & 0x03ff_fffc).into(), 26));
            if links { Flow::Call(to) } else { Flow::Jump(to) }
        }
        16 => {
            let to = relative(signed((word & 0xfffc).into(), 16));
            // bcl 20,31: only used to get the current address.
            match (links, always) {
                (true, true) => Flow::Next,
                (true, false) => Flow::Call(to),
                (false, true) => Flow::Jump(to),
                // Branches that count down are loops.
                (false, false) if word >> 21 & 4 == 0 => Flow::Branch(to, Test::Plain),
                (false, false) => Flow::Branch(to, state.test),
            }
        }
        // bclr, bcctr
        19 if matches!(word >> 1 & 0x3ff, 16 | 528) => match (links, always) {
            (true, _) => Flow::CallUnknown(None),
            (false, true) => Flow::Stop,
            (false, false) => Flow::Next,
        },
        // tw 31,0,0; and bytes that are not code.
        31 if word == 0x7fe0_0008 => Flow::Trap,
        0 => Flow::Trap,
        _ => Flow::Next,
    };
    step.idle = word == 0x6000_0000;
    step.asks_kernel = matches!(word, 0x3860_0010 | 0x3860_001a);
    match opcode {
        // cmp, cmpl of registers
        31 if matches!(word >> 1 & 0x3ff, 0 | 32) => state.test = Test::Plain,
        10 | 11 | 28 | 29 => state.test = Test::Value,
        31 if links => state.test = Test::Value,
        20..=23 | 30 if links => state.test = Test::Value,
        63 if matches!(word >> 1 & 0x3ff, 0 | 32) => state.test = Test::Plain,
        _ => {}
    }
    step
}
