//! Why a Debian archive, a package or a base could not be used.

use std::io;
use std::path::Path;

use super::certificates::CertificateError;
use super::keys::KeyringError;
use super::resolve::{ResolveError, Unsatisfied};
use super::sources::SourceError;
use super::tree::TreeError;
use super::unpack::UnpackError;
use crate::error::{ExitCode, Explain, io_hint};
use crate::sys::cancel::Cancelled;
use crate::sys::download::DownloadError;

/// Every failure of `packages::debian`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration does not give a valid source.
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
        /// The mirror's URL.
        mirror: String,
        /// What is wrong.
        fault: SignatureFault,
    },
    /// A mirror does not have a suite.
    #[error("{mirror} has no suite {suite}")]
    NoSuite {
        /// The suite.
        suite: String,
        /// The mirror's URL.
        mirror: String,
    },
    /// A release's packages have no start files of a compiler where they are expected.
    #[error("the packages of {release} have no start files of GCC for {architecture}")]
    NoStartFiles {
        /// The release.
        release: String,
        /// Debian's name of the architecture.
        architecture: String,
    },
    /// A release lacks a package that every sysroot of it needs.
    #[error(
        "Debian {} has no {package} for {architecture}, which programs are linked against",
        suites.join(", ")
    )]
    NoSysrootPackage {
        /// The suites that were searched.
        suites: Vec<String>,
        /// Debian's name of the architecture.
        architecture: String,
        /// The package.
        package: String,
    },
    /// All mirrors failed, and there was more than one.
    #[error("{first}{}", beside(others))]
    NoMirror {
        /// The first mirror's error.
        first: Box<Error>,
        /// The other mirrors' errors, in the order of the attempts.
        others: Vec<String>,
    },
    /// A release that has expired.
    #[error("the release of {suite} from {mirror} expired on {until}")]
    ReleaseExpired {
        /// The suite.
        suite: String,
        /// The mirror's URL.
        mirror: String,
        /// Its `Valid-Until`, as written.
        until: String,
    },
    /// A valid release, but a newer one was seen before.
    #[error("the release of {suite} from {mirror} is dated {date}, but one dated {known} was seen before")]
    Older {
        /// The suite.
        suite: String,
        /// The mirror's URL.
        mirror: String,
        /// Its date.
        date: String,
        /// The date of the newest one.
        known: String,
        /// The path where that one is stored.
        path: Box<Path>,
    },
    /// A valid release, but of another suite.
    #[error("{mirror} serves {} instead of {suite}", found.join(" or "))]
    WrongSuite {
        /// The suite that was requested.
        suite: String,
        /// The mirror's URL.
        mirror: String,
        /// The codename and suite in the release.
        found: Vec<String>,
    },
    /// A verified release that lacks something required.
    #[error("the release of {suite} from {mirror} is not usable: {reason}")]
    BadRelease {
        /// The suite.
        suite: String,
        /// The mirror's URL.
        mirror: String,
        /// What is missing or malformed.
        reason: String,
    },
    /// The release has no packages for an architecture.
    #[error("Debian {suite} has no {architecture}; it has {}", available.join(", "))]
    NoArchitecture {
        /// The suite.
        suite: String,
        /// Debian's name for the requested architecture.
        architecture: String,
        /// The architectures that the release has.
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
        /// The components that the release has.
        available: Vec<String>,
    },
    /// The mirror serves an index that does not match its signed release.
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
    /// A dependency that cannot be satisfied.
    #[error(transparent)]
    Unsatisfied(#[from] Unsatisfied),
    /// Requested packages whose names no package has.
    #[error("{}", unknown_packages(architecture, suites, unknown))]
    UnknownPackages {
        /// The architecture.
        architecture: String,
        /// The suites that were searched.
        suites: Vec<String>,
        /// The names, sorted; never empty.
        unknown: Vec<Unknown>,
    },
    /// A package with a script whose effect is unknown.
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
        /// The conflict.
        source: TreeError,
    },
    /// A certificate of `ca-certificates` that cannot be read.
    #[error("{architecture}: {source}")]
    Certificate {
        /// The architecture.
        architecture: String,
        /// The certificate and the reason.
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
    /// A pinned package that the mirrors no longer have, and that could not be downloaded from the snapshots either.
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
        /// The results of the earlier attempts, in order.
        tried: Vec<String>,
        /// The error of the last attempt.
        source: Box<DownloadError>,
    },
    /// A pinned package from an archive without a known mirror.
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
    /// The mirror's URL.
    pub mirror: String,
    /// The suite.
    pub suite: String,
    /// The component.
    pub component: String,
    /// The architecture.
    pub architecture: String,
    /// The digest in the signed release.
    pub expected: String,
    /// The digest of what was received, or a description of it.
    pub found: String,
}

/// A name that no package has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The name.
    pub name: String,
    /// What may be meant, the nearest first.
    pub nearest: Vec<String>,
    /// The packages that provide it, if there are several.
    pub providers: Vec<String>,
}

fn unknown_packages(architecture: &str, suites: &[String], unknown: &[Unknown]) -> String {
    let place = format!("for {architecture} in {}", suites.join(", "));
    let one = |Unknown { name, providers, .. }: &Unknown| {
        if providers.is_empty() {
            format!("Debian has no package `{name}` {place}")
        } else {
            format!("`{name}` is not a package {place}, but several provide it: {}", providers.join(", "))
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

/// A fault of a signed release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// It is not a clear-signed document (RFC 9580, section 7).
    #[error("it is not a clear-signed document ({0})")]
    NotSigned(String),
    /// No signature is by a trusted key.
    #[error("no signature is by a trusted key (it is signed by {})", issuers.join(", "))]
    UnknownSigner {
        /// Fingerprints or key IDs of the signers.
        issuers: Vec<String>,
    },
    /// A trusted key's signature does not match the text.
    #[error("the signature by {key} does not match the text")]
    Mismatch {
        /// The trusted key's fingerprint.
        key: String,
    },
    /// A trusted key that can no longer be used.
    #[error("the key {key} {fault}")]
    Unusable {
        /// The key's fingerprint.
        key: String,
        /// Why not.
        fault: KeyFault,
    },
    /// The signature itself has expired, is from the future, or uses a broken hash.
    #[error("the signature by {key} is not acceptable: {reason}")]
    Unacceptable {
        /// The trusted key's fingerprint.
        key: String,
        /// Why not.
        reason: &'static str,
    },
}

/// Why a known key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It has expired.
    #[error("expired on {}", date(*.0))]
    Expired(i64),
    /// Its owner has revoked it.
    #[error("is revoked")]
    Revoked,
    /// Its algorithm or length is weak, as described.
    #[error("is a {0}, which is too weak to be trusted")]
    Weak(Weak),
    /// No valid self-signature binds it, or none allows it to sign.
    #[error("is not bound as a signing key")]
    NotBound,
}

/// A weak key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weak {
    /// RSA with too few bits.
    #[error("RSA key of {0} bits")]
    Rsa(u16),
    /// An algorithm that should no longer be used for signatures.
    #[error("key of an obsolete or unknown kind")]
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
    others.iter().fold(String::new(), |text, other| format!("{text}\n  another mirror: {other}"))
}

impl Error {
    /// True if a mirror, or the connection to it, failed. Another one may work.
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

impl From<ResolveError> for Error {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Unsatisfied(unsatisfied) => unsatisfied.into(),
            ResolveError::Cancelled(cancelled) => cancelled.into(),
        }
    }
}

/// What to do about packages that cannot be installed together.
const UNSATISFIED: &str = "of two packages that conflict, leave one out; for one that is missing, add the suite or \
                           component that has it, or check its name";

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
            | Self::NoStartFiles { .. }
            | Self::NoSysrootPackage { .. }
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
                "the mirror is behind, or someone serves an old release; use another mirror, or run again later; to go \
                 back on purpose, request a date with `snapshot` under [debian], or remove `{}`",
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
                "use a base image of another date, in which {} fits; packages of a base are never replaced",
                installed.join(", ")
            )),
            Self::Unsatisfied(_) => Some(UNSATISFIED.into()),
            Self::PackageDownload { source, .. } if source.is_not_found() => Some(
                "the mirror has dropped this version; run again for a fresh index, or use another mirror".into(),
            ),
            Self::Superseded { source, .. } if source.is_not_found() => {
                Some("pin the version that Debian has now: `xbuild lock --update`".into())
            }
            Self::Superseded { .. } => Some(
                "name a snapshot archive that can be reached ($XBUILD_DEBIAN_SNAPSHOT), or pin what Debian has \
                 now: `xbuild lock --update`"
                    .into(),
            ),
            Self::NoPlace { .. } => Some("configure the mirror of Debian's security archive".into()),
            Self::Download(error) => error.hint(),
            Self::PackageDownload { source, .. } => source.hint(),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
            Self::BadRelease { .. } | Self::BadIndex { .. } => {
                Some("use another mirror; this one's archive does not have the layout of Debian's".into())
            }
            Self::NoStartFiles { .. } | Self::NoSysrootPackage { .. } => {
                Some("leave `toolchain` out, so that no sysroot is needed".into())
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
            "check this machine's clock, then update xbuild, which contains Debian's keys"
        }
        _ => "a proxy or the mirror modifies files; use another mirror, and do not trust this one",
    }
}

fn no_suite_hint(suite: &str) -> String {
    format!(
        "check the name, which is a codename such as bookworm. Mirrors drop a release that is no longer \
         supported: use it as of a date, `snapshot = \"20240601T000000Z\"` under [debian], or name Debian's \
         archive of old releases and the suite there: `XBUILD_DEBIAN_MIRROR={}` and `suites = [\"{}\"]` \
         under [debian]",
        super::official::Official::get().old,
        suite.split('-').next().unwrap_or(suite)
    )
}
