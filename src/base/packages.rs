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
use crate::event::{Event, Level, Reporter};
use crate::host::Host;
use crate::image::ImageLayer;
use crate::layer::{self, Compression, Entry, EntryKind, LayerSpec};
use crate::oci::{Descriptor, Digest};
use crate::packages::{self, DownloadUrls, ResolvedBase, ResolvedPackages, Unrun};
use crate::rootfs::{self, IndexError, Root, StreamError};
use crate::sys::cancel::Cancelled;
use crate::sys::hash::sha256_of;
use crate::sys::{fs, store, usage};
use crate::target::platform::Platform;

/// Why a base could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The packages could not be resolved, fetched or unpacked.
    #[error(transparent)]
    Packages(#[from] packages::Error),
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

impl From<fs::LockError> for PackagesError {
    fn from(error: fs::LockError) -> Self {
        error.into_error()
    }
}

impl Explain for PackagesError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Packages(error) => error.exit_code(),
            Self::Layer(error) => error.exit_code(),
            Self::Index(IndexError::Io(error)) | Self::Io(error) => ExitCode::of_io(error),
            Self::Index(IndexError::Stream(StreamError::Cancelled(cancelled)))
            | Self::Cancelled(cancelled) => cancelled.exit_code(),
            Self::Index(_) => ExitCode::CorruptBase,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Packages(error) => error.hint(),
            Self::Layer(error) => error.hint(),
            Self::Index(IndexError::Io(error)) | Self::Io(error) => io_hint(error),
            Self::Index(_) => Some("remove `bases` from the cache directory and build again".into()),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

impl BaseFacts {
    /// The facts for `plan` about a base of these packages.
    #[must_use]
    pub(super) fn of_packages(resolved: &ResolvedPackages) -> Self {
        let packages = resolved.set.plain();
        Self {
            name: format!("apt:{}", packages.release),
            digest: Some(packages.identity()),
            content: format!(
                "{} packages, {} MB to download{}",
                packages.packages.len(),
                packages.download_size().div_ceil(1_000_000),
                resolved.pinned_text()
            ),
            glibc: packages.glibc(),
            added: resolved.set.added().map(AddedPackage::of).collect(),
            releases: resolved.releases(),
        }
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
    pub(super) unrun: Vec<Unrun>,
}

/// The image of a resolved base: from the cache if it is there and intact, otherwise it is assembled.
pub(crate) fn fetch(
    resolved: &ResolvedBase,
    urls: &DownloadUrls,
    request: &FetchRequest<'_>,
    host: Host<'_>,
) -> Result<BaseImage, PackagesError> {
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
pub(super) fn tell_unrun(unrun: &[Unrun], platform: &Platform, reporter: &dyn Reporter) {
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
fn get(dir: &Path) -> Result<Option<CachedLayer>, PackagesError> {
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
) -> Result<CachedLayer, PackagesError> {
    let assembled = packages::assemble_base(resolved, urls, host)?;
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
    make: impl FnOnce(&Path) -> Result<CachedLayer, PackagesError>,
) -> Result<CachedLayer, PackagesError> {
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
fn put(kept: &CachedLayer, dir: &Path) -> Result<(), PackagesError> {
    let bytes = serde_json::to_vec(kept).map_err(std::io::Error::other)?;
    Ok(fs::write_atomic(&record(dir), &bytes, 0o644)?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
