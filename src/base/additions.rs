//! Debian packages on a base image that is Debian: one additional layer above the image's.
//!
//! The installed packages are read from the image's own database, and its release from its `os-release`. Nothing in the
//! image is replaced except the database, if that is a single file: it then lists the added packages as well, for apt
//! and scanners.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::apt::{self, AptError, CachedLayer, ResolvedApt};
use super::{BaseImage, FetchRequest, ResolvedBase};
use crate::base::{AddedPackage, BaseFacts};
use crate::error::{ExitCode, Explain};
use crate::event::Event;
use crate::host::Host;
use crate::image::{AddedLayer, ImageLayer};
use crate::layer::{self, Entry, EntryKind, LayerSpec};
use crate::packages::debian::{self, Database};
use crate::rootfs::{self, Kind, Node, Root};
use crate::settings::PlatformSettings;
use crate::sys::{store, usage};

/// Why packages cannot be added to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdditionsError {
    /// It is another distribution, or unknown.
    #[error("Debian's packages ({}) cannot be added to the base `{base}`: {found}", packages.join(", "))]
    NotDebian {
        /// The base.
        base: String,
        /// What it is instead, as a sentence.
        found: String,
        /// The packages.
        packages: Vec<String>,
    },
    /// It does not name its release.
    #[error("the base `{base}` is Debian, but its os-release does not name the release")]
    NoRelease {
        /// The base.
        base: String,
    },
    /// It has no database of packages.
    #[error(
        "the base `{base}` is Debian {release}, but has neither /var/lib/dpkg/status nor /var/lib/dpkg/status.d, so \
         its installed packages are unknown"
    )]
    NoDatabase {
        /// The base.
        base: String,
        /// Its release.
        release: String,
    },
    /// The project's suites are those of another release.
    #[error("the base `{base}` is Debian {release}, and the suite `{suite}` does not belong to that release")]
    ForeignSuite {
        /// The base.
        base: String,
        /// Its release.
        release: String,
        /// The suite.
        suite: String,
    },
}

impl Explain for AdditionsError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::ForeignSuite { .. } => ExitCode::Config,
            Self::NotDebian { .. } | Self::NoRelease { .. } | Self::NoDatabase { .. } => ExitCode::Package,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotDebian { .. } => "use a base that is Debian, such as apt:bookworm, or install the packages of \
                                       its own distribution in the base image; a package for some platforms only belongs \
                                       under [platform.\"…\"]"
                .into(),
            Self::NoRelease { .. } | Self::NoDatabase { .. } => {
                "use a base image that has them, or apt:SUITE".into()
            }
            Self::ForeignSuite { release, .. } => {
                format!("name suites like `{release}` and `{release}-security`, or none")
            }
        })
    }
}

/// An image to which packages are to be added.
#[derive(Clone, Debug)]
pub(crate) struct Extended {
    /// The image.
    pub image: ResolvedBase,
    /// The packages, and the URLs to download them from.
    pub apt: ResolvedApt,
    /// What is installed in the image.
    pub database: Arc<Database>,
}

impl Extended {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> BaseFacts {
        let (facts, packages) = (self.image.facts(), self.apt.set.plain());
        let content = match packages.packages.len() {
            0 => format!("{}, and every package is installed", facts.content),
            count => format!(
                "{}, and {count} packages above, {} MB to download{}",
                facts.content,
                packages.download_size().div_ceil(1_000_000),
                self.apt.pinned_text()
            ),
        };
        let added = self.apt.set.added().map(AddedPackage::of).collect();
        BaseFacts { content, added, releases: self.apt.releases(), ..facts }
    }
}

/// What is known about an image from its own files.
#[derive(Clone, Debug)]
pub(super) struct Examined {
    /// The release's codename.
    pub(super) release: String,
    /// What is installed.
    pub(super) database: Database,
    /// The suites to choose packages from; empty for the default.
    pub(super) suites: Vec<String>,
}

/// Determines the Debian release and the installed packages of a root filesystem.
pub(super) fn examine(
    root: &Root,
    base: &str,
    wanted: &PlatformSettings,
) -> Result<Examined, AdditionsError> {
    let base = base.to_owned();
    let system = root.system();
    let Some(system) = system.as_ref().filter(|system| system.is_debian()) else {
        let found = system
            .map_or_else(|| "it has no /etc/os-release".into(), |system| format!("it is {}", system.name));
        return Err(AdditionsError::NotDebian { base, found, packages: wanted.packages.clone() });
    };
    let Some(release) = system.codename.clone() else { return Err(AdditionsError::NoRelease { base }) };
    let Some(database) = database(root) else { return Err(AdditionsError::NoDatabase { base, release }) };
    let sources = &wanted.sources;
    if let Some(suite) = sources.project.iter().find(|suite| !debian::is_of_release(suite, &release)) {
        return Err(AdditionsError::ForeignSuite { base, release, suite: suite.clone() });
    }
    let suites = sources.of_release(&release);
    Ok(Examined { release, database, suites })
}

/// The packages installed in a root filesystem; `None` if it has no database.
fn database(root: &Root) -> Option<Database> {
    if let Some(bytes) = root.file("var/lib/dpkg/status").and_then(rootfs::File::bytes) {
        // A database of the first format has no such file.
        let qualified = root.lookup("var/lib/dpkg/info/format").is_some();
        return Some(Database::of_status(&String::from_utf8_lossy(bytes), qualified));
    }
    let dir = root.real_path("var/lib/dpkg/status.d")?;
    let parts: Vec<String> = root
        .below(&dir)
        .filter_map(|(_, node)| Some(String::from_utf8_lossy(node.file()?.bytes()?).into_owned()))
        .collect();
    (!parts.is_empty()).then(|| Database::of_parts(parts.iter().map(String::as_str)))
}

/// Adds packages to an image: from the cache if the layer is there and intact, otherwise the layer is made.
pub(super) fn lay(
    extended: &Extended,
    base: BaseImage,
    request: &FetchRequest<'_>,
    host: Host<'_>,
) -> Result<BaseImage, AptError> {
    let FetchRequest { platform, compression, .. } = *request;
    let Host { cache, cancel, reporter, .. } = host;
    let packages = extended.apt.set.plain();
    if packages.packages.is_empty() {
        return Ok(base);
    }
    let identity = identity(&packages, &base);
    let dir = cache.join("bases").join(format!("{identity}-{}", apt::suffix(compression)));
    usage::mark(&dir);
    store::dir(&dir)?;
    let _lock = store::lock(&dir, cancel)?;
    let kept = apt::cached_or_made(&dir, request, reporter, |dir| {
        let urls = &extended.apt.urls;
        let added = debian::assemble_additions(&packages, &extended.database, urls, host)?;
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
    apt::tell_unrun(&kept.unrun, platform, reporter);
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
fn identity(packages: &debian::ResolvedBase, base: &BaseImage) -> String {
    let mut hasher = Sha256::new();
    hasher.update(debian::additions::LAYOUT.to_le_bytes());
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
