//! Reading a layer once, for its digest, its archive and its changes to the root filesystem.

use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;

use super::VerifyError;
use super::fault::Fault;
use crate::archive::{self, Packing};
use crate::layout::ReadError;
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::registry::RegistryError;
use crate::rootfs::{Ending, LayerIndex, Limits, StreamError, scan_to_end};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs;
use crate::transport::{Blob, Source, TransportError};

/// The size of the pieces that are passed between threads, in bytes.
const PIECE: usize = 256 << 10;
/// The number of pieces that may be queued.
const QUEUE: usize = 4;

/// The result of reading a layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// `None` if it could not be read to its end.
    pub(super) index: Option<LayerIndex>,
    pub(super) faults: Vec<Fault>,
}

/// Reads a layer.
pub(super) fn read(
    source: &Source,
    descriptor: &Descriptor,
    algorithm: Algorithm,
    cancel: &Cancel,
) -> Result<Layer, VerifyError> {
    let mut faults = Vec::new();
    let Some(declared) = Packing::of(&descriptor.media_type) else {
        let (digest, media_type) = (descriptor.digest.clone(), descriptor.media_type.clone());
        faults.push(Fault::UnknownMediaType { what: "layer", digest, media_type });
        faults.extend(blob(source, descriptor, Source::blob, cancel)?);
        return Ok(Layer { index: None, faults });
    };
    let mut bytes = match source.blob(descriptor) {
        Ok(blob) => blob,
        Err(error) => return Ok(Layer { index: None, faults: vec![fault_of(error, &descriptor.digest)?] }),
    };
    let mut found = None;
    let scanned = match Packing::look(&mut bytes) {
        Ok((packing, whole)) => {
            found = Some(packing);
            decoded(whole, |tar| scan_to_end(tar, algorithm, Limits::LAYER, cancel))
                .map_err(|error| TransportError::Io { shown: source.shown().to_owned(), source: error })?
        }
        Err(error) => Err(StreamError::of(error)),
    };
    // If the blob's bytes are altered, only that is reported, and not the broken archive that follows from it. The
    // decoder may not have read the blob to its end.
    let rest = drain(&mut bytes, cancel)?;
    let altered = match (&scanned, rest) {
        (_, Err(error)) => Some(fault_of(bytes.explain(error), &descriptor.digest)?),
        _ => None,
    };
    let digest = descriptor.digest.clone();
    let mut index = None;
    match scanned {
        Ok((index_found, ending)) => {
            match ending {
                Ending::Whole => {}
                Ending::Open => faults.push(Fault::NoEnd { digest }),
                Ending::Followed(count) => faults.push(Fault::TrailingBytes { digest, count }),
            }
            index = Some(index_found);
        }
        Err(StreamError::Cancelled(cancelled)) => return Err(cancelled.into()),
        Err(_) if altered.is_some() => {}
        Err(StreamError::Broken(error)) => match bytes.explain(error) {
            TransportError::Damaged { source, .. } => faults.push(fault(source, &digest)?),
            TransportError::Io { source, .. } => {
                faults.push(Fault::BrokenLayer { digest, reason: source.to_string() });
            }
            other => return Err(other.into()),
        },
        Err(error) => faults.push(Fault::BrokenLayer { digest, reason: error.to_string() }),
    }
    if let Some(found) = found.filter(|found| *found != declared) {
        let (digest, media_type) = (descriptor.digest.clone(), descriptor.media_type.clone());
        faults.push(Fault::LayerCompression { digest, media_type, found });
    }
    if let Some(altered) = altered {
        faults = vec![altered];
        index = None;
    }
    Ok(Layer { index, faults })
}

/// Decompresses a blob on a thread of its own, while `with` reads the result: decompressing takes as long as everything
/// else, and an image may have one large layer and little else.
fn decoded<T>(blob: impl Read + Send, with: impl FnOnce(Pieces) -> T) -> io::Result<T> {
    thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(QUEUE);
        let (give_back, spare) = mpsc::channel::<Vec<u8>>();
        thread::Builder::new().spawn_scoped(scope, move || {
            let outcome = archive::unpack(blob).and_then(|(_, mut tar)| {
                loop {
                    let mut bytes = spare.try_recv().unwrap_or_else(|_| vec![0; PIECE]);
                    let count = fill(&mut tar, &mut bytes)?;
                    // The receiver is gone if reading has failed.
                    if count == 0 || send.send(Ok(Piece { bytes, count })).is_err() {
                        return Ok(());
                    }
                }
            });
            if let Err(error) = outcome {
                send.send(Err(error)).ok();
            }
        })?;
        Ok(with(Pieces { receive, give_back, piece: Piece::default(), at: 0 }))
    })
}

/// Fills a buffer as far as possible and returns the number of bytes. Decompressors have a cost per call, so they are
/// asked for as much as fits.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match fs::read_piece(from, &mut bytes[count..])? {
            0 => break,
            read => count += read,
        }
    }
    Ok(count)
}

/// A buffer, and the number of its bytes that are used.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    count: usize,
}

/// The decompressed bytes, received from the other thread.
struct Pieces {
    receive: mpsc::Receiver<io::Result<Piece>>,
    give_back: mpsc::Sender<Vec<u8>>,
    piece: Piece,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.count {
            let read = std::mem::take(&mut self.piece);
            self.at = 0;
            if read.count > 0 {
                // If the other thread has ended, the buffer is not needed.
                self.give_back.send(read.bytes).ok();
            }
            match self.receive.recv() {
                Ok(piece) => self.piece = piece?,
                Err(mpsc::RecvError) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.count - self.at);
        buffer[..count].copy_from_slice(&self.piece.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Reads to the end. The inner error is that of reading.
fn drain(bytes: &mut Blob, cancel: &Cancel) -> Result<io::Result<()>, Cancelled> {
    let mut piece = vec![0; PIECE];
    loop {
        cancel.check()?;
        match fs::read_piece(bytes, &mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Reads a blob only to verify it.
pub(super) fn blob(
    source: &Source,
    descriptor: &Descriptor,
    read: fn(&Source, &Descriptor) -> Result<Blob, TransportError>,
    cancel: &Cancel,
) -> Result<Option<Fault>, VerifyError> {
    let mut bytes = match read(source, descriptor) {
        Ok(blob) => blob,
        Err(error) => return fault_of(error, &descriptor.digest).map(Some),
    };
    match drain(&mut bytes, cancel)? {
        Ok(()) => Ok(None),
        Err(error) => fault_of(bytes.explain(error), &descriptor.digest).map(Some),
    }
}

/// The fault of a blob that could not be read; an error if the failure does not concern the blob.
pub(super) fn fault_of(error: TransportError, digest: &Digest) -> Result<Fault, VerifyError> {
    match error {
        TransportError::Damaged { source, .. } => fault(source, digest),
        // The root was read, so the repository exists and only the blob is missing.
        TransportError::Registry(error) if error.is_not_found() => {
            Ok(Fault::MissingBlob { digest: digest.clone() })
        }
        TransportError::Registry(error) => match &*error {
            RegistryError::Mismatch { expected, found, .. } => match (expected.parse(), found.parse()) {
                (Ok(expected), Ok(found)) => Ok(Fault::WrongDigest { expected, found }),
                _ => Err(TransportError::Registry(error).into()),
            },
            _ => Err(TransportError::Registry(error).into()),
        },
        other => Err(other.into()),
    }
}

fn fault(error: ReadError, digest: &Digest) -> Result<Fault, VerifyError> {
    Ok(match error {
        ReadError::Missing { digest, .. } => Fault::MissingBlob { digest },
        ReadError::WrongSize { digest, expected, found, .. } => Fault::WrongSize { digest, expected, found },
        ReadError::WrongDigest { expected, found, .. } => Fault::WrongDigest { expected, found },
        ReadError::TooLarge { digest, size } => Fault::DocumentTooLarge { digest, size },
        ReadError::TooDeep { digest } => Fault::TooDeep { digest },
        ReadError::Io(error) => return Err(VerifyError::Io(error)),
        ReadError::Cancelled(cancelled) => return Err(cancelled.into()),
        other => {
            Fault::InvalidDocument { document: "document", digest: digest.clone(), reason: other.to_string() }
        }
    })
}
