//! Symbol versions: those that a file needs from others (`DT_VERNEED`) and those that it defines (`DT_VERDEF`).

use super::image::{Image, Strings, broken};
use super::{ParseError, VersionNeed};

/// Reject more versions than this as a loop or nonsense: glibc itself has about 60, and a program needs a handful.
const MANY: usize = 4096;
/// `VER_FLG_BASE`: a definition that names the file itself.
const BASE: u16 = 1;
/// `VER_FLG_WEAK`.
const WEAK: u16 = 2;

/// A needed version, and the number that the file's symbols refer to it by.
pub(super) type Needed = (u16, VersionNeed);
/// A defined version, likewise.
pub(super) type Defined = (u16, String);

/// `Elf32_Verneed` and `Elf64_Verneed` are alike: version, count (16 bits), file, aux, next (32 bits), each with a
/// chain of auxiliary entries: hash (32), flags, other (16), name, next (32).
pub(super) fn needed(
    image: &Image<'_>,
    address: u64,
    strings: &Strings<'_>,
) -> Result<Vec<Needed>, ParseError> {
    let outside = || broken("its needed versions lead out of the file");
    let bytes = image.tail(address).ok_or_else(outside)?;
    let (reader, mut needs, mut at) = (image.reader, Vec::new(), 0_usize);
    let u16 = |at: usize| reader.u16(bytes, at).ok_or_else(outside);
    let u32 = |at: usize| reader.u32(bytes, at).ok_or_else(outside);
    let step = |at: usize, by: u32| at.checked_add(usize::try_from(by).ok()?);
    for _ in 0..MANY {
        let library = strings.name(u32(at + 4)?.into())?;
        let mut auxiliary = step(at, u32(at + 8)?).ok_or_else(outside)?;
        for _ in 0..u16(at + 2)? {
            if needs.len() == MANY {
                return Err(broken("its needed versions have no end"));
            }
            let need = VersionNeed {
                library: library.clone(),
                version: strings.name(u32(auxiliary.saturating_add(8))?.into())?,
                weak: u16(auxiliary.saturating_add(4))? & WEAK != 0,
            };
            needs.push((u16(auxiliary.saturating_add(6))? & 0x7fff, need));
            auxiliary = step(auxiliary, u32(auxiliary.saturating_add(12))?).ok_or_else(outside)?;
        }
        match u32(at + 12)? {
            0 => return Ok(needs),
            next => at = step(at, next).filter(|at| *at < bytes.len()).ok_or_else(outside)?,
        }
    }
    Err(broken("its needed versions have no end"))
}

/// `Elf32_Verdef` and `Elf64_Verdef` are alike: version, flags, index, count (16 bits), hash, aux, next (32 bits);
/// the first auxiliary entry names the version: name, next (32).
pub(super) fn defined(
    image: &Image<'_>,
    address: u64,
    strings: &Strings<'_>,
) -> Result<Vec<Defined>, ParseError> {
    let outside = || broken("its defined versions lead out of the file");
    let bytes = image.tail(address).ok_or_else(outside)?;
    let (reader, mut versions, mut at) = (image.reader, Vec::new(), 0_usize);
    let u16 = |at: usize| reader.u16(bytes, at).ok_or_else(outside);
    let u32 = |at: usize| reader.u32(bytes, at).ok_or_else(outside);
    let step = |at: usize, by: u32| at.checked_add(usize::try_from(by).ok()?).filter(|at| *at < bytes.len());
    for _ in 0..MANY {
        if u16(at + 2)? & BASE == 0 {
            let auxiliary = step(at, u32(at + 12)?).ok_or_else(outside)?;
            versions.push((u16(at + 4)? & 0x7fff, strings.name(u32(auxiliary)?.into())?));
        }
        match u32(at + 16)? {
            0 => return Ok(versions),
            next => at = step(at, next).ok_or_else(outside)?,
        }
    }
    Err(broken("its defined versions have no end"))
}
