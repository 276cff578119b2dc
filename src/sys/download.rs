//! HTTP downloads: bounded in time, resumed, retried, verified, published by rename.
//!
//! One client for packages and toolchains. Registries have their own (`registry`), for they speak a protocol;
//! this one only gets files whose digest is known or whose content is signed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cancel::{Cancel, Cancelled};
use super::env::Environment;
use super::hash::sha256_of;
use super::http::{
    Body, HttpError, LEAST_RATE, Method, ProxyError, Request, Response, Transport, Trust, Url,
};
use super::{clock, fs, log, store};
use crate::error::{ExitCode, Explain, io_hint};

/// A server that sends nothing for this long is stalled.
const STALL: Duration = Duration::from_secs(30);
/// The bytes that an attempt must have brought to count as progress: what the slowest server that is waited for brings until it
/// is taken for stalled.
const PROGRESS: u64 = LEAST_RATE * STALL.as_secs();
/// How often a download without any progress is tried.
const ATTEMPTS: u32 = 4;
/// The wait before the second attempt; it doubles each time.
const BACK_OFF: Duration = Duration::from_millis(500);
/// Redirects that are followed for one request.
const MOST_REDIRECTS: u32 = 10;

/// An HTTP client. Cheap to clone; connections are shared between clones.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    offline: bool,
    /// How often a download without any progress is tried.
    attempts: u32,
}

/// A file to get.
#[derive(Clone, Debug)]
pub struct Download<'a> {
    /// Where from.
    pub url: &'a str,
    /// Its final path. Its directory must exist; beside it stands `<name>.partial` while bytes arrive.
    pub path: &'a Path,
    /// The digest that its bytes must have, if it is known.
    pub sha256: Option<[u8; 32]>,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// More than this many bytes are refused where `size` is not known.
    pub limit: u64,
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// `--offline`, and the file is not in the cache.
    #[error("`{url}` is not in the cache, and --offline forbids the network")]
    Offline {
        /// Where it would have come from.
        url: String,
    },
    /// The server has no such file, or refuses it.
    #[error("`{url}`: the server answered {status}")]
    Status {
        /// Where from.
        url: String,
        /// The HTTP status code.
        status: u16,
    },
    /// No connection, or a broken one, after all attempts.
    #[error("`{url}`: {reason} (tried {attempts} {})", if *.attempts == 1 { "time" } else { "times" })]
    Network {
        /// Where from.
        url: String,
        /// The last failure.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A proxy on the way does not let us through.
    #[error("`{url}`: {reason}")]
    Proxy {
        /// Where from.
        url: String,
        /// Why.
        reason: Box<ProxyError>,
    },
    /// The bytes are not those that were asked for.
    #[error("`{url}` is corrupt: expected {expected}, got {found}")]
    Corrupt {
        /// Where from.
        url: String,
        /// The digest or size that was expected.
        expected: String,
        /// What came.
        found: String,
    },
    /// The file could not be written.
    #[error("cannot keep a download: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
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
        match self {
            Self::Status { .. } | Self::Network { .. } | Self::Proxy { .. } | Self::Corrupt { .. } => true,
            Self::Offline { .. } | Self::Io(_) | Self::Cancelled(_) => false,
        }
    }
}

impl Explain for DownloadError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Offline { .. } => ExitCode::Offline,
            Self::Status { .. } | Self::Network { .. } => ExitCode::Network,
            Self::Proxy { reason, .. } => reason.exit_code(),
            Self::Corrupt { .. } => ExitCode::CorruptDownload,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Offline { .. } => Some("run once without --offline to fill the cache".into()),
            Self::Status { .. } => Some("check the mirror's address in the configuration".into()),
            Self::Network { .. } => {
                Some("check the connection and the proxy variables, then run again".into())
            }
            Self::Proxy { reason, .. } => reason.hint(),
            Self::Corrupt { .. } => Some("run again; if it stays, a proxy or the mirror alters files".into()),
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A failed attempt, and whether another may succeed.
enum Attempt {
    Again(String),
    Over(DownloadError),
}

impl Attempt {
    fn of_http(error: HttpError, url: &str) -> Self {
        match error {
            HttpError::Proxy(ProxyError::Refuses { proxy, host, status: status @ (502..=504) }) => {
                Self::Again(format!("{proxy} cannot reach {host}: it answers {status}"))
            }
            HttpError::Proxy(reason) => {
                Self::Over(DownloadError::Proxy { url: url.to_owned(), reason: Box::new(reason) })
            }
            HttpError::File(error) => Self::Over(error.into()),
            HttpError::Inward(led) => Self::Over(DownloadError::Network {
                url: url.to_owned(),
                reason: format!("{led}; nothing was sent there"),
                attempts: 1,
            }),
            HttpError::Cancelled(cancelled) => Self::Over(cancelled.into()),
            other => Self::Again(other.to_string()),
        }
    }
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Self::Over(error.into())
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
        Self { transport: Transport::new(environment, STALL), offline, attempts: ATTEMPTS }
    }

    /// The same, which gives up sooner: for a server in whose place another can be asked.
    #[must_use]
    pub fn trying(&self, attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..self.clone() }
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
        let (mut bytes, cancel) = (Vec::new(), &cancel.doing(url));
        self.retry(url, cancel, |_| {
            bytes.clear();
            self.receive(url, 0, cancel, &mut |part: Part<'_>| {
                if let Part::Bytes(chunk) = part {
                    bytes.extend_from_slice(chunk);
                    too_large(url, bytes.len() as u64, limit)?;
                }
                Ok(())
            })
        })?;
        Ok(bytes)
    }

    /// Gets a file. An attempt that broke off is resumed by range, also by a later process. `progress` is told
    /// the bytes had so far and, where it is known, the size.
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
        let (partial, cancel) = (partial_path(download.path), &cancel.doing(download.url));
        let _lock = fs::lock(&lock_path(download.path), cancel).map_err(|error| match error {
            fs::LockError::Io(error) => DownloadError::Io(store::lacking(download.path, error)),
            fs::LockError::Cancelled(cancelled) => cancelled.into(),
        })?;
        // Another process may have finished it while we waited for the lock.
        if download.sha256.is_some() && download.path.exists() && check(download, download.path).is_ok() {
            tracing::debug!("the cache has {}", download.path.display());
            return Ok(());
        }
        let mut resumed = partial.exists();
        loop {
            self.retry(download.url, cancel, |had_before| {
                self.attempt(download, &partial, cancel, progress, had_before)
            })?;
            match check(download, &partial) {
                Ok(()) => break,
                Err(error) => {
                    fs::remove_file(&partial)?;
                    // What an earlier process left may have been of another version of the file.
                    if !std::mem::replace(&mut resumed, false) {
                        return Err(error);
                    }
                }
            }
        }
        fs::File::open(&partial)?.sync_data()?;
        fs::rename(&partial, download.path)?;
        Ok(())
    }

    /// One request for the rest of the file. `reached` is updated with the bytes on disk.
    fn attempt(
        &self,
        download: &Download<'_>,
        partial: &Path,
        cancel: &Cancel,
        progress: &mut dyn FnMut(u64, Option<u64>),
        reached: &mut u64,
    ) -> Result<(), Attempt> {
        let mut file =
            fs::OpenOptions::new().create(true).truncate(false).write(true).read(true).open(partial)?;
        let mut had = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        if download.size.is_some_and(|size| had >= size) {
            return Ok(());
        }
        let mut total = download.size;
        self.receive(download.url, had, cancel, &mut |part| match part {
            Part::Start { offset, length } => {
                if offset != had {
                    file.file().set_len(offset)?;
                    had = io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
                }
                total = total.or(length.map(|length| offset + length));
                Ok(())
            }
            Part::Bytes(chunk) => {
                file.write_all(chunk)?;
                had += chunk.len() as u64;
                *reached = had;
                too_large(download.url, had, download.size.unwrap_or(download.limit))?;
                progress(had, total);
                Ok(())
            }
        })
    }

    /// Tries until it is done, is refused, or several attempts in a row brought nothing new. Progress starts
    /// the count again: a large file over a bad line takes as many attempts as it needs.
    fn retry(
        &self,
        url: &str,
        cancel: &Cancel,
        mut attempt: impl FnMut(&mut u64) -> Result<(), Attempt>,
    ) -> Result<(), DownloadError> {
        if self.offline {
            return Err(DownloadError::Offline { url: url.to_owned() });
        }
        let (mut best, mut failures) = (0, 0);
        loop {
            let mut reached = 0;
            let reason = match attempt(&mut reached) {
                Ok(()) => return Ok(()),
                Err(Attempt::Over(error)) => return Err(error),
                Err(Attempt::Again(reason)) => reason,
            };
            failures = if reached >= best + PROGRESS { 1 } else { failures + 1 };
            best = best.max(reached);
            if failures >= self.attempts {
                return Err(DownloadError::Network { url: url.to_owned(), reason, attempts: failures });
            }
            let wait = BACK_OFF * 2_u32.pow(failures - 1);
            let (shown, next) = (log::url(url), failures + 1);
            tracing::warn!(reason, had = reached, attempt = next, wait = %log::Seconds(wait), "again: {shown}");
            let until = clock::Instant::now() + wait;
            while clock::Instant::now() < until {
                cancel.check()?;
                clock::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Sends one GET, follows where it leads, and hands over what comes.
    fn receive(
        &self,
        url: &str,
        offset: u64,
        cancel: &Cancel,
        on_part: &mut dyn FnMut(Part<'_>) -> Result<(), Attempt>,
    ) -> Result<(), Attempt> {
        let first = Url::parse(url).ok_or_else(|| Attempt::Again("it is not a URL".into()))?;
        let mut at = first.clone();
        for _ in 0..MOST_REDIRECTS {
            let range = (offset > 0).then(|| ("range", format!("bytes={offset}-")));
            let request = Request {
                method: Method::Get,
                url: at.text(),
                headers: range.into_iter().collect(),
                body: Body::None,
                trust: Trust::default(),
                patience: None,
                led_by: (at.host() != first.host()).then(|| first.host().to_owned()),
            };
            let failed = |error| Attempt::of_http(error, url);
            let mut response = self.transport.send(&request, cancel, &mut || ()).map_err(failed)?;
            if matches!(response.status, 301 | 302 | 303 | 307 | 308)
                && let Some(location) = response.header("location")
            {
                let to = at.join(location);
                at = to.ok_or_else(|| Attempt::Again("it leads to what is no URL".into()))?;
                tracing::debug!(
                    status = response.status,
                    to = at.told(),
                    "redirected from {}",
                    log::url(url)
                );
                continue;
            }
            let start = match response.status {
                200 => 0,
                206 => range_start(&response).unwrap_or(offset),
                // Nothing behind `offset`: what is on disk is whole or wrong, and the digest tells which.
                416 if offset > 0 => return Ok(()),
                status @ (408 | 425 | 429 | 500..=599) => {
                    return Err(Attempt::Again(format!("the server answered {status}")));
                }
                status => return Err(Attempt::Over(DownloadError::Status { url: url.to_owned(), status })),
            };
            if start > offset {
                return Err(Attempt::Again(format!("the server skipped from byte {offset} to byte {start}")));
            }
            on_part(Part::Start { offset: start, length: response.length() })?;
            while let Some(bytes) = response.chunk(cancel).map_err(failed)? {
                on_part(Part::Bytes(&bytes))?;
            }
            return Ok(());
        }
        Err(Attempt::Again("the server redirects without end".into()))
    }
}

/// What `receive` hands over.
enum Part<'a> {
    Start { offset: u64, length: Option<u64> },
    Bytes(&'a [u8]),
}

/// The first byte's position in `Content-Range: bytes 5-9/10` (RFC 9110, section 14.4).
fn range_start(response: &Response) -> Option<u64> {
    response.header("content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn too_large(url: &str, had: u64, limit: u64) -> Result<(), Attempt> {
    if had <= limit {
        return Ok(());
    }
    Err(Attempt::Over(DownloadError::Corrupt {
        url: url.to_owned(),
        expected: format!("at most {limit} bytes"),
        found: "more".into(),
    }))
}

/// Size and digest of a file on disk against what the download says.
fn check(download: &Download<'_>, path: &Path) -> Result<(), DownloadError> {
    let corrupt = |expected: String, found: String| DownloadError::Corrupt {
        url: download.url.to_owned(),
        expected,
        found,
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

fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

fn lock_path(path: &Path) -> PathBuf {
    with_suffix(path, ".lock")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::super::loopback::{Reply, Server};
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn body() -> Vec<u8> {
        (0..300_000_u32).map(|number| (number % 251) as u8).collect()
    }

    fn digest() -> [u8; 32] {
        Sha256::digest(body()).into()
    }

    struct Setup {
        dir: fs::TempDir,
        url: String,
    }

    impl Setup {
        fn new(server: &Server) -> Self {
            Self { dir: tempfile::tempdir().unwrap(), url: format!("{}/file", server.url) }
        }

        fn get(&self, cancel: &Cancel) -> Result<Vec<u8>, DownloadError> {
            let path = self.dir.path().join("file");
            let download =
                Download { url: &self.url, path: &path, sha256: Some(digest()), size: None, limit: 1 << 20 };
            Client::new(false).file(&download, cancel, &mut |_, _| ())?;
            Ok(fs::read(&path).unwrap())
        }
    }

    #[test]
    fn a_cut_connection_is_resumed_where_it_broke() {
        let server = Server::start(|request| match request.number {
            0 => Reply::Cut(body(), 100_000),
            _ => Reply::Whole(body()),
        });
        assert_eq!(Setup::new(&server).get(&Cancel::new()).unwrap(), body());
        let requests = server.requests();
        assert_eq!((requests.len(), requests[1].offset), (2, 100_000));
    }

    #[test]
    fn who_brings_next_to_nothing_at_each_attempt_is_given_up() {
        // Each answer has ten bytes more than the one before it.
        let server = Server::start(|request| Reply::Cut(body(), 10.min(body().len() - request.offset)));
        let error = Setup::new(&server).get(&Cancel::new()).unwrap_err();
        assert!(matches!(error, DownloadError::Network { attempts: ATTEMPTS, .. }), "{error}");
        assert_eq!(server.requests().len(), ATTEMPTS as usize);
    }

    #[test]
    fn what_an_earlier_process_left_is_resumed_and_dropped_if_it_was_wrong() {
        let server = Server::start(|_| Reply::Whole(body()));
        let setup = Setup::new(&server);
        fs::write_atomic(&setup.dir.path().join("file.partial"), b"something else", 0o644).unwrap();
        assert_eq!(setup.get(&Cancel::new()).unwrap(), body());
        let offsets: Vec<_> = server.requests().iter().map(|request| request.offset).collect();
        assert_eq!(offsets, [14, 0]);
    }

    #[test]
    fn wrong_bytes_are_refused_and_not_kept() {
        let server = Server::start(|_| Reply::Whole(vec![7; 1000]));
        let setup = Setup::new(&server);
        let error = setup.get(&Cancel::new()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::CorruptDownload);
        let left: Vec<_> = fs::read_dir(setup.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["file.lock"]);
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
        let server = Server::start(|request| match request.number {
            0 => Reply::Status(503),
            _ => Reply::Whole(body()),
        });
        assert_eq!(Setup::new(&server).get(&Cancel::new()).unwrap(), body());
        let server = Server::start(|_| Reply::Status(404));
        assert!(Setup::new(&server).get(&Cancel::new()).unwrap_err().is_not_found());
        assert_eq!(server.requests().len(), 1);
    }

    #[test]
    fn a_stalled_server_does_not_delay_an_interrupt() {
        let server = Server::start(|_| Reply::Stall(body(), 1000));
        let cancel = Cancel::new().within(Duration::from_millis(300), "the test");
        let start = clock::Instant::now();
        let error = Setup::new(&server).get(&cancel).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let server = Server::start(|_| Reply::Whole(body()));
        let error = Client::new(false).small(&server.url, 1000, &Cancel::new()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::CorruptDownload);
    }

    #[test]
    fn redirects_are_followed_and_end() {
        let other = Server::start(|_| Reply::Whole(body()));
        let to = format!("{}/moved", other.url);
        let moved = |to: &str| {
            Reply::Raw(format!(
                "HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ))
        };
        let server = Server::start(move |_| moved(&to));
        assert_eq!(Setup::new(&server).get(&Cancel::new()).unwrap(), body());
        assert_eq!(other.requests()[0].path, "/moved");
        let server = Server::start(move |_| moved("/again"));
        let error = Setup::new(&server).get(&Cancel::new()).unwrap_err();
        assert!(error.to_string().contains("without end"), "{error}");
    }

    #[test]
    fn offline_asks_nobody() {
        let server = Server::start(|_| Reply::Whole(body()));
        let error = Client::new(true).small(&server.url, 1000, &Cancel::new()).unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Offline);
        assert!(server.requests().is_empty());
    }
}
