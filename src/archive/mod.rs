//! Tar archives as engines read them, and what compresses them.
//!
//! Docker, containerd, podman and umoci all read layers with Go's `archive/tar`. What an archive means is therefore what
//! that reader makes of it, also where other readers differ: a pax record that stands there twice counts as it stands
//! last, links and devices have no content whatever size their header claims, global pax headers change nothing, and
//! sparse files of pax are whole files. The reader here does the same, and the `tar` crate, which does not, is left for
//! archives that no engine ever sees.
//!
//! Pure over the bytes: nothing is unpacked, no path is believed.

mod fault;
mod header;
mod packing;
mod pax;
mod sparse;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

pub(crate) use fault::Fault;
use header::{BLOCK, Block, Form};
pub(crate) use header::{Kind, Time};
pub(crate) use packing::{Packing, unpack};
use pax::Records;

/// A long name and the records of one entry may take this many bytes, as in Go's reader.
const SPECIAL_LIMIT: u64 = 1 << 20;

/// What a header says of an entry, with the long names and records before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The path as it stands there.
    pub path: Vec<u8>,
    /// A link's target as it stands there; empty for all else.
    pub link: Vec<u8>,
    /// What it is.
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
    /// When it was changed.
    pub mtime: Time,
    /// A device's major and minor number.
    pub device: (u32, u32),
    /// How many bytes of content it has, holes included.
    pub size: u64,
    /// How many of these are stored.
    pub stored: u64,
    /// Extended attributes as pax records (`SCHILY.xattr.…`), sorted.
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// A run of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where in the archive it is stored; nowhere if it is a hole.
    pub offset: Option<u64>,
    /// How many bytes it has.
    pub length: u64,
}

/// Reads an archive from its start, entry by entry.
pub(crate) struct Reader<R> {
    inner: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    position: u64,
    /// What is left of the entry's content.
    pieces: VecDeque<Piece>,
    /// Where the next header is.
    next: u64,
    /// Where the stored content of the last entry ended, without its padding.
    end: u64,
    done: bool,
}

/// An entry. Its content is read from it; what is not read is passed over.
pub(crate) struct Entry<'r, R> {
    /// What it is.
    pub head: Head,
    reader: &'r mut Reader<R>,
}

impl<R: Read> Reader<R> {
    /// A reader of a stream.
    pub(crate) fn new(inner: R) -> Self {
        Self::with(inner, pass_over)
    }

    fn with(inner: R, skip: fn(&mut R, u64) -> io::Result<()>) -> Self {
        Self { inner, skip, position: 0, pieces: VecDeque::new(), next: 0, end: 0, done: false }
    }

    /// The next entry; `None` at the archive's end, which is its first block of zeros or the end of its bytes.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry<'_, R>>> {
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
                    // Engines read past these, and what was told of the next entry is forgotten with it.
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
            // The blocks of the map are not counted in the size.
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

    /// Passes over what is left of an entry. False where the archive ends there: some writers leave out the padding of the
    /// last file, and engines do not mind.
    fn go_on(&mut self) -> io::Result<bool> {
        self.pieces.clear();
        (self.skip)(&mut self.inner, self.end.saturating_sub(self.position))?;
        self.position = self.position.max(self.end);
        let padding = self.next - self.position;
        let passed = io::copy(&mut self.inner.by_ref().take(padding), &mut io::sink())?;
        self.position += passed;
        Ok(passed == padding)
    }

    /// The next block as it is; `None` at the end of the bytes or for a block of zeros.
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

    /// A block of an entry's own map of holes.
    fn block_of_map(&mut self) -> io::Result<[u8; 512]> {
        let mut bytes = [0; 512];
        self.inner.read_exact(&mut bytes).map_err(cut)?;
        self.position += BLOCK;
        Ok(bytes)
    }

    /// The content of an entry that is about the next one.
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
    /// A reader that does not read what is passed over.
    pub(crate) fn seeking(inner: R) -> Self {
        Self::with(inner, |inner, count| {
            let count = i64::try_from(count).map_err(|_| Fault::Field("size"))?;
            inner.seek(SeekFrom::Current(count)).map(drop)
        })
    }
}

/// Reads so many bytes and forgets them.
fn pass_over<R: Read>(inner: &mut R, count: u64) -> io::Result<()> {
    let passed = io::copy(&mut inner.take(count), &mut io::sink())?;
    if passed == count { Ok(()) } else { Err(Fault::Cut.into()) }
}

/// What an archive that ends too early is called.
fn cut(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof { Fault::Cut.into() } else { error }
}

impl<R: Read> Entry<'_, R> {
    /// The runs of the content, in order, of which nothing has been read yet.
    #[must_use]
    pub(crate) fn pieces(&self) -> Vec<Piece> {
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
