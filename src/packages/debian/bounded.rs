//! A stream that a hostile or broken archive cannot make endless.

use std::io::{self, Read};

use crate::sys::cancel::{Cancel, Cancelled};

/// A stream that fails when more than the allowed size is read, or when the work is cancelled.
pub(super) struct Bounded<'a, R> {
    inner: R,
    left: u64,
    cancel: &'a Cancel,
    fault: Option<Fault>,
}

/// Why a stream was stopped.
pub(super) enum Fault {
    /// There is more data than allowed.
    TooLarge,
    /// The work was stopped.
    Cancelled(Cancelled),
}

impl<'a, R: Read> Bounded<'a, R> {
    /// Allows `limit` bytes.
    pub(super) fn new(inner: R, limit: u64, cancel: &'a Cancel) -> Self {
        Self { inner, left: limit, cancel, fault: None }
    }

    /// Why this wrapper stopped the stream, if it did. The reader in between only sees an IO error.
    pub(super) fn into_fault(self) -> Option<Fault> {
        self.fault
    }
}
impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Err(cancelled) = self.cancel.check() {
            self.fault = Some(Fault::Cancelled(cancelled));
            return Err(io::Error::other("stopped"));
        }
        let count = self.inner.read(buffer)?;
        if let Some(left) = self.left.checked_sub(count as u64) {
            self.left = left;
            return Ok(count);
        }
        self.fault = Some(Fault::TooLarge);
        Err(io::Error::other("too large"))
    }
}
