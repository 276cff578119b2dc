//! Decodes where 64-bit RISC-V code continues. The RISC-V Instruction Set Manual, volume I.

#![allow(
    clippy::match_same_arms,
    clippy::verbose_bit_mask,
    reason = "encodings read best as manuals have them"
)]

use super::step::{Flow, State, Step, Test, signed};

/// The size of an instruction, by its first byte.
pub(super) fn size(first: u8) -> usize {
    if first & 3 == 3 { 4 } else { 2 }
}

/// Decodes an instruction; those of two bytes are in the lower half of the word.
pub(super) fn step(word: u32, address: u64, state: &mut State) -> Step {
    if word & 3 != 3 {
        return compressed(word & 0xffff, address);
    }
    let mut step = Step::new(4);
    let (opcode, target) = (word & 0x7f, word >> 7 & 31);
    let (function, first, second) = (word >> 12 & 7, word >> 15 & 31, word >> 20 & 31);
    let begun = state.page.filter(|page| page.0 == first).map(|page| page.1);
    let near = signed(u64::from(word >> 20), 12);
    match opcode {
        // jal
        0x6f => {
            let offset = word >> 31 << 20
                | (word >> 12 & 0xff) << 12
                | (word >> 20 & 1) << 11
                | (word >> 21 & 0x3ff) << 1;
            let to = address.wrapping_add_signed(signed(offset.into(), 21));
            step.flow = if target == 0 { Flow::Jump(to) } else { Flow::Call(to) };
        }
        // jalr
        0x67 => {
            let to = begun.map(|page| page.wrapping_add_signed(near));
            let slot = state.slot.filter(|slot| slot.0 == first).map(|slot| slot.1);
            step.flow = match (target, slot, to) {
                // A linker's stub for a function of another file: the address comes from a slot.
                (6, Some(slot), _) => Flow::Slot(slot),
                (0, _, Some(to)) => Flow::Jump(to),
                (0, ..) => Flow::Stop,
                (_, _, Some(to)) => Flow::Call(to),
                _ => Flow::CallUnknown(slot),
            };
        }
        0x63 => {
            let offset =
                word >> 31 << 12 | (word >> 7 & 1) << 11 | (word >> 25 & 0x3f) << 5 | (word >> 8 & 15) << 1;
            let plain = function >= 4 && first != 0 && second != 0;
            let test = if plain { Test::Plain } else { Test::Value };
            step.flow = Flow::Branch(address.wrapping_add_signed(signed(offset.into(), 13)), test);
        }
        // auipc
        0x17 => {
            state.page = Some((target, address.wrapping_add_signed(signed(u64::from(word & !0xfff), 32))));
        }
        0x13 if function == 0 => step.address = begun.map(|page| page.wrapping_add_signed(near)),
        0x03 if function == 3 => {
            step.address = begun.map(|page| page.wrapping_add_signed(near));
            step.loads = true;
            state.slot = step.address.map(|address| (target, address)).or(state.slot);
        }
        _ if word == 0x0010_0073 || word == 0xc000_1073 => step.flow = Flow::Trap,
        _ => {}
    }
    step.idle = word == 0x0000_0013;
    step.asks_kernel = matches!(word, 0x0100_0513 | 0x1020_0893);
    step
}

fn compressed(half: u32, address: u64) -> Step {
    let mut step = Step::new(2);
    let bit = |from: u32, to: u32| (half >> from & 1) << to;
    match (half & 3, half >> 13) {
        _ if half == 0 => step.flow = Flow::Trap,
        (1, 5) => {
            let offset = bit(12, 11)
                | bit(11, 4)
                | (half >> 9 & 3) << 8
                | bit(8, 10)
                | bit(7, 6)
                | bit(6, 7)
                | (half >> 3 & 7) << 1
                | bit(2, 5);
            step.flow = Flow::Jump(address.wrapping_add_signed(signed(offset.into(), 12)));
        }
        (1, 6 | 7) => {
            let offset =
                bit(12, 8) | (half >> 10 & 3) << 3 | (half >> 5 & 3) << 6 | (half >> 3 & 3) << 1 | bit(2, 5);
            step.flow = Flow::Branch(address.wrapping_add_signed(signed(offset.into(), 9)), Test::Value);
        }
        (2, 4) if half >> 2 & 31 == 0 => {
            step.flow = match (half >> 12 & 1, half >> 7 & 31) {
                (0, _) => Flow::Stop,
                (_, 0) => Flow::Trap,
                _ => Flow::CallUnknown(None),
            };
        }
        _ => {}
    }
    step.idle = half == 1;
    step.asks_kernel = half == 0x4541;
    step
}
