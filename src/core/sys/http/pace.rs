//! The slowest that a server may send or take a body. A server that sends a byte now and then would otherwise hold up a run
//! until its time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Body, HttpError};
use crate::sys::clock::Instant;

/// The lowest average rate of a body over one window, in bytes per second.
const LEAST_RATE: u64 = 1024;
/// The lowest average rate of a whole document, in bytes per second, beyond the time that every document gets.
const DOCUMENT_RATE: u64 = 16 * 1024;
/// The time that every document gets, in stalls.
const DOCUMENT_STALLS: u32 = 4;

/// The bytes that an attempt must bring to count as progress: what the slowest server that is waited for brings until it is
/// taken for stalled. With less, a server that sends a little at each attempt would be asked without end.
#[must_use]
pub fn least_progress(stall: Duration) -> u64 {
    at_rate(stall, LEAST_RATE).max(1)
}

/// The rate of a body. Only the time that is spent waiting for it counts.
#[derive(Debug)]
pub(super) struct Pace {
    /// The time over which the rate is averaged.
    window: Duration,
    waited: Duration,
    bytes: u64,
    /// Since the beginning of the body.
    whole_wait: Duration,
    whole: u64,
    /// "sends" or "takes", for messages.
    says: &'static str,
}

impl Pace {
    pub(super) fn new(window: Duration, says: &'static str) -> Self {
        let zero = Duration::ZERO;
        Self { window, waited: zero, bytes: 0, whole_wait: zero, whole: 0, says }
    }

    /// Notes that nothing has come after waiting for `more`.
    pub(super) fn waiting(&self, more: Duration) -> Result<(), HttpError> {
        let waited = self.waited + more;
        if waited < self.window || self.bytes >= at_rate(waited, LEAST_RATE) {
            return Ok(());
        }
        let seconds = waited.as_secs().max(1);
        Err(HttpError::Broken(match self.bytes {
            0 => "the server stalled".into(),
            bytes => format!(
                "the server {} only {bytes} bytes in {seconds}s, less than {LEAST_RATE} bytes a second",
                self.says
            ),
        }))
    }

    /// Notes that `bytes` have moved after a wait.
    pub(super) fn moved(&mut self, after: Duration, bytes: u64) -> Result<(), HttpError> {
        self.waited += after;
        self.bytes += bytes;
        self.whole_wait += after;
        self.whole += bytes;
        if self.waited >= self.window {
            self.waiting(Duration::ZERO)?;
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(())
    }

    /// An error if a document takes longer than its size allows.
    pub(super) fn document(&self) -> Result<(), HttpError> {
        let allowed = allowed(self.window, self.whole);
        if self.whole_wait < allowed {
            return Ok(());
        }
        Err(HttpError::Broken(format!(
            "the server takes longer than {}s for a document, of which {} bytes have come",
            self.whole_wait.as_secs(),
            self.whole
        )))
    }
}

/// How long a document of this size may take.
pub(super) fn allowed(window: Duration, bytes: u64) -> Duration {
    window * DOCUMENT_STALLS + Duration::from_secs(bytes / DOCUMENT_RATE)
}

/// The rate at which a server takes a file.
pub(super) struct Taking {
    sent: Arc<AtomicU64>,
    /// The counter's value once everything is sent.
    end: u64,
    seen: u64,
    since: Instant,
    pace: Pace,
}

impl Taking {
    pub(super) fn of(body: &Body, stall: Duration) -> Option<Self> {
        let Body::File { length, sent, .. } = body else { return None };
        let seen = sent.load(Ordering::Relaxed);
        // Buffers on the way are emptied in bursts, so that the window is longer.
        let pace = Pace::new(stall * 2, "takes");
        Some(Self { sent: Arc::clone(sent), end: seen + length, seen, since: Instant::now(), pace })
    }

    pub(super) fn check(&mut self) -> Result<(), HttpError> {
        let sent = self.sent.load(Ordering::Relaxed);
        if sent >= self.end {
            return Ok(());
        }
        let waited = self.since.elapsed();
        if sent == self.seen {
            return self.pace.waiting(waited);
        }
        let more = sent - std::mem::replace(&mut self.seen, sent);
        self.since = Instant::now();
        self.pace.moved(waited, more)
    }
}

fn at_rate(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(rate) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trickle_is_told_and_what_is_only_slow_is_waited_for() {
        let trickle = |bytes: u64| {
            let mut pace = Pace::new(30 * SECOND, "sends");
            (0..3600).try_for_each(|_| pace.moved(SECOND, bytes)).map(|()| pace)
        };
        let error = trickle(1).unwrap_err().to_string();
        assert!(error.contains("sends only 30 bytes in 30s"), "{error}");
        assert!(trickle(1023).is_err());
        assert!(trickle(1024).is_ok());
        let pace = Pace::new(30 * SECOND, "sends");
        assert!(pace.waiting(29 * SECOND).is_ok());
        assert!(pace.waiting(30 * SECOND).unwrap_err().to_string().contains("stalled"));
    }

    #[test]
    fn a_file_must_be_taken_as_well() {
        let sent = Arc::new(AtomicU64::new(7));
        let body = Body::File { path: "x".into(), offset: 0, length: 1 << 20, sent: Arc::clone(&sent) };
        let take = |bytes: u64| {
            let mut taking = Taking::of(&body, Duration::from_millis(100)).unwrap();
            for _ in 0..30 {
                sent.fetch_add(bytes, Ordering::Relaxed);
                crate::sys::clock::sleep(Duration::from_millis(20));
                taking.check()?;
            }
            Ok::<(), HttpError>(())
        };
        let error = take(1).unwrap_err().to_string();
        assert!(
            error.contains("the server takes only") && error.contains("less than 1024 bytes a second"),
            "{error}"
        );
        assert!(take(0).unwrap_err().to_string().contains("stalled"));
        assert!(take(30_000).is_ok());
        // What is left to do when all is sent is the server's.
        sent.store(7, Ordering::Relaxed);
        let mut taking = Taking::of(&body, Duration::from_millis(20)).unwrap();
        sent.store(7 + (1 << 20), Ordering::Relaxed);
        crate::sys::clock::sleep(Duration::from_millis(100));
        assert!(taking.check().is_ok());
        assert!(Taking::of(&Body::None, SECOND).is_none());
    }

    #[test]
    fn a_document_must_come_as_a_whole_in_bounded_time() {
        let mut pace = Pace::new(30 * SECOND, "sends");
        let mut seconds = 0;
        while pace.document().is_ok() {
            pace.moved(SECOND, 2000).unwrap();
            seconds += 1;
            assert!(seconds < 600);
        }
        assert!(seconds >= 120, "{seconds}");
        // The largest page that anybody is sent, over a line that is slow.
        assert!(allowed(30 * SECOND, 4 << 20) >= 300 * SECOND);
    }
}
