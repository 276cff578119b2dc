//! An endpoint of a repository: the registry itself, the target of a rewrite, or a mirror.

use super::answer::refusal;
use super::client::Access;
use super::error::{Limited, RegistryError};
use super::retry::{Attempt, of_http};
use super::trust::Found;
use crate::oci::name::RepositoryName;
use crate::sys::cancel::Cancel;
use crate::sys::http::{self, HttpError, Response, Trust, Url};

/// A repository at the server that is asked for it.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// Its name there, which differs from the user's behind a rewrite or a mirror.
    pub(super) name: RepositoryName,
    /// `https://host/v2/repository`
    pub(super) base: Url,
    pub(super) trust: Found,
    pub(super) access: Access,
    /// True if the user has named the registry for this run.
    pub(super) named: bool,
    /// The most bytes that one request to it may carry, if the user has set a limit.
    pub(super) part: Option<u64>,
}

impl Endpoint {
    /// The error for a host that takes no more requests. The number of attempts and the wait are still missing.
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

    /// The TLS settings for a URL. Those of the registry are for its own host, on any port.
    pub(super) fn trust_at(&self, url: &Url) -> Trust {
        if url.host() == self.base.host() { self.trust.trust.clone() } else { Trust::default() }
    }

    /// The host that has led to a URL, if that is on another host.
    pub(super) fn led_to(&self, url: &Url) -> Option<String> {
        http::led_by(&self.base, url)
    }

    /// The TLS settings for the token service, which may be on another host. The registry's operator has chosen it, so that the
    /// registry's authorities count for it. The client certificate is for the registry's own host only.
    pub(super) fn trust_for_tokens(&self, realm: &Url) -> Trust {
        Trust { identity: self.trust_at(realm).identity, ..self.trust.trust.clone() }
    }

    /// The failed attempt of a request that has no answer. An error about a client certificate says which one we have.
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

    /// An error if an answer has none of these statuses.
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
        // The parts are a parsed repository, and a digest, a tag or a constant.
        Url::parse(&text).unwrap_or_else(|| self.base.clone())
    }
}
