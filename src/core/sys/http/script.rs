//! Answers without a network, for tests and fuzzing.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use super::pace::Pace;
use super::told::Told;
use super::{CHUNK, HttpError, Request, Response, Stop};

/// A made-up answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body. One that is shorter than its `content-length` ends as a connection that broke.
    pub body: Vec<u8>,
}

/// Answers a request, or says why the connection broke.
pub(super) type Answers = dyn Fn(&Request) -> Result<Answer, String> + Send + Sync;

/// Answers instead of the network.
#[derive(Clone)]
pub(super) struct Script(pub(super) Arc<Answers>);

impl fmt::Debug for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Script")
    }
}

impl Script {
    pub(super) fn answer(&self, request: &Request, stall: Duration) -> Result<Response, HttpError> {
        let Answer { status, headers, mut body } = (self.0)(request).map_err(HttpError::Broken)?;
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: Option<u64> = length.and_then(|(_, value)| value.parse().ok());
        // Bytes after the body do not belong to it.
        body.truncate(length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX));
        let last = match (length, body.len() as u64) {
            (Some(length), count) if count < length => {
                Err(HttpError::Broken(format!("the connection ended after {count} of {length} bytes")))
            }
            _ => Ok(None),
        };
        let (sender, chunks) = mpsc::channel();
        let parts = body.chunks(CHUNK).map(|part| Ok(Some(part.to_vec())));
        for message in parts.chain([last]) {
            // The receiver is in this function and cannot be gone.
            sender.send(message).ok();
        }
        let pace = Pace::new(stall, "sends");
        let told = Told::default();
        Ok(Response { status, headers, proxy: None, chunks, pace, told, _stop: Stop(Arc::default()) })
    }
}
