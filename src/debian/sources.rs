//! Where packages come from: the configuration's mirrors, else the host's, else Debian's snapshot archive.
//!
//! Of the host's apt configuration only the addresses of Debian's own two archives are taken: which suites and
//! components are used is our business, and who signs them is a matter of `keys`. So a host that runs trixie
//! can serve a bookworm base. Third-party archives, pins, and apt's `mirror:`, `cdrom:` and `file:` methods are
//! deliberately not looked at.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use deb822_fast::Deb822;
use serde::Deserialize;

use crate::sys::fs;

/// One suite of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The archive's address without a slash at its end: `http://mirror.example/debian`.
    pub mirror: String,
    /// The suite by codename: `bookworm`, `bookworm-security`.
    pub suite: String,
    /// Components: `main`.
    pub components: Vec<String>,
    /// Files of `OpenPGP` keys that may sign it beside Debian's own archive keys.
    pub keyrings: Vec<PathBuf>,
}

/// The addresses of Debian's archive and of its security archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// `http://mirror.example/debian` or a mirror of it.
    pub archive: Option<String>,
    /// `http://mirror.example/debian-security` or a mirror of it.
    pub security: Option<String>,
}

/// What to take from where.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// The release's codename: `bookworm`.
    pub release: &'a str,
    /// The suites; empty means the release, its updates and its security updates.
    pub suites: &'a [String],
    /// The components; empty means `main`.
    pub components: &'a [String],
    /// Mirrors of the configuration.
    pub configured: Mirrors,
    /// Mirrors that the host's apt uses.
    pub host: Mirrors,
    /// The configured archive of snapshots; `None` for Debian's own.
    pub snapshot: Option<String>,
    /// Files of `OpenPGP` keys that may sign beside Debian's own.
    pub keyrings: Vec<PathBuf>,
}

/// Why no source could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Something that is no name of a suite or component.
    #[error("`{0}` is not the name of a Debian suite or component")]
    BadName(String),
    /// An address that is not http or https.
    #[error("`{0}` is not an address of a mirror: it begins with neither http:// nor https://")]
    BadAddress(String),
    /// The archive is configured, but where security updates are is not and cannot be told from it.
    #[error(
        "no mirror is configured for {suite}, and `{archive}` does not tell where its security updates are"
    )]
    NoSecurityMirror {
        /// The suite.
        suite: String,
        /// The configured archive.
        archive: String,
    },
    /// No mirror at all, and no snapshot is pinned for the release.
    #[error("no mirror is known for {suite}")]
    NoMirror {
        /// The suite.
        suite: String,
    },
}

impl SourceError {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadName(_) => {
                "suites are named by codename, for example bookworm or bookworm-updates".into()
            }
            Self::BadAddress(_) => "write it like http://mirror.example/debian".into(),
            Self::NoSecurityMirror { suite, .. } => format!(
                "configure the security mirror, or leave it out with `suites = [\"{}\"]`",
                suite.split('-').next().unwrap_or(suite)
            ),
            Self::NoMirror { .. } => "configure a mirror".into(),
        })
    }
}

/// The snapshots that are used where nothing else is known: `snapshot.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshots {
    root: String,
    releases: std::collections::BTreeMap<String, String>,
}

impl Snapshots {
    /// The embedded data. A fault in it is a fault of the build, which a test finds.
    fn embedded() -> Self {
        toml::from_str(include_str!("snapshot.toml"))
            .expect("snapshot.toml is part of the program and tested")
    }

    fn mirrors(&self, release: &str, root: Option<&str>) -> Mirrors {
        let root = root.unwrap_or(&self.root).trim_end_matches('/');
        let dated = |archive: &str| self.releases.get(release).map(|date| format!("{root}/{archive}/{date}"));
        Mirrors { archive: dated("debian"), security: dated("debian-security") }
    }
}

impl Source {
    /// True if the mirror serves the past on purpose, so that an expired release is what was asked for: a
    /// path component is a timestamp such as `20260801T000000Z`, as in Debian's snapshot archive.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.snapshot_date().is_some()
    }

    /// The moment of the snapshot that the mirror serves, if it serves one.
    #[must_use]
    pub fn snapshot_date(&self) -> Option<&str> {
        self.mirror.split('/').find(|part| is_snapshot_date(part))
    }

    /// True if its suite is one of the security archive.
    #[must_use]
    pub fn is_security(&self) -> bool {
        is_security(&self.suite)
    }

    /// The address of a file of the archive.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.mirror)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} {}", self.mirror, self.suite, self.components.join(" "))
    }
}

/// True for the moment of a snapshot: `20260801T000000Z`.
#[must_use]
pub fn is_snapshot_date(text: &str) -> bool {
    let text = text.as_bytes();
    text.len() == 16
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 => *byte == b'T',
            15 => *byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

/// The address of the archive of snapshots: the configured one, else Debian's own.
#[must_use]
pub fn snapshot_root(configured: Option<&str>) -> String {
    let root = configured.map_or_else(|| Snapshots::embedded().root, ToOwned::to_owned);
    root.trim_end_matches('/').to_owned()
}

/// The suites and the components that are taken of a release, where empty lists stand for the default: the release,
/// its updates and its security updates; `main`.
#[must_use]
pub fn suites_of(release: &str, suites: &[String], components: &[String]) -> (Vec<String>, Vec<String>) {
    let default = || ["", "-updates", "-security"].map(|suffix| format!("{release}{suffix}")).to_vec();
    let suites = if suites.is_empty() { default() } else { suites.to_vec() };
    let components = if components.is_empty() { vec!["main".to_owned()] } else { components.to_vec() };
    (suites, components)
}

/// The sources for a release, one a suite, in the order of the suites. Pure.
pub fn select(wanted: &Wanted<'_>) -> Result<Vec<Source>, SourceError> {
    let (suites, components) = suites_of(wanted.release, wanted.suites, wanted.components);
    for name in suites.iter().chain(&components) {
        check_name(name)?;
    }
    let snapshot = Snapshots::embedded().mirrors(wanted.release, wanted.snapshot.as_deref());
    suites
        .iter()
        .map(|suite| {
            let mirror = mirror_of(suite, wanted, &snapshot)?;
            if !is_http(&mirror) {
                return Err(SourceError::BadAddress(mirror));
            }
            Ok(Source {
                mirror: mirror.trim_end_matches('/').to_owned(),
                suite: suite.clone(),
                components: components.clone(),
                keyrings: wanted.keyrings.clone(),
            })
        })
        .collect()
}

/// The mirror of a suite: the configuration's, else the host's, else the snapshot's. The three are not mixed
/// for what the first of them can tell, so that a configured mirror is never bypassed in silence.
fn mirror_of(suite: &str, wanted: &Wanted<'_>, snapshot: &Mirrors) -> Result<String, SourceError> {
    if !is_security(suite) {
        return [&wanted.configured, &wanted.host, snapshot]
            .into_iter()
            .find_map(|mirrors| mirrors.archive.clone())
            .ok_or_else(|| SourceError::NoMirror { suite: suite.to_owned() });
    }
    if let Some(security) = &wanted.configured.security {
        return Ok(security.clone());
    }
    if let Some(archive) = &wanted.configured.archive {
        // Debian's two archives lie side by side on every public mirror network.
        return archive.trim_end_matches('/').strip_suffix("/debian").map_or_else(
            || Err(SourceError::NoSecurityMirror { suite: suite.to_owned(), archive: archive.clone() }),
            |root| Ok(format!("{root}/debian-security")),
        );
    }
    [&wanted.host, snapshot]
        .into_iter()
        .find_map(|mirrors| mirrors.security.clone())
        .ok_or_else(|| SourceError::NoMirror { suite: suite.to_owned() })
}

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

fn is_http(address: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && address.len() > scheme.len()
    })
}

/// A suite or component becomes part of addresses and of paths in the signed release.
fn check_name(name: &str) -> Result<(), SourceError> {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+');
    let whole =
        name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(letter));
    if whole { Ok(()) } else { Err(SourceError::BadName(name.to_owned())) }
}

/// The mirrors of the host's apt, where the host is Debian. `root` is `/` outside of tests. A file that cannot be
/// read or parsed is skipped: it is apt's business, and the signature decides what is trusted.
pub fn host_mirrors(root: &Path) -> io::Result<Mirrors> {
    let Ok(os_release) = fs::read_to_string(root.join("etc/os-release")) else {
        return Ok(Mirrors::default());
    };
    if !is_debian(&os_release) {
        return Ok(Mirrors::default());
    }
    let apt = root.join("etc/apt");
    let mut files = vec![apt.join("sources.list")];
    match fs::read_dir(apt.join("sources.list.d")) {
        Ok(entries) => {
            let mut parts = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
            parts.sort();
            files.extend(parts);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut mirrors = Mirrors::default();
    for file in files {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => parse_list,
            Some("sources") => parse_deb822,
            _ => continue,
        };
        if let Ok(text) = fs::read_to_string(&file) {
            mirrors.take(parse(&text));
        }
    }
    Ok(mirrors)
}

/// True if os-release says `ID=debian`: derivatives have archives and keys of their own.
fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ID="))
        .any(|value| value.trim_matches(['"', '\'']) == "debian")
}

impl Mirrors {
    /// Keeps what is known and adds what is not: apt's first source wins.
    fn take(&mut self, other: Self) {
        self.archive = self.archive.take().or(other.archive);
        self.security = self.security.take().or(other.security);
    }

    /// Takes one of apt's sources if it is one of Debian's two archives: components of Debian, and the address
    /// ends as Debian's mirrors do. The keyring that a source names may only be Debian's own.
    fn consider(
        &mut self,
        addresses: &[&str],
        suites: &[&str],
        components: &[&str],
        signed_by: Option<&str>,
    ) {
        let ours = signed_by.is_none_or(|keyring| {
            keyring
                .split_whitespace()
                .all(|file| file.rsplit('/').next().is_some_and(|name| name.starts_with("debian-archive-")))
        });
        if !ours || !components.contains(&"main") {
            return;
        }
        for address in
            addresses.iter().map(|address| address.trim_end_matches('/')).filter(|address| is_http(address))
        {
            let last = address.rsplit('/').next().unwrap_or_default();
            let security = suites.iter().any(|suite| is_security(suite) || suite.contains("/updates"));
            let found = match (security, last) {
                (true, "debian-security" | "security") => {
                    Self { security: Some(address.to_owned()), archive: None }
                }
                // `security.debian.org` has its archive at the root, too.
                (true, "security.debian.org") => Self { security: Some(address.to_owned()), archive: None },
                (false, "debian") => Self { archive: Some(address.to_owned()), security: None },
                _ => continue,
            };
            self.take(found);
        }
    }
}

/// Mirrors of a `.sources` file (sources.list(5), "deb822-style format").
#[must_use]
pub fn parse_deb822(text: &str) -> Mirrors {
    let mut mirrors = Mirrors::default();
    let Ok(document) = text.parse::<Deb822>() else { return mirrors };
    for stanza in document.iter() {
        let words =
            |field: &str| -> Vec<&str> { stanza.get(field).unwrap_or_default().split_whitespace().collect() };
        let enabled = stanza
            .get("Enabled")
            .is_none_or(|value| !matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "0"));
        if enabled && words("Types").contains(&"deb") {
            let signed_by = stanza.get("Signed-By");
            mirrors.consider(&words("URIs"), &words("Suites"), &words("Components"), signed_by);
        }
    }
    mirrors
}

/// Mirrors of a `.list` file (sources.list(5), "one-line-style format").
#[must_use]
pub fn parse_list(text: &str) -> Mirrors {
    let mut mirrors = Mirrors::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '['])) else {
            continue;
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some(parts) => parts,
                None => continue,
            },
            None => ("", rest),
        };
        let signed_by = options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(|files| files.replace(',', " "));
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [address, suite, components @ ..] = words.as_slice() {
            mirrors.consider(&[address], &[suite], components, signed_by.as_deref());
        }
    }
    mirrors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(archive: Option<&str>, security: Option<&str>) -> Mirrors {
        Mirrors { archive: archive.map(Into::into), security: security.map(Into::into) }
    }

    #[test]
    fn reads_deb822_sources() {
        let text = "Types: deb deb-src\nURIs: http://mirror.example/debian/\nSuites: trixie trixie-updates\n\
                    Components: main contrib\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                    # a comment\nTypes: deb\nURIs: https://mirror.example/debian-security\n\
                    Suites: trixie-security\nComponents: main\n";
        assert_eq!(
            parse_deb822(text),
            mirrors(Some("http://mirror.example/debian"), Some("https://mirror.example/debian-security"))
        );
    }

    #[test]
    fn passes_over_what_is_not_debian() {
        for text in [
            "Types: deb\nURIs: https://download.docker.com/linux/debian\nSuites: bookworm\nComponents: stable\n",
            "Types: deb\nURIs: https://a.example/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n",
            "Types: deb-src\nURIs: https://a.example/debian\nSuites: bookworm\nComponents: main\n",
            "Types: deb\nURIs: file:/srv/debian\nSuites: bookworm\nComponents: main\n",
            "Types: deb\nURIs: https://a.example/debian\nSuites: x\nComponents: main\nSigned-By: /etc/apt/keyrings/a.asc\n",
            "Types: deb\nURIs: https://a.example/debian\nSuites: x\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n",
        ] {
            assert_eq!(parse_deb822(text), Mirrors::default(), "{text}");
        }
    }

    #[test]
    fn reads_one_line_sources() {
        let text = "# deb http://commented.example/debian bookworm main\n\
                    deb-src http://a.example/debian bookworm main\n\
                    deb cdrom:[Debian]/ bookworm main\n\
                    deb [signed-by=/etc/apt/keyrings/x.gpg] https://x.example/debian bookworm main\n\
                    deb [ arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg ] http://b.example/debian bookworm main # rest\n\
                    deb\thttp://c.example/debian bookworm main\n\
                    deb http://security.debian.org/debian-security/ bookworm-security main\n";
        assert_eq!(
            parse_list(text),
            mirrors(Some("http://b.example/debian"), Some("http://security.debian.org/debian-security"))
        );
    }

    #[test]
    fn reads_the_host_only_where_it_is_debian() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir_all(etc.join("apt/sources.list.d")).unwrap();
        let write =
            |name: &str, text: &str| fs::write_atomic(&etc.join(name), text.as_bytes(), 0o644).unwrap();
        write("apt/sources.list", "deb http://one.example/debian bookworm main\n");
        write(
            "apt/sources.list.d/two.sources",
            "Types: deb\nURIs: http://two.example/debian-security\nSuites: bookworm-security\nComponents: main\n",
        );
        write("apt/sources.list.d/off.sources.disabled", "deb http://off.example/debian bookworm main\n");
        assert_eq!(host_mirrors(root.path()).unwrap(), Mirrors::default());
        write("os-release", "ID=ubuntu\nID_LIKE=debian\n");
        assert_eq!(host_mirrors(root.path()).unwrap(), Mirrors::default());
        write("os-release", "NAME=x\nID=\"debian\"\n");
        assert_eq!(
            host_mirrors(root.path()).unwrap(),
            mirrors(Some("http://one.example/debian"), Some("http://two.example/debian-security"))
        );
    }

    #[test]
    fn takes_three_suites_by_default() {
        let configured = mirrors(Some("http://m.example/debian/"), None);
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
            configured: mirrors(Some("http://m.example/mirror"), None),
            host: mirrors(Some("http://h.example/debian"), Some("http://h.example/debian-security")),
            ..Wanted::default()
        };
        let error = select(&wanted).unwrap_err();
        assert!(matches!(error, SourceError::NoSecurityMirror { .. }));
        assert!(error.hint().unwrap().contains("suites = [\"bookworm\"]"));
        let suites = ["bookworm".to_owned()];
        let sources = select(&Wanted { suites: &suites, ..wanted }).unwrap();
        assert_eq!(sources[0].mirror, "http://m.example/mirror");
    }

    #[test]
    fn without_any_mirror_a_pinned_snapshot_serves() {
        for release in ["bookworm", "trixie"] {
            let sources = select(&Wanted { release, ..Wanted::default() }).unwrap();
            assert_eq!(sources.len(), 3);
            assert!(sources.iter().all(Source::is_snapshot), "{sources:?}");
        }
        assert!(matches!(
            select(&Wanted { release: "sid", ..Wanted::default() }),
            Err(SourceError::NoMirror { .. })
        ));
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
        let configured = mirrors(Some("ftp://m.example/debian"), None);
        assert!(matches!(
            select(&Wanted { release: "bookworm", configured, ..Wanted::default() }),
            Err(SourceError::BadAddress(_))
        ));
    }
}
