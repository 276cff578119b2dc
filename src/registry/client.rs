//! One exchange with a registry: where it is, who we are to it, and what its answer means for trying again.

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
use super::repository::Repository;
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

/// How often it is looked for what there is to tell.
const LISTEN: Duration = Duration::from_millis(50);
/// How long it may take to find out how a server on loopback speaks.
const PROBE: Duration = Duration::from_secs(5);

/// What a client needs to know beside the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// True if every request is refused.
    pub offline: bool,
    /// The user's settings, by registry or the beginning of a repository's name.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// When to give up.
    pub patience: Patience,
    /// A server that sends and takes nothing for this long is stalled.
    pub stall: Duration,
    /// A blob of at most so many bytes is sent in one request; a larger one in a way that can be resumed.
    pub single: u64,
    /// The registries that the user has named for this run, as `docker.io` and `localhost:5000`, and not a file of the
    /// project's: these alone get credentials that say of no registry that they are for it. All where it is `None`.
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

/// What is to be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A client for all registries. Cheap to clone; connections, tokens and what was learnt are shared between clones.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    environment: Environment,
    transport: Transport,
    keyring: Keyring,
    tokens: Tokens,
    /// What each server wants of us, once it has said so.
    challenges: Mutex<BTreeMap<String, Challenge>>,
    /// The certificates for each registry, once they were looked for.
    trust: Mutex<BTreeMap<String, Certificates>>,
    /// Whether a server on loopback speaks TLS, once that is known.
    secure: Mutex<BTreeMap<String, bool>>,
    /// The most bytes that one request to a server may carry, where it was learnt.
    parts: Mutex<BTreeMap<String, u64>>,
    /// What is to be told of registries, each once.
    remarks: Mutex<Remarks>,
}

/// What was learnt on the way and is worth knowing, though nothing has failed.
#[derive(Default)]
struct Remarks {
    known: BTreeSet<String>,
    new: Vec<Event>,
}

/// One request, as often as it takes.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// What it is about, for messages.
    pub(super) what: &'a str,
    /// Repositories whose blobs it also reads.
    pub(super) also_pull: Vec<String>,
    /// How long the answer may take; the stall's limit if `None`.
    pub(super) patience: Option<Duration>,
}

/// A request, where it goes, and what a token for it must be good for.
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
    // Without what is known of the user.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inner").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that finds credentials and proxies by `environment`.
    #[must_use]
    pub fn new(config: Config, environment: &Environment) -> Self {
        let transport = Transport::new(environment, config.stall);
        Self::over(transport, config, environment)
    }

    /// The same over a transport of the caller's, such as one that makes its answers up.
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

    /// Reports what was remarked since the last time.
    pub fn tell(&self, reporter: &dyn Reporter) {
        let remarks = {
            let mut remarks = self.0.remarks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut remarks.new)
        };
        for event in remarks {
            reporter.report(event);
        }
    }

    /// Does a piece of work, and reports meanwhile what is remarked: what a registry wants one to wait for is of interest
    /// before the wait is over.
    pub fn telling<T>(&self, reporter: &dyn Reporter, work: impl FnOnce() -> T) -> T {
        // Hung up when the work is done, also where it panics.
        let (working, done) = mpsc::channel::<()>();
        let result = thread::scope(|scope| {
            let listen = move || {
                while done.recv_timeout(LISTEN) == Err(RecvTimeoutError::Timeout) {
                    self.tell(reporter);
                }
            };
            // Where there is no thread for it, all is reported at the end.
            thread::Builder::new().spawn_scoped(scope, listen).ok();
            let _working = working;
            work()
        });
        self.tell(reporter);
        result
    }

    /// Remarks that a server is left alone, as it has asked.
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

    /// Whom we are to a place. That a helper was of no use is remarked.
    pub(super) fn login(&self, place: &Endpoint, cancel: &Cancel) -> Result<Found, RegistryError> {
        let found = self.0.keyring.find(&place.name, place.access, place.named, cancel)?;
        if let Some(trouble) = found.lacking() {
            let registry = place.name.registry();
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

    /// The most bytes that one request to a place may carry; `None` where there is no limit.
    pub(super) fn part(&self, place: &Endpoint) -> Option<u64> {
        let parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let learnt = parts.get(place.base.authority()).copied();
        learnt.into_iter().chain(place.part).min()
    }

    /// From now on no request to a place carries more than `part` bytes.
    pub(super) fn limit_part(&self, place: &Endpoint, part: u64) {
        let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let known = parts.entry(place.base.authority().to_owned()).or_insert(part);
        *known = part.min(*known);
    }

    /// A repository to read from, or to write to.
    #[must_use]
    pub fn repository(&self, name: &RepositoryName, access: Access) -> Repository {
        Repository::new(self.clone(), name.clone(), access)
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
    pub(super) fn is_known_to(&self, place: &Endpoint) -> bool {
        self.0.keyring.has(&place.name, place.access, place.named)
    }

    pub(super) fn single(&self) -> u64 {
        self.0.config.single
    }

    /// The attempts of one piece of work at a place.
    pub(super) fn retry<'a>(&'a self, place: &'a Endpoint) -> Retry<'a> {
        Retry::new(self, place, 0)
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// The places to ask for a repository, one after the other: to read, its mirrors and then itself.
    pub(super) fn endpoints(
        &self,
        name: &RepositoryName,
        access: Access,
        cancel: &Cancel,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        if self.0.config.offline {
            return Err(RegistryError::Offline { what: name.to_string() });
        }
        let mut places = Vec::new();
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
                    places.push(moved(mirror)?);
                }
            }
            if let Some(to) = &settings.rewrite {
                own = moved(to)?;
            }
        }
        places.push(own);
        let named = self.0.config.named.as_ref().is_none_or(|named| named.contains(name.registry()));
        places.into_iter().map(|name| self.endpoint(name, access, named, cancel)).collect()
    }

    /// The settings with the longest key that a repository lies below.
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
            // Who has certificates for it knows that it speaks TLS.
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

    /// Asks a server on loopback once how it speaks, as docker does: there a registry without TLS is usual.
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
            // A certificate that is not trusted is a certificate. Everything else is no TLS.
            Err(HttpError::Tls { certificate, .. }) => certificate,
            Err(HttpError::Cancelled(cancelled)) => return Err(cancelled.into()),
            Err(_) => false,
        };
        known.insert(authority.to_owned(), secure);
        Ok(secure)
    }

    /// Asks until there is an answer that another attempt would not change.
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

    /// Asks once. Redirects are followed and challenges met. An answer that another attempt may change is a failed attempt, and
    /// one that denies us is an error. All others are the caller's.
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
    /// Gives up at once where a HEAD was redirected: the store behind a registry may answer GET alone, and GET comes next.
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

/// What a token must be good for.
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
