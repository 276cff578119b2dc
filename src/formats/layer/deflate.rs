//! Joins DEFLATE streams that were compressed separately into one (RFC 1951).
//!
//! libdeflate compresses a buffer to a complete stream, whose last block is marked as the last one. To continue the
//! stream, that block's `BFINAL` bit is cleared and an empty stored block is appended, which ends at a byte boundary as
//! zlib's `Z_SYNC_FLUSH` does. The start and end of the last block are known only after walking over all codes before
//! it. That needs the code lengths but no output, and takes about a tenth of the time of compressing.

/// The longest code (RFC 1951, 3.2.7).
const MAX_BITS: usize = 15;
/// Number of symbols of the literal and length alphabet, including the two unused ones.
const LITERALS: usize = 288;
/// Number of symbols of the distance alphabet, including the two unused ones.
const DISTANCES: usize = 32;
/// The order of the code length code's lengths (RFC 1951, 3.2.7).
const LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const END_OF_BLOCK: u16 = 256;

/// The bytes are not exactly one complete DEFLATE stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the compressor wrote something that is not one whole DEFLATE stream")]
pub(super) struct NotDeflate;

/// Opens the end of a complete raw DEFLATE stream, so that any block may follow at the next byte.
pub(super) fn open_end(stream: &mut Vec<u8>) -> Result<(), NotDeflate> {
    let (header, end) = last_block(stream).ok_or(NotDeflate)?;
    if end.div_ceil(8) != stream.len() {
        return Err(NotDeflate);
    }
    stream[header / 8] &= !(1 << (header % 8));
    // The empty stored block: three zero bits (not final, type 0), zeros up to the next byte, LEN, NLEN. The bits after
    // the end of a stream may have any value. There are enough of them unless fewer than three are left.
    if end % 8 > 0 {
        stream[end / 8] &= (1 << (end % 8)) - 1;
    }
    if !(1..=5).contains(&(end % 8)) {
        stream.push(0);
    }
    stream.extend([0x00, 0x00, 0xFF, 0xFF]);
    Ok(())
}

/// The positions, in bits, of the last block's first bit and of the bit after its end.
fn last_block(stream: &[u8]) -> Option<(usize, usize)> {
    let mut bits = Bits::new(stream);
    let mut codes = Codes::default();
    loop {
        let header = bits.position();
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => bits.skip_stored()?,
            1 => {
                codes.fixed()?;
                codes.skip(&mut bits)?;
            }
            2 => {
                codes.dynamic(&mut bits)?;
                codes.skip(&mut bits)?;
            }
            _ => return None,
        }
        if last {
            return Some((header, bits.position()));
        }
    }
}

/// Reads bits, lowest first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The index of the byte that is read into `buffer` next.
    next: usize,
    buffer: u64,
    /// How many bits of `buffer` are valid. The bits above them may already be those of the next byte, which will be
    /// read again.
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, buffer: 0, count: 0 }
    }

    fn position(&self) -> usize {
        self.next * 8 - self.count as usize
    }

    /// Makes at least 56 bits available, or all that are left.
    #[inline]
    fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.next..).and_then(|rest| rest.first_chunk::<8>()) {
            self.buffer |= u64::from_le_bytes(*word) << self.count;
            self.next += (63 - self.count as usize) / 8;
            self.count |= 0b11_1000;
        } else {
            while self.count < 56
                && let Some(&byte) = self.bytes.get(self.next)
            {
                self.buffer |= u64::from(byte) << self.count;
                self.next += 1;
                self.count += 8;
            }
        }
    }

    /// Drops bits that [`refill`](Self::refill) made available.
    #[inline]
    fn consume(&mut self, count: u32) -> Option<()> {
        self.count = self.count.checked_sub(count)?;
        self.buffer >>= count;
        Some(())
    }

    /// The next bits as an index; `count` is at most 15.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "masked to a few bits")]
    fn peek(&self, count: usize) -> usize {
        self.buffer as usize & ((1 << count) - 1)
    }

    fn take(&mut self, count: u32) -> Option<usize> {
        self.refill();
        let value = self.peek(count as usize);
        self.consume(count)?;
        Some(value)
    }

    fn skip_stored(&mut self) -> Option<()> {
        let start = self.position().div_ceil(8);
        let header = self.bytes.get(start..)?.first_chunk::<4>()?;
        let length = u16::from_le_bytes([header[0], header[1]]);
        if length != !u16::from_le_bytes([header[2], header[3]]) {
            return None;
        }
        let end = start + 4 + usize::from(length);
        if end > self.bytes.len() {
            return None;
        }
        (self.next, self.buffer, self.count) = (end, 0, 0);
        Some(())
    }
}

/// The kind of a step in the upper bits of a table entry. The lower five bits are the number of bits to skip, including
/// extra bits.
const SKIP: u16 = 0x1F;
const LITERAL: u16 = 0x20;
const LENGTH: u16 = 0x40;
const END: u16 = 0x80;
/// The code is longer than the table's index.
const LONG: u16 = 0x100;
/// No code begins with these bits.
const INVALID: u16 = 0;

/// The codes of a block.
#[derive(Default)]
struct Codes {
    literals: Code<11>,
    distances: Code<9>,
}

impl Codes {
    fn fixed(&mut self) -> Option<()> {
        let mut lengths = [8; LITERALS];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.literals.build(&lengths, literal_step)?;
        self.distances.build(&[5; DISTANCES], distance_step)
    }

    /// Reads a dynamic block's code lengths (RFC 1951, 3.2.7).
    fn dynamic(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let literals = bits.take(5)? + 257;
        let distances = bits.take(5)? + 1;
        let given = bits.take(4)? + 4;
        let mut lengths = [0_u8; 19];
        for &symbol in &LENGTH_ORDER[..given] {
            lengths[symbol] = u8::try_from(bits.take(3)?).ok()?;
        }
        let mut code = Code::<7>::default();
        code.build(&lengths, |symbol| Some((symbol << 5, 0)))?;
        let mut lengths = [0_u8; LITERALS + DISTANCES];
        let mut done = 0;
        while done < literals + distances {
            bits.refill();
            let entry = code.table[bits.peek(7)];
            if entry & SKIP == 0 {
                return None;
            }
            bits.consume(u32::from(entry & SKIP))?;
            let (length, times) = match entry >> 5 {
                symbol @ 0..=15 => (u8::try_from(symbol).ok()?, 1),
                16 => (*lengths.get(done.checked_sub(1)?)?, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                _ => (0, 11 + bits.take(7)?),
            };
            lengths[..literals + distances].get_mut(done..done + times)?.fill(length);
            done += times;
        }
        self.literals.build(&lengths[..literals], literal_step)?;
        self.distances.build(&lengths[literals..literals + distances], distance_step)
    }

    /// Skips a block's codes up to the end of the block.
    fn skip(&self, bits: &mut Bits<'_>) -> Option<()> {
        loop {
            // A length with its distance has at most 48 bits, so one refill is enough for both.
            if bits.count < 48 {
                bits.refill();
            }
            let mut entry = self.literals.table[bits.peek(11)];
            if entry & LONG != 0 {
                entry = self.literals.long(bits)?;
            }
            bits.consume(u32::from(entry & SKIP))?;
            if entry & LITERAL != 0 {
                continue;
            }
            if entry & LENGTH == 0 {
                return (entry & END != 0).then_some(());
            }
            let mut entry = self.distances.table[bits.peek(9)];
            if entry & LONG != 0 {
                entry = self.distances.long(bits)?;
            }
            if entry & LENGTH == 0 {
                return None;
            }
            bits.consume(u32::from(entry & SKIP))?;
        }
    }
}

/// The kind and the extra bits of a symbol of the literal and length alphabet.
fn literal_step(symbol: u16) -> Option<(u16, u16)> {
    match symbol {
        0..END_OF_BLOCK => Some((LITERAL, 0)),
        END_OF_BLOCK => Some((END, 0)),
        257..265 | 285 => Some((LENGTH, 0)),
        265..285 => Some((LENGTH, (symbol - 261) / 4)),
        _ => None,
    }
}

/// The kind and the extra bits of a symbol of the distance alphabet.
fn distance_step(symbol: u16) -> Option<(u16, u16)> {
    match symbol {
        0..4 => Some((LENGTH, 0)),
        4..30 => Some((LENGTH, symbol / 2 - 1)),
        _ => None,
    }
}

/// A prefix code: a table over the next `INDEX` bits, and for longer codes the canonical form.
struct Code<const INDEX: usize> {
    table: Vec<u16>,
    /// How many codes have each length.
    counts: [u16; MAX_BITS + 1],
    /// The step for each symbol, in the order of the codes.
    steps: Vec<u16>,
}

impl<const INDEX: usize> Default for Code<INDEX> {
    fn default() -> Self {
        Self { table: vec![INVALID; 1 << INDEX], counts: [0; MAX_BITS + 1], steps: Vec::new() }
    }
}

impl<const INDEX: usize> Code<INDEX> {
    /// Builds the code from the length of each symbol's code (RFC 1951, 3.2.2). `None` if there are more
    /// codes than fit.
    fn build(&mut self, lengths: &[u8], step: impl Fn(u16) -> Option<(u16, u16)>) -> Option<()> {
        self.counts = [0; MAX_BITS + 1];
        for &length in lengths {
            self.counts[usize::from(length)] += 1;
        }
        self.counts[0] = 0;
        let mut next_code = [0_u32; MAX_BITS + 2];
        let mut next_step = [0_usize; MAX_BITS + 2];
        for length in 1..=MAX_BITS {
            let end = next_code[length] + u32::from(self.counts[length]);
            if end > 1 << length {
                return None;
            }
            next_code[length + 1] = end << 1;
            next_step[length + 1] = next_step[length] + usize::from(self.counts[length]);
        }
        self.table.fill(INVALID);
        self.steps.clear();
        self.steps.resize(next_step[MAX_BITS + 1], INVALID);
        for (symbol, &length) in (0_u16..).zip(lengths) {
            let bits = usize::from(length);
            if bits == 0 {
                continue;
            }
            // The fixed block has codes for unused symbols, which never occur.
            let entry = step(symbol).map_or(INVALID, |(kind, extra)| kind | (u16::from(length) + extra));
            self.steps[next_step[bits]] = entry;
            next_step[bits] += 1;
            let code = next_code[bits];
            next_code[bits] += 1;
            let reversed = (code.reverse_bits() >> (32 - bits)) as usize;
            if bits <= INDEX {
                for slot in self.table[reversed..].iter_mut().step_by(1 << bits) {
                    *slot = entry;
                }
            } else {
                self.table[reversed & ((1 << INDEX) - 1)] = LONG;
            }
        }
        Some(())
    }

    /// The entry for a code that is longer than the table's index, found bit by bit.
    #[cold]
    fn long(&self, bits: &Bits<'_>) -> Option<u16> {
        let (mut code, mut first, mut index) = (0_usize, 0_usize, 0_usize);
        for length in 1..=MAX_BITS {
            code |= bits.peek(length) >> (length - 1);
            let count = usize::from(self.counts[length]);
            if code < first + count {
                return self.steps.get(index + code - first).copied().filter(|&entry| entry != INVALID);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use flate2::write::DeflateEncoder;
    use libdeflater::{CompressionLvl, Compressor};
    use proptest::prelude::*;

    use super::*;

    fn inflate(stream: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::DeflateDecoder::new(stream).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn by_libdeflate(bytes: &[u8], level: i32) -> Vec<u8> {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut stream = vec![0; compressor.deflate_compress_bound(bytes.len())];
        let length = compressor.deflate_compress(bytes, &mut stream).unwrap();
        stream.truncate(length);
        stream
    }

    fn by_zlib(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Bytes with a skewed distribution and repeats, so that codes of all lengths occur.
    fn skewed(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes: Vec<u8> = Vec::with_capacity(length);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [a, b, c, ..] = state.to_le_bytes();
            if a < 40 && bytes.len() > 300 {
                let from = bytes.len() - 1 - usize::from(b);
                for at in from..from + 3 + usize::from(c % 40) {
                    bytes.push(bytes[at]);
                }
            } else {
                // More leading zeros are rarer, so code lengths go up to the maximum.
                bytes.push(
                    u8::try_from(state.leading_zeros().min(31)).unwrap() * 8 + (b & 7) * u8::from(a & 1 == 0),
                );
            }
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn large_streams_of_both_libraries_are_joined() {
        let (one, two) = (skewed(1, 1_500_000), skewed(2, 100_000));
        for level in [0, 1, 5, 6, 9, 12] {
            let mut stream = by_libdeflate(&one, level);
            open_end(&mut stream).unwrap();
            stream.extend(by_libdeflate(&two, level));
            assert!(inflate(&stream) == [&one[..], &two].concat(), "libdeflate {level}");
        }
        for level in [1, 6, 9] {
            let mut stream = by_zlib(&one, level);
            open_end(&mut stream).unwrap();
            stream.extend(by_zlib(&two, level));
            assert!(inflate(&stream) == [&one[..], &two].concat(), "zlib {level}");
        }
    }

    #[test]
    fn bits_after_the_end_do_not_matter() {
        for length in 1..40 {
            let bytes = skewed(4, length);
            let mut stream = by_libdeflate(&bytes, 6);
            let (_, end) = last_block(&stream).unwrap();
            if end % 8 > 0 {
                stream[end / 8] |= 0xFF << (end % 8);
            }
            open_end(&mut stream).unwrap();
            stream.extend(by_libdeflate(b"", 6));
            assert_eq!(inflate(&stream), bytes, "{length}");
        }
    }

    #[test]
    fn what_is_cut_off_or_longer_is_refused() {
        let whole = by_libdeflate(&skewed(3, 20_000), 6);
        for length in 0..whole.len() {
            assert_eq!(open_end(&mut whole[..length].to_vec()), Err(NotDeflate), "{length}");
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(open_end(&mut longer), Err(NotDeflate));
    }

    proptest! {
        #[test]
        fn joined_streams_inflate_to_both_inputs(
            parts in proptest::collection::vec((any::<u64>(), 0_usize..20_000, 0..=12_i32, any::<bool>()), 1..6)
        ) {
            let (mut stream, mut whole) = (Vec::new(), Vec::new());
            for (seed, length, level, skew) in parts {
                let bytes = if skew { skewed(seed, length) } else { seed.to_le_bytes().repeat(length / 8) };
                let mut part = by_libdeflate(&bytes, level);
                open_end(&mut part).unwrap();
                stream.extend(part);
                whole.extend(bytes);
            }
            stream.extend(by_libdeflate(b"", 6));
            prop_assert_eq!(inflate(&stream), whole);
        }

        #[test]
        fn altered_streams_are_taken_where_the_other_library_takes_them(
            seed in any::<u64>(),
            length in 0_usize..3000,
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        ) {
            let mut stream = by_libdeflate(&skewed(seed, length), 6);
            for (at, byte) in changes {
                let at = at % stream.len();
                stream[at] ^= byte;
            }
            let mut output = vec![0; 4_000_000];
            let mut other = flate2::Decompress::new(false);
            let ended = other.decompress(&stream, &mut output, flate2::FlushDecompress::Finish);
            let taken = matches!(ended, Ok(flate2::Status::StreamEnd)) && other.total_in() == stream.len() as u64;
            let mut opened = stream;
            let result = open_end(&mut opened);
            // The walk can't detect distances that point before the start, so it may accept more streams, but never
            // fewer.
            prop_assert!(!taken || result.is_ok());
            if taken {
                opened.extend(by_libdeflate(b"", 6));
                let whole = usize::try_from(other.total_out()).unwrap();
                prop_assert_eq!(&inflate(&opened)[..], &output[..whole]);
            }
        }
    }
}
