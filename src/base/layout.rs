//! `oci:PATH[:TAG]`: a base from an OCI image layout (a directory or a tar archive of one), or from an archive written
//! by `docker save`.
//!
//! Nothing is trusted before its digest is checked. The annotation of the base's name contains the tag but never the
//! path, so that the image does not depend on where the base is stored.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::BaseImage;
use super::select::{self, Choice, list, list_all};
use crate::base::BaseFacts;
use crate::error::{ExitCode, Explain, io_hint};
use crate::event::{Event, Level};
use crate::host::Host;
use crate::image::ImageLayer;
use crate::layout::choose::{self, names_of};
use crate::layout::{Layout, ReadError, Selector};
use crate::lock::ImagePin;
use crate::oci::{Descriptor, Digest, total_size};
use crate::rootfs::{self, IndexError, LayerCache, LayerIndex, Root, StreamError};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::hash::sha256_until;
use crate::sys::staging::Staging;
use crate::sys::{fs, store, usage};
use crate::target::abi::GlibcVersion;
use crate::target::catalog::Target;
use crate::target::platform::Platform;
use crate::text::counted;
use crate::transport::{self, TransportError};

/// Why a layout cannot be used as a base.
#[derive(Debug, thiserror::Error)]
pub enum LayoutBaseError {
    /// There is nothing at the path.
    #[error("the base `{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// The layout has no such image.
    #[error("the base `{}` has no image `{wanted}`; it has {}", path.display(), ways_of(ways))]
    NoTag {
        /// The layout.
        path: PathBuf,
        /// The tag, name or digest that was requested.
        wanted: String,
        /// The images that it has, each with a selector that identifies it.
        ways: Vec<Selector>,
    },
    /// The layout has several images and none was selected, or it has none at all.
    #[error("the base `{}{selector}` has not one image but {}", path.display(), ways_of(ways))]
    Ambiguous {
        /// The layout.
        path: PathBuf,
        /// The selector that was given.
        selector: Selector,
        /// The images that it can mean, each with a selector that identifies it.
        ways: Vec<Selector>,
    },
    /// Several images of it serve the platform equally well.
    #[error("the base `{}` has {} images for {wanted}: {}", path.display(), found.len(), list_all(found))]
    SeveralForPlatform {
        /// The base.
        path: PathBuf,
        /// The platform.
        wanted: Platform,
        /// The images that serve it.
        found: Vec<(Platform, Digest)>,
    },
    /// The layout no longer has the pinned image.
    #[error("the base `{}` does not have the pinned manifest {pinned}; it has {}", path.display(), list(available))]
    NotPinned {
        /// The layout.
        path: PathBuf,
        /// The pinned manifest.
        pinned: Digest,
        /// What it has instead.
        available: Vec<String>,
    },
    /// The image does not have the platform.
    #[error("the base `{}` has no image for {wanted}; it has {}", path.display(), list(available))]
    PlatformNotInBase {
        /// The layout.
        path: PathBuf,
        /// The platform.
        wanted: Platform,
        /// The platforms that it has.
        available: Vec<String>,
    },
    /// An archive does not contain an image, or cannot be read.
    #[error("the base {source}")]
    Archive {
        /// Why.
        source: Box<TransportError>,
    },
    /// A document or blob is missing, truncated, modified or of the wrong kind.
    #[error("the base `{}` is damaged: {source}", path.display())]
    Damaged {
        /// The layout.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// A document does not have the form that the specification requires.
    #[error("the base `{}` is damaged: {reason}", path.display())]
    Shape {
        /// The layout.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A layer cannot be read.
    #[error("the layer {digest} of the base `{}` cannot be read: {source}", path.display())]
    Layer {
        /// The layout.
        path: PathBuf,
        /// The layer.
        digest: Digest,
        /// Why.
        source: StreamError,
    },
    /// A file could not be read or written.
    #[error("cannot read the base: {0}")]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Explain for LayoutBaseError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing(_)
            | Self::NotPinned { .. }
            | Self::NoTag { .. }
            | Self::Ambiguous { .. }
            | Self::SeveralForPlatform { .. }
            | Self::Damaged { source: ReadError::NotALayout { .. }, .. } => ExitCode::NoBase,
            Self::Archive { source } => match source.exit_code() {
                ExitCode::NoImage => ExitCode::NoBase,
                ExitCode::CorruptImage => ExitCode::CorruptBase,
                code => code,
            },
            Self::PlatformNotInBase { .. } => ExitCode::NotInBase,
            Self::Layer { source, .. } => source.exit_code(ExitCode::CorruptBase),
            Self::Damaged { .. } | Self::Shape { .. } => ExitCode::CorruptBase,
            Self::Io(error) => ExitCode::of_io(error),
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some(
                "write the path of an OCI layout or of an archive, as in --base oci:PATH[:TAG] or docker-archive:FILE".into(),
            ),
            Self::Archive { source } => source.hint(),
            Self::NoTag { path, ways, .. } | Self::Ambiguous { path, ways, .. } => {
                Some(ways.first().map_or("choose another base".into(), |way| {
                    format!("choose one, as in oci:{}{way}", path.display())
                }))
            }
            Self::SeveralForPlatform { path, found, .. } => found
                .first()
                .map(|(_, digest)| format!("choose one by its digest: oci:{}@{digest}", path.display())),
            Self::NotPinned { .. } => {
                Some("restore the pinned image, or pin the current one: `xbuild lock --update`".into())
            }
            Self::PlatformNotInBase { wanted, .. } => {
                Some(format!("leave {wanted} out, or give it another base: --base {wanted}=BASE"))
            }
            Self::Layer { source, .. } => source.hint().or_else(|| Some("fetch or make the base again".into())),
            Self::Damaged { .. } | Self::Shape { .. } => {
                Some("fetch or make the base again".into())
            }
            Self::Io(error) => io_hint(error),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A platform's image in a layout, with what is known from its root filesystem.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedLayout {
    layout: Layout,
    path: PathBuf,
    name: Option<String>,
    /// The digest of the index that its name refers to, if it is an index.
    index: Option<Digest>,
    manifest: Descriptor,
    config: Value,
    layers: Vec<(Descriptor, Digest)>,
    root: Arc<Root>,
    dirs: Arc<BTreeSet<String>>,
    glibc: Option<GlibcVersion>,
}

/// The image to look up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayoutRequest<'a> {
    /// The layout's directory or archive.
    pub path: &'a Path,
    /// Selects one of its images.
    pub selector: &'a Selector,
    /// The platform.
    pub platform: &'a Platform,
    /// The target whose glibc is looked up.
    pub target: &'a Target,
    /// The pinned manifest. If it is set, the tag is not looked up.
    pub pin: Option<&'a ImagePin>,
    /// True to distrust what the cache has about layers: they are read again.
    pub verify_cache: bool,
}

/// Looks up a platform's image and reads the index of its root filesystem.
pub(crate) fn resolve(
    request: &LayoutRequest<'_>,
    host: Host<'_>,
) -> Result<ResolvedLayout, LayoutBaseError> {
    let Host { cache, cancel, reporter, .. } = host;
    // Marks the cache as in use, so that pruning leaves it alone.
    store::open(cache)?;
    let path = request.path.to_owned();
    let damaged = |source| match source {
        ReadError::Cancelled(cancelled) => LayoutBaseError::Cancelled(cancelled),
        source => LayoutBaseError::Damaged { path: path.clone(), source },
    };
    let shape = |reason: &str| LayoutBaseError::Shape { path: path.clone(), reason: reason.to_owned() };
    let root = match fs::metadata(request.path) {
        Ok(metadata) if metadata.is_dir() => request.path.to_owned(),
        Ok(_) => unpack(request.path, cache, cancel)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LayoutBaseError::Missing(path)),
        Err(error) => return Err(error.into()),
    };
    let layout = Layout::open(&root).map_err(damaged)?;
    let (name, index, manifest) = find_manifest(&layout, request, &damaged)?;
    let document = layout.json(&manifest).map_err(damaged)?;
    let config = select::config(&document).map_err(|reason| shape(&reason))?;
    let config = layout.json(&config).map_err(damaged)?;
    if request.pin.is_some()
        && let Some(reason) = select::of_another_platform(&manifest.digest, &config, request.platform)
    {
        return Err(shape(&reason));
    }
    let mut layers = select::layers(&document, &config).map_err(|reason| shape(&reason))?;
    let mut root = Root::default();
    // A layer may occur any number of times, and is read once.
    let mut verified = BTreeSet::new();
    for (descriptor, diff_id) in &mut layers {
        let blob = layout.blob(&descriptor.digest);
        let first = verified.insert((descriptor.digest.clone(), descriptor.size));
        if first {
            layout.verify(&*descriptor, cancel).map_err(damaged)?;
        }
        // What this run has just made is trusted.
        let request = &LayoutRequest { verify_cache: request.verify_cache && first, ..*request };
        let index = index_of(&blob, descriptor, request, host)?;
        if index.diff_id != *diff_id {
            return Err(shape(&format!(
                "the layer {} unpacks to {}, but the configuration has {diff_id}",
                descriptor.digest, index.diff_id
            )));
        }
        if let Some((own, text)) =
            select::as_its_bytes(descriptor, &index).map_err(|reason| shape(&reason))?
        {
            let platform = Some(request.platform.clone());
            reporter.report(Event::Note { level: Level::Warning, platform, text });
            *descriptor = own;
        }
        root.lay(&index, cancel).map_err(|error| explain(error.into(), descriptor, request))?;
    }
    let dirs = Arc::new(root.dirs(cancel)?);
    let glibc = root.glibc(request.target);
    let root = Arc::new(root);
    Ok(ResolvedLayout { layout, path, name, index, manifest, config, layers, root, dirs, glibc })
}

/// The image's name, the digest of its index if it has one, and the platform's manifest.
fn find_manifest(
    layout: &Layout,
    request: &LayoutRequest<'_>,
    damaged: &dyn Fn(ReadError) -> LayoutBaseError,
) -> Result<(Option<String>, Option<Digest>, Descriptor), LayoutBaseError> {
    if let Some(pin) = request.pin {
        return Ok((pin.name.clone(), pin.index.clone(), pinned(layout, request, pin)?));
    }
    let roots = choose_entry(layout, request, damaged)?;
    let name = roots.first().and_then(|entry| names_of(entry).into_iter().next());
    let manifest = choose_manifest(layout, &roots, request, damaged)?;
    // If the layout itself lists the platforms, there is no document with that list.
    let index = match roots.as_slice() {
        [entry] if entry.digest != manifest.digest => Some(entry.digest.clone()),
        _ => None,
    };
    Ok((name, index, manifest))
}

/// The pinned manifest, if the layout still has it. Its bytes are verified when they are read.
fn pinned(
    layout: &Layout,
    request: &LayoutRequest<'_>,
    pin: &ImagePin,
) -> Result<Descriptor, LayoutBaseError> {
    match fs::metadata(layout.blob(&pin.digest)) {
        Ok(_) => Ok(pin.descriptor()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let path = request.path.to_owned();
            let damaged = |source| LayoutBaseError::Damaged { path: path.clone(), source };
            let now = choose_entry(layout, request, &damaged)
                .and_then(|roots| choose_manifest(layout, &roots, request, &damaged));
            let available = now.map(|manifest| manifest.digest.to_string()).into_iter().collect();
            Err(LayoutBaseError::NotPinned { path, pinned: pin.digest.clone(), available })
        }
        Err(error) => Err(error.into()),
    }
}

/// The selected entry of `index.json`, or the entries of an image whose platforms are listed there.
fn choose_entry(
    layout: &Layout,
    request: &LayoutRequest<'_>,
    damaged: &dyn Fn(ReadError) -> LayoutBaseError,
) -> Result<Vec<Descriptor>, LayoutBaseError> {
    let entries = layout.entries().map_err(damaged)?;
    let mut read = |entry: &Descriptor| layout.json(entry).ok();
    let (path, selector) = (request.path.to_owned(), request.selector.clone());
    let several = match choose::choose(&entries, &selector, &mut read) {
        choose::Choice::Entry(entry) => return Ok(vec![entry]),
        choose::Choice::Platforms(list) => return Ok(list),
        choose::Choice::Several(several) => several,
        choose::Choice::Nothing => {
            let ways = choose::ways(&entries, &entries, &mut read);
            let wanted = match &selector {
                Selector::Only => return Err(LayoutBaseError::Ambiguous { path, selector, ways }),
                Selector::Name(name) => name.clone(),
                Selector::Digest(digest) => digest.to_string(),
            };
            return Err(LayoutBaseError::NoTag { path, wanted, ways });
        }
    };
    let ways = choose::ways(&entries, &several, &mut read);
    Err(LayoutBaseError::Ambiguous { path, selector, ways })
}

/// Formats images for a message, by their selectors.
fn ways_of(ways: &[Selector]) -> String {
    let name = |way: &Selector| way.to_string().trim_start_matches([':', '@']).to_owned();
    list(&ways.iter().map(name).collect::<Vec<_>>())
}

/// The manifest that serves the platform best.
fn choose_manifest(
    layout: &Layout,
    roots: &[Descriptor],
    request: &LayoutRequest<'_>,
    damaged: &dyn Fn(ReadError) -> LayoutBaseError,
) -> Result<Descriptor, LayoutBaseError> {
    let path = request.path.to_owned();
    let chosen = select::manifest(roots, request.platform, &mut |descriptor| layout.json(descriptor));
    match chosen.map_err(damaged)? {
        Choice::Manifest(manifest) => Ok(manifest),
        Choice::Lacking(available) => {
            Err(LayoutBaseError::PlatformNotInBase { path, wanted: request.platform.clone(), available })
        }
        Choice::Several(found) => {
            Err(LayoutBaseError::SeveralForPlatform { path, wanted: request.platform.clone(), found })
        }
        Choice::Shape(reason) => Err(LayoutBaseError::Shape { path, reason }),
    }
}

/// What a layer does to the root filesystem.
fn index_of(
    blob: &Path,
    descriptor: &Descriptor,
    request: &LayoutRequest<'_>,
    host: Host<'_>,
) -> Result<LayerIndex, LayoutBaseError> {
    let tell = |text: String| host.reporter.report(Event::warning(text));
    let cache = LayerCache { dir: host.cache, verify: request.verify_cache, tell: &tell };
    rootfs::index_of(blob, descriptor, cache, host.cancel)
        .map_err(|error| explain(error, descriptor, request))
}

fn explain(error: IndexError, descriptor: &Descriptor, request: &LayoutRequest<'_>) -> LayoutBaseError {
    match error {
        IndexError::MediaType(_) => {
            LayoutBaseError::Shape { path: request.path.to_owned(), reason: error.to_string() }
        }
        IndexError::Stream(StreamError::Cancelled(cancelled)) => cancelled.into(),
        IndexError::Stream(source) => LayoutBaseError::Layer {
            path: request.path.to_owned(),
            digest: descriptor.digest.clone(),
            source,
        },
        IndexError::Io(error) => error.into(),
    }
}

/// Unpacks an archive into the cache as a layout, under the archive's own digest. Returns the directory.
fn unpack(archive: &Path, cache: &Path, cancel: &Cancel) -> Result<PathBuf, LayoutBaseError> {
    let dir = cache.join("layouts");
    store::dir(&dir)?;
    let done = dir.join(hex::encode(sha256_until::<LayoutBaseError>(archive, cancel)?));
    usage::mark_directory(&done);
    if done.join("oci-layout").exists() {
        // Blobs are verified later, but only the index says which of the images has a name.
        for part in [&done, &done.join("index.json"), &done.join("oci-layout"), &done.join("blobs")] {
            store::check(part)?;
        }
        return Ok(done);
    }
    // This also removes what a killed run has left.
    let work = Staging::within(&dir, &done, cancel).map_err(|error| match error {
        fs::LockError::Io(error) => store::lacking(&done, error).into(),
        fs::LockError::Cancelled(cancelled) => LayoutBaseError::from(cancelled),
    })?;
    transport::unpack(archive, work.path(), cancel).map_err(|error| match error {
        TransportError::Cancelled(cancelled) => cancelled.into(),
        source => LayoutBaseError::Archive { source: Box::new(source) },
    })?;
    match fs::rename(work.path(), &done) {
        Ok(()) => Ok(done),
        // Another run was faster.
        Err(_) if done.join("oci-layout").exists() => Ok(done),
        Err(error) => Err(error.into()),
    }
}

impl ResolvedLayout {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> BaseFacts {
        let size = total_size(self.layers.iter().map(|(layer, _)| layer));
        let file = self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        BaseFacts {
            name: match &self.name {
                Some(name) => format!("oci:{file}:{name}"),
                None => format!("oci:{file}"),
            },
            digest: Some(self.manifest.digest.to_string()),
            content: format!("{}, {} MB", counted(self.layers.len(), "layer"), size.div_ceil(1_000_000)),
            glibc: self.glibc,
            added: Vec::new(),
            releases: Vec::new(),
        }
    }

    /// What is on its root filesystem.
    #[must_use]
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Its entry for a lock.
    #[must_use]
    pub(crate) fn pin(&self, base: &str, platform: &Platform) -> ImagePin {
        ImagePin {
            base: base.to_owned(),
            platform: platform.clone(),
            name: self.name.clone(),
            index: self.index.clone(),
            digest: self.manifest.digest.clone(),
            size: self.manifest.size,
            media_type: self.manifest.media_type.clone(),
            additions: None,
        }
    }

    /// The image, with every blob verified now.
    pub(crate) fn fetch(&self, cancel: &Cancel) -> Result<BaseImage, LayoutBaseError> {
        let (mut layers, mut verified) = (Vec::new(), BTreeSet::new());
        for (descriptor, diff_id) in &self.layers {
            let blob = self.layout.blob(&descriptor.digest);
            if verified.insert((&descriptor.digest, descriptor.size)) {
                self.layout.verify(descriptor, cancel).map_err(|source| match source {
                    ReadError::Cancelled(cancelled) => LayoutBaseError::Cancelled(cancelled),
                    source => LayoutBaseError::Damaged { path: self.path.clone(), source },
                })?;
            }
            layers.push(ImageLayer {
                descriptor: descriptor.clone(),
                diff_id: diff_id.clone(),
                blob,
                origin: None,
            });
        }
        Ok(BaseImage {
            name: self.name.clone(),
            digest: Some(self.manifest.digest.to_string()),
            config: self.config.clone(),
            layers,
            root: Arc::clone(&self.root),
            dirs: Arc::clone(&self.dirs),
            glibc: self.glibc,
            added: Vec::new(),
        })
    }
}
