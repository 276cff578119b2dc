//! Determines which packages a base is made of. It chooses all packages that it may need at once: whatever a payload
//! needs later is then from the same indexes, and can be pinned with the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use debversion::Version;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::archive::{Archive, Index};
use super::error::{Error, Unknown};
use super::fetch::Access;
use super::index::Universe;
use super::recipe::{ASSEMBLY, RECIPE, Recipe, RecipePackage};
use super::resolve::{self, Chosen, Installed, ResolveError, Unsatisfied, resolve};
use super::sources::Mirror;
use super::sysroot::SysrootRequest;
use super::urls::Pool;
use crate::host::Host;
use crate::sys::cancel::Cancel;
use crate::sys::{store, usage};
use crate::target::abi::GlibcVersion;

/// How long after its release's date a package is certain to be in the snapshot archive, in seconds. Superseded
/// packages stay on mirrors for a day and a half; the snapshot archive is updated four times a day.
const SURE: i64 = 24 * 60 * 60;

/// The base to choose packages for.
#[derive(Clone, Copy, Debug)]
pub struct BaseRequest<'a> {
    /// Debian's name for the architecture: `amd64`, `arm64`, `armhf`, …
    pub architecture: &'a str,
    /// Requested packages beyond the recipe's. Order and repetition do not matter.
    pub extra: &'a [String],
    /// The requested packages of a sysroot that will be asked for as well: its packages for linking and those for C code are
    /// then chosen at once.
    pub sysroot: Option<&'a [String]>,
}

/// The packages that a base can be made of, from signed indexes. No package has been downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSet {
    /// Debian's name for the architecture.
    pub architecture: String,
    /// The release's codename.
    pub release: String,
    /// The verified suites that they were chosen from, in the order of the sources.
    pub suites: Vec<SuiteOrigin>,
    /// The packages in the order in which they are laid out: the recipe's, then the others by name.
    pub packages: Vec<Package>,
    /// Libraries whose packages could not be chosen, and why.
    pub lacking: BTreeMap<String, Unsatisfied>,
}

/// The release that a package index belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteOrigin {
    /// The suite as it was requested: `bookworm-security`.
    pub suite: String,
    /// The release's `Date`, in seconds since the epoch.
    pub date: Option<i64>,
    /// Fingerprints of the trusted keys that signed it.
    pub signers: Vec<String>,
    /// The date of the snapshot, if the mirror serves one.
    pub snapshot: Option<String>,
    /// The mirror that had the release.
    pub mirror: Mirror,
}

/// The packages of a base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedBase {
    /// Debian's name for the architecture.
    pub architecture: String,
    /// The release's codename.
    pub release: String,
    /// The packages in the order in which they are laid out.
    pub packages: Vec<Package>,
}

/// A package of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The archive that has it.
    pub pool: Pool,
    /// The path of its `.deb` on every mirror of that archive.
    pub path: String,
    /// The digest of its `.deb`, in hexadecimal.
    #[serde(with = "hex::serde")]
    pub sha256: [u8; 32],
    /// The size of its `.deb` in bytes.
    pub size: u64,
    /// Its declared size when unpacked, in KiB.
    pub installed_size: Option<u64>,
    /// Why it is included, for the user.
    pub why: String,
    /// The libraries that it is included for, or the packages that have them, sorted; empty if it is in the base whatever the
    /// payload needs.
    pub libraries: Vec<String>,
    /// True if it is included because it was requested, or because a requested package needs it.
    #[serde(default)]
    pub added: bool,
}

impl BaseSet {
    /// The base for a payload that needs these libraries. A library that the recipe does not list is left to the check
    /// of the finished image.
    ///
    /// # Errors
    ///
    /// If a library's packages cannot be installed together with the base.
    pub fn base(&self, libraries: &BTreeSet<String>) -> Result<ResolvedBase, Error> {
        if let Some(unsatisfied) = libraries.iter().find_map(|library| self.lacking.get(library)) {
            return Err(unsatisfied.clone().into());
        }
        let wanted = |package: &&Package| {
            package.libraries.is_empty()
                || package.libraries.iter().any(|library| libraries.contains(library))
        };
        Ok(ResolvedBase {
            architecture: self.architecture.clone(),
            release: self.release.clone(),
            packages: self.packages.iter().filter(wanted).cloned().collect(),
        })
    }

    /// The base for a payload that needs nothing beyond the recipe.
    #[must_use]
    pub fn plain(&self) -> ResolvedBase {
        ResolvedBase {
            architecture: self.architecture.clone(),
            release: self.release.clone(),
            packages: self.packages.iter().filter(|package| package.libraries.is_empty()).cloned().collect(),
        }
    }

    /// The time at which the snapshot archive has these packages: that of the mirror if it is a snapshot, otherwise a day
    /// after the newest release's date.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Option<String> {
        if let Some(date) = self.suites.iter().filter_map(|suite| suite.snapshot.clone()).max() {
            return Some(date);
        }
        let newest = self.suites.iter().filter_map(|suite| suite.date).max()?;
        let moment = jiff::Timestamp::from_second(newest.checked_add(SURE)?).ok()?;
        Some(moment.strftime("%Y%m%dT%H%M%SZ").to_string())
    }

    /// The packages that are included because they, or packages that need them, were requested.
    pub fn added(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.added)
    }

    /// The libraries among `needed` for which [`BaseSet::base`] adds a package or fails with a reason.
    #[must_use]
    pub fn obtainable(&self, needed: &BTreeSet<String>) -> BTreeSet<String> {
        let known = |library: &&String| {
            self.lacking.contains_key(*library)
                || self.packages.iter().any(|package| package.libraries.contains(library))
        };
        needed.iter().filter(known).cloned().collect()
    }
}

impl ResolvedBase {
    /// The glibc that programs run on, which is the version of libc6.
    #[must_use]
    pub fn glibc(&self) -> Option<GlibcVersion> {
        let libc = self.packages.iter().find(|package| package.name == "libc6")?;
        let version: Version = libc.version.parse().ok()?;
        let mut numbers = version.upstream_version.split('.');
        Some(GlibcVersion(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// `sha256:…` over everything that determines the base's bytes: the recipe, the code's version, the architecture
    /// and the packages. The same identity means the same root filesystem, wherever the packages came from.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut hasher = Sha256::new();
        let mut line = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        line(&ASSEMBLY.to_string());
        line(RECIPE);
        line(&self.architecture);
        for package in &self.packages {
            line(&package.name);
            line(&package.version);
            line(&hex::encode(package.sha256));
        }
        format!("sha256:{}", hex::encode(hasher.finalize()))
    }

    /// The name of the assembled base's record: its identity, and the requested packages. These determine what is
    /// reported about scripts, and whether all scripts of the base are accounted for.
    #[must_use]
    pub fn record(&self, form: &str) -> String {
        let mut asked = Sha256::new();
        let mut any = false;
        for package in self.packages.iter().filter(|package| package.added) {
            any = true;
            asked.update(&package.name);
            asked.update([0]);
        }
        let identity = self.identity();
        let identity = identity.trim_start_matches("sha256:");
        if any {
            format!("{identity}-{}-{form}", &hex::encode(asked.finalize())[..16])
        } else {
            format!("{identity}-{form}")
        }
    }

    /// The total download size of the packages, in bytes.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }
}

/// Sorts packages into the order in which they are laid out: the recipe's first, since the first package determines a
/// directory's mode, then the others by name. The order depends on nothing but their names, so it can be restored from
/// a file.
pub(crate) fn sort_packages(packages: &mut [Package]) {
    let rank = |name: &str| {
        let position = Recipe::get().packages.iter().position(|package| package.name == name);
        position.unwrap_or(usize::MAX)
    };
    packages.sort_by(|a, b| (rank(&a.name), &a.name).cmp(&(rank(&b.name), &b.name)));
}

/// The part of a resolution that is cached: everything except what changes with every release.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CachedSet {
    pub(super) packages: Vec<Package>,
    pub(super) lacking: BTreeMap<String, Unsatisfied>,
    /// Packages that the base of programs gets if they need libraries of a sysroot's packages: see
    /// [`Archive::at_run_time`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) at_run_time: Vec<Package>,
}

/// Chooses packages with the exceptions of the recipe, beside what is installed.
fn choose<'u>(
    universe: &'u Universe,
    architecture: &str,
    packages: &[String],
    installed: &[Installed],
    cancel: &Cancel,
) -> Result<Vec<Chosen<'u>>, ResolveError> {
    let names = |package: &'static RecipePackage| package.without.keys().map(String::as_str).collect();
    let recipe = Recipe::get().packages.iter();
    let without = recipe.map(|package| (package.name.as_str(), names(package))).collect();
    resolve(universe, &resolve::Request { architecture, packages, without, nowhere: &[], installed }, cancel)
}

impl Archive {
    /// Chooses the packages of a base. The package indexes are only needed the first time: the result is cached under
    /// the digests of everything that determines it.
    ///
    /// # Errors
    ///
    /// If a package is unknown or something that it needs is unavailable, if an index is unavailable, or if the work is
    /// cancelled.
    pub fn resolve_base(&self, request: &BaseRequest<'_>, host: Host<'_>) -> Result<BaseSet, Error> {
        let access = Access { host };
        let indexes = self.indexes(request.architecture, host.reporter)?;
        let extra: BTreeSet<&String> = request.extra.iter().collect();
        let kept = access.dir("resolved")?.join(question(&indexes, request.architecture, &extra, None));
        let answer = if let Some(known) = get(&kept)? {
            known
        } else {
            let answer = self.with_universe(&indexes, request.architecture, access, |universe| {
                if let Some(packages) = request.sysroot {
                    for c_code in [false, true] {
                        let (architecture, base) = (request.architecture, Some(request.extra));
                        let sysroot = SysrootRequest { architecture, c_code, packages, base };
                        self.resolve_sysroot_too(universe, &indexes, &sysroot, access)?;
                    }
                }
                self.answer(universe, request.architecture, &extra, host.cancel)
            })?;
            put(&kept, &answer)?;
            answer
        };
        Ok(self.set(request.architecture, answer))
    }

    /// The chosen packages with the suites that they come from.
    pub(super) fn set(&self, architecture: &str, answer: CachedSet) -> BaseSet {
        let origins = self.suites().iter().map(|suite| SuiteOrigin {
            suite: suite.source.suite.clone(),
            date: suite.release.date,
            signers: suite.release.signers.clone(),
            snapshot: suite.source.snapshot_date().map(ToOwned::to_owned),
            mirror: Mirror { address: suite.source.mirror.clone(), from: suite.source.from },
        });
        BaseSet {
            architecture: architecture.to_owned(),
            release: self.suites().first().map(|suite| suite.release.codename.clone()).unwrap_or_default(),
            suites: origins.collect(),
            packages: answer.packages,
            lacking: answer.lacking,
        }
    }

    fn answer(
        &self,
        universe: &Universe,
        architecture: &str,
        extra: &BTreeSet<&String>,
        cancel: &Cancel,
    ) -> Result<CachedSet, Error> {
        let (mut packages, installed) = self.certain(universe, architecture, extra, cancel)?;
        let mut lacking = BTreeMap::new();
        for (library, name) in &Recipe::get().libraries {
            match choose(universe, architecture, std::slice::from_ref(name), &installed, cancel) {
                Ok(chosen) => {
                    for package in chosen.iter().map(|chosen| self.package(universe, chosen)) {
                        let known = packages.entry(package.name.clone());
                        let package = known.or_insert_with(|| Package {
                            // The reason for the library's own package. The other packages are needed by it.
                            why: if package.name == *name {
                                format!("payloads that need {library}")
                            } else {
                                package.why
                            },
                            libraries: vec![library.clone()],
                            ..package
                        });
                        if !package.libraries.is_empty() && !package.libraries.contains(library) {
                            package.libraries.push(library.clone());
                        }
                    }
                }
                // Not every archive has all of them, and few payloads need one.
                Err(ResolveError::Unsatisfied(unsatisfied)) => {
                    lacking.insert(library.clone(), unsatisfied);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut packages: Vec<Package> = packages.into_values().collect();
        sort_packages(&mut packages);
        Ok(CachedSet { packages, lacking, at_run_time: Vec::new() })
    }

    /// The packages that a base has whatever the payload needs, by name.
    fn certain(
        &self,
        universe: &Universe,
        architecture: &str,
        extra: &BTreeSet<&String>,
        cancel: &Cancel,
    ) -> Result<(BTreeMap<String, Package>, Vec<Installed>), Error> {
        // In two steps, so that the requested packages are added to the base and change nothing of it.
        let plain: Vec<String> = Recipe::get().packages.iter().map(|package| package.name.clone()).collect();
        let base = choose(universe, architecture, &plain, &[], cancel)?;
        let mut installed: Vec<Installed> = base.iter().map(Installed::of).collect();
        let asked = self.asked_for(universe, architecture, extra)?;
        let added = choose(universe, architecture, &asked, &installed, cancel)?;
        installed.extend(added.iter().map(Installed::of));
        let base = base.iter().map(|chosen| self.package(universe, chosen));
        let added = added.iter().map(|chosen| self.added(universe, chosen));
        let packages = base.chain(added).map(|package| (package.name.clone(), package)).collect();
        Ok((packages, installed))
    }

    /// What a base gets if programs need libraries of some packages: these packages and what they need in turn, each with
    /// the names of those for which it is there. `extra` are the requested packages of the base. A package that cannot be
    /// installed is left out; if it is needed, the check of the finished image tells.
    pub(super) fn at_run_time(
        &self,
        universe: &Universe,
        architecture: &str,
        (extra, names): (&[String], &[String]),
        cancel: &Cancel,
    ) -> Result<Vec<Package>, Error> {
        let (base, installed) = self.certain(universe, architecture, &extra.iter().collect(), cancel)?;
        let mut packages: BTreeMap<String, Package> = BTreeMap::new();
        let names: BTreeSet<&String> = names.iter().filter(|name| !base.contains_key(*name)).collect();
        for name in names {
            let chosen = match choose(universe, architecture, std::slice::from_ref(name), &installed, cancel)
            {
                Ok(chosen) => chosen,
                Err(ResolveError::Unsatisfied(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            for package in chosen.iter().map(|chosen| self.package(universe, chosen)) {
                let why = if package.name == *name {
                    "payloads that need its libraries".to_owned()
                } else {
                    package.why.clone()
                };
                let known = packages.entry(package.name.clone());
                // Their scripts are not run, as those of packages that are asked for.
                known.or_insert(Package { why, added: true, ..package }).libraries.push(name.clone());
            }
        }
        Ok(packages.into_values().collect())
    }

    /// A package that was requested, or that a requested one needs.
    pub(super) fn added(&self, universe: &Universe, chosen: &Chosen<'_>) -> Package {
        let package = self.package(universe, chosen);
        let why = if chosen.because.is_empty() { "it is asked for".to_owned() } else { package.why.clone() };
        Package { why, added: true, ..package }
    }

    /// The packages that the requested names stand for: a name that a single package provides stands for that package,
    /// as in apt.
    pub(super) fn asked_for(
        &self,
        universe: &Universe,
        architecture: &str,
        extra: &BTreeSet<&String>,
    ) -> Result<Vec<String>, Error> {
        let (mut names, mut unknown) = (Vec::new(), Vec::new());
        for name in extra {
            if universe.candidate(name).is_some() {
                names.push((*name).clone());
                continue;
            }
            match universe.providers(name).as_slice() {
                [(only, _)] => names.push(only.name.to_string()),
                [] => {
                    let nearest = universe.nearest(name);
                    unknown.push(Unknown { name: (*name).clone(), nearest, providers: Vec::new() });
                }
                several => {
                    let providers = several.iter().map(|(record, _)| record.name.to_string()).collect();
                    unknown.push(Unknown { name: (*name).clone(), nearest: Vec::new(), providers });
                }
            }
        }
        if unknown.is_empty() {
            return Ok(names);
        }
        let suites = self.suites().iter().map(|suite| suite.source.suite.clone()).collect();
        Err(Error::UnknownPackages { architecture: architecture.to_owned(), suites, unknown })
    }

    pub(super) fn package(&self, universe: &Universe, chosen: &Chosen<'_>) -> Package {
        let record = chosen.record;
        let (mirror, path) = universe.place(record);
        // If both archives have the same URL, it does not matter which of them a package is attributed to.
        let elsewhere =
            self.suites().iter().any(|suite| suite.source.mirror == mirror && !suite.source.is_security());
        Package {
            name: record.name.to_string(),
            version: record.version.to_string(),
            pool: if elsewhere { Pool::Debian } else { Pool::Security },
            path: path.to_owned(),
            sha256: record.sha256,
            size: record.size,
            installed_size: record.installed_size,
            why: why(chosen),
            libraries: Vec::new(),
            added: false,
        }
    }
}

fn why(chosen: &Chosen<'_>) -> String {
    match chosen.because.last() {
        Some(parent) => format!("needed by {parent}"),
        None => Recipe::get()
            .package(&chosen.record.name)
            .map_or_else(|| "the payload needs it".to_owned(), |package| package.why.clone()),
    }
}

/// Must be raised when the same indexes would give other packages.
const RESOLUTION: u32 = 2;

/// The name of a cached result: a digest of everything that determines it. `installed` is a digest of what is already
/// installed.
pub(super) fn question(
    indexes: &[Index<'_>],
    architecture: &str,
    extra: &BTreeSet<&String>,
    installed: Option<&str>,
) -> String {
    let indexes: Vec<_> = indexes
        .iter()
        .map(|index| {
            let suite = index.suite;
            (
                suite.source.is_security(),
                &suite.source.mirror,
                &suite.release.codename,
                hex::encode(index.file.sha256),
            )
        })
        .collect();
    let version = (env!("CARGO_PKG_VERSION"), ASSEMBLY, RESOLUTION, "set");
    let question = serde_json::json!([version, RECIPE, architecture, extra, installed, indexes]);
    hex::encode(Sha256::digest(question.to_string()))
}

/// Stores a result: its digest, a newline, and the result as JSON.
pub(super) fn put(path: &Path, answer: &CachedSet) -> Result<(), Error> {
    let text = serde_json::to_string(answer).map_err(std::io::Error::other)?;
    let digest = hex::encode(Sha256::digest(&text));
    Ok(store::keep(path, format!("{digest}\n{text}").as_bytes())?)
}

/// Largest record that is read, in bytes. A result has some hundred packages of 500 bytes each.
const LARGEST_RECORD: u64 = 64 << 20;

/// Reads a cached result, if it is there and intact. We derived it from verified data, so it can be trusted as far as
/// only the user writes to the cache directory. The packages that it names are still verified by their digests.
pub(super) fn get(path: &Path) -> Result<Option<CachedSet>, Error> {
    usage::mark(path);
    Ok(store::read(path, LARGEST_RECORD)?.and_then(|bytes| parse(&bytes)))
}

fn parse(bytes: &[u8]) -> Option<CachedSet> {
    let (digest, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    if digest != hex::encode(Sha256::digest(text)) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// The packages in the bytes of a cached result, if they are intact.
#[must_use]
pub fn packages_of_record(bytes: &[u8]) -> Option<Vec<Package>> {
    parse(bytes).map(|answer| answer.packages)
}
