//! ELF files made byte by byte, and what is read from them.

use proptest::prelude::*;

use super::*;

/// The contents of a test file.
struct Sample {
    class: u8,
    big: bool,
    kind: u16,
    machine: u16,
    flags: u32,
    interpreter: Option<&'static str>,
    needed: &'static [&'static str],
    needs: &'static [(&'static str, &'static str, bool)],
    defines: &'static [&'static str],
    pie: bool,
}

const AARCH64: Sample = Sample {
    class: 64,
    big: false,
    kind: 3,
    machine: 183,
    flags: 0,
    interpreter: Some("/lib/ld-linux-aarch64.so.1"),
    needed: &["libc.so.6"],
    needs: &[("libc.so.6", "GLIBC_2.17", false), ("libc.so.6", "GLIBC_2.34", false)],
    defines: &[],
    pie: true,
};

const ARMV7: Sample = Sample {
    class: 32,
    machine: 40,
    flags: 0x0500_0400,
    interpreter: Some("/lib/ld-linux-armhf.so.3"),
    ..AARCH64
};

impl Sample {
    /// Encodes a file whose only `PT_LOAD` maps it whole at address 0, so that addresses are offsets.
    fn bytes(&self) -> Vec<u8> {
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let offset = u32::try_from(strings.len()).unwrap();
            strings.extend(text.bytes());
            strings.push(0);
            offset
        };
        let needed: Vec<u32> = self.needed.iter().map(|name| string(name)).collect();
        let needs: Vec<(u32, u32, bool)> =
            self.needs.iter().map(|(file, version, weak)| (string(file), string(version), *weak)).collect();
        let defines: Vec<u32> = self.defines.iter().map(|version| string(version)).collect();
        let interpreter = self.interpreter.map(|path| format!("{path}\0").into_bytes()).unwrap_or_default();

        let (header, entry, dyn_size) = if self.class == 64 { (64, 56, 16) } else { (52, 32, 8) };
        let interpreter_at = header + 3 * entry;
        let strings_at = interpreter_at + interpreter.len();
        let needs_at = strings_at + strings.len();
        let defines_at = needs_at + needs.len() * 32;
        let dynamic_at = (defines_at + (defines.len() + 1) * 28).next_multiple_of(8);
        let mut dynamic: Vec<(u64, u64)> = needed.iter().map(|offset| (1, u64::from(*offset))).collect();
        dynamic.extend([(5, strings_at as u64), (10, strings.len() as u64)]);
        if !needs.is_empty() {
            dynamic.push((0x6fff_fffe, needs_at as u64));
        }
        if !defines.is_empty() {
            dynamic.push((0x6fff_fffc, defines_at as u64));
        }
        if self.pie {
            dynamic.push((0x6fff_fffb, 0x0800_0000));
        }
        dynamic.push((0, 0));
        let end = dynamic_at + dynamic.len() * dyn_size;

        let mut out = Writer { bytes: Vec::new(), big: self.big, wide: self.class == 64 };
        out.bytes.extend(b"\x7fELF");
        out.bytes.extend([if self.class == 64 { 2 } else { 1 }, if self.big { 2 } else { 1 }, 1]);
        out.bytes.resize(16, 0);
        out.u16(self.kind).u16(self.machine).u32(1).word(0).word(header).word(0).u32(self.flags);
        let size = u16::try_from(header).unwrap();
        out.u16(size).u16(u16::try_from(entry).unwrap()).u16(3).u16(0).u16(0).u16(0);
        out.segment(1, 0, end);
        out.segment(if interpreter.is_empty() { 0 } else { 3 }, interpreter_at, interpreter.len());
        out.segment(2, dynamic_at, end - dynamic_at);
        out.bytes.extend(interpreter);
        out.bytes.extend(strings);
        for (index, (file, version, weak)) in needs.iter().enumerate() {
            let next = if index + 1 == needs.len() { 0 } else { 32 };
            out.u16(1).u16(1).u32(*file).u32(16).u32(next);
            out.u32(0).u16(if *weak { 2 } else { 0 }).u16(2).u32(*version).u32(0);
        }
        // The first definition names the file itself.
        for (index, name) in std::iter::once(&0).chain(&defines).enumerate() {
            let next = if index == defines.len() { 0 } else { 28 };
            out.u16(1).u16(u16::from(index == 0)).u16(1).u16(1).u32(0).u32(20).u32(next);
            out.u32(*name).u32(0);
        }
        out.bytes.resize(dynamic_at, 0);
        for (tag, value) in dynamic {
            out.word(usize::try_from(tag).unwrap()).word(usize::try_from(value).unwrap());
        }
        out.bytes
    }
}

struct Writer {
    bytes: Vec<u8>,
    big: bool,
    wide: bool,
}

impl Writer {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn word(&mut self, value: usize) -> &mut Self {
        if !self.wide {
            return self.u32(u32::try_from(value).unwrap());
        }
        let value = value as u64;
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn segment(&mut self, kind: u32, offset: usize, size: usize) {
        self.u32(kind);
        if self.wide {
            self.u32(4);
        }
        self.word(offset).word(offset).word(offset).word(size).word(size);
        if !self.wide {
            self.u32(4);
        }
        self.word(8);
    }
}

#[test]
fn reads_both_classes_and_both_byte_orders() {
    let elf = Elf::parse(&AARCH64.bytes()).unwrap();
    assert_eq!((elf.class, elf.machine, elf.kind), (64, 183, Kind::Shared));
    assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld-linux-aarch64.so.1"));
    assert_eq!(elf.needed, ["libc.so.6"]);
    assert!(elf.is_program() && !elf.is_static());
    assert!(elf.versions_needed.iter().any(|need| need.version == "GLIBC_2.34"));

    let elf = Elf::parse(&ARMV7.bytes()).unwrap();
    assert_eq!((elf.class, elf.flags), (32, 0x0500_0400));
    assert_eq!(elf.versions_needed.len(), 2);

    let elf = Elf::parse(&Sample { big: true, machine: 22, ..AARCH64 }.bytes()).unwrap();
    assert_eq!((elf.endianness, elf.machine), (Endianness::Big, 22));
    assert!(elf.versions_needed.iter().any(|need| need.version == "GLIBC_2.34"));
}

#[test]
fn tells_what_a_library_defines() {
    let defines = &["GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_PRIVATE"];
    let library = Sample { interpreter: None, pie: false, needed: &[], needs: &[], defines, ..AARCH64 };
    let elf = Elf::parse(&library.bytes()).unwrap();
    assert_eq!(elf.versions_defined, defines);
    assert_eq!(elf.newest_glibc_defined(), Some(GlibcVersion(2, 36)));
    assert!(!elf.is_program());
}

#[test]
fn a_weak_need_is_told_apart() {
    let needs = &[("libc.so.6", "GLIBC_2.17", false), ("libc.so.6", "GLIBC_2.39", true)];
    let elf = Elf::parse(&Sample { needs, ..AARCH64 }.bytes()).unwrap();
    assert_eq!(elf.versions_needed.iter().map(|need| need.weak).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn names_what_is_no_elf_file() {
    let kind = |bytes: &[u8]| match Elf::parse(bytes) {
        Err(ParseError::NotElf { kind }) => kind,
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(b"#!/bin/sh\n"), Some("a script"));
    assert_eq!(kind(b""), Some("empty"));
    assert_eq!(kind(b"hello, world, this is text"), None);
}

#[test]
fn a_version_chain_without_an_end_is_refused() {
    let mut bytes = AARCH64.bytes();
    let table = bytes.len() - 4 * 16;
    // The `next` of the first chain entry points to a table of entries that form an endless chain.
    let far = bytes.len() as u64;
    bytes.extend(std::iter::repeat_n([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], 5000).flatten());
    let size = (bytes.len() as u64).to_le_bytes();
    bytes[64 + 32..64 + 40].copy_from_slice(&size);
    bytes[64 + 40..64 + 48].copy_from_slice(&size);
    let place = (table..bytes.len())
        .step_by(8)
        .chain((0..table).step_by(8))
        .find(|at| bytes[*at..*at + 8] == 0x6fff_fffe_u64.to_le_bytes())
        .unwrap();
    bytes[place + 8..place + 16].copy_from_slice(&far.to_le_bytes());
    assert_eq!(Elf::parse(&bytes), Err(ParseError::Broken("its needed versions have no end".into())));
}

proptest! {
    #[test]
    fn altered_files_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<proptest::sample::Index>(),
        arm in any::<bool>(),
    ) {
        let mut bytes = if arm { ARMV7.bytes() } else { AARCH64.bytes() };
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _: [Result<_, ParseError>; 2] = [Elf::parse(&bytes), Elf::parse(&bytes[..cut.index(bytes.len())])];
    }
}

#[test]
fn a_real_library_tells_what_it_defines_and_needs() {
    // Tests need a compiler for this host, so a C library is present.
    let at = |path: &str| std::fs::read(path).ok();
    let libc = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"];
    let libc = Object::parse(&libc.iter().find_map(|path| at(path)).unwrap()).unwrap();
    assert!(libc.glibc() >= Some(GlibcVersion(2, 17)));
    assert!(libc.symbols.versioned && libc.symbols.count() > 2000);
    for (symbol, version, defined) in [
        ("memcpy", Some("GLIBC_2.14"), true),
        ("memcpy", Some("GLIBC_2.2.5"), true),
        ("memcpy", None, true),
        ("memcpy", Some("GLIBC_2.99"), false),
        ("no_such_function", None, false),
    ] {
        assert_eq!(libc.symbols.defines(symbol, version), defined, "{symbol} {version:?}");
    }
    let needed = libc.symbols.undefined.iter().find(|symbol| symbol.0 == "_rtld_global_ro").unwrap();
    let version = &libc.elf.versions_needed[usize::from(needed.1.unwrap())];
    assert_eq!(
        (version.library.as_str(), version.version.as_str()),
        ("ld-linux-x86-64.so.2", "GLIBC_PRIVATE")
    );
    let loader = Object::parse(&at("/lib64/ld-linux-x86-64.so.2").unwrap()).unwrap();
    let Some(Loader::Glibc { dirs, cache, .. }) = loader.loader else { panic!("no loader") };
    assert!(dirs.iter().any(|dir| dir.starts_with("usr/lib")), "{dirs:?}");
    assert_eq!(cache.as_deref(), Some("etc/ld.so.cache"));
}
