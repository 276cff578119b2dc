//! HTTP for everything that speaks it: `registry` and `sys::download`.
//!
//! [`Transport::send`] is one request and one answer. Every wait is bounded, every exchange runs on a thread of its own so
//! that a cancelled one returns at once, bodies are streamed, and proxies are taken from the environment's value.
//!
//! What is the same for all who send requests is here as well: `redirect` follows redirects and knows which header fields
//! go along, `attempts` knows what is worth another attempt and when, and `resume` asks for the rest of a body that broke
//! off. The caller gives the policy: how patient to be, who authorises, what a status means and what a digest must be.

mod attempts;
mod exchange;
mod forward;
mod inward;
mod pace;
mod proxy;
mod redirect;
mod resume;
mod script;
mod told;
mod trust;
mod url;

pub use attempts::Patience;
pub use attempts::{Attempt, Attempts, Failure, GivenUp, Pause, may_pass};
pub use inward::Inward;
pub use inward::LedInward;
pub use pace::least_progress;
pub use proxy::{ProxyError, ProxyName, is_loopback, split_port};
pub use redirect::{RedirectError, Sender, Trail, allowed, led_by};
pub use resume::{BodyError, Resume, Sink};
pub use script::Answer;
pub use trust::{Identity, Trust, TrustError};
pub use url::Url;
pub use url::escape;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;

use exchange::{exchange, headers, pass_on};
use inward::{Guard, Known};
use pace::{Pace, Taking};
use proxy::{Proxy, Setting};
use script::Script;
use told::Told;

use super::cancel::{Cancel, Cancelled};
use super::clock::Instant;
use super::env::Environment;

/// Bytes that are read and passed on at once.
const CHUNK: usize = 64 * 1024;
/// Chunks of an answer that are buffered. With `CHUNK` this bounds the memory of one exchange.
const WAITING: usize = 8;
/// How often a waiting caller checks whether it should stop.
const TICK: Duration = Duration::from_millis(50);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(15);

/// Sends requests. Cheap to clone; connections are shared between clones.
#[derive(Clone)]
pub struct Transport {
    environment: Arc<Environment>,
    /// A server that neither sends nor takes anything for this long is stalled.
    stall: Duration,
    /// An agent for each proxy and each set of trusted certificates.
    agents: Arc<Mutex<Agents>>,
    /// The hosts that are known to be on this machine.
    known: Known,
    /// Answers instead of the network.
    script: Option<Script>,
}

/// By the proxy, whether a tunnel through it is needed, certificates, and the host that has led there.
type Agents = BTreeMap<(Option<Setting>, bool, Trust, Option<String>), Route>;

/// How a request gets to its server.
#[derive(Clone)]
struct Route {
    agent: ureq::Agent,
    proxy: Option<Proxy>,
    /// The value of `Proxy-Authorization`, if requests carry it and not tunnels.
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

    /// True if the request may be repeated whatever its first attempt has done.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// The body of a request. It can be sent again from its start.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing, and no length.
    None,
    /// These bytes, of which there may be none.
    Bytes(Arc<[u8]>),
    /// A part of a file, read while it is sent.
    File {
        /// The file.
        path: PathBuf,
        /// Its first byte.
        offset: u64,
        /// The number of bytes. It is an error if the file has fewer.
        length: u64,
        /// Counts the bytes that were handed to the connection.
        sent: Arc<AtomicU64>,
    },
}

/// A request. It has no `Debug`, since its header fields may contain secrets.
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
    /// The TLS settings for the server.
    pub trust: Trust,
    /// How long the answer may take to begin; the transport's limit if `None`.
    pub patience: Option<Duration>,
    /// The host whose answer has led here; `None` if the user has named the URL. It may not lead to an address of this
    /// machine or its link unless it is at one itself.
    pub led_by: Option<String>,
}

/// Why there is no answer, or only part of one.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server's certificate is not trusted, or it does not speak TLS.
    #[error("{reason}")]
    Tls {
        /// What is wrong.
        reason: String,
        /// True if the server has sent a certificate, so that it does speak TLS.
        certificate: bool,
    },
    /// The server wants a client certificate, or refuses ours.
    #[error("{0}")]
    Identity(String),
    /// A file with certificates or a key cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No connection, or one that broke or stalled.
    #[error("{0}")]
    Broken(String),
    /// A proxy on the way does not let the request through.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A server leads to an address that it may not lead to. Nothing was sent there.
    #[error(transparent)]
    Inward(#[from] LedInward),
    /// The request itself is invalid.
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
    /// The proxy that may have given this answer instead of the server.
    pub proxy: Option<ProxyName>,
    chunks: Receiver<Result<Option<Vec<u8>>, HttpError>>,
    pace: Pace,
    told: Told,
    _stop: Stop,
}

/// Ends an exchange's thread once its result is not needed any more.
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

    /// The body's size in bytes, if the server says it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The next bytes of the body; `None` at its end. A body that is shorter than its length is an error, and so is one that
    /// comes too slowly for as long as a stall.
    pub fn chunk(&mut self, cancel: &Cancel) -> Result<Option<Vec<u8>>, HttpError> {
        let start = Instant::now();
        let pace = &mut self.pace;
        let chunk = receive(&self.chunks, cancel, &mut || pace.waiting(start.elapsed())).flatten();
        self.told.received(&chunk);
        let chunk = chunk?;
        self.pace.moved(start.elapsed(), chunk.as_ref().map_or(0, |chunk| chunk.len() as u64))?;
        Ok(chunk)
    }

    /// The body of a document, up to `limit` bytes; true if there are more. It must come within a time that its size bounds.
    pub fn read(&mut self, limit: u64, cancel: &Cancel) -> Result<(Vec<u8>, bool), HttpError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(cancel)? {
            self.pace.document()?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Ok((bytes, true));
            }
        }
        Ok((bytes, false))
    }
}

/// The first message of an exchange's thread.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Transport {
    /// A transport for which a server is stalled after `stall`.
    #[must_use]
    pub fn new(environment: &Environment, stall: Duration) -> Self {
        let environment = Arc::new(environment.clone());
        Self { environment, stall, agents: Arc::default(), known: Known::default(), script: None }
    }

    /// A transport without a network. `answers` answers every request that would be sent, or says why the connection broke.
    #[must_use]
    pub fn scripted(
        environment: &Environment,
        stall: Duration,
        answers: impl Fn(&Request) -> Result<Answer, String> + Send + Sync + 'static,
    ) -> Self {
        let script = Some(Script(Arc::new(answers)));
        Self { script, ..Self::new(environment, stall) }
    }

    /// Sends one request and waits until the answer begins. Meanwhile `on_wait` is called regularly.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, is not trusted or does not answer in time, or if the work is cancelled.
    pub fn send(
        &self,
        request: &Request,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Response, HttpError> {
        cancel.check()?;
        self.check_led(request)?;
        if let Some(script) = &self.script {
            return script.answer(request, self.stall);
        }
        let route = self.route(request)?;
        let mut told = Told::asking(request, route.proxy.as_ref().map(Proxy::name));
        let result = self.exchange(route, request, cancel, on_wait);
        told.answered(result.as_ref());
        result.map(|response| Response { told, ..response })
    }

    /// Sends a request by its route.
    fn exchange(
        &self,
        route: Route,
        request: &Request,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Response, HttpError> {
        // Through a tunnel every answer is the server's own.
        let forwards = !request.url.starts_with("https://");
        let (proxy, given) = (route.proxy.clone(), route.authorization.is_some());
        let stop = Stop(Arc::default());
        let (head_sender, head) = mpsc::sync_channel(1);
        let (sender, chunks) = mpsc::sync_channel(WAITING);
        let mut taking = Taking::of(&request.body, self.stall);
        let (request, stopped, stall) = (request.clone(), Arc::clone(&stop.0), self.stall);
        thread::Builder::new().name("http".into()).spawn(move || {
            match exchange(&route, &request, stall, &stopped) {
                Err(error) => {
                    // The receiver is gone if the caller was cancelled.
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
        let mut wait = || {
            on_wait();
            taking.as_mut().map_or(Ok(()), Taking::check)
        };
        let Head { status, headers } = receive(&head, cancel, &mut wait)??;
        let proxy = proxy.filter(|_| forwards).map(|proxy| proxy.name().clone());
        match proxy {
            Some(proxy) if status == 407 => Err(ProxyError::Credentials { proxy, given }.into()),
            proxy => {
                let pace = Pace::new(self.stall, "sends");
                Ok(Response { status, headers, proxy, chunks, pace, told: Told::default(), _stop: stop })
            }
        }
    }

    /// Refuses hosts that are written as addresses and that the server may not lead to. Names are checked when they are
    /// resolved.
    fn check_led(&self, request: &Request) -> Result<(), HttpError> {
        let Some(from) = &request.led_by else { return Ok(()) };
        let Some(url) = Url::parse(&request.url) else { return Ok(()) };
        match Inward::of_host(url.host()) {
            Some(kind) if !inward::may_lead(&self.known, from, kind) => {
                let host = url.host().to_owned();
                Err(LedInward { from: from.clone(), host, address: None, kind }.into())
            }
            _ => Ok(()),
        }
    }

    /// The route of a request by its proxy and trust, made when it is first needed.
    fn route(&self, request: &Request) -> Result<Route, HttpError> {
        let tunnel = request.url.starts_with("https://");
        let key = (
            proxy::proxy_for(&request.url, &self.environment),
            tunnel,
            request.trust.clone(),
            request.led_by.clone(),
        );
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
            .timeout_resolve(Some(CONNECT.min(self.stall)))
            .timeout_connect(Some(CONNECT.min(self.stall)))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .timeout_per_write(Some(self.stall));
        let route = match proxy {
            // A proxy with TLS is always asked for a tunnel.
            Some(proxy) if !tunnel && proxy.is_plain() => {
                let config = config.proxy(None).max_idle_connections(0).build();
                let agent = forward::agent(config, &proxy.tunnel());
                Route { agent, authorization: proxy.authorization(), proxy: Some(proxy) }
            }
            proxy => {
                let config = config.proxy(proxy.as_ref().map(Proxy::tunnel)).max_idle_connections_per_host(8);
                let known = Arc::clone(&self.known);
                let guard = Guard { inner: DefaultResolver::default(), from: request.led_by.clone(), known };
                let agent = ureq::Agent::with_parts(config.build(), DefaultConnector::default(), guard);
                Route { agent, authorization: None, proxy }
            }
        };
        agents.insert(key, route.clone());
        Ok(route)
    }
}

/// Waits for a message for as long as `cancel` and `on_wait` allow.
fn receive<T>(
    inbox: &Receiver<T>,
    cancel: &Cancel,
    on_wait: &mut dyn FnMut() -> Result<(), HttpError>,
) -> Result<T, HttpError> {
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Timeout) => {
                cancel.check()?;
                on_wait()?;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(HttpError::Broken("the connection broke".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
