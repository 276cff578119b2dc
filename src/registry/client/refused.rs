//! Challenges, which are answered by credentials or a token, and refusals.

use std::sync::PoisonError;

use super::{Client, Exchange};
use crate::registry::answer::reason;
use crate::registry::challenge::Challenge;
use crate::registry::endpoint::Endpoint;
use crate::registry::error::{KnownLogin, RegistryError};
use crate::registry::retry::Attempt;
use crate::sys::cancel::Cancel;
use crate::sys::http::Response;

impl Client {
    /// Stores the challenge to a request, so that the next one answers it; an error if that is impossible. `count` numbers the
    /// challenges to this request, and `sent` is the value of `Authorization` that it had.
    pub(super) fn challenged(
        &self,
        exchange: &Exchange<'_>,
        count: u32,
        sent: Option<&str>,
        response: &mut Response,
        cancel: &Cancel,
    ) -> Result<(), Attempt> {
        let fields = response.headers.iter().filter(|(name, _)| name == "www-authenticate");
        let challenge = Challenge::of(fields.map(|(_, value)| value.as_str()));
        let reason = reason(response, cancel)?;
        let Some(challenge) = challenge.filter(|_| count <= 2) else {
            return Err(self.refusal(exchange, None, reason, cancel)?.into());
        };
        if let Challenge::Bearer { error: Some(error), scope, .. } = &challenge
            && error == "insufficient_scope"
            && sent.is_some()
            && count > 1
        {
            return Err(self.refusal(exchange, scope.clone(), reason, cancel)?.into());
        }
        let mut known = self.0.challenges.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(exchange.endpoint.base.authority().to_owned(), challenge);
        Ok(())
    }

    /// Makes the error for a denied request. If credentials were withheld from this registry, the error says so.
    pub(super) fn denial(
        &self,
        endpoint: &Endpoint,
        denied: RegistryError,
        cancel: &Cancel,
    ) -> Result<RegistryError, RegistryError> {
        Ok(match (self.login(endpoint, cancel)?.known(), denied) {
            (login @ KnownLogin::Withheld, RegistryError::Denied { what, host, reason, .. }) => {
                let registry = endpoint.name.registry().to_owned();
                RegistryError::Unauthorized { what, host, registry, login, reason }
            }
            (_, denied) => denied,
        })
    }

    /// Makes the error for a request without credentials, with wrong ones, or with ones that do not suffice.
    fn refusal(
        &self,
        exchange: &Exchange<'_>,
        insufficient: Option<String>,
        reason: String,
        cancel: &Cancel,
    ) -> Result<RegistryError, RegistryError> {
        let Exchange { endpoint, call, scopes } = exchange;
        let what = call.what.to_owned();
        let host = endpoint.base.authority().to_owned();
        let found = self.login(endpoint, cancel)?;
        if found.credentials.is_some()
            && let Some(scope) = insufficient
        {
            let scope = if scope.is_empty() { scopes.join(" ") } else { scope };
            return Ok(RegistryError::Denied { what, host, scope, reason });
        }
        let (registry, login) = (endpoint.name.registry().to_owned(), found.known());
        Ok(RegistryError::Unauthorized { what, host, registry, login, reason })
    }
}
