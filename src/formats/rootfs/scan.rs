//! Reads a layer in one streaming pass: decompresses and hashes it, and records what it does to the root filesystem.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use super::guard::{Guard, Guarded};
use super::names::DEEPEST;
use super::{Change, Content, File, Kind as NodeKind, LayerIndex, Node, Refused, StreamError};
use crate::archive::{self, Head, Kind, Packing};
use crate::elf::{self, Object};
use crate::oci::{Algorithm, Hasher};
use crate::sys::cancel::Cancel;

const CHUNK: usize = 128 * 1024;
/// How much of a file is read to identify it, in bytes. This includes the program headers of an ELF file.
const START: usize = 4096;
/// Largest ELF file that is examined, without its debugging information, in bytes: all of it has to be in memory.
const ELF_LIMIT: u64 = 160 << 20;
/// Linux reads this much of a script to find its interpreter (`BINPRM_BUF_SIZE`), in bytes.
const SCRIPT_LINE: usize = 256;
/// Largest file that is stored whole, in bytes. A loader's cache with ten thousand libraries takes about one million.
const WHOLE_LIMIT: u64 = 4 << 20;
/// Longest path that Linux accepts (`PATH_MAX`), in bytes.
const PATH_LIMIT: usize = 4096;
/// The memory of an entry without its strings, in bytes.
const ENTRY: usize = std::mem::size_of::<(String, Change)>();
/// A file with this prefix removes the file without it ([image
/// specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts)).
const WHITEOUT: &str = ".wh.";
/// Prefix of the names that belong to the file system which whiteouts come from. Of these only the opaque marker has a
/// meaning.
const WHITEOUT_META: &str = ".wh..wh.";
/// The type of a contiguous file, which is treated like any other file.
const CONTIGUOUS: u8 = b'7';
/// Record at most this many entries that engines do not unpack.
pub(super) const MOST_REFUSED: usize = 16;
/// A file of this name removes everything from its directory that lower layers have there.
const OPAQUE: &str = ".wh..wh..opq";

/// Limits for one layer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size of the uncompressed data, in bytes.
    pub bytes: u64,
    /// Number of entries.
    pub entries: usize,
    /// Memory for all entries, in bytes: the entries themselves, paths, targets of links, and what is recorded about
    /// files.
    pub names: usize,
}

impl Limits {
    /// More than any reasonable image has.
    pub const LAYER: Self = Self { bytes: 64 << 30, entries: 1 << 21, names: 384 << 20 };
}

/// Hashes everything that is read.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// How a layer's archive ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With two or more blocks of zeros, as POSIX requires.
    Whole,
    /// With less, as if it was truncated between two entries.
    Open,
    /// With other data after its end: how many bytes follow the first block of the end.
    Followed(u64),
}

/// Reads a layer to its end, whatever its compression. `algorithm` is that of the `diff_id`.
///
/// # Errors
///
/// If the layer cannot be read or decompressed, is not a tar archive, exceeds `limits`, or if the work is cancelled.
pub fn scan(
    blob: impl Read,
    algorithm: Algorithm,
    limits: Limits,
    cancel: &Cancel,
) -> Result<LayerIndex, StreamError> {
    let (packing, tar) = archive::unpack(blob).map_err(StreamError::of)?;
    Ok(LayerIndex { packing, ..scan_to_end(tar, algorithm, limits, cancel)?.0 })
}

/// Reads an uncompressed layer to its end, and determines how it ends.
pub fn scan_to_end(
    mut tar: impl Read,
    algorithm: Algorithm,
    limits: Limits,
    cancel: &Cancel,
) -> Result<(LayerIndex, Ending), StreamError> {
    scan_stream(&mut tar, algorithm, limits, cancel)
}

/// [`scan_to_end`], compiled once and here.
fn scan_stream(
    tar: &mut dyn Read,
    algorithm: Algorithm,
    limits: Limits,
    cancel: &Cancel,
) -> Result<(LayerIndex, Ending), StreamError> {
    let guard = Guard::new(limits.bytes, cancel);
    let hashing = Hashing { inner: tar, hasher: algorithm.hasher() };
    let mut stream = Guarded { inner: BufReader::with_capacity(CHUNK, hashing), guard: &guard };
    let mut found = Found::default();
    let mut reader = archive::Reader::new(&mut stream);
    while let Some(mut entry) = reader.next_entry().map_err(|error| guard.explain(error))? {
        // Not the unpacked size of a sparse file, whose holes may be endless.
        guard.allow(entry.head.stored);
        if found.count == limits.entries {
            return Err(StreamError::TooManyEntries { limit: limits.entries });
        }
        found.count += 1;
        found.take(&mut entry, &guard)?;
        if found.names > limits.names {
            return Err(StreamError::LongNames { limit: limits.names });
        }
    }
    // Read to the end, so that the diff_id covers all bytes and the compressed stream's own checksum is verified.
    guard.allow(u64::MAX);
    let ending = ending(&mut stream).map_err(|error| guard.explain(error))?;
    let size = guard.spent();
    let diff_id = stream.inner.into_inner().hasher.finish();
    let Found { opaque, whiteouts, entries, refused, .. } = found;
    let packing = Packing::Plain;
    Ok((LayerIndex { diff_id, size, packing, opaque, whiteouts, entries, refused }, ending))
}

/// Reads what follows the first block of an archive's end.
fn ending(rest: &mut impl Read) -> io::Result<Ending> {
    let (mut piece, mut count, mut zeros) = (vec![0; CHUNK], 0, true);
    loop {
        match rest.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => {
                count += read as u64;
                zeros &= piece[..read].iter().all(|byte| *byte == 0);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(match count {
        _ if !zeros => Ending::Followed(count),
        0..512 => Ending::Open,
        _ => Ending::Whole,
    })
}

#[derive(Default)]
struct Found {
    count: usize,
    names: usize,
    opaque: Vec<String>,
    whiteouts: Vec<String>,
    entries: Vec<(String, Change)>,
    refused: Vec<Refused>,
    /// A file's content, reused for the next one.
    buffer: Vec<u8>,
    /// How many bytes of programs were examined. This includes holes of sparse files, which the stream's limit does not
    /// cover.
    looked: u64,
}

/// The meaning of an entry's name in a layer ([image
/// specification](https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts)).
pub enum Named<'a> {
    /// It removes what lower layers have in this directory.
    Opaque(&'a str),
    /// It removes this path.
    Removed(String),
    /// Another file system's bookkeeping; or the root itself, which always exists.
    Bookkeeping,
    /// It is an ordinary entry.
    Entry,
}

/// The meaning of a path, which is `written` like this in the header.
pub fn named<'a>(path: &'a str, written: &str) -> Result<Named<'a>, StreamError> {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name == OPAQUE {
        return Ok(Named::Opaque(dir));
    }
    if name.starts_with(WHITEOUT_META) || name.is_empty() {
        return Ok(Named::Bookkeeping);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Named::Entry),
        Some("" | "." | "..") => Err(StreamError::Escape { path: written.to_owned() }),
        Some(removed) if dir.is_empty() => Ok(Named::Removed(removed.to_owned())),
        Some(removed) => Ok(Named::Removed(format!("{dir}/{removed}"))),
    }
}

impl Found {
    fn take<R: Read>(
        &mut self,
        entry: &mut archive::Entry<'_, R>,
        guard: &Guard<'_>,
    ) -> Result<(), StreamError> {
        let kind = entry.head.kind;
        let written = String::from_utf8_lossy(&entry.head.path).into_owned();
        let path = clean(&written)?;
        self.names += path.len() + ENTRY;
        match named(&path, &written)? {
            Named::Opaque(dir) => self.opaque.push(dir.to_owned()),
            Named::Bookkeeping => {}
            Named::Removed(removed) => self.whiteouts.push(removed),
            Named::Entry => self.put(kind, &path, entry, guard)?,
        }
        Ok(())
    }

    /// Adds an entry that is not a whiteout or another mark.
    fn put<R: Read>(
        &mut self,
        kind: Kind,
        path: &str,
        entry: &mut archive::Entry<'_, R>,
        guard: &Guard<'_>,
    ) -> Result<(), StreamError> {
        if let Some(reason) = kind.refused().filter(|_| self.refused.len() < MOST_REFUSED) {
            self.names += path.len();
            self.refused.push(Refused {
                path: path.to_owned(),
                kind: kind.byte(),
                reason: reason.to_owned(),
            });
        }
        let change = match kind {
            Kind::HardLink => {
                let target = clean(&target(&entry.head)?)?;
                self.names += target.len();
                Change::Link(target)
            }
            kind => Change::Put(with_owner(self.kind_of(kind, path, entry, guard)?, &entry.head)),
        };
        self.entries.push((path.to_owned(), change));
        Ok(())
    }

    fn kind_of<R: Read>(
        &mut self,
        kind: Kind,
        path: &str,
        entry: &mut archive::Entry<'_, R>,
        guard: &Guard<'_>,
    ) -> Result<NodeKind, StreamError> {
        Ok(match kind {
            Kind::Directory => NodeKind::Directory,
            Kind::Symlink => {
                let target = target(&entry.head)?;
                self.names += target.len();
                NodeKind::Symlink(target)
            }
            Kind::File | Kind::OldSparse | Kind::Other(CONTIGUOUS) => {
                let size = entry.head.size;
                let content = content(path, entry, size, (&mut self.buffer, &mut self.looked));
                let content = content.map_err(|error| guard.explain(error))?;
                if self.looked > guard.limit() {
                    return Err(StreamError::TooLarge { limit: guard.limit() });
                }
                self.names += weight(&content);
                NodeKind::File(File { size, content })
            }
            Kind::HardLink | Kind::Character | Kind::Block | Kind::Pipe | Kind::Other(_) => NodeKind::Special,
        })
    }
}

/// A node with the mode and owner of its header.
fn with_owner(kind: NodeKind, head: &Head) -> Node {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Node { kind, mode: head.mode, uid: number(head.uid), gid: number(head.gid) }
}

/// Reads as much of a file as is needed to identify it.
fn content(
    path: &str,
    entry: &mut impl Read,
    size: u64,
    (buffer, looked): (&mut Vec<u8>, &mut u64),
) -> io::Result<Content> {
    buffer.clear();
    let whole = is_kept(path) && size <= WHOLE_LIMIT;
    let first = if whole { size } else { START as u64 };
    entry.by_ref().take(first).read_to_end(buffer)?;
    if let Some(extent) = elf::extent(buffer, size) {
        if extent > ELF_LIMIT {
            return Ok(Content::BrokenElf(format!("it is larger than {} MiB", ELF_LIMIT >> 20)));
        }
        *looked = looked.saturating_add(extent);
        let rest = extent.saturating_sub(buffer.len() as u64);
        // Exactly as much as is needed, since growing by doubling could take twice as much.
        buffer.reserve_exact(usize::try_from(rest).unwrap_or(0));
        entry.take(rest).read_to_end(buffer)?;
        let content = match Object::parse(buffer) {
            Ok(object) => Content::Elf(Arc::new(object)),
            Err(error) => Content::BrokenElf(error.to_string()),
        };
        // A large program's memory is not held on to.
        if buffer.capacity() > 16 << 20 {
            *buffer = Vec::new();
        }
        return Ok(content);
    }
    if whole {
        return Ok(Content::Whole(buffer.as_slice().into()));
    }
    if let Some(line) = buffer.strip_prefix(b"#!") {
        let line = &line[..line.len().min(SCRIPT_LINE - 2)];
        let end = line.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(line.len());
        return Ok(Content::Script(String::from_utf8_lossy(&line[..end]).into_owned()));
    }
    Ok(Content::Plain)
}

/// True for the files that determine how libraries and users are found, and those that list the installed packages.
fn is_kept(path: &str) -> bool {
    const FILES: [&str; 9] = [
        "etc/passwd",
        "etc/group",
        "etc/ld.so.cache",
        "etc/ld.so.conf",
        "etc/ld.so.preload",
        "etc/os-release",
        "usr/lib/os-release",
        "etc/nsswitch.conf",
        "var/lib/dpkg/status",
    ];
    let name = path.strip_prefix("etc/").unwrap_or("");
    FILES.contains(&path)
        || name.starts_with("ld.so.conf.d/")
        || path.strip_prefix("var/lib/dpkg/status.d/").is_some_and(|name| !name.ends_with(".md5sums"))
        || name
            .strip_prefix("ld-musl-")
            .is_some_and(|name| name.split_once('.').is_some_and(|(_, end)| end == "path"))
        || path.ends_with("/etc/ld.so.cache")
}

/// Roughly how much memory a file's content takes, in bytes.
pub(super) fn weight(content: &Content) -> usize {
    match content {
        Content::Plain => 0,
        Content::BrokenElf(text) | Content::Script(text) => text.len(),
        Content::Whole(bytes) => bytes.len(),
        Content::Elf(object) => object.weight(),
    }
}

/// The target of a link, unchanged.
fn target(head: &Head) -> Result<String, StreamError> {
    if head.link.is_empty() {
        let error = io::Error::new(io::ErrorKind::InvalidData, "a link without a target");
        return Err(StreamError::Broken(error));
    }
    let target = String::from_utf8_lossy(&head.link).into_owned();
    if target.len() > PATH_LIMIT {
        return Err(StreamError::LongPath { length: target.len() });
    }
    Ok(target)
}

/// A path in the form of the index: relative, without empty parts and `.`. One with `..` is refused, as engines do.
pub fn clean(path: &str) -> Result<String, StreamError> {
    if path.len() > PATH_LIMIT {
        return Err(StreamError::LongPath { length: path.len() });
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.len() > DEEPEST {
        return Err(StreamError::Deep { depth: parts.len(), limit: DEEPEST });
    }
    if parts.contains(&"..") {
        return Err(StreamError::Escape { path: path.to_owned() });
    }
    Ok(parts.join("/"))
}
