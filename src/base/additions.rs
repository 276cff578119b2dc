//! Debian packages on a base image that is Debian: one additional layer above the image's.
//!
//! The installed packages are read from the image's own database, and its release from its `os-release`. Nothing in the
//! image is replaced except the database, if that is a single file: it then lists the added packages as well, for apt
//! and scanners.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::packages::{CachedLayer, PackagesError, cached_or_made, suffix, tell_unrun};
use super::{BaseImage, FetchRequest, ResolvedBase};
use crate::base::{AddedPackage, BaseFacts};
use crate::event::Event;
use crate::host::Host;
use crate::image::{AddedLayer, ImageLayer};
use crate::layer::{self, Entry, EntryKind, LayerSpec};
use crate::packages::{self, Database, ResolvedPackages};
use crate::rootfs::{self, Kind, Node, Root};
use crate::sys::{store, usage};

/// An image to which packages are to be added.
#[derive(Clone, Debug)]
pub(crate) struct Extended {
    /// The image.
    pub image: ResolvedBase,
    /// The packages, and the URLs to download them from.
    pub packages: ResolvedPackages,
    /// What is installed in the image.
    pub database: Arc<Database>,
}

impl Extended {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> BaseFacts {
        let (facts, packages) = (self.image.facts(), self.packages.set.plain());
        let content = match packages.packages.len() {
            0 => format!("{}, and every package is installed", facts.content),
            count => format!(
                "{}, and {count} packages above, {} MB to download{}",
                facts.content,
                packages.download_size().div_ceil(1_000_000),
                self.packages.pinned_text()
            ),
        };
        let added = self.packages.set.added().map(AddedPackage::of).collect();
        BaseFacts { content, added, releases: self.packages.releases(), ..facts }
    }
}

/// Adds packages to an image: from the cache if the layer is there and intact, otherwise the layer is made.
pub(super) fn lay(
    extended: &Extended,
    base: BaseImage,
    request: &FetchRequest<'_>,
    host: Host<'_>,
) -> Result<BaseImage, PackagesError> {
    let FetchRequest { platform, compression, .. } = *request;
    let Host { cache, cancel, reporter, .. } = host;
    let packages = extended.packages.set.plain();
    if packages.packages.is_empty() {
        return Ok(base);
    }
    let identity = identity(&packages, &base);
    let dir = cache.join("bases").join(format!("{identity}-{}", suffix(compression)));
    usage::mark(&dir);
    store::dir(&dir)?;
    let _lock = store::lock(&dir, cancel)?;
    let kept = cached_or_made(&dir, request, reporter, |dir| {
        let urls = &extended.packages.urls;
        let added = packages::assemble_additions(&packages, &extended.database, urls, host)?;
        let spec = LayerSpec {
            entries: on_image(added.entries, &base.root),
            present: Arc::clone(&base.dirs),
            mtime: 0,
            compression,
            ..LayerSpec::default()
        };
        let layer = layer::write(&spec, dir, cancel, &|_| ())?;
        Ok(CachedLayer {
            descriptor: layer.descriptor,
            diff_id: layer.diff_id,
            environment: Vec::new(),
            dirs: std::collections::BTreeSet::new(),
            unrun: added.unrun,
        })
    })?;
    tell_unrun(&kept.unrun, platform, reporter);
    let layer = ImageLayer {
        blob: dir.join(kept.descriptor.digest.hex()),
        descriptor: kept.descriptor,
        diff_id: kept.diff_id,
        origin: None,
    };
    let mut root = (*base.root).clone();
    let tell = |text: String| reporter.report(Event::warning(text));
    let believed = rootfs::LayerCache { dir: cache, verify: request.verify_cache, tell: &tell };
    let index = rootfs::index_of(&layer.blob, &layer.descriptor, believed, cancel)?;
    root.lay(&index, cancel).map_err(rootfs::IndexError::from)?;
    let names: Vec<&str> = packages.packages.iter().map(|package| package.name.as_str()).collect();
    let created_by = format!("xbuild: Debian's packages {}", names.join(", "));
    let mut added = base.added.clone();
    added.push(AddedLayer { layer, created_by });
    Ok(BaseImage { added, dirs: Arc::new(root.dirs(cancel)?), root: Arc::new(root), ..base })
}

/// The identity of everything that determines the layer's bytes.
fn identity(packages: &packages::ResolvedBase, base: &BaseImage) -> String {
    let mut hasher = Sha256::new();
    hasher.update(packages::ADDITIONS_LAYOUT.to_le_bytes());
    hasher.update(packages.identity());
    for layer in &base.layers {
        hasher.update(layer.diff_id.to_string());
    }
    hex::encode(hasher.finalize())
}

/// Adapts the entries to the image: they go through its links to directories, each path occurs once, and none replaces
/// a directory of the image.
fn on_image(entries: Vec<Entry>, root: &Root) -> Vec<Entry> {
    let hides = |entry: &Entry| match (&entry.kind, root.entry(&entry.path)) {
        (EntryKind::Directory, _) | (_, None) => false,
        // As in dpkg, a directory stays a directory.
        (_, Some(node)) if node.is_dir() => true,
        (EntryKind::Symlink(target), Some(Node { kind: Kind::Symlink(there), .. })) => target == there,
        _ => false,
    };
    let mut placed: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in rootfs::on_base(entries, root).into_iter().filter(|entry| !hides(entry)) {
        placed.entry(entry.path.clone()).or_insert(entry);
    }
    placed.into_values().collect()
}
