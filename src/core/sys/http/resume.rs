//! A body that may take several attempts: what is missing is asked for by range (RFC 9110, section 14), and what comes is
//! checked to be the rest of the same thing.

use std::io;

use super::{HttpError, Response};
use crate::sys::cancel::Cancel;

/// Takes the bytes of a body, each once and in order.
pub trait Sink {
    /// Forgets everything from a position on; false if the sink cannot, so that what it has is passed over instead.
    fn rewind(&mut self, position: u64) -> io::Result<bool>;

    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What is known about a body, and how far it has come.
#[derive(Debug)]
pub struct Resume {
    position: u64,
    /// The size that it must have.
    size: Option<u64>,
    /// The most bytes that it may have.
    limit: u64,
    /// True if a digest will tell whether the parts belong together.
    has_digest: bool,
    /// The size that the first answer gave.
    told: Option<u64>,
    /// What the first answer said about which version it is of.
    validator: Option<Validator>,
}

/// Tells versions of a resource apart.
#[derive(Debug, PartialEq, Eq)]
struct Validator {
    field: &'static str,
    value: String,
}

/// Why an attempt did not bring the whole body.
#[derive(Debug)]
pub enum BodyError {
    /// The connection failed, or the work was cancelled.
    Http(HttpError),
    /// Another attempt may bring the rest, for this reason.
    Again(String),
    /// It is not what was asked for.
    Other {
        /// The size that was expected.
        expected: String,
        /// What came; `None` if it was more than expected.
        found: Option<String>,
    },
    /// The sink failed.
    Sink(io::Error),
}

impl Resume {
    /// A body of which the first `position` bytes are there. `limit` is the most bytes if the size is not known.
    #[must_use]
    pub fn new(size: Option<u64>, limit: u64, has_digest: bool, position: u64) -> Self {
        Self { position, size, limit: size.unwrap_or(limit), has_digest, told: None, validator: None }
    }

    /// How many bytes are there.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The size of the whole, as far as it is known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.size.or(self.told)
    }

    /// True once all bytes of a known size are there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.size.is_some_and(|size| self.position >= size)
    }

    /// The header fields that ask for the rest.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        if self.position == 0 {
            return Vec::new();
        }
        let mut fields = vec![("range", format!("bytes={}-", self.position))];
        // With a digest the parts may come from servers that number their versions differently, such as mirrors that share
        // a name. Without one, a file that has changed must come from its beginning.
        if let Some(validator) = self.validator.as_ref().filter(|_| !self.has_digest) {
            fields.push(("if-range", validator.value.clone()));
        }
        fields
    }

    /// Reads an answer with the status 200, 206 or 416.
    pub fn receive(
        &mut self,
        response: &mut Response,
        sink: &mut dyn Sink,
        cancel: &Cancel,
    ) -> Result<(), BodyError> {
        if response.status == 416 {
            let Some(size) = self.size else { return Ok(()) };
            return Err(other_size(size, format!("no more than {} bytes", self.position)));
        }
        let mut skip = self.begin(response, sink)?;
        while let Some(chunk) = response.chunk(cancel).map_err(BodyError::Http)? {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            let chunk = &chunk[skipped..];
            let reached = self.position + chunk.len() as u64;
            if reached > self.limit {
                let at_most = || format!("at most {} bytes", self.limit);
                let expected = self.size.map_or_else(at_most, |size| format!("{size} bytes"));
                return Err(BodyError::Other { expected, found: None });
            }
            sink.write(chunk).map_err(BodyError::Sink)?;
            self.position = reached;
        }
        match self.size {
            // Where the connection's end is the body's end, nothing else tells that it was cut.
            Some(size) if self.position < size => {
                Err(BodyError::Again(format!("the connection ended after {} of {size} bytes", self.position)))
            }
            _ => Ok(()),
        }
    }

    /// Compares the head of an answer with what is known. The number of bytes to pass over.
    fn begin(&mut self, response: &Response, sink: &mut dyn Sink) -> Result<u64, BodyError> {
        // A server that does not know ranges starts from the beginning.
        let start = match response.status {
            206 => range_start(response).unwrap_or(self.position),
            _ => 0,
        };
        if start > self.position {
            return Err(BodyError::Again(format!(
                "the server skipped from byte {} to {start}",
                self.position
            )));
        }
        let whole = response.length().map(|length| start.saturating_add(length));
        if let (Some(size), Some(whole)) = (self.size, whole)
            && size != whole
        {
            return Err(other_size(size, format!("{whole} bytes")));
        }
        let validator = Validator::of(response);
        if start > 0 && self.has_changed(whole, validator.as_ref()) {
            // Its beginning is of another version.
            if sink.rewind(0).map_err(BodyError::Sink)? {
                (self.position, self.told, self.validator) = (0, None, None);
            }
            return Err(BodyError::Again("the file was changed on the server meanwhile".into()));
        }
        let skip = self.position - start;
        if skip > 0 && sink.rewind(start).map_err(BodyError::Sink)? {
            self.position = start;
        }
        (self.told, self.validator) = (whole, validator);
        Ok(self.position - start)
    }

    /// True if an answer is of another version than the bytes that are there.
    fn has_changed(&self, whole: Option<u64>, validator: Option<&Validator>) -> bool {
        let differs = |(now, known): (&Validator, &Validator)| now.field == known.field && now != known;
        let size_differs = self.told.zip(whole).is_some_and(|(told, whole)| told != whole);
        size_differs || !self.has_digest && validator.zip(self.validator.as_ref()).is_some_and(differs)
    }
}

impl Validator {
    /// A strong `ETag`, else the date. A weak one does not say that bytes are the same (RFC 9110, section 13.1.5).
    fn of(response: &Response) -> Option<Self> {
        let field = |field| response.header(field).map(|value| Self { field, value: value.to_owned() });
        field("etag").filter(|tag| tag.value.starts_with('"')).or_else(|| field("last-modified"))
    }
}

fn other_size(expected: u64, found: String) -> BodyError {
    BodyError::Other { expected: format!("{expected} bytes"), found: Some(found) }
}

/// The first byte's position in `Content-Range: bytes 5-9/10` (RFC 9110, section 14.4).
fn range_start(response: &Response) -> Option<u64> {
    response.header("content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
