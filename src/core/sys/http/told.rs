//! The log of an exchange: the request, its answer, and how the body came. Header fields may contain secrets, so that only a
//! few that describe the answer are logged.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Body, HttpError, ProxyName, Request, Response};
use crate::sys::clock::Instant;
use crate::sys::log::{self, Seconds};

/// Header fields that describe an answer and contain nothing secret.
const TELLING: [&str; 6] =
    ["content-type", "content-length", "content-range", "docker-content-digest", "retry-after", "server"];

/// Numbers requests, so that those at the same time can be told apart.
static COUNT: AtomicU64 = AtomicU64::new(1);

/// An exchange that is logged; empty if the log is off.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Exchange>);

#[derive(Debug)]
struct Exchange {
    number: u64,
    method: &'static str,
    url: String,
    since: Instant,
    /// The answer's status, once it has begun.
    status: Option<u16>,
    bytes: u64,
    end: End,
}

/// How a body ended.
#[derive(Debug)]
enum End {
    /// The caller did not read it to its end.
    Left,
    /// It has come as a whole.
    Whole,
    /// It broke off.
    Broken(String),
}

impl Told {
    /// Logs that a request is sent.
    pub(super) fn asking(request: &Request, proxy: Option<&ProxyName>) -> Self {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Self::default();
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let exchange = Exchange {
            number,
            method: request.method.name(),
            url: log::url(&request.url),
            since: Instant::now(),
            status: None,
            bytes: 0,
            end: End::Left,
        };
        let sends = match &request.body {
            Body::None => None,
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::File { length, .. } => Some(*length),
        };
        let fields: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let proxy = proxy.map(ToString::to_string);
        tracing::trace!(fields = fields.join(","), sends, proxy, "#{number} asks: {exchange}");
        Self(Some(exchange))
    }

    /// Logs that an answer has begun, or that there is none.
    pub(super) fn answered(&mut self, result: Result<&Response, &HttpError>) {
        let Some(exchange) = &mut self.0 else { return };
        let (number, time) = (exchange.number, Seconds(exchange.since.elapsed()));
        match result {
            Ok(response) => {
                exchange.status = Some(response.status);
                let (status, length) = (response.status, response.length());
                tracing::debug!(status, length, %time, "#{number} {exchange}");
                let known = response.headers.iter().filter(|(name, _)| TELLING.contains(&name.as_str()));
                let fields: Vec<String> = known.map(|(name, value)| format!("{name}: {value}")).collect();
                tracing::trace!(fields = fields.join(", "), "#{number} answer: {exchange}");
            }
            Err(error) => tracing::debug!(%error, %time, "#{number} no answer: {exchange}"),
        }
    }

    /// Notes a piece of the body, its end or a failure.
    pub(super) fn received(&mut self, piece: &Result<Option<Vec<u8>>, HttpError>) {
        let Some(exchange) = &mut self.0 else { return };
        match piece {
            Ok(Some(bytes)) => exchange.bytes += bytes.len() as u64,
            Ok(None) => exchange.end = End::Whole,
            Err(error) => exchange.end = End::Broken(error.to_string()),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (number, bytes, time) = (self.number, self.bytes, Seconds(self.since.elapsed()));
        match &self.end {
            _ if self.status.is_none() => {}
            End::Broken(error) => {
                tracing::debug!(error, bytes, %time, "#{number} the body broke off: {self}");
            }
            End::Left if bytes > 0 => {
                tracing::debug!(bytes, %time, "#{number} the rest is not wanted: {self}");
            }
            End::Whole if bytes > 0 => tracing::debug!(bytes, %time, "#{number} received: {self}"),
            End::Left | End::Whole => {}
        }
    }
}

impl std::fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.url)
    }
}
