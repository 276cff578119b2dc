//! Sparse files: which runs of their content are stored. The rest is zeros.

use std::io;

use super::header::{BLOCK, Block, number};
use super::pax::digits;
use super::{Fault, Piece};

/// Maximum size of a map in bytes, as in Go's reader.
const MAP_LIMIT: usize = 1 << 20;

/// A run of stored bytes: its offset in the file, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Where a sparse file's map is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In the pax records (0.0 and 0.1).
    Listed(Vec<Run>),
    /// At the beginning of the content (1.0).
    InContent,
}

/// Turns pairs of numbers into runs.
pub(super) fn runs(numbers: &[u64]) -> Vec<Run> {
    numbers.chunks_exact(2).map(|pair| Run { offset: pair[0], length: pair[1] }).collect()
}

/// Reads the map of a sparse file of old GNU tar, which begins in its header. Also returns how many blocks follow with
/// the rest of it.
pub(super) fn old_map(
    header: &Block,
    mut more: impl FnMut() -> io::Result<[u8; 512]>,
) -> io::Result<(Vec<Run>, u64)> {
    let (mut map, mut blocks) = (Vec::new(), 0);
    let mut open = take(&mut map, header.field(386, 4 * 24))?;
    let mut extended = header.bytes[482] != 0;
    while extended {
        blocks += 1;
        if map.len() * 24 > MAP_LIMIT || blocks > MAP_LIMIT as u64 / BLOCK {
            return Err(Fault::Long { limit: MAP_LIMIT as u64 }.into());
        }
        let block = more()?;
        open = open && take(&mut map, &block[..21 * 24])?;
        extended = block[504] != 0;
    }
    Ok((map, blocks))
}

/// Adds runs of 24 bytes each. False if the end of the map is among them.
fn take(map: &mut Vec<Run>, bytes: &[u8]) -> Result<bool, Fault> {
    let wrong = Fault::Sparse("an invalid number");
    for run in bytes.chunks_exact(24) {
        if run[0] == 0 {
            return Ok(false);
        }
        let part = |bytes: &[u8]| number(bytes).and_then(|number| u64::try_from(number).ok());
        let (offset, length) = part(&run[..12]).zip(part(&run[12..])).ok_or(wrong.clone())?;
        map.push(Run { offset, length });
    }
    Ok(true)
}

/// Reads the map at the beginning of the content, and returns how many bytes it takes. It is a count, then offset and
/// length of each run, with a newline after each number, padded to whole blocks.
pub(super) fn map_in_content(
    stored: u64,
    mut more: impl FnMut() -> io::Result<[u8; 512]>,
) -> io::Result<(Vec<Run>, u64)> {
    let mut length = 0;
    let mut text: Vec<u8> = Vec::new();
    let mut numbers: Vec<u64> = Vec::new();
    let mut wanted = 1;
    // The length of the part of the text that is known to have no newline.
    let mut searched = 0;
    while numbers.len() < wanted {
        let end = text[searched..].iter().position(|byte| *byte == b'\n').map(|end| searched + end);
        if let Some(end) = end {
            let value = digits(&text[..end]).ok_or(Fault::Sparse("an invalid number"))?;
            text.drain(..=end);
            searched = 0;
            if numbers.is_empty() {
                let most = MAP_LIMIT as u64 / 4;
                let count = usize::try_from(value).ok().filter(|_| value <= most);
                wanted = 1 + 2 * count.ok_or(Fault::Long { limit: MAP_LIMIT as u64 })?;
            }
            numbers.push(value);
            continue;
        }
        searched = text.len();
        length += BLOCK;
        if length > stored || length > MAP_LIMIT as u64 {
            return Err(Fault::Sparse("it does not end").into());
        }
        text.extend(more()?);
    }
    Ok((runs(&numbers[1..]), length))
}

/// The pieces of a file of `size` bytes, of which `stored` bytes are in the archive from `at` on.
pub(super) fn pieces(map: &[Run], size: u64, stored: u64, at: u64) -> Result<Vec<Piece>, Fault> {
    let (mut pieces, mut done, mut taken) = (Vec::new(), 0, 0_u64);
    for run in map {
        let end = run.offset.checked_add(run.length).filter(|end| *end <= size);
        let end = end.ok_or(Fault::Sparse("a run after the file's end"))?;
        let hole = run.offset.checked_sub(done).ok_or(Fault::Sparse("its runs are not in order"))?;
        pieces.push(Piece { offset: None, length: hole });
        pieces.push(Piece { offset: Some(at + taken), length: run.length });
        taken = taken.saturating_add(run.length);
        if taken > stored {
            break;
        }
        done = end;
    }
    if taken != stored {
        return Err(Fault::Sparse("it lists more or fewer bytes than are stored"));
    }
    pieces.push(Piece { offset: None, length: size - done });
    pieces.retain(|piece| piece.length > 0);
    Ok(pieces)
}
