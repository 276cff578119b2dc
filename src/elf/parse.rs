//! Reads an [`Elf`] from bytes, using only what the loader uses.

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endian, FileKind};

use super::image::{Image, Load, Reader, Strings, broken, text};
use super::versions::{self, Defined, Needed};
use super::{Elf, Kind, ParseError, attributes, property};
use crate::Endianness;

/// Limit of the total length of the names of needed libraries and of versions, in bytes.
const NAMES: usize = 8 << 20;
/// Reject a file that needs more libraries than this.
const MOST_NEEDED: usize = 16 << 10;

/// A file's headers, and what is needed to read its symbols.
pub(super) struct Parsed<'a> {
    pub(super) elf: Elf,
    pub(super) image: Image<'a>,
    pub(super) dynamic: Dynamic,
    pub(super) needed: Vec<Needed>,
    pub(super) defined: Vec<Defined>,
    /// The address of the table for unwinding (`PT_GNU_EH_FRAME`).
    pub(super) unwind: Option<u64>,
}

impl Parsed<'_> {
    /// True if functions are chosen at load time to suit the processor (`R_ARM_IRELATIVE`).
    pub(super) fn resolves(&self) -> bool {
        let tables = [(elf::DT_JMPREL, elf::DT_PLTRELSZ), (elf::DT_REL, elf::DT_RELSZ)];
        tables.iter().any(|(address, size)| {
            let (Some(address), Some(size)) = (self.dynamic.value(*address), self.dynamic.value(*size))
            else {
                return false;
            };
            let entries = self.image.at(address, size).unwrap_or_default().chunks_exact(8);
            entries.filter_map(|entry| self.image.reader.u32(entry, 4)).any(|info| info & 0xff == 160)
        })
    }
}

/// The dynamic segment: tags and values, in the file's order.
#[derive(Debug, Default)]
pub(super) struct Dynamic(Vec<(i64, u64)>);

impl Dynamic {
    pub(super) fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == tag.0).map(|(_, value)| *value)
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, ParseError> {
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf32) => read::<elf::FileHeader32<object::Endianness>>(bytes),
        Ok(FileKind::Elf64) => read::<elf::FileHeader64<object::Endianness>>(bytes),
        _ => Err(ParseError::NotElf { kind: guess(bytes) }),
    }
}

/// What a file that is not an ELF file looks like, for the message.
fn guess(bytes: &[u8]) -> Option<&'static str> {
    let magics: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"#!", "a script"),
        (b"MZ", "a Windows program"),
        (b"\xcf\xfa\xed\xfe", "a macOS program"),
        (b"\xce\xfa\xed\xfe", "a macOS program"),
        (b"\xca\xfe\xba\xbe", "a macOS program or a Java class"),
        (b"\0asm", "a WebAssembly module"),
        (b"!<arch>\n", "a static library"),
    ];
    if bytes.is_empty() {
        return Some("empty");
    }
    magics.iter().skip(1).find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

fn read<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Result<Parsed<'_>, ParseError> {
    let header = H::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let reader = Reader { big: endian.is_big_endian(), wide: header.is_class_64() };
    let segments = header.program_headers(endian, bytes).map_err(broken)?;
    let (mut interpreter, mut table, mut loads, mut x86_levels) = (None, None, Vec::new(), 0);
    let mut unwind = None;
    for segment in segments {
        let data = || segment.data(endian, bytes).map_err(|()| broken("a segment leads out of the file"));
        match segment.p_type(endian) {
            elf::PT_LOAD => loads.push(load(segment, endian, bytes)),
            elf::PT_INTERP => interpreter = Some(text(data()?)?),
            elf::PT_DYNAMIC => table = Some(data()?),
            elf::PT_GNU_EH_FRAME => unwind = Some(segment.p_vaddr(endian).into()),
            elf::PT_NOTE => {
                let align = segment.p_align(endian).into();
                x86_levels |= property::x86_levels(reader, data().unwrap_or_default(), align);
            }
            _ => {}
        }
    }
    let image = Image::new(reader, loads)?;
    let machine = header.e_machine(endian).0;
    let mut elf = Elf {
        class: if reader.wide { 64 } else { 32 },
        endianness: if reader.big { Endianness::Big } else { Endianness::Little },
        os_abi: header.e_ident().os_abi.0,
        kind: kind(header.e_type(endian).0),
        machine,
        flags: header.e_flags(endian).0,
        interpreter,
        dynamic: table.is_some(),
        needed: Vec::new(),
        soname: None,
        rpath: None,
        runpath: None,
        pie_flag: false,
        no_default_dirs: false,
        filters: Vec::new(),
        auxiliaries: Vec::new(),
        relr: false,
        x86_levels: if matches!(machine, 3 | 62) { x86_levels } else { 0 },
        arm: None,
        versions_needed: Vec::new(),
        versions_defined: Vec::new(),
    };
    if machine == elf::EM_ARM.0 {
        elf.arm = section::<H>(header, endian, bytes, elf::SHT_ARM_ATTRIBUTES.0)
            .and_then(|section| attributes::parse(reader, section));
    }
    let (dynamic, needed, defined) = (Dynamic::default(), Vec::new(), Vec::new());
    let mut parsed = Parsed { elf, image, dynamic, needed, defined, unwind };
    if let Some(table) = table {
        read_dynamic(&mut parsed, table)?;
    }
    Ok(parsed)
}

/// A segment that is mapped.
fn load<'a, H: ProgramHeader<Endian = object::Endianness>>(
    segment: &H,
    endian: object::Endianness,
    bytes: &'a [u8],
) -> Load<'a> {
    // If the file ends before its segment, only the part that exists is read. The loader would fault on the rest when
    // it is used.
    let range = segment.file_range(endian);
    let from = usize::try_from(range.0).unwrap_or(usize::MAX).min(bytes.len());
    let to = usize::try_from(range.0.saturating_add(range.1)).unwrap_or(usize::MAX);
    let bytes = &bytes[from..to.min(bytes.len()).max(from)];
    let executable = segment.p_flags(endian).0 & elf::PF_X.0 != 0;
    Load { address: segment.p_vaddr(endian).into(), executable, bytes }
}

/// The content of the first section of a type, if it is there.
fn section<'a, H: FileHeader<Endian = object::Endianness>>(
    header: &H,
    endian: object::Endianness,
    bytes: &'a [u8],
    wanted: u32,
) -> Option<&'a [u8]> {
    use object::read::elf::SectionHeader;
    let sections = header.section_headers(endian, bytes).ok()?;
    let section = sections.iter().find(|section| section.sh_type(endian).0 == wanted)?;
    section.data(endian, bytes).ok()
}

fn kind(number: u16) -> Kind {
    match number {
        1 => Kind::Relocatable,
        2 => Kind::Executable,
        3 => Kind::Shared,
        other => Kind::Other(other),
    }
}

fn read_dynamic(parsed: &mut Parsed<'_>, table: &[u8]) -> Result<(), ParseError> {
    let reader = parsed.image.reader;
    let (mut entries, size) = (Vec::new(), reader.size());
    for entry in table.chunks_exact(2 * size) {
        let (Some(tag), Some(value)) = (reader.word(entry, 0), reader.word(entry, size)) else { break };
        // Tags of 32-bit files are signed too.
        #[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "tags are signed")]
        let tag = if reader.wide { tag as i64 } else { i64::from(tag as u32 as i32) };
        if tag == elf::DT_NULL.0 {
            break;
        }
        entries.push((tag, value));
    }
    let dynamic = Dynamic(entries);
    let (elf, image) = (&mut parsed.elf, &parsed.image);
    let strings = match (dynamic.value(elf::DT_STRTAB), dynamic.value(elf::DT_STRSZ)) {
        (Some(address), Some(size)) => image.at(address, size)?,
        _ => &[],
    };
    let strings = Strings::new(strings, NAMES);
    let named = |tag: elf::DynamicTag| dynamic.value(tag).map(|offset| strings.name(offset)).transpose();
    for (tag, names) in [
        (elf::DT_NEEDED, &mut elf.needed),
        (elf::DT_FILTER, &mut elf.filters),
        (elf::DT_AUXILIARY, &mut elf.auxiliaries),
    ] {
        for (_, offset) in dynamic.0.iter().filter(|(known, _)| *known == tag.0) {
            if names.len() == MOST_NEEDED {
                return Err(broken("it needs more libraries than can be meant"));
            }
            names.push(strings.name(*offset)?);
        }
    }
    elf.soname = named(elf::DT_SONAME)?;
    elf.rpath = named(elf::DT_RPATH)?;
    elf.runpath = named(elf::DT_RUNPATH)?;
    let flags = dynamic.value(elf::DT_FLAGS_1).unwrap_or(0);
    elf.pie_flag = flags & elf::DF_1_PIE.0 != 0;
    elf.no_default_dirs = flags & elf::DF_1_NODEFLIB.0 != 0;
    elf.relr = dynamic.value(elf::DT_RELR).is_some();
    if let Some(address) = dynamic.value(elf::DT_VERNEED) {
        parsed.needed = versions::needed(image, address, &strings)?;
        elf.versions_needed = parsed.needed.iter().map(|(_, need)| need.clone()).collect();
    }
    if let Some(address) = dynamic.value(elf::DT_VERDEF) {
        parsed.defined = versions::defined(image, address, &strings)?;
        elf.versions_defined = parsed.defined.iter().map(|(_, version)| version.clone()).collect();
    }
    parsed.dynamic = dynamic;
    Ok(())
}
