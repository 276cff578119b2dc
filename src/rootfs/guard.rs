//! A stream that cannot run without end: bounded in bytes, and stopped when the work is.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Seek, SeekFrom};

use super::StreamError;
use crate::sys::cancel::Cancel;

/// What the headers of one tar entry may take, in bytes: its block, its long names and its pax records.
pub(crate) const HEADER_LIMIT: u64 = 1 << 20;

/// The account of one [`Guarded`] stream, looked at from outside while a reader owns the stream.
pub(crate) struct Guard<'a> {
    cancel: &'a Cancel,
    limit: u64,
    left: Cell<u64>,
    allowance: Cell<u64>,
    fault: RefCell<Option<StreamError>>,
}

impl<'a> Guard<'a> {
    /// An account of at most `limit` bytes, of which the first entry's headers may be read.
    pub(crate) fn new(limit: u64, cancel: &'a Cancel) -> Self {
        Self {
            cancel,
            limit,
            left: Cell::new(limit),
            allowance: Cell::new(HEADER_LIMIT),
            fault: RefCell::default(),
        }
    }

    /// Allows this many bytes of content, and the headers behind it, before it is asked again.
    pub(crate) fn allow(&self, content: u64) {
        self.allowance.set(content.saturating_add(HEADER_LIMIT));
    }

    /// The most bytes that may be read.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// What the guard stopped reading for, if it has.
    pub(crate) fn fault(&self) -> Option<StreamError> {
        self.fault.take()
    }

    /// How many bytes were read so far.
    pub(crate) fn spent(&self) -> u64 {
        self.limit - self.left.get()
    }

    /// Why reading failed: what the guard stopped it for, else the failure itself.
    pub(crate) fn explain(&self, error: io::Error) -> StreamError {
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

/// A stream with its account. Seeking is free: what is skipped is not read.
pub(crate) struct Guarded<'a, R> {
    pub(crate) inner: R,
    pub(crate) guard: &'a Guard<'a>,
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
