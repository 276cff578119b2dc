//! Tokens: requested from the service that a registry names, and reused for as long as they are valid
//! ([distribution's token specification](https://distribution.github.io/distribution/spec/auth/token/)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::answer;
use super::challenge::Challenge;
use super::client::{Client, Exchange};
use super::credentials::{Credentials, Found, Login, Secret};
use super::endpoint::Endpoint;
use super::error::{KnownLogin, RegistryError};
use super::realm;
use super::retry::{Attempt, of_answer, of_http};
use crate::event::Level;
use crate::sys::cancel::Cancel;
use crate::sys::clock::Instant;
use crate::sys::http::{self, Body, Method, Request, Response, Trail, Url, escape, may_pass};
use crate::sys::log::Seconds;

/// The most bytes of an answer with a token.
const LIMIT: u64 = 1 << 20;
/// The lifetime of a token if its service does not give it.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// The longest lifetime of a token, whatever its service says.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A token with less than this left is not used any more.
const MARGIN: Duration = Duration::from_secs(5);
/// Our name at token services.
const CLIENT: &str = "xbuild";

/// A token is for a service, scopes and a login.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    realm: String,
    service: Option<String>,
    scopes: BTreeSet<String>,
    source: Option<String>,
}

impl Key {
    /// The scopes as one text.
    fn shown(&self) -> String {
        self.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// The tokens that are valid, each with its end.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<Key, (Secret, Instant)>>);

#[derive(Deserialize)]
struct TokenDocument {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds. Some services write a text or a fraction.
    expires_in: Option<serde_json::Value>,
}

impl TokenDocument {
    /// The token, under either of its names, and its lifetime.
    fn token(self) -> Option<(String, Duration)> {
        let filled = |token: Option<String>| token.filter(|token| !token.is_empty());
        let token = filled(self.token).or(filled(self.access_token))?;
        let life = self.expires_in.and_then(|life| match &life {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        });
        let life = life.filter(|life| *life >= 0.0).map_or(DEFAULT_LIFE, |life| {
            Duration::try_from_secs_f64(life).unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE)
        });
        Some((token, life))
    }
}

impl Tokens {
    /// The value of `Authorization` that answers a challenge. `refused` is a value that the registry has refused.
    pub(super) fn authorization(
        &self,
        client: &Client,
        exchange: &Exchange<'_>,
        challenge: &Challenge,
        refused: Option<&str>,
        cancel: &Cancel,
    ) -> Result<String, Attempt> {
        let (endpoint, what) = (exchange.endpoint, exchange.call.what);
        let found = client.login(endpoint, cancel)?;
        let unauthorized = || RegistryError::Unauthorized {
            what: what.to_owned(),
            host: endpoint.base.authority().to_owned(),
            registry: endpoint.name.registry().to_owned(),
            login: found.known(),
            reason: String::new(),
        };
        let credentials = &found.credentials;
        if let Some(Credentials { login: Login::Bearer(token), .. }) = credentials {
            return Ok(format!("Bearer {}", token.reveal()));
        }
        let Challenge::Bearer { realm, service, scope, .. } = challenge else {
            return match credentials {
                Some(Credentials { login: Login::Password { username, password }, .. }) => {
                    let value = Login::basic(username, password);
                    // It would be refused again.
                    if refused == Some(value.as_str()) {
                        return Err(unauthorized().into());
                    }
                    Ok(value)
                }
                _ => Err(unauthorized().into()),
            };
        };
        let mut scopes: BTreeSet<String> = exchange.scopes.iter().cloned().collect();
        // Scopes that the registry wants beyond those that we need.
        for wanted in scope.iter().flat_map(|scope| scope.split(' ')).filter(|scope| !scope.is_empty()) {
            if wanted.split(':').next() != Some("repository") {
                scopes.insert(wanted.to_owned());
            }
        }
        let key = Key { realm: realm.clone(), service: service.clone(), scopes, source: found.source() };
        // Held while a token is requested, so that threads that need the same one do not all request it.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, until)) = known.get(&key) {
            let value = format!("Bearer {}", token.reveal());
            if *until > Instant::now() && refused != Some(value.as_str()) {
                tracing::trace!(scopes = key.shown(), "has a token for {}", endpoint.name);
                return Ok(value);
            }
        }
        let (token, life) = fetch(client, endpoint, &key, &found, what, cancel)?;
        let login = key.source.as_deref().unwrap_or("none");
        tracing::debug!(scopes = key.shown(), login, good = %Seconds(life), "got a token for {}", endpoint.name);
        let value = format!("Bearer {}", token.reveal());
        known.insert(key, (token, Instant::now() + life.saturating_sub(MARGIN)));
        Ok(value)
    }
}

fn fetch(
    client: &Client,
    endpoint: &Endpoint,
    key: &Key,
    found: &Found,
    what: &str,
    cancel: &Cancel,
) -> Result<(Secret, Duration), Attempt> {
    let host = endpoint.base.authority().to_owned();
    let protocol = |reason: &str| RegistryError::Protocol {
        what: what.to_owned(),
        host: host.clone(),
        reason: reason.to_owned(),
    };
    // Some registries give a relative URL.
    let realm = Url::parse(&key.realm).or_else(|| endpoint.base.join(&key.realm));
    let realm = realm.ok_or_else(|| protocol("its token service has no URL"))?;
    if !realm.is_secure() && endpoint.base.is_secure() && !http::is_loopback(realm.host()) {
        return Err(RegistryError::InsecureRealm { host, realm: realm.shown() }.into());
    }
    tell_whose(client, endpoint, &realm, found);
    let form = |grant: &str, more: &[(&str, &str)]| {
        let scope = key.shown();
        let service = key.service.clone().unwrap_or_default();
        let fields = [("grant_type", grant), ("service", &service), ("client_id", CLIENT), ("scope", &scope)];
        let fields = fields.iter().chain(more).map(|(name, value)| format!("{name}={}", escape(value)));
        fields.collect::<Vec<_>>().join("&")
    };
    let ask = |method, url: &Url, body: Option<String>, authorization: Option<String>| {
        let mut headers = vec![("accept", "application/json".to_owned())];
        headers.extend(authorization.map(|value| ("authorization", value)));
        if body.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        }
        let body = body.map_or(Body::None, |text| Body::Bytes(Arc::from(text.into_bytes())));
        let trust = endpoint.trust_for_tokens(url);
        let led_by = endpoint.led_to(url);
        let request = Request { method, url: url.text(), headers, body, trust, patience: None, led_by };
        let sent = client.transport().send(&request, cancel, &mut || ());
        sent.map_err(|error| endpoint.failed(error, url, what))
    };
    let response = match found.credentials.as_ref().map(|credentials| &credentials.login) {
        Some(Login::Identity(token)) => {
            let form = form("refresh_token", &[("refresh_token", token.reveal())]);
            ask(Method::Post, &realm, Some(form), None)?
        }
        login => {
            let url = query(&realm, key);
            match login {
                Some(Login::Password { username, password }) => {
                    let url = url.with_query("account", username);
                    let response = ask(Method::Get, &url, None, Some(Login::basic(username, password)))?;
                    if matches!(response.status, 404 | 405) {
                        // A service that speaks only OAuth2.
                        let more = [("username", username.as_str()), ("password", password.reveal())];
                        ask(Method::Post, &realm, Some(form("password", &more)), None)?
                    } else {
                        response
                    }
                }
                _ => ask(Method::Get, &url, None, None)?,
            }
        }
    };
    read(response, endpoint, &realm, (key, found), what, cancel)
}

/// The URL that requests a token with its scopes.
fn query(realm: &Url, key: &Key) -> Url {
    let mut url = realm.clone();
    if let Some(service) = &key.service {
        url = url.with_query("service", service);
    }
    for scope in &key.scopes {
        url = url.with_query("scope", scope);
    }
    url.with_query("client_id", CLIENT)
}

/// Remarks, once, that a token service does not belong to the registry: a warning if it gets a login, otherwise a detail.
fn tell_whose(client: &Client, endpoint: &Endpoint, realm: &Url, found: &Found) {
    if realm::is_own(endpoint.base.host(), realm.host()) {
        return;
    }
    let (registry, service) = (endpoint.name.registry(), realm.authority());
    match found.source() {
        Some(source) => client.remark(
            Level::Warning,
            format!(
                "{registry} wants its login told to the token service of {service}, which is another's host by its name: the \
                 credentials from {source} go there"
            ),
        ),
        None => client.remark(Level::Detail, format!("{registry} has its tokens given by {service}")),
    }
}

/// The token in a service's answer.
fn read(
    mut response: Response,
    endpoint: &Endpoint,
    realm: &Url,
    (key, found): (&Key, &Found),
    what: &str,
    cancel: &Cancel,
) -> Result<(Secret, Duration), Attempt> {
    let (what, host) = (what.to_owned(), realm.authority().to_owned());
    match response.status {
        200 => {}
        // OAuth2 reports a wrong identity token by 400 (RFC 6749, section 5.2).
        400 | 401 | 403 if response.status != 403 || found.known() == KnownLogin::Withheld => {
            let reason = answer::reason(&mut response, cancel)?;
            let (registry, login) = (endpoint.name.registry().to_owned(), found.known());
            return Err(RegistryError::Unauthorized { what, host, registry, login, reason }.into());
        }
        403 => {
            let reason = answer::reason(&mut response, cancel)?;
            let scope = key.shown();
            return Err(RegistryError::Denied { what, host, scope, reason }.into());
        }
        status if may_pass(status, &Trail::new(realm, realm)) => {
            let said = answer::reason(&mut response, cancel)?;
            return Err(of_answer(&response, "the token service ", &host, &said));
        }
        status => {
            let reason = format!("its token service answers {status}");
            return Err(RegistryError::Protocol { what, host, reason }.into());
        }
    }
    let (bytes, _) = response.read(LIMIT, cancel).map_err(|error| of_http(error, &host, &what))?;
    let answer: Option<TokenDocument> = serde_json::from_slice(&bytes).ok();
    match answer.and_then(TokenDocument::token) {
        // A token must not be able to end the header field.
        Some((token, life)) if token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok((Secret::from(token), life))
        }
        _ => {
            let reason = "its token service's answer has no token in it".into();
            Err(RegistryError::Protocol { what, host, reason }.into())
        }
    }
}
