//! Downloads and caches what an archive has: releases, package indexes, packages.
//!
//! Indexes and packages are cached under their digest and never downloaded twice. A release is downloaded each time,
//! except offline, since it defines what is current. Nothing is trusted because it is in the cache: every file is
//! hashed, and every release verified, when it is read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::error::{Error, OutOfStep};
use super::keys::Keyring;
use super::release::{File, Release};
use super::sources::{Mirror, Source};
use crate::event::{Event, Level, MirrorOrigin};
use crate::host::Host;
use crate::sys::download::{Client, Download, DownloadError};
use crate::sys::{clock, fs, store, threads, usage};

/// Maximum size of a release, in bytes. Real ones have 150 KB.
pub(super) const RELEASE_LIMIT: u64 = 16 << 20;
/// The number of packages that are downloaded in parallel for one platform.
const CONNECTIONS: usize = 4;

/// The directory of Debian's files in the cache.
pub(crate) fn cache_dir(host: Host<'_>) -> PathBuf {
    host.cache.join("debian")
}

/// What Debian's archives have, from the cache or over the network.
#[derive(Clone, Copy)]
pub(super) struct Access<'a> {
    pub(super) host: Host<'a>,
}

/// Why a package was not downloaded.
#[derive(Debug)]
pub(super) enum PackageFault {
    /// The only URL, or the first that could be used, failed.
    Download(DownloadError),
    /// It is missing at some URLs, and the last one failed.
    Superseded { tried: Vec<String>, last: DownloadError },
    /// There is no URL to try.
    NoPlace,
}

impl From<DownloadError> for PackageFault {
    fn from(error: DownloadError) -> Self {
        Self::Download(error)
    }
}

impl From<io::Error> for PackageFault {
    fn from(error: io::Error) -> Self {
        Self::Download(error.into())
    }
}

/// A file to download: its description for messages, its URLs, and its expected digest and size.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) what: String,
    /// The URLs, which are tried in turn as long as they do not have the file.
    pub(super) urls: Vec<String>,
    /// How many of them are mirrors of the same archive.
    pub(super) mirrors: usize,
    pub(super) sha256: [u8; 32],
    pub(super) size: u64,
}

impl Access<'_> {
    /// A directory of the cache, which is created if it is missing.
    pub(super) fn dir(&self, name: &str) -> io::Result<PathBuf> {
        let dir = cache_dir(self.host).join(name);
        store::dir(&dir)?;
        Ok(dir)
    }

    /// The verified release of a source, and the source with the mirror that has it. If one mirror cannot serve it, the
    /// next is tried, which is reported.
    pub(super) fn release(&self, source: &Source, keyring: &Keyring) -> Result<(Source, Release), Error> {
        let mirrors: Vec<Mirror> = source.mirrors().collect();
        let mut failed: Vec<(Mirror, Error)> = Vec::new();
        let mut older = None;
        for (at, mirror) in mirrors.iter().enumerate() {
            let (address, from) = (mirror.address.clone(), mirror.from);
            let others = mirrors[at + 1..].to_vec();
            let source = Source { mirror: address, from, others, ..source.clone() };
            let got = self.release_of(&source, &self.client_for(mirror, mirrors.len()), keyring);
            let got = got.and_then(|(release, document)| {
                match self.not_older(&source, &release, &document, keyring) {
                    Ok(()) => Ok(release),
                    Err(error) => {
                        older.get_or_insert((source.clone(), release));
                        Err(error)
                    }
                }
            });
            match got {
                Ok(release) => {
                    if let Some((first, error)) = failed.first() {
                        let what = format!("the release of {}: {error}", source.suite);
                        self.tell_turn(first, &what, mirror);
                    }
                    return Ok((source, release));
                }
                Err(error) if !error.is_of_mirror() => return Err(error),
                Err(error) => failed.push((mirror.clone(), error)),
            }
        }
        // If no mirror has the release that was seen before, that one is used: its indexes may be in the cache, or on a
        // mirror under their digest.
        if let Some((source, served)) = older
            && let Some(known) = self.newest_known(&source, &served, keyring)?
        {
            return Ok((source, known));
        }
        let mut failed = failed.into_iter();
        // There is always at least one mirror.
        let (_, first) = failed.next().unwrap_or_else(|| unreachable!("a source has a mirror"));
        let others: Vec<String> = failed.map(|(_, error)| error.to_string()).collect();
        if others.is_empty() || matches!(first, Error::Download(DownloadError::Offline { .. })) {
            return Err(first);
        }
        Err(Error::NoMirror { first: Box::new(first), others })
    }

    /// Reports that a mirror cannot serve something and another one does. It is a warning if the machine's
    /// configuration names the mirror.
    fn tell_turn(&self, first: &Mirror, what: &str, then: &Mirror) {
        let level = if first.from == MirrorOrigin::Host { Level::Warning } else { Level::Info };
        let text = format!(
            "`{}` ({}) does not serve {what}; it is taken from `{}` ({})",
            first.address, first.from, then.address, then.from
        );
        self.host.reporter.report(Event::Note { level, platform: None, text });
    }

    /// The client for a mirror. If there are others, it gives up soon on one that does not answer.
    fn client_for(&self, mirror: &Mirror, all: usize) -> Client {
        match mirror.from {
            _ if all == 1 => self.host.client.clone(),
            MirrorOrigin::Official => self.host.client.trying(1),
            _ => self.host.client.trying(2),
        }
    }

    /// The release on a source's mirror. Offline it is the one that was downloaded last, which may have expired.
    fn release_of(
        &self,
        source: &Source,
        client: &Client,
        keyring: &Keyring,
    ) -> Result<(Release, Vec<u8>), Error> {
        let url = source.url(&format!("dists/{}/InRelease", source.suite));
        let kept = self.dir("releases")?.join(hex::encode(Sha256::digest(&url)));
        let offline = self.host.client.is_offline();
        let document = if offline {
            usage::mark(&kept);
            let known = store::read(&kept, RELEASE_LIMIT)?;
            known.ok_or_else(|| Error::Download(DownloadError::Offline { url: url.clone() }))?
        } else {
            match client.small(&url, RELEASE_LIMIT, self.host.cancel) {
                Err(error) if error.is_not_found() => {
                    let (suite, mirror) = (source.suite.clone(), source.mirror.clone());
                    return Err(Error::NoSuite { suite, mirror });
                }
                document => document?,
            }
        };
        let release = Release::verify(&document, keyring, source, clock::unix_now(), offline)?;
        if !offline {
            store::keep(&kept, &document)?;
        }
        Ok((release, document))
    }

    /// The compressed bytes of a package index. `path` is its path in the suite. The signed release has its digest, so
    /// it does not matter which mirror it comes from.
    pub(super) fn index(
        &self,
        source: &Source,
        by_hash: bool,
        (component, architecture, path): (&str, &str, &str),
        file: File,
    ) -> Result<Vec<u8>, Error> {
        let digest = hex::encode(file.sha256);
        let kept = self.dir("indexes")?.join(&digest);
        if let Some(bytes) = read_verified(&kept, &file.sha256)? {
            return Ok(bytes);
        }
        let what = format!("package index of {} ({architecture})", source.suite);
        let mut failed: Vec<(Mirror, Error)> = Vec::new();
        let mirrors: Vec<Mirror> = source.mirrors().collect();
        for mirror in &mirrors {
            let client = self.client_for(mirror, mirrors.len());
            let base = format!("{}/dists/{}", mirror.address, source.suite);
            let error = match self.index_of(&client, &base, by_hash, path, (&kept, &what, file)) {
                Ok(None) => {
                    if let Some((first, error)) = failed.first() {
                        let reason = match error {
                            Error::OutOfStep(fault) => format!("the {what}: {}", fault.found),
                            other => format!("the {what}: {other}"),
                        };
                        self.tell_turn(first, &reason, mirror);
                    }
                    return Ok(fs::read(&kept)?);
                }
                Ok(Some(found)) => Error::OutOfStep(Box::new(OutOfStep {
                    mirror: mirror.address.clone(),
                    suite: source.suite.clone(),
                    component: component.to_owned(),
                    architecture: architecture.to_owned(),
                    expected: format!("sha256:{digest}"),
                    found,
                })),
                Err(error) => error,
            };
            if !error.is_of_mirror() {
                return Err(error);
            }
            failed.push((mirror.clone(), error));
        }
        let mut failed = failed.into_iter().map(|(_, error)| error);
        let first = failed.next().unwrap_or_else(|| unreachable!("a source has a mirror"));
        let others: Vec<String> = failed.map(|error| error.to_string()).collect();
        if others.is_empty() || matches!(first, Error::Download(DownloadError::Offline { .. })) {
            return Err(first);
        }
        Err(Error::NoMirror { first: Box::new(first), others })
    }

    /// Downloads an index from one mirror. If the mirror has something else, returns a description of that.
    fn index_of(
        &self,
        client: &Client,
        base: &str,
        by_hash: bool,
        path: &str,
        (kept, what, file): (&Path, &str, File),
    ) -> Result<Option<String>, Error> {
        let digest = hex::encode(file.sha256);
        let (dir, _) = path.rsplit_once('/').unwrap_or_default();
        let hashed = format!("{base}/{dir}/by-hash/SHA256/{digest}");
        let mut found = String::new();
        for url in by_hash.then_some(hashed).into_iter().chain([format!("{base}/{path}")]) {
            // The size is only a limit, so that a file of another size is also reported with its digest.
            let download =
                Download { url: &url, path: kept, sha256: Some(file.sha256), size: None, limit: file.size };
            match client.file(&download, self.host.cancel, &mut |done, _| {
                let what = what.to_owned();
                self.host.reporter.report(Event::Download { what, done, total: Some(file.size) });
            }) {
                Ok(()) => return Ok(None),
                Err(DownloadError::Corrupt { found: None, .. }) => {
                    found = format!("more than its {} bytes", file.size);
                }
                Err(DownloadError::Corrupt { found: Some(bytes), .. }) => found = bytes,
                Err(error) if error.is_not_found() => {
                    if found.is_empty() {
                        found = "no such file".into();
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(found))
    }

    /// Downloads the packages that are not in the cache, several in parallel. Returns the first failure in their order,
    /// with its position.
    pub(super) fn packages(&self, wanted: &[Wanted]) -> Result<(), (usize, PackageFault)> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let failures = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS.min(wanted.len()) {
                threads::begin(scope, || {
                    while !failed.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = wanted.get(at) else { break };
                        if let Err(error) = self.ensure(one) {
                            failed.store(true, Ordering::Relaxed);
                            failures.lock().unwrap_or_else(PoisonError::into_inner).push((at, error));
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.into_iter().min_by_key(|(at, _)| *at).map_or(Ok(()), Err)
    }

    fn ensure(&self, wanted: &Wanted) -> Result<(), PackageFault> {
        let kept = self.kept(wanted)?;
        if read_verified(&kept, &wanted.sha256)?.is_some() {
            return Ok(());
        }
        let Some((last, others)) = wanted.urls.split_last() else { return Err(PackageFault::NoPlace) };
        let mut tried = Vec::new();
        for (at, url) in others.iter().enumerate() {
            // If another mirror can be asked, any response without the file is enough to go on.
            let stands_in = at + 1 < wanted.mirrors;
            // As for releases, give up soon if another URL can be tried.
            let client = if stands_in { self.host.client.trying(2) } else { self.host.client.clone() };
            match self.get(&client, wanted, url, &kept) {
                Err(error) if error.is_not_found() => tried.push(format!("it is not at {url}")),
                Err(error) if stands_in && error.is_of_server() => tried.push(error.to_string()),
                result => return self.got(wanted, url, &tried, result),
            }
        }
        self.got(wanted, last, &tried, self.get(self.host.client, wanted, last, &kept))
    }

    fn get(&self, client: &Client, wanted: &Wanted, url: &str, kept: &Path) -> Result<(), DownloadError> {
        let (sha256, size) = (Some(wanted.sha256), Some(wanted.size));
        let download = Download { url, path: kept, sha256, size, limit: wanted.size };
        client.file(&download, self.host.cancel, &mut |done, total| {
            self.host.reporter.report(Event::Download { what: wanted.what.clone(), done, total });
        })
    }

    /// Reports the URL where a package was found if it was not the first one.
    fn got(
        &self,
        wanted: &Wanted,
        url: &str,
        tried: &[String],
        result: Result<(), DownloadError>,
    ) -> Result<(), PackageFault> {
        match (result, tried) {
            (result, []) => Ok(result?),
            (Ok(()), _) => {
                let is_mirror = wanted.urls[..wanted.mirrors].iter().any(|known| known == url);
                let (level, text) = if is_mirror {
                    (Level::Detail, format!("{}: {}; it was found at `{url}`", wanted.what, tried[0]))
                } else {
                    let text = format!("the mirror has dropped {}; it was found at `{url}`", wanted.what);
                    (Level::Info, text)
                };
                self.host.reporter.report(Event::Note { level, platform: None, text });
                Ok(())
            }
            (Err(DownloadError::Cancelled(cancelled)), _) => Err(DownloadError::Cancelled(cancelled).into()),
            (Err(last), tried) => Err(PackageFault::Superseded { tried: tried.to_vec(), last }),
        }
    }

    /// The bytes of a package that [`Access::packages`] downloaded, hashed again.
    pub(super) fn package(&self, wanted: &Wanted) -> Result<Vec<u8>, DownloadError> {
        let kept = self.kept(wanted)?;
        match read_verified(&kept, &wanted.sha256)? {
            Some(bytes) => Ok(bytes),
            // The cache was emptied or modified in the meantime.
            None => Err(DownloadError::Corrupt {
                url: kept.display().to_string(),
                expected: format!("sha256:{}", hex::encode(wanted.sha256)),
                found: Some("something else".into()),
            }),
        }
    }

    fn kept(&self, wanted: &Wanted) -> io::Result<PathBuf> {
        Ok(self.dir("packages")?.join(format!("{}.deb", hex::encode(wanted.sha256))))
    }
}

/// A file's bytes if it exists and has this digest.
fn read_verified(path: &Path, sha256: &[u8; 32]) -> io::Result<Option<Vec<u8>>> {
    usage::mark(path);
    let bytes = fs::unless_missing(fs::read(path))?;
    Ok(bytes.filter(|bytes| Sha256::digest(bytes)[..] == sha256[..]))
}
