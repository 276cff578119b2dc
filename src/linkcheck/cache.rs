//! `/etc/ld.so.cache`, which ldconfig writes and glibc's loader reads: names of libraries with their paths.
//!
//! Two formats are in use, and some files have both: the old one begins with `ld.so-1.7.0`, the new one with
//! `glibc-ld.so.cache1.1`. Since 2.32 glibc writes only the new one. Numbers are in the machine's byte order.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::target::catalog::Endianness;

/// The beginning of the old format.
const OLD: &[u8] = b"ld.so-1.7.0\0";
/// The size of its header in bytes: the magic string, and the count of entries.
const OLD_HEADER: usize = 16;
/// The size of its entries in bytes: flags, name, path (32 bits each).
const OLD_ENTRY: usize = 12;
/// The beginning of the new format.
const NEW: &[u8] = b"glibc-ld.so.cache1.1";
/// The size of its header in bytes.
const NEW_HEADER: usize = 48;
/// The size of its entries in bytes: flags, name, path, kernel version (32 bits each), hardware (64 bits).
const NEW_ENTRY: usize = 24;
/// The offset of the field in the new header that has the offset of its extensions.
const EXTENSIONS: usize = 32;
/// The magic number of the extensions.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// The extension with the names of hardware directories.
const HARDWARE_DIRS: u32 = 1;
/// In an entry's hardware field: the low 32 bits are the number of a hardware directory's name.
const IN_HARDWARE_DIR: u64 = 1 << 62;
/// Reject a longer path, in bytes.
const LONGEST: usize = 4096;
/// Limit of the total size of all strings, in bytes.
const TEXTS: usize = 32 << 20;

/// The entries of a cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cache {
    entries: BTreeMap<String, Vec<Entry>>,
}

/// A library in a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path.
    pub path: String,
    /// The machine and ABI that it is for: glibc's `FLAG_…`.
    pub flags: u32,
    /// What a processor needs to use it.
    pub hardware: Hardware,
}

/// What a processor needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// Nothing.
    Any,
    /// It must be one that this directory below `glibc-hwcaps` is for.
    Directory(String),
    /// It must have certain features, as numbered by a glibc before 2.33.
    Features(u64),
}

impl Cache {
    /// Reads a cache. `None` if it is not a cache in this byte order. The loader then continues without it.
    #[must_use]
    pub fn parse(bytes: &[u8], endianness: Endianness) -> Option<Self> {
        let reader = Reader { bytes, big: endianness == Endianness::Big, left: Cell::new(TEXTS) };
        if bytes.starts_with(NEW) {
            return reader.new_format(0);
        }
        let count = reader.size(12).filter(|_| bytes.starts_with(OLD))?;
        let end = count.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
        // A new cache may follow, aligned for its 64-bit numbers.
        let next = end.checked_next_multiple_of(8)?;
        if bytes.get(next..).is_some_and(|rest| rest.starts_with(NEW)) {
            return reader.new_format(next);
        }
        reader.old_format(count, end)
    }

    /// The entries of a name, in the cache's order.
    #[must_use]
    pub fn find(&self, name: &str) -> &[Entry] {
        self.entries.get(name).map_or(&[], Vec::as_slice)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    big: bool,
    /// How many bytes of strings may still be read. Entries may share strings, so a small file can have many long ones.
    left: Cell<usize>,
}

impl Reader<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u64(&self, at: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    fn size(&self, at: usize) -> Option<usize> {
        usize::try_from(self.u32(at)?).ok()
    }

    fn text(&self, at: usize) -> Option<String> {
        let rest = self.bytes.get(at..)?;
        let end = memchr::memchr(0, &rest[..rest.len().min(LONGEST)])?;
        self.left.set(self.left.get().checked_sub(end)?);
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// Offsets of strings count from the new header.
    fn new_format(&self, start: usize) -> Option<Cache> {
        let count = self.size(start + NEW.len())?;
        let mut cache = Cache::default();
        for index in 0..count {
            let at = index.checked_mul(NEW_ENTRY)?.checked_add(start + NEW_HEADER)?;
            let (name, path) = (self.size(at + 4)?, self.size(at + 8)?);
            let hardware = match self.u64(at + 16)? {
                0 => Hardware::Any,
                bits if bits & IN_HARDWARE_DIR != 0 => {
                    let number = usize::try_from(bits & 0xffff_ffff).ok()?;
                    self.hardware_dir(start, number).map_or(Hardware::Features(bits), Hardware::Directory)
                }
                bits => Hardware::Features(bits),
            };
            let entry = Entry { path: self.text(start.checked_add(path)?)?, flags: self.u32(at)?, hardware };
            cache.entries.entry(self.text(start.checked_add(name)?)?).or_default().push(entry);
        }
        Some(cache)
    }

    /// The name of a hardware directory.
    fn hardware_dir(&self, start: usize, number: usize) -> Option<String> {
        let at = start.checked_add(self.size(start + EXTENSIONS)?)?;
        if self.u32(at)? != EXTENSION_MAGIC {
            return None;
        }
        // Each extension: tag, flags, offset, size (32 bits).
        for section in 0..self.size(at + 4)?.min(64) {
            let section = at + 8 + section * 16;
            if self.u32(section)? == HARDWARE_DIRS {
                let (offset, size) = (self.size(section + 8)?, self.size(section + 12)?);
                if number >= size / 4 {
                    return None;
                }
                let name = self.size(start.checked_add(offset)?.checked_add(number * 4)?)?;
                return self.text(start.checked_add(name)?);
            }
        }
        None
    }

    /// Offsets of strings count from the end of the entries.
    fn old_format(&self, count: usize, texts: usize) -> Option<Cache> {
        let mut cache = Cache::default();
        for index in 0..count {
            let at = OLD_HEADER + index * OLD_ENTRY;
            let path = self.text(texts.checked_add(self.size(at + 8)?)?)?;
            let entry = Entry { path, flags: self.u32(at)?, hardware: Hardware::Any };
            let name = self.text(texts.checked_add(self.size(at + 4)?)?)?;
            cache.entries.entry(name).or_default().push(entry);
        }
        Some(cache)
    }
}
