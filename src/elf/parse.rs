//! Reads an [`Elf`] from bytes by what the loader reads.

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endian, FileKind};

use super::{Elf, Kind, ParseError, VersionNeed};
use crate::catalog::Endianness;

/// More entries than this in a version chain are a loop or nonsense: glibc itself has about 60.
const MANY: u32 = 4096;

pub(super) fn parse(bytes: &[u8]) -> Result<Elf, ParseError> {
    match FileKind::parse(bytes) {
        Ok(FileKind::Elf32) => read::<elf::FileHeader32<object::Endianness>>(bytes),
        Ok(FileKind::Elf64) => read::<elf::FileHeader64<object::Endianness>>(bytes),
        _ => Err(ParseError::NotElf { kind: guess(bytes) }),
    }
}

/// What a file that is no ELF file looks like, for the message.
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

fn broken(what: impl std::fmt::Display) -> ParseError {
    ParseError::Broken(what.to_string())
}

fn read<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Result<Elf, ParseError> {
    let header = H::parse(bytes).map_err(broken)?;
    let endian = header.endian().map_err(broken)?;
    let segments = header.program_headers(endian, bytes).map_err(broken)?;
    let mut interpreter = None;
    let mut dynamic = None;
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, bytes).map_err(broken)? {
            interpreter = Some(text(path)?);
        }
        if let Some(table) = segment.dynamic(endian, bytes).map_err(broken)? {
            dynamic = Some(table);
        }
    }
    let mut elf = Elf {
        class: if header.is_class_64() { 64 } else { 32 },
        endianness: if endian.is_big_endian() { Endianness::Big } else { Endianness::Little },
        os_abi: header.e_ident().os_abi.0,
        kind: kind(header.e_type(endian).0),
        machine: header.e_machine(endian).0,
        flags: header.e_flags(endian).0,
        interpreter,
        dynamic: dynamic.is_some(),
        needed: Vec::new(),
        soname: None,
        rpath: None,
        runpath: None,
        pie_flag: false,
        versions_needed: Vec::new(),
        versions_defined: Vec::new(),
    };
    if let Some(dynamic) = dynamic {
        let image = Image::<H> { bytes, endian, segments };
        read_dynamic(&mut elf, &image, dynamic)?;
    }
    Ok(elf)
}

fn kind(number: u16) -> Kind {
    match number {
        1 => Kind::Relocatable,
        2 => Kind::Executable,
        3 => Kind::Shared,
        other => Kind::Other(other),
    }
}

fn text(bytes: &[u8]) -> Result<String, ParseError> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| broken("a name is not UTF-8"))
}

fn read_dynamic<H: FileHeader<Endian = object::Endianness>>(
    elf: &mut Elf,
    image: &Image<'_, H>,
    table: &[H::Dyn],
) -> Result<(), ParseError> {
    let entries: Vec<(i64, u64)> = table
        .iter()
        .map(|entry| (entry.d_tag(image.endian).0, entry.d_val(image.endian).into()))
        .take_while(|(tag, _)| *tag != elf::DT_NULL.0)
        .collect();
    let value =
        |wanted: elf::DynamicTag| entries.iter().find(|(tag, _)| *tag == wanted.0).map(|(_, value)| *value);
    let strings = match (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) {
        (Some(address), Some(size)) => image.at(address, size)?,
        _ => &[],
    };
    let string = |offset: u64| -> Result<String, ParseError> {
        let start = usize::try_from(offset).map_err(broken)?;
        text(strings.get(start..).ok_or_else(|| broken("a name is outside of the string table"))?)
    };
    let named = |tag: elf::DynamicTag| value(tag).map(string).transpose();
    for (_, offset) in entries.iter().filter(|(tag, _)| *tag == elf::DT_NEEDED.0) {
        elf.needed.push(string(*offset)?);
    }
    elf.soname = named(elf::DT_SONAME)?;
    elf.rpath = named(elf::DT_RPATH)?;
    elf.runpath = named(elf::DT_RUNPATH)?;
    elf.pie_flag = value(elf::DT_FLAGS_1).is_some_and(|flags| flags & elf::DF_1_PIE.0 != 0);
    if let Some(address) = value(elf::DT_VERNEED) {
        elf.versions_needed = image.versions_needed(address, &string)?;
    }
    if let Some(address) = value(elf::DT_VERDEF) {
        elf.versions_defined = image.versions_defined(address, &string)?;
    }
    Ok(())
}

/// The file as the loader maps it.
struct Image<'a, H: FileHeader> {
    bytes: &'a [u8],
    endian: H::Endian,
    segments: &'a [H::ProgramHeader],
}

impl<'a, H: FileHeader<Endian = object::Endianness>> Image<'a, H> {
    /// The bytes that are mapped at an address.
    fn at(&self, address: u64, size: u64) -> Result<&'a [u8], ParseError> {
        self.segments
            .iter()
            .filter(|segment| segment.p_type(self.endian) == elf::PT_LOAD)
            .find_map(|segment| segment.data_range(self.endian, self.bytes, address, size).ok().flatten())
            .ok_or_else(|| broken(format_args!("address {address:#x} is not in the file")))
    }

    /// The 16 bits at `offset` bytes after an address.
    fn u16(&self, address: u64, offset: u64) -> Result<u16, ParseError> {
        let bytes = self.at(address.wrapping_add(offset), 2)?.try_into().map_err(broken)?;
        Ok(self.endian.read_u16(bytes))
    }

    /// The 32 bits at `offset` bytes after an address.
    fn u32(&self, address: u64, offset: u64) -> Result<u32, ParseError> {
        let bytes = self.at(address.wrapping_add(offset), 4)?.try_into().map_err(broken)?;
        Ok(self.endian.read_u32(bytes))
    }

    /// `Elf32_Verneed` and `Elf64_Verneed` are alike: version, count (16 bits), file, aux, next (32 bits),
    /// each with a chain of auxiliary entries: hash (32), flags, other (16), name, next (32).
    fn versions_needed(
        &self,
        mut address: u64,
        string: &dyn Fn(u64) -> Result<String, ParseError>,
    ) -> Result<Vec<VersionNeed>, ParseError> {
        let mut needs = Vec::new();
        for _ in 0..MANY {
            let library = string(self.u32(address, 4)?.into())?;
            let mut auxiliary = address.wrapping_add(self.u32(address, 8)?.into());
            for _ in 0..self.u16(address, 2)? {
                needs.push(VersionNeed {
                    library: library.clone(),
                    version: string(self.u32(auxiliary, 8)?.into())?,
                    weak: self.u16(auxiliary, 4)? & elf::VER_FLG_WEAK.0 != 0,
                });
                auxiliary = auxiliary.wrapping_add(self.u32(auxiliary, 12)?.into());
            }
            match self.u32(address, 12)? {
                0 => return Ok(needs),
                next => address = address.wrapping_add(next.into()),
            }
        }
        Err(broken("its needed versions have no end"))
    }

    /// `Elf32_Verdef` and `Elf64_Verdef` are alike: version, flags, index, count (16 bits), hash, aux, next
    /// (32 bits); the first auxiliary entry names the version: name, next (32).
    fn versions_defined(
        &self,
        mut address: u64,
        string: &dyn Fn(u64) -> Result<String, ParseError>,
    ) -> Result<Vec<String>, ParseError> {
        let mut versions = Vec::new();
        for _ in 0..MANY {
            let flags = self.u16(address, 2)?;
            if flags & elf::VER_FLG_BASE.0 == 0 {
                let auxiliary = address.wrapping_add(self.u32(address, 12)?.into());
                versions.push(string(self.u32(auxiliary, 0)?.into())?);
            }
            match self.u32(address, 16)? {
                0 => return Ok(versions),
                next => address = address.wrapping_add(next.into()),
            }
        }
        Err(broken("its defined versions have no end"))
    }
}
