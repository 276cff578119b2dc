//! A place that is asked: a registry as it is, one behind a rewrite, or a mirror.

use super::answer::refusal;
use super::client::Access;
use super::error::{Limited, RegistryError};
use super::retry::{Attempt, of_http};
use super::trust::Found;
use crate::oci::name::RepositoryName;
use crate::sys::cancel::Cancel;
use crate::sys::http::{self, HttpError, Response, Trust, Url};

/// A repository at the place where it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Its name there. Behind a rewrite or a mirror it is another than the user's.
    pub(super) name: RepositoryName,
    /// `https://host/v2/repository`
    pub(super) base: Url,
    pub(super) trust: Found,
    pub(super) access: Access,
    /// True if the user has named the registry for this run.
    pub(super) named: bool,
    /// The most bytes that one request to it may carry, where the user has said so.
    pub(super) part: Option<u64>,
}

impl Endpoint {
    /// That `host` takes no more requests.
    pub(super) fn limit(&self, host: &str, reason: String, known: bool) -> Limited {
        Limited {
            what: String::new(),
            host: host.to_owned(),
            registry: self.name.registry().to_owned(),
            known,
            reading: self.access == Access::Pull,
            reason,
            after: None,
            attempts: 0,
        }
    }

    /// The certificates for an address: those of the registry are for its own host, whatever its port.
    pub(super) fn trust_at(&self, url: &Url) -> Trust {
        if url.host() == self.base.host() { self.trust.trust.clone() } else { Trust::default() }
    }

    /// The host that has led to an address, where that is another's.
    pub(super) fn led_to(&self, url: &Url) -> Option<String> {
        http::led_by(&self.base, url)
    }

    /// The certificates for the token service, which may be on another host: the registry's operator has chosen it, so that
    /// the registry's authorities count for it as well, but who we are is told to the registry's own host alone.
    pub(super) fn trust_for_tokens(&self, realm: &Url) -> Trust {
        Trust { identity: self.trust_at(realm).identity, ..self.trust.trust.clone() }
    }

    /// What became of a request. Where a client certificate was wanted, it tells which one was there.
    pub(super) fn failed(&self, error: HttpError, url: &Url, what: &str) -> Attempt {
        match of_http(error, url.authority(), what) {
            Attempt::Over(RegistryError::Identity { host, reason, .. }) => {
                let given = self.trust_at(url).identity.map(|identity| identity.certificate);
                let hidden = self.trust.hidden.clone().filter(|_| given.is_none());
                Attempt::Over(RegistryError::Identity { host, given, hidden, reason })
            }
            other => other,
        }
    }

    /// The URL that the registry may lead to; `None` if it may not. Redirects are held to the same.
    pub(super) fn allowed(&self, to: Url) -> Option<Url> {
        http::allowed(&self.base, to)
    }

    /// An error unless an answer has one of these statuses.
    pub(super) fn expect(
        &self,
        response: &mut Response,
        what: &str,
        statuses: &[u16],
        cancel: &Cancel,
    ) -> Result<(), RegistryError> {
        let status = response.status;
        if statuses.contains(&status) {
            return Ok(());
        }
        let (reason, codes) = refusal(response, cancel)?;
        let (what, host) = (what.to_owned(), self.base.authority().to_owned());
        Err(match status {
            404 | 410 => RegistryError::NotFound { what, reason },
            400..=499 => {
                let reason = if reason.is_empty() { format!("it answers {status}") } else { reason };
                RegistryError::Refused { what, host, reason, codes }
            }
            _ => RegistryError::Protocol { what, host, reason: format!("it answers {status}") },
        })
    }

    /// A URL below the repository.
    pub(super) fn url(&self, below: &str) -> Url {
        let text = format!("{}/{below}", self.base.text());
        // Its parts are a repository, which was parsed, and a digest, a tag or a word of ours.
        Url::parse(&text).unwrap_or_else(|| self.base.clone())
    }
}
