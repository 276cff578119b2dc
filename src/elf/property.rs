//! GNU properties: the x86 levels that a file declares it needs.

use super::image::Reader;

/// `NT_GNU_PROPERTY_TYPE_0`.
const PROPERTY: u32 = 5;
/// `GNU_PROPERTY_X86_ISA_1_NEEDED`.
const X86_NEEDED: u32 = 0xc000_8002;

/// The levels in the notes of a segment with this alignment, one bit each; 0 if there is no such property.
pub(super) fn x86_levels(reader: Reader, notes: &[u8], align: u64) -> u32 {
    let align = if align == 8 { 8 } else { 4 };
    let (mut levels, mut at) = (0, 0_usize);
    while let Some((next, found)) = note(reader, notes, at, align) {
        levels |= found;
        at = next;
    }
    levels
}

/// One note: the offset of the next one, and the levels in it.
fn note(reader: Reader, notes: &[u8], at: usize, align: usize) -> Option<(usize, u32)> {
    let size = |offset: usize| usize::try_from(reader.u32(notes, at.checked_add(offset)?)?).ok();
    let (name_size, size, kind) = (size(0)?, size(4)?, reader.u32(notes, at.checked_add(8)?)?);
    let name_at = at.checked_add(12)?;
    let name = notes.get(name_at..name_at.checked_add(name_size)?)?;
    let from = name_at.checked_add(name_size)?.checked_next_multiple_of(align)?;
    let to = from.checked_add(size)?;
    let content = notes.get(from..to)?;
    let levels = if kind == PROPERTY && name == b"GNU\0" { properties(reader, content) } else { 0 };
    Some((to.checked_next_multiple_of(align)?, levels))
}

fn properties(reader: Reader, mut bytes: &[u8]) -> u32 {
    let mut levels = 0;
    while let (Some(kind), Some(size)) = (reader.u32(bytes, 0), reader.u32(bytes, 4)) {
        if kind == X86_NEEDED {
            levels |= reader.u32(bytes, 8).unwrap_or(0);
        }
        let next = usize::try_from(size).ok().and_then(|size| size.checked_next_multiple_of(reader.size()));
        match next.and_then(|next| bytes.get(next.checked_add(8)?..)) {
            Some(rest) => bytes = rest,
            None => break,
        }
    }
    levels
}
