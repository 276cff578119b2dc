//! ELF files: whatever the bytes, they are read or refused, and what was read can be judged for every target.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xbuild::target::catalog::Target;
use xbuild::internal::elf::{Elf, Object, extent, verify};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(elf) = Elf::parse(bytes) {
        for target in Target::all() {
            if let Err(mismatch) = verify(&elf, target) {
                assert!(!mismatch.differences.is_empty());
            }
        }
    }
    // What the link check keeps of a file, whole and as much of it as is read of a layer.
    let start = &bytes[..bytes.len().min(4096)];
    if let Some(extent) = extent(start, bytes.len() as u64) {
        assert!(extent <= bytes.len() as u64);
    }
    if let Ok(object) = Object::parse(bytes) {
        assert!(object.weight() < 64 << 20);
        std::hint::black_box(object.glibc());
        // The code of Arm's: what is said of it is short, whatever the names in the file.
        if let Some(code) = &object.code {
            assert!(code.neon.is_some() || code.high_registers.is_some());
            assert!([&code.neon, &code.high_registers].into_iter().flatten().all(|name| name.len() <= 1000));
        }
        // What is said of instructions is one for each level, and as short.
        assert!(object.beyond.len() <= 4 && object.beyond.iter().all(|found| found.function.len() <= 1000));
        for symbol in object.symbols.undefined.iter().take(100) {
            std::hint::black_box(object.symbols.defines(&symbol.0, None));
        }
    }
});
