//! The differences between two layers.
//!
//! Each layer is read once for its entries and their digests, and again, up to each file that differs, for that file.
//! No layer is held in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::ReproError;
use super::content;
use super::difference::{Change, Side};
use crate::archive::{self, Head, Packing};
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::rootfs::Limits;
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// The maximum number of changes that are listed for a layer; the rest is counted.
const MOST_CHANGES: usize = 40;
/// The size limit of a file that is examined, in bytes.
const CONTENT_LIMIT: u64 = 256 << 20;

/// A layer's blob.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blob<'a> {
    pub(super) descriptor: &'a Descriptor,
    pub(super) path: &'a Path,
}

/// An entry without its content.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    position: usize,
    /// The fields of its header by their names in tar(5).
    fields: BTreeMap<String, String>,
    size: u64,
    content: Digest,
}

/// The changes between two layers with different digests, and how many more there are.
pub(super) fn compare(
    first: Blob<'_>,
    second: Blob<'_>,
    cancel: &Cancel,
) -> Result<(Vec<Change>, usize), ReproError> {
    let ((one, one_tar), (other, other_tar)) = (entries(first, cancel)?, entries(second, cancel)?);
    if one_tar == other_tar {
        return Ok((vec![Change::Compression], 0));
    }
    let mut changes = Vec::new();
    for path in one.keys().chain(other.keys()).collect::<BTreeSet<_>>() {
        match (one.get(path), other.get(path)) {
            (Some(a), Some(b)) => {
                let names = a.fields.keys().chain(b.fields.keys()).collect::<BTreeSet<_>>();
                let value =
                    |entry: &Entry, field| entry.fields.get(field).cloned().unwrap_or("absent".into());
                for field in names.into_iter().filter(|field| a.fields.get(*field) != b.fields.get(*field)) {
                    let (first, second) = (value(a, field), value(b, field));
                    changes.push(Change::Field { path: path.clone(), field: field.clone(), first, second });
                }
                if (a.size, &a.content) != (b.size, &b.content) {
                    changes.push(Change::Content {
                        path: path.clone(),
                        first: a.size,
                        second: b.size,
                        place: None,
                        sections: Vec::new(),
                    });
                }
            }
            (Some(_), None) => changes.push(Change::Only { path: path.clone(), only: Side::First }),
            (None, _) => changes.push(Change::Only { path: path.clone(), only: Side::Second }),
        }
    }
    if changes.is_empty() {
        changes.push(moved(&one, &other).unwrap_or(Change::Framing));
    }
    let omitted = changes.len().saturating_sub(MOST_CHANGES);
    changes.truncate(MOST_CHANGES);
    look_into((first, &one), (second, &other), &mut changes, cancel)?;
    Ok((changes, omitted))
}

/// The first entry with a different position; for layers with the same entries.
fn moved(one: &BTreeMap<String, Entry>, other: &BTreeMap<String, Entry>) -> Option<Change> {
    let by_position = one.iter().map(|(path, entry)| (entry.position, path));
    let mut by_position: Vec<_> = by_position.collect();
    by_position.sort_unstable();
    by_position.into_iter().find_map(|(position, path)| {
        let there = other.get(path)?.position;
        let change = Change::Order { path: path.clone(), first: position + 1, second: there + 1 };
        (position != there).then_some(change)
    })
}

/// A layer with its entries by their paths.
type Listed<'a> = (Blob<'a>, &'a BTreeMap<String, Entry>);

/// Adds the location of the difference for each file that differs.
fn look_into(
    (first, one): Listed<'_>,
    (second, other): Listed<'_>,
    changes: &mut [Change],
    cancel: &Cancel,
) -> Result<(), ReproError> {
    for change in changes {
        let Change::Content { path, first: size, second: other_size, place, sections } = change else {
            continue;
        };
        let Some((here, there)) = one.get(path).zip(other.get(path)) else { continue };
        if (*size).max(*other_size) > CONTENT_LIMIT {
            continue;
        }
        let (one, other) = (file(first, here.position, cancel)?, file(second, there.position, cancel)?);
        *place = content::place(&one, &other);
        *sections = content::sections(&one, &other);
    }
    Ok(())
}

fn tar(blob: Blob<'_>) -> Result<impl Read, ReproError> {
    let broken = |source| ReproError::Layer { digest: blob.descriptor.digest.clone(), source };
    if Packing::of(&blob.descriptor.media_type).is_none() {
        return Err(ReproError::MediaType(blob.descriptor.media_type.clone()));
    }
    Ok(archive::unpack(BufReader::new(fs::File::open(blob.path)?)).map_err(broken)?.1)
}

/// All entries by path, and the digest of the whole archive. Of several entries with the same path, the last one
/// counts.
fn entries(blob: Blob<'_>, cancel: &Cancel) -> Result<(BTreeMap<String, Entry>, Digest), ReproError> {
    let broken = |source| ReproError::Layer { digest: blob.descriptor.digest.clone(), source };
    let stopped = |error| cancel.check().map_or_else(ReproError::from, |()| broken(error));
    let mut stream = Hashing { inner: tar(blob)?, hasher: Algorithm::Sha256.hasher(), cancel };
    let mut found = BTreeMap::new();
    let mut reader = archive::Reader::new(&mut stream);
    let mut left = Limits::LAYER.bytes;
    for position in 0..Limits::LAYER.entries {
        cancel.check()?;
        let Some(mut entry) = reader.next_entry().map_err(broken)? else { break };
        // Holes of sparse files take no space in an archive.
        left = left
            .checked_sub(entry.head.size)
            .ok_or_else(|| broken(io::Error::other("it is too large when unpacked")))?;
        let path = String::from_utf8_lossy(&entry.head.path).trim_matches('/').to_owned();
        let fields = fields(&entry.head);
        let mut hasher = Algorithm::Sha256.hasher();
        let size = copy(&mut entry, cancel, &mut |bytes| hasher.update(bytes)).map_err(stopped)?;
        found.insert(path, Entry { position, fields, size, content: hasher.finish() });
    }
    copy(&mut stream, cancel, &mut |_| {}).map_err(stopped)?;
    Ok((found, stream.hasher.finish()))
}

/// The fields of an entry's header, its extended ones included.
fn fields(head: &Head) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let attributes = head.attributes.iter().map(|(key, value)| (key.clone(), text(value)));
    let mut fields: BTreeMap<String, String> = attributes.collect();
    for (field, value) in [
        ("mode", format!("{:04o}", head.mode)),
        ("uid", head.uid.to_string()),
        ("gid", head.gid.to_string()),
        ("mtime", head.mtime.decimal()),
        ("uname", text(&head.uname)),
        ("gname", text(&head.gname)),
        ("typeflag", char::from(head.kind.byte()).to_string()),
        ("linkname", text(&head.link)),
    ] {
        fields.insert(field.to_owned(), value);
    }
    fields
}

/// The content of the entry at a position.
fn file(blob: Blob<'_>, position: usize, cancel: &Cancel) -> Result<Vec<u8>, ReproError> {
    let broken = |source| ReproError::Layer { digest: blob.descriptor.digest.clone(), source };
    let mut reader = archive::Reader::new(tar(blob)?);
    for _ in 0..position {
        cancel.check()?;
        reader.next_entry().map_err(broken)?;
    }
    let mut content = Vec::new();
    if let Some(entry) = reader.next_entry().map_err(broken)? {
        entry.take(CONTENT_LIMIT).read_to_end(&mut content).map_err(broken)?;
    }
    Ok(content)
}

/// Reads to the end and returns the number of bytes. Inside a hole nothing is read from the stream, so `cancel` is
/// checked here, too.
fn copy(reader: &mut impl Read, cancel: &Cancel, with: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let mut piece = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        cancel.check().map_err(io::Error::other)?;
        match fs::read_piece(reader, &mut piece)? {
            0 => return Ok(total),
            count => {
                with(&piece[..count]);
                total += count as u64;
            }
        }
    }
}

/// Hashes the bytes that are read.
struct Hashing<'a, R> {
    inner: R,
    hasher: crate::oci::Hasher,
    cancel: &'a Cancel,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
