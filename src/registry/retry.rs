//! What a registry's failures mean for another attempt, as errors and reports of this room. The attempts themselves are
//! those of `sys::http`.

use super::client::Client;
use super::endpoint::Endpoint;
use super::error::{Limited, RegistryError};
use crate::sys::cancel::Cancel;
use crate::sys::http::{self, Attempts, BodyError, Failure, GivenUp, HttpError, Response};
use crate::sys::log::Seconds;

/// A failed attempt, and whether another may succeed.
pub(super) type Attempt = http::Attempt<RegistryError>;

/// The failed attempt of a request to `host` that has no answer.
pub(super) fn of_http(error: HttpError, host: &str, what: &str) -> Attempt {
    let (owner, what) = (host.to_owned(), what.to_owned());
    Attempt::of_http(error, &format!("{host}: "), |error| match error {
        HttpError::Tls { reason, .. } => RegistryError::Tls { host: owner, reason },
        HttpError::Proxy(reason) => RegistryError::Proxy { what, reason },
        HttpError::Inward(led) => RegistryError::Inward { what, led: Box::new(led) },
        HttpError::Invalid(reason) | HttpError::Broken(reason) => {
            RegistryError::Protocol { what, host: owner, reason }
        }
        HttpError::Identity(reason) => {
            RegistryError::Identity { host: owner, given: None, hidden: None, reason }
        }
        HttpError::Trust(reason) => {
            RegistryError::Configuration { registry: owner, reason: reason.to_string() }
        }
        HttpError::File(error) => error.into(),
        HttpError::Cancelled(cancelled) => cancelled.into(),
    })
}

/// The failed attempt of a body from `host` that has not come as a whole.
pub(super) fn of_body(error: BodyError, host: &str, what: &str) -> Attempt {
    match error {
        BodyError::Http(error) => of_http(error, host, what),
        BodyError::Again(reason) => Attempt::again(format!("{host}: {reason}")),
        BodyError::Other { expected, found } => {
            let found = found.unwrap_or_else(|| "more".into());
            RegistryError::Mismatch { what: what.to_owned(), expected, found }.into()
        }
        BodyError::Sink(error) => RegistryError::from(error).into(),
    }
}

/// The failed attempt that an answer of `host` reports. `title` comes before the host's name in messages.
pub(super) fn of_answer(response: &Response, title: &str, host: &str, said: &str) -> Attempt {
    Attempt::Again(Failure::of_answer(response, title, host, said))
}

/// The attempts of one piece of work at a registry.
#[derive(Debug)]
pub(super) struct Retry<'a> {
    attempts: Attempts,
    client: &'a Client,
    endpoint: &'a Endpoint,
}

impl<'a> Retry<'a> {
    /// No attempt yet. `position` is how far earlier work came.
    pub(super) fn new(client: &'a Client, endpoint: &'a Endpoint, position: u64) -> Self {
        let attempts = Attempts::new(client.patience(), client.least_progress(), position);
        Self { attempts, client, endpoint }
    }

    /// Notes how far an attempt came. Progress starts the count again.
    pub(super) fn reached(&mut self, position: u64) {
        self.attempts.reached(position);
    }

    /// Waits before the next attempt, or gives up. A wait that the registry asks for is reported.
    pub(super) fn failed(
        &mut self,
        attempt: Attempt,
        what: &str,
        cancel: &Cancel,
    ) -> Result<(), RegistryError> {
        let failure = match attempt {
            Attempt::Over(error) => return Err(error),
            Attempt::Again(failure) => failure,
        };
        let pause = self.attempts.failed(failure).map_err(|given_up| self.error(given_up, what))?;
        let asked = pause.asked.map(|asked| asked.as_secs());
        let (reason, attempt, wait) = (&pause.reason, pause.attempt, Seconds(pause.wait));
        tracing::warn!(reason, attempt, %wait, asked, "again: {what}");
        if pause.is_reported() {
            self.client.waiting(what, pause.reason.clone(), pause.wait);
        }
        Ok(pause.wait(cancel)?)
    }

    /// The error of work that is given up.
    fn error(&self, GivenUp { failure, attempts }: GivenUp, what: &str) -> RegistryError {
        let (what, after) = (what.to_owned(), failure.after);
        match failure.limit {
            Some(limit) => {
                let limited =
                    self.endpoint.limit(&limit.host, limit.said, self.client.is_known_to(self.endpoint));
                RegistryError::Limited(Box::new(Limited { what, after, attempts, ..limited }))
            }
            None => RegistryError::Transient { what, reason: failure.reason, attempts },
        }
    }
}
