//! The parts of a lock that a run needs, and the needs of the run that the lock does not cover.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::compare::Difference;
use super::{
    AdditionsPin, AssembledPin, ImagePin, IndexPin, Lock, PackagePin, RustPin, SysrootPin, ToolchainPin,
    Unread,
};
use crate::oci::{Descriptor, Digest};
use crate::packages::{
    BaseSet, Package, ReleaseRequest, SuiteOrigin, SysrootRequest, recipe_digest, sort_packages, suites_of,
};
use crate::settings::{BaseSource, PlatformSettings};
use crate::target::platform::Platform;
use crate::toolchain::provided::Verified;

/// A pinned base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Debian's packages.
    Assembled(Box<AssembledPin>),
    /// An image.
    Image(Box<ImagePin>),
}

impl Pin {
    /// The pinned image; `None` for Debian's packages.
    #[must_use]
    pub fn image(&self) -> Option<&ImagePin> {
        match self {
            Self::Assembled(_) => None,
            Self::Image(pin) => Some(pin),
        }
    }

    /// Its base and platform.
    #[must_use]
    pub fn key(&self) -> (&str, &Platform) {
        match self {
            Self::Assembled(pin) => (&pin.base, &pin.platform),
            Self::Image(pin) => (&pin.base, &pin.platform),
        }
    }
}

/// The pins of a lock for a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pins {
    /// True if only pinned inputs may be used (`--locked`), and the content of the cache is not trusted.
    pub strict: bool,
    /// True if there is a lock or one is written, so that everything possible about the inputs is recorded.
    pub locking: bool,
    /// The pinned bases.
    pub bases: BTreeMap<Platform, Pin>,
    /// The pinned sysroots.
    pub sysroots: BTreeMap<Platform, SysrootPin>,
    /// What the run needs and the lock lacks, or has for another configuration.
    pub unmet: Vec<Difference>,
    /// The pinned Rust toolchain.
    pub rust: Option<RustPin>,
    /// The pinned toolchain, of those that xbuild finds or provides.
    pub provided: Option<ToolchainPin>,
}

impl Pins {
    /// The pins for these platforms of `lock`, which is in the directory `dir`.
    #[must_use]
    pub(crate) fn of(lock: &Lock, platforms: &[PlatformSettings], dir: &Path, strict: bool) -> Self {
        let mut pins = Self {
            strict,
            locking: true,
            bases: BTreeMap::new(),
            sysroots: lock.sysroot.iter().map(|pin| (pin.platform.clone(), pin.clone())).collect(),
            unmet: Vec::new(),
            rust: lock.rust.clone(),
            provided: lock.provided.clone(),
        };
        for wanted in platforms {
            let platform = &wanted.platform;
            let Some(base) = base_name(&wanted.base.value, dir) else { continue };
            let unmet = match &wanted.base.value {
                BaseSource::Packages { suite, suites, components, snapshot } => match lock
                    .assembled(&base, platform)
                {
                    Some(pin) => {
                        let port = wanted.target.value.port.as_ref().map_or("", |port| &port.architecture);
                        let configured = Configured {
                            architecture: port,
                            release: suite,
                            suites,
                            components,
                            packages: &wanted.packages,
                            snapshot: snapshot.as_deref(),
                        };
                        let differences = configured.differences(pin);
                        if differences.is_empty() {
                            pins.bases.insert(platform.clone(), Pin::Assembled(Box::new(pin.clone())));
                        }
                        differences
                    }
                    None => vec![Difference::Missing { base, platform: platform.clone(), to: None }],
                },
                _ => match lock.image(&base, platform) {
                    Some(pin) => {
                        let differences = added_otherwise(pin, wanted);
                        // The image stays pinned, whatever packages are added to it.
                        let additions = pin.additions.clone().filter(|_| differences.is_empty());
                        let pin = ImagePin { additions, ..pin.clone() };
                        pins.bases.insert(platform.clone(), Pin::Image(Box::new(pin)));
                        differences
                    }
                    None => vec![Difference::Missing { base, platform: platform.clone(), to: None }],
                },
            };
            pins.unmet.extend(unmet);
        }
        pins.unmet.sort();
        pins
    }
}

impl Pins {
    /// The digest that a toolchain from the cache must have, if the cache is not trusted.
    #[must_use]
    pub(crate) fn verified_toolchain(&self) -> Option<Verified<'_>> {
        let files = self.provided.as_ref().and_then(|pin| pin.files.as_ref());
        self.strict.then_some(Verified { files })
    }

    /// True if a pin has everything that a platform needs: an image may be pinned without the packages to be added to
    /// it.
    #[must_use]
    pub(crate) fn is_complete(pin: &Pin, wanted: &PlatformSettings) -> bool {
        pin.image().is_none_or(|image| image.additions.is_some() || wanted.packages.is_empty())
    }
}

/// The differences between the pinned and the configured packages on an image.
fn added_otherwise(pin: &ImagePin, wanted: &PlatformSettings) -> Vec<Difference> {
    let nothing = AdditionsPin {
        architecture: String::new(),
        release: String::new(),
        snapshot: None,
        suites: Vec::new(),
        components: Vec::new(),
        packages: Vec::new(),
        index: Vec::new(),
        package: Vec::new(),
    };
    let pinned = pin.additions.as_deref().unwrap_or(&nothing);
    let mut parts = vec![("packages", pinned.packages.join(", "), wanted.packages.join(", "))];
    if pin.additions.is_some() && !wanted.packages.is_empty() {
        let sources = &wanted.sources;
        let suites = sources.of_release(&pinned.release);
        let (suites, components) = suites_of(&pinned.release, &suites, &sources.components);
        parts.push(("suites", pinned.suites.join(", "), suites.join(", ")));
        parts.push(("components", pinned.components.join(", "), components.join(", ")));
        parts.push(moment(pinned.snapshot.as_deref(), sources.snapshot.as_deref()));
    }
    settings(&pin.base, &pin.platform, parts)
}

/// The settings that have changed since they were pinned: name, pinned value, configured value.
fn settings(
    base: &str,
    platform: &Platform,
    parts: impl IntoIterator<Item = (&'static str, String, String)>,
) -> Vec<Difference> {
    let differs = parts.into_iter().filter(|(_, from, to)| from != to);
    let (base, platform) = (base.to_owned(), platform.clone());
    differs
        .map(|(what, from, to)| {
            let (base, platform) = (base.clone(), platform.clone());
            Difference::Setting { base, platform, what, from, to }
        })
        .collect()
}

/// The present configuration of an assembled base.
struct Configured<'a> {
    architecture: &'a str,
    release: &'a str,
    suites: &'a [String],
    components: &'a [String],
    packages: &'a [String],
    snapshot: Option<&'a str>,
}

impl Configured<'_> {
    /// The differences between the configuration and an entry.
    fn differences(&self, pin: &AssembledPin) -> Vec<Difference> {
        let (suites, components) = suites_of(self.release, self.suites, self.components);
        let parts = [
            ("architecture", pin.architecture.clone(), self.architecture.to_owned()),
            ("suites", pin.suites.join(", "), suites.join(", ")),
            ("components", pin.components.join(", "), components.join(", ")),
            ("packages", pin.packages.join(", "), self.packages.join(", ")),
            ("recipe", pin.recipe.to_string(), recipe_digest()),
            moment(pin.snapshot.as_deref(), self.snapshot),
        ];
        settings(&pin.base, &pin.platform, parts)
    }
}

/// The configured time of the snapshot, if there is one. Without one, the pinned time is not a difference.
fn moment(pinned: Option<&str>, wanted: Option<&str>) -> (&'static str, String, String) {
    let wanted = wanted.or(pinned).unwrap_or_default();
    ("snapshot", pinned.unwrap_or_default().to_owned(), wanted.to_owned())
}

/// The date of the newest of these releases.
#[must_use]
pub(crate) fn newest(index: &[IndexPin]) -> Option<String> {
    index.iter().filter_map(|pin| pin.date.clone()).max()
}

/// The name of a base in a lock in the directory `dir`; `None` for `scratch`, which has nothing to pin.
#[must_use]
pub(crate) fn base_name(base: &BaseSource, dir: &Path) -> Option<String> {
    match base {
        BaseSource::Scratch => None,
        BaseSource::Packages { suite, .. } => Some(format!("apt:{suite}")),
        BaseSource::Layout { path, selector } => {
            Some(format!("oci:{}{selector}", relative(dir, path).display()))
        }
        BaseSource::Registry { name } => Some(name.to_string()),
    }
}

/// `path` relative to `dir`; both are absolute.
fn relative(dir: &Path, path: &Path) -> PathBuf {
    let (dir, path) = (plain(dir), plain(path));
    let common = dir.iter().zip(&path).take_while(|(a, b)| a == b).count();
    let up = dir.iter().skip(common).map(|_| Component::ParentDir);
    let down: PathBuf = up.map(|up| PathBuf::from(up.as_os_str())).collect();
    let down = path.iter().skip(common).fold(down, |down, part| down.join(part));
    if down.as_os_str().is_empty() { PathBuf::from(".") } else { down }
}

/// A path's components without `.` and, as far as possible without looking at the file system, without `..`.
fn plain(path: &Path) -> Vec<PathBuf> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if parts.len() > 1 => {
                parts.pop();
            }
            other => parts.push(PathBuf::from(other.as_os_str())),
        }
    }
    parts
}

impl AssembledPin {
    /// Pins the packages of a base. `packages` are those that were requested in addition to the base's, sorted.
    #[must_use]
    pub fn of(
        base: &str,
        platform: &Platform,
        components: &[String],
        packages: &[String],
        set: &BaseSet,
    ) -> Self {
        let plain = set.plain();
        let mut package: Vec<PackagePin> = set.packages.iter().map(PackagePin::of).collect();
        package.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            base: base.to_owned(),
            platform: platform.clone(),
            architecture: set.architecture.clone(),
            release: set.release.clone(),
            recipe: digest(&recipe_digest()),
            digest: digest(&plain.identity()),
            snapshot: set.snapshot(),
            suites: set.suites.iter().map(|origin| origin.suite.clone()).collect(),
            components: components.to_vec(),
            packages: packages.to_vec(),
            index: set.suites.iter().map(IndexPin::of).collect(),
            package,
        }
    }

    /// The pinned packages.
    #[must_use]
    pub fn set(&self) -> BaseSet {
        let mut packages: Vec<Package> = self.package.iter().map(PackagePin::package).collect();
        sort_packages(&mut packages);
        BaseSet {
            architecture: self.architecture.clone(),
            release: self.release.clone(),
            suites: Vec::new(),
            packages,
            lacking: BTreeMap::new(),
        }
    }
}

/// Parses a digest that we made ourselves.
fn digest(text: &str) -> Digest {
    text.parse().unwrap_or_else(|_| unreachable!("`{text}` was made as a digest"))
}

impl IndexPin {
    fn of(origin: &SuiteOrigin) -> Self {
        let date = origin.date.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let mut signers = origin.signers.clone();
        signers.sort();
        signers.dedup();
        Self { suite: origin.suite.clone(), date: date.map(|date| date.to_string()), signers }
    }
}

impl PackagePin {
    fn of(package: &Package) -> Self {
        Self {
            name: package.name.clone(),
            version: package.version.clone(),
            pool: package.pool,
            path: package.path.clone(),
            size: package.size,
            sha256: package.sha256,
            installed_size: package.installed_size,
            replaces: Unread,
            why: package.why.clone(),
            libraries: package.libraries.clone(),
            added: package.added,
        }
    }

    fn package(&self) -> Package {
        Package {
            name: self.name.clone(),
            version: self.version.clone(),
            pool: self.pool,
            path: self.path.clone(),
            sha256: self.sha256,
            size: self.size,
            installed_size: self.installed_size,
            why: self.why.clone(),
            libraries: self.libraries.clone(),
            added: self.added,
        }
    }
}

impl AdditionsPin {
    /// Pins the packages on an image. `packages` are the requested ones, sorted.
    #[must_use]
    pub fn of(components: &[String], packages: &[String], set: &BaseSet) -> Self {
        let (_, components) = suites_of(&set.release, &[], components);
        let mut package: Vec<PackagePin> = set.packages.iter().map(PackagePin::of).collect();
        package.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            architecture: set.architecture.clone(),
            release: set.release.clone(),
            snapshot: set.snapshot(),
            suites: set.suites.iter().map(|origin| origin.suite.clone()).collect(),
            components,
            packages: packages.to_vec(),
            index: set.suites.iter().map(IndexPin::of).collect(),
            package,
        }
    }

    /// The pinned packages.
    #[must_use]
    pub fn set(&self) -> BaseSet {
        BaseSet {
            architecture: self.architecture.clone(),
            release: self.release.clone(),
            suites: Vec::new(),
            packages: self.package.iter().map(PackagePin::package).collect(),
            lacking: BTreeMap::new(),
        }
    }
}

impl SysrootPin {
    /// Pins a sysroot of a platform.
    #[must_use]
    pub(crate) fn of(
        platform: &Platform,
        components: &[String],
        asked: &SysrootRequest<'_>,
        (set, at_run_time): (&BaseSet, &[Package]),
    ) -> Self {
        let packages = AdditionsPin::of(components, asked.packages, set);
        let at_run_time = at_run_time.iter().map(PackagePin::of).collect();
        Self { platform: platform.clone(), c_code: asked.c_code, packages, at_run_time }
    }

    /// What the base of programs gets if they need libraries of the sysroot's requested packages.
    #[must_use]
    pub(crate) fn at_run_time(&self) -> Vec<Package> {
        self.at_run_time.iter().map(PackagePin::package).collect()
    }

    /// True if it is what a request asks for. Without a moment of its own, a request is content with any.
    #[must_use]
    pub(crate) fn is_for(&self, request: &ReleaseRequest<'_>, asked: &SysrootRequest<'_>) -> bool {
        let pin = &self.packages;
        let (suites, components) = suites_of(request.release, request.suites, request.components);
        pin.architecture == asked.architecture
            && self.c_code == asked.c_code
            && pin.packages == asked.packages
            && pin.release == request.release
            && pin.suites == suites
            && pin.components == components
            && request.moment.is_none_or(|moment| pin.snapshot.as_deref() == Some(moment))
    }
}

impl ImagePin {
    /// The manifest's descriptor.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest.clone(), self.size)
    }
}
