//! `registry/repository[:tag][@digest]`: a base from a registry.
//!
//! Documents and layers are cached under their digests, and verified whenever they are read from the cache. A layer is
//! only fetched when its bytes are needed: for its index, which is made once and then cached, or for an output that
//! contains the layers. When pushing to a registry that already has the layer, it is referenced there instead.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::BaseImage;
use super::select::{self, Choice, list, list_all};
use crate::base::BaseFacts;
use crate::error::{ExitCode, Explain};
use crate::event::{Event, Level, Reporter};
use crate::host::Host;
use crate::image::ImageLayer;
use crate::lock::ImagePin;
use crate::oci::name::{ImageName, Wanted};
use crate::oci::{Descriptor, Digest, media_type, total_size};
use crate::registry::{Access, Client, RegistryError, Repository, parallel};
use crate::rootfs::{self, IndexError, LayerCache, LayerIndex, Root, StreamError};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::store as private;
use crate::sys::{fs, usage};
use crate::target::abi::GlibcVersion;
use crate::target::catalog::Target;
use crate::target::platform::Platform;
use crate::text::counted;

/// The number of a base's layers that are fetched in parallel.
const AT_ONCE: usize = 4;

/// Why an image in a registry cannot be used as a base.
#[derive(Debug, thiserror::Error)]
pub enum RegistryBaseError {
    /// The registry reported an error.
    #[error("cannot get the base: {0}")]
    Registry(#[from] RegistryError),
    /// The registry no longer has the pinned image.
    #[error("the base `{name}` no longer has the pinned manifest {pinned}")]
    NotPinned {
        /// The base.
        name: String,
        /// The pinned manifest.
        pinned: Digest,
    },
    /// The image does not have the platform.
    #[error("the base `{name}` has no image for {wanted}; it has {}", list(available))]
    PlatformNotInBase {
        /// The base.
        name: String,
        /// The platform.
        wanted: Platform,
        /// The platforms that it has.
        available: Vec<String>,
    },
    /// Several images of it serve the platform equally well.
    #[error("the base `{name}` has {} images for {wanted}: {}", found.len(), list_all(found))]
    SeveralForPlatform {
        /// The base.
        name: String,
        /// The platform.
        wanted: Platform,
        /// The images that serve it.
        found: Vec<(Platform, Digest)>,
    },
    /// A document does not have the form that the specification requires, or refers to something missing.
    #[error("the base `{name}` is damaged: {reason}")]
    Shape {
        /// The base.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A layer cannot be read.
    #[error("the layer {digest} of the base `{name}` cannot be read: {source}")]
    Layer {
        /// The base.
        name: String,
        /// The layer.
        digest: Digest,
        /// Why.
        source: StreamError,
    },
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<io::Error> for RegistryBaseError {
    fn from(error: io::Error) -> Self {
        Self::Registry(error.into())
    }
}

impl Explain for RegistryBaseError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Registry(RegistryError::NotFound { .. })
            | Self::NotPinned { .. }
            | Self::SeveralForPlatform { .. } => ExitCode::NoBase,
            Self::Registry(RegistryError::Document { .. } | RegistryError::TooLarge { .. }) => {
                ExitCode::CorruptBase
            }
            Self::Registry(error) => error.exit_code(),
            Self::PlatformNotInBase { .. } => ExitCode::NotInBase,
            Self::Layer { source, .. } => source.exit_code(ExitCode::CorruptBase),
            Self::Shape { .. } => ExitCode::CorruptBase,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::NotPinned { .. } => Some(
                "push it again by its digest, or pin the image that the name has now: `xbuild lock --update`"
                    .into(),
            ),
            Self::PlatformNotInBase { wanted, .. } => {
                Some(format!("leave {wanted} out, or give it another base: --base {wanted}=BASE"))
            }
            Self::SeveralForPlatform { found, .. } => {
                found.first().map(|(_, digest)| format!("choose one by its digest: NAME@{digest}"))
            }
            Self::Layer { source, .. } => {
                source.hint().or_else(|| Some("choose another base, or have this one pushed again".into()))
            }
            Self::Shape { .. } => Some("choose another base, or have this one pushed again".into()),
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A platform's image in a registry, with what is known from its root filesystem.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedImage {
    store: Store,
    name: ImageName,
    /// The digest of the index that the name refers to, if it is an index.
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
pub(crate) struct ImageRequest<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// The platform.
    pub platform: &'a Platform,
    /// The target whose glibc is looked up.
    pub target: &'a Target,
    /// The pinned manifest. If it is set, the tag is not looked up.
    pub pin: Option<&'a ImagePin>,
    /// True to distrust what the cache has about layers: they are read again.
    pub verify_cache: bool,
}

/// What names have been resolved to in this run. If a tag moves while its platforms are looked up, all of them still
/// get the same image.
pub(crate) type Roots = Mutex<BTreeMap<ImageName, Descriptor>>;

/// A repository, and its documents and blobs in the cache.
#[derive(Clone, Debug)]
struct Store {
    repository: Repository,
    dir: PathBuf,
    offline: bool,
}

/// Looks up a platform's image and reads the index of its root filesystem.
pub(crate) fn resolve(
    request: &ImageRequest<'_>,
    client: &Client,
    roots: &Roots,
    host: Host<'_>,
) -> Result<ResolvedImage, RegistryBaseError> {
    let Host { cache, cancel, reporter, .. } = host;
    let name = request.name;
    let shape = |reason: String| RegistryBaseError::Shape { name: name.to_string(), reason };
    let store = Store {
        repository: client.repository(&name.repository, Access::Pull),
        dir: cache.join("registry"),
        offline: client.is_offline(),
    };
    // Marks the cache as in use, so that pruning leaves it alone.
    private::open(cache)?;
    private::dir(&store.dir.join("blobs/sha256"))?;
    let (index, manifest, from) = if let Some(pin) = request.pin {
        (pin.index.clone(), pin.descriptor(), pin.descriptor())
    } else {
        let root = store.shared_root(name, roots, cancel)?;
        let manifest = store.platform_manifest(&root, request, cancel)?;
        ((root.digest != manifest.digest).then(|| root.digest.clone()), manifest, root)
    };
    let document = store.json(&manifest, &from, name, cancel).map_err(|error| match error {
        RegistryBaseError::Registry(RegistryError::NotFound { .. }) if request.pin.is_some() => {
            RegistryBaseError::NotPinned { name: name.to_string(), pinned: manifest.digest.clone() }
        }
        error => error,
    })?;
    let config = select::config(&document).map_err(shape)?;
    let config = store.json(&config, &manifest, name, cancel)?;
    if request.pin.is_some()
        && let Some(reason) = select::of_another_platform(&manifest.digest, &config, request.platform)
    {
        return Err(shape(reason));
    }
    let mut layers = select::layers(&document, &config).map_err(shape)?;
    let tell = |text: String| reporter.report(Event::warning(text));
    let kept = LayerCache { dir: cache, verify: request.verify_cache, tell: &tell };
    let missing = layers_without_index(&layers, kept, name)?;
    store.fetch(&missing, request.platform, name, cancel, reporter)?;
    let mut root = Root::default();
    let mut known = BTreeSet::new();
    for (layer, diff_id) in &mut layers {
        // A layer may occur any number of times, and what this run has just made is trusted.
        let first = known.insert((layer.digest.clone(), layer.size));
        let index =
            store.index_of(layer, name, LayerCache { verify: kept.verify && first, ..kept }, cancel)?;
        if index.diff_id != *diff_id {
            return Err(shape(format!(
                "the layer {} unpacks to {}, but the configuration has {diff_id}",
                layer.digest, index.diff_id
            )));
        }
        if let Some((own, text)) = select::as_its_bytes(layer, &index).map_err(shape)? {
            let platform = Some(request.platform.clone());
            reporter.report(Event::Note { level: Level::Warning, platform, text });
            *layer = own;
        }
        root.lay(&index, cancel).map_err(|error| explain(error.into(), layer, name))?;
    }
    let dirs = Arc::new(root.dirs(cancel)?);
    let glibc = root.glibc(request.target);
    let (name, root) = (name.clone(), Arc::new(root));
    Ok(ResolvedImage { store, name, index, manifest, config, layers, root, dirs, glibc })
}

/// The layers that must be downloaded because the cache has no index of them.
fn layers_without_index(
    layers: &[(Descriptor, Digest)],
    kept: LayerCache<'_>,
    name: &ImageName,
) -> Result<Vec<Descriptor>, RegistryBaseError> {
    let mut missing = Vec::new();
    for (layer, _) in layers {
        let known = rootfs::known_index(layer, kept).map_err(|error| explain(error, layer, name))?;
        if known.is_none() {
            missing.push(layer.clone());
        }
    }
    Ok(missing)
}

fn explain(error: IndexError, layer: &Descriptor, name: &ImageName) -> RegistryBaseError {
    match error {
        IndexError::MediaType(_) => {
            RegistryBaseError::Shape { name: name.to_string(), reason: error.to_string() }
        }
        IndexError::Stream(StreamError::Cancelled(cancelled)) => cancelled.into(),
        IndexError::Stream(source) => {
            RegistryBaseError::Layer { name: name.to_string(), digest: layer.digest.clone(), source }
        }
        IndexError::Io(error) => error.into(),
    }
}

impl Store {
    /// The path of a blob in the cache.
    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Resolves a name, once per run for all platforms.
    fn shared_root(
        &self,
        name: &ImageName,
        roots: &Roots,
        cancel: &Cancel,
    ) -> Result<Descriptor, RegistryBaseError> {
        // The lock is held during the request, so that the other platforms wait for its result.
        let mut roots = roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = roots.get(name) {
            return Ok(root.clone());
        }
        let root = self.root(name, cancel)?;
        roots.insert(name.clone(), root.clone());
        Ok(root)
    }

    /// The manifest below a root that serves the platform best.
    fn platform_manifest(
        &self,
        root: &Descriptor,
        request: &ImageRequest<'_>,
        cancel: &Cancel,
    ) -> Result<Descriptor, RegistryBaseError> {
        let chosen = select::manifest(std::slice::from_ref(root), request.platform, &mut |entry| {
            self.json(entry, root, request.name, cancel)
        })?;
        let (name, wanted) = (request.name.to_string(), request.platform.clone());
        match chosen {
            Choice::Manifest(manifest) => Ok(manifest),
            Choice::Lacking(available) => {
                Err(RegistryBaseError::PlatformNotInBase { name, wanted, available })
            }
            Choice::Several(found) => Err(RegistryBaseError::SeveralForPlatform { name, wanted, found }),
            Choice::Shape(reason) => Err(RegistryBaseError::Shape { name, reason }),
        }
    }

    /// Resolves a name. Offline, this is what it was last resolved to.
    fn root(&self, name: &ImageName, cancel: &Cancel) -> Result<Descriptor, RegistryBaseError> {
        let (dir, key) = (self.dir.join("names"), Digest::of(name.to_string().as_bytes()));
        let known = dir.join(key.hex());
        if let Some(digest) = &name.digest
            && let Some(bytes) = self.kept(digest, None)?
            && let Ok(document) = serde_json::from_slice::<Value>(&bytes)
            && let Some(media_type) = document["mediaType"].as_str()
        {
            return Ok(Descriptor::new(media_type, digest.clone(), bytes.len() as u64));
        }
        if self.offline {
            usage::mark(&known);
            let absent = RegistryError::Offline { what: name.to_string() };
            let bytes = private::read(&known, crate::oci::MANIFEST_LIMIT)?;
            let known: Option<Descriptor> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            return known.ok_or_else(|| absent.into());
        }
        let document = self.repository.manifest(name.wanted(), cancel)?;
        self.keep(document.digest(), &document.bytes)?;
        // If nothing can be stored, it is requested again the next time.
        if private::is_writable(&self.dir) {
            private::dir(&dir)?;
            private::keep(&known, &crate::oci::to_vec(&document.descriptor))?;
        }
        Ok(document.descriptor)
    }

    /// Reads a document from the cache, if it is there and intact.
    fn kept(&self, digest: &Digest, size: Option<u64>) -> Result<Option<Vec<u8>>, RegistryBaseError> {
        let path = self.path(digest);
        usage::mark(&path);
        let Some(metadata) = fs::unless_missing(fs::metadata(&path))? else { return Ok(None) };
        if metadata.len() > crate::oci::MANIFEST_LIMIT
            || !metadata.is_file()
            || size.is_some_and(|size| size != metadata.len())
        {
            return Ok(None);
        }
        let bytes = fs::read(&path)?;
        let mut hasher = digest.algorithm().hasher();
        hasher.update(&bytes);
        Ok((hasher.finish() == *digest).then_some(bytes))
    }

    fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<(), RegistryBaseError> {
        let path = self.path(digest);
        private::dir(path.parent().unwrap_or(&self.dir))?;
        Ok(private::keep(&path, bytes)?)
    }

    /// Gets a manifest, an index or a configuration from the registry.
    fn document(&self, descriptor: &Descriptor, cancel: &Cancel) -> Result<Vec<u8>, RegistryError> {
        let media = &descriptor.media_type;
        if media_type::is_index(media) || media_type::is_manifest(media) {
            return Ok(self.repository.manifest(Wanted::Digest(&descriptor.digest), cancel)?.bytes);
        }
        self.repository.small_blob(descriptor, cancel)
    }

    /// A document that `from` refers to, verified and parsed; from the cache if it is there.
    fn json(
        &self,
        descriptor: &Descriptor,
        from: &Descriptor,
        name: &ImageName,
        cancel: &Cancel,
    ) -> Result<Value, RegistryBaseError> {
        let shape = |reason: String| RegistryBaseError::Shape { name: name.to_string(), reason };
        let bytes = if let Some(bytes) = self.kept(&descriptor.digest, Some(descriptor.size))? {
            bytes
        } else {
            let bytes = self.document(descriptor, cancel).map_err(|error| match error {
                // The name is right then, but what it refers to is missing.
                RegistryError::NotFound { what, .. } if descriptor.digest != from.digest => {
                    shape(format!("{} refers to `{what}`, which the repository does not have", from.digest))
                }
                error => error.into(),
            })?;
            if bytes.len() as u64 != descriptor.size {
                let (digest, size, found) = (&descriptor.digest, descriptor.size, bytes.len());
                return Err(shape(format!("{digest} has {found} bytes, but its descriptor has {size}")));
            }
            self.keep(&descriptor.digest, &bytes)?;
            bytes
        };
        serde_json::from_slice(&bytes)
            .map_err(|error| shape(format!("{} is not JSON: {error}", descriptor.digest)))
    }

    /// What a layer does to the root filesystem. A blob in the cache may come from a run that was killed, so it was
    /// verified before it is read here.
    fn index_of(
        &self,
        layer: &Descriptor,
        name: &ImageName,
        kept: LayerCache<'_>,
        cancel: &Cancel,
    ) -> Result<LayerIndex, RegistryBaseError> {
        let failed = |error| explain(error, layer, name);
        if let Some(index) = rootfs::known_index(layer, kept).map_err(failed)? {
            return Ok(index);
        }
        rootfs::index_of(&self.path(&layer.digest), layer, kept, cancel).map_err(failed)
    }

    /// Downloads layers into the cache, several in parallel; those that are already there are verified.
    fn fetch(
        &self,
        layers: &[Descriptor],
        platform: &Platform,
        name: &ImageName,
        cancel: &Cancel,
        reporter: &dyn Reporter,
    ) -> Result<(), RegistryBaseError> {
        let distinct: BTreeSet<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
        let mut wanted: Vec<&Descriptor> = Vec::new();
        for digest in distinct {
            wanted.extend(layers.iter().find(|layer| layer.digest == *digest));
        }
        let total = total_size(wanted.iter().copied());
        let (done, what) = (AtomicU64::new(0), format!("{name} ({platform})"));
        parallel::each(&wanted, AT_ONCE, cancel, |layer, cancel| {
            let path = self.path(&layer.digest);
            usage::mark(&path);
            private::dir(path.parent().unwrap_or(&self.dir))?;
            let mut before = 0;
            let mut progress = |now: u64| {
                let more = now.saturating_sub(before);
                before = before.max(now);
                let done = done.fetch_add(more, Ordering::Relaxed) + more;
                reporter.report(Event::Download { what: what.clone(), done, total: Some(total) });
            };
            self.repository.fetch_blob(layer, &path, cancel, &mut progress).map_err(|error| match error {
                RegistryError::NotFound { what, .. } => RegistryBaseError::Shape {
                    name: name.to_string(),
                    reason: format!("it refers to `{what}`, which the repository does not have"),
                },
                error => error.into(),
            })
        })
        .map(drop)
    }
}

impl ResolvedImage {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> BaseFacts {
        let size = total_size(self.layers.iter().map(|(layer, _)| layer));
        BaseFacts {
            name: self.name.to_string(),
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
            name: Some(self.shown()),
            index: self.index.clone(),
            digest: self.manifest.digest.clone(),
            size: self.manifest.size,
            media_type: self.manifest.media_type.clone(),
            additions: None,
        }
    }

    /// The full name, without a digest if it has a tag: the digest has an annotation of its own.
    fn shown(&self) -> String {
        match (&self.name.tag, &self.name.digest) {
            (Some(_), Some(_)) => ImageName { digest: None, ..self.name.clone() }.to_string(),
            _ => self.name.to_string(),
        }
    }

    /// The image. If `content` is set its layers are downloaded and verified, otherwise only their repository is
    /// recorded.
    pub(crate) fn fetch(
        &self,
        content: bool,
        platform: &Platform,
        cancel: &Cancel,
        reporter: &dyn Reporter,
    ) -> Result<BaseImage, RegistryBaseError> {
        if content {
            let layers: Vec<Descriptor> = self.layers.iter().map(|(layer, _)| layer.clone()).collect();
            self.store.fetch(&layers, platform, &self.name, cancel, reporter)?;
        }
        let layers = self.layers.iter().map(|(descriptor, diff_id)| ImageLayer {
            descriptor: descriptor.clone(),
            diff_id: diff_id.clone(),
            blob: self.store.path(&descriptor.digest),
            origin: Some(self.name.repository.clone()),
        });
        Ok(BaseImage {
            name: Some(self.shown()),
            digest: Some(self.manifest.digest.to_string()),
            config: self.config.clone(),
            layers: layers.collect(),
            root: Arc::clone(&self.root),
            dirs: Arc::clone(&self.dirs),
            glibc: self.glibc,
            added: Vec::new(),
        })
    }
}
