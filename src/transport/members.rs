//! The files of a tar archive, each read at its place: nothing is unpacked. A compressed archive is decompressed once,
//! into a file without a name.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::rootfs::{Guard, Guarded, Packing, StreamError};
use crate::sys::cancel::Cancel;
use crate::sys::fs::{self, FileExt};

/// More bytes than this are in no archive that is meant to be read.
const LIMIT: u64 = 256 << 30;
/// More files than this neither.
const MOST_MEMBERS: usize = 1 << 16;
/// As many links lead from one name to its file.
const MOST_LINKS: usize = 8;

/// An archive's files by name, without `./` in front.
#[derive(Debug)]
pub(super) struct Members {
    file: Arc<fs::File>,
    members: BTreeMap<String, Member>,
}

#[derive(Clone, Debug)]
enum Member {
    File {
        offset: u64,
        size: u64,
    },
    /// Another name of the file at this one: `docker save` links equal layers.
    Link(String),
}

/// Some bytes of a file that others read too.
#[derive(Debug)]
pub(super) struct Section {
    file: Arc<fs::File>,
    offset: u64,
    left: u64,
}

impl Members {
    /// Reads the archive's headers.
    pub(super) fn open(path: &Path, cancel: &Cancel) -> Result<Self, StreamError> {
        let guard = Guard::new(LIMIT, cancel);
        let mut file = fs::File::open(path).map_err(StreamError::Broken)?;
        let mut start = [0; 4];
        let count = file.read_at(&mut start, 0).map_err(StreamError::Broken)?;
        let packing = packing(&start[..count]);
        if packing != Packing::Plain {
            file = unpacked(file, packing, path, cancel)?;
        }
        let mut members = BTreeMap::new();
        // The archive has a handle of its own, for it moves the position.
        let handle = file.try_clone().map_err(StreamError::Broken)?;
        let mut tar = tar::Archive::new(Guarded { inner: handle, guard: &guard });
        for entry in tar.entries_with_seek().map_err(|error| guard.explain(error))? {
            let entry = entry.map_err(|error| guard.explain(error))?;
            guard.allow(0);
            if members.len() == MOST_MEMBERS {
                return Err(StreamError::TooManyEntries { limit: MOST_MEMBERS });
            }
            let Some(name) = std::str::from_utf8(&entry.path_bytes()).ok().map(plain) else { continue };
            let kind = entry.header().entry_type();
            let member = if kind.is_file() || kind.is_contiguous() {
                Member::File { offset: entry.raw_file_position(), size: entry.size() }
            } else if let (true, Some(target)) =
                (kind.is_symlink() || kind.is_hard_link(), entry.link_name_bytes())
            {
                let target = String::from_utf8_lossy(&target).into_owned();
                Member::Link(if kind.is_symlink() { beside(&name, &target) } else { plain(&target) })
            } else {
                continue;
            };
            members.insert(name, member);
        }
        drop(tar);
        let members = Self { file: Arc::new(file), members };
        let length = fs_length(&members.file)?;
        for member in members.members.values() {
            if let Member::File { offset, size } = member
                && offset.checked_add(*size).is_none_or(|end| end > length)
            {
                return Err(StreamError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(members)
    }

    /// True if the archive has this file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// A file's size in bytes.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.place(name).map(|(_, size)| size)
    }

    /// A file's bytes.
    pub(super) fn read(&self, name: &str) -> Option<Section> {
        let (offset, left) = self.place(name)?;
        Some(Section { file: Arc::clone(&self.file), offset, left })
    }

    /// How a file is compressed, by its first bytes.
    pub(super) fn packing(&self, name: &str) -> io::Result<Option<Packing>> {
        let Some(mut section) = self.read(name) else { return Ok(None) };
        let mut start = [0; 4];
        let mut count = 0;
        while count < start.len() {
            match section.read(&mut start[count..])? {
                0 => break,
                more => count += more,
            }
        }
        Ok(Some(packing(&start[..count])))
    }

    fn place(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = plain(name);
        for _ in 0..MOST_LINKS {
            match self.members.get(&name)? {
                Member::File { offset, size } => return Some((*offset, *size)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn fs_length(file: &fs::File) -> Result<u64, StreamError> {
    file.metadata().map(|metadata| metadata.len()).map_err(StreamError::Broken)
}

/// By the first bytes of RFC 1952 and RFC 8878.
fn packing(start: &[u8]) -> Packing {
    if start.starts_with(&[0x1f, 0x8b]) {
        Packing::Gzip
    } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Packing::Zstd
    } else {
        Packing::Plain
    }
}

fn unpacked(file: fs::File, packing: Packing, path: &Path, cancel: &Cancel) -> Result<fs::File, StreamError> {
    let guard = Guard::new(LIMIT, cancel);
    guard.allow(u64::MAX);
    let inner = packing.decode(file).map_err(StreamError::Broken)?;
    let mut bytes = Guarded { inner, guard: &guard };
    let mut to = fs::unnamed_file(path).map_err(StreamError::Broken)?;
    io::copy(&mut bytes, &mut to).map_err(|error| guard.explain(error))?;
    to.flush().map_err(StreamError::Broken)?;
    // The archive is read from its start.
    io::Seek::rewind(&mut to).map_err(StreamError::Broken)?;
    Ok(to)
}

/// A name without `./` in front, as archives of `tar -C FOLDER .` have.
fn plain(name: &str) -> String {
    name.trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// Where a symbolic link leads, from the folder that it is in.
fn beside(link: &str, target: &str) -> String {
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
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

    fn open(bytes: &[u8]) -> Result<Members, StreamError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        fs::write_atomic(&path, bytes, 0o644).unwrap();
        Members::open(&path, &Cancel::new())
    }

    fn text(members: &Members, name: &str) -> Option<String> {
        let mut text = String::new();
        members.read(name)?.read_to_string(&mut text).unwrap();
        Some(text)
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
        let mut zstd = Vec::new();
        zstd::stream::copy_encode(bytes.as_slice(), &mut zstd, 1).unwrap();
        for bytes in [bytes, zstd] {
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
        assert!(matches!(open(&bytes), Err(StreamError::Broken(_))));
        assert!(open(&[b'x'; 1024]).is_err());
        assert!(open(&[0x1f, 0x8b, 9, 9, 9, 9]).is_err());
    }
}
