//! A blob that is verified while it is read.

use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::TransportError;
use crate::layout::ReadError;
use crate::oci::{Descriptor, Digest, Hasher};
use crate::registry::{RegistryError, Repository};
use crate::sys::cancel::Cancel;
use crate::sys::fs;

const PIECE: usize = 256 * 1024;

/// A blob's bytes. The read that reaches the end fails unless their digest is the expected one.
///
/// A registry's blob is fetched into an unnamed file before the first read; [`Blob::copy`] passes its bytes on as they
/// arrive.
pub struct Blob(Bytes);

enum Bytes {
    Local {
        inner: Box<dyn Read + Send>,
        /// `None` once the digest was found correct.
        hasher: Option<Hasher>,
        expected: Digest,
        path: PathBuf,
        shown: String,
    },
    Remote {
        repository: Box<Repository>,
        descriptor: Descriptor,
        cancel: Cancel,
        fetched: Option<fs::File>,
    },
}

impl fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = match &self.0 {
            Bytes::Local { expected, .. } => expected,
            Bytes::Remote { descriptor, .. } => &descriptor.digest,
        };
        formatter.debug_tuple("Blob").field(digest).finish()
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Bytes::Local { inner, hasher, expected, path, .. } => {
                let count = inner.read(buffer)?;
                if let Some(hasher) = hasher {
                    hasher.update(&buffer[..count]);
                }
                if count == 0
                    && !buffer.is_empty()
                    && let Some(done) = &hasher
                {
                    let found = done.clone().finish();
                    if found != *expected {
                        let (expected, path) = (expected.clone(), path.clone());
                        return Err(io::Error::other(ReadError::WrongDigest { expected, path, found }));
                    }
                    *hasher = None;
                }
                Ok(count)
            }
            Bytes::Remote { repository, descriptor, cancel, fetched } => {
                if fetched.is_none() {
                    let mut file = fs::unnamed_file(Path::new(&repository.name().to_string()))?;
                    repository
                        .blob(descriptor, cancel, &mut |piece| file.write_all(piece))
                        .map_err(io::Error::other)?;
                    file.rewind()?;
                    *fetched = Some(file);
                }
                fetched.as_mut().map_or(Ok(0), |file| file.read(buffer))
            }
        }
    }
}

impl Blob {
    /// A blob in a file, or a part of one, at `path`.
    pub(super) fn local(inner: Box<dyn Read + Send>, digest: &Digest, path: PathBuf, shown: String) -> Self {
        let hasher = Some(digest.algorithm().hasher());
        Self(Bytes::Local { inner, hasher, expected: digest.clone(), path, shown })
    }

    /// A blob of a repository.
    pub(super) fn remote(repository: Repository, descriptor: Descriptor, cancel: Cancel) -> Self {
        Self(Bytes::Remote { repository: Box::new(repository), descriptor, cancel, fetched: None })
    }

    /// Why reading failed.
    #[must_use]
    pub fn explain(&self, error: io::Error) -> TransportError {
        let shown = match &self.0 {
            Bytes::Local { shown, .. } => shown.clone(),
            Bytes::Remote { repository, .. } => repository.name().to_string(),
        };
        match error.downcast::<ReadError>() {
            Ok(fault) => TransportError::damaged(&shown, fault),
            Err(error) => match error.downcast::<RegistryError>() {
                Ok(fault) => fault.into(),
                Err(source) => TransportError::Io { shown, source },
            },
        }
    }

    /// Copies the whole blob. What was written must not be trusted before this has succeeded. `write_error` makes the
    /// error for a failed write.
    ///
    /// # Errors
    ///
    /// If the blob cannot be read, does not match its descriptor or cannot be written, or if the work is cancelled.
    pub fn copy(
        mut self,
        sink: &mut dyn Write,
        cancel: &Cancel,
        write_error: impl FnOnce(io::Error) -> TransportError,
    ) -> Result<(), TransportError> {
        if let Bytes::Remote { repository, descriptor, cancel, fetched: None } = &self.0 {
            return match repository.blob(descriptor, cancel, &mut |piece| sink.write_all(piece)) {
                Err(RegistryError::Io(error)) => Err(write_error(error)),
                result => Ok(result?),
            };
        }
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
