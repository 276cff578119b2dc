//! A layer, read once: its bytes against its digest, its archive to the end, and what it does to the root filesystem.

use std::io::{self, Read as _};

use super::VerifyError;
use super::fault::Fault;
use crate::layout::ReadError;
use crate::oci::{Algorithm, Descriptor, Digest};
use crate::rootfs::{Ending, LayerIndex, Limits, Packing, StreamError, scan_to_end};
use crate::sys::cancel::Cancel;
use crate::transport::{Source, TransportError};

/// What was learned of a layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// None where it could not be read to its end.
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
    let Some(packing) = Packing::of(&descriptor.media_type) else {
        let (digest, media_type) = (descriptor.digest.clone(), descriptor.media_type.clone());
        faults.push(Fault::UnknownMediaType { what: "layer", digest, media_type });
        faults.extend(blob(source, descriptor, cancel)?);
        return Ok(Layer { index: None, faults });
    };
    let mut bytes = match source.blob(descriptor) {
        Ok(blob) => blob,
        Err(error) => return Ok(Layer { index: None, faults: vec![fault_of(error, &descriptor.digest)?] }),
    };
    let scanned = scan_to_end(&mut bytes, packing, algorithm, Limits::LAYER, cancel);
    // An archive that is broken because its bytes are others is told of as these. The decoder need not have read all.
    let rest = io::copy(&mut bytes, &mut io::sink());
    cancel.check()?;
    let altered = match (&scanned, rest) {
        (_, Err(error)) => Some(fault_of(bytes.explain(error), &descriptor.digest)?),
        _ => None,
    };
    let digest = descriptor.digest.clone();
    let mut index = None;
    match scanned {
        Ok((found, ending)) => {
            match ending {
                Ending::Whole => {}
                Ending::Open => faults.push(Fault::NoEnd { digest }),
                Ending::Followed(count) => faults.push(Fault::TrailingBytes { digest, count }),
            }
            index = Some(found);
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
    if let Some(altered) = altered {
        faults = vec![altered];
        index = None;
    }
    Ok(Layer { index, faults })
}

/// Reads a blob of which only its bytes matter.
pub(super) fn blob(
    source: &Source,
    descriptor: &Descriptor,
    cancel: &Cancel,
) -> Result<Option<Fault>, VerifyError> {
    let mut bytes = match source.blob(descriptor) {
        Ok(blob) => blob,
        Err(error) => return fault_of(error, &descriptor.digest).map(Some),
    };
    let mut piece = vec![0; 256 << 10];
    loop {
        cancel.check()?;
        match bytes.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return fault_of(bytes.explain(error), &descriptor.digest).map(Some),
        }
    }
}

/// What is wrong with a blob that could not be read; an error where that says nothing of the blob.
pub(super) fn fault_of(error: TransportError, digest: &Digest) -> Result<Fault, VerifyError> {
    match error {
        TransportError::Damaged { source, .. } => fault(source, digest),
        other => Err(other.into()),
    }
}

fn fault(error: ReadError, digest: &Digest) -> Result<Fault, VerifyError> {
    Ok(match error {
        ReadError::Missing { digest, .. } => Fault::MissingBlob { digest },
        ReadError::WrongSize { digest, expected, found, .. } => Fault::WrongSize { digest, expected, found },
        ReadError::WrongDigest { expected, found, .. } => Fault::WrongDigest { expected, found },
        ReadError::TooLarge { digest, size } => Fault::DocumentTooLarge { digest, size },
        ReadError::TooDeep { digest } => Fault::NestedIndex { digest },
        ReadError::Io(error) => return Err(VerifyError::Io(error)),
        ReadError::Cancelled(cancelled) => return Err(cancelled.into()),
        other => {
            Fault::InvalidDocument { document: "document", digest: digest.clone(), reason: other.to_string() }
        }
    })
}
