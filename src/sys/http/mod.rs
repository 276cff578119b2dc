//! HTTP for rooms that speak a protocol (`registry`): one request and one answer at a time, nothing decided.
//!
//! Redirects are not followed, statuses are no errors and nothing is tried twice: what each of these means is for the
//! protocol to say. What is done here is what only `sys` may do, and what must never go wrong: every wait is bounded,
//! every exchange runs on a thread of its own so that a cancelled one returns at once, bodies are streamed, and proxies
//! are taken from the environment's value.

mod forward;
mod proxy;
mod trust;
mod url;

pub use proxy::{ProxyError, ProxyName, is_loopback, split_port};
pub use trust::{Identity, Trust, TrustError};
pub use url::{Url, escape};

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::http::{Request as HttpRequest, Response as HttpResponse};

use proxy::{Proxy, Setting};

use super::cancel::{Cancel, Cancelled};
use super::env::Environment;
use super::fs;

/// Bytes that are read and handed on at once.
const CHUNK: usize = 64 * 1024;
/// Chunks of an answer that may wait to be taken: with `CHUNK` the memory of one exchange.
const WAITING: usize = 8;
/// How often a waiting caller looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);

/// Sends requests. Cheap to clone; connections are shared between clones.
#[derive(Clone)]
pub struct Transport {
    environment: Arc<Environment>,
    /// A server that sends and takes nothing for this long is stalled.
    stall: Duration,
    /// An agent for each proxy and each set of trusted certificates.
    agents: Arc<Mutex<Agents>>,
}

/// By the proxy, whether a tunnel through it is needed, and certificates.
type Agents = BTreeMap<(Option<Setting>, bool, Trust), Route>;

/// How a request gets to its server.
#[derive(Clone)]
struct Route {
    agent: ureq::Agent,
    proxy: Option<Proxy>,
    /// The value of `Proxy-Authorization`, where requests themselves and not tunnels have it.
    authorization: Option<String>,
}

impl std::fmt::Debug for Transport {
    // Without the environment, which has secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Transport").field("stall", &self.stall).finish_non_exhaustive()
    }
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "these are HTTP's own names")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Its name in HTTP.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// True if the server may be asked the same again, whatever became of the first time.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// What a request carries. Each can be sent again from its start.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing, and no length.
    None,
    /// These bytes; there may be none of them.
    Bytes(Arc<[u8]>),
    /// A part of a file, read while it is sent.
    File {
        /// The file.
        path: PathBuf,
        /// Its first byte.
        offset: u64,
        /// How many bytes. It is an error if the file has fewer.
        length: u64,
        /// Counts the bytes that were handed to the connection.
        sent: Arc<AtomicU64>,
    },
}

/// A request. It cannot be shown, for its header fields may have secrets.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL.
    pub url: String,
    /// Header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
    /// Whom the server is trusted by, and who we are to it.
    pub trust: Trust,
    /// How long the answer may take to begin; the transport's limit if `None`.
    pub patience: Option<Duration>,
}

/// Why there is no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server's certificate is not trusted, or it does not speak TLS.
    #[error("{0}")]
    Tls(String),
    /// The server wants a client certificate, or does not take ours.
    #[error("{0}")]
    Identity(String),
    /// A file with certificates or a key cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No connection, a broken or a stalled one.
    #[error("{0}")]
    Broken(String),
    /// A proxy on the way does not let the request through.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The request cannot be sent as it is.
    #[error("{0}")]
    Invalid(String),
    /// A file to be sent cannot be read.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The proxy that may have given this answer in its server's place.
    pub proxy: Option<ProxyName>,
    chunks: Receiver<Result<Option<Vec<u8>>, HttpError>>,
    _stop: Stop,
}

/// Ends an exchange's thread when nobody wants its result any more.
#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Response {
    /// A header field's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body's size in bytes, where the server tells it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The next bytes of the body; `None` at its end. A body that is shorter than its length is an error.
    pub fn chunk(&mut self, cancel: &Cancel) -> Result<Option<Vec<u8>>, HttpError> {
        receive(&self.chunks, cancel, &mut || ())?
    }

    /// The body, of which more than `limit` bytes are left unread; true if there are more.
    pub fn read(&mut self, limit: u64, cancel: &Cancel) -> Result<(Vec<u8>, bool), HttpError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(cancel)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Ok((bytes, true));
            }
        }
        Ok((bytes, false))
    }
}

/// What an exchange's thread sends first.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Transport {
    /// A transport that takes a server for stalled after `stall`.
    #[must_use]
    pub fn new(environment: &Environment, stall: Duration) -> Self {
        Self { environment: Arc::new(environment.clone()), stall, agents: Arc::default() }
    }

    /// Sends one request and waits until the answer begins. `on_wait` is called now and then meanwhile.
    pub fn send(
        &self,
        request: &Request,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Response, HttpError> {
        cancel.check()?;
        let route = self.route(request)?;
        // What a tunnel brings is the server's own word.
        let forwards = !request.url.starts_with("https://");
        let (proxy, given) = (route.proxy.clone(), route.authorization.is_some());
        let stop = Stop(Arc::default());
        let (head_sender, head) = mpsc::sync_channel(1);
        let (sender, chunks) = mpsc::sync_channel(WAITING);
        let (request, stopped, stall) = (request.clone(), Arc::clone(&stop.0), self.stall);
        thread::Builder::new().name("http".into()).spawn(move || {
            match exchange(&route, &request, stall, &stopped) {
                Err(error) => {
                    // Nobody listens any more if the caller was cancelled.
                    head_sender.send(Err(error)).ok();
                }
                Ok(response) => {
                    let head =
                        Head { status: response.status().as_u16(), headers: headers(response.headers()) };
                    if head_sender.send(Ok(head)).is_ok() {
                        pass_on(response.into_body(), &sender);
                    }
                }
            }
        })?;
        let Head { status, headers } = receive(&head, cancel, on_wait)??;
        let proxy = proxy.filter(|_| forwards).map(|proxy| proxy.name().clone());
        match proxy {
            Some(proxy) if status == 407 => Err(ProxyError::Credentials { proxy, given }.into()),
            proxy => Ok(Response { status, headers, proxy, chunks, _stop: stop }),
        }
    }

    /// The way of a request by its proxy and trust, made when it is first asked for.
    fn route(&self, request: &Request) -> Result<Route, HttpError> {
        let tunnel = request.url.starts_with("https://");
        let key = (proxy::proxy_for(&request.url, &self.environment), tunnel, request.trust.clone());
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = agents.get(&key) {
            return Ok(route.clone());
        }
        let proxy = key.0.as_ref().map(Setting::proxy).transpose()?;
        let config = ureq::Agent::config_builder()
            .tls_config(trust::configuration(&request.trust)?)
            .user_agent(concat!("xbuild/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT.min(self.stall)))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .timeout_per_write(Some(self.stall));
        let route = match proxy {
            // To a proxy with TLS there is only the tunnel.
            Some(proxy) if !tunnel && proxy.is_plain() => {
                let config = config.proxy(None).max_idle_connections(0).build();
                let agent = forward::agent(config, &proxy.tunnel());
                Route { agent, authorization: proxy.authorization(), proxy: Some(proxy) }
            }
            proxy => {
                let config = config.proxy(proxy.as_ref().map(Proxy::tunnel)).max_idle_connections_per_host(8);
                Route { agent: config.build().into(), authorization: None, proxy }
            }
        };
        agents.insert(key, route.clone());
        Ok(route)
    }
}

/// Waits for a message as long as `cancel` allows.
fn receive<T>(inbox: &Receiver<T>, cancel: &Cancel, on_wait: &mut dyn FnMut()) -> Result<T, HttpError> {
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => {
                cancel.check()?;
                on_wait();
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(HttpError::Broken("the connection broke".into()));
            }
        }
    }
}

fn exchange(
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
        Body::None => run(agent, builder, (), patience).map_err(failed),
        Body::Bytes(bytes) => run(agent, builder, &bytes[..], patience).map_err(failed),
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
            let result = run(agent, builder, body, patience);
            match (result, reader.failure) {
                (Ok(response), _) => Ok(response),
                (Err(_), Some(failure)) => Err(HttpError::File(failure)),
                (Err(error), None) => Err(failed(error)),
            }
        }
    }
}

/// Sends a request with this body. The answer may take longer to begin than a stall.
fn run(
    agent: &ureq::Agent,
    builder: ureq::http::request::Builder,
    body: impl ureq::AsSendBody,
    patience: Duration,
) -> Result<HttpResponse<ureq::Body>, ureq::Error> {
    let request = agent.configure_request(builder.body(body)?);
    let request = request.timeout_recv_response(Some(patience)).timeout_per_read(Some(patience));
    agent.run(request.build())
}

/// The part of a file that is sent.
struct Upload {
    file: io::Take<fs::File>,
    left: u64,
    sent: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    /// What the file, and not the connection, failed with.
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

fn headers(map: &ureq::http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// Reads a body to its end, or until nobody wants it.
fn pass_on(body: ureq::Body, sender: &SyncSender<Result<Option<Vec<u8>>, HttpError>>) {
    let expected = body.content_length();
    let mut reader = body.into_reader();
    let mut received = 0;
    loop {
        let mut buffer = vec![0; CHUNK];
        let message = match reader.read(&mut buffer) {
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

/// What a failure means. Where there is a proxy, it is the proxy that a connection is made to.
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
    let tls = |reason: String| {
        if is_about_us(&reason) {
            return HttpError::Identity(reason);
        }
        HttpError::Tls(through(match reason {
            reason if reason.contains("CaUsedAsEndEntity") => {
                "invalid peer certificate: it is an authority's own (CA:TRUE), and no server's".into()
            }
            reason => reason,
        }))
    };
    match error {
        ureq::Error::Tls(reason) => tls(reason.to_owned()),
        ureq::Error::Rustls(error) => tls(error.to_string()),
        ureq::Error::Io(error) if secure && error.kind() == io::ErrorKind::InvalidData => {
            tls(error.to_string())
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
        ureq::Error::Http(error) => HttpError::Invalid(error.to_string()),
        ureq::Error::BadUri(_) => HttpError::Invalid("it is not a URL".into()),
        other => HttpError::Broken(through(other.to_string())),
    }
}

/// True for the alerts of a server that looks at a client certificate (RFC 8446, section 6.2).
fn is_about_us(reason: &str) -> bool {
    const ALERTS: [&str; 9] = [
        "CertificateRequired",
        "BadCertificate",
        "UnsupportedCertificate",
        "CertificateRevoked",
        "CertificateExpired",
        "CertificateUnknown",
        "UnknownCA",
        "UnknownCa",
        "AccessDenied",
    ];
    let alert = reason.split("fatal alert: ").nth(1);
    alert.is_some_and(|alert| ALERTS.iter().any(|known| alert.starts_with(known)))
}

/// The status in ureq's words for a `CONNECT` that was answered: `proxy server responded 407/407`.
fn refusal(reason: &str) -> Option<u16> {
    reason.strip_prefix("proxy server responded ")?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests;
