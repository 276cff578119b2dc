//! A stream that cannot run forever: it is limited in bytes, and stops when the work is cancelled.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Seek, SeekFrom};

use super::StreamError;
use crate::sys::cancel::Cancel;

/// Limit for the headers of one tar entry, in bytes: its block, its long names and its pax records.
pub(super) const HEADER_LIMIT: u64 = 1 << 20;

/// The limits and counters of one [`Guarded`] stream, which can be inspected while a reader owns the stream.
pub struct Guard<'a> {
    cancel: &'a Cancel,
    limit: u64,
    left: Cell<u64>,
    allowance: Cell<u64>,
    fault: RefCell<Option<StreamError>>,
}

impl<'a> Guard<'a> {
    /// Allows at most `limit` bytes in all, and at first those of the first entry's headers.
    #[must_use]
    pub fn new(limit: u64, cancel: &'a Cancel) -> Self {
        Self {
            cancel,
            limit,
            left: Cell::new(limit),
            allowance: Cell::new(HEADER_LIMIT),
            fault: RefCell::default(),
        }
    }

    /// Allows this many bytes of content, and the headers after it, until the next call.
    pub fn allow(&self, content: u64) {
        self.allowance.set(content.saturating_add(HEADER_LIMIT));
    }

    /// The limit of the bytes that may be read in all.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Why the guard stopped reading, if it did.
    pub fn fault(&self) -> Option<StreamError> {
        self.fault.take()
    }

    /// How many bytes have been read.
    pub fn spent(&self) -> u64 {
        self.limit - self.left.get()
    }

    /// Why reading failed: the guard's reason if it stopped the stream, otherwise the error itself.
    pub fn explain(&self, error: io::Error) -> StreamError {
        self.fault.take().unwrap_or_else(|| StreamError::of(error))
    }

    fn stop(&self, fault: StreamError) -> io::Error {
        *self.fault.borrow_mut() = Some(fault);
        io::Error::other("stopped")
    }

    fn spend(&self, count: u64) -> io::Result<()> {
        let spend = |account: &Cell<u64>| match account.get().checked_sub(count) {
            Some(left) => {
                account.set(left);
                true
            }
            None => false,
        };
        if !spend(&self.left) {
            return Err(self.stop(StreamError::TooLarge { limit: self.limit }));
        }
        if !spend(&self.allowance) {
            return Err(self.stop(StreamError::LongHeader { limit: HEADER_LIMIT }));
        }
        Ok(())
    }
}

/// A stream with its guard. Seeking is free, as skipped bytes are not read.
pub struct Guarded<'a, R> {
    /// The stream.
    pub inner: R,
    /// What each read asks.
    pub guard: &'a Guard<'a>,
}

impl<R: Read> Read for Guarded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.guard.cancel.check().map_err(|cancelled| self.guard.stop(cancelled.into()))?;
        let count = self.inner.read(buffer)?;
        self.guard.spend(count as u64)?;
        Ok(count)
    }
}

impl<R: Seek> Seek for Guarded<'_, R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.inner.seek(position)
    }
}
