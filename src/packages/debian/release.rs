//! A suite's signed release: its identity, how long it is valid, and the digests of its package indexes.
//!
//! Pure. Only SHA-256 is read; the MD5 and SHA-1 lists of older releases are deliberately ignored.
//! The format is Debian's repository format, "Release files" (wiki.debian.org/DebianRepository/Format).

use std::collections::BTreeMap;

use deb822_fast::Deb822;

use super::error::{Error, SignatureFault};
use super::keys::{Keyring, Verified};
use super::sources::Source;

/// The verified release of one suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `Origin`: `Debian`.
    pub origin: String,
    /// `Label`: `Debian`, `Debian-Security`.
    pub label: String,
    /// `Suite`: `oldstable`.
    pub suite: String,
    /// `Codename`: `bookworm`.
    pub codename: String,
    /// `Date`, in seconds since the epoch.
    pub date: Option<i64>,
    /// `Valid-Until`, as written and in seconds since the epoch.
    pub valid_until: Option<(String, i64)>,
    /// `Architectures` without `all`, sorted.
    pub architectures: Vec<String>,
    /// `Components`, without the prefix that some security archives have.
    pub components: Vec<String>,
    /// True if indexes are also served under their digest.
    pub by_hash: bool,
    /// True if architecture-independent packages have an index of their own besides each architecture's.
    pub separate_all: bool,
    /// Fingerprints of the trusted keys that signed it.
    pub signers: Vec<String>,
    /// The files of the suite by their path in it.
    files: BTreeMap<String, File>,
}

/// A file that is listed in the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Its size in bytes.
    pub size: u64,
}

impl Release {
    /// Verifies an `InRelease` document at `now` (seconds since the epoch) and reads it. A snapshot's release may have
    /// expired. If `lenient` is set, as it is offline, so may that of any other source.
    pub fn verify(
        document: &[u8],
        keyring: &Keyring,
        source: &Source,
        now: i64,
        lenient: bool,
    ) -> Result<Self, Error> {
        let (suite, mirror) = (&source.suite, &source.mirror);
        let signature = |fault| Error::Signature { suite: suite.clone(), mirror: mirror.clone(), fault };
        let document = std::str::from_utf8(document)
            .map_err(|error| signature(SignatureFault::NotSigned(error.to_string())))?;
        let verified = keyring.verify(document, now).map_err(signature)?;
        let release = Self::parse(&verified).map_err(|reason| Error::BadRelease {
            suite: suite.clone(),
            mirror: mirror.clone(),
            reason,
        })?;
        if release.codename != *suite && release.suite != *suite {
            let mut found = vec![release.codename, release.suite];
            found.retain(|name| !name.is_empty());
            found.dedup();
            return Err(Error::WrongSuite { suite: suite.clone(), mirror: mirror.clone(), found });
        }
        match &release.valid_until {
            Some((until, seconds)) if *seconds < now && !lenient && !source.is_snapshot() => {
                Err(Error::ReleaseExpired {
                    suite: suite.clone(),
                    mirror: mirror.clone(),
                    until: until.clone(),
                })
            }
            _ => Ok(release),
        }
    }

    fn parse(verified: &Verified) -> Result<Self, String> {
        let document: Deb822 =
            verified.text.parse().map_err(|error: deb822_fast::Error| error.to_string())?;
        let [fields] = document.iter().collect::<Vec<_>>()[..] else {
            return Err("it is not one paragraph".into());
        };
        let text = |name: &str| fields.get(name).unwrap_or_default().trim().to_owned();
        let words = |name: &str| -> Vec<String> { text(name).split_whitespace().map(Into::into).collect() };
        let time = |name: &str| match text(name) {
            written if written.is_empty() => Ok(None),
            written => match seconds_of(&written) {
                Some(seconds) => Ok(Some((written, seconds))),
                None => Err(format!("its {name} `{written}` is not a date")),
            },
        };
        let mut architectures = words("Architectures");
        let lists_all = architectures.iter().any(|name| name == "all");
        architectures.retain(|name| name != "all");
        architectures.sort();
        let components = words("Components")
            .iter()
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect();
        let files = text("SHA256")
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(parse_file)
            .collect::<Result<BTreeMap<_, _>, _>>()?;
        if files.is_empty() {
            return Err("it has no SHA-256 digests".into());
        }
        Ok(Self {
            origin: text("Origin"),
            label: text("Label"),
            suite: text("Suite"),
            codename: text("Codename"),
            date: time("Date")?.map(|(_, seconds)| seconds),
            valid_until: time("Valid-Until")?,
            architectures,
            components,
            by_hash: text("Acquire-By-Hash").eq_ignore_ascii_case("yes"),
            separate_all: lists_all && text("No-Support-for-Architecture-all") != "Packages",
            signers: verified.signers.clone(),
            files,
        })
    }

    /// The release's entry for a path in the suite.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<File> {
        self.files.get(path).copied()
    }
}

/// ` <sha256> <size> <path>`.
fn parse_file(line: &str) -> Result<(String, File), String> {
    let mut words = line.split_whitespace();
    let parsed = (|| {
        let mut sha256 = [0; 32];
        hex::decode_to_slice(words.next()?, &mut sha256).ok()?;
        let size = words.next()?.parse().ok()?;
        let path = words.next()?.to_owned();
        words.next().is_none().then_some((path, File { sha256, size }))
    })();
    parsed.ok_or_else(|| format!("`{}` is not a digest, a size and a path", line.trim()))
}

/// Parses `Sat, 11 Jul 2026 10:16:37 UTC`, Debian's date format: RFC 5322 except for the zone's name.
fn seconds_of(text: &str) -> Option<i64> {
    let numeric =
        text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")).map(|rest| format!("{rest}+0000"));
    let parsed = jiff::fmt::rfc2822::parse(numeric.as_deref().unwrap_or(text)).ok()?;
    Some(parsed.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Signer;
    use super::*;
    use crate::error::{ExitCode, Explain};

    const TEXT: &str = "Origin: Debian\nSuite: oldstable\nCodename: bookworm\n\
        Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\n\
        Architectures: all arm64 amd64\nComponents: updates/main contrib\n\
        SHA256:\n 0000000000000000000000000000000000000000000000000000000000000001 12 main/binary-amd64/Packages.xz\n";
    const IN_TIME: i64 = 1_783_800_000;

    fn source(mirror: &str, suite: &str) -> Source {
        Source {
            mirror: mirror.into(),
            from: crate::event::MirrorOrigin::Configured,
            others: Vec::new(),
            suite: suite.into(),
            components: vec!["main".into()],
            keyrings: Vec::new(),
        }
    }

    fn verify(text: &str, mirror: &str, suite: &str, now: i64) -> Result<Release, Error> {
        // The key is older than the text, as Debian's are.
        let signer = Signer::at(IN_TIME - 1_000_000);
        let document = signer.sign(text);
        Release::verify(document.as_bytes(), &signer.keyring(), &source(mirror, suite), now, false)
    }

    #[test]
    fn reads_what_is_signed() {
        let release = verify(TEXT, "http://m.example/debian", "bookworm", IN_TIME).unwrap();
        assert_eq!(release.architectures, ["amd64", "arm64"]);
        assert_eq!(release.components, ["main", "contrib"]);
        assert_eq!(release.date, Some(1_783_764_997));
        assert!(release.by_hash && release.separate_all);
        let file = release.file("main/binary-amd64/Packages.xz").unwrap();
        assert_eq!((file.sha256[31], file.size), (1, 12));
    }

    #[test]
    fn a_suite_answers_to_its_codename_and_its_alias_only() {
        assert!(verify(TEXT, "http://m.example", "oldstable", IN_TIME).is_ok());
        let error = verify(TEXT, "http://m.example", "trixie", IN_TIME).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::OutOfStep);
        assert_eq!(error.to_string(), "http://m.example serves bookworm or oldstable instead of trixie");
    }

    #[test]
    fn an_expired_release_is_refused_except_on_a_snapshot() {
        let late = IN_TIME + 30 * 24 * 3600;
        let error = verify(TEXT, "http://m.example/debian", "bookworm", late).unwrap_err();
        assert!(matches!(error, Error::ReleaseExpired { .. }), "{error}");
        assert!(verify(TEXT, "http://m.example/debian/20260711T000000Z", "bookworm", late).is_ok());
    }

    #[test]
    fn a_release_without_digests_is_of_no_use() {
        let text = TEXT.split("SHA256").next().unwrap();
        let error = verify(text, "http://m.example", "bookworm", IN_TIME).unwrap_err();
        assert!(matches!(error, Error::BadRelease { .. }), "{error}");
        let error = verify(&format!("{TEXT} zz 1 x\n"), "http://m.example", "bookworm", IN_TIME).unwrap_err();
        assert!(error.to_string().contains("`zz 1 x`"), "{error}");
    }
}
