//! What a program's or library's own instructions reveal about the processor that it needs. For Arm only, where the
//! linkers' notes are not reliable (LLD takes over the attributes of one object file only, GNU's linker the highest of
//! all).
//!
//! If the file still has its mapping symbols (`$a`, `$t`, `$d`: ABI for the Arm Architecture, "Mapping symbols"), they
//! mark what is code. In a stripped file execution is followed from the known starts of functions, so that constants
//! between functions are not mistaken for code. Code that is only called through a register is then missed, unless it
//! is in the unwind table.

mod follow;

use std::collections::BTreeSet;

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use serde::{Deserialize, Serialize};

use self::follow::{Region, decode};
use super::arm::{Flow, Instruction, Mode};
use super::image::{Image, Reader};
use super::parse::Parsed;
use super::strings;

type Header = elf::FileHeader32<object::Endianness>;

/// Report NEON code only from this many instructions on, where code and data cannot be told apart.
const FEWEST: usize = 3;
/// Follow execution in at most this many sections with code. Linkers make a handful.
const MOST_SECTIONS: usize = 64;
/// The names of the symbols that matter are shorter, in bytes.
const LONGEST: usize = 32;
/// Stop resolving call targets after this many distinct calls.
const MOST_CALLS: usize = 1 << 16;
/// At most this many instructions may be between setting a function's first argument and the call.
const NEAR: u8 = 6;
/// The functions that ask the kernel about the processor.
const ASKED: [&[u8]; 2] = [b"getauxval", b"__getauxval"];
/// Strings and names that occur only where a program checks the features of its processor. `/proc/cpuinfo` counts only
/// together with the word that is searched for in it.
const SIGNS: [&[u8]; 8] = [
    b"/proc/self/auxv",
    b"OPENSSL_armcap",
    b"neon_available",
    b"has_neon",
    b"HasNEON",
    b"cpu_features",
    b"get_cpu_flags",
    b"orc_target_neon",
];

/// What the instructions of a 32-bit Arm file reveal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArmCode {
    /// Where the first Advanced SIMD (NEON) instruction is: a function's name, or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neon: Option<String>,
    /// The same for the first instruction that calculates with one of the registers d16 to d31.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_registers: Option<String>,
    /// Whether it checks the processor's features.
    pub asks: Asks,
}

/// Whether code asks the processor or the kernel before it relies on features that not all processors have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asks {
    /// There is no sign of it.
    #[default]
    No,
    /// It does.
    Yes,
    /// Unknown: a static program without symbols.
    Unknown,
}

/// Examines the code of a file; `None` if there is nothing to report.
pub(super) fn look(parsed: &Parsed<'_>, bytes: &[u8]) -> Option<ArmCode> {
    if parsed.elf.machine != elf::EM_ARM.0 || parsed.image.reader.big || parsed.image.reader.wide {
        return None;
    }
    let tables = Tables::read(bytes).unwrap_or_default();
    let mut scan = Scan {
        image: &parsed.image,
        budget: bytes.len().saturating_mul(2),
        answers: tables.answers.clone(),
        slots: slots(parsed, &tables),
        ..Scan::new(&parsed.image)
    };
    let mapped = tables.mapping.iter().any(|(_, kind)| kind.is_some());
    if mapped {
        scan.mapped(&tables);
    } else {
        scan.followed(&tables);
    }
    let fewest = if mapped { 1 } else { FEWEST };
    let neon = scan.neon.filter(|_| scan.count >= fewest);
    let found = ArmCode {
        neon: neon.map(|at| tables.name(bytes, at)),
        high_registers: scan.high.map(|at| tables.name(bytes, at)),
        asks: if neon.is_none() && scan.high.is_none() {
            Asks::No
        } else if scan.asks || tables.resolves || parsed.resolves() || signs(parsed, bytes) {
            Asks::Yes
        } else if parsed.elf.is_static() && tables.symbols == 0 {
            Asks::Unknown
        } else {
            Asks::No
        },
    };
    (found != ArmCode::default()).then_some(found)
}

/// True if a string or name of [`SIGNS`] is in the loaded part, or among the names of symbols.
fn signs(parsed: &Parsed<'_>, bytes: &[u8]) -> bool {
    let names = Tables::names(bytes, elf::SHT_SYMTAB).unwrap_or_default();
    let places: Vec<&[u8]> = parsed.image.loads().map(|load| load.bytes).take(64).chain([names]).collect();
    let has = |text: &[u8]| places.iter().any(|place| strings::has(place, text));
    SIGNS.iter().any(|text| has(text)) || has(b"/proc/cpuinfo") && has(b"neon")
}

/// The addresses of the slots that hold the addresses of the functions in [`ASKED`].
fn slots(parsed: &Parsed<'_>, tables: &Tables) -> BTreeSet<u32> {
    let (image, dynamic) = (&parsed.image, &parsed.dynamic);
    let mut found = BTreeSet::new();
    for (address, size) in [(elf::DT_JMPREL, elf::DT_PLTRELSZ), (elf::DT_REL, elf::DT_RELSZ)] {
        let (Some(address), Some(size)) = (dynamic.value(address), dynamic.value(size)) else { continue };
        for entry in image.at(address, size).unwrap_or_default().chunks_exact(8) {
            let (Some(place), Some(info)) = (image.reader.u32(entry, 0), image.reader.u32(entry, 4)) else {
                break;
            };
            if tables.imports.contains(&(info >> 8)) {
                found.insert(place);
            }
        }
    }
    found
}

/// What was read from the section and segment tables.
#[derive(Debug, Default)]
struct Tables {
    /// The sections with code: the start and end of each, in order.
    code: Vec<(u32, u32)>,
    /// Mapping symbols in order: where code of a mode begins, or data.
    mapping: Vec<(u32, Option<Mode>)>,
    /// The starts of functions, with the mode in the lowest bit.
    functions: Vec<u32>,
    /// The starts of functions whose mode is unknown.
    unwound: Vec<u32>,
    /// The functions in [`ASKED`] that this file defines.
    answers: BTreeSet<u32>,
    /// The symbol numbers of those that it imports.
    imports: BTreeSet<u32>,
    /// True if functions are chosen when they are bound (`STT_GNU_IFUNC`).
    resolves: bool,
    /// The number of symbols in the static linker's table.
    symbols: usize,
}

/// A symbol without its name.
struct Symbol {
    index: u32,
    /// The lower half of `st_info`: the kind of symbol.
    kind: u8,
    address: u32,
    /// 0 if it is in another file.
    section: u16,
    /// True if it is from the loader's symbol table.
    dynamic: bool,
}

impl Tables {
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = Header::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let mut tables = Self::default();
        // A library has no entry point.
        tables.functions.extend(Some(header.e_entry(endian)).filter(|entry| *entry != 0));
        for segment in header.program_headers(endian, bytes).ok()? {
            if segment.p_type(endian).0 == 0x7000_0001 {
                tables.unwind(segment.p_vaddr(endian), segment.data(endian, bytes).unwrap_or_default());
            }
        }
        let Ok(sections) = header.sections(endian, bytes) else { return Some(tables) };
        for section in sections.iter() {
            let (address, size) = (section.sh_addr(endian), section.sh_size(endian));
            let code = section.sh_flags(endian).0 & 4 != 0 && section.sh_type(endian).0 == 1;
            if code && address != 0 {
                tables.code.push((address, address.saturating_add(size)));
            }
        }
        tables.code.sort_unstable();
        tables.code.dedup();
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let Ok(symbols) = sections.symbols(endian, bytes, kind) else { continue };
            if kind == elf::SHT_SYMTAB {
                tables.symbols = symbols.len();
            }
            let names = Self::names(bytes, kind).unwrap_or_default();
            for (index, symbol) in (0_u32..).zip(symbols.iter()) {
                // Only short names matter, and long ones may overlap without end.
                let at = usize::try_from(symbol.st_name(endian)).unwrap_or(usize::MAX);
                let name = names.get(at..).unwrap_or_default();
                let name = &name[..name.len().min(LONGEST)];
                let name = memchr::memchr(0, name).map_or(&[][..], |end| &name[..end]);
                let symbol = Symbol {
                    index,
                    kind: symbol.st_info().0 & 15,
                    address: symbol.st_value(endian),
                    section: symbol.st_shndx(endian).0,
                    dynamic: kind == elf::SHT_DYNSYM,
                };
                tables.symbol(name, &symbol);
            }
        }
        tables.mapping.sort_unstable_by_key(|(address, _)| *address);
        Some(tables)
    }

    fn symbol(&mut self, name: &[u8], symbol: &Symbol) {
        let Symbol { index, kind, address, section, dynamic } = *symbol;
        let asks = ASKED.contains(&name);
        if section == 0 {
            if asks && dynamic {
                self.imports.insert(index);
            }
            return;
        }
        match (kind, name) {
            (0, [b'$', mode @ (b'a' | b't' | b'd')] | [b'$', mode @ (b'a' | b't' | b'd'), b'.', ..]) => {
                let mode = match mode {
                    b'a' => Some(Mode::Arm),
                    b't' => Some(Mode::Thumb),
                    _ => None,
                };
                self.mapping.push((address, mode));
            }
            (2, _) => {
                self.functions.push(address);
                if asks {
                    self.answers.insert(address & !1);
                }
            }
            (10, _) => self.resolves = true,
            _ => {}
        }
    }

    /// Reads the functions from the unwind table (Exception Handling ABI, "The top-level exception handling
    /// architecture"): pairs of words, of which the first is an address relative to itself.
    fn unwind(&mut self, address: u32, table: &[u8]) {
        let reader = Reader { big: false, wide: false };
        for (index, entry) in (0_u32..).zip(table.chunks_exact(8)) {
            let Some(word) = reader.u32(entry, 0) else { break };
            let offset = (word << 1).cast_signed() >> 1;
            self.unwound.push(address.wrapping_add(index * 8).wrapping_add(offset.cast_unsigned()));
        }
    }

    /// The string table with the names of a symbol table.
    fn names(bytes: &[u8], kind: elf::SectionType) -> Option<&[u8]> {
        let header = Header::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, bytes).ok()?;
        let (_, symbols) =
            sections.iter().enumerate().find(|(_, section)| section.sh_type(endian) == kind)?;
        let names = sections.iter().nth(usize::try_from(symbols.sh_link(endian)).ok()?)?;
        names.data(endian, bytes).ok()
    }

    /// A location in the code for the user: the function's name or an address.
    fn name(&self, bytes: &[u8], at: u32) -> String {
        self.function(bytes, at).unwrap_or_else(|| format!("{at:#x}"))
    }

    fn function(&self, bytes: &[u8], at: u32) -> Option<String> {
        let start = self.functions.iter().map(|start| start & !1).filter(|start| *start <= at).max()?;
        let header = Header::parse(bytes).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, bytes).ok()?;
        for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
            let Ok(symbols) = sections.symbols(endian, bytes, kind) else { continue };
            let here = symbols.iter().find(|symbol| {
                let (from, size) = (symbol.st_value(endian) & !1, symbol.st_size(endian));
                // A function written in assembly may lack its size.
                symbol.st_info().0 & 15 == 2
                    && symbol.st_shndx(endian).0 != 0
                    && from == start
                    && (size == 0 || at - from < size)
            });
            if let Some(symbol) = here {
                let name = symbol.name(endian, symbols.strings()).ok()?;
                let name = String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
                return Some(name).filter(|name| !name.is_empty());
            }
        }
        None
    }
}

/// What has been found so far.
struct Scan<'a> {
    image: &'a Image<'a>,
    /// How many bytes may still be examined. Segments may overlap, so the total must be limited.
    budget: usize,
    answers: BTreeSet<u32>,
    slots: BTreeSet<u32>,
    neon: Option<u32>,
    count: usize,
    high: Option<u32>,
    asks: bool,
    /// The call targets that were already resolved.
    called: BTreeSet<(u32, bool)>,
    /// Counts down the instructions since the first argument was set to 16, which is `AT_HWCAP`.
    near: u8,
}

impl<'a> Scan<'a> {
    fn new(image: &'a Image<'a>) -> Self {
        let (answers, slots) = (BTreeSet::new(), BTreeSet::new());
        Self {
            image,
            budget: 0,
            answers,
            slots,
            neon: None,
            count: 0,
            high: None,
            asks: false,
            called: BTreeSet::new(),
            near: 0,
        }
    }

    fn visit(&mut self, address: u32, found: &Instruction) {
        if found.neon {
            self.count += 1;
            self.neon.get_or_insert(address);
        }
        if found.high {
            self.high.get_or_insert(address);
        }
        if found.sixteen {
            self.near = NEAR;
            return;
        }
        let Some(near) = self.near.checked_sub(1) else { return };
        self.near = near;
        self.asks |= match found.flow {
            Flow::Call(target, mode) => self.asks_at(target, mode),
            Flow::Jump(target) => self.asks_at(target, Mode::Arm) || self.asks_at(target, Mode::Thumb),
            Flow::CallRegister => !self.slots.is_empty() || !self.answers.is_empty(),
            _ => false,
        };
    }

    /// True if the call's target asks the kernel: the function itself, or the linker's stub for it.
    fn asks_at(&mut self, target: u32, mode: Mode) -> bool {
        if self.answers.contains(&target) {
            return true;
        }
        if self.slots.is_empty()
            || self.called.len() == MOST_CALLS
            || !self.called.insert((target, mode == Mode::Thumb))
        {
            return false;
        }
        // bx pc; nop
        let enters = self.half(target) == Some(0x4778);
        let mut at = if mode == Mode::Thumb && enters { target.wrapping_add(4) } else { target };
        // add ip, pc, #a; add ip, ip, #b; ldr pc, [ip, #c]!
        let mut base = 0_u32;
        for _ in 0..4 {
            let Some(word) = self.word(at) else { return false };
            let rotated = (word & 0xff).rotate_right((word >> 8 & 15) * 2);
            match word & 0xffff_f000 {
                0xe28f_c000 => base = at.wrapping_add(8).wrapping_add(rotated),
                0xe28c_c000 => base = base.wrapping_add(rotated),
                0xe5bc_f000 => return self.slots.contains(&base.wrapping_add(word & 0xfff)),
                _ => return false,
            }
            at = at.wrapping_add(4);
        }
        false
    }

    fn half(&self, address: u32) -> Option<u16> {
        self.image.reader.u16(self.image.tail(address.into())?, 0)
    }

    fn word(&self, address: u32) -> Option<u32> {
        self.image.reader.u32(self.image.tail(address.into())?, 0)
    }

    /// Examines the code that mapping symbols mark.
    fn mapped(&mut self, tables: &Tables) {
        for (index, (start, mode)) in tables.mapping.iter().enumerate() {
            let Some(mode) = *mode else { continue };
            let before = tables.code.partition_point(|(from, _)| from <= start);
            let Some((_, end)) = before.checked_sub(1).map(|index| tables.code[index]) else { continue };
            let next = tables.mapping.get(index + 1).map_or(end, |(next, _)| *next).min(end);
            let Some(bytes) = self.image.tail((*start).into()) else { continue };
            let size =
                usize::try_from(next.saturating_sub(*start)).unwrap_or(0).min(bytes.len()).min(self.budget);
            self.budget -= size;
            let (mut at, bytes) = (0, &bytes[..size]);
            while let Some(found) = decode(self.image.reader, bytes, at, start.wrapping_add(at), mode) {
                self.visit(start.wrapping_add(at), &found);
                at += found.size;
            }
            self.near = 0;
        }
    }

    /// Follows execution from every known start of a function.
    fn followed(&mut self, tables: &Tables) {
        let mut regions = Vec::new();
        for load in self.image.loads().filter(|load| load.executable) {
            let Ok(address) = u32::try_from(load.address) else { continue };
            // Only the sections with code, if they are known: the segment has constants too.
            let all = [(address, u32::MAX)];
            let known = &tables.code[..tables.code.len().min(MOST_SECTIONS)];
            for (from, to) in if known.is_empty() { &all[..] } else { known } {
                let Some(start) = from.checked_sub(address).and_then(|at| usize::try_from(at).ok()) else {
                    continue;
                };
                let size = usize::try_from(to.saturating_sub(*from)).unwrap_or(usize::MAX);
                let bytes = load.bytes.get(start..).unwrap_or_default();
                let size = size.min(bytes.len()).min(self.budget);
                self.budget -= size;
                if size > 0 && regions.len() < MOST_SECTIONS {
                    regions.push(Region::new(*from, &bytes[..size]));
                }
            }
        }
        for region in &mut regions {
            for function in &tables.functions {
                region.seed(*function & !1, if function & 1 == 1 { Mode::Thumb } else { Mode::Arm });
            }
            region.follow(self.image.reader);
            for function in &tables.unwound {
                let mode = region.guess(self.image.reader, *function);
                region.seed(function & !1, mode);
            }
            region.follow(self.image.reader);
        }
        for region in &regions {
            for half in region.code() {
                let mode = if region.thumb.has(half) { Mode::Thumb } else { Mode::Arm };
                let Ok(at) = u32::try_from(half * 2) else { break };
                // Most instructions reveal nothing, unless a call is expected.
                if self.near == 0 && !region.may_tell(self.image.reader, half, mode) {
                    continue;
                }
                let address = region.address.wrapping_add(at);
                if let Some(found) = decode(self.image.reader, region.bytes, at, address, mode) {
                    self.visit(address, &found);
                }
            }
        }
    }
}
