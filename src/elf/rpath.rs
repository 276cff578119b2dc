//! Turns `DT_RUNPATH` into `DT_RPATH`, which also applies to the libraries that libraries need.

use super::ParseError;
use super::image::{Reader, broken};

const PT_DYNAMIC: u32 = 2;
const DT_NULL: u64 = 0;
const DT_RPATH: u8 = 15;
const DT_RUNPATH: u64 = 29;

/// Changes the tag in place. True if there was one.
///
/// # Errors
///
/// If the bytes are not an ELF file, or end too early.
pub fn runpath_to_rpath(bytes: &mut [u8]) -> Result<bool, ParseError> {
    let Some(position) = find(bytes).ok_or_else(|| broken("its headers point outside the file"))? else {
        return Ok(false);
    };
    let (reader, at) = position;
    let last = if reader.big { at + reader.size() - 1 } else { at };
    bytes[last] = DT_RPATH;
    Ok(true)
}

/// The offset of the tag. Its value fits into one byte, and the others are zero.
#[allow(clippy::option_option, reason = "whether the file can be read, and whether it has the tag")]
fn find(bytes: &[u8]) -> Option<Option<(Reader, usize)>> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let reader = Reader { wide: *bytes.get(4)? == 2, big: *bytes.get(5)? == 2 };
    let (table, sizes, offset, length) = if reader.wide { (32, 54, 8, 32) } else { (28, 42, 4, 16) };
    let table = usize::try_from(reader.word(bytes, table)?).ok()?;
    let (size, count) = (reader.u16(bytes, sizes)?, reader.u16(bytes, sizes + 2)?);
    for index in 0..usize::from(count) {
        let header = bytes.get(table.checked_add(index * usize::from(size))?..)?;
        if reader.u32(header, 0)? != PT_DYNAMIC {
            continue;
        }
        let start = usize::try_from(reader.word(header, offset)?).ok()?;
        let length = usize::try_from(reader.word(header, length)?).ok()?;
        let entries = bytes.get(start..start.checked_add(length)?)?;
        for (index, entry) in entries.chunks_exact(2 * reader.size()).enumerate() {
            match reader.word(entry, 0)? {
                DT_NULL => break,
                DT_RUNPATH => return Some(Some((reader, start + index * 2 * reader.size()))),
                _ => {}
            }
        }
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;
    use crate::Elf;

    #[test]
    fn the_tag_alone_changes() {
        for class in [32, 64] {
            let sample =
                Sample { class, runpath: Some("$ORIGIN/../lib".into()), ..Sample::library("libx.so") };
            let mut bytes = sample.bytes();
            assert!(runpath_to_rpath(&mut bytes).unwrap());
            let elf = Elf::parse(&bytes).unwrap();
            assert_eq!((elf.rpath.as_deref(), elf.runpath), (Some("$ORIGIN/../lib"), None));
            let other = Sample { runpath: None, rpath: Some("$ORIGIN/../lib".into()), ..sample };
            assert_eq!(bytes, other.bytes());
            assert!(!runpath_to_rpath(&mut bytes).unwrap());
        }
    }

    #[test]
    fn what_is_no_elf_file_or_ends_early_is_an_error() {
        assert!(runpath_to_rpath(&mut []).is_err());
        let mut bytes = Sample { runpath: Some("/x".into()), ..Sample::library("libx.so") }.bytes();
        bytes.truncate(70);
        assert!(runpath_to_rpath(&mut bytes).is_err());
    }
}
