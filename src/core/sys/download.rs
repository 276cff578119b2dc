//! HTTP downloads: bounded in time, resumed, retried, verified, published by rename.
//!
//! One client for packages, indexes and toolchains, which are files of a known digest or with signed content. What it does
//! over HTTP is `sys::http`'s, as for registries; here are the files and the errors.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::cancel::{Cancel, Cancelled, humantime};
use super::env::Environment;
use super::hash::sha256_of;
use super::http::{
    self, Attempts, Body, BodyError, Failure, GivenUp, HttpError, LedInward, Method, Pause, ProxyError,
    ProxyName, RedirectError, Request, Response, Resume, Sender, Sink, Trail, Transport, Trust, Url,
    least_progress, may_pass,
};
use super::partial::PartialFile;
use super::{fs, log};
use crate::error::{ExitCode, Explain, io_hint};

/// A server that sends nothing for this long is stalled.
const STALL: Duration = Duration::from_secs(30);
/// How patient a download is. Behind most mirrors there is another one.
const PATIENCE: http::Patience =
    http::Patience { attempts: 4, back_off: Duration::from_millis(500), asked: Duration::from_secs(10 * 60) };
/// How long a server may ask us to wait if another can be asked instead.
const SHORT_WAIT: Duration = Duration::from_secs(5);

/// An HTTP client. Cheap to clone; connections are shared between clones.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    offline: bool,
    patience: http::Patience,
}

/// A file to get.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// Its URL.
    pub url: &'a str,
    /// Its final path. Its directory must exist; beside it stands `<name>.partial` while bytes arrive.
    pub path: &'a Path,
    /// The digest that its bytes must have, if it is known.
    pub sha256: Option<[u8; 32]>,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// The most bytes that are accepted if `size` is not known.
    pub limit: u64,
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// `--offline`, and the file is not in the cache.
    #[error("`{url}` is not in the cache, and --offline forbids the network")]
    Offline {
        /// Its URL.
        url: String,
    },
    /// The server has no such file, or refuses it.
    #[error("`{url}`: the server answered {status}{}", through(proxy.as_ref()))]
    Status {
        /// Its URL.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// The proxy that may have given the answer instead of the server.
        proxy: Option<ProxyName>,
    },
    /// No connection, or a broken one, after all attempts.
    #[error("`{url}`: {reason} (tried {attempts} {})", if *.attempts == 1 { "time" } else { "times" })]
    Network {
        /// Its URL.
        url: String,
        /// The last failure.
        reason: String,
        /// How many attempts there were without progress.
        attempts: u32,
        /// How long the server asks us to wait.
        after: Option<Duration>,
    },
    /// No TLS connection: the certificate is not trusted, or the server speaks something else.
    #[error("`{url}`: no secure connection to {host}: {reason}")]
    Tls {
        /// Its URL.
        url: String,
        /// The server.
        host: String,
        /// Why.
        reason: String,
    },
    /// A proxy on the way does not let us through.
    #[error("`{url}`: {reason}")]
    Proxy {
        /// Its URL.
        url: String,
        /// Why.
        reason: Box<ProxyError>,
    },
    /// The server redirects to a URL that is not followed.
    #[error("`{url}`: {reason}")]
    Redirect {
        /// Its URL.
        url: String,
        /// Why not.
        reason: RedirectError,
    },
    /// The server leads to an address of this machine or its cloud, and is not at one itself. Nothing was sent there.
    #[error("`{url}`: {led}; nothing was sent there")]
    Inward {
        /// Its URL.
        url: String,
        /// Which host leads where.
        led: Box<LedInward>,
    },
    /// The URL cannot be asked for.
    #[error("`{url}`: {reason}")]
    Invalid {
        /// The URL.
        url: String,
        /// Why.
        reason: String,
    },
    /// The bytes are not those that were asked for.
    #[error("`{url}` is corrupt: expected {expected}, got {}", found.as_deref().unwrap_or("more"))]
    Corrupt {
        /// Its URL.
        url: String,
        /// The digest or size that was expected.
        expected: String,
        /// What came; `None` if it was more than expected.
        found: Option<String>,
    },
    /// The file could not be written.
    #[error("cannot store a download: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

fn through(proxy: Option<&ProxyName>) -> String {
    proxy.map(|proxy| format!(" through {proxy}")).unwrap_or_default()
}

impl DownloadError {
    /// True if the server has no such file (404 or 410).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 410, .. })
    }

    /// True if it is the server, or the way to it, that failed: another one may have the file.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        !matches!(self, Self::Offline { .. } | Self::Io(_) | Self::Cancelled(_))
    }
}

impl Explain for DownloadError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Offline { .. } => ExitCode::Offline,
            Self::Status { .. }
            | Self::Network { .. }
            | Self::Redirect { .. }
            | Self::Inward { .. }
            | Self::Invalid { .. } => ExitCode::Network,
            Self::Tls { .. } => ExitCode::Tls,
            Self::Proxy { reason, .. } => reason.exit_code(),
            Self::Corrupt { .. } => ExitCode::CorruptDownload,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Offline { .. } => Some("run once without --offline to fill the cache".into()),
            Self::Status { .. } | Self::Redirect { .. } | Self::Inward { .. } | Self::Invalid { .. } => {
                Some("check the mirror's address in the configuration".into())
            }
            Self::Network { after: Some(after), .. } => {
                let after = Duration::from_secs(after.as_secs().max(1));
                Some(format!("wait {}, as the server asks, then run again", humantime(after)))
            }
            Self::Network { .. } => {
                Some("check the connection and the proxy variables, then run again".into())
            }
            Self::Tls { .. } => Some(
                "for a certificate of your own add its authority to those that this machine trusts".into(),
            ),
            Self::Proxy { reason, .. } => reason.hint(),
            Self::Corrupt { .. } => Some("run again; if it stays, a proxy or the mirror alters files".into()),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A failed attempt, and whether another may succeed.
type Attempt = http::Attempt<DownloadError>;

/// A request for a file. It never has credentials.
struct Anonymous<'a> {
    url: &'a str,
}

impl Sender for Anonymous<'_> {
    type Error = Attempt;

    fn trust(&self, _at: &Url) -> Trust {
        Trust::default()
    }

    fn authorization(&mut self) -> Result<Option<String>, Attempt> {
        Ok(None)
    }

    fn failed(&self, error: HttpError, trail: &Trail) -> Attempt {
        let (url, host) = (self.url.to_owned(), trail.at().authority().to_owned());
        Attempt::of_http(error, &title(trail), |error| match error {
            HttpError::Tls { reason, .. } | HttpError::Identity(reason) => {
                DownloadError::Tls { url, host, reason }
            }
            HttpError::Trust(error) => DownloadError::Tls { url, host, reason: error.to_string() },
            HttpError::Proxy(reason) => DownloadError::Proxy { url, reason: Box::new(reason) },
            HttpError::Inward(led) => DownloadError::Inward { url, led: Box::new(led) },
            HttpError::Invalid(reason) | HttpError::Broken(reason) => DownloadError::Invalid { url, reason },
            HttpError::File(error) => error.into(),
            HttpError::Cancelled(cancelled) => cancelled.into(),
        })
    }

    fn misled(&self, reason: RedirectError, _trail: &Trail) -> Attempt {
        DownloadError::Redirect { url: self.url.to_owned(), reason }.into()
    }
}

impl Client {
    /// A client that trusts the system's certificates and takes the proxy variables of this process. With `offline`
    /// every request is refused.
    #[must_use]
    pub fn new(offline: bool) -> Self {
        Self::with(&Environment::of_process(), offline)
    }

    /// The same with other variables.
    #[must_use]
    pub fn with(environment: &Environment, offline: bool) -> Self {
        Self { transport: Transport::new(environment, STALL), offline, patience: PATIENCE }
    }

    /// The same, which gives up sooner: for a server that another can be asked instead of.
    #[must_use]
    pub fn trying(&self, attempts: u32) -> Self {
        let patience = http::Patience { attempts: attempts.max(1), asked: SHORT_WAIT, ..self.patience };
        Self { patience, ..self.clone() }
    }

    /// True if every request is refused.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Gets a small document whose content is verified by the caller, such as a signed release.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, does not have the document or sends more than `limit` bytes, or if the work is
    /// cancelled.
    pub fn small(&self, url: &str, limit: u64, cancel: &Cancel) -> Result<Vec<u8>, DownloadError> {
        self.check_online(url)?;
        let cancel = &cancel.doing(url);
        let mut attempts = self.attempts(0);
        loop {
            match self.document(url, limit, cancel) {
                Ok(bytes) => return Ok(bytes),
                Err(attempt) => Self::failed(&mut attempts, attempt, url, cancel)?,
            }
        }
    }

    /// One request for a document.
    fn document(&self, url: &str, limit: u64, cancel: &Cancel) -> Result<Vec<u8>, Attempt> {
        let (mut response, trail) = self.ask(url, Vec::new(), cancel)?;
        if response.status != 200 {
            return Err(refused(url, &response).into());
        }
        let read = response.read(limit, cancel);
        let (bytes, more) = read.map_err(|error| Anonymous { url }.failed(error, &trail))?;
        if more {
            let (url, expected) = (url.to_owned(), format!("at most {limit} bytes"));
            return Err(DownloadError::Corrupt { url, expected, found: None }.into());
        }
        Ok(bytes)
    }

    /// Gets a file. An attempt that broke off is resumed by range, also by a later process. `progress` is called with the
    /// bytes so far and, if it is known, the size.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached or does not have the file, if it is not what is expected or cannot be written, or
    /// if the work is cancelled.
    pub fn file(
        &self,
        download: &Download<'_>,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), DownloadError> {
        let cancel = &cancel.doing(download.url);
        let partial = PartialFile::lock(download.path, cancel).map_err(|error| match error {
            fs::LockError::Io(error) => DownloadError::Io(error),
            fs::LockError::Cancelled(cancelled) => cancelled.into(),
        })?;
        // Another process may have finished it while we waited for the lock.
        if download.sha256.is_some() && download.path.exists() && check(download, download.path).is_ok() {
            tracing::debug!("the cache has {}", download.path.display());
            return Ok(());
        }
        self.check_online(download.url)?;
        let mut pieced = false;
        loop {
            let got = self.partial(download, &partial, &mut pieced, cancel, progress);
            match got.and_then(|()| check(download, &partial.path())) {
                Ok(()) => break,
                Err(error @ DownloadError::Corrupt { .. }) => {
                    partial.discard()?;
                    // The pieces may be of different versions of the file. As one piece it is what the server has.
                    if !std::mem::replace(&mut pieced, false) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(partial.publish()?)
    }

    /// Gets the rest of a partial file. `pieced` is set if it was not got as one piece.
    fn partial(
        &self,
        download: &Download<'_>,
        partial: &PartialFile,
        pieced: &mut bool,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), DownloadError> {
        let mut file = partial.open()?;
        let position = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        let has_digest = download.sha256.is_some();
        let mut resume = Resume::new(download.size, download.limit, has_digest, position);
        let mut attempts = self.attempts(position);
        while !resume.is_whole() {
            *pieced |= resume.position() > 0;
            let Err(attempt) = self.rest(download.url, &mut resume, &mut file, cancel, progress) else {
                break;
            };
            attempts.reached(resume.position());
            Self::failed(&mut attempts, attempt, download.url, cancel)?;
        }
        Ok(())
    }

    /// One request for the rest of a file.
    fn rest(
        &self,
        url: &str,
        resume: &mut Resume,
        file: &mut fs::File,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), Attempt> {
        let fields = resume.fields();
        let ranged = !fields.is_empty();
        let (mut response, trail) = self.ask(url, fields, cancel)?;
        match response.status {
            200 | 206 => {}
            416 if ranged => {}
            _ => return Err(refused(url, &response).into()),
        }
        let done = resume.position();
        let before = if response.status == 206 { done } else { 0 };
        let total = resume.total().or(response.length().map(|length| before.saturating_add(length)));
        let mut sink = Writer { file, done, total, progress };
        resume.receive(&mut response, &mut sink, cancel).map_err(|error| match error {
            BodyError::Http(error) => Anonymous { url }.failed(error, &trail),
            BodyError::Again(reason) => Attempt::again(title(&trail) + &reason),
            BodyError::Other { expected, found } => {
                DownloadError::Corrupt { url: url.to_owned(), expected, found }.into()
            }
            BodyError::Sink(error) => DownloadError::from(error).into(),
        })
    }

    /// Sends one GET, and the answer that another attempt would not change, with its way.
    fn ask(
        &self,
        url: &str,
        headers: Vec<(&'static str, String)>,
        cancel: &Cancel,
    ) -> Result<(Response, Trail), Attempt> {
        let first = Url::parse(url).ok_or_else(|| {
            let reason = "it is not a URL".to_owned();
            DownloadError::Invalid { url: url.to_owned(), reason }
        })?;
        let mut trail = Trail::new(&first, &first);
        let request = Request {
            method: Method::Get,
            url: String::new(),
            headers,
            body: Body::None,
            trust: Trust::default(),
            patience: None,
            led_by: None,
        };
        let sender = &mut Anonymous { url };
        let response = self.transport.follow(&request, &mut trail, sender, cancel, &mut || ())?;
        if may_pass(response.status, &trail) {
            return Err(Attempt::Again(Failure::of_answer(&response, "", trail.at().authority(), "")));
        }
        Ok((response, trail))
    }

    /// The attempts of one download, of which `position` bytes are there.
    fn attempts(&self, position: u64) -> Attempts {
        Attempts::new(self.patience, least_progress(STALL), position)
    }

    /// An error with `--offline`.
    fn check_online(&self, url: &str) -> Result<(), DownloadError> {
        if self.offline { Err(DownloadError::Offline { url: url.to_owned() }) } else { Ok(()) }
    }

    /// Waits before the next attempt, or gives up. A wait that the server asks for is reported.
    fn failed(
        attempts: &mut Attempts,
        attempt: Attempt,
        url: &str,
        cancel: &Cancel,
    ) -> Result<(), DownloadError> {
        let failure = match attempt {
            Attempt::Over(error) => return Err(error),
            Attempt::Again(failure) => failure,
        };
        let pause = attempts.failed(failure).map_err(|GivenUp { failure, attempts }| {
            let Failure { reason, after, .. } = failure;
            DownloadError::Network { url: url.to_owned(), reason, attempts, after }
        })?;
        let Pause { reason, attempt, wait, asked } = &pause;
        let (shown, asked) = (log::url(url), asked.map(|asked| asked.as_secs()));
        tracing::warn!(reason, attempt, wait = %log::Seconds(*wait), asked, "again: {shown}");
        if pause.is_reported() {
            let time = humantime(Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)));
            cancel.wait_is_long(&format!("waiting {time}, as asked: {reason} (`{url}`)"));
        }
        Ok(pause.wait(cancel)?)
    }
}

/// Writes a file and reports its progress.
struct Writer<'a> {
    file: &'a mut fs::File,
    done: u64,
    total: Option<u64>,
    progress: &'a mut dyn FnMut(u64, Option<u64>),
}

impl Sink for Writer<'_> {
    fn rewind(&mut self, position: u64) -> io::Result<bool> {
        self.file.file().set_len(position)?;
        self.done = io::Seek::seek(self.file, io::SeekFrom::Start(position))?;
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.done += bytes.len() as u64;
        (self.progress)(self.done, self.total);
        Ok(())
    }
}

/// The server that has failed, as the beginning of a message, if it is not the one in the file's URL.
fn title(trail: &Trail) -> String {
    if trail.is_home() { String::new() } else { format!("{}: ", trail.at().authority()) }
}

/// The error of an answer that is not the file.
fn refused(url: &str, response: &Response) -> DownloadError {
    let (url, proxy) = (url.to_owned(), response.proxy.clone());
    DownloadError::Status { url, status: response.status, proxy }
}

/// Size and digest of a file on disk against what the download says.
fn check(download: &Download<'_>, path: &Path) -> Result<(), DownloadError> {
    let corrupt = |expected: String, found: String| DownloadError::Corrupt {
        url: download.url.to_owned(),
        expected,
        found: Some(found),
    };
    let found = fs::metadata(path)?.len();
    if let Some(size) = download.size
        && size != found
    {
        return Err(corrupt(format!("{size} bytes"), format!("{found} bytes")));
    }
    if let Some(expected) = download.sha256 {
        let found = sha256_of(path)?;
        if found != expected {
            return Err(corrupt(
                format!("sha256:{}", hex::encode(expected)),
                format!("sha256:{}", hex::encode(found)),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
