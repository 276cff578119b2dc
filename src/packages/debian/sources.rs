//! Where packages come from: the configured mirrors, otherwise this machine's own, otherwise Debian's official ones;
//! and the snapshot archive if a date is requested. Pure.
//!
//! A configured mirror is never bypassed. The others are tried in turn, as nobody has chosen them: a private mirror of
//! the machine may lack an architecture or a release that the machine itself does not need.

use std::fmt;
use std::path::PathBuf;

use super::host::{Address, Host, HostMirror};
use super::official::Official;
use crate::event::MirrorOrigin;
use crate::sys::http::Url;

/// One suite of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The archive's URL without a trailing slash: `http://mirror.example/debian`.
    pub mirror: String,
    /// Where the mirror is configured.
    pub from: MirrorOrigin,
    /// The mirrors to ask if it does not have something, in this order.
    pub others: Vec<Mirror>,
    /// The suite by codename: `bookworm`, `bookworm-security`.
    pub suite: String,
    /// Components: `main`.
    pub components: Vec<String>,
    /// Files of `OpenPGP` keys that may sign it besides Debian's own archive keys: none unless the user has chosen the
    /// mirror.
    pub keyrings: Vec<PathBuf>,
}

/// A mirror's URL, and where it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The URL without a trailing slash.
    pub address: String,
    /// Where it is configured.
    pub from: MirrorOrigin,
}

/// The URLs of Debian's archive and of its security archive, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// `http://mirror.example/debian` or a mirror of it.
    pub archive: Vec<String>,
    /// `http://mirror.example/debian-security` or a mirror of it.
    pub security: Vec<String>,
}

/// The mirrors that the user has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configured {
    /// `http://mirror.example/debian` or a mirror of it.
    pub archive: Option<String>,
    /// `http://mirror.example/debian-security` or a mirror of it.
    pub security: Option<String>,
    /// The archive of snapshots; `None` for Debian's own.
    pub snapshot: Option<String>,
}

/// What to get from which source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The release's codename: `bookworm`.
    pub release: &'a str,
    /// The suites; empty means the release, its updates and its security updates.
    pub suites: &'a [String],
    /// The components; empty means `main`.
    pub components: &'a [String],
    /// The date at which everything is taken, from the snapshot archive: `20260801T000000Z`.
    pub moment: Option<&'a str>,
    /// The configured mirrors.
    pub configured: Configured,
    /// Mirrors that the host's apt uses.
    pub host: Host,
    /// Files of `OpenPGP` keys that may sign the user's mirrors, besides Debian's own.
    pub keyrings: Vec<PathBuf>,
}

/// Why the sources cannot be determined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Something that is not the name of a suite or component.
    #[error("`{0}` is not the name of a Debian suite or component")]
    BadName(String),
    /// A URL that is neither http nor https.
    #[error("`{0}` is not the URL of a mirror: it begins with neither http:// nor https://")]
    BadAddress(String),
    /// The archive is configured, but its security updates are not and cannot be derived from it.
    #[error(
        "no mirror is configured for {suite}, and the URL of security updates cannot be derived from `{archive}`"
    )]
    NoSecurityMirror {
        /// The suite.
        suite: String,
        /// The configured archive.
        archive: String,
    },
}

impl SourceError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::BadName(_) => {
                "suites are named by codename, for example bookworm or bookworm-updates".into()
            }
            Self::BadAddress(_) => "write it like http://mirror.example/debian".into(),
            Self::NoSecurityMirror { suite, .. } => format!(
                "configure the security mirror, or leave it out with `suites = [\"{}\"]` under [debian]",
                suite.split('-').next().unwrap_or(suite)
            ),
        }
    }
}

impl Source {
    /// True if the mirror serves the past on purpose, so that an expired release is expected: a path component is a
    /// timestamp such as `20260801T000000Z`, as in Debian's snapshot archive.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.snapshot_date().is_some()
    }

    /// The date of the snapshot that the mirror serves, if it serves one.
    #[must_use]
    pub fn snapshot_date(&self) -> Option<&str> {
        self.mirror.split('/').find(|part| is_snapshot_date(part))
    }

    /// True if its suite belongs to the security archive.
    #[must_use]
    pub fn is_security(&self) -> bool {
        is_security(&self.suite)
    }

    /// The URL of a file of the archive.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.mirror)
    }

    /// The mirror in use, and then the others.
    pub fn mirrors(&self) -> impl Iterator<Item = Mirror> + '_ {
        std::iter::once(Mirror { address: self.mirror.clone(), from: self.from })
            .chain(self.others.iter().cloned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.mirror, self.suite, self.components.join(" "))
    }
}

/// True for the date of a snapshot: `20260801T000000Z`.
#[must_use]
pub(crate) fn is_snapshot_date(text: &str) -> bool {
    let text = text.as_bytes();
    text.len() == 16
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// The URL of the snapshot archive: the configured one, or else Debian's own.
#[must_use]
pub(crate) fn snapshot_root(configured: Option<&str>) -> String {
    configured.unwrap_or(&Official::get().snapshot).trim_end_matches('/').to_owned()
}

/// True for a suite of a release: the release itself, or one that is named after it.
#[must_use]
pub(crate) fn is_of_release(suite: &str, release: &str) -> bool {
    suite.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The suites and components to use of a release. Empty lists stand for the default: the release, its updates and its
/// security updates; `main`.
#[must_use]
pub(crate) fn suites_of(
    release: &str,
    suites: &[String],
    components: &[String],
) -> (Vec<String>, Vec<String>) {
    let default = || ["", "-updates", "-security"].map(|suffix| format!("{release}{suffix}")).to_vec();
    let suites = if suites.is_empty() { default() } else { suites.to_vec() };
    let components = if components.is_empty() { vec!["main".to_owned()] } else { components.to_vec() };
    (suites, components)
}

/// The sources for a release, one per suite, in the order of the suites.
pub(crate) fn select(wanted: &Wanted<'_>) -> Result<Vec<Source>, SourceError> {
    let (suites, components) = suites_of(wanted.release, wanted.suites, wanted.components);
    for name in suites.iter().chain(&components) {
        check_name(name)?;
    }
    suites
        .iter()
        .map(|suite| {
            let mut mirrors = mirrors_of(suite, wanted)?.into_iter();
            // There is always one.
            let first = mirrors.next().unwrap_or_else(|| official(suite).remove(0));
            let keyrings = if takes_users_keys(&first) { wanted.keyrings.clone() } else { Vec::new() };
            Ok(Source {
                mirror: first.address,
                from: first.from,
                others: mirrors.collect(),
                suite: suite.clone(),
                components: components.clone(),
                keyrings,
            })
        })
        .collect()
}

/// True if the user's own keys apply to a mirror: it is one that the user has configured. On Debian's own mirrors, and
/// on others of the machine's, only what Debian has signed is valid.
fn takes_users_keys(mirror: &Mirror) -> bool {
    let official = Official::get();
    let mut debians =
        official.archive.iter().chain(&official.security).chain([&official.snapshot, &official.old]);
    matches!(mirror.from, MirrorOrigin::Configured | MirrorOrigin::Snapshot)
        && !debians.any(|address| host(address) == host(&mirror.address))
}

/// The host in a URL, without its port.
fn host(address: &str) -> Option<String> {
    Url::parse(address).map(|url| url.host().to_owned())
}

/// The mirrors of a suite in the order in which they are tried; never empty.
fn mirrors_of(suite: &str, wanted: &Wanted<'_>) -> Result<Vec<Mirror>, SourceError> {
    if let Some(moment) = wanted.moment {
        let root = snapshot_root(wanted.configured.snapshot.as_deref());
        let archive = if is_security(suite) { "debian-security" } else { "debian" };
        return only(&format!("{root}/{archive}/{moment}"), MirrorOrigin::Snapshot);
    }
    if let Some(configured) = configured_for(suite, &wanted.configured)? {
        return only(&configured, MirrorOrigin::Configured);
    }
    let listed = if is_security(suite) { &wanted.host.security } else { &wanted.host.archive };
    // A mirror from which the machine gets this suite comes before those for other suites.
    let (same, others): (Vec<&HostMirror>, Vec<&HostMirror>) =
        listed.iter().partition(|mirror| mirror.suites.iter().any(|known| known == suite));
    let of_host = same.into_iter().chain(others).filter_map(|mirror| match &mirror.address {
        Address::Mirror(address) => Some(Mirror { address: address.clone(), from: MirrorOrigin::Host }),
        Address::List(_) => None,
    });
    let mut mirrors: Vec<Mirror> = Vec::new();
    for mirror in of_host.chain(official(suite)) {
        if !mirrors.iter().any(|known| known.address == mirror.address) {
            mirrors.push(mirror);
        }
    }
    Ok(mirrors)
}

fn only(address: &str, from: MirrorOrigin) -> Result<Vec<Mirror>, SourceError> {
    if !is_http(address) {
        return Err(SourceError::BadAddress(address.to_owned()));
    }
    Ok(vec![Mirror { address: address.trim_end_matches('/').to_owned(), from }])
}

/// Debian's own mirrors of a suite.
fn official(suite: &str) -> Vec<Mirror> {
    let official = Official::get();
    let addresses = if is_security(suite) { &official.security } else { &official.archive };
    addresses
        .iter()
        .map(|address| Mirror { address: address.clone(), from: MirrorOrigin::Official })
        .collect()
}

/// The configured mirror of a suite.
fn configured_for(suite: &str, configured: &Configured) -> Result<Option<String>, SourceError> {
    if !is_security(suite) {
        return Ok(configured.archive.clone());
    }
    if let Some(security) = &configured.security {
        return Ok(Some(security.clone()));
    }
    let Some(archive) = &configured.archive else { return Ok(None) };
    // Debian's two archives are next to each other on every public mirror network.
    match archive.trim_end_matches('/').strip_suffix("/debian") {
        Some(root) => Ok(Some(format!("{root}/debian-security"))),
        None => Err(SourceError::NoSecurityMirror { suite: suite.to_owned(), archive: archive.clone() }),
    }
}

/// True for a suite of the security archive.
pub(super) fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

pub(super) fn is_http(address: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && address.len() > scheme.len()
    })
}

/// A suite or component becomes part of URLs and of paths in the signed release.
fn check_name(name: &str) -> Result<(), SourceError> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+');
    let whole =
        name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(letter));
    if whole { Ok(()) } else { Err(SourceError::BadName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(archive: &[(&str, &[&str])], security: &[&str]) -> Host {
        let mirror = |address: &str, suites: &[&str]| HostMirror {
            address: Address::Mirror(address.into()),
            suites: suites.iter().map(|suite| (*suite).to_owned()).collect(),
        };
        Host {
            archive: archive.iter().map(|(address, suites)| mirror(address, suites)).collect(),
            security: security.iter().map(|address| mirror(address, &[])).collect(),
            passed: Vec::new(),
        }
    }

    fn configured(archive: &str) -> Configured {
        Configured { archive: Some(archive.into()), ..Configured::default() }
    }

    fn addresses(source: &Source) -> Vec<String> {
        source.mirrors().map(|mirror| mirror.address).collect()
    }

    /// Which of the suites may be signed by the user's key.
    #[test]
    fn the_users_keys_count_for_the_users_mirrors() {
        let takes = |configured: Configured, host: Host, moment: Option<&str>| -> Vec<bool> {
            let keyrings = vec![PathBuf::from("own.asc")];
            let wanted =
                Wanted { release: "bookworm", configured, host, keyrings, moment, ..Wanted::default() };
            select(&wanted).unwrap().iter().map(|source| !source.keyrings.is_empty()).collect()
        };
        let none = || Host::default();
        assert_eq!(takes(configured("http://m.example/debian"), none(), None), [true, true, true]);
        // Debian's own mirrors are signed by Debian, whoever names them.
        let debians = &Official::get().archive[0];
        let written_otherwise = debians.to_ascii_uppercase().replace("HTTP://", "https://") + "/";
        for own in [debians, &written_otherwise] {
            let security = Some("http://m.example/debian-security".into());
            let both = Configured { security, ..configured(own) };
            assert_eq!(takes(both, none(), None), [false, false, true], "{own}");
        }
        assert_eq!(takes(Configured::default(), none(), None), [false; 3]);
        let machines = host(&[("http://machine.example/debian", &["bookworm"])], &[]);
        assert_eq!(takes(Configured::default(), machines, None), [false; 3]);
        let moment = Some("20260801T000000Z");
        assert_eq!(takes(Configured::default(), none(), moment), [false; 3]);
        let snapshot = Some("http://snapshots.example".into());
        assert_eq!(takes(Configured { snapshot, ..Configured::default() }, none(), moment), [true; 3]);
    }

    #[test]
    fn takes_three_suites_by_default() {
        let configured = configured("http://m.example/debian/");
        let sources = select(&Wanted { release: "bookworm", configured, ..Wanted::default() }).unwrap();
        let lines: Vec<String> = sources.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "http://m.example/debian bookworm main",
                "http://m.example/debian bookworm-updates main",
                "http://m.example/debian-security bookworm-security main",
            ]
        );
    }

    #[test]
    fn a_configured_mirror_is_never_bypassed() {
        let wanted = Wanted {
            release: "bookworm",
            configured: configured("http://m.example/mirror"),
            host: host(&[("http://h.example/debian", &["bookworm"])], &["http://h.example/debian-security"]),
            ..Wanted::default()
        };
        let error = select(&wanted).unwrap_err();
        assert!(matches!(error, SourceError::NoSecurityMirror { .. }));
        assert!(error.hint().contains("`suites = [\"bookworm\"]` under [debian]"));
        let suites = ["bookworm".to_owned()];
        let sources = select(&Wanted { suites: &suites, ..wanted }).unwrap();
        assert_eq!(addresses(&sources[0]), ["http://m.example/mirror"]);
        assert_eq!(sources[0].from, MirrorOrigin::Configured);
    }

    #[test]
    fn without_a_lock_what_is_current_is_built() {
        let official = Official::get();
        let expected = [&official.archive, &official.archive, &official.security];
        for release in ["bookworm", "trixie", "sid"] {
            let sources = select(&Wanted { release, ..Wanted::default() }).unwrap();
            for (source, expected) in sources.iter().zip(expected) {
                assert_eq!(addresses(source), *expected);
                assert!(source.from == MirrorOrigin::Official && !source.is_snapshot());
            }
        }
    }

    #[test]
    fn behind_the_machines_own_mirrors_are_debians() {
        let host = host(
            &[
                ("http://old.example/debian", &["bullseye"]),
                ("http://own.example/debian", &["bookworm", "bookworm-updates"]),
                (Official::get().archive[0].as_str(), &["sid"]),
            ],
            &[],
        );
        let sources = select(&Wanted { release: "bookworm", host, ..Wanted::default() }).unwrap();
        let expected: Vec<String> = ["http://own.example/debian", "http://old.example/debian"]
            .iter()
            .map(|address| (*address).to_owned())
            .chain(Official::get().archive.clone())
            .collect();
        assert_eq!(addresses(&sources[0]), expected);
        let origins: Vec<MirrorOrigin> = sources[0].mirrors().map(|mirror| mirror.from).collect();
        assert_eq!(origins[..3], [MirrorOrigin::Host; 3]);
        assert_eq!(origins[3], MirrorOrigin::Official);
        // If it has no security updates, Debian's are used.
        assert_eq!(addresses(&sources[2]), Official::get().security);
    }

    #[test]
    fn a_snapshot_is_taken_where_it_is_asked_for() {
        let wanted = Wanted {
            release: "bookworm",
            moment: Some("20260801T000000Z"),
            configured: Configured {
                snapshot: Some("http://s.example/archive/".into()),
                ..configured("http://m.example/debian")
            },
            ..Wanted::default()
        };
        let sources = select(&wanted).unwrap();
        assert!(sources.iter().all(|source| source.is_snapshot() && source.others.is_empty()));
        assert_eq!(sources[0].mirror, "http://s.example/archive/debian/20260801T000000Z");
        assert_eq!(sources[2].mirror, "http://s.example/archive/debian-security/20260801T000000Z");
        let sources = select(&Wanted { configured: Configured::default(), ..wanted }).unwrap();
        assert!(sources[0].mirror.starts_with(&Official::get().snapshot));
    }

    #[test]
    fn names_cannot_lead_elsewhere() {
        for name in ["", "..", "a/../b", "/a", "a b", "a?b"] {
            let suites = [name.to_owned()];
            assert!(matches!(
                select(&Wanted { release: "bookworm", suites: &suites, ..Wanted::default() }),
                Err(SourceError::BadName(_))
            ));
        }
        let configured = configured("ftp://m.example/debian");
        assert!(matches!(
            select(&Wanted { release: "bookworm", configured, ..Wanted::default() }),
            Err(SourceError::BadAddress(_))
        ));
    }
}
