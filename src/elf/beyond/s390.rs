//! Decodes where code of 64-bit IBM Z continues. z/Architecture Principles of Operation, chapters 7 and B.

#![allow(
    clippy::match_same_arms,
    clippy::verbose_bit_mask,
    reason = "encodings read best as manuals have them"
)]

use super::step::{Flow, State, Step, Test, signed};

/// The size of an instruction, by its first byte.
pub(super) fn size(first: u8) -> usize {
    match first >> 6 {
        0 => 2,
        3 => 6,
        _ => 4,
    }
}

/// Decodes an instruction, whose bytes are at the upper end of 48 bits.
pub(super) fn step(bytes: &[u8], address: u64, state: &mut State) -> Option<Step> {
    let first = *bytes.first()?;
    let size = size(first);
    let code = bytes.get(..size)?;
    let mut step = Step::new(size);
    let byte = |at: usize| u32::from(code.get(at).copied().unwrap_or(0));
    let near = || {
        let offset = signed((byte(2) << 8 | byte(3)).into(), 16) * 2;
        address.wrapping_add_signed(offset)
    };
    let far = || {
        let number = byte(2) << 24 | byte(3) << 16 | byte(4) << 8 | byte(5);
        address.wrapping_add_signed(signed(number.into(), 32) * 2)
    };
    let (mask, minor) = (byte(1) >> 4, byte(1) & 15);
    let conditional = |to: u64, state: &State| match mask {
        0 => Flow::Next,
        15 => Flow::Jump(to),
        _ => Flow::Branch(to, state.test),
    };
    step.flow = match (first, minor) {
        (0x00, _) => Flow::Trap,
        (0x07, 0) => Flow::Next,
        (0x07, _) if mask == 15 => match state.slot {
            Some((register, slot)) if register == minor => Flow::Slot(slot),
            _ => Flow::Stop,
        },
        (0x0d, 0) => Flow::Next,
        (0x0d, _) => Flow::CallUnknown(None),
        // Compilers trap with a jump into the jump itself.
        (0xa7, 4) if byte(2) == 0 && byte(3) == 1 => Flow::Trap,
        (0xa7, 4) => conditional(near(), state),
        (0xa7, 5) => Flow::Call(near()),
        (0xa7, 6 | 7) | (0x84 | 0x85, _) => Flow::Branch(near(), Test::Plain),
        (0xc0, 4) => conditional(far(), state),
        (0xc0, 5) => Flow::Call(far()),
        (0xcc, 6) => Flow::Branch(far(), Test::Plain),
        (0xec, _) => match byte(5) {
            0x64 | 0x65 | 0x76 | 0x77 | 0x44 | 0x45 => Flow::Branch(near(), Test::Plain),
            0x7c..=0x7f => Flow::Branch(near(), Test::Value),
            _ => Flow::Next,
        },
        _ => Flow::Next,
    };
    // stfl, stfle
    step.asks = first == 0xb2 && matches!(byte(1), 0xb0 | 0xb1);
    step.idle = matches!(code, [0x07, 0x07 | 0x00] | [0x47, 0, 0, 0] | [0xc0, 0x04, 0, 0, 0, 0]);
    step.asks_kernel = matches!(code, [0xa7, 0x28 | 0x29, 0, 16 | 26]);
    slots(code, far, &mut step, state);
    let two = match first {
        0x15 | 0x19 | 0x55 | 0x59 => true,
        0xb9 => matches!(byte(1), 0x20 | 0x21 | 0x30 | 0x31),
        0xb3 => matches!(byte(1), 0x09 | 0x19 | 0x49),
        0xe3 => matches!(byte(5), 0x20 | 0x21 | 0x30 | 0x31 | 0x55 | 0x59),
        _ => false,
    };
    if two {
        state.test = Test::Plain;
    } else if step.flow == Flow::Next && !matches!(first, 0x18 | 0x41 | 0x50 | 0x58 | 0xc0 | 0xe3 | 0xeb) {
        state.test = Test::Value;
    }
    Some(step)
}

/// `larl %r1,slot; lg %r1,0(%r1); br %r1`
fn slots(code: &[u8], far: impl Fn() -> u64, step: &mut Step, state: &mut State) {
    match code {
        [0xc0, second, ..] if second & 15 == 0 => {
            step.address = Some(far());
            state.page = Some((u32::from(second >> 4), far()));
        }
        [0xe3, second, third, 0, 0, 4] => {
            let (to, from) = (u32::from(second >> 4), u32::from(third >> 4));
            if let Some((register, slot)) = state.page
                && register == from
                && second & 15 == 0
                && third & 15 == 0
            {
                state.slot = Some((to, slot));
            }
        }
        _ => {}
    }
}
