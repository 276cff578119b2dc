//! Reads tar archives, compressed or not, the way engines do.
//!
//! Docker, containerd, podman and umoci all read layers with Go's `archive/tar`, so that reader decides what an archive
//! means, even where other readers differ: of repeated pax records the last one counts, links and devices have no
//! content whatever size their header claims, global pax headers change nothing, and sparse files in pax form are whole
//! files. The reader here does the same. The `tar` crate does not, and is only used for archives that no engine ever
//! sees.
//!
//! Pure, over bytes: nothing is unpacked, and no path is trusted.

mod fault;
mod header;
mod packing;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

pub use fault::Fault;
use header::{BLOCK, Block, Form};
pub use header::{Kind, Time};
pub use packing::{Packing, unpack};
use pax::Records;

/// Limit for a long name and for the records of one entry, in bytes, as in Go's reader.
const SPECIAL_LIMIT: u64 = 1 << 20;

/// The header of an entry, with the long names and records before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The path as in the archive.
    pub path: Vec<u8>,
    /// A link's target as in the archive; empty for everything else.
    pub link: Vec<u8>,
    /// Its type.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// The owner's name.
    pub uname: Vec<u8>,
    /// The group's name.
    pub gname: Vec<u8>,
    /// The time of its last change.
    pub mtime: Time,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// The size of its content in bytes, including holes.
    pub size: u64,
    /// How many of these bytes are stored.
    pub stored: u64,
    /// Extended attributes as pax records (`SCHILY.xattr.…`), sorted.
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// A run of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its offset in the archive; `None` for a hole.
    pub offset: Option<u64>,
    /// Its length in bytes.
    pub length: u64,
}

/// Reads an archive from its start, entry by entry.
pub struct Reader<R> {
    inner: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    position: u64,
    /// The rest of the current entry's content.
    pieces: VecDeque<Piece>,
    /// The offset of the next header.
    next: u64,
    /// The offset where the stored content of the last entry ended, without its padding.
    end: u64,
    done: bool,
}

/// An entry, from which its content is read. Content that is not read is skipped.
pub struct Entry<'r, R> {
    /// Its header.
    pub head: Head,
    reader: &'r mut Reader<R>,
}

impl<R: Read> Reader<R> {
    /// Reads a stream.
    pub fn new(inner: R) -> Self {
        Self::with(inner, pass_over)
    }

    fn with(inner: R, skip: fn(&mut R, u64) -> io::Result<()>) -> Self {
        Self { inner, skip, position: 0, pieces: VecDeque::new(), next: 0, end: 0, done: false }
    }

    /// The next entry; `None` at the archive's end, which is the first block of zeros or the end of the bytes.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_, R>>> {
        if self.done {
            return Ok(None);
        }
        let head = self.head();
        self.done = !matches!(head, Ok(Some(_)));
        Ok(head?.map(|head| Entry { head, reader: self }))
    }

    fn head(&mut self) -> io::Result<Option<Head>> {
        let (mut long_path, mut long_link) = (Vec::new(), Vec::new());
        let mut records = Records::default();
        loop {
            if !self.go_on()? {
                return Ok(None);
            }
            let Some(block) = self.block()? else { return Ok(None) };
            let header = block.header()?;
            match header.kind_byte {
                b'x' => records = Records::parse(&self.special(header.size)?)?,
                b'g' => {
                    // Engines skip these headers, and discard what they have read about the next entry.
                    self.special(header.size)?;
                    (long_path, long_link, records) = (Vec::new(), Vec::new(), Records::default());
                }
                b'L' => long_path = header::text(&self.special(header.size)?).to_vec(),
                b'K' => long_link = header::text(&self.special(header.size)?).to_vec(),
                _ => {
                    let mut head = header.head(&block);
                    let records = std::mem::take(&mut records);
                    records.apply(&mut head)?;
                    if !long_path.is_empty() {
                        head.path = long_path;
                    }
                    if !long_link.is_empty() {
                        head.link = long_link;
                    }
                    if header.kind_byte == 0 && head.path.ends_with(b"/") {
                        head.kind = Kind::Directory;
                    }
                    self.content(&mut head, &block, &records)?;
                    return Ok(Some(head));
                }
            }
        }
    }

    /// Prepares for the content of an entry.
    fn content(&mut self, head: &mut Head, block: &Block, records: &Records) -> io::Result<()> {
        if head.kind.has_no_content() {
            (head.size, head.stored) = (0, 0);
        }
        let start = self.position;
        let end = start.checked_add(head.stored).ok_or(Fault::Field("size"))?;
        self.end = end;
        self.next = end.checked_next_multiple_of(BLOCK).ok_or(Fault::Field("size"))?;
        let map = if head.kind == Kind::OldSparse {
            if block.form() != Form::Gnu {
                return Err(Fault::Sparse("its header is not GNU's").into());
            }
            let (map, blocks) = sparse::old_map(block, || self.block_of_map())?;
            head.size = block.real_size()?;
            // The size does not include the blocks of the map.
            self.end = self.end.checked_add(blocks * BLOCK).ok_or(Fault::Field("size"))?;
            self.next = self.next.checked_add(blocks * BLOCK).ok_or(Fault::Field("size"))?;
            Some((map, head.stored))
        } else {
            match records.sparse(head)? {
                None => None,
                Some(sparse::Form::Listed(map)) => Some((map, head.stored)),
                Some(sparse::Form::InContent) => {
                    let (map, length) = sparse::map_in_content(head.stored, || self.block_of_map())?;
                    Some((map, head.stored - length))
                }
            }
        };
        self.pieces = match map {
            Some((map, stored)) => {
                head.stored = stored;
                sparse::pieces(&map, head.size, stored, self.position)?.into()
            }
            None if head.size > 0 => [Piece { offset: Some(self.position), length: head.size }].into(),
            None => VecDeque::new(),
        };
        Ok(())
    }

    /// Skips the rest of an entry. False if the archive ends there: some writers leave out the padding of the last
    /// file, which engines accept.
    fn go_on(&mut self) -> io::Result<bool> {
        self.pieces.clear();
        (self.skip)(&mut self.inner, self.end.saturating_sub(self.position))?;
        self.position = self.position.max(self.end);
        let padding = self.next - self.position;
        let passed = io::copy(&mut self.inner.by_ref().take(padding), &mut io::sink())?;
        self.position += passed;
        Ok(passed == padding)
    }

    /// Reads the next block; `None` at the end of the bytes or for a block of zeros.
    fn block(&mut self) -> io::Result<Option<Block>> {
        let mut bytes = [0; 512];
        let mut count = 0;
        while count < bytes.len() {
            match self.inner.read(&mut bytes[count..]) {
                Ok(0) if count == 0 => return Ok(None),
                Ok(0) => return Err(Fault::Cut.into()),
                Ok(read) => count += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += BLOCK;
        let at = self.position - BLOCK;
        (self.end, self.next) = (self.position, self.position);
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        Ok(Some(Block { bytes, at }))
    }

    /// Reads a block of a sparse file's map.
    fn block_of_map(&mut self) -> io::Result<[u8; 512]> {
        let mut bytes = [0; 512];
        self.inner.read_exact(&mut bytes).map_err(cut)?;
        self.position += BLOCK;
        Ok(bytes)
    }

    /// Reads the content of an entry that describes the next one.
    fn special(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > SPECIAL_LIMIT {
            return Err(Fault::Long { limit: SPECIAL_LIMIT }.into());
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.inner.read_exact(&mut bytes).map_err(cut)?;
        self.position += size;
        (self.end, self.next) = (self.position, self.position.next_multiple_of(BLOCK));
        Ok(bytes)
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Reads a file, and seeks over what is skipped.
    pub fn seeking(inner: R) -> Self {
        Self::with(inner, |inner, count| {
            let count = i64::try_from(count).map_err(|_| Fault::Field("size"))?;
            inner.seek(SeekFrom::Current(count)).map(drop)
        })
    }
}

/// Reads and discards this many bytes.
fn pass_over<R: Read>(inner: &mut R, count: u64) -> io::Result<()> {
    let passed = io::copy(&mut inner.take(count), &mut io::sink())?;
    if passed == count { Ok(()) } else { Err(Fault::Cut.into()) }
}

/// Turns the error of an archive that ends too early into a fault.
fn cut(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { Fault::Cut.into() } else { error }
}

impl<R: Read> Entry<'_, R> {
    /// The remaining runs of the content, in order. All of them, if nothing has been read yet.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece> {
        self.reader.pieces.iter().copied().collect()
    }
}

impl<R: Read> Read for Entry<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.reader;
        let Some(piece) = reader.pieces.front_mut() else { return Ok(0) };
        let most = usize::try_from(piece.length).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = if piece.offset.is_some() {
            let count = reader.inner.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(Fault::Cut.into());
            }
            reader.position += count as u64;
            count
        } else {
            buffer[..most].fill(0);
            most
        };
        piece.length -= count as u64;
        if piece.length == 0 {
            reader.pieces.pop_front();
        }
        Ok(count)
    }
}

/// The path that a symbolic link at `path` points to, from the root and without a leading `/`. Only the text decides: other
/// links are not followed, and `..` at the root stays there.
#[must_use]
pub fn link_target(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    if !target.starts_with('/') {
        parts.extend(path.split('/').filter(|part| !part.is_empty()));
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
