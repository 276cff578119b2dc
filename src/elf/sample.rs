//! ELF files made for tests, with dynamic symbols and their versions. They are little-endian; the only segment maps the
//! whole file at address 0, so that addresses are offsets.

/// The contents of a test file.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `EI_CLASS` in bits: 32 or 64.
    pub class: u8,
    /// `e_machine`.
    pub machine: u16,
    /// `e_flags`.
    pub flags: u32,
    /// `PT_INTERP`.
    pub interpreter: Option<String>,
    /// `DT_NEEDED`.
    pub needed: Vec<String>,
    /// `DT_SONAME`.
    pub soname: Option<String>,
    /// `DT_RPATH`.
    pub rpath: Option<String>,
    /// `DT_RUNPATH`.
    pub runpath: Option<String>,
    /// Names with their versions.
    pub defines: Vec<(String, Option<String>)>,
    /// Names, each with the library and version that it is needed from.
    pub refers: Vec<(String, Option<(String, String)>)>,
    /// Names that are referred to weakly.
    pub weak: Vec<String>,
    /// True for a program.
    pub program: bool,
    /// Compact relative relocations.
    pub relr: bool,
    /// The bytes at the end.
    pub tail: Vec<u8>,
    /// True if execution begins at the bytes at the end.
    pub starts_at_tail: bool,
}

impl Sample {
    /// An empty library for 64-bit x86.
    #[must_use]
    pub fn library(soname: &str) -> Self {
        Self {
            class: 64,
            machine: 62,
            flags: 0,
            interpreter: None,
            needed: Vec::new(),
            soname: Some(soname.into()),
            rpath: None,
            runpath: None,
            defines: Vec::new(),
            refers: Vec::new(),
            weak: Vec::new(),
            program: false,
            relr: false,
            tail: Vec::new(),
            starts_at_tail: false,
        }
    }

    /// A program for 64-bit x86.
    #[must_use]
    pub fn program(interpreter: &str, needed: &[&str]) -> Self {
        Self { interpreter: Some(interpreter.into()), soname: None, program: true, ..Self::library("") }
            .needs(needed)
    }

    /// Adds libraries that it needs.
    #[must_use]
    pub fn needs(mut self, libraries: &[&str]) -> Self {
        self.needed.extend(libraries.iter().map(|&name| name.to_owned()));
        self
    }

    /// Adds definitions, written `name` or `name@VERSION`.
    #[must_use]
    pub fn defining(mut self, symbols: &[&str]) -> Self {
        self.defines.extend(symbols.iter().map(|symbol| match symbol.split_once('@') {
            Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
            None => ((*symbol).to_owned(), None),
        }));
        self
    }

    /// Adds a reference to a symbol of a library, written `name` or `name@VERSION`.
    #[must_use]
    pub fn referring(mut self, symbol: &str, library: &str) -> Self {
        self.refers.push(match symbol.split_once('@') {
            Some((name, version)) => (name.to_owned(), Some((library.to_owned(), version.to_owned()))),
            None => (symbol.to_owned(), None),
        });
        self
    }

    /// Encodes the file.
    #[allow(clippy::too_many_lines, reason = "one part of the file after the other")]
    ///
    /// # Panics
    ///
    /// If a number does not fit its field, which only a test of gigabytes could reach.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let wide = self.class == 64;
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let at = strings.len();
            strings.extend(text.bytes());
            strings.push(0);
            u32::try_from(at).unwrap()
        };
        let mut dynamic: Vec<(u64, u64)> = Vec::new();
        for name in &self.needed {
            dynamic.push((1, string(name).into()));
        }
        for (tag, text) in [(14, &self.soname), (15, &self.rpath), (29, &self.runpath)] {
            if let Some(text) = text {
                dynamic.push((tag, string(text).into()));
            }
        }
        // Versions are numbered from 2 on: first the defined ones, then the needed ones.
        let mut defined: Vec<&String> =
            self.defines.iter().filter_map(|(_, version)| version.as_ref()).collect();
        defined.sort();
        defined.dedup();
        let mut needed: Vec<&(String, String)> =
            self.refers.iter().filter_map(|(_, version)| version.as_ref()).collect();
        needed.sort();
        needed.dedup();
        let number = |index: usize| u16::try_from(index + 2).unwrap();
        let mut symbols: Vec<(u32, u8, u16, u16)> = vec![(0, 0, 0, 0)];
        for (name, version) in &self.refers {
            let version =
                version.as_ref().and_then(|version| needed.iter().position(|known| *known == version));
            symbols.push((string(name), 0x12, 0, version.map_or(1, |index| number(defined.len() + index))));
        }
        for name in &self.weak {
            symbols.push((string(name), 0x22, 0, 1));
        }
        for (name, version) in &self.defines {
            let version =
                version.as_ref().and_then(|version| defined.iter().position(|known| *known == version));
            symbols.push((string(name), 0x12, 1, version.map_or(1, number)));
        }
        let mut verneed = Vec::new();
        for (index, (library, version)) in needed.iter().enumerate() {
            let next: u32 = if index + 1 == needed.len() { 0 } else { 32 };
            put(&mut verneed, &[&1_u16.to_le_bytes(), &1_u16.to_le_bytes(), &string(library).to_le_bytes()]);
            put(&mut verneed, &[&16_u32.to_le_bytes(), &next.to_le_bytes(), &0_u32.to_le_bytes()]);
            put(&mut verneed, &[&0_u16.to_le_bytes(), &number(defined.len() + index).to_le_bytes()]);
            put(&mut verneed, &[&string(version).to_le_bytes(), &0_u32.to_le_bytes()]);
        }
        let mut verdef = Vec::new();
        let base = String::from("base");
        for (index, version) in std::iter::once(&base).chain(defined.iter().copied()).enumerate() {
            let next: u32 = if index == defined.len() { 0 } else { 28 };
            let flags = u16::from(index == 0);
            let own = u16::try_from(index + 1).unwrap();
            put(&mut verdef, &[&1_u16.to_le_bytes(), &flags.to_le_bytes(), &own.to_le_bytes()]);
            put(&mut verdef, &[&1_u16.to_le_bytes(), &0_u32.to_le_bytes(), &20_u32.to_le_bytes()]);
            put(&mut verdef, &[&next.to_le_bytes(), &string(version).to_le_bytes(), &0_u32.to_le_bytes()]);
        }
        let table: Vec<u8> = symbols.iter().flat_map(|symbol| entry(wide, *symbol)).collect();
        let versions: Vec<u8> = symbols.iter().flat_map(|symbol| symbol.3.to_le_bytes()).collect();
        let hash: Vec<u8> = [1, u32::try_from(symbols.len()).unwrap(), 0]
            .iter()
            .flat_map(|n: &u32| n.to_le_bytes())
            .collect();
        let references = 1..=(self.refers.len() + self.weak.len());
        let relocations: Vec<u8> = references.flat_map(|symbol| relocation(wide, symbol as u64)).collect();
        let interpreter =
            self.interpreter.as_ref().map(|path| format!("{path}\0").into_bytes()).unwrap_or_default();

        let (header, segment) = if wide { (64, 56) } else { (52, 32) };
        let mut out = vec![0; header + 3 * segment];
        let mut place = |bytes: &[u8]| {
            out.resize(out.len().next_multiple_of(8), 0);
            let at = out.len();
            out.extend(bytes);
            at as u64
        };
        let interpreter_at = place(&interpreter);
        dynamic.push((5, place(&strings)));
        dynamic.push((10, strings.len() as u64));
        dynamic.push((6, place(&table)));
        dynamic.push((4, place(&hash)));
        if !defined.is_empty() || !needed.is_empty() {
            dynamic.push((0x6fff_fff0, place(&versions)));
        }
        if !needed.is_empty() {
            dynamic.push((0x6fff_fffe, place(&verneed)));
        }
        if !defined.is_empty() {
            dynamic.push((0x6fff_fffc, place(&verdef)));
        }
        if !relocations.is_empty() {
            dynamic.push((7, place(&relocations)));
            dynamic.push((8, relocations.len() as u64));
        }
        if self.relr {
            dynamic.push((36, 0));
        }
        if self.program {
            dynamic.push((0x6fff_fffb, 0x0800_0000));
        }
        dynamic.push((0, 0));
        let table: Vec<u8> =
            dynamic.iter().flat_map(|(tag, value)| [word(wide, *tag), word(wide, *value)].concat()).collect();
        let dynamic_at = place(&table);
        let tail_at = place(&self.tail);
        let (start, flags) = if self.starts_at_tail { (tail_at, 5_u32) } else { (0, 4) };

        let size = out.len() as u64;
        let mut head = Vec::from(*b"\x7fELF");
        head.extend([if wide { 2 } else { 1 }, 1, 1]);
        head.resize(16, 0);
        put(&mut head, &[&3_u16.to_le_bytes(), &self.machine.to_le_bytes(), &1_u32.to_le_bytes()]);
        put(
            &mut head,
            &[&word(wide, start), &word(wide, header as u64), &word(wide, 0), &self.flags.to_le_bytes()],
        );
        for number in [header, segment, 3, 0, 0, 0] {
            head.extend(u16::try_from(number).unwrap().to_le_bytes());
        }
        let interp = if interpreter.is_empty() { 0 } else { 3 };
        for (kind, at, size) in [
            (1_u32, 0, size),
            (interp, interpreter_at, interpreter.len() as u64),
            (2, dynamic_at, table.len() as u64),
        ] {
            head.extend(kind.to_le_bytes());
            if wide {
                head.extend(flags.to_le_bytes());
            }
            for number in [at, at, at, size, size] {
                head.extend(word(wide, number));
            }
            if !wide {
                head.extend(flags.to_le_bytes());
            }
            head.extend(word(wide, 8));
        }
        out[..head.len()].copy_from_slice(&head);
        out
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend(parts.concat());
}

fn word(wide: bool, value: u64) -> Vec<u8> {
    if wide { value.to_le_bytes().to_vec() } else { u32::try_from(value).unwrap().to_le_bytes().to_vec() }
}

fn entry(wide: bool, (name, info, section, _): (u32, u8, u16, u16)) -> Vec<u8> {
    let (name, section) = (name.to_le_bytes(), section.to_le_bytes());
    let value = word(wide, 64);
    if wide {
        [&name[..], &[info, 0], &section, &value, &value].concat()
    } else {
        [&name[..], &value, &value, &[info, 0], &section].concat()
    }
}

fn relocation(wide: bool, symbol: u64) -> Vec<u8> {
    let info = if wide { symbol << 32 | 6 } else { symbol << 8 | 6 };
    [word(wide, 0), word(wide, info), word(wide, 0)].concat()
}
