//! The files of a tar archive, each read at its offset: nothing is unpacked. A compressed archive is decompressed once,
//! into an unnamed file.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::archive::{self, Kind, Packing, Piece};
use crate::rootfs::{Guard, Guarded, StreamError};
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, FileExt};

/// The size limit of an archive, also when unpacked, in bytes.
pub(super) const LIMIT: u64 = 128 << 30;
/// The maximum number of files in an archive.
const MOST_MEMBERS: usize = 1 << 16;
/// The memory limit of their names, link targets and maps of holes, in bytes.
const MOST_BYTES: usize = 64 << 20;
/// The maximum length of a chain of links from a name to its file.
const MOST_LINKS: usize = 8;

/// An archive's files by name, without a leading `./`.
#[derive(Debug)]
pub(super) struct TarIndex {
    file: Arc<fs::File>,
    members: BTreeMap<String, Member>,
}

#[derive(Clone, Debug)]
enum Member {
    File {
        size: u64,
        /// Where its bytes are: one piece, except for a sparse file.
        pieces: Vec<Piece>,
    },
    /// A link to the file with this name: `docker save` links equal layers.
    Link(String),
}

impl Member {
    /// The memory that it takes beside its name, in bytes.
    fn weight(&self) -> usize {
        match self {
            Self::File { pieces, .. } => pieces.len() * std::mem::size_of::<Piece>(),
            Self::Link(target) => target.len(),
        }
    }
}

/// Some bytes of a file that is shared with other readers.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<fs::File>,
    pieces: VecDeque<Piece>,
}

impl TarIndex {
    /// Reads the archive's headers.
    pub(super) fn open(path: &Path, cancel: &Cancel) -> Result<Self, StreamError> {
        let guard = Guard::new(LIMIT, cancel);
        let mut file = fs::open(path).map_err(StreamError::Broken)?;
        let handle = file.try_clone().map_err(StreamError::Broken)?;
        let (packing, bytes) = archive::unpack(handle).map_err(StreamError::of)?;
        if packing != Packing::Plain {
            file = unpacked(bytes, path, LIMIT, cancel)?;
        }
        // The archive reader needs a handle of its own, because it moves the position.
        let mut handle = file.try_clone().map_err(StreamError::Broken)?;
        io::Seek::rewind(&mut handle).map_err(StreamError::Broken)?;
        let length = fs_length(&file)?;
        let (mut members, mut bytes) = (BTreeMap::new(), 0_usize);
        let mut reader = archive::Reader::seeking(Guarded { inner: handle, guard: &guard });
        while let Some(entry) = reader.next_entry().map_err(|error| guard.explain(error))? {
            guard.allow(0);
            if members.len() == MOST_MEMBERS {
                return Err(StreamError::TooManyEntries { limit: MOST_MEMBERS });
            }
            if let Some((name, member)) = member(&entry, length)? {
                bytes = bytes.saturating_add(name.len()).saturating_add(member.weight());
                if bytes > MOST_BYTES {
                    return Err(StreamError::LongNames { limit: MOST_BYTES });
                }
                members.insert(name, member);
            }
        }
        Ok(Self { file: Arc::new(file), members })
    }

    /// The names of its files and links.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// The sizes of all its files together, in bytes.
    pub(super) fn total(&self) -> u64 {
        let size = |member: &Member| match member {
            Member::File { size, .. } => *size,
            // A link is written as a file of its own.
            Member::Link(target) => self.size(target).unwrap_or(0),
        };
        self.members.values().map(size).fold(0, u64::saturating_add)
    }

    /// True if the archive has this file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// A file's size in bytes.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.place(name).map(|(size, _)| size)
    }

    /// A file's bytes.
    pub(super) fn read(&self, name: &str) -> Option<Section> {
        let (_, pieces) = self.place(name)?;
        Some(Section { file: Arc::clone(&self.file), pieces: pieces.iter().copied().collect() })
    }

    /// A file's uncompressed bytes, in an unnamed file of at most `limit` bytes; `None` if there is no such file.
    pub(super) fn unpacked(
        &self,
        name: &str,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<Option<Unpacked>, StreamError> {
        let Some(section) = self.read(name) else { return Ok(None) };
        let (_, bytes) = archive::unpack(section).map_err(StreamError::of)?;
        let file = unpacked(bytes, Path::new(name), limit, cancel)?;
        let length = fs_length(&file)?;
        Ok(Some(Unpacked { file: Arc::new(file), length }))
    }

    /// How a file is compressed, by its first bytes.
    pub(super) fn packing(&self, name: &str) -> io::Result<Option<Packing>> {
        self.read(name).map(|section| Ok(Packing::look(section)?.0)).transpose()
    }

    fn place(&self, name: &str) -> Option<(u64, &[Piece])> {
        let mut name = plain(name);
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::File { size, pieces } => return Some((*size, pieces)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// An entry's name and its file or link; `None` for other types of entries.
fn member<R: Read>(
    entry: &archive::Entry<'_, R>,
    length: u64,
) -> Result<Option<(String, Member)>, StreamError> {
    let head = &entry.head;
    let Some(name) = std::str::from_utf8(&head.path).ok().map(plain) else { return Ok(None) };
    let target = || String::from_utf8_lossy(&head.link).into_owned();
    let member = match head.kind {
        Kind::File | Kind::OldSparse | Kind::Other(b'7') => {
            let pieces = entry.pieces();
            let within = |piece: &Piece| {
                let end = piece.offset.map(|offset| offset.checked_add(piece.length));
                end.is_none_or(|end| end.is_some_and(|end| end <= length))
            };
            if !pieces.iter().all(within) {
                return Err(StreamError::Archive(archive::Fault::Cut));
            }
            Member::File { size: head.size, pieces }
        }
        Kind::Symlink => Member::Link(archive::link_target(&name, target().trim_start_matches('/'))),
        Kind::HardLink => Member::Link(plain(&target())),
        _ => return Ok(None),
    };
    Ok(Some((name, member)))
}

/// The unpacked content of a file.
#[derive(Clone, Debug)]
pub(super) struct Unpacked {
    file: Arc<fs::File>,
    /// Its length in bytes.
    pub(super) length: u64,
}

impl Unpacked {
    /// Its bytes.
    pub(super) fn read(&self) -> Section {
        let piece = Piece { offset: Some(0), length: self.length };
        Section { file: Arc::clone(&self.file), pieces: VecDeque::from([piece]) }
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.front_mut() else { return Ok(0) };
        let most = usize::try_from(piece.length).unwrap_or(usize::MAX).min(buffer.len());
        let count = if let Some(offset) = &mut piece.offset {
            let count = self.file.read_at(&mut buffer[..most], *offset)?;
            *offset += count as u64;
            count
        } else {
            buffer[..most].fill(0);
            most
        };
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.length -= count as u64;
        if piece.length == 0 {
            self.pieces.pop_front();
        }
        Ok(count)
    }
}

fn fs_length(file: &fs::File) -> Result<u64, StreamError> {
    file.metadata().map(|metadata| metadata.len()).map_err(StreamError::Broken)
}

fn unpacked(bytes: impl Read, path: &Path, limit: u64, cancel: &Cancel) -> Result<fs::File, StreamError> {
    let guard = Guard::new(limit, cancel);
    guard.allow(u64::MAX);
    let mut bytes = Guarded { inner: bytes, guard: &guard };
    let mut to = fs::unnamed_file(path).map_err(StreamError::of)?;
    io::copy(&mut bytes, &mut to).map_err(|error| guard.explain(error))?;
    to.flush().map_err(StreamError::of)?;
    Ok(to)
}

/// A name without a leading `./`, which archives of `tar -C DIRECTORY .` have.
fn plain(name: &str) -> String {
    name.trim_start_matches("./").trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(write: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        write(&mut builder);
        builder.into_inner().unwrap()
    }

    fn file(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    }

    fn open(bytes: &[u8]) -> Result<TarIndex, StreamError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        fs::write_atomic(&path, bytes, 0o644).unwrap();
        TarIndex::open(&path, &Cancel::new())
    }

    fn text(members: &TarIndex, name: &str) -> Option<String> {
        let mut text = String::new();
        members.read(name)?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn what_names_and_maps_take_is_bounded() {
        let bytes = archive(|builder| {
            for number in 0..100 {
                let mut header = tar::Header::new_gnu();
                header.set_size(0);
                builder
                    .append_data(&mut header, format!("{number}{}", "/a".repeat(450_000)), &b""[..])
                    .unwrap();
            }
        });
        let bytes = zstd::encode_all(&bytes[..], 0).unwrap();
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let limit = MOST_BYTES;
        assert!(matches!(open(&bytes), Err(StreamError::LongNames { limit: found }) if found == limit));
    }

    #[test]
    fn files_are_read_at_their_place_and_links_are_followed() {
        let bytes = archive(|builder| {
            file(builder, "a/layer.tar", b"one");
            file(builder, "b/x", b"two");
            let mut header = tar::Header::new_ustar();
            header.set_size(0);
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, "c/layer.tar", "../a/layer.tar").unwrap();
            header.set_entry_type(tar::EntryType::Link);
            builder.append_link(&mut header, "d", "b/x").unwrap();
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, "loop", "loop").unwrap();
        });
        let zstd = zstd::stream::encode_all(bytes.as_slice(), 1).unwrap();
        let options = lzma_rust2::XzOptions::with_preset(0);
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(&bytes).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&bytes).unwrap();
        for bytes in [bytes, zstd, xz.finish().unwrap(), bzip2.finish().unwrap()] {
            let members = open(&bytes).unwrap();
            assert_eq!(text(&members, "./b/x").as_deref(), Some("two"));
            assert_eq!(text(&members, "c/layer.tar").as_deref(), Some("one"));
            assert_eq!(text(&members, "d").as_deref(), Some("two"));
            assert_eq!(members.size("a/layer.tar"), Some(3));
            assert!(!members.has("loop") && !members.has("e"));
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let mut bytes = archive(|builder| file(builder, "a", &[7; 2000]));
        bytes.truncate(1500);
        assert!(matches!(open(&bytes), Err(StreamError::Archive(archive::Fault::Cut))));
        let error = open(&[b'x'; 1024]).unwrap_err();
        assert!(matches!(error, StreamError::Archive(archive::Fault::NotTar)), "{error}");
        let error = open(b"\x04\x22\x4d\x18 and more").unwrap_err();
        assert_eq!(
            error.to_string(),
            "it is compressed with lz4, which is not supported; gzip, zstd, xz and bzip2 are"
        );
        assert!(open(&[0x1f, 0x8b, 9, 9, 9, 9]).is_err());
    }
}
