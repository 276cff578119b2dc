//! Base images: the images that a platform's layers are added to, wherever they come from.
//!
//! A base is first resolved and then fetched. Resolving is cheap and provides what `plan` needs to know (the base's
//! identity and its glibc). Fetching makes sure that every blob of it is on this disk and intact.

pub(crate) mod additions;
mod facts;
pub(crate) mod layout;
pub(crate) mod packages;
#[cfg(test)]
mod properties;
pub(crate) mod registry;
mod select;
mod sysroot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use additions::Extended;

use crate::error::{ExitCode, Explain};
use crate::host::Host;
use crate::image::{AddedLayer, ImageLayer};
use crate::layer::Compression;
use crate::lock::{self, AdditionsPin, AssembledPin, ImagePin, Pin, Pins};
use crate::packages::{
    AdditionsError, AdditionsRequest, Archive, BaseRequest, Error as PackageError, Examined, Offer,
    PackagesSettings, Pinned, ReleaseRequest, ResolvedPackages, examine, open, resolve_additions,
    resolve_base, resolve_pinned, suites_of,
};
use crate::registry::{Client as RegistryClient, Config as RegistryConfig};
use crate::rootfs::Root;
use crate::settings::{BaseSource, Machine, PlatformSettings, Settings};
use crate::sys::cancel::Cancelled;
use crate::sys::env::Environment;
use crate::sys::threads::{self, Task};
use crate::target::abi::GlibcVersion;
use crate::target::platform::Platform;

pub use facts::{AddedPackage, BaseFacts};
pub use sysroot::SysrootFacts;
pub(crate) use sysroot::{ResolvedSysroot, SysrootError, release_of_sysroot};

/// A base image for one platform, complete on this disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BaseImage {
    /// Its name, for the annotation `org.opencontainers.image.base.name`; `None` for `scratch`.
    pub name: Option<String>,
    /// Its digest, for the annotation `org.opencontainers.image.base.digest`.
    pub digest: Option<String>,
    /// Its configuration, unchanged, including unknown fields; `null` for `scratch`.
    pub config: Value,
    /// Its layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// What is on its root filesystem.
    pub root: Arc<Root>,
    /// The directories that it has, as paths without a leading slash.
    pub dirs: Arc<BTreeSet<String>>,
    /// The newest glibc version that its `libc.so.6` provides.
    pub glibc: Option<GlibcVersion>,
    /// Layers that are added to it before the project's, lowest first. The root and the directories include them.
    pub added: Vec<AddedLayer>,
}

impl BaseImage {
    /// No base: an empty root filesystem.
    #[must_use]
    pub(crate) fn scratch() -> Self {
        Self {
            name: None,
            digest: None,
            config: Value::Null,
            layers: Vec::new(),
            root: Arc::default(),
            dirs: Arc::default(),
            glibc: None,
            added: Vec::new(),
        }
    }
}

/// Why a platform has no base.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// An error with Debian's packages.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A release that other platforms also need could not be opened.
    #[error("{message}")]
    Release {
        /// What failed.
        message: String,
        /// Its exit code.
        code: ExitCode,
        /// Its hint.
        hint: Option<String>,
    },
    /// An error with an assembled base.
    #[error(transparent)]
    Assembled(Box<packages::PackagesError>),
    /// An error with a layout.
    #[error(transparent)]
    Layout(Box<layout::LayoutBaseError>),
    /// An error with an image in a registry.
    #[error(transparent)]
    Registry(Box<registry::RegistryBaseError>),
    /// `--locked` was given, and the lock does not have the base as configured.
    #[error("the base of {platform} is not pinned as configured, and --locked forbids choosing it again")]
    NotPinned {
        /// The platform.
        platform: Platform,
    },
    /// Debian's packages cannot be added to an image.
    #[error(transparent)]
    Additions(#[from] AdditionsError),
    /// Debian has no port for the platform.
    #[error("Debian has no port for {platform} ({triple})")]
    NoPort {
        /// The platform.
        platform: Platform,
        /// The target triple.
        triple: String,
    },
    /// The run was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl From<packages::PackagesError> for BaseError {
    fn from(error: packages::PackagesError) -> Self {
        Self::Assembled(Box::new(error))
    }
}

impl From<layout::LayoutBaseError> for BaseError {
    fn from(error: layout::LayoutBaseError) -> Self {
        Self::Layout(Box::new(error))
    }
}

impl From<registry::RegistryBaseError> for BaseError {
    fn from(error: registry::RegistryBaseError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl Explain for BaseError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Packages(error) => error.exit_code(),
            Self::Release { code, .. } => *code,
            Self::Assembled(error) => error.exit_code(),
            Self::Layout(error) => error.exit_code(),
            Self::Registry(error) => error.exit_code(),
            Self::NotPinned { .. } => ExitCode::Locked,
            Self::Additions(error) => error.exit_code(),
            Self::NoPort { .. } => ExitCode::NotInBase,
            Self::Cancelled(cancelled) => cancelled.exit_code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Packages(error) => error.hint(),
            Self::Release { hint, .. } => hint.clone(),
            Self::Assembled(error) => error.hint(),
            Self::Layout(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::NotPinned { .. } => Some("run `xbuild lock` and commit the file".into()),
            Self::Additions(error) => error.hint(),
            Self::NoPort { platform, .. } => {
                Some(format!("choose another base for it: --base {platform}=scratch"))
            }
            Self::Cancelled(cancelled) => cancelled.hint(),
        }
    }
}

/// A base that has been identified, but whose blobs need not be on this disk yet.
#[derive(Clone, Debug)]
pub(crate) enum ResolvedBase {
    /// No base.
    Scratch,
    /// A base made of Debian's packages.
    Packages(Box<ResolvedPackages>),
    /// An image in a layout.
    Layout(Box<layout::ResolvedLayout>),
    /// An image in a registry.
    Registry(Box<registry::ResolvedImage>),
    /// An image with Debian packages added to it.
    Extended(Box<Extended>),
}

impl ResolvedBase {
    /// The facts for `plan`.
    #[must_use]
    pub(crate) fn facts(&self) -> BaseFacts {
        match self {
            Self::Scratch => BaseFacts {
                name: "scratch".into(),
                digest: None,
                content: "nothing".into(),
                glibc: None,
                added: Vec::new(),
                releases: Vec::new(),
            },
            Self::Layout(resolved) => resolved.facts(),
            Self::Registry(resolved) => resolved.facts(),
            Self::Packages(resolved) => BaseFacts::of_packages(resolved),
            Self::Extended(extended) => extended.facts(),
        }
    }

    /// Its entry for a lock; `None` if there is nothing to pin.
    #[must_use]
    pub(crate) fn pin(&self, base: &str, wanted: &PlatformSettings) -> Option<Pin> {
        let platform = &wanted.platform;
        match (self, &wanted.base.value) {
            (Self::Packages(resolved), BaseSource::Packages { suite, suites, components, .. }) => {
                let (_, components) = suites_of(suite, suites, components);
                let pin = AssembledPin::of(base, platform, &components, &wanted.packages, &resolved.set);
                Some(Pin::Assembled(Box::new(pin)))
            }
            (Self::Layout(resolved), _) => Some(Pin::Image(Box::new(resolved.pin(base, platform)))),
            (Self::Registry(resolved), _) => Some(Pin::Image(Box::new(resolved.pin(base, platform)))),
            (Self::Extended(extended), _) => match extended.image.pin(base, wanted)? {
                Pin::Image(pin) => {
                    let added = AdditionsPin::of(
                        &wanted.sources.components,
                        &wanted.packages,
                        &extended.packages.set,
                    );
                    Some(Pin::Image(Box::new(ImagePin { additions: Some(Box::new(added)), ..*pin })))
                }
                pin @ Pin::Assembled(_) => Some(pin),
            },
            _ => None,
        }
    }

    /// The libraries among `needed` that can still be added to the base, from packages that it does not contain yet.
    #[must_use]
    pub(crate) fn obtainable(&self, needed: &BTreeSet<String>) -> BTreeSet<String> {
        match self {
            Self::Packages(resolved) => resolved.obtainable(needed),
            Self::Scratch | Self::Layout(_) | Self::Registry(_) | Self::Extended(_) => BTreeSet::new(),
        }
    }

    /// Says what else it may get for libraries of the sysroot that programs are linked against.
    pub(crate) fn offer(&mut self, offer: Offer) {
        if let Self::Packages(resolved) = self {
            resolved.offer = Some(Arc::new(offer));
        }
    }

    /// The Debian packages that it is made of, or that are added to it.
    #[must_use]
    pub(crate) fn packages(&self) -> Option<&ResolvedPackages> {
        match self {
            Self::Packages(resolved) => Some(resolved),
            Self::Extended(extended) => Some(&extended.packages),
            Self::Scratch | Self::Layout(_) | Self::Registry(_) => None,
        }
    }

    /// The root filesystem of an image; `None` if it is not an image yet.
    fn root(&self) -> Option<&Root> {
        match self {
            Self::Layout(resolved) => Some(resolved.root()),
            Self::Registry(resolved) => Some(resolved.root()),
            Self::Scratch | Self::Packages(_) | Self::Extended(_) => None,
        }
    }
}

/// What a run has opened to get bases from: releases, each once for all its platforms, and registries.
#[derive(Debug)]
pub(crate) struct Bases {
    releases: Mutex<BTreeMap<BaseSource, Arc<Archive>>>,
    registries: RegistryClient,
    roots: registry::Roots,
}

impl Bases {
    /// Nothing is opened yet. Registries are accessed by the machine's settings, and the user has chosen those in
    /// `named`.
    #[must_use]
    pub(crate) fn new(machine: &Machine, named: &BTreeSet<String>, environment: &Environment) -> Self {
        let config = RegistryConfig {
            offline: machine.offline,
            registries: machine.registries.clone(),
            named: Some(named.clone()),
            ..RegistryConfig::default()
        };
        Self {
            releases: Mutex::default(),
            registries: RegistryClient::new(config, environment),
            roots: Mutex::default(),
        }
    }

    /// The client for registries, which is shared with the outputs to reuse what it has learnt about them.
    #[must_use]
    pub(crate) fn registries(&self) -> &RegistryClient {
        &self.registries
    }

    /// Resolves the bases of all platforms in parallel, in the order of the settings. Pinned bases are taken as they are.
    pub(crate) fn resolve_all(
        &self,
        settings: &Settings,
        pins: &Pins,
        host: Host<'_>,
    ) -> Vec<Result<ResolvedBase, BaseError>> {
        let resolver = Resolver { bases: self, pins, packages: &settings.machine.packages, host };
        let open = |wanted: &&PlatformSettings| !pins.strict && !pins.bases.contains_key(&wanted.platform);
        let sources: BTreeSet<&BaseSource> =
            settings.platforms.iter().filter(open).map(|wanted| &wanted.base.value).collect();
        let mut failed = BTreeMap::new();
        for source in sources {
            let BaseSource::Packages { suite, suites, components, snapshot } = source else { continue };
            let moment = snapshot.as_deref();
            let request = ReleaseRequest { release: suite, suites, components, moment };
            if let Err(error) = resolver.archive(&request) {
                failed.insert(source, error);
            }
        }
        thread::scope(|scope| {
            let running: Vec<_> = settings
                .platforms
                .iter()
                .map(|wanted| {
                    let failed = failed.get(&wanted.base.value);
                    let resolve = move || match failed {
                        Some(error) => Err(BaseError::Release {
                            message: error.to_string(),
                            code: error.exit_code(),
                            hint: error.hint(),
                        }),
                        None => resolver.resolve(wanted),
                    };
                    threads::begin(scope, resolve)
                })
                .collect();
            running.into_iter().map(Task::join).collect()
        })
    }
}

/// Resolves the bases of a run.
#[derive(Clone, Copy)]
struct Resolver<'a> {
    bases: &'a Bases,
    pins: &'a Pins,
    packages: &'a PackagesSettings,
    host: Host<'a>,
}

impl Resolver<'_> {
    /// A release's archive, which is opened once for everyone who needs it.
    fn archive(&self, request: &ReleaseRequest<'_>) -> Result<Arc<Archive>, BaseError> {
        let source = BaseSource::Packages {
            suite: request.release.to_owned(),
            suites: request.suites.to_vec(),
            components: request.components.to_vec(),
            snapshot: request.moment.map(ToOwned::to_owned),
        };
        // The lock is held while it is opened, so that the other platforms wait for it.
        let mut releases = self.bases.releases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(archive) = releases.get(&source) {
            return Ok(Arc::clone(archive));
        }
        let archive = Arc::new(open(request, self.packages, self.host)?);
        releases.insert(source, Arc::clone(&archive));
        Ok(archive)
    }

    fn resolve(&self, wanted: &PlatformSettings) -> Result<ResolvedBase, BaseError> {
        let pin = self.pins.bases.get(&wanted.platform);
        if pin.is_none() && self.pins.strict && wanted.base.value != BaseSource::Scratch {
            return Err(BaseError::NotPinned { platform: wanted.platform.clone() });
        }
        match &wanted.base.value {
            BaseSource::Scratch => Ok(ResolvedBase::Scratch),
            BaseSource::Packages { suite, suites, components, snapshot } => {
                let architecture = architecture(wanted)?;
                let moment = snapshot.as_deref();
                let request = ReleaseRequest { release: suite, suites, components, moment };
                let resolved = if let Some(Pin::Assembled(pin)) = pin {
                    let (snapshot, date) = (pin.snapshot.clone(), lock::newest(&pin.index));
                    let pinned = Pinned { set: pin.set(), snapshot, date };
                    resolve_pinned(pinned, &request, self.packages, self.host)?
                } else {
                    let archive = self.archive(&request)?;
                    let sysroot = sysroot::is_likely(wanted).then_some(&*wanted.build_packages.names);
                    let request = BaseRequest { architecture, extra: &wanted.packages, sysroot };
                    resolve_base(&archive, &request, self.host)?
                };
                Ok(ResolvedBase::Packages(Box::new(resolved)))
            }
            BaseSource::Layout { path, selector } => {
                let request = layout::LayoutRequest {
                    path,
                    selector,
                    platform: &wanted.platform,
                    target: wanted.target.value,
                    pin: pin.and_then(Pin::image),
                    verify_cache: self.pins.strict,
                };
                let resolved = layout::resolve(&request, self.host)?;
                self.extend(ResolvedBase::Layout(Box::new(resolved)), wanted)
            }
            BaseSource::Registry { name } => {
                let request = registry::ImageRequest {
                    name,
                    platform: &wanted.platform,
                    target: wanted.target.value,
                    pin: pin.and_then(Pin::image),
                    verify_cache: self.pins.strict,
                };
                let Bases { registries, roots, .. } = self.bases;
                let resolved = registry::resolve(&request, registries, roots, self.host)?;
                self.extend(ResolvedBase::Registry(Box::new(resolved)), wanted)
            }
        }
    }

    /// The image with the requested packages; the image itself if there are none.
    fn extend(&self, image: ResolvedBase, wanted: &PlatformSettings) -> Result<ResolvedBase, BaseError> {
        let Some(root) = image.root().filter(|_| !wanted.packages.is_empty()) else { return Ok(image) };
        let Examined { release, database, suites } =
            examine(root, &image.facts().name, &wanted.packages, &wanted.sources)?;
        let architecture = architecture(wanted)?;
        let components = &wanted.sources.components;
        let moment = wanted.sources.snapshot.as_deref();
        let request = ReleaseRequest { release: &release, suites: &suites, components, moment };
        let pin = self.pins.bases.get(&wanted.platform).and_then(Pin::image);
        let packages = if let Some(pin) = pin.and_then(|pin| pin.additions.as_ref()) {
            let (snapshot, date) = (pin.snapshot.clone(), lock::newest(&pin.index));
            let pinned = Pinned { set: pin.set(), snapshot, date };
            resolve_pinned(pinned, &request, self.packages, self.host)?
        } else if self.pins.strict {
            return Err(BaseError::NotPinned { platform: wanted.platform.clone() });
        } else {
            let archive = self.archive(&request)?;
            let packages = wanted.packages.as_slice();
            let request = AdditionsRequest { architecture, packages, database: &database };
            resolve_additions(&archive, &request, self.host)?
        };
        let database = Arc::new(database);
        Ok(ResolvedBase::Extended(Box::new(Extended { image, packages, database })))
    }
}

/// Debian's name for a platform's architecture.
fn architecture(wanted: &PlatformSettings) -> Result<&'static str, BaseError> {
    let target = wanted.target.value;
    let port = target.port.as_ref().ok_or_else(|| BaseError::NoPort {
        platform: wanted.platform.clone(),
        triple: target.triple.clone(),
    })?;
    Ok(&port.architecture)
}

/// What [`fetch`] needs besides the base.
#[derive(Clone, Copy)]
pub(crate) struct FetchRequest<'a> {
    /// The platform.
    pub platform: &'a Platform,
    /// Libraries that the payload needs and the base can get.
    pub libraries: &'a BTreeSet<String>,
    /// True if the bytes of its layers are needed.
    pub content: bool,
    /// How an assembled base is compressed.
    pub compression: Compression,
    /// True to distrust an assembled base in the cache: it is assembled again from verified packages, and compared.
    pub verify_cache: bool,
}

/// Makes sure that a base is on this disk and intact.
pub(crate) fn fetch(
    resolved: &ResolvedBase,
    request: &FetchRequest<'_>,
    host: Host<'_>,
) -> Result<BaseImage, BaseError> {
    match resolved {
        ResolvedBase::Extended(extended) => {
            let image = fetch(&extended.image, request, host)?;
            Ok(additions::lay(extended, image, request, host)?)
        }
        ResolvedBase::Scratch => Ok(BaseImage::scratch()),
        ResolvedBase::Layout(resolved) => Ok(resolved.fetch(host.cancel)?),
        ResolvedBase::Registry(resolved) => {
            Ok(resolved.fetch(request.content, request.platform, host.cancel, host.reporter)?)
        }
        ResolvedBase::Packages(resolved) => {
            let packages = resolved.base(request.libraries)?;
            Ok(packages::fetch(&packages, &resolved.urls, request, host)?)
        }
    }
}
