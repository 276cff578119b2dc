//! A blob that is verified while it is read.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::TransportError;
use crate::layout::ReadError;
use crate::oci::{Digest, Hasher};
use crate::sys::cancel::Cancel;

const PIECE: usize = 256 * 1024;

/// A blob's bytes. The read that meets their end fails unless their digest is the expected one.
pub struct Blob {
    pub(super) inner: Box<dyn Read + Send>,
    /// `None` once the digest was found right.
    pub(super) hasher: Option<Hasher>,
    pub(super) expected: Digest,
    pub(super) path: PathBuf,
    pub(super) shown: String,
}

impl fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Blob").field("expected", &self.expected).finish_non_exhaustive()
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count == 0
            && !buffer.is_empty()
            && let Some(hasher) = &self.hasher
        {
            let found = hasher.clone().finish();
            if found != self.expected {
                let (expected, path) = (self.expected.clone(), self.path.clone());
                return Err(io::Error::other(ReadError::WrongDigest { expected, path, found }));
            }
            self.hasher = None;
        }
        Ok(count)
    }
}

impl Blob {
    /// Why reading failed.
    #[must_use]
    pub fn explain(&self, error: io::Error) -> TransportError {
        match error.downcast::<ReadError>() {
            Ok(fault) => TransportError::damaged(&self.shown, fault),
            Err(source) => TransportError::Io { shown: self.shown.clone(), source },
        }
    }

    /// Copies all of it, verified; `write_error` names what cannot be written.
    pub fn copy(
        mut self,
        sink: &mut dyn Write,
        cancel: &Cancel,
        write_error: impl FnOnce(io::Error) -> TransportError,
    ) -> Result<(), TransportError> {
        let mut piece = vec![0; PIECE];
        loop {
            cancel.check()?;
            let count = match self.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.explain(error)),
            };
            if let Err(error) = sink.write_all(&piece[..count]) {
                return Err(write_error(error));
            }
        }
    }
}
