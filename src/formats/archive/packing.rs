//! The compression of an archive or a layer. It is detected by the first bytes, as engines do, and not by a name or a
//! media type.

use std::io::{self, BufReader, Cursor, Read};

use serde::{Deserialize, Serialize};

use super::Fault;
use crate::oci::media_type;

const CHUNK: usize = 128 * 1024;
/// Maximum memory for decompressing xz, in MiB: twice the window of `xz -9`. zstd has the same limit by itself.
const XZ_MEMORY: u32 = 128;
/// The length of the longest magic number, in bytes.
const START: usize = 6;

/// A stream together with the first bytes that were already read from it.
pub(super) type Whole<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// A compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// None.
    #[default]
    Plain,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Xz.
    Xz,
    /// Bzip2.
    Bzip2,
}

/// The magic numbers of compressions that image readers do not support.
const UNKNOWN: &[(&[u8], &str)] = &[
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (b"LZIP", "lzip"),
    (&[0x1f, 0x9d], "compress"),
    (&[0x1f, 0xa0], "compress"),
    (b"PK\x03\x04", "zip"),
    (&[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c], "7-Zip"),
    (&[0x5d, 0, 0], "LZMA"),
    (&[0x89, b'L', b'Z', b'O'], "lzop"),
];

impl Packing {
    /// The compression in a layer's media type, OCI's or Docker's; `None` for an unknown type, such as an encrypted
    /// layer's.
    #[must_use]
    pub fn of(layer: &str) -> Option<Self> {
        match media_type::of_layer(layer) {
            media_type::LAYER | "application/vnd.oci.image.layer.nondistributable.v1.tar" => {
                Some(Self::Plain)
            }
            media_type::LAYER_GZIP | "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" => {
                Some(Self::Gzip)
            }
            media_type::LAYER_ZSTD | "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => {
                Some(Self::Zstd)
            }
            _ => None,
        }
    }

    /// The media type of a layer with this compression; `None` if there is none.
    #[must_use]
    pub const fn layer(self) -> Option<&'static str> {
        match self {
            Self::Plain => Some(media_type::LAYER),
            Self::Gzip => Some(media_type::LAYER_GZIP),
            Self::Zstd => Some(media_type::LAYER_ZSTD),
            Self::Xz | Self::Bzip2 => None,
        }
    }

    /// A description of the bytes, for use in a sentence.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Plain => "not compressed",
            Self::Gzip => "compressed with gzip",
            Self::Zstd => "compressed with zstd",
            Self::Xz => "compressed with xz",
            Self::Bzip2 => "compressed with bzip2",
        }
    }

    /// Detects the compression by the first bytes: those of RFC 1952, of RFC 8878 with its skippable frames, of xz and
    /// of bzip2. Other known compressions are a fault; everything else is taken as uncompressed.
    pub fn told_by(start: &[u8]) -> Result<Self, Fault> {
        let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == [0x2a, 0x4d, 0x18];
        if start.starts_with(&[0x1f, 0x8b]) {
            Ok(Self::Gzip)
        } else if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
            Ok(Self::Zstd)
        } else if start.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
            Ok(Self::Xz)
        } else if matches!(
            start,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, ..]
        ) {
            Ok(Self::Bzip2)
        } else if let Some((_, name)) = UNKNOWN.iter().find(|(mark, _)| start.starts_with(mark)) {
            Err(Fault::Compression(name))
        } else {
            Ok(Self::Plain)
        }
    }

    /// Detects the compression by the first bytes of a stream. Returns the stream with these bytes.
    pub fn look<R: Read>(mut bytes: R) -> io::Result<(Self, Whole<R>)> {
        let mut start = Vec::with_capacity(START);
        bytes.by_ref().take(START as u64).read_to_end(&mut start)?;
        Ok((Self::told_by(&start)?, Cursor::new(start).chain(bytes)))
    }

    /// Decompresses a stream. It reads all members, frames or streams, as parallel compressors write many of them.
    fn decode<'a>(self, bytes: Box<dyn Read + 'a>) -> io::Result<Box<dyn Read + 'a>> {
        let decoder = self.decoder(bytes, XZ_MEMORY << 10)?;
        Ok(if self == Self::Xz { Box::new(Bounded(decoder)) } else { decoder })
    }

    /// The decoder of a compression. It reads all members, frames or streams. xz may take `memory` KiB; beyond that the
    /// error is of the kind [`io::ErrorKind::OutOfMemory`].
    pub fn decoder<'a>(self, bytes: Box<dyn Read + 'a>, memory: u32) -> io::Result<Box<dyn Read + 'a>> {
        if self == Self::Plain {
            return Ok(bytes);
        }
        let bytes = BufReader::with_capacity(CHUNK, bytes);
        Ok(match self {
            Self::Plain => Box::new(bytes),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(bytes)?),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, true, memory)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(bytes)),
        })
    }
}

/// Decompresses a stream. Returns its compression and the uncompressed bytes.
pub fn unpack<'a>(bytes: impl Read + 'a) -> io::Result<(Packing, Box<dyn Read + 'a>)> {
    let (packing, bytes) = Packing::look(bytes)?;
    // Decoders are compiled here, whatever is read.
    Ok((packing, packing.decode(Box::new(bytes))?))
}

/// Turns the error at the memory limit into a fault.
struct Bounded<R>(R);

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => Fault::Memory { limit: XZ_MEMORY }.into(),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let options = lzma_rust2::XzOptions::with_preset(0);
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A stream that claims another window than it needs, by the code for it in its block header.
    fn with_window(mut xz: Vec<u8>, code: u8) -> Vec<u8> {
        let end = 12 + (usize::from(xz[12]) + 1) * 4 - 4;
        assert_eq!(xz[14..16], [0x21, 1]);
        xz[16] = code;
        let sum = crc32fast::hash(&xz[12..end]).to_le_bytes();
        xz[end..end + 4].copy_from_slice(&sum);
        xz
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<(Packing, Vec<u8>)> {
        let (packing, mut reader) = unpack(bytes)?;
        let mut all = Vec::new();
        reader.read_to_end(&mut all)?;
        Ok((packing, all))
    }

    #[test]
    fn the_bytes_tell_what_compresses_them_and_all_parts_are_read() {
        let (one, two): (&[u8], &[u8]) = (b"one and ", b"two");
        let both = |part: &dyn Fn(&[u8]) -> Vec<u8>| [part(one), part(two)].concat();
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3], zstd(one).as_slice()].concat();
        for (packing, bytes) in [
            (Packing::Plain, both(&<[u8]>::to_vec)),
            (Packing::Gzip, both(&gzip)),
            (Packing::Zstd, both(&zstd)),
            (Packing::Zstd, [skippable, zstd(two)].concat()),
            (Packing::Xz, both(&xz)),
            (Packing::Bzip2, both(&bzip2)),
        ] {
            assert_eq!(read(&bytes).unwrap(), (packing, b"one and two".to_vec()));
        }
        assert_eq!(read(b"").unwrap(), (Packing::Plain, Vec::new()));
        assert_eq!(read(b"x").unwrap(), (Packing::Plain, b"x".to_vec()));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for bytes in [gzip(b"some text"), zstd(b"some text"), xz(b"some text"), bzip2(b"some text")] {
            assert!(read(&bytes[..bytes.len() - 3]).is_err());
        }
    }

    #[test]
    fn what_is_not_known_has_a_name() {
        for (start, name) in [
            (&[0x04, 0x22, 0x4d, 0x18, 1][..], "lz4"),
            (b"LZIP\x01", "lzip"),
            (b"PK\x03\x04rest", "zip"),
            (&[0x5d, 0, 0, 0x80, 0, 0xff], "LZMA"),
        ] {
            let error = read(start).unwrap_err();
            assert_eq!(Fault::of(&error), Some(&Fault::Compression(name)));
        }
    }

    #[test]
    fn the_memory_for_a_window_is_bounded() {
        // 256 MiB, and the 64 MiB of `xz -9`.
        let error = read(&with_window(xz(b"some text"), 32)).unwrap_err();
        assert_eq!(Fault::of(&error), Some(&Fault::Memory { limit: XZ_MEMORY }));
        assert_eq!(read(&with_window(xz(b"some text"), 28)).unwrap().1, b"some text");
    }
}
