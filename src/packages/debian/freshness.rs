//! Checks whether an archive is out of date. Pure.
//!
//! A stable release's own suite is signed again only with each point release, some months apart, but its updates are
//! signed every day. So an archive is as current as the newest of its suites.

use std::fmt;

use super::sources::{Mirror, is_security};
use crate::event::{MirrorOrigin, ReleaseFacts};

/// An archive is out of date if none of its suites has been signed for this many days.
const ARCHIVE: i64 = 30;
/// The same for security updates.
const SECURITY: i64 = 8;
const DAY: i64 = 24 * 60 * 60;

/// A suite, its mirror, and the date of its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// The suite.
    pub suite: String,
    /// The mirror that has it.
    pub mirror: Mirror,
    /// The release's date, in seconds since the epoch.
    pub date: Option<i64>,
}

impl Dated {
    /// The facts that are reported about it.
    #[must_use]
    pub fn facts(&self) -> ReleaseFacts {
        ReleaseFacts {
            suite: self.suite.clone(),
            date: self.date.map(day),
            mirror: self.mirror.address.clone(),
            mirror_from: self.mirror.from,
        }
    }
}

/// An archive that is out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// Its suites that are used.
    pub suites: Vec<String>,
    /// The mirror of the newest of them.
    pub mirror: Mirror,
    /// The newest date, in seconds since the epoch.
    pub date: i64,
    /// Its age in days.
    pub days: i64,
}

/// The archives among these that are out of date at `now` (seconds since the epoch).
#[must_use]
pub(crate) fn stale(releases: &[Dated], now: i64) -> Vec<Stale> {
    let of = |security: bool, limit: i64| {
        let suites: Vec<&Dated> =
            releases.iter().filter(|release| is_security(&release.suite) == security).collect();
        let newest = suites.iter().max_by_key(|release| release.date)?;
        let days = now.saturating_sub(newest.date?) / DAY;
        (days > limit).then(|| Stale {
            suites: suites.iter().map(|release| release.suite.clone()).collect(),
            mirror: newest.mirror.clone(),
            date: newest.date.unwrap_or_default(),
            days,
        })
    };
    [of(false, ARCHIVE), of(true, SECURITY)].into_iter().flatten().collect()
}

/// `2026-07-11T10:16:37Z`, from seconds since the epoch.
#[must_use]
pub(crate) fn moment(seconds: Option<i64>) -> String {
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "no date".into(), |time| time.to_string())
}

/// `2026-07-11`, from seconds since the epoch.
#[must_use]
pub(crate) fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.strftime("%Y-%m-%d").to_string())
}

impl fmt::Display for Stale {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { suites, mirror, date, days } = self;
        write!(
            formatter,
            "Debian's {} from `{}` ({}) {} as of {}, {days} days ago: newer packages are not in it",
            suites.join(", "),
            mirror.address,
            mirror.from,
            if suites.len() == 1 { "is" } else { "are" },
            day(*date),
        )?;
        formatter.write_str(match mirror.from {
            MirrorOrigin::Snapshot => "; remove `snapshot`, or request a later date",
            _ if suites.iter().all(|suite| !suite.contains('-')) => {
                "; packages since its last point release are in its updates and security suites, which `suites` leaves \
                 out"
            }
            _ => "; the mirror may have stopped following Debian, use another one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn dated(suite: &str, days: i64) -> Dated {
        let mirror = Mirror { address: "http://m.example/debian".into(), from: MirrorOrigin::Host };
        Dated { suite: suite.into(), mirror, date: Some(NOW - days * DAY) }
    }

    #[test]
    fn an_archive_is_as_new_as_its_newest_suite() {
        let found =
            |releases: &[Dated]| stale(releases, NOW).iter().map(ToString::to_string).collect::<Vec<_>>();
        let none: [&str; 0] = [];
        // A current release between two point releases.
        assert_eq!(found(&[dated("x", 140), dated("x-updates", 1), dated("x-security", 1)]), none);
        assert_eq!(found(&[dated("x", 30), dated("x-security", 8)]), none);
        // A clock that is slow, and a release without a date.
        assert_eq!(found(&[dated("x", -3), Dated { date: None, ..dated("x-security", 0) }]), none);
        let old = found(&[dated("x", 140), dated("x-updates", 31), dated("x-security", 9)]);
        assert!(old[0].starts_with("Debian's x, x-updates from `http://m.example/debian` (as this machine's apt has it) are as of 2026-12-15, 31 days ago"), "{old:?}");
        assert!(old[1].contains("x-security") && old[1].contains("9 days ago"), "{old:?}");
        assert!(found(&[dated("x", 31)])[0].contains("which `suites` leaves out"));
    }
}
