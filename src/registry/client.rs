//! The client for registries: where a registry is, how we log in, and one request with its redirects and challenges.

mod refused;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::answer::classify_response;
use super::challenge::Challenge;
use super::credentials::{Found, Keyring};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::retry::{Attempt, Retry};
use super::token::Tokens;
use super::trust::{self, Found as Certificates};
use crate::event::{Event, Level, Reporter};
use crate::oci::name::RepositoryName;
use crate::registry::RegistrySettings;
use crate::sys::cancel::Cancel;
use crate::sys::env::Environment;
use crate::sys::http::{
    self, Body, HttpError, Method, Patience, RedirectError, Request, Response, Sender, Trail, Transport,
    Trust, Url,
};

/// How often new remarks are reported.
const LISTEN: Duration = Duration::from_millis(50);
/// How long the probe for TLS on loopback may take.
const PROBE: Duration = Duration::from_secs(5);

/// The settings of a client, beside the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// True if every request is refused.
    pub offline: bool,
    /// The user's settings, by registry or the beginning of a repository's name.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// How often to try, and when to give up.
    pub patience: Patience,
    /// A server that neither sends nor takes anything for this long is stalled.
    pub stall: Duration,
    /// Blobs of at most this many bytes are sent in one request. Larger ones are sent so that they can be resumed.
    pub single: u64,
    /// The registries that the user has named for this run, such as `docker.io` and `localhost:5000`; `None` for all.
    /// Credentials that do not say which registry they are for go only to these, and not to what a project's file names.
    pub named: Option<BTreeSet<String>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            offline: false,
            registries: BTreeMap::new(),
            patience: Patience::default(),
            stall: Duration::from_secs(30),
            single: 4 << 20,
            named: None,
        }
    }
}

/// How a repository is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A client for all registries. Cheap to clone; clones share connections, tokens and everything learnt.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    environment: Environment,
    transport: Transport,
    keyring: Keyring,
    tokens: Tokens,
    /// The challenge of each server that has sent one.
    challenges: Mutex<BTreeMap<String, Challenge>>,
    /// The certificates for each registry that was used.
    trust: Mutex<BTreeMap<String, Certificates>>,
    /// Whether servers on loopback speak TLS, as far as that is known.
    secure: Mutex<BTreeMap<String, bool>>,
    /// The most bytes that one request to a server may carry, as far as that was learnt.
    parts: Mutex<BTreeMap<String, u64>>,
    /// Remarks about registries that are still to be reported, each once.
    remarks: Mutex<Remarks>,
}

/// Observations worth reporting although nothing has failed.
#[derive(Default)]
struct Remarks {
    known: BTreeSet<String>,
    new: Vec<Event>,
}

/// One request, which may take several attempts.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// The thing that is asked for, for messages.
    pub(super) what: &'a str,
    /// Other repositories whose blobs the request reads.
    pub(super) also_pull: Vec<String>,
    /// How long the answer may take to begin; the limit of a stall if `None`.
    pub(super) patience: Option<Duration>,
}

/// A request with its registry and the scopes of its token.
pub(super) struct Exchange<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) call: &'a Call<'a>,
    pub(super) scopes: Vec<String>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, url: Url, what: &'a str) -> Self {
        let body = if method.is_safe() || method == Method::Delete {
            Body::None
        } else {
            Body::Bytes(Arc::from([]))
        };
        Self { method, url, headers: Vec::new(), body, what, also_pull: Vec::new(), patience: None }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

impl fmt::Debug for Inner {
    // Without anything about the user.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that takes credentials and proxies from `environment`.
    #[must_use]
    pub fn new(config: Config, environment: &Environment) -> Self {
        let transport = Transport::new(environment, config.stall);
        Self::over(transport, config, environment)
    }

    /// The same with the caller's transport, such as one with made-up answers.
    #[doc(hidden)]
    #[must_use]
    pub fn over(transport: Transport, config: Config, environment: &Environment) -> Self {
        Self(Arc::new(Inner {
            transport,
            keyring: Keyring::new(environment),
            tokens: Tokens::default(),
            challenges: Mutex::default(),
            secure: Mutex::default(),
            trust: Mutex::default(),
            parts: Mutex::default(),
            remarks: Mutex::default(),
            environment: environment.clone(),
            config,
        }))
    }

    /// Reports the remarks since the last call.
    pub fn tell(&self, reporter: &dyn Reporter) {
        let remarks = {
            let mut remarks = self.0.remarks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut remarks.new)
        };
        for event in remarks {
            reporter.report(event);
        }
    }

    /// Does a piece of work and reports remarks meanwhile, so that a wait is reported before it is over.
    pub fn telling<T>(&self, reporter: &dyn Reporter, work: impl FnOnce() -> T) -> T {
        // The sender is dropped when the work is done, also if it panics.
        let (working, done) = mpsc::channel::<()>();
        let result = thread::scope(|scope| {
            let listen = move || {
                while done.recv_timeout(LISTEN) == Err(RecvTimeoutError::Timeout) {
                    self.tell(reporter);
                }
            };
            // Without a thread everything is reported at the end.
            thread::Builder::new().spawn_scoped(scope, listen).ok();
            let _working = working;
            work()
        });
        self.tell(reporter);
        result
    }

    /// Remarks that we wait because a server has asked for it.
    pub(super) fn waiting(&self, what: &str, reason: String, wait: Duration) {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let mut remarks = self.0.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        remarks.new.push(Event::Waiting { what: what.to_owned(), reason, milliseconds });
    }

    pub(super) fn remark(&self, level: Level, text: String) {
        let mut remarks = self.0.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if remarks.known.insert(text.clone()) {
            remarks.new.push(Event::Note { level, platform: None, text });
        }
    }

    /// The login for a registry. A credential helper that failed is remarked.
    pub(super) fn login(&self, endpoint: &Endpoint, cancel: &Cancel) -> Result<Found, RegistryError> {
        let found = self.0.keyring.find(&endpoint.name, endpoint.access, endpoint.named, cancel)?;
        if let Some(trouble) = found.lacking() {
            let registry = endpoint.name.registry();
            let text = format!("{trouble}; {registry} is read without a login ({})", trouble.hint());
            self.remark(Level::Warning, text);
        }
        if let Some(program) = &found.noisy {
            let text = format!(
                "the credential helper `{program}` writes other text beside its answer, which docker does not take; \
                 the login in it is used"
            );
            self.remark(Level::Warning, text);
        }
        Ok(found)
    }

    /// The most bytes that one request to a registry may carry; `None` for no limit.
    pub(super) fn part(&self, endpoint: &Endpoint) -> Option<u64> {
        let parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let learnt = parts.get(endpoint.base.authority()).copied();
        learnt.into_iter().chain(endpoint.part).min()
    }

    /// Limits later requests to a registry to `part` bytes.
    pub(super) fn limit_part(&self, endpoint: &Endpoint, part: u64) {
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = parts.entry(endpoint.base.authority().to_owned()).or_insert(part);
        *known = part.min(*known);
    }

    /// True if every request is refused.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.0.config.offline
    }

    pub(super) fn patience(&self) -> Patience {
        self.0.config.patience
    }

    /// The bytes of a blob that an attempt must bring to count as progress.
    pub(super) fn least_progress(&self) -> u64 {
        http::least_progress(self.0.config.stall)
    }

    /// True if the registry is asked with a login.
    pub(super) fn is_known_to(&self, endpoint: &Endpoint) -> bool {
        self.0.keyring.has(&endpoint.name, endpoint.access, endpoint.named)
    }

    pub(super) fn single(&self) -> u64 {
        self.0.config.single
    }

    /// The attempts of one piece of work at an endpoint.
    pub(super) fn retry<'a>(&'a self, endpoint: &'a Endpoint) -> Retry<'a> {
        Retry::new(self, endpoint, 0)
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// The endpoints of a repository in the order in which they are asked: to read, its mirrors and then itself.
    pub(super) fn endpoints(
        &self,
        name: &RepositoryName,
        access: Access,
        cancel: &Cancel,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        if self.0.config.offline {
            return Err(RegistryError::Offline { what: name.to_string() });
        }
        let mut repositories = Vec::new();
        let mut own = name.clone();
        if let Some((key, settings)) = self.settings_of(name) {
            let moved = |to: &str| {
                let rest = name.to_string()[key.len()..].trim_start_matches('/').to_owned();
                format!("{to}/{rest}").parse::<RepositoryName>().map_err(|error| {
                    RegistryError::Configuration { registry: key.to_owned(), reason: error.to_string() }
                })
            };
            if access == Access::Pull {
                for mirror in &settings.mirrors {
                    repositories.push(moved(mirror)?);
                }
            }
            if let Some(to) = &settings.rewrite {
                own = moved(to)?;
            }
        }
        repositories.push(own);
        let named = self.0.config.named.as_ref().is_none_or(|named| named.contains(name.registry()));
        repositories.into_iter().map(|name| self.endpoint(name, access, named, cancel)).collect()
    }

    /// The settings with the longest key that is a prefix of a repository's name.
    fn settings_of(&self, name: &RepositoryName) -> Option<(&str, &RegistrySettings)> {
        let whole = name.to_string();
        let fits = |key: &str| whole.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        let keys = self.0.config.registries.iter().filter(|(key, _)| fits(key));
        keys.max_by_key(|(key, _)| key.len()).map(|(key, settings)| (key.as_str(), settings))
    }

    fn endpoint(
        &self,
        name: RepositoryName,
        access: Access,
        named: bool,
        cancel: &Cancel,
    ) -> Result<Endpoint, RegistryError> {
        let settings = self.0.config.registries.get(name.registry());
        let authority = match name.registry() {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let trust = self.trust(name.registry(), settings)?;
        let secure = if let Some(plain) = settings.and_then(|settings| settings.plain_http) {
            !plain
        } else {
            let (host, _) = http::split_port(authority);
            // A registry that has certificates here speaks TLS.
            let known = trust != Certificates::default() || !http::is_loopback(host);
            known || self.speaks_tls(authority, cancel)?
        };
        let scheme = if secure { "https" } else { "http" };
        let base = Url::parse(&format!("{scheme}://{authority}/v2/{}", name.path())).ok_or_else(|| {
            RegistryError::Configuration {
                registry: name.registry().to_owned(),
                reason: "its name is not a host with an optional port".into(),
            }
        })?;
        let part = settings.and_then(|settings| settings.chunk_size);
        Ok(Endpoint { name, base, trust, access, named, part })
    }

    /// The certificates for a registry.
    fn trust(
        &self,
        registry: &str,
        settings: Option<&RegistrySettings>,
    ) -> Result<Certificates, RegistryError> {
        let mut known = self.0.trust.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(registry) {
            return Ok(found.clone());
        }
        let found = trust::of_registry(registry, settings, &self.0.environment)?;
        known.insert(registry.to_owned(), found.clone());
        Ok(found)
    }

    /// True if a server on loopback speaks TLS, which it is asked once. Registries without TLS are usual there, and docker
    /// probes them in the same way.
    fn speaks_tls(&self, authority: &str, cancel: &Cancel) -> Result<bool, RegistryError> {
        let mut known = self.0.secure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secure) = known.get(authority) {
            return Ok(*secure);
        }
        let request = Request {
            method: Method::Get,
            url: format!("https://{authority}/v2/"),
            headers: Vec::new(),
            body: Body::None,
            trust: Trust::default(),
            patience: Some(PROBE),
            led_by: None,
        };
        let secure = match self.0.transport.send(&request, cancel, &mut || ()) {
            Ok(_) | Err(HttpError::Identity(_)) => true,
            // A server with an untrusted certificate does speak TLS.
            Err(HttpError::Tls { certificate, .. }) => certificate,
            Err(HttpError::Cancelled(cancelled)) => return Err(cancelled.into()),
            Err(_) => false,
        };
        known.insert(authority.to_owned(), secure);
        Ok(secure)
    }

    /// Sends a request until there is an answer that another attempt would not change.
    pub(super) fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        cancel: &Cancel,
    ) -> Result<Response, RegistryError> {
        let mut retry = self.retry(endpoint);
        loop {
            match self.attempt(endpoint, call, cancel, &mut || ()) {
                Ok(response) => return Ok(response),
                Err(attempt) => retry.failed(attempt, call.what, cancel)?,
            }
        }
    }

    /// Sends a request once. Redirects are followed and challenges answered. An answer that another attempt may change is a
    /// failed attempt, and one that denies access is an error. All others are returned.
    pub(super) fn attempt(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        cancel: &Cancel,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Response, Attempt> {
        let exchange = Exchange { endpoint, call, scopes: scopes(endpoint, call) };
        let mut trail = Trail::new(&endpoint.base, &call.url);
        let mut login = Login { client: self, exchange: &exchange, cancel, sent: None, refused: None };
        let request = Request {
            method: call.method,
            url: String::new(),
            headers: call.headers.clone(),
            body: call.body.clone(),
            trust: Trust::default(),
            patience: call.patience,
            led_by: None,
        };
        let mut challenged = 0;
        loop {
            let transport = &self.0.transport;
            let mut response = transport.follow(&request, &mut trail, &mut login, cancel, on_wait)?;
            if response.status == 401 && trail.is_home() {
                challenged += 1;
                let sent = login.sent.take();
                self.challenged(&exchange, challenged, sent.as_deref(), &mut response, cancel)?;
                login.refused = sent;
                continue;
            }
            return match classify_response(endpoint, call, &trail, &exchange.scopes, response, cancel) {
                Err(Attempt::Over(denied @ RegistryError::Denied { .. })) => {
                    Err(self.denial(endpoint, denied, cancel)?.into())
                }
                result => result.map_err(|attempt| login.patient(attempt, &trail)),
            };
        }
    }

    /// The value of `Authorization`, if the registry has asked for one. `refused` is a value that it did not take.
    fn authorization(
        &self,
        exchange: &Exchange<'_>,
        refused: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Option<String>, Attempt> {
        let challenge = {
            let known = self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(exchange.endpoint.base.authority()).cloned()
        };
        let Some(challenge) = challenge else { return Ok(None) };
        self.0.tokens.authorization(self, exchange, &challenge, refused, cancel).map(Some)
    }
}

/// How we log in while a request is on its way.
struct Login<'a> {
    client: &'a Client,
    exchange: &'a Exchange<'a>,
    cancel: &'a Cancel,
    /// The value of `Authorization` that was sent last.
    sent: Option<String>,
    /// A value that the registry did not take.
    refused: Option<String>,
}

impl Login<'_> {
    /// Gives up at once if a HEAD was redirected. The store behind a registry may allow GET only, and a GET comes next.
    fn patient(&self, attempt: Attempt, trail: &Trail) -> Attempt {
        match attempt {
            Attempt::Again(failure) if self.exchange.call.method == Method::Head && !trail.is_home() => {
                let what = self.exchange.call.what.to_owned();
                RegistryError::Transient { what, reason: failure.reason, attempts: 1 }.into()
            }
            other => other,
        }
    }
}

impl Sender for Login<'_> {
    type Error = Attempt;

    fn trust(&self, at: &Url) -> Trust {
        self.exchange.endpoint.trust_at(at)
    }

    fn authorization(&mut self) -> Result<Option<String>, Attempt> {
        let refused = self.refused.take();
        self.sent = self.client.authorization(self.exchange, refused.as_deref(), self.cancel)?;
        Ok(self.sent.clone())
    }

    fn failed(&self, error: HttpError, trail: &Trail) -> Attempt {
        let Exchange { endpoint, call, .. } = self.exchange;
        self.patient(endpoint.failed(error, trail.at(), call.what), trail)
    }

    fn misled(&self, error: RedirectError, trail: &Trail) -> Attempt {
        let (what, host) = (self.exchange.call.what.to_owned(), trail.at().authority().to_owned());
        RegistryError::Protocol { what, host, reason: error.to_string() }.into()
    }
}

/// The scopes that a token for a request needs.
fn scopes(endpoint: &Endpoint, call: &Call<'_>) -> Vec<String> {
    let actions = match endpoint.access {
        Access::Pull => "pull",
        Access::Push => "pull,push",
    };
    let own = format!("repository:{}:{actions}", endpoint.name.path());
    let also = call.also_pull.iter().map(|path| format!("repository:{path}:pull"));
    std::iter::once(own).chain(also).collect()
}

#[cfg(test)]
mod tests;
