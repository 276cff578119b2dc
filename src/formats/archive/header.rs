//! The fields of a header block, in the forms of V7, of POSIX's ustar, of star and of GNU.

use std::io;

use super::{Fault, Head};

/// Headers and contents begin at multiples of this, in bytes.
pub(super) const BLOCK: u64 = 512;

/// The type of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A sparse file in the old GNU form, which has a type of its own. Engines do not unpack it.
    OldSparse,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A pipe.
    Pipe,
    /// Anything else, by its type. Engines do not unpack it.
    Other(u8),
}

impl Kind {
    const fn of(byte: u8) -> Self {
        match byte {
            0 | b'0' => Self::File,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::Character,
            b'4' => Self::Block,
            b'5' => Self::Directory,
            b'6' => Self::Pipe,
            b'S' => Self::OldSparse,
            other => Self::Other(other),
        }
    }

    /// Its type byte in a header.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::HardLink => b'1',
            Self::Symlink => b'2',
            Self::Character => b'3',
            Self::Block => b'4',
            Self::Directory => b'5',
            Self::Pipe => b'6',
            Self::OldSparse => b'S',
            Self::Other(other) => other,
        }
    }

    /// True if the size in the header is meaningless.
    pub(super) const fn has_no_content(self) -> bool {
        !matches!(self, Self::File | Self::OldSparse | Self::Other(_))
    }

    /// Why engines refuse an entry of this type; `None` if they unpack it. Tested with umoci 0.4.7 and podman 4.3.1.
    /// The sources of Docker and containerd do the same: all fail at a type that they do not list.
    #[must_use]
    pub const fn refused(self) -> Option<&'static str> {
        match self {
            Self::OldSparse => Some("a sparse file in the form of old GNU tar"),
            Self::Other(b'7') => Some("a contiguous file"),
            Self::Other(_) => Some("an entry of a type that is not known"),
            _ => None,
        }
    }
}

/// A time, in seconds since 1970 and nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after it, less than a second.
    pub nanoseconds: u32,
}

impl Time {
    /// A time of whole seconds.
    #[must_use]
    pub const fn at(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// Parses a decimal number of seconds, as in pax. Digits beyond nanoseconds are dropped.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !decimal(whole) || !decimal(fraction) || whole.is_empty() {
            return None;
        }
        let seconds: i64 = whole.parse().ok()?;
        let nanoseconds: u32 = format!("{fraction:0<9.9}").parse().ok()?;
        Some(match (negative, nanoseconds) {
            (false, _) => Self { seconds, nanoseconds },
            (true, 0) => Self::at(-seconds),
            (true, _) => {
                Self { seconds: (-seconds).checked_sub(1)?, nanoseconds: 1_000_000_000 - nanoseconds }
            }
        })
    }

    /// Formats it as a decimal number of seconds.
    #[must_use]
    pub fn decimal(self) -> String {
        let fraction = |nanoseconds: u32| format!("{nanoseconds:09}").trim_end_matches('0').to_owned();
        match (self.seconds, self.nanoseconds) {
            (seconds, 0) => seconds.to_string(),
            (seconds, nanoseconds) if seconds < 0 => {
                format!("-{}.{}", (seconds + 1).unsigned_abs(), fraction(1_000_000_000 - nanoseconds))
            }
            (seconds, nanoseconds) => format!("{seconds}.{}", fraction(nanoseconds)),
        }
    }
}

/// The form of a header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A block that is not all zeros.
pub(super) struct Block {
    pub(super) bytes: [u8; 512],
    /// Its offset in the archive.
    pub(super) at: u64,
}

/// The fields of a header that are read before its type is known.
pub(super) struct Header {
    pub(super) kind_byte: u8,
    pub(super) size: u64,
    mode: u32,
    uid: u64,
    gid: u64,
    mtime: i64,
    device: (u32, u32),
}

impl Block {
    pub(super) fn field(&self, start: usize, length: usize) -> &[u8] {
        &self.bytes[start..start + length]
    }

    pub(super) fn form(&self) -> Form {
        match (self.field(257, 6), self.field(263, 2), self.field(508, 4)) {
            (b"ustar\0", _, b"tar\0") => Form::Star,
            (b"ustar\0", ..) => Form::Ustar,
            (b"ustar ", b" \0", _) => Form::Gnu,
            _ => Form::V7,
        }
    }

    /// Verifies the checksum and reads the numbers.
    pub(super) fn header(&self) -> io::Result<Header> {
        self.check()?;
        let number = |start, length, name| {
            number(self.field(start, length)).ok_or_else(|| io::Error::from(Fault::Field(name)))
        };
        let size = number(124, 12, "size")?;
        let device = if self.form() == Form::V7 {
            (0, 0)
        } else {
            let part = |start, name| number(start, 8, name).map(|part| u32::try_from(part).unwrap_or(0));
            (part(329, "devmajor")?, part(337, "devminor")?)
        };
        Ok(Header {
            kind_byte: self.bytes[156],
            size: u64::try_from(size).map_err(|_| Fault::Field("size"))?,
            mode: u32::try_from(number(100, 8, "mode")? & 0o7777).unwrap_or(0),
            uid: owner(number(108, 8, "uid")?),
            gid: owner(number(116, 8, "gid")?),
            mtime: number(136, 12, "mtime")?,
            device,
        })
    }

    /// Verifies the checksum: the sum of all bytes, with its own field as blanks. Some old writers summed signed bytes.
    fn check(&self) -> Result<(), Fault> {
        let fault = || if self.at == 0 { Fault::NotTar } else { Fault::NoHeader { at: self.at } };
        let written = number(self.field(148, 8)).ok_or_else(fault)?;
        let (mut unsigned, mut signed) = (0_i64, 0_i64);
        for (at, byte) in self.bytes.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if written == unsigned || written == signed { Ok(()) } else { Err(fault()) }
    }

    /// The unpacked size of a sparse file in the old GNU form.
    pub(super) fn real_size(&self) -> Result<u64, Fault> {
        let size = number(self.field(483, 12)).ok_or(Fault::Field("realsize"))?;
        u64::try_from(size).map_err(|_| Fault::Field("realsize"))
    }
}

impl Header {
    /// The entry as described by the block alone.
    pub(super) fn head(&self, block: &Block) -> Head {
        let form = block.form();
        let prefix = match form {
            Form::Ustar => text(block.field(345, 155)),
            Form::Star => text(block.field(345, 131)),
            Form::V7 | Form::Gnu => &[],
        };
        let name = text(block.field(0, 100));
        let names = form != Form::V7;
        Head {
            path: if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() },
            link: text(block.field(157, 100)).to_vec(),
            kind: Kind::of(self.kind_byte),
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            uname: if names { text(block.field(265, 32)).to_vec() } else { Vec::new() },
            gname: if names { text(block.field(297, 32)).to_vec() } else { Vec::new() },
            mtime: Time::at(self.mtime),
            device: self.device,
            size: self.size,
            stored: self.size,
            attributes: Vec::new(),
        }
    }
}

/// A text field ends at its first zero byte.
pub(super) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|byte| *byte == 0).unwrap_or(field.len())]
}

/// `nobody`, whose number is the maximum, stands for a negative owner, which engines cannot set.
pub(super) fn owner(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(u64::from(u32::MAX))
}

/// Parses a numeric field: octal digits between blanks and zero bytes, or nothing for 0. If its first bit is set it is
/// a binary number in two's complement, which GNU, star and Go write for values without an octal form.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The first bit only marks the form, and the second one is the sign.
        let mut value: i128 = if first & 0x40 != 0 { -1 } else { 0 };
        for (at, byte) in field.iter().enumerate() {
            let byte = if at == 0 && first & 0x40 == 0 { *byte & 0x7f } else { *byte };
            value = value << 8 | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let digits = text(&field[start..end]);
    if digits.is_empty() {
        return Some(0);
    }
    let octal = digits.iter().all(|digit| matches!(digit, b'0'..=b'7'));
    i64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| octal)?, 8).ok()
}
