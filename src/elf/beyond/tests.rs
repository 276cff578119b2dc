use super::*;
use crate::Object;
use crate::sample::Sample;

/// What is found in a program whose execution begins with some code.
fn found(machine: u16, class: u8, code: &[u8]) -> Vec<(u8, String, String)> {
    let sample = Sample {
        class,
        machine,
        tail: code.to_vec(),
        starts_at_tail: true,
        ..Sample::program("/lib/ld.so", &[])
    };
    let object = Object::parse(&sample.bytes()).unwrap();
    object.beyond.into_iter().map(|found| (found.level, found.extension, found.instruction)).collect()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn one(level: u8, extension: &str, instruction: &str) -> (u8, String, String) {
    (level, extension.into(), instruction.into())
}

/// `cpuid`
const CPUID: [u8; 2] = [0x0f, 0xa2];
/// `vpaddd ymm0, ymm1, ymm2`
const VPADDD: [u8; 4] = [0xc5, 0xf5, 0xfe, 0xc2];
/// `popcnt eax, eax`
const POPCNT: [u8; 4] = [0xf3, 0x0f, 0xb8, 0xc0];
/// `test eax, 0x20`
const TEST: [u8; 5] = [0xa9, 0x20, 0, 0, 0];
const RET: [u8; 1] = [0xc3];

#[test]
fn what_nothing_asks_for_is_found_by_its_level() {
    assert_eq!(found(62, 64, &[&POPCNT[..], &RET].concat()), [one(1, "POPCNT", "popcnt")]);
    let both = [&POPCNT[..], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &both), [one(1, "POPCNT", "popcnt"), one(2, "AVX2", "vpaddd")]);
    // movaps, tzcnt (which others take for bsf), endbr64, prefetchw, cmpxchg16b
    for harmless in [
        &[0x0f, 0x28, 0xc1][..],
        &[0xf3, 0x0f, 0xbc, 0xc0],
        &[0xf3, 0x0f, 0x1e, 0xfa],
        &[0x0f, 0x0d, 0x08],
        &[0x48, 0x0f, 0xc7, 0x0f],
    ] {
        assert_eq!(found(62, 64, &[harmless, &RET].concat()), [], "{harmless:02x?}");
    }
    // 32-bit x86 has no levels.
    assert_eq!(found(3, 32, &[&POPCNT[..], &RET].concat()), [one(1, "POPCNT", "popcnt")]);
}

#[test]
fn what_a_test_guards_is_not_found() {
    // cpuid; test; je over it
    let guarded = [&CPUID[..], &TEST, &[0x74, 4], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &guarded), []);
    // The same, and the code after the branch is common to both sides.
    let after = [&guarded[..guarded.len() - 1], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &after), [one(1, "AVX2", "vpaddd"), one(2, "AVX2", "vpaddd")]);
    // Both sides use it.
    let both = [&CPUID[..], &TEST, &[0x74, 5], &VPADDD, &RET, &POPCNT, &RET].concat();
    assert_eq!(found(62, 64, &both), [one(1, "POPCNT", "popcnt")]);
    // The other side is a trap.
    let trap = [&CPUID[..], &TEST, &[0x75, 2], &[0x0f, 0x0b], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &trap).len(), 2);
    // Two values are compared, which does not check a processor's features.
    let plain = [&CPUID[..], &[0x39, 0xd8, 0x74, 4], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &plain).len(), 2);
}

#[test]
fn who_calls_a_function_by_the_processors_it_is_for_chooses() {
    // test; je over it; without asking the processor
    let code = [&TEST[..], &[0x74, 4], &VPADDD, &RET].concat();
    let exporting = |name: &str| {
        let sample =
            Sample { tail: code.clone(), starts_at_tail: true, ..Sample::program("/lib/ld.so", &[]) };
        Object::parse(&sample.defining(&[name]).bytes()).unwrap().beyond.len()
    };
    for name in ["sum", "sum_of_all", "_ZGVbN2v_sum", "Save"] {
        assert_eq!(exporting(name), 2, "{name}");
    }
    for name in
        ["sum_avx2", "gegl_sum_x86_64_v3", "_ZN4absl10RandenHwAes8GenerateEv", "_ZGVdN4v_sum", "SumSSE41"]
    {
        assert_eq!(exporting(name), 0, "{name}");
    }
}

#[test]
fn lse_is_told_from_other_answers_of_the_kernel() {
    // ubfx x0, x0, #8, #1; ubfx w1, w0, #8, #1; tst w0, #0x100; tst x0, #0x100; tbz w0, #8; tbnz x0, #8
    for word in [0xd348_2000, 0x5308_2001, 0x7218_001f, 0xf278_001f, 0x3640_0040, 0x3740_0040] {
        assert!(a64::takes_lse(word), "{word:#x}");
    }
    // The same for bit 7, which is CRC32; ubfx of two bits; mov; strb
    for word in [0xd347_1c00, 0x7219_001f, 0x3638_0040, 0xd348_2400, 0xd280_0200, 0x3900_0260] {
        assert!(!a64::takes_lse(word), "{word:#x}");
    }
}

#[test]
fn what_comes_behind_a_loop_that_ends_at_a_count_is_found() {
    // cpuid; xor ecx, ecx; loop: inc ecx; cmp ecx, 64; jne loop; vpaddd; ret
    let counted = [&CPUID[..], &[0x31, 0xc9, 0xff, 0xc1, 0x83, 0xf9, 64, 0x75, 0xf9], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &counted).len(), 2);
    // The same forwards, as a check is: inc ecx; cmp ecx, 64; jne over it
    let asked = [&CPUID[..], &[0xff, 0xc1, 0x83, 0xf9, 64, 0x75, 4], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &asked), []);
    // Waiting for an answer is not a counting loop: loop: mov ecx, [rsi]; cmp ecx, 64; jne loop
    let waits = [&CPUID[..], &[0x8b, 0x0e, 0x83, 0xf9, 64, 0x75, 0xf9], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &waits), []);
    // mrs x0, midr_el1; loop: add x8, x8, #1; cmp x8, #64; b.ne loop; ldadd; ret
    let code = [0xd538_0000, 0x9100_0508, 0xf101_011f, 0x54ff_ffc1, 0xb820_0041, 0xd65f_03c0];
    assert_eq!(found(183, 64, &words(&code)), [one(1, "LSE", "ldadd")]);
}

#[test]
fn calls_are_followed_and_pointers_are_not() {
    // cpuid; call f; ret; f: vpaddd; ret
    let direct = [&CPUID[..], &[0xe8, 1, 0, 0, 0], &RET, &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &direct).len(), 2);
    // cpuid; call rax; ret; vpaddd; ret
    let chosen = [&CPUID[..], &[0xff, 0xd0], &RET, &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &chosen), []);
    // A function that calls itself must not be followed forever.
    let endless = [&CPUID[..], &[0xe8, 0xf9, 0xff, 0xff, 0xff], &VPADDD, &RET].concat();
    assert_eq!(found(62, 64, &endless).len(), 2);
}

#[test]
fn other_machines_have_extensions_too() {
    for (machine, code, name, instruction) in [
        // ldadd w0, w1, [x2]
        (183, words(&[0xb820_0041, 0xd65f_03c0]), "LSE", "ldadd"),
        (183, words(&[0xdac0_2020, 0xd65f_03c0]), "CSSC", "abs"),
        // aese v0.16b, v1.16b; udot; fadd h0, h1, h2; ptrue p0.b; crc32cx
        (183, words(&[0x4e28_4820, 0xd65f_03c0]), "AES", "aese"),
        (183, words(&[0x6e82_9420, 0xd65f_03c0]), "dot products", "udot"),
        (183, words(&[0x1ee2_2820, 0xd65f_03c0]), "FP16", "fadd"),
        (183, words(&[0x2518_e3e0, 0xd65f_03c0]), "SVE", "SVE"),
        (183, words(&[0x9ac2_5c20, 0xd65f_03c0]), "CRC32", "crc32c"),
        // modsd 3, 4, 5; lxv 0, 0(3)
        (21, words(&[0x7c64_2e12, 0x4e80_0020]), "POWER9", "modsd"),
        (21, words(&[0xf403_0001, 0x4e80_0020]), "POWER9", "lxv"),
        // clz a0, a0; vsetvli
        (243, words(&[0x6005_1513, 0x0000_8067]), "Zbb", "clz"),
        (243, words(&[0x0d05_7557, 0x0000_8067]), "V", "vector"),
    ] {
        assert_eq!(found(machine, 64, &code), [one(1, name, instruction)], "{machine} {code:02x?}");
    }
    // add, ldxr, nop, paciasp, bti, cntd; add 3,4,5, lxvd2x; addi a0, a0, 1, mul
    for (machine, code) in [
        (
            183,
            words(&[
                0x8b02_0020,
                0x885f_7c41,
                0xd503_201f,
                0xd503_233f,
                0xd503_245f,
                0x04e0_e3e0,
                0xd65f_03c0,
            ]),
        ),
        (21, words(&[0x7c64_2a14, 0x7c00_1e98, 0x4e80_0020])),
        (243, words(&[0x0015_0513, 0x02b5_0533, 0x0000_8067])),
    ] {
        assert_eq!(found(machine, 64, &code), [], "{machine}");
    }
}

#[test]
fn atomic_operations_that_are_kept_out_of_line_are_guarded() {
    // ldrb w16, [x16]; cbz w16, +3; ldadd; ret; ldxr; add; stxr; ret
    let helper = [
        0x3940_0210,
        0x3400_0070,
        0xb820_0040,
        0xd65f_03c0,
        0x885f_7c50,
        0x0b00_0211,
        0x880f_7c51,
        0xd65f_03c0,
    ];
    assert_eq!(found(183, 64, &words(&helper)), []);
}

#[test]
fn the_data_is_whole() {
    for number in [3, 21, 22, 62, 183, 243] {
        let machine = Machine::of(number).unwrap();
        assert!(!machine.promise.is_empty(), "{number}");
        assert_eq!(promise(number, 1), machine.promise.first().map(String::as_str));
    }
    assert_eq!(promise(62, 3), Some("x86-64-v3"));
    assert_eq!((promise(62, 0), promise(62, 5), promise(1, 1)), (None, None, None));
}
