//! A file as the loader maps it: bytes by address, in the file's own byte order.

use super::ParseError;

/// Reject a file with more loadable segments than this. Linkers make a handful.
const MOST_SEGMENTS: usize = 1024;
/// Reject a longer name, in bytes. Mangled names of nested templates reach some thousands.
const LONGEST_NAME: usize = 64 << 10;

pub(super) fn broken(what: impl std::fmt::Display) -> ParseError {
    ParseError::Broken(what.to_string())
}

/// A loadable segment: the address that it is mapped at, and its bytes in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) address: u64,
    pub(super) executable: bool,
    pub(super) bytes: &'a [u8],
}

/// The loadable segments, and how to read numbers from them.
#[derive(Clone, Debug)]
pub(super) struct Image<'a> {
    pub(super) reader: Reader,
    loads: Vec<Load<'a>>,
}

/// How numbers are stored in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    /// `ELFDATA2MSB`.
    pub(super) big: bool,
    /// `ELFCLASS64`.
    pub(super) wide: bool,
}

impl Reader {
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub(super) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(super) fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(if self.big { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// A number as wide as the file's class.
    pub(super) fn word(self, bytes: &[u8], at: usize) -> Option<u64> {
        if self.wide { self.u64(bytes, at) } else { self.u32(bytes, at).map(u64::from) }
    }

    /// The size in bytes of a number that is as wide as the file's class.
    pub(super) fn size(self) -> usize {
        if self.wide { 8 } else { 4 }
    }
}

impl<'a> Image<'a> {
    pub(super) fn new(reader: Reader, loads: Vec<Load<'a>>) -> Result<Self, ParseError> {
        if loads.len() > MOST_SEGMENTS {
            return Err(broken(format_args!("it has {} loadable segments", loads.len())));
        }
        Ok(Self { reader, loads })
    }

    /// The loadable segments, in the file's order.
    pub(super) fn loads(&self) -> impl Iterator<Item = &Load<'a>> {
        self.loads.iter()
    }

    /// The bytes from an address to the end of its segment.
    pub(super) fn tail(&self, address: u64) -> Option<&'a [u8]> {
        self.loads.iter().find_map(|load| {
            let offset = usize::try_from(address.checked_sub(load.address)?).ok()?;
            load.bytes.get(offset..).filter(|tail| !tail.is_empty())
        })
    }

    /// The bytes that are mapped at an address.
    pub(super) fn at(&self, address: u64, size: u64) -> Result<&'a [u8], ParseError> {
        let size = usize::try_from(size).map_err(broken)?;
        let tail = self.tail(address).and_then(|tail| tail.get(..size));
        tail.ok_or_else(|| broken(format_args!("address {address:#x} is not in the file")))
    }
}

/// A string table. It limits how much is read from it: names may overlap, so a small file can have many long ones.
#[derive(Debug)]
pub(super) struct Strings<'a> {
    bytes: &'a [u8],
    left: std::cell::Cell<usize>,
}

impl<'a> Strings<'a> {
    /// `most` is how many bytes may be read from it in all.
    pub(super) fn new(bytes: &'a [u8], most: usize) -> Self {
        Self { bytes, left: std::cell::Cell::new(most) }
    }

    /// The bytes of the name at an offset.
    pub(super) fn raw(&self, offset: u64) -> Result<&'a [u8], ParseError> {
        let start = usize::try_from(offset).map_err(broken)?;
        let tail = self.bytes.get(start..).ok_or_else(|| broken("a name is outside of the string table"))?;
        let tail = &tail[..tail.len().min(LONGEST_NAME)];
        let end = memchr::memchr(0, tail);
        // The last name of a table may lack its terminator.
        let end = end.or((tail.len() < LONGEST_NAME).then_some(tail.len()));
        let name = &tail[..end.ok_or_else(|| broken("a name has no end"))?];
        let left = self.left.get().checked_sub(name.len() + 1);
        self.left.set(left.ok_or_else(|| broken("its names take more than can be meant"))?);
        Ok(name)
    }

    /// The name at an offset.
    pub(super) fn name(&self, offset: u64) -> Result<String, ParseError> {
        text(self.raw(offset)?)
    }
}

/// Bytes up to the first NUL as text.
pub(super) fn text(bytes: &[u8]) -> Result<String, ParseError> {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| broken("a name is not UTF-8"))
}
