//! `apt:SUITE`: a base that is assembled from signed Debian packages, once for each list of packages.
//!
//! The layer is cached under the identity of its packages and its compression. Nothing in it depends on the project, so
//! all projects share it, in registries too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{BaseImage, FetchRequest};
use crate::base::{AddedPackage, BaseFacts};
use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level, ReleaseFacts, Reporter};
use crate::host::Host;
use crate::image::ImageLayer;
use crate::layer::{self, Compression, Entry, EntryKind, LayerSpec};
use crate::oci::{Descriptor, Digest};
use crate::packages::debian::{
    self, AdditionsRequest, Archive, BaseRequest, BaseSet, Dated, DebianSettings, DownloadUrls, ResolvedBase,
};
use crate::rootfs::{self, IndexError, Root, StreamError};
use crate::sys::cancel::Cancelled;
use crate::sys::hash::sha256_of;
use crate::sys::{fs, store, usage};
use crate::target::platform::Platform;

/// Why a base could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AptError {
    /// The packages could not be resolved, fetched or unpacked.
    #[error(transparent)]
    Debian(#[from] debian::Error),
    /// The layer could not be written.
    #[error(transparent)]
    Layer(#[from] layer::Error),
    /// The layer could not be read again.
    #[error("cannot read the assembled base: {0}")]
    Index(#[from] IndexError),
    /// The cache could not be read or written.
    #[error("cannot store the base in the cache: {0}")]
    Io(#[from] std::io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<fs::LockError> for AptError {
    fn from(error: fs::LockError) -> Self {
        error.into_error()
    }
}

impl Explain for AptError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Debian(error) => error.exit_code(),
            Self::Layer(error) => error.exit_code(),
            Self::Index(IndexError::Io(error)) | Self::Io(error) => ExitCode::of_io(error),
            Self::Index(IndexError::Stream(StreamError::Cancelled(cancelled)))
            | Self::Cancelled(cancelled) => cancelled.exit_code(),
            Self::Index(_) => ExitCode::CorruptBase,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Debian(error) => error.hint(),
            Self::Layer(error) => error.hint(),
            Self::Index(IndexError::Io(error)) | Self::Io(error) => io_hint(error),
            Self::Index(_) => Some("remove `bases` from the cache directory and build again".into()),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A Debian release, and which parts of it are used.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseRequest<'a> {
    /// The release's codename.
    pub release: &'a str,
    /// The suites; empty for the release with its updates and its security suite.
    pub suites: &'a [String],
    /// The components; empty for `main`.
    pub components: &'a [String],
    /// The date at which everything is taken, if one was requested.
    pub moment: Option<&'a str>,
}

/// The mirrors and suites of a release, and notes on what was ignored of this machine's apt configuration.
fn sources(
    request: &ReleaseRequest<'_>,
    settings: &DebianSettings,
    host: Host<'_>,
) -> Result<(Vec<debian::Source>, Vec<Event>), debian::Error> {
    // Marks the cache as in use, so that pruning leaves it alone.
    store::open(host.cache)?;
    let configured = debian::Configured {
        archive: settings.mirror.clone(),
        security: settings.security_mirror.clone(),
        snapshot: settings.snapshot.clone(),
    };
    // A configured mirror does not need the host's configuration.
    let whole = configured.archive.is_some();
    let apt = if whole || request.moment.is_some() {
        debian::Host::default()
    } else {
        let apt = debian::Host::read(Path::new("/"));
        apt.with_lists(&debian::cache_dir(host), host.client, host.cancel)?
    };
    let useless = apt.archive.is_empty() && apt.security.is_empty();
    // If other sources of the machine are used, few users care about the ignored ones.
    let level = if useless { Level::Info } else { Level::Detail };
    let passed = |reason: &String| Event::Note {
        level,
        platform: None,
        text: format!("ignored among the sources of this machine's apt: {reason}"),
    };
    let passed = apt.passed.iter().map(passed).collect();
    let sources = debian::select(&debian::Wanted {
        release: request.release,
        suites: request.suites,
        components: request.components,
        moment: request.moment,
        configured,
        host: apt,
        keyrings: settings.keyrings.clone(),
    })?;
    Ok((sources, passed))
}

/// Opens a release: downloads and verifies its suites. They serve every architecture.
///
/// # Errors
///
/// If no mirror can be chosen for a suite, if a release is unavailable, or if its signature or date is invalid.
pub fn open(
    request: &ReleaseRequest<'_>,
    settings: &DebianSettings,
    host: Host<'_>,
) -> Result<Archive, debian::Error> {
    let (sources, passed) = sources(request, settings, host)?;
    for event in passed {
        host.reporter.report(event);
    }
    Archive::open(&sources, host)
}

/// Chooses the packages for a base from an opened release.
pub(crate) fn resolve(
    archive: &Archive,
    request: &BaseRequest<'_>,
    host: Host<'_>,
) -> Result<ResolvedApt, debian::Error> {
    let set = archive.resolve_base(request, host)?;
    Ok(ResolvedApt { releases: dated(&set), set, urls: urls_of(archive), pinned: None })
}

/// Chooses packages to add to an image from an opened release.
pub(crate) fn resolve_additions(
    archive: &Archive,
    request: &AdditionsRequest<'_>,
    host: Host<'_>,
) -> Result<ResolvedApt, debian::Error> {
    let set = archive.resolve_additions(request, host)?;
    Ok(ResolvedApt { releases: dated(&set), set, urls: urls_of(archive), pinned: None })
}

fn urls_of(archive: &Archive) -> DownloadUrls {
    let sources: Vec<debian::Source> = archive.suites().iter().map(|suite| suite.source.clone()).collect();
    DownloadUrls::of(&sources, None)
}

/// The mirror and date of each release that the packages come from.
fn dated(set: &BaseSet) -> Vec<debian::Dated> {
    let dated = |suite: &debian::SuiteOrigin| debian::Dated {
        suite: suite.suite.clone(),
        mirror: suite.mirror.clone(),
        date: suite.date,
    };
    set.suites.iter().map(dated).collect()
}

/// Packages in a lock.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    /// The packages.
    pub set: BaseSet,
    /// The date of a snapshot that has them.
    pub snapshot: Option<String>,
    /// The date of the newest release that contained them.
    pub date: Option<String>,
}

/// The pinned packages. No mirror is asked, as their digests are known. Only the URLs to download them from depend on
/// this machine.
pub(crate) fn pinned(
    pinned: Pinned,
    request: &ReleaseRequest<'_>,
    settings: &DebianSettings,
    host: Host<'_>,
) -> Result<ResolvedApt, debian::Error> {
    let root = debian::snapshot_root(settings.snapshot.as_deref());
    let snapshot = pinned.snapshot.map(|date| debian::Snapshot { root, date });
    let (sources, _) = sources(request, settings, host)?;
    let urls = DownloadUrls::of(&sources, snapshot);
    let date = pinned.date.as_deref().and_then(|date| date.get(..10)).unwrap_or_default().to_owned();
    Ok(ResolvedApt { set: pinned.set, urls, releases: Vec::new(), pinned: Some(date) })
}

/// The packages that a base can be made of, and the URLs to download them from.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedApt {
    /// The packages.
    pub set: BaseSet,
    /// The URLs to download them from.
    pub urls: DownloadUrls,
    /// The releases that they were chosen from; empty if they are pinned.
    pub releases: Vec<debian::Dated>,
    /// The day of the newest release if the packages come from a lock; empty if the lock has no date.
    pub pinned: Option<String>,
}

impl ResolvedApt {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> BaseFacts {
        let packages = self.set.plain();
        BaseFacts {
            name: format!("apt:{}", packages.release),
            digest: Some(packages.identity()),
            content: format!(
                "{} packages, {} MB to download{}",
                packages.packages.len(),
                packages.download_size().div_ceil(1_000_000),
                self.pinned_text()
            ),
            glibc: packages.glibc(),
            added: self.set.added().map(AddedPackage::of).collect(),
            releases: self.releases(),
        }
    }

    /// `, pinned as of 2026-07-11`; empty if they do not come from a lock.
    #[must_use]
    pub(crate) fn pinned_text(&self) -> String {
        match self.pinned.as_deref() {
            None => String::new(),
            Some("") => ", pinned".into(),
            Some(date) => format!(", pinned as of {date}"),
        }
    }

    /// The releases that they were chosen from.
    #[must_use]
    pub(crate) fn releases(&self) -> Vec<ReleaseFacts> {
        self.releases.iter().map(Dated::facts).collect()
    }
}

/// The record of an assembled base, or of packages added to an image, which is stored beside its layer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CachedLayer {
    pub(super) descriptor: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) environment: Vec<String>,
    pub(super) dirs: BTreeSet<String>,
    #[serde(default)]
    pub(super) unrun: Vec<debian::Unrun>,
}

/// The image of a resolved base: from the cache if it is there and intact, otherwise it is assembled.
pub(crate) fn fetch(
    resolved: &ResolvedBase,
    urls: &DownloadUrls,
    request: &FetchRequest<'_>,
    host: Host<'_>,
) -> Result<BaseImage, AptError> {
    let FetchRequest { platform, compression, .. } = *request;
    let Host { cache, cancel, reporter, .. } = host;
    let identity = resolved.identity();
    let dir = cache.join("bases").join(resolved.record(&suffix(compression)));
    usage::mark(&dir);
    store::dir(&dir)?;
    let _lock = store::lock(&dir, cancel)?;
    let kept =
        cached_or_made(&dir, request, reporter, |dir| assemble(resolved, urls, dir, compression, host))?;
    tell_unrun(&kept.unrun, platform, reporter);
    let layer = ImageLayer {
        blob: dir.join(kept.descriptor.digest.hex()),
        descriptor: kept.descriptor,
        diff_id: kept.diff_id,
        origin: None,
    };
    let mut root = Root::default();
    let tell = |text: String| reporter.report(Event::warning(text));
    let believed = rootfs::LayerCache { dir: cache, verify: request.verify_cache, tell: &tell };
    let index = rootfs::index_of(&layer.blob, &layer.descriptor, believed, cancel)?;
    root.lay(&index, cancel).map_err(IndexError::from)?;
    let mut config = json!({
        "os": platform.os(),
        "architecture": platform.architecture(),
        "config": { "Env": kept.environment },
        "history": [{ "created_by": format!("xbuild: Debian {} for {}", resolved.release, resolved.architecture) }],
    });
    if let Some(variant) = platform.variant() {
        config["variant"] = variant.into();
    }
    Ok(BaseImage {
        name: Some(format!("apt:{}", resolved.release)),
        digest: Some(identity),
        config,
        layers: vec![layer],
        root: Arc::new(root),
        dirs: Arc::new(kept.dirs),
        glibc: resolved.glibc(),
        added: Vec::new(),
    })
}

/// Reports what scripts would have done: as a warning if something may be missing without it.
pub(super) fn tell_unrun(unrun: &[debian::Unrun], platform: &Platform, reporter: &dyn Reporter) {
    for unrun in unrun {
        let level = if unrun.effects.is_empty() { Level::Detail } else { Level::Warning };
        let (platform, text) = (Some(platform.clone()), unrun.to_string());
        reporter.report(Event::Note { level, platform, text });
    }
}

pub(super) fn suffix(compression: Compression) -> String {
    match compression {
        Compression::Gzip { level } => format!("gzip{level}"),
        Compression::Zstd { level } => format!("zstd{level}"),
        Compression::None => "tar".into(),
    }
}

/// Largest record that is read, in bytes. It has the names of the base's directories, some 100 KB.
const LARGEST_RECORD: u64 = 64 << 20;

fn record(dir: &Path) -> PathBuf {
    // Format 2 had records of layers whose bytes depended on more of a lock than its digests.
    dir.join("base-3.json")
}

fn parse(bytes: &[u8]) -> Option<CachedLayer> {
    serde_json::from_slice(bytes).ok()
}

/// The digest of the layer in a stored record, if the bytes are a record.
#[must_use]
pub fn layer_of_record(bytes: &[u8]) -> Option<Digest> {
    parse(bytes).map(|kept| kept.descriptor.digest)
}

/// Reads a base that was assembled before, if it is intact: the blob is read and hashed, since its existence proves
/// nothing.
fn get(dir: &Path) -> Result<Option<CachedLayer>, AptError> {
    let Some(bytes) = store::read(&record(dir), LARGEST_RECORD)? else { return Ok(None) };
    let Some(kept) = parse(&bytes) else { return Ok(None) };
    let blob = dir.join(kept.descriptor.digest.hex());
    let whole = match sha256_of(&blob) {
        Ok(sha256) => hex::encode(sha256) == kept.descriptor.digest.hex(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error.into()),
    };
    tracing::debug!(whole, "found an assembled base: {}", blob.display());
    Ok(whole.then_some(kept))
}

/// The directories, and links to directories such as `bin`. A layer with a directory instead of such a link would hide
/// everything in the link's target.
fn dirs(entries: &[Entry]) -> BTreeSet<String> {
    let is_dir = |entry: &&Entry| matches!(entry.kind, EntryKind::Directory);
    let mut dirs: BTreeSet<String> = entries.iter().filter(is_dir).map(|entry| entry.path.clone()).collect();
    let links: Vec<String> = entries
        .iter()
        .filter(|entry| match &entry.kind {
            EntryKind::Symlink(target) => {
                let beside = entry.path.rsplit_once('/').map_or(String::new(), |(dir, _)| format!("{dir}/"));
                dirs.contains(target.trim_start_matches('/')) || dirs.contains(&format!("{beside}{target}"))
            }
            _ => false,
        })
        .map(|entry| entry.path.clone())
        .collect();
    dirs.extend(links);
    dirs
}

fn assemble(
    resolved: &ResolvedBase,
    urls: &DownloadUrls,
    dir: &Path,
    compression: Compression,
    host: Host<'_>,
) -> Result<CachedLayer, AptError> {
    let assembled = debian::assemble_base(resolved, urls, host)?;
    let dirs = dirs(&assembled.entries);
    let spec = LayerSpec {
        entries: assembled.entries,
        // The same for all entries, so that the same packages give the same layer on any day.
        mtime: 0,
        compression,
        ..LayerSpec::default()
    };
    let layer = layer::write(&spec, dir, host.cancel, &|_| ())?;
    Ok(CachedLayer {
        descriptor: layer.descriptor,
        diff_id: layer.diff_id,
        environment: assembled.environment,
        dirs,
        unrun: assembled.unrun,
    })
}

/// Returns a layer that was made before, if it is intact and the cache is trusted. Otherwise calls `make` with a
/// directory to make it in, and compares the result with the cached one.
///
/// A record and a blob that match each other may have been written by anyone with access to the cache. A lock pins the
/// packages, and the same packages give exactly the same layer. So the layer is made again, and the cached one must be
/// identical.
pub(super) fn cached_or_made(
    dir: &Path,
    request: &FetchRequest<'_>,
    reporter: &dyn Reporter,
    make: impl FnOnce(&Path) -> Result<CachedLayer, AptError>,
) -> Result<CachedLayer, AptError> {
    let known = get(dir)?;
    if !request.verify_cache
        && let Some(known) = known
    {
        return Ok(known);
    }
    let there = fs::metadata(record(dir)).is_ok();
    if store::is_writable(dir) {
        let fresh = make(dir)?;
        if known.as_ref() != Some(&fresh) {
            if there {
                tell_altered(dir, request, reporter);
            }
            put(&fresh, dir)?;
        }
        return Ok(fresh);
    }
    writable(dir).or_else(|error| if known.is_some() { Ok(()) } else { Err(error) })?;
    // The cached layer can still be compared.
    let scratch = fs::scratch_dir()?;
    let fresh = make(scratch.path())?;
    if known.as_ref() != Some(&fresh) {
        tell_altered(dir, request, reporter);
        let reason = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        return Err(store::lacking(&record(dir), reason).into());
    }
    Ok(fresh)
}

fn tell_altered(dir: &Path, request: &FetchRequest<'_>, reporter: &dyn Reporter) {
    let text = format!(
        "the cached layer in `{}` is not what the pinned packages give: something else has written to it; the \
         layer was made again",
        dir.display()
    );
    reporter.report(Event::Note { level: Level::Warning, platform: Some(request.platform.clone()), text });
}

/// Fails with an error that names the cache if a layer cannot be written.
fn writable(dir: &Path) -> std::io::Result<()> {
    fs::temporary_file(dir).map(drop).map_err(|error| store::lacking(&record(dir), error))
}

/// Stores the record of a layer beside it.
fn put(kept: &CachedLayer, dir: &Path) -> Result<(), AptError> {
    let bytes = serde_json::to_vec(kept).map_err(std::io::Error::other)?;
    Ok(fs::write_atomic(&record(dir), &bytes, 0o644)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Silent;
    use crate::sys::cancel::Cancel;
    use crate::sys::download::Client;
    use crate::sys::env::Environment;

    /// A caller of the library, unlike the program, may not have opened the cache before. Without a lock on it, the
    /// temporary files written there would be removed by the next run that finds the cache unused.
    #[test]
    fn a_cache_that_is_asked_for_packages_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let request = ReleaseRequest { release: "bookworm", suites: &[], components: &[], moment: None };
        let settings =
            DebianSettings { mirror: Some("http://127.0.0.1:9/debian".into()), ..DebianSettings::default() };
        let (client, cancel, environment) = (Client::new(true), Cancel::new(), Environment::default());
        let (environment, client, cancel) = (&environment, &client, &cancel);
        let host = Host { environment, cache: &cache, client, cancel, reporter: &Silent };
        assert!(open(&request, &settings, host).is_err(), "nothing is kept");
        let lock = fs::File::open(cache.join("in-use")).unwrap().into_parts().0;
        assert!(matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    }

    #[test]
    fn links_to_directories_are_directories_too() {
        let entry = |path: &str, kind| Entry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0 };
        let link = |target: &str| EntryKind::Symlink(target.into());
        let entries = [
            entry("bin", link("usr/bin")),
            entry("usr", EntryKind::Directory),
            entry("usr/bin", EntryKind::Directory),
            entry("usr/sbin", link("bin")),
            entry("usr/bin/sh", link("dash")),
            entry("var", link("/usr")),
        ];
        let expected = ["bin", "usr", "usr/bin", "usr/sbin", "var"];
        assert_eq!(dirs(&entries).into_iter().collect::<Vec<_>>(), expected);
    }
}
