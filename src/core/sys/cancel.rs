//! Cancellation: Ctrl-C and time limits, in one value that every long operation checks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock::Instant;
use crate::error::{ExitCode, Explain};

/// A handle on "stop now". Clones share the interrupt flag; [`Cancel::within`] adds a time limit.
#[derive(Clone)]
pub struct Cancel {
    /// This handle's own flag, after those of its ancestors.
    interrupted: Vec<Arc<AtomicBool>>,
    limit: Option<Limit>,
    /// What the work is doing, for the error when its time is up.
    doing: Option<Arc<str>>,
    /// Called with a message when a wait takes long. It is here because every code that waits has a `Cancel`, and not
    /// all of it has anything else to report to.
    tell: Option<Tell>,
}

/// A callback that gets a message about what is being waited for.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

impl fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interrupted, limit, doing, tell: _ } = self;
        let mut shown = formatter.debug_struct("Cancel");
        shown.field("interrupted", interrupted).field("limit", limit).field("doing", doing).finish()
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self { interrupted: vec![Arc::default()], limit: None, doing: None, tell: None }
    }
}

#[derive(Clone, Debug)]
struct Limit {
    what: Arc<str>,
    duration: Duration,
    end: Instant,
}

/// Why an operation was stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cancelled {
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
    /// Only this part of the work was stopped: other work failed, or its result was no longer needed.
    #[error("stopped, because other work failed")]
    Stopped,
    /// A time limit ran out.
    #[error("{what} did not finish within {}{}", humantime(*.duration), at(doing.as_deref()))]
    TimedOut {
        /// What the limit was for.
        what: String,
        /// The limit.
        duration: Duration,
        /// What the work was doing, if that is known.
        doing: Option<String>,
    },
}

fn at(doing: Option<&str>) -> String {
    doing.map_or_else(String::new, |doing| format!("; it was at {doing}"))
}

impl Explain for Cancelled {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Interrupted | Self::Stopped => ExitCode::Interrupted,
            Self::TimedOut { .. } => ExitCode::TimedOut,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Interrupted | Self::Stopped => None,
            Self::TimedOut { .. } => Some("give it more time with --timeout".into()),
        }
    }
}

impl Cancel {
    /// A handle that nothing has interrupted yet, without a time limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same handle, which reports long waits to `tell`.
    #[must_use]
    pub fn telling(self, tell: Tell) -> Self {
        Self { tell: Some(tell), ..self }
    }

    /// Reports a wait that may take long.
    pub fn wait_is_long(&self, what: &dyn fmt::Display) {
        if let Some(tell) = &self.tell {
            tell(what.to_string());
        }
    }

    /// Interrupts every clone of this handle.
    pub fn interrupt(&self) {
        if let Some(own) = self.interrupted.last() {
            own.store(true, Ordering::SeqCst);
        }
    }

    /// A handle for a part of the work: it stops when this one stops, and can be interrupted by itself.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut child = self.clone();
        child.interrupted.push(Arc::default());
        child
    }

    /// The same handle with a time limit that starts now, or with the limit it has if that ends sooner.
    #[must_use]
    pub fn within(&self, duration: Duration, what: &str) -> Self {
        let end = Instant::now() + duration;
        let limit = match &self.limit {
            Some(sooner) if sooner.end <= end => sooner.clone(),
            _ => Limit { what: what.into(), duration, end },
        };
        Self { limit: Some(limit), ..self.clone() }
    }

    /// The same handle for a named part of the work: the error of a time limit includes the name.
    #[must_use]
    pub fn doing(&self, what: &str) -> Self {
        Self { doing: Some(what.into()), ..self.clone() }
    }

    /// An error once the work should stop.
    ///
    /// # Errors
    ///
    /// If the work was interrupted, or if its time is up.
    pub fn check(&self) -> Result<(), Cancelled> {
        let mut flags = self.interrupted.iter().map(|flag| flag.load(Ordering::SeqCst));
        if flags.next() == Some(true) {
            return Err(Cancelled::Interrupted);
        }
        if flags.any(|set| set) {
            return Err(Cancelled::Stopped);
        }
        match &self.limit {
            Some(limit) if Instant::now() >= limit.end => {
                let doing = self.doing.as_ref().map(ToString::to_string);
                Err(Cancelled::TimedOut { what: limit.what.to_string(), duration: limit.duration, doing })
            }
            _ => Ok(()),
        }
    }
}

/// `90m`, `1h 30m`: a duration as a person writes it, for messages.
#[must_use]
pub fn humantime(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if text.is_empty() { format!("{}ms", duration.as_millis()) } else { text.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sooner_limit_wins_and_is_named() {
        let outer = Cancel::new().within(Duration::ZERO, "the build");
        let inner = outer.within(Duration::from_secs(60), "linux/arm64");
        assert!(matches!(inner.check(), Err(Cancelled::TimedOut { what, .. }) if what == "the build"));
    }

    #[test]
    fn what_the_work_was_at_is_told() {
        let cancel = Cancel::new().within(Duration::ZERO, "`xbuild pull`").doing("r.example/a:1");
        let error = cancel.child().check().unwrap_err().to_string();
        assert_eq!(error, "`xbuild pull` did not finish within 0ms; it was at r.example/a:1");
    }

    #[test]
    fn an_interrupt_reaches_every_clone() {
        let cancel = Cancel::new();
        let clone = cancel.within(Duration::from_secs(60), "x");
        assert_eq!(clone.check(), Ok(()));
        cancel.interrupt();
        assert_eq!(clone.check(), Err(Cancelled::Interrupted));
    }

    #[test]
    fn a_child_stops_with_its_parent_and_not_the_other_way_round() {
        let parent = Cancel::new();
        let (one, other) = (parent.child(), parent.child());
        one.interrupt();
        assert_eq!((one.check(), other.check()), (Err(Cancelled::Stopped), Ok(())));
        assert_eq!(parent.check(), Ok(()));
        parent.interrupt();
        assert_eq!(other.check(), Err(Cancelled::Interrupted));
    }

    #[test]
    fn durations_read_as_people_write_them() {
        assert_eq!(humantime(Duration::from_secs(5400)), "1h 30m");
        assert_eq!(humantime(Duration::from_millis(250)), "250ms");
    }
}
