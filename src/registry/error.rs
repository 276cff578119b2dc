//! Errors of registries, distinguished by what to do about them. No message contains a credential.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{ExitCode, Explain, io_hint};
use crate::oci::Digest;
use crate::oci::name::InvalidName;
use crate::sys::cancel::{Cancelled, humantime};
use crate::sys::http::{LedInward, ProxyError};
use crate::text::size;

/// Why a request to a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// `--offline`.
    #[error("`{what}` is needed, and --offline forbids the network")]
    Offline {
        /// The thing that was asked for.
        what: String,
    },
    /// A name is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The registry has no such repository, tag, manifest or blob.
    #[error("`{what}` does not exist{}", said(reason))]
    NotFound {
        /// The thing that was asked for.
        what: String,
        /// The registry's explanation.
        reason: String,
    },
    /// The registry or its token service wants credentials, or refuses those it got.
    #[error("`{what}`: {host} {}{}", of_login(login), said(reason))]
    Unauthorized {
        /// The thing that was asked for.
        what: String,
        /// The server that refused.
        host: String,
        /// The key under which credentials are looked up.
        registry: String,
        /// Our login there.
        login: KnownLogin,
        /// The server's explanation.
        reason: String,
    },
    /// The credentials are valid, but do not suffice.
    #[error("`{what}`: {host} denies {scope}{}", said(reason))]
    Denied {
        /// The thing that was asked for.
        what: String,
        /// The server that denied.
        host: String,
        /// The scope that was denied: `repository:a/b:pull,push`.
        scope: String,
        /// The server's explanation.
        reason: String,
    },
    /// No TLS connection: the certificate is not trusted, or the server speaks something else.
    #[error("no secure connection to {host}: {reason}")]
    Tls {
        /// The server.
        host: String,
        /// Why.
        reason: String,
    },
    /// A proxy on the way to the registry does not let us through.
    #[error("`{what}`: {reason}")]
    Proxy {
        /// The thing that was asked for.
        what: String,
        /// Why.
        reason: ProxyError,
    },
    /// The registry wants a client certificate, or refuses the one it got.
    #[error("{host} {}: {reason}", of_certificate(given.as_deref()))]
    Identity {
        /// The server.
        host: String,
        /// The file of the certificate; `None` if there was none.
        given: Option<PathBuf>,
        /// A key that exists and cannot be read.
        hidden: Option<PathBuf>,
        /// The server's explanation.
        reason: String,
    },
    /// The registry could not be reached, or failed, at every attempt.
    #[error("`{what}`: {reason} (tried {attempts} {})", times(*.attempts))]
    Transient {
        /// The thing that was asked for.
        what: String,
        /// The last failure.
        reason: String,
        /// How many attempts there were without progress.
        attempts: u32,
    },
    /// The registry has had more requests than it allows.
    #[error(transparent)]
    Limited(Box<Limited>),
    /// The bytes are not those that were asked for.
    #[error("`{what}` is not what the registry says it is: expected {expected}, got {found}")]
    Mismatch {
        /// The thing that was asked for.
        what: String,
        /// The digest or size that was expected.
        expected: String,
        /// What came.
        found: String,
    },
    /// A manifest or index is larger than any registry may serve.
    #[error("`{what}` is larger than {limit} bytes, which no manifest may be")]
    TooLarge {
        /// The thing that was asked for.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A document is not JSON, or does not have the structure that the specification requires.
    #[error("`{what}` is not what it should be: {reason}")]
    Document {
        /// The document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry refuses what was pushed: a tag, a name or a document that it does not allow.
    #[error("`{what}`: {host} refuses it{}", said(reason))]
    Refused {
        /// The thing that was pushed.
        what: String,
        /// The registry.
        host: String,
        /// The registry's explanation.
        reason: String,
        /// The codes of the errors in its document (distribution specification, "Error Codes").
        codes: Vec<String>,
    },
    /// A request's body is larger than the registry, or a proxy before it, allows.
    #[error("`{what}`: {host} takes no request of {} (it answers 413){}", bytes(*.sent), of_whole(*.sent, *.size))]
    BodyTooLarge {
        /// The thing that was pushed.
        what: String,
        /// The server that refused it.
        host: String,
        /// The size of the refused request in bytes.
        sent: u64,
        /// The size of the blob or document in bytes.
        size: u64,
    },
    /// An answer that the specification does not allow.
    #[error("`{what}`: {host} does not speak the registry protocol: {reason}")]
    Protocol {
        /// The thing that was asked for.
        what: String,
        /// The server.
        host: String,
        /// What was wrong.
        reason: String,
    },
    /// The registry leads to an address of this machine or its cloud, and is not at one itself. Nothing was sent there.
    #[error("`{what}`: {led}; nothing was sent there")]
    Inward {
        /// The thing that was asked for.
        what: String,
        /// Which host leads where.
        led: Box<LedInward>,
    },
    /// The token service has no TLS, although the registry has it. Credentials are not sent there.
    #[error("{host} wants its credentials sent to `{realm}`, which is not secure")]
    InsecureRealm {
        /// The registry.
        host: String,
        /// The token service.
        realm: String,
    },
    /// A credential helper failed, and a login is needed.
    #[error(transparent)]
    Helper(Box<HelperTrouble>),
    /// A file with credentials cannot be read or parsed.
    #[error("cannot read the credentials in `{}`: {reason}", path.display())]
    CredentialFile {
        /// The file.
        path: PathBuf,
        /// Why; never any of its text.
        reason: String,
    },
    /// The `XBUILD_REGISTRY_…` variables contradict each other.
    #[error("{0}")]
    Variables(&'static str),
    /// The settings of a registry in the user's file cannot be used.
    #[error("the configuration of the registry `{registry}`: {reason}")]
    Configuration {
        /// The registry.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// A local blob that is to be pushed does not match its descriptor.
    #[error("`{}` is damaged: its digest is not {digest}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest that it should have.
        digest: Digest,
    },
    /// A file could not be read or written.
    #[error("cannot store or read a blob: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The server's explanation after a colon, if there is one.
fn said(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn of_certificate(given: Option<&std::path::Path>) -> String {
    match given {
        Some(path) => format!("refuses the client certificate `{}`", path.display()),
        None => "wants a client certificate, and there is none for it".into(),
    }
}

/// Our login at a registry that refuses access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownLogin {
    /// No login.
    None,
    /// Credentials from this source.
    From(String),
    /// No login: the credentials in the environment do not say which registry they are for, and only a file names this one.
    Withheld,
    /// No login: a credential helper that should have had one failed.
    Helper(Box<HelperTrouble>),
}

fn of_login(login: &KnownLogin) -> String {
    match login {
        KnownLogin::From(source) => format!("refuses the credentials from {source}"),
        KnownLogin::Helper(trouble) => format!("wants credentials, and {trouble}"),
        KnownLogin::Withheld => {
            "wants credentials, and did not get those of the XBUILD_REGISTRY_ variables: they do not say for which registry \
             they are, and neither the command line nor a variable names this one"
                .into()
        }
        KnownLogin::None => "wants credentials, and there are none for it".into(),
    }
}

/// A number of bytes, rounded and exact.
fn bytes(count: u64) -> String {
    if count < 1_000_000 { format!("{count} bytes") } else { format!("{} ({count} bytes)", size(count)) }
}

fn of_whole(sent: u64, whole: u64) -> String {
    if sent < whole { format!("; the whole has {}", bytes(whole)) } else { String::new() }
}

/// A registry has had more requests than it allows. Public registries limit pulls in this way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{what}`: {host} has had too many requests and takes no more for now (429){} (tried {attempts} {})", said(reason), times(*attempts))]
pub struct Limited {
    /// The thing that was asked for.
    pub what: String,
    /// The server that refused.
    pub host: String,
    /// The key under which credentials are looked up.
    pub registry: String,
    /// True if the request had a login.
    pub known: bool,
    /// True if the request was one to read.
    pub reading: bool,
    /// The server's explanation.
    pub reason: String,
    /// How long the server asks to wait.
    pub after: Option<Duration>,
    /// How often it was tried.
    pub attempts: u32,
}

fn times(attempts: u32) -> &'static str {
    if attempts == 1 { "time" } else { "times" }
}

impl Limited {
    fn hint(&self) -> String {
        let wait = match self.after {
            // Fractions of a second are of no interest.
            Some(after) => {
                format!("wait {}, as it asks", humantime(Duration::from_secs(after.as_secs().max(1))))
            }
            None => "wait".into(),
        };
        let mut ways = vec![wait];
        if !self.known {
            let registry = &self.registry;
            ways.push(format!("log in with `docker login {registry}` or `podman login {registry}`, since registries allow more requests with a login"));
        }
        if self.reading {
            ways.push(format!(
                "name a mirror of it in the user's configuration file: `mirrors` of registry.\"{}\"",
                self.registry
            ));
        }
        ways.join("; or ")
    }
}

impl RegistryError {
    /// True if the thing that was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

impl Explain for RegistryError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Offline { .. } => ExitCode::Offline,
            Self::Name(_) => ExitCode::Usage,
            Self::NotFound { .. } => ExitCode::NotFound,
            Self::Unauthorized { .. }
            | Self::Identity { .. }
            | Self::InsecureRealm { .. }
            | Self::Helper(_) => ExitCode::Unauthorized,
            Self::Denied { .. } => ExitCode::Denied,
            Self::Tls { .. } => ExitCode::Tls,
            Self::Proxy { reason, .. } => reason.exit_code(),
            Self::Transient { .. } | Self::Limited(_) => ExitCode::Network,
            Self::Mismatch { .. } | Self::TooLarge { .. } | Self::Document { .. } => {
                ExitCode::CorruptDownload
            }
            Self::Refused { .. }
            | Self::BodyTooLarge { .. }
            | Self::Protocol { .. }
            | Self::Inward { .. } => ExitCode::Refused,
            Self::CredentialFile { .. } | Self::Variables(_) | Self::Configuration { .. } => ExitCode::Config,
            Self::Damaged { .. } => ExitCode::CorruptImage,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Offline { .. } => Some("run once without --offline to fill the cache".into()),
            Self::Name(_) => Some("write it as `registry.example/team/app:1.0`".into()),
            Self::NotFound { .. } => {
                Some("check the spelling, or log in: registries hide private repositories from strangers".into())
            }
            Self::Helper(trouble) | Self::Unauthorized { login: KnownLogin::Helper(trouble), .. } => {
                Some(trouble.hint())
            }
            Self::Unauthorized { registry, login, .. } => Some(login_hint(registry, login)),
            Self::Limited(limited) => Some(limited.hint()),
            Self::Identity { hidden: Some(path), .. } => {
                Some(format!("`{}` is there and not yours to read: have a copy of your own", path.display()))
            }
            Self::Identity { host, .. } => Some(format!(
                "set `client-cert` and `client-key` of registry.\"{host}\" in the user's configuration file, or put them \
                 where docker has them: ~/.config/docker/certs.d/{host}/client.cert and client.key"
            )),
            Self::Denied { .. } => Some("give the user or token this right on the repository".into()),
            Self::Tls { .. } => Some(
                "for a certificate of your own set `ca` for the registry in the user's configuration file; for a \
                 registry without TLS set `plain-http = true`"
                    .into(),
            ),
            Self::Proxy { reason, .. } => reason.hint(),
            Self::Transient { .. } => Some(
                "check the connection and the proxy variables, then run again: what has arrived is kept".into(),
            ),
            Self::Mismatch { .. } => {
                Some("run again; if it stays, the registry, a mirror or a proxy alters content".into())
            }
            Self::TooLarge { .. } | Self::Document { .. } => {
                Some("choose another image, or push this one again".into())
            }
            Self::Refused { .. } => Some("the registry's rules decide; ask its operator what it allows".into()),
            Self::BodyTooLarge { host, .. } => Some(format!(
                "a proxy before the registry may limit what a request carries: have its limit raised (nginx calls it \
                 client_max_body_size), or set `chunk-size` of registry.\"{host}\" in the user's configuration file \
                 to what it allows"
            )),
            Self::Protocol { .. } => Some("check the registry's address: something else may answer there".into()),
            Self::Inward { led, .. } => Some(format!(
                "if {} is on this machine, name it `localhost`; otherwise ask its operator why it leads there",
                led.from
            )),
            Self::InsecureRealm { .. } => Some("have the registry's operator give its token service TLS".into()),
            Self::CredentialFile { .. } => Some("log in again to write the file anew".into()),
            Self::Variables(_) => Some("docs/configuration.md has the variables".into()),
            Self::Configuration { .. } => Some("docs/configuration.md has the keys of a registry".into()),
            Self::Damaged { .. } => Some("build again: the layout was altered since it was written".into()),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// How to log in to a registry that wants credentials.
fn login_hint(registry: &str, login: &KnownLogin) -> String {
    let also = match login {
        KnownLogin::Withheld => {
            return format!(
                "if it is to have them, set XBUILD_REGISTRY_HOST={registry} beside them, or name the image on the command line; \
                 else log in with `docker login {registry}` or `podman login {registry}`"
            );
        }
        KnownLogin::None => {
            "; and check the spelling, since some registries say the same about what does not exist"
        }
        KnownLogin::From(_) | KnownLogin::Helper(_) => "",
    };
    format!(
        "log in with `docker login {registry}` or `podman login {registry}`, or set \
         XBUILD_REGISTRY_USERNAME and XBUILD_REGISTRY_PASSWORD{also}"
    )
}

/// A credential helper failed for a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential helper `{program}`, which {named_in} names for {registry}, {fault}")]
pub struct HelperTrouble {
    /// The program.
    pub program: String,
    /// The registry.
    pub registry: String,
    /// The file that names the program, for messages.
    pub named_in: String,
    /// The failure.
    pub fault: HelperFault,
}

/// Why a credential helper failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelperFault {
    /// Its name is a path.
    #[error("has a name with a slash in it")]
    Name,
    /// There is no such program.
    #[error("is not installed")]
    Missing,
    /// It could not be started.
    #[error("cannot be started: {0}")]
    NotStarted(String),
    /// It ended with an error.
    #[error("gives no login ({0})")]
    Failed(String),
    /// Its answer has another form.
    #[error("answers with something else than JSON")]
    NoAnswer,
    /// It has printed more than any answer has.
    #[error("writes more than {0} bytes")]
    TooMuch(u64),
    /// It took too long.
    #[error("did not answer within {}", humantime(*.0))]
    Slow(Duration),
}

impl HelperTrouble {
    /// The next step.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { program, registry, named_in, fault } = self;
        match fault {
            HelperFault::Missing | HelperFault::Name => format!(
                "put `{program}` on PATH, or take it out of {named_in} and log in with `docker login {registry}`"
            ),
            HelperFault::Slow(_) => {
                "it may wait for somebody to unlock a keychain; unlock it, or log in without a helper".into()
            }
            _ => format!("try it: `echo {registry} | {program} get`, or log in again"),
        }
    }
}
