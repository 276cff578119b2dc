//! Trying again: when, how long to wait before it, and when to give up.

use std::time::Duration;

use super::client::Client;
use super::error::{Limited, RegistryError};
use crate::sys::cancel::Cancel;
use crate::sys::clock;
use crate::sys::http::{HttpError, ProxyError};
use crate::sys::log::Seconds;

/// The longest wait of our own choosing.
const LONGEST: Duration = Duration::from_secs(30);
/// A wait that a server asks for is told where it is as long.
const TOLD: Duration = Duration::from_secs(1);

/// How often, and how long between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After so many attempts in a row that brought nothing new, it is given up.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles each time, and a random part of it is waited.
    pub back_off: Duration,
    /// How long servers may ask to be left alone, all waits for one piece of work together. Who wants longer is given up.
    pub asked: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 6, back_off: Duration::from_millis(500), asked: Duration::from_secs(10 * 60) }
    }
}

/// A failed attempt, and whether another may succeed.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Another may.
    Again {
        /// What went wrong.
        reason: String,
        /// How long the server asked us to wait.
        after: Option<Duration>,
        /// Where the server takes no more requests than so many: whose limit it is.
        limit: Option<Box<Limited>>,
    },
    /// It is of no use.
    Over(RegistryError),
}

impl Attempt {
    pub(super) fn again(reason: impl Into<String>) -> Self {
        Self::Again { reason: reason.into(), after: None, limit: None }
    }
}

impl<E: Into<RegistryError>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Over(error.into())
    }
}

impl Attempt {
    /// Where the server limits what is asked of it: whether it knows who asks.
    pub(super) fn limited(mut self, known: impl FnOnce() -> bool) -> Self {
        if let Self::Again { limit: Some(limit), .. } = &mut self {
            limit.known = known();
        }
        self
    }

    /// What became of a request to `host`.
    pub(super) fn of_http(error: HttpError, host: &str, what: &str) -> Self {
        match error {
            HttpError::Broken(reason) => Self::again(format!("{host}: {reason}")),
            HttpError::Tls { reason, .. } => Self::Over(RegistryError::Tls { host: host.to_owned(), reason }),
            // What lies behind a proxy may come back; that we may not go there stays.
            HttpError::Proxy(ProxyError::Refuses { proxy, host, status: status @ (502..=504) }) => {
                Self::again(format!("{proxy} cannot reach {host}: it answers {status}"))
            }
            HttpError::Proxy(reason) => Self::Over(RegistryError::Proxy { what: what.to_owned(), reason }),
            HttpError::Inward(led) => {
                Self::Over(RegistryError::Inward { what: what.to_owned(), led: Box::new(led) })
            }
            HttpError::Invalid(reason) => {
                Self::Over(RegistryError::Protocol { what: what.to_owned(), host: host.to_owned(), reason })
            }
            HttpError::Identity(reason) => Self::Over(RegistryError::Identity {
                host: host.to_owned(),
                given: None,
                hidden: None,
                reason,
            }),
            HttpError::Trust(reason) => Self::Over(RegistryError::Configuration {
                registry: host.to_owned(),
                reason: reason.to_string(),
            }),
            HttpError::File(error) => Self::Over(error.into()),
            HttpError::Cancelled(cancelled) => Self::Over(cancelled.into()),
        }
    }
}

/// The attempts of one piece of work.
#[derive(Debug)]
pub(super) struct Retry {
    patience: Patience,
    failures: u32,
    /// What servers have asked for and got so far.
    asked: Duration,
    /// Who tells of it.
    client: Option<Client>,
}

impl Retry {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, failures: 0, asked: Duration::ZERO, client: None }
    }

    /// The attempts of a client, which tells of waits that a server asks for.
    pub(super) fn of(client: &Client) -> Self {
        Self { client: Some(client.clone()), ..Self::new(client.patience()) }
    }

    /// Something new has come: the count starts again.
    pub(super) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt, or gives up.
    pub(super) fn failed(
        &mut self,
        attempt: Attempt,
        what: &str,
        cancel: &Cancel,
    ) -> Result<(), RegistryError> {
        let (reason, after, limit) = match attempt {
            Attempt::Over(error) => return Err(error),
            Attempt::Again { reason, after, limit } => (reason, after, limit),
        };
        self.failures += 1;
        let too_long = after.is_some_and(|after| self.asked.saturating_add(after) > self.patience.asked);
        if self.failures >= self.patience.attempts || too_long {
            let (what, attempts) = (what.to_owned(), self.failures);
            return Err(match limit {
                Some(limit) => RegistryError::Limited(Box::new(Limited { what, after, attempts, ..*limit })),
                None => RegistryError::Transient { what, reason, attempts },
            });
        }
        let longest = (self.patience.back_off * 2_u32.saturating_pow(self.failures - 1)).min(LONGEST);
        // Between half of it and all of it, so that clients that failed together don't come back together.
        let wait = longest.mul_f64(0.5 + fastrand::f64() / 2.0).max(after.unwrap_or_default());
        let (next, asked) = (self.failures + 1, after.map(|after| after.as_secs()));
        tracing::warn!(reason, attempt = next, wait = %Seconds(wait), asked, "again: {what}");
        if let Some(after) = after {
            self.asked += after;
            if let Some(client) = self.client.as_ref().filter(|_| after >= TOLD) {
                client.waiting(what, reason, wait);
            }
        }
        let until = clock::Instant::now() + wait;
        loop {
            cancel.check()?;
            let left = until.saturating_duration_since(clock::Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            clock::sleep(left.min(Duration::from_millis(20)));
        }
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub(super) fn retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second();
    u64::try_from(date - now).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_a_wait_in_seconds_or_until_a_date() {
        assert_eq!(retry_after("120", 0), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 61), None);
        assert_eq!(retry_after("soon", 0), None);
    }

    #[test]
    fn gives_up_after_so_many_attempts_without_progress() {
        let cancel = Cancel::new();
        let mut retry =
            Retry::new(Patience { attempts: 3, back_off: Duration::from_millis(1), ..Patience::default() });
        let mut fail = |progress: bool| {
            if progress {
                retry.progress();
            }
            retry.failed(Attempt::again("broken"), "it", &cancel)
        };
        assert!(fail(false).is_ok() && fail(false).is_ok() && fail(true).is_ok() && fail(false).is_ok());
        assert!(matches!(fail(false), Err(RegistryError::Transient { attempts: 3, .. })));
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_is() {
        let mut retry = Retry::new(Patience::default());
        let hour =
            Attempt::Again { reason: "429".into(), after: Some(Duration::from_secs(3600)), limit: None };
        assert!(matches!(retry.failed(hour, "it", &Cancel::new()), Err(RegistryError::Transient { .. })));
        let start = clock::Instant::now();
        let second =
            Attempt::Again { reason: "429".into(), after: Some(Duration::from_millis(700)), limit: None };
        let mut retry =
            Retry::new(Patience { attempts: 3, back_off: Duration::from_millis(1), ..Patience::default() });
        retry.failed(second, "it", &Cancel::new()).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(700));
        // All waits together count.
        let asked = Duration::from_millis(50);
        let patience = Patience { attempts: 100, back_off: Duration::from_millis(1), asked };
        let mut retry = Retry::new(patience);
        let mut ask = || {
            let after = Some(Duration::from_millis(20));
            retry.failed(Attempt::Again { reason: "429".into(), after, limit: None }, "it", &Cancel::new())
        };
        assert!(ask().is_ok() && ask().is_ok());
        assert!(matches!(ask(), Err(RegistryError::Transient { attempts: 3, .. })));
    }
}
