//! Dynamic symbols: those that a file defines for others, and those that it cannot run without.
//!
//! There are many definitions, and they are only ever looked up by name, so a 64-bit hash represents each. The symbols
//! that a file needs are shown to the user, so their names are stored.

use object::elf;
use serde::{Deserialize, Serialize};

use super::ParseError;
use super::image::{Strings, broken};
use super::parse::Parsed;

/// Reject a file with more symbols than this; a browser's library has a tenth of it.
pub(super) const MOST_SYMBOLS: usize = 4 << 20;
/// Limit of the total length of all symbols' names, in bytes.
const NAMES: usize = 64 << 20;
/// Limit of the total length of the undefined symbols' names, which are stored, in bytes.
const UNDEFINED_NAMES: usize = 32 << 20;
/// Read at most this many bytes of a name where only some names matter.
const SHORT: usize = 256;
/// In a symbol's version number: the version is not the default one.
const HIDDEN: u16 = 0x8000;
/// The highest version number that stands for no version: 0 is local and 1 is global.
const GLOBAL: u16 = 1;

/// The dynamic symbols of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Symbols {
    /// True if its symbols have versions (`DT_VERSYM`).
    pub versioned: bool,
    /// Sorted hashes of the definitions: of each name, and of each name with its version.
    #[serde(with = "hashes")]
    defined: Vec<u64>,
    /// The symbols that it refers to, does not define and cannot run without, in the file's order.
    pub undefined: Vec<Undefined>,
}

/// A symbol that another file must define.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undefined(
    /// Its name, mangled as in the file.
    pub String,
    /// The version that it needs, as an index of [`super::Elf::versions_needed`].
    pub Option<u16>,
);

impl Symbols {
    /// True if it defines a symbol by the rules of glibc's loader: a definition without a version satisfies every
    /// reference, and a reference without a version gets the default version.
    #[must_use]
    pub fn defines(&self, name: &str, version: Option<&str>) -> bool {
        let has = |version: Option<&str>| {
            self.defined.binary_search(&hash(name.as_bytes(), version.map(str::as_bytes))).is_ok()
        };
        match version {
            Some(version) if self.versioned => has(Some(version)) || has(Some("")),
            _ => has(None),
        }
    }

    /// The number of hashes of the definitions.
    #[must_use]
    pub fn count(&self) -> usize {
        self.defined.len()
    }
}

/// FNV-1a of a name, and of its version if there is one. The hashes are stored in files, so this must not change.
fn hash(name: &[u8], version: Option<&[u8]>) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    match version {
        // No symbol's name has a NUL.
        Some(version) => version.iter().fold(mix(hash, &0), mix),
        None => hash,
    }
}

/// One entry of the symbol table.
pub(super) struct Symbol {
    pub(super) name: u32,
    pub(super) binding: u8,
    pub(super) kind: u8,
    pub(super) visibility: u8,
    pub(super) section: u16,
    pub(super) value: u64,
    pub(super) size: u64,
}

/// The beginning of a name. Names may overlap without limit, so only this much is compared and shown.
pub(super) fn short(strings: &[u8], at: u32) -> &[u8] {
    let name = usize::try_from(at).ok().and_then(|at| strings.get(at..)).unwrap_or_default();
    let name = &name[..name.len().min(SHORT)];
    memchr::memchr(0, name).map_or(name, |end| &name[..end])
}

/// Calls `take` for every dynamic symbol, with its number and the beginning of its name.
pub(super) fn each<'a>(parsed: &Parsed<'a>, mut take: impl FnMut(usize, &'a [u8], &Symbol)) {
    let (image, dynamic) = (&parsed.image, &parsed.dynamic);
    let (Some(table), Some(strings), Some(size)) =
        (dynamic.value(elf::DT_SYMTAB), dynamic.value(elf::DT_STRTAB), dynamic.value(elf::DT_STRSZ))
    else {
        return;
    };
    let (Some(table), Ok(strings)) = (image.tail(table), image.at(strings, size)) else { return };
    let entry = if image.reader.wide { 24 } else { 16 };
    let count = hashed(parsed).unwrap_or(0).max(references(parsed).count).min(MOST_SYMBOLS);
    for (index, bytes) in table.chunks_exact(entry).take(count).enumerate().skip(1) {
        let Some(symbol) = symbol(image.reader, bytes) else { break };
        take(index, short(strings, symbol.name), &symbol);
    }
}

pub(super) fn read(parsed: &Parsed<'_>) -> Result<Symbols, ParseError> {
    let (image, dynamic) = (&parsed.image, &parsed.dynamic);
    let reader = image.reader;
    let (Some(table), Some(strings), Some(size)) =
        (dynamic.value(elf::DT_SYMTAB), dynamic.value(elf::DT_STRTAB), dynamic.value(elf::DT_STRSZ))
    else {
        return Ok(Symbols::default());
    };
    let table = image.tail(table).ok_or_else(|| broken("its symbols are not in the file"))?;
    let strings = Strings::new(image.at(strings, size)?, NAMES);
    let entry = if reader.wide { 24 } else { 16 };
    let references = references(parsed);
    let count = hashed(parsed).unwrap_or(0).max(references.count).min(table.len() / entry);
    if count > MOST_SYMBOLS {
        return Err(broken(format_args!("it has {count} dynamic symbols")));
    }
    let versions = dynamic.value(elf::DT_VERSYM).and_then(|address| image.tail(address));
    let names = Names::new(parsed);
    let mut symbols = Symbols { versioned: versions.is_some(), ..Symbols::default() };
    let mut undefined_names = 0;
    for (index, bytes) in table.chunks_exact(entry).take(count).enumerate().skip(1) {
        let Some(symbol) = symbol(reader, bytes) else { break };
        // STB_GLOBAL, STB_WEAK and STB_GNU_UNIQUE are visible to other files.
        if !matches!(symbol.binding, 1 | 2 | 10) {
            continue;
        }
        let version = versions.and_then(|versions| reader.u16(versions, index * 2)).unwrap_or(GLOBAL);
        let elsewhere = symbol.section == 0 || references.copied(index);
        if elsewhere && symbol.binding != 2 && references.has(index) {
            let name = strings.name(symbol.name.into())?;
            undefined_names += name.len();
            if undefined_names > UNDEFINED_NAMES {
                return Err(broken("the names of its undefined symbols take more than can be meant"));
            }
            if !name.is_empty() {
                symbols.undefined.push(Undefined(name, names.needed(version)));
            }
        }
        if symbol.section != 0 && symbol.is_definition() {
            let name = strings.raw(symbol.name.into())?;
            // The program's own copy of data has the version that the program needs, and no other version is ever
            // looked up.
            let version = if references.copied(index) { GLOBAL } else { version };
            symbols.define(name, version, &names);
        }
    }
    symbols.defined.sort_unstable();
    symbols.defined.dedup();
    symbols.defined.shrink_to_fit();
    Ok(symbols)
}

impl Symbol {
    /// True if the loader binds other files' references to it.
    fn is_definition(&self) -> bool {
        // NOTYPE, OBJECT, FUNC, COMMON, TLS and GNU_IFUNC; neither internal nor hidden.
        let kind = matches!(self.kind, 0 | 1 | 2 | 5 | 6 | 10);
        kind && !matches!(self.visibility, 1 | 2)
            && (self.value != 0 || self.kind == 6 || self.section == 0xfff1)
    }
}

/// The versions, indexed by their numbers.
struct Names<'a> {
    defined: Vec<Option<&'a str>>,
    needed: Vec<Option<u16>>,
}

impl<'a> Names<'a> {
    fn new(parsed: &'a Parsed<'_>) -> Self {
        let (mut defined, mut needed) = (Vec::new(), Vec::new());
        for (number, version) in &parsed.defined {
            put(&mut defined, *number, version.as_str());
        }
        for (index, (number, _)) in (0..).zip(&parsed.needed) {
            put(&mut needed, *number, index);
        }
        Self { defined, needed }
    }

    fn defined(&self, version: u16) -> Option<&'a str> {
        self.defined.get(usize::from(version & !HIDDEN)).copied().flatten()
    }

    /// The needed version that a version number stands for.
    fn needed(&self, version: u16) -> Option<u16> {
        self.needed.get(usize::from(version & !HIDDEN)).copied().flatten()
    }
}

fn put<T: Clone>(list: &mut Vec<Option<T>>, number: u16, value: T) {
    let number = usize::from(number);
    if list.len() <= number {
        list.resize(number + 1, None);
    }
    list[number] = Some(value);
}

impl Symbols {
    fn define(&mut self, name: &[u8], version: u16, names: &Names<'_>) {
        let (number, hidden) = (version & !HIDDEN, version & HIDDEN != 0);
        // glibc binds a reference without a version to the first version, even if that is hidden.
        if !hidden || !self.versioned || number <= 2 {
            self.defined.push(hash(name, None));
        }
        if !self.versioned {
            return;
        }
        if number <= GLOBAL {
            if !hidden {
                self.defined.push(hash(name, Some(b"")));
            }
        } else if let Some(version) = names.defined(version) {
            self.defined.push(hash(name, Some(version.as_bytes())));
        }
    }
}

fn symbol(reader: super::image::Reader, bytes: &[u8]) -> Option<Symbol> {
    let (info, other, section, value, size) = if reader.wide { (4, 5, 6, 8, 16) } else { (12, 13, 14, 4, 8) };
    let info = bytes.get(info)?;
    Some(Symbol {
        name: reader.u32(bytes, 0)?,
        binding: info >> 4,
        kind: info & 15,
        visibility: bytes.get(other)? & 3,
        section: reader.u16(bytes, section)?,
        value: reader.word(bytes, value)?,
        size: reader.word(bytes, size)?,
    })
}

/// The number of symbols according to the hash tables.
fn hashed(parsed: &Parsed<'_>) -> Option<usize> {
    let (image, reader) = (&parsed.image, parsed.image.reader);
    let gnu = || {
        let bytes = image.tail(parsed.dynamic.value(elf::DT_GNU_HASH)?)?;
        let number = |at: usize| usize::try_from(reader.u32(bytes, at)?).ok();
        let (buckets, first, bloom) = (number(0)?, number(4)?, number(8)?);
        let start = bloom.checked_mul(reader.size())?.checked_add(16)?;
        let end = start.checked_add(buckets.checked_mul(4)?)?;
        let last = bytes.get(start..end)?.chunks_exact(4).filter_map(|bucket| reader.u32(bucket, 0)).max()?;
        let Some(mut at) = usize::try_from(last).ok()?.checked_sub(first) else { return Some(first) };
        // The last symbol of a chain has bit 0.
        while reader.u32(bytes, end.checked_add(at.checked_mul(4)?)?)? & 1 == 0 {
            at += 1;
        }
        first.checked_add(at)?.checked_add(1)
    };
    let classic = || {
        let bytes = image.tail(parsed.dynamic.value(elf::DT_HASH)?)?;
        // Only 64-bit IBM Z has 64-bit entries.
        if parsed.elf.machine == elf::EM_S390.0 && reader.wide {
            return usize::try_from(reader.u64(bytes, 8)?).ok();
        }
        usize::try_from(reader.u32(bytes, 4)?).ok()
    };
    gnu().into_iter().chain(classic()).max()
}

/// The symbols that relocations refer to. The table may have other symbols, which are never looked up.
#[derive(Debug, Default)]
struct References {
    /// One more than the highest number.
    count: usize,
    referred: Vec<u64>,
    copied: Vec<u64>,
}

impl References {
    fn has(&self, index: usize) -> bool {
        bit(&self.referred, index)
    }

    /// True for data that a program has a copy of, whose original another file must define.
    fn copied(&self, index: usize) -> bool {
        bit(&self.copied, index)
    }
}

fn bit(bits: &[u64], index: usize) -> bool {
    bits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
}

fn set(bits: &mut Vec<u64>, index: usize) {
    if bits.len() <= index / 64 {
        bits.resize(index / 64 + 1, 0);
    }
    bits[index / 64] |= 1 << (index % 64);
}

fn references(parsed: &Parsed<'_>) -> References {
    let (image, dynamic) = (&parsed.image, &parsed.dynamic);
    let reader = image.reader;
    let word = reader.size();
    let with_addend = dynamic.value(elf::DT_PLTREL) == u64::try_from(elf::DT_RELA.0).ok();
    let tables = [
        (elf::DT_RELA, elf::DT_RELASZ, 3),
        (elf::DT_REL, elf::DT_RELSZ, 2),
        (elf::DT_JMPREL, elf::DT_PLTRELSZ, if with_addend { 3 } else { 2 }),
    ];
    let mut found = References::default();
    for (address, size, words) in tables {
        let (Some(address), Some(size)) = (dynamic.value(address), dynamic.value(size)) else { continue };
        let Ok(bytes) = image.at(address, size) else { continue };
        for entry in bytes.chunks_exact(words * word) {
            let Some(info) = reader.word(entry, word) else { break };
            let (symbol, kind) =
                if reader.wide { (info >> 32, info & 0xffff_ffff) } else { (info >> 8, info & 0xff) };
            // 0 means no symbol.
            let Some(symbol) = usize::try_from(symbol).ok().filter(|s| (1..MOST_SYMBOLS).contains(s)) else {
                continue;
            };
            found.count = found.count.max(symbol + 1);
            set(&mut found.referred, symbol);
            if Some(kind) == copy(parsed.elf.machine) {
                set(&mut found.copied, symbol);
            }
        }
    }
    found
}

/// The relocation that copies data from a library into the program (psABI of each machine, `R_…_COPY`).
fn copy(machine: u16) -> Option<u64> {
    [(3, 5), (62, 5), (40, 20), (183, 1024), (20, 19), (21, 19), (22, 9), (243, 4), (258, 4)]
        .iter()
        .find(|(known, _)| *known == machine)
        .map(|(_, kind)| *kind)
}

/// Hashes as base64 of their little-endian bytes.
mod hashes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hashes: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(Error::custom)?;
        let hash = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        Ok(bytes.chunks_exact(8).map(hash).collect())
    }
}
