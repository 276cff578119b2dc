//! Recognises loops over a counter: a branch backwards on a register that was just counted up or down. No check of a
//! processor looks like this, so the code after such a loop certainly runs.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::elf;

use super::isa::Machine;

/// True if a block that ends with a branch backwards on a value has counted that value.
pub(super) fn counts(machine: &Machine, block: &[u8]) -> bool {
    match machine.number {
        number if number == elf::EM_X86_64.0 => x86(block, 64),
        number if number == elf::EM_386.0 => x86(block, 32),
        number if number == elf::EM_AARCH64.0 => a64(block),
        _ => false,
    }
}

fn x86(block: &[u8], bits: u32) -> bool {
    let mut decoder = Decoder::new(bits, block, DecoderOptions::NONE);
    let (mut counted, mut compares) = (Vec::new(), false);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_jcc_short_or_near() {
            return compares;
        }
        let register =
            (instruction.op0_kind() == OpKind::Register).then(|| instruction.op0_register().full_register());
        let steps = match instruction.mnemonic() {
            Mnemonic::Inc | Mnemonic::Dec => true,
            Mnemonic::Add | Mnemonic::Sub => is_constant(instruction.op1_kind()),
            Mnemonic::Lea => {
                let base = instruction.memory_base();
                base != Register::None
                    && Some(base.full_register()) == register
                    && instruction.memory_index() == Register::None
            }
            _ => false,
        };
        if instruction.rflags_modified() != 0 {
            compares = match instruction.mnemonic() {
                Mnemonic::Cmp => {
                    is_constant(instruction.op1_kind())
                        && register.is_some_and(|register| counted.contains(&register))
                }
                _ => steps && register.is_some(),
            };
        }
        match register {
            Some(register) if steps => counted.push(register),
            // The register has another value now.
            Some(register) if !matches!(instruction.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) => {
                counted.retain(|known| *known != register);
            }
            _ => {}
        }
    }
    false
}

fn is_constant(kind: OpKind) -> bool {
    !matches!(kind, OpKind::Register | OpKind::Memory)
}

fn a64(block: &[u8]) -> bool {
    let (mut counted, mut compares) = (0_u32, false);
    for word in block.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default())) {
        let (target, from) = (word & 31, word >> 5 & 31);
        // b.cond; cbz, cbnz
        if word >> 24 == 0x54 {
            return compares;
        }
        if word >> 25 & 0x3f == 0b01_1010 {
            return counted >> target & 1 != 0;
        }
        // add, adds, sub, subs with a constant
        let adds = word >> 24 & 0x1f == 0x11;
        if adds && word >> 29 & 1 != 0 {
            // With register 31 as its target it is a comparison.
            compares = if target == 31 { counted >> from & 1 != 0 } else { target == from };
        } else if super::a64::sets_flags(word) {
            compares = false;
        }
        if target != 31 {
            counted = if adds && target == from { counted | 1 << target } else { counted & !(1 << target) };
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_compared() {
        for (code, expected) in [
            // inc ecx; cmp ecx, 64; jne
            (&[0xff, 0xc1, 0x83, 0xf9, 64, 0x75, 0xf0][..], true),
            // sub rcx, 1; jne
            (&[0x48, 0x83, 0xe9, 1, 0x75, 0xf0], true),
            // lea rcx, [rcx + 4]; cmp rcx, 64; jb
            (&[0x48, 0x8d, 0x49, 4, 0x48, 0x83, 0xf9, 64, 0x72, 0xf0], true),
            // Another register is compared; it was reloaded; a bit is tested; nothing was counted here; two values are
            // compared.
            (&[0xff, 0xc1, 0x83, 0xf8, 64, 0x75, 0xf0], false),
            (&[0xff, 0xc1, 0x8b, 0x0e, 0x83, 0xf9, 64, 0x75, 0xf0], false),
            (&[0xff, 0xc1, 0xf6, 0xc1, 1, 0x75, 0xf0], false),
            (&[0x83, 0xf9, 64, 0x75, 0xf0], false),
            // dec dword [rsi]; jne
            (&[0xff, 0x0e, 0x75, 0xf0], false),
        ] {
            assert_eq!(x86(code, 64), expected, "{code:02x?}");
        }
        let words =
            |words: &[u32]| a64(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        // add x8, x8, #1; cmp x8, #64; b.ne
        assert!(words(&[0x9100_0508, 0xf101_011f, 0x54ff_ff81]));
        // subs x8, x8, #1; b.ne. sub x8, x8, #1; cbnz x8
        assert!(words(&[0xf100_0508, 0x54ff_ff81]) && words(&[0xd100_0508, 0xb5ff_ff88]));
        // cmp x9, #64; ldr x8, [x0]; tst x8, #1; cbnz x9
        assert!(!words(&[0x9100_0508, 0xf101_013f, 0x54ff_ff81]));
        assert!(!words(&[0x9100_0508, 0xf940_0008, 0xf101_011f, 0x54ff_ff81]));
        assert!(!words(&[0x9100_0508, 0xf240_011f, 0x54ff_ff81]) && !words(&[0xd100_0508, 0xb5ff_ff89]));
    }
}
