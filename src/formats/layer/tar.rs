//! Writes a tar stream in the POSIX format (ustar with pax records).
//!
//! No other dialect: no GNU long names, no sparse files, no owners' names. A pax record is only written for a value
//! that does not fit into ustar's field, so that common layers are as plain as possible.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::{Content, Entry, EntryKind, Error};
use crate::archive::Time;
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// Files are read in pieces of this size, in bytes.
const PIECE: usize = 256 * 1024;
/// The largest value of an octal field of 8 bytes, and of one of 12.
const MAX_8: u64 = 0o777_7777;
const MAX_12: u64 = 0o777_7777_7777;

/// Writes the entries and the end of the archive.
pub fn write(entries: &[Entry], mtime: i64, sink: &mut dyn Write, cancel: &Cancel) -> Result<(), Error> {
    let mut piece = vec![0; PIECE];
    for entry in entries {
        cancel.check()?;
        sink.write_all(&headers(entry, mtime)).map_err(Error::Write)?;
        if let EntryKind::File(content) = &entry.kind {
            write_content(content, &mut piece, sink, cancel)?;
        }
    }
    sink.write_all(&[0; 1024]).map_err(Error::Write)
}

fn write_content(
    content: &Content,
    piece: &mut [u8],
    sink: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(), Error> {
    let size = content.size();
    match content {
        Content::Bytes(bytes) => sink.write_all(bytes).map_err(Error::Write)?,
        Content::Path { path, .. } => {
            // Checked before opening: opening a pipe would wait for a writer.
            if !fs::metadata(path).map_err(Error::Read)?.is_file() {
                return Err(Error::NotAFile { path: path.clone() });
            }
            let mut file = fs::File::open(path).map_err(Error::Read)?;
            let mut done = 0;
            loop {
                cancel.check()?;
                let count = match file.read(piece) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(Error::Read(error)),
                };
                done += count as u64;
                if done > size {
                    break;
                }
                sink.write_all(&piece[..count]).map_err(Error::Write)?;
            }
            if done != size {
                return Err(Error::SizeChanged { path: path.clone(), expected: size });
            }
        }
    }
    let padding = size.next_multiple_of(512) - size;
    io::copy(&mut io::repeat(0).take(padding), sink).map_err(Error::Write)?;
    Ok(())
}

/// The fields of a header.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The path, with a trailing slash for a directory.
    pub path: &'a str,
    /// What kind of entry it is.
    pub entry_type: EntryType,
    /// The size of the content in bytes.
    pub size: u64,
    /// A link's target, otherwise empty.
    pub link: &'a str,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// The time of the last change.
    pub mtime: Time,
    /// A device's major and minor number.
    pub device: Option<(u32, u32)>,
    /// Further pax records, sorted by key. Keys in upper case sort before those written here.
    pub records: &'a [(String, Vec<u8>)],
}

/// The header block of an entry, preceded by the blocks of its pax records if it needs any.
fn headers(entry: &Entry, mtime: i64) -> Vec<u8> {
    let (entry_type, size, link) = match &entry.kind {
        EntryKind::Directory => (EntryType::Directory, 0, ""),
        EntryKind::File(content) => (EntryType::Regular, content.size(), ""),
        EntryKind::Symlink(target) => (EntryType::Symlink, 0, target.as_str()),
        EntryKind::HardLink(target) => (EntryType::Link, 0, target.as_str()),
    };
    let slash = if entry_type == EntryType::Directory { "/" } else { "" };
    head(&Head {
        path: &format!("{}{slash}", entry.path),
        entry_type,
        size,
        link,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: Time::at(mtime),
        device: None,
        records: &[],
    })
}

/// The blocks of a header.
#[must_use]
pub fn head(head: &Head<'_>) -> Vec<u8> {
    // Sorted by key.
    let mut records = Vec::new();
    for (key, value) in head.records {
        record(&mut records, key, value);
    }
    if head.gid > MAX_8 {
        record(&mut records, "gid", head.gid.to_string().as_bytes());
    }
    if !head.link.is_ascii() || head.link.len() > 100 {
        record(&mut records, "linkpath", head.link.as_bytes());
    }
    let seconds = u64::try_from(head.mtime.seconds).ok().filter(|seconds| *seconds <= MAX_12);
    if seconds.is_none() || head.mtime.nanoseconds > 0 {
        record(&mut records, "mtime", head.mtime.decimal().as_bytes());
    }
    let split = split(head.path);
    if split.is_none() {
        record(&mut records, "path", head.path.as_bytes());
    }
    if head.size > MAX_12 {
        record(&mut records, "size", head.size.to_string().as_bytes());
    }
    if head.uid > MAX_8 {
        record(&mut records, "uid", head.uid.to_string().as_bytes());
    }

    let mut blocks = Vec::with_capacity(512);
    if !records.is_empty() {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        // The name that Python's tarfile uses. No reader looks at it.
        fill(&mut header, "", "././@PaxHeader", "");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        blocks.extend_from_slice(header.as_bytes());
        blocks.extend_from_slice(&records);
        blocks.resize(blocks.len().next_multiple_of(512), 0);
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(head.entry_type);
    let (prefix, name) = split.unwrap_or(("", head.path));
    fill(&mut header, prefix, name, head.link);
    header.set_mode(head.mode);
    header.set_uid(head.uid);
    header.set_gid(head.gid);
    header.set_mtime(seconds.unwrap_or(0));
    header.set_size(head.size);
    if let (Some((major, minor)), Some(ustar)) = (head.device, header.as_ustar_mut()) {
        ustar.set_device_major(major);
        ustar.set_device_minor(minor);
    }
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
    blocks
}

/// Splits a path into ustar's two fields: at most 155 bytes, then a slash that is left out, and at most 100 bytes.
/// `None` if the path does not fit or is not ASCII, as ustar guarantees only ASCII.
fn split(path: &str) -> Option<(&str, &str)> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some(("", path));
    }
    // A directory's trailing slash cannot be the one that is left out.
    let (at, _) = path.rmatch_indices('/').find(|(at, _)| at + 1 < path.len() && *at <= 155)?;
    let (prefix, name) = (&path[..at], &path[at + 1..]);
    (name.len() <= 100).then_some((prefix, name))
}

/// Sets the strings of a header. A value that does not fit is truncated, as its pax record has all of it.
fn fill(header: &mut Header, prefix: &str, name: &str, link: &str) {
    if let Some(ustar) = header.as_ustar_mut() {
        for (field, text) in
            [(&mut ustar.prefix[..], prefix), (&mut ustar.name[..], name), (&mut ustar.linkname[..], link)]
        {
            for (slot, byte) in field.iter_mut().zip(text.bytes()) {
                *slot = if byte.is_ascii() { byte } else { b'?' };
            }
        }
    }
}

/// Adds `length key=value\n`, where the length includes its own digits (POSIX pax, "extended header").
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0 }
    }

    fn bytes(content: &[u8]) -> EntryKind {
        EntryKind::File(Content::Bytes(content.into()))
    }

    fn tar_of(entries: &[Entry], mtime: i64) -> Vec<u8> {
        let mut archive = Vec::new();
        write(entries, mtime, &mut archive, &Cancel::new()).unwrap();
        archive
    }

    #[test]
    fn plain_entries_have_no_pax_records() {
        let long = format!("{}/{}", "d".repeat(155), "n".repeat(100));
        let archive =
            tar_of(&[entry("bin/app", bytes(b"hello")), entry(&long, EntryKind::Symlink("x".into()))], 1);
        // Two headers, one block of content, the end.
        assert_eq!(archive.len(), 512 * 5);
        assert_eq!(&archive[257..265], b"ustar\x0000");
        assert_eq!(&archive[265..329], [0; 64], "owners have no names");
    }

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in [1, 80, 85, 86, 87, 88, 89, 90, 91, 92, 93, 979, 980, 981, 982, 983, 984, 985, 986, 987]
        {
            let mut records = Vec::new();
            record(&mut records, "path", "x".repeat(length).as_bytes());
            let text = String::from_utf8(records).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len());
        }
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write_atomic(&path, &[7; 1000], 0o644).unwrap();
        for size in [0, 999, 1001] {
            let content = Content::Path { path: path.clone(), size };
            let error = write(&[entry("a", EntryKind::File(content))], 0, &mut io::sink(), &Cancel::new());
            assert!(matches!(error, Err(Error::SizeChanged { .. })), "{size}");
        }
        let content = Content::Path { path: dir.path().to_owned(), size: 0 };
        let error = write(&[entry("a", EntryKind::File(content))], 0, &mut io::sink(), &Cancel::new());
        assert!(matches!(error, Err(Error::NotAFile { .. })));
    }

    #[test]
    fn an_interrupt_stops_in_the_middle_of_a_file() {
        struct Interrupting(Cancel, usize);
        impl Write for Interrupting {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += bytes.len();
                if self.1 > PIECE {
                    self.0.interrupt();
                }
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write_atomic(&path, &vec![7; PIECE * 8], 0o644).unwrap();
        let cancel = Cancel::new();
        let content = Content::Path { path, size: PIECE as u64 * 8 };
        let mut sink = Interrupting(cancel.clone(), 0);
        let result = write(&[entry("a", EntryKind::File(content))], 0, &mut sink, &cancel);
        assert!(matches!(result, Err(Error::Cancelled(_))));
        assert!(sink.1 < PIECE * 3);
    }

    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{1,120}", "[a-zé]{1,30}", "[a-z]{90,160}"]
    }

    proptest! {
        #[test]
        fn the_tar_crate_reads_back_what_was_written(
            parts in proptest::collection::vec(any_name(), 1..4),
            link in "[a-zü/.]{1,220}",
            kind in 0..4_u8,
            content in proptest::collection::vec(any::<u8>(), 0..1500),
            mode in 0..=0o7777_u32,
            // Values that the tar crate can return; larger ones are for other readers.
            uid in prop_oneof![0..3000_u64, (MAX_8 - 1)..(MAX_8 + 3), 0..u64::from(u32::MAX)],
            mtime in prop_oneof![0..2_000_000_000_i64],
        ) {
            let kind = match kind {
                0 => EntryKind::Directory,
                1 => EntryKind::Symlink(link.clone()),
                2 => EntryKind::HardLink(link.clone()),
                _ => bytes(&content),
            };
            let written = Entry { path: parts.join("/"), kind, mode, uid, gid: uid / 2 };
            let archive = tar_of(std::slice::from_ref(&written), mtime);
            let mut reader = tar::Archive::new(&archive[..]);
            let mut entries = reader.entries().unwrap();
            let mut read = entries.next().unwrap().unwrap();
            let path = String::from_utf8(read.path_bytes().into_owned()).unwrap();
            prop_assert_eq!(path.trim_end_matches('/'), &written.path);
            let header = read.header();
            prop_assert_eq!(header.mode().unwrap(), mode);
            prop_assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (uid, uid / 2));
            prop_assert_eq!(i64::try_from(header.mtime().unwrap()).unwrap(), mtime);
            let link_read = read.link_name_bytes().map(|name| String::from_utf8(name.into_owned()).unwrap());
            match &written.kind {
                EntryKind::Directory => prop_assert!(read.header().entry_type().is_dir() && path.ends_with('/')),
                EntryKind::Symlink(_) => {
                    prop_assert!(read.header().entry_type().is_symlink());
                    prop_assert_eq!(link_read, Some(link));
                }
                EntryKind::HardLink(_) => {
                    prop_assert!(read.header().entry_type().is_hard_link());
                    prop_assert_eq!(link_read, Some(link));
                }
                EntryKind::File(_) => {
                    let mut back = Vec::new();
                    read.read_to_end(&mut back).unwrap();
                    prop_assert_eq!(back, content);
                }
            }
            drop(read);
            prop_assert!(entries.next().is_none());
        }
    }

    #[test]
    fn a_time_before_1970_is_a_pax_record() {
        let archive = tar_of(&[entry("a", EntryKind::Directory)], -5);
        let text = String::from_utf8_lossy(&archive[512..1024]);
        assert!(text.starts_with("12 mtime=-5\n"), "{text}");
    }
}
