//! Gzip on several threads, with the same output for any number of them (RFC 1952).
//!
//! The input is cut into blocks of a fixed size. Each is compressed on its own, and its end is opened
//! ([`deflate`](super::deflate)), so that all blocks form one DEFLATE stream in one gzip member. Some readers stop
//! after the first member, and they too read everything. The blocks share no dictionary, which costs a tenth of a
//! percent at this size.
//!
//! libdeflate compresses, as it is by far the fastest measured for machine code: at its level 5 it is faster than
//! zlib-rs at level 4, and smaller than zlib-rs at level 8 (`docs/benchmarks.md`).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crc32fast::Hasher as Crc;
use libdeflater::{CompressionLvl, Compressor};

use super::deflate;

/// The size of a block in bytes. The output depends on it.
pub(super) const BLOCK: usize = 1024 * 1024;

/// A gzip stream that is being written. Must be [finished](Self::finish).
pub(super) struct Encoder<W> {
    sink: W,
    level: CompressionLvl,
    /// The maximum number of threads to compress on.
    threads: usize,
    /// Input that is not yet a whole block.
    block: Vec<u8>,
    crc: Crc,
    /// Blocks that are being compressed, in the order of the stream.
    pending: VecDeque<Receiver<io::Result<Compressed>>>,
    /// Buffers of written blocks, for reuse.
    spare: Vec<Vec<u8>>,
    workers: usize,
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
}

struct Job {
    block: Vec<u8>,
    last: bool,
    done: SyncSender<io::Result<Compressed>>,
}

struct Compressed {
    block: Vec<u8>,
    stream: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Encoder<W> {
    /// Writes the header. The level is libdeflate's, 1 to 12.
    pub(super) fn new(mut sink: W, level: CompressionLvl, threads: usize) -> io::Result<Self> {
        // Deflate, no flags, no time, no information on the level, no operating system.
        sink.write_all(&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])?;
        let (jobs, queue) = mpsc::channel();
        Ok(Self {
            sink,
            level,
            threads: threads.max(1),
            block: Vec::with_capacity(BLOCK),
            crc: Crc::new(),
            pending: VecDeque::new(),
            spare: Vec::new(),
            workers: 0,
            jobs,
            queue: Arc::new(Mutex::new(queue)),
        })
    }

    /// Compresses the rest and writes the trailer.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.dispatch(true)?;
        while !self.pending.is_empty() {
            self.collect()?;
        }
        let mut trailer = [0; 8];
        trailer[..4].copy_from_slice(&self.crc.clone().finalize().to_le_bytes());
        // The size modulo 2^32, as the format requires.
        trailer[4..].copy_from_slice(&self.crc.total_len().to_le_bytes()[..4]);
        self.sink.write_all(&trailer)?;
        Ok(self.sink)
    }

    /// Passes the block to a thread. Writes finished blocks if too many are waiting.
    fn dispatch(&mut self, last: bool) -> io::Result<()> {
        // Twice the number of threads, so that none of them waits while this one reads, hashes and writes.
        while self.pending.len() >= self.threads * 2 {
            self.collect()?;
        }
        let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK));
        let block = std::mem::replace(&mut self.block, next);
        let (done, result) = mpsc::sync_channel(1);
        let job = Job { block, last, done };
        if last && self.pending.is_empty() {
            // A small layer is one block, for which starting a thread does not pay.
            work(self.level, [job]);
        } else {
            if self.workers < self.threads && self.workers <= self.pending.len() {
                let (level, queue) = (self.level, Arc::clone(&self.queue));
                thread::Builder::new().name("gzip".into()).spawn(move || work(level, Jobs(queue)))?;
                self.workers += 1;
            }
            self.jobs.send(job).map_err(|_| worker_died())?;
        }
        self.pending.push_back(result);
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn collect(&mut self) -> io::Result<()> {
        let Some(result) = self.pending.pop_front() else { return Ok(()) };
        let Compressed { mut block, stream, crc } = result.recv().map_err(|_| worker_died())??;
        self.sink.write_all(&stream)?;
        self.crc.combine(&crc);
        block.clear();
        self.spare.push(block);
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() == BLOCK {
            self.dispatch(false)?;
        }
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Does nothing: the writer must not influence where blocks end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The jobs of a queue that the threads share. It ends when the encoder is dropped.
struct Jobs(Arc<Mutex<Receiver<Job>>>);

impl Iterator for Jobs {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// Compresses blocks until there are no more.
fn work(level: CompressionLvl, jobs: impl IntoIterator<Item = Job>) {
    let mut compressor = Compressor::new(level);
    let mut buffer = Vec::new();
    for Job { block, last, done } in jobs {
        let result = compress(&mut compressor, &mut buffer, block, last);
        // If the encoder was dropped, nothing waits for the result.
        done.send(result).ok();
    }
}

fn compress(
    compressor: &mut Compressor,
    buffer: &mut Vec<u8>,
    block: Vec<u8>,
    last: bool,
) -> io::Result<Compressed> {
    buffer.resize(compressor.deflate_compress_bound(block.len()), 0);
    let length = compressor.deflate_compress(&block, buffer).map_err(io::Error::other)?;
    // Many of these wait to be written, so they use no more memory than needed.
    let mut stream = Vec::with_capacity(length + 5);
    stream.extend_from_slice(&buffer[..length]);
    if !last {
        deflate::open_end(&mut stream).map_err(io::Error::other)?;
    }
    let mut crc = Crc::new();
    crc.update(&block);
    Ok(Compressed { block, stream, crc })
}

fn worker_died() -> io::Error {
    io::Error::other("a thread that compresses has ended unexpectedly")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn level(level: i32) -> CompressionLvl {
        CompressionLvl::new(level).unwrap()
    }

    fn gzip(bytes: &[u8], threads: usize, piece: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), level(5), threads).unwrap();
        for piece in bytes.chunks(piece) {
            encoder.write_all(piece).unwrap();
        }
        encoder.finish().unwrap()
    }

    /// Decompresses one member. Also returns how many bytes of `gzipped` it took.
    fn gunzip_one_member(gzipped: &[u8]) -> (Vec<u8>, usize) {
        let mut decoder = flate2::bufread::GzDecoder::new(gzipped);
        let mut bytes = Vec::new();
        decoder.read_to_end(&mut bytes).unwrap();
        (bytes, gzipped.len() - decoder.into_inner().len())
    }

    fn pattern(length: usize, seed: u64) -> Vec<u8> {
        (0..length as u64)
            .map(|i| {
                let word = (i / 3).wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                word.to_le_bytes()[if i % 1000 < 500 { 7 } else { 5 }] & 0x3F
            })
            .collect()
    }

    #[test]
    fn one_member_at_the_edges_of_blocks() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 77] {
            let bytes = pattern(length, 1);
            let gzipped = gzip(&bytes, 2, 100_000);
            let (read, taken) = gunzip_one_member(&gzipped);
            assert!(read == bytes, "{length}");
            assert_eq!(taken, gzipped.len());
        }
    }

    #[test]
    fn a_failing_sink_fails_the_encoder_and_leaves_no_wait() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut encoder = Encoder::new(Full(1000), level(1), 2).unwrap();
        let error = pattern(20 * BLOCK, 3)
            .chunks(BLOCK)
            .find_map(|piece| encoder.write_all(piece).err())
            .expect("the window is smaller than the input");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn the_bytes_depend_on_the_input_alone(
            length in 0..4 * BLOCK,
            seed in any::<u64>(),
            threads in 2_usize..6,
            piece in 1000_usize..3 * BLOCK,
        ) {
            let bytes = pattern(length, seed);
            let one = gzip(&bytes, 1, BLOCK);
            prop_assert!(one == gzip(&bytes, threads, piece));
            let mut read = Vec::new();
            flate2::read::MultiGzDecoder::new(&one[..]).read_to_end(&mut read).unwrap();
            prop_assert!(read == bytes);
        }
    }
}
