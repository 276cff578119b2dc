//! Trying again: what another attempt may help with, how long to wait before it, and when to give up.
//!
//! The limits are the caller's [`Patience`]; how they are counted is the same for all.

use std::time::Duration;

use super::{HttpError, ProxyError, Response, Trail};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::clock;

/// The longest wait that is not asked for by a server.
const LONGEST: Duration = Duration::from_secs(30);
/// A wait that a server asks for is reported from this length on.
const REPORTED: Duration = Duration::from_secs(1);
/// How often a wait looks whether the work was cancelled.
const TICK: Duration = Duration::from_millis(20);

/// How often to try, and how long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Give up after this many attempts in a row without progress.
    pub attempts: u32,
    /// The wait before the second attempt. It doubles each time, and a random part of it is waited.
    pub back_off: Duration,
    /// How long servers may ask us to wait, all waits of one piece of work together. Beyond that we give up.
    pub asked: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 6, back_off: Duration::from_millis(500), asked: Duration::from_secs(10 * 60) }
    }
}

/// A failed attempt, and whether another may succeed.
#[derive(Debug)]
pub enum Attempt<E> {
    /// Another may.
    Again(Failure),
    /// Another would fail in the same way.
    Over(E),
}

impl<E> From<E> for Attempt<E> {
    fn from(error: E) -> Self {
        Self::Over(error)
    }
}

/// What went wrong with an attempt that another may put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, for messages.
    pub reason: String,
    /// How long the server asks us to wait.
    pub after: Option<Duration>,
    /// Set if the server has had more requests than it allows (429).
    pub limit: Option<Limit>,
}

/// A server that takes no more requests for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The server.
    pub host: String,
    /// What it says about it.
    pub said: String,
}

impl Failure {
    /// A failure about which the server says nothing more.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), after: None, limit: None }
    }

    /// The failure that an answer of `host` reports. `title` comes before the host's name in messages, and `said` is the
    /// server's explanation, which may be empty.
    #[must_use]
    pub fn of_answer(response: &Response, title: &str, host: &str, said: &str) -> Self {
        let status = response.status;
        let through = response.proxy.as_ref().map(|proxy| format!(" through {proxy}")).unwrap_or_default();
        let behind = if said.is_empty() { String::new() } else { format!(" ({said})") };
        Self {
            reason: format!("{title}{host} answered {status}{through}{behind}"),
            after: response.header("retry-after").and_then(|value| retry_after(value, clock::unix_now())),
            limit: (status == 429).then(|| Limit { host: host.to_owned(), said: said.to_owned() }),
        }
    }
}

impl<E> Attempt<E> {
    /// A failure that another attempt may put right.
    pub fn again(reason: impl Into<String>) -> Self {
        Self::Again(Failure::new(reason))
    }

    /// The result of a request that has no answer. `title` comes before the reason in messages, and `over` turns what is
    /// final into an error.
    pub fn of_http(error: HttpError, title: &str, over: impl FnOnce(HttpError) -> E) -> Self {
        match error {
            HttpError::Broken(reason) => Self::again(format!("{title}{reason}")),
            // The server behind a proxy may come back. A proxy's rules stay.
            HttpError::Proxy(ProxyError::Refuses { proxy, host, status: status @ (502..=504) }) => {
                Self::again(format!("{proxy} cannot reach {host}: it answers {status}"))
            }
            other => Self::Over(over(other)),
        }
    }
}

/// True for an answer that another attempt may change.
#[must_use]
pub fn may_pass(status: u16, trail: &Trail) -> bool {
    match status {
        408 | 425 | 429 | 500 | 502..=504 | 506..=599 => true,
        // Credentials do not go along a redirect. Its URL was signed for a while, and a new one may be good again.
        401 | 403 => !trail.is_home(),
        _ => false,
    }
}

/// The wait that `Retry-After` asks for: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second();
    u64::try_from(date - now).ok().map(Duration::from_secs)
}

/// The attempts of one piece of work.
#[derive(Debug)]
pub struct Attempts {
    patience: Patience,
    /// The bytes that an attempt must bring to count as progress.
    least: u64,
    failures: u32,
    /// The waits that servers have asked for and got so far.
    asked: Duration,
    /// The furthest position that was reached.
    best: u64,
}

/// The wait before the next attempt.
#[derive(Debug)]
#[must_use = "the next attempt comes after the wait"]
pub struct Pause {
    /// Why there is another attempt.
    pub reason: String,
    /// The number of the next attempt without progress.
    pub attempt: u32,
    /// How long to wait.
    pub wait: Duration,
    /// The wait that the server has asked for.
    pub asked: Option<Duration>,
}

/// The last failure of work that is given up.
#[derive(Debug)]
pub struct GivenUp {
    /// The last failure.
    pub failure: Failure,
    /// How many attempts there were without progress.
    pub attempts: u32,
}

impl Attempts {
    /// No attempt yet. `least` is the bytes that count as progress, and `position` is how far earlier work came.
    #[must_use]
    pub fn new(patience: Patience, least: u64, position: u64) -> Self {
        Self { patience, least, failures: 0, asked: Duration::ZERO, best: position }
    }

    /// Notes how far an attempt came. Progress starts the count again, so that a large file over a bad line takes as many
    /// attempts as it needs.
    pub fn reached(&mut self, position: u64) {
        if position >= self.best.saturating_add(self.least) {
            self.failures = 0;
        }
        self.best = self.best.max(position);
    }

    /// The wait before the next attempt, or the end.
    pub fn failed(&mut self, failure: Failure) -> Result<Pause, GivenUp> {
        self.failures += 1;
        let asked = failure.after;
        let too_long = asked.is_some_and(|asked| self.asked.saturating_add(asked) > self.patience.asked);
        if self.failures >= self.patience.attempts || too_long {
            return Err(GivenUp { failure, attempts: self.failures });
        }
        self.asked += asked.unwrap_or_default();
        let longest = (self.patience.back_off * 2_u32.saturating_pow(self.failures - 1)).min(LONGEST);
        // Clients that failed together would otherwise come back together.
        let wait = longest.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked.unwrap_or_default());
        Ok(Pause { reason: failure.reason, attempt: self.failures + 1, wait, asked })
    }
}

impl Pause {
    /// True if the server has asked for a wait that is long enough to be reported.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.asked.is_some_and(|asked| asked >= REPORTED)
    }

    /// Waits.
    pub fn wait(&self, cancel: &Cancel) -> Result<(), Cancelled> {
        let until = clock::Instant::now() + self.wait;
        loop {
            cancel.check()?;
            let left = until.saturating_duration_since(clock::Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            clock::sleep(left.min(TICK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(attempts: u32) -> Patience {
        Patience { attempts, back_off: Duration::from_millis(1), ..Patience::default() }
    }

    fn asks(milliseconds: u64) -> Failure {
        Failure { after: Some(Duration::from_millis(milliseconds)), ..Failure::new("429") }
    }

    #[test]
    fn a_server_may_ask_for_a_wait_in_seconds_or_until_a_date() {
        assert_eq!(retry_after("120", 0), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 61), None);
        assert_eq!(retry_after("soon", 0), None);
    }

    #[test]
    fn gives_up_after_so_many_attempts_without_progress() {
        let mut attempts = Attempts::new(patience(3), 100, 1000);
        let mut fail = |position: u64| {
            attempts.reached(position);
            attempts.failed(Failure::new("broken")).map(|pause| pause.attempt)
        };
        assert_eq!((fail(1000).unwrap(), fail(1099).unwrap()), (2, 3));
        // Little by little is no progress either, and what was there before does not count.
        assert_eq!((fail(1199).unwrap(), fail(1298).unwrap()), (2, 3));
        assert_eq!(fail(0).unwrap_err().attempts, 3);
    }

    #[test]
    fn a_server_that_wants_to_be_left_alone_is() {
        let mut attempts = Attempts::new(Patience::default(), 1, 0);
        assert_eq!(attempts.failed(asks(3_600_000)).unwrap_err().attempts, 1);
        let start = clock::Instant::now();
        let pause = Attempts::new(patience(3), 1, 0).failed(asks(700)).unwrap();
        pause.wait(&Cancel::new()).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(700) && !pause.is_reported());
        // All waits together count.
        let mut attempts =
            Attempts::new(Patience { asked: Duration::from_millis(50), ..patience(100) }, 1, 0);
        assert!(attempts.failed(asks(20)).is_ok() && attempts.failed(asks(20)).is_ok());
        assert_eq!(attempts.failed(asks(20)).unwrap_err().attempts, 3);
    }

    #[test]
    fn a_wait_ends_when_the_work_is_cancelled() {
        let cancel = Cancel::new().within(Duration::from_millis(50), "the test");
        let start = clock::Instant::now();
        assert!(Attempts::new(patience(3), 1, 0).failed(asks(60_000)).unwrap().wait(&cancel).is_err());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
