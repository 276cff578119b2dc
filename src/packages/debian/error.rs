//! Why a Debian archive, a package or a base could not be used.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::certificates::CertificateError;
use super::keys::KeyringError;
use super::sources::SourceError;
use super::tree::TreeError;
use super::unpack::UnpackError;
use crate::error::{ExitCode, Explain, io_hint};
use crate::sys::cancel::Cancelled;
use crate::sys::download::DownloadError;

/// Every failure of `packages::debian`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No source can be made of the configuration.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A keyring that the configuration names cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The release of a suite could not be verified.
    #[error("the release of {suite} from {mirror} is not trusted: {fault}")]
    Signature {
        /// The suite.
        suite: String,
        /// The mirror's address.
        mirror: String,
        /// What is wrong.
        fault: SignatureFault,
    },
    /// A mirror does not have a suite.
    #[error("{mirror} has no suite {suite}")]
    NoSuite {
        /// The suite.
        suite: String,
        /// The mirror's address.
        mirror: String,
    },
    /// Every mirror failed, and not one alone could be asked.
    #[error("{first}{}", beside(others))]
    NoMirror {
        /// What the first one failed with.
        first: Box<Error>,
        /// What the others failed with, in the order of the attempts.
        others: Vec<String>,
    },
    /// A release that was valid once.
    #[error("the release of {suite} from {mirror} expired on {until}")]
    ReleaseExpired {
        /// The suite.
        suite: String,
        /// The mirror's address.
        mirror: String,
        /// Its `Valid-Until`, as it says it.
        until: String,
    },
    /// A good release, and a newer one was seen before.
    #[error("the release of {suite} from {mirror} is of {date}, and one of {known} was seen before")]
    Older {
        /// The suite.
        suite: String,
        /// The mirror's address.
        mirror: String,
        /// Its date.
        date: String,
        /// The date of the newest one.
        known: String,
        /// Where that is kept.
        path: Box<Path>,
    },
    /// A good release, but of something else.
    #[error("{mirror} serves {} where {suite} was asked for", found.join(" or "))]
    WrongSuite {
        /// The suite that was asked for.
        suite: String,
        /// The mirror's address.
        mirror: String,
        /// The codename and suite that the release says it is.
        found: Vec<String>,
    },
    /// A verified release without something that it must have.
    #[error("the release of {suite} from {mirror} is not usable: {reason}")]
    BadRelease {
        /// The suite.
        suite: String,
        /// The mirror's address.
        mirror: String,
        /// What is missing or malformed.
        reason: String,
    },
    /// The release has no packages for an architecture.
    #[error("Debian {suite} has no {architecture}; it has {}", available.join(", "))]
    NoArchitecture {
        /// The suite.
        suite: String,
        /// Debian's name of the architecture that was asked for.
        architecture: String,
        /// What the release has.
        available: Vec<String>,
    },
    /// The release has no such component.
    #[error("Debian {suite} has no component `{component}` for {architecture}; it has {}", available.join(", "))]
    NoComponent {
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// The architecture.
        architecture: String,
        /// What the release has.
        available: Vec<String>,
    },
    /// The mirror serves an index that is not the one its release was signed for.
    #[error(transparent)]
    OutOfStep(Box<OutOfStep>),
    /// A verified package index that cannot be read.
    #[error("the package index of {suite}/{component} for {architecture} is malformed: {reason}")]
    BadIndex {
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// The architecture.
        architecture: String,
        /// What is wrong.
        reason: String,
    },
    /// A dependency that nothing satisfies.
    #[error(transparent)]
    Unsatisfied(#[from] Unsatisfied),
    /// Packages that were asked for by names that no package has.
    #[error("{}", unknown_packages(architecture, suites, unknown))]
    UnknownPackages {
        /// The architecture.
        architecture: String,
        /// The suites that were looked at.
        suites: Vec<String>,
        /// The names, sorted; never empty.
        unknown: Vec<Unknown>,
    },
    /// A package with a script whose effect is not known.
    #[error(
        "{architecture}: {package} runs a script when it is installed ({script}), and scripts are not run"
    )]
    Script {
        /// The architecture.
        architecture: String,
        /// The package.
        package: String,
        /// `preinst` or `postinst`.
        script: String,
    },
    /// A package that cannot be unpacked.
    #[error("{architecture}: cannot unpack {package} {version}: {source}")]
    Unpack {
        /// The architecture.
        architecture: String,
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// What is wrong with it.
        source: Box<UnpackError>,
    },
    /// Two packages that cannot both be laid out.
    #[error("{architecture}: {source}")]
    Tree {
        /// The architecture.
        architecture: String,
        /// What does not fit.
        source: TreeError,
    },
    /// A certificate of `ca-certificates` that cannot be read.
    #[error("{architecture}: {source}")]
    Certificate {
        /// The architecture.
        architecture: String,
        /// Which and why.
        source: CertificateError,
    },
    /// Something could not be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// A package could not be downloaded.
    #[error("{architecture}: cannot get {package} {version}: {source}")]
    PackageDownload {
        /// The architecture.
        architecture: String,
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// Why not.
        source: Box<DownloadError>,
    },
    /// A pinned package that the mirrors have dropped, and that could not be had from the snapshots either.
    #[error(
        "{architecture}: cannot get {package} {version}, which the mirror has dropped: {source}{}",
        list(tried)
    )]
    Superseded {
        /// The architecture.
        architecture: String,
        /// The package.
        package: String,
        /// Its version.
        version: String,
        /// What came of the attempts before, in their order.
        tried: Vec<String>,
        /// The last attempt's failure.
        source: Box<DownloadError>,
    },
    /// A pinned package from an archive of which no mirror is known.
    #[error("{architecture}: no mirror is known that would have {package} {version}")]
    NoPlace {
        /// The architecture.
        architecture: String,
        /// The package.
        package: String,
        /// Its version.
        version: String,
    },
    /// The cache or the host's configuration could not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// An index that does not match its signed release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{mirror} is out of step: the package index of {suite}/{component} for {architecture} does not match the signed \
     release: expected {expected}, found {found}"
)]
pub struct OutOfStep {
    /// The mirror's address.
    pub mirror: String,
    /// The suite.
    pub suite: String,
    /// The component.
    pub component: String,
    /// The architecture.
    pub architecture: String,
    /// The digest in the signed release.
    pub expected: String,
    /// The digest of what came, or in words what came instead.
    pub found: String,
}

/// A dependency that nothing satisfies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{architecture}: {}{wanted}: {reason}", chained(chain))]
pub struct Unsatisfied {
    /// The architecture.
    pub architecture: String,
    /// The packages that led here, the first asked for first.
    pub chain: Vec<String>,
    /// The dependency, as the last of them writes it.
    pub wanted: String,
    /// Why each alternative failed.
    pub reason: String,
    /// Packages of the base that stand in the way because they are older or newer than what is wanted.
    #[serde(default)]
    pub installed: Box<[String]>,
}

/// A name that no package has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The name.
    pub name: String,
    /// What may be meant, the nearest first.
    pub nearest: Vec<String>,
    /// The packages that provide it, where there are several.
    pub providers: Vec<String>,
}

fn unknown_packages(architecture: &str, suites: &[String], unknown: &[Unknown]) -> String {
    let place = format!("for {architecture} in {}", suites.join(", "));
    let one = |Unknown { name, providers, .. }: &Unknown| {
        if providers.is_empty() {
            format!("Debian has no package `{name}` {place}")
        } else {
            format!("`{name}` is no package {place}, but what several provide: {}", providers.join(", "))
        }
    };
    unknown.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn unknown_hint(unknown: &[Unknown]) -> String {
    let quoted =
        |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
    let several = unknown.len() > 1;
    let meant: Vec<String> = unknown
        .iter()
        .filter(|one| !one.nearest.is_empty() || !one.providers.is_empty())
        .map(|one| {
            let what = if several { format!("`{}`: ", one.name) } else { String::new() };
            if one.providers.is_empty() {
                format!("{what}did you mean {}?", quoted(&one.nearest))
            } else {
                format!("{what}name one of them")
            }
        })
        .collect();
    if meant.is_empty() {
        "look it up with `apt-cache search` on a Debian machine; a package of another component takes `components` \
         under [debian], and one that only some architectures have belongs under [platform.\"…\"]"
            .into()
    } else {
        meant.join("; ")
    }
}

/// What is wrong with a signed release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It is no clear-signed document (RFC 9580, section 7).
    #[error("it is not a clear-signed document ({0})")]
    NotSigned(String),
    /// No signature is by a key that is trusted.
    #[error("no signature is by a trusted key (it is signed by {})", issuers.join(", "))]
    UnknownSigner {
        /// Fingerprints or key ids of those who signed it.
        issuers: Vec<String>,
    },
    /// A trusted key's signature does not fit the text.
    #[error("the signature by {key} does not match the text")]
    Mismatch {
        /// The trusted key's fingerprint.
        key: String,
    },
    /// A trusted key that may not be relied on any more.
    #[error("the key {key} {fault}")]
    Unusable {
        /// The key's fingerprint.
        key: String,
        /// Why not.
        fault: KeyFault,
    },
    /// The signature itself has expired, is from the future, or is made with a broken hash.
    #[error("the signature by {key} does not count: {reason}")]
    Unacceptable {
        /// The trusted key's fingerprint.
        key: String,
        /// Why not.
        reason: &'static str,
    },
}

/// Why a known key does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Its time is over.
    #[error("expired on {}", date(*.0))]
    Expired(i64),
    /// Its owner took it back.
    #[error("is revoked")]
    Revoked,
    /// Its algorithm or its length can be broken: what it is.
    #[error("is a {0}, which is too weak to be relied on")]
    Weak(Weak),
    /// No valid self-signature binds it, or none says that it may sign.
    #[error("is not bound as a signing key")]
    NotBound,
}

/// A key that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// RSA with too few bits.
    #[error("RSA key of {0} bits")]
    Rsa(u16),
    /// An algorithm that nobody should sign with any more.
    #[error("key of an old or unknown kind")]
    Kind,
}

/// `2031-01-19`, from seconds since the epoch.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.strftime("%Y-%m-%d").to_string())
}

fn list(tried: &[String]) -> String {
    tried.iter().fold(String::new(), |text, why| format!("{text}\n  {why}"))
}

fn beside(others: &[String]) -> String {
    others.iter().fold(String::new(), |text, other| format!("{text}\n  nor elsewhere: {other}"))
}

impl Error {
    /// True if it is a mirror, or the way to it, that failed: another one may serve.
    pub(super) fn is_of_mirror(&self) -> bool {
        match self {
            Self::Signature { .. }
            | Self::NoSuite { .. }
            | Self::ReleaseExpired { .. }
            | Self::Older { .. }
            | Self::WrongSuite { .. }
            | Self::BadRelease { .. }
            | Self::OutOfStep(_) => true,
            Self::Download(error) => error.is_of_server() || matches!(error, DownloadError::Offline { .. }),
            _ => false,
        }
    }
}

fn chained(chain: &[String]) -> String {
    match chain {
        [] => String::new(),
        chain => format!("{} needs ", chain.join(" → ")),
    }
}

impl Explain for Error {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Source(_) | Self::Keyring(_) | Self::NoPlace { .. } => ExitCode::Config,
            Self::Signature { .. } => ExitCode::BadSignature,
            Self::ReleaseExpired { .. }
            | Self::Older { .. }
            | Self::WrongSuite { .. }
            | Self::OutOfStep(_) => ExitCode::OutOfStep,
            Self::NoArchitecture { .. } => ExitCode::NotInBase,
            Self::NoSuite { .. } => ExitCode::NoBase,
            Self::NoMirror { first, .. } => first.exit_code(),
            Self::BadRelease { .. }
            | Self::NoComponent { .. }
            | Self::BadIndex { .. }
            | Self::Unsatisfied(_)
            | Self::UnknownPackages { .. }
            | Self::Script { .. }
            | Self::Unpack { .. }
            | Self::Tree { .. }
            | Self::Certificate { .. } => ExitCode::Package,
            Self::Superseded { source, .. } if source.is_not_found() => ExitCode::Package,
            Self::Download(error) => error.exit_code(),
            Self::Superseded { source, .. } | Self::PackageDownload { source, .. } => source.exit_code(),
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => Some(error.hint()),
            Self::Keyring(_) => Some("name a file of OpenPGP public keys, armoured or binary".into()),
            Self::Signature { fault, .. } => Some(signature_hint(fault).into()),
            Self::NoMirror { first, .. } => first.hint(),
            Self::NoSuite { suite, .. } => Some(no_suite_hint(suite)),
            Self::ReleaseExpired { .. } => {
                Some("the mirror has stopped following Debian, or this machine's clock is wrong; use another mirror".into())
            }
            Self::Older { path, .. } => Some(format!(
                "the mirror is behind, or somebody serves what is old; use another mirror, or run again later; to go back on \
                 purpose, ask for a moment with `snapshot` under [debian], or remove `{}`",
                path.display()
            )),
            Self::WrongSuite { .. } => Some("name the suite by its codename, for example bookworm".into()),
            Self::OutOfStep(fault) => Some(match fault.suite.split_once('-') {
                Some((release, _)) => format!(
                    "use another mirror, run again later, or leave {} out with `suites = [\"{release}\"]` under [debian]",
                    fault.suite
                ),
                None => "use another mirror, or run again later".into(),
            }),
            Self::NoArchitecture { .. } => {
                Some("leave that platform out, or choose a base whose release has it".into())
            }
            Self::NoComponent { .. } => Some("correct `components` in the configuration".into()),
            Self::Script { .. } => Some("leave the package out, or start from a base image that has it".into()),
            Self::UnknownPackages { unknown, .. } => Some(unknown_hint(unknown)),
            Self::Unsatisfied(Unsatisfied { installed, .. }) if !installed.is_empty() => Some(format!(
                "take a base image of another date, in which {} fits; what a base has is never replaced",
                installed.join(", ")
            )),
            Self::Unsatisfied(_) => {
                Some("add the suite or component that has it, or check the package's name".into())
            }
            Self::PackageDownload { source, .. } if source.is_not_found() => Some(
                "the mirror has dropped this version; run again for a fresh index, or use another mirror".into(),
            ),
            Self::Superseded { source, .. } if source.is_not_found() => {
                Some("pin the version that Debian has now: `xbuild lock --update`".into())
            }
            Self::Superseded { .. } => Some(
                "name an archive of snapshots that can be reached ($XBUILD_DEBIAN_SNAPSHOT), or pin what Debian has \
                 now: `xbuild lock --update`"
                    .into(),
            ),
            Self::NoPlace { .. } => Some("configure the mirror of Debian's security archive".into()),
            Self::Download(error) => error.hint(),
            Self::PackageDownload { source, .. } => source.hint(),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
            Self::BadRelease { .. } | Self::BadIndex { .. } => {
                Some("use another mirror; this one's archive is not laid out as Debian's is".into())
            }
            Self::Unpack { .. } | Self::Tree { .. } | Self::Certificate { .. } => None,
        }
    }
}

fn signature_hint(fault: &SignatureFault) -> &'static str {
    match fault {
        SignatureFault::UnknownSigner { .. } => {
            "if this is your own archive, name it as `debian.mirror` in your configuration, and its keys in \
             `debian.keyrings`"
        }
        SignatureFault::Unusable { .. } => {
            "check this machine's clock, then update xbuild, which carries Debian's keys"
        }
        _ => "a proxy or the mirror alters files; use another mirror, and do not trust this one",
    }
}

fn no_suite_hint(suite: &str) -> String {
    format!(
        "check the name, which is a codename such as bookworm. Mirrors drop a release that is not supported any \
         more: take it as it was on a day, `snapshot = \"20240601T000000Z\"` under [debian], or name Debian's \
         archive of old releases and the suite that is there: `XBUILD_DEBIAN_MIRROR={}` and `suites = [\"{}\"]` \
         under [debian]",
        super::official::Official::get().old,
        suite.split('-').next().unwrap_or(suite)
    )
}
