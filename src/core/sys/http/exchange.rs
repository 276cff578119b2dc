//! One exchange on its thread: sends the request, reads the answer's body and passes it on, and turns ureq's errors into
//! ours.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use ureq::http::{Request as HttpRequest, Response as HttpResponse};

use super::inward::LedInward;
use super::proxy::{Proxy, ProxyError};
use super::{Body, CHUNK, HttpError, Request, Route, pace};
use rustls::AlertDescription;

use crate::sys::fs;

/// Sends a request by its route and waits for the head of the answer.
pub(super) fn exchange(
    route: &Route,
    request: &Request,
    stall: Duration,
    stopped: &Arc<AtomicBool>,
) -> Result<HttpResponse<ureq::Body>, HttpError> {
    let mut builder = HttpRequest::builder().method(request.method.name()).uri(&request.url);
    for (name, value) in &request.headers {
        builder = builder.header(*name, value);
    }
    if let Some(value) = &route.authorization {
        builder = builder.header("Proxy-Authorization", value);
    }
    let patience = request.patience.unwrap_or(stall);
    let agent = &route.agent;
    let failed = |error| explain(error, &request.url, route.proxy.as_ref());
    match &request.body {
        Body::None => run(agent, builder, (), (patience, None)).map_err(failed),
        Body::Bytes(bytes) => {
            let whole = pace::allowed(stall, bytes.len() as u64);
            run(agent, builder, &bytes[..], (patience, Some(whole))).map_err(failed)
        }
        Body::File { path, offset, length, sent } => {
            let mut file = fs::File::open(path)?;
            file.seek(SeekFrom::Start(*offset))?;
            let mut reader = Upload {
                file: file.take(*length),
                left: *length,
                sent: Arc::clone(sent),
                stopped: Arc::clone(stopped),
                failure: None,
            };
            let builder = builder.header("Content-Length", length.to_string());
            let body = ureq::SendBody::from_reader(&mut reader);
            let result = run(agent, builder, body, (patience, None));
            match (result, reader.failure) {
                (Ok(response), _) => Ok(response),
                (Err(_), Some(failure)) => Err(HttpError::File(failure)),
                (Err(error), None) => Err(failed(error)),
            }
        }
    }
}

/// Sends a request with this body. `patience` is how long the answer may take to begin, which may be longer than a stall, and
/// `whole` how long sending the whole body may take.
fn run(
    agent: &ureq::Agent,
    builder: ureq::http::request::Builder,
    body: impl ureq::AsSendBody,
    (patience, whole): (Duration, Option<Duration>),
) -> Result<HttpResponse<ureq::Body>, ureq::Error> {
    let request = agent.configure_request(builder.body(body)?);
    let request = request.timeout_recv_response(Some(patience)).timeout_per_read(Some(patience));
    agent.run(request.timeout_send_body(whole).build())
}

/// The part of a file that is sent.
struct Upload {
    file: io::Take<fs::File>,
    left: u64,
    sent: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    /// The error if the file has failed and not the connection.
    failure: Option<io::Error>,
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::SeqCst) {
            return Err(io::Error::other("stopped"));
        }
        let result = match self.file.read(buffer) {
            Ok(0) if self.left > 0 && !buffer.is_empty() => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file to be sent became shorter"))
            }
            other => other,
        };
        match result {
            Ok(count) => {
                self.left -= count as u64;
                self.sent.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Err(error) => {
                self.failure = Some(io::Error::new(error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

pub(super) fn headers(map: &ureq::http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Reads a body to its end, or until the receiver is gone.
pub(super) fn pass_on(body: ureq::Body, sender: &SyncSender<Result<Option<Vec<u8>>, HttpError>>) {
    let expected = body.content_length();
    let mut reader = body.into_reader();
    let mut received = 0;
    loop {
        let mut buffer = vec![0; CHUNK];
        let message = match fs::read_piece(&mut reader, &mut buffer) {
            Ok(0) => match expected {
                Some(expected) if received < expected => Err(HttpError::Broken(format!(
                    "the connection ended after {received} of {expected} bytes"
                ))),
                _ => Ok(None),
            },
            Ok(count) => {
                received += count as u64;
                buffer.truncate(count);
                Ok(Some(buffer))
            }
            Err(error) => Err(HttpError::Broken(error.to_string())),
        };
        let last = !matches!(message, Ok(Some(_)));
        if sender.send(message).is_err() || last {
            return;
        }
    }
}

/// Explains a failure. With a proxy, connections are made to the proxy.
fn explain(error: ureq::Error, url: &str, proxy: Option<&Proxy>) -> HttpError {
    let secure = url.starts_with("https://");
    let through = |reason: String| match proxy {
        Some(proxy) => format!("{reason} (through {})", proxy.name()),
        None => reason,
    };
    let unreachable = |reason: String| {
        HttpError::Broken(match proxy {
            Some(proxy) => format!("{} cannot be reached: {reason}", proxy.name()),
            None => reason,
        })
    };
    match error {
        ureq::Error::Tls(reason) => HttpError::Tls { reason: through(reason.to_owned()), certificate: false },
        ureq::Error::Rustls(error) => tls(&error, through),
        ureq::Error::Io(error) if secure && error.kind() == io::ErrorKind::InvalidData => {
            match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(error) => tls(error, through),
                None => HttpError::Tls { reason: through(error.to_string()), certificate: false },
            }
        }
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => unreachable(error.to_string()),
            _ => HttpError::Broken(through(error.to_string())),
        },
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            unreachable("no connection within the time limit".into())
        }
        ureq::Error::Timeout(_) => HttpError::Broken(through("the server stalled".into())),
        ureq::Error::HostNotFound => unreachable("the host name is not known".into()),
        ureq::Error::ConnectProxyFailed(reason) => match (proxy, refusal(&reason)) {
            (Some(proxy), Some(407)) => {
                let given = proxy.has_credentials();
                ProxyError::Credentials { proxy: proxy.name().clone(), given }.into()
            }
            (Some(proxy), Some(status)) => {
                let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next());
                let host = host.unwrap_or_default().to_owned();
                ProxyError::Refuses { proxy: proxy.name().clone(), host, status }.into()
            }
            _ => unreachable(reason),
        },
        ureq::Error::Other(error) if error.is::<LedInward>() => match error.downcast::<LedInward>() {
            Ok(led) => HttpError::Inward(*led),
            Err(error) => HttpError::Broken(through(error.to_string())),
        },
        ureq::Error::Http(error) => HttpError::Invalid(error.to_string()),
        ureq::Error::BadUri(_) => HttpError::Invalid("it is not a URL".into()),
        other => HttpError::Broken(through(other.to_string())),
    }
}

/// The error that ended a handshake.
fn tls(error: &rustls::Error, through: impl Fn(String) -> String) -> HttpError {
    let certificate = matches!(error, rustls::Error::InvalidCertificate(_));
    match error {
        rustls::Error::AlertReceived(alert) if is_about_us(*alert) => HttpError::Identity(error.to_string()),
        // The certificate check's own errors are of another crate and not visible as types.
        _ if certificate && error.to_string().contains("CaUsedAsEndEntity") => {
            let reason = "invalid peer certificate: it is an authority's own (CA:TRUE), and no server's";
            HttpError::Tls { reason: through(reason.into()), certificate }
        }
        _ => HttpError::Tls { reason: through(error.to_string()), certificate },
    }
}

/// True for alerts about a client certificate (RFC 8446, section 6.2).
fn is_about_us(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// The status in ureq's message about a refused `CONNECT`: `proxy server responded 407/407`.
fn refusal(words: &str) -> Option<u16> {
    words.strip_prefix("proxy server responded ")?.split('/').next()?.parse().ok()
}
