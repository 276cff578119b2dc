//! Finds the starts of functions, the functions that certainly run, and the functions that are called in other files.

use std::collections::BTreeMap;

use object::elf;
use object::read::elf::{FileHeader, SectionHeader, Sym};

use super::super::parse::Parsed;
use super::super::symbols::{self, Symbol};

/// Examine at most this many sections with code. Linkers make a handful.
const MOST_SECTIONS: usize = 64;
/// Record at most this many slots.
const MOST_SLOTS: usize = 1 << 20;
/// The functions that ask the kernel about the processor.
const KERNEL: [&str; 3] = ["getauxval", "__getauxval", "elf_aux_info"];
/// Functions that never return.
const NEVER_RETURN: [&str; 18] = [
    "abort",
    "exit",
    "_exit",
    "_Exit",
    "quick_exit",
    "__stack_chk_fail",
    "__assert_fail",
    "__fortify_fail",
    "__chk_fail",
    "_Unwind_Resume",
    "__cxa_throw",
    "__cxa_rethrow",
    "__cxa_bad_cast",
    "__cxa_throw_bad_array_new_length",
    "_ZSt9terminatev",
    "_ZSt20__throw_length_errorPKc",
    "longjmp",
    "__libc_start_main",
];
/// Parts of the names by which libraries report the processor's features. Also of the function (`sigsetjmp`) that is
/// needed to try an instruction and recover if the processor lacks it.
const SIGNS: [&str; 25] = [
    "cpu",
    "hwcap",
    "simd",
    "avx",
    "sse4",
    "ssse3",
    "neon",
    "popcnt",
    "crc32c",
    "hardwaresupport",
    "hwy",
    "feature_detect",
    "hw_feature",
    "capabilit",
    "armcap",
    "ia32cap",
    "ppccap",
    "s390xcap",
    "riscvcap",
    "rtld_global_ro",
    "orc_",
    "hwprobe",
    "have_lse",
    "dispatch",
    "sigsetjmp",
];

/// Parts of the names of functions that are for some processors only: other files choose between them by name. The last
/// three are those that a compiler makes for loops (x86-64 psABI, "Vector Function ABI"): for AVX, AVX2 and AVX-512.
const FOR_SOME: [&str; 9] =
    ["avx", "sse3", "sse4", "x86_64_v", "hwaes", "crc32c_arm64", "_zgvc", "_zgvd", "_zgve"];

/// A region with code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region<'a> {
    pub(super) address: u64,
    pub(super) bytes: &'a [u8],
}

/// A function that is called in another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Import {
    /// It asks the kernel.
    Kernel,
    /// It never returns.
    Never,
}

/// What a file's tables say about its code.
#[derive(Debug, Default)]
pub(super) struct Functions<'a> {
    /// The regions with code, in order and without overlaps.
    pub(super) regions: Vec<Region<'a>>,
    /// The starts of functions, sorted.
    pub(super) starts: Vec<u64>,
    /// Where execution begins: the entry point and the initialisers.
    pub(super) roots: Vec<u64>,
    /// The slots that hold the addresses of other files' functions.
    pub(super) slots: BTreeMap<u64, Import>,
    /// The functions that ask the kernel, if this file defines them.
    pub(super) kernel: Vec<u64>,
    /// Functions are chosen when they are bound, or the file uses another library that reports on processors.
    pub(super) asks: bool,
}

impl<'a> Functions<'a> {
    pub(super) fn read<H: FileHeader<Endian = object::Endianness>>(
        parsed: &Parsed<'a>,
        bytes: &'a [u8],
    ) -> Option<Self> {
        let header = H::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let mut found = Self::default();
        let entry: u64 = header.e_entry(endian).into();
        let program = parsed.elf.is_program();
        found.roots.extend(Some(entry).filter(|entry| *entry != 0 && program));
        linked::<H>(bytes, |name, symbol| {
            found.symbol(symbol.kind, symbol.value, symbol.section, name);
            if program && symbol.kind == 2 && name == b"main" {
                found.roots.push(symbol.value);
            }
        });
        found.regions = regions::<H>(parsed, bytes);
        found.dynamic(parsed);
        found.relocations(parsed);
        found.unwound(parsed);
        found.initialisers(parsed);
        let inside = |address: &u64, regions: &[Region<'_>]| {
            regions.iter().any(|region| {
                address.checked_sub(region.address).is_some_and(|at| at < region.bytes.len() as u64)
            })
        };
        found.roots.retain(|address| inside(address, &found.regions));
        found.starts.extend(&found.roots);
        found.starts.sort_unstable();
        found.starts.dedup();
        found.starts.retain(|address| inside(address, &found.regions));
        Some(found)
    }

    fn symbol(&mut self, kind: u8, address: u64, section: u16, name: &[u8]) {
        if section == 0 || address == 0 {
            return;
        }
        match kind {
            2 => {
                self.starts.push(address);
                if KERNEL.iter().any(|known| known.as_bytes() == name) {
                    self.kernel.push(address);
                }
            }
            10 => self.asks = true,
            _ => {}
        }
    }

    /// The dynamic symbols.
    fn dynamic(&mut self, parsed: &Parsed<'a>) {
        symbols::each(parsed, |_, name, symbol| {
            let signs = if symbol.section == 0 { &SIGNS[..] } else { &FOR_SOME[..] };
            if !self.asks && (symbol.section == 0 || symbol.kind == 2) {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                self.asks = signs.iter().any(|sign| name.contains(sign));
            }
            if symbol.section != 0 {
                self.symbol(symbol.kind, symbol.value, symbol.section, name);
            }
        });
    }

    /// Finds the slots of other files' functions.
    fn relocations(&mut self, parsed: &Parsed<'a>) {
        let mut imports = BTreeMap::new();
        symbols::each(parsed, |index, name, symbol| {
            if symbol.section == 0 {
                let known = |list: &[&str]| list.iter().any(|known| known.as_bytes() == name);
                if known(&KERNEL) {
                    imports.insert(index, Import::Kernel);
                } else if known(&NEVER_RETURN) {
                    imports.insert(index, Import::Never);
                }
            }
        });
        let (reader, dynamic) = (parsed.image.reader, &parsed.dynamic);
        let rela = dynamic.value(elf::DT_PLTREL) == u64::try_from(elf::DT_RELA.0).ok();
        for (address, size, words) in [
            (elf::DT_JMPREL, elf::DT_PLTRELSZ, if rela { 3 } else { 2 }),
            (elf::DT_RELA, elf::DT_RELASZ, 3),
            (elf::DT_REL, elf::DT_RELSZ, 2),
        ] {
            let (Some(address), Some(size)) = (dynamic.value(address), dynamic.value(size)) else { continue };
            for entry in
                parsed.image.at(address, size).unwrap_or_default().chunks_exact(words * reader.size())
            {
                let (Some(place), Some(info)) = (reader.word(entry, 0), reader.word(entry, reader.size()))
                else {
                    break;
                };
                let (symbol, kind) =
                    if reader.wide { (info >> 32, info & 0xffff_ffff) } else { (info >> 8, info & 0xff) };
                if Some(kind) == chosen(parsed.elf.machine) {
                    self.asks = true;
                }
                if symbol != 0 && self.slots.len() < MOST_SLOTS {
                    let import =
                        usize::try_from(symbol).ok().and_then(|symbol| imports.get(&symbol).copied());
                    if let Some(import) = import {
                        self.slots.insert(place, import);
                    }
                }
            }
        }
    }

    /// Reads the functions from the unwind table (LSB, "The `.eh_frame_hdr` section"), in the one encoding that linkers
    /// write.
    fn unwound(&mut self, parsed: &Parsed<'a>) {
        let Some(at) = parsed.unwind else { return };
        let Some(table) = parsed.image.tail(at) else { return };
        let reader = parsed.image.reader;
        if table.get(..4) != Some(&[1, 0x1b, 3, 0x3b]) {
            return;
        }
        let count = usize::try_from(reader.u32(table, 8).unwrap_or(0)).unwrap_or(0);
        for entry in table.get(12..).unwrap_or_default().chunks_exact(8).take(count) {
            let Some(offset) = reader.u32(entry, 0) else { break };
            self.starts.push(at.wrapping_add_signed(offset.cast_signed().into()));
        }
    }

    /// Adds the functions that the loader runs first.
    fn initialisers(&mut self, parsed: &Parsed<'a>) {
        let (reader, dynamic) = (parsed.image.reader, &parsed.dynamic);
        self.roots.extend(dynamic.value(elf::DT_INIT));
        let mut tables = Vec::new();
        for (address, size) in
            [(elf::DT_INIT_ARRAY, elf::DT_INIT_ARRAYSZ), (elf::DT_PREINIT_ARRAY, elf::DT_PREINIT_ARRAYSZ)]
        {
            let (Some(address), Some(size)) = (dynamic.value(address), dynamic.value(size)) else { continue };
            tables.push((address, address.saturating_add(size)));
            // In a file at a fixed address the table holds the addresses.
            for entry in parsed.image.at(address, size).unwrap_or_default().chunks_exact(reader.size()) {
                self.roots.extend(reader.word(entry, 0).filter(|address| *address != 0));
            }
        }
        // In other files the relocations hold them.
        let (Some(address), Some(size)) = (dynamic.value(elf::DT_RELA), dynamic.value(elf::DT_RELASZ)) else {
            return;
        };
        for entry in parsed.image.at(address, size).unwrap_or_default().chunks_exact(3 * reader.size()) {
            let (Some(place), Some(addend)) = (reader.word(entry, 0), reader.word(entry, 2 * reader.size()))
            else {
                break;
            };
            if tables.iter().any(|(from, to)| (*from..*to).contains(&place)) {
                self.roots.push(addend);
            }
        }
    }

    /// The start of the function that contains an address.
    pub(super) fn start_of(&self, address: u64) -> Option<u64> {
        let before = self.starts.partition_point(|start| *start <= address);
        before.checked_sub(1).map(|index| self.starts[index])
    }

    pub(super) fn region_of(&self, address: u64) -> Option<&Region<'a>> {
        let before = self.regions.partition_point(|region| region.address <= address);
        let region = &self.regions[before.checked_sub(1)?];
        (address - region.address < region.bytes.len() as u64).then_some(region)
    }

    /// The code from an address to the end of its region.
    pub(super) fn code(&self, address: u64) -> Option<&'a [u8]> {
        let region = self.region_of(address)?;
        region.bytes.get(usize::try_from(address - region.address).ok()?..)
    }
}

/// The regions with code, in order and without overlaps.
pub(super) fn regions<'a, H: FileHeader<Endian = object::Endianness>>(
    parsed: &Parsed<'a>,
    bytes: &'a [u8],
) -> Vec<Region<'a>> {
    let sections = sections::<H>(bytes).unwrap_or_default();
    let mut regions = Vec::new();
    for load in parsed.image.loads().filter(|load| load.executable) {
        let all = [(load.address, u64::MAX)];
        // Only the sections with code, if they are known: the segment has constants too.
        for (from, to) in if sections.is_empty() { &all[..] } else { &sections } {
            let start = from.checked_sub(load.address).and_then(|at| usize::try_from(at).ok());
            let Some(bytes) = start.and_then(|start| load.bytes.get(start..)) else { continue };
            let size = usize::try_from(to - from).unwrap_or(usize::MAX).min(bytes.len());
            if size > 0 && regions.len() < MOST_SECTIONS {
                regions.push(Region { address: *from, bytes: &bytes[..size] });
            }
        }
    }
    regions.sort_by_key(|region| region.address);
    // Segments may overlap, but each byte is examined once.
    let mut end = 0;
    regions.retain(|region| {
        let apart = region.address >= end;
        if apart {
            end = region.address.saturating_add(region.bytes.len() as u64);
        }
        apart
    });
    regions
}

/// The sections with code: the start and end of each, in order.
fn sections<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let mut found = Vec::new();
    for section in header.sections(endian, bytes).ok()?.iter() {
        let (address, size): (u64, u64) = (section.sh_addr(endian).into(), section.sh_size(endian).into());
        if section.sh_flags(endian).0 & 4 != 0 && section.sh_type(endian).0 == 1 && address != 0 {
            found.push((address, address.saturating_add(size)));
        }
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(MOST_SECTIONS);
    Some(found)
}

/// The relocation whose target is chosen by a function (psABI of each machine, `R_…_IRELATIVE`).
fn chosen(machine: u16) -> Option<u64> {
    [(3, 42), (62, 37), (183, 1032), (21, 248), (22, 61), (243, 58), (258, 12)]
        .iter()
        .find(|(known, _)| *known == machine)
        .map(|(_, kind)| *kind)
}

/// A location in the code for the user: a function's name, or else the address.
pub(super) fn name<H: FileHeader<Endian = object::Endianness>>(
    parsed: &Parsed<'_>,
    bytes: &[u8],
    at: u64,
) -> String {
    let mut best: Option<(u64, Vec<u8>)> = None;
    let mut take = |symbol: &Symbol, name: &[u8]| {
        let (start, size) = (symbol.value, symbol.size);
        let here = symbol.kind == 2 && symbol.section != 0 && start <= at && (at - start < size || size == 0);
        if here && !name.is_empty() && best.as_ref().is_none_or(|(known, _)| start > *known) {
            best = Some((start, name.to_vec()));
        }
    };
    symbols::each(parsed, |_, name, symbol| take(symbol, name));
    linked::<H>(bytes, |name, symbol| take(symbol, name));
    match best {
        Some((_, name)) => {
            let name = String::from_utf8_lossy(&name).into_owned();
            format!("{:#}", rustc_demangle::demangle(&name)).chars().take(200).collect()
        }
        None => format!("{at:#x}"),
    }
}

/// Calls `take` for every symbol of the static linker's table.
fn linked<H: FileHeader<Endian = object::Endianness>>(
    bytes: &[u8],
    mut take: impl FnMut(&[u8], &Symbol),
) -> Option<()> {
    let header = H::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let table = sections.iter().find(|section| section.sh_type(endian) == elf::SHT_SYMTAB)?;
    let names =
        sections.iter().nth(usize::try_from(table.sh_link(endian)).ok()?)?.data(endian, bytes).ok()?;
    for symbol in sections.symbols(endian, bytes, elf::SHT_SYMTAB).ok()?.iter().take(symbols::MOST_SYMBOLS) {
        let info = symbol.st_info().0;
        let symbol = Symbol {
            name: symbol.st_name(endian),
            binding: info >> 4,
            kind: info & 15,
            visibility: 0,
            section: symbol.st_shndx(endian).0,
            value: symbol.st_value(endian).into(),
            size: symbol.st_size(endian).into(),
        };
        take(symbols::short(names, symbol.name), &symbol);
    }
    Some(())
}
