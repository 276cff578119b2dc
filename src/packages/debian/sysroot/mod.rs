//! Sysroots: the parts of Debian's packages that programs of a release are linked against, as a directory in the cache.
//!
//! A sysroot is made like a base ([`super::base`]): the same signed indexes, the same resolver, the same checked
//! packages. But it is not an image: what a linker does not read is left out, files belong to whoever runs xbuild, and
//! absolute links become relative, so that they lead to the sysroot's files and not to this machine's.

mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::archive::{Archive, Index};
use super::base::{file, lay, own};
use super::choose::{BaseSet, CachedSet, Package, ResolvedBase, get, put, question};
use super::error::Error;
use super::fetch::Access;
use super::index::Universe;
use super::recipe::recipe_digest;
use super::resolve::{self, Chosen, Installed, resolve};
use super::tree::{MERGED, Tree};
use super::urls::DownloadUrls;
use crate::event::Event;
use crate::host::Host;
use crate::layer::{Entry, EntryKind};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, store, usage};
use crate::target::abi::GlibcVersion;

const DATA: &str = include_str!("../sysroot.toml");
/// Part of every identity. Must be raised when the same packages give another directory.
const LAYOUT: u32 = 2;
/// The directory of the cache.
const DIRECTORY: &str = "sysroots";
/// The directory with those of compilers, by target and version.
const GCC: &str = "usr/lib/gcc";
/// The file that says which package has a library.
const OWNERS: &str = "owners.json";
/// The object file by which the directory of the compiler's own files is found.
const START_FILE: &str = "crtbeginS.o";

static PARSED: LazyLock<Data> =
    LazyLock::new(|| toml::from_str(DATA).expect("sysroot.toml is part of the program and tested"));

/// `sysroot.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    releases: Vec<DataRelease>,
    packages: Vec<DataPackage>,
    requested: DataRequested,
    content: DataContent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataRelease {
    name: String,
    glibc: GlibcVersion,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataPackage {
    name: String,
    why: String,
    /// True if only programs with C code need it.
    #[serde(default, rename = "c-code")]
    c_code: bool,
    #[serde(default)]
    without: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataRequested {
    without: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DataContent {
    keep: Vec<String>,
    drop: Vec<String>,
}

impl DataPackage {
    /// The package's name in a release with this GCC.
    fn named(&self, gcc: &str) -> String {
        self.name.replace("{gcc}", gcc)
    }
}

/// The newest release whose glibc is not newer than a version.
#[must_use]
pub(crate) fn release_for(glibc: GlibcVersion) -> Option<&'static str> {
    let serves = |release: &&DataRelease| release.glibc <= glibc;
    PARSED.releases.iter().filter(serves).max_by_key(|release| release.glibc).map(|found| found.name.as_str())
}

/// The sysroot to choose packages for.
#[derive(Clone, Copy, Debug)]
pub struct SysrootRequest<'a> {
    /// Debian's name for the architecture.
    pub architecture: &'a str,
    /// True if C or C++ code is compiled against it, which needs more headers and libraries than linking does.
    pub c_code: bool,
    /// Requested packages beyond those of every sysroot. Order and repetition do not matter.
    pub packages: &'a [String],
    /// The requested packages of the base on which the programs run, if that is of the same release.
    pub base: Option<&'a [String]>,
}

/// The packages of a sysroot, and those that programs may need when they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysrootSet {
    /// Its own packages.
    pub set: BaseSet,
    /// What the base gets if programs need a library of its requested packages, or of one that these need: each with the
    /// names of the packages with these libraries. Empty if nothing was requested, or if the base is of another release.
    pub at_run_time: Vec<Package>,
}

#[cfg(test)]
impl<'a> SysrootRequest<'a> {
    /// The least that programs are linked against: no C code, and no requested packages.
    pub(crate) const fn for_linking(architecture: &'a str) -> Self {
        Self { architecture, c_code: false, packages: &[], base: None }
    }
}

/// What is needed to make a sysroot of its packages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProvideRequest<'a> {
    /// The name of the directories with the target's libraries: `aarch64-linux-gnu`.
    pub multiarch: &'a str,
    /// True if the content of the cache is not trusted: a sysroot in it is compared with its packages.
    pub verify: bool,
}

/// A sysroot on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysroot {
    /// Its directory, absolute.
    pub path: PathBuf,
    /// `sha256:…` over everything that determines its content.
    pub identity: String,
    /// The release's codename.
    pub release: String,
    /// The name of the directories with the target's libraries.
    pub multiarch: String,
    /// The directory of the compiler's own files, relative to the sysroot: `usr/lib/gcc/aarch64-linux-gnu/12`.
    pub gcc: String,
    /// Which of its packages has a shared library, by the library's file name.
    pub owners: BTreeMap<String, String>,
}

impl Archive {
    /// Chooses the packages of a sysroot. The package indexes are only needed the first time, as for a base.
    ///
    /// # Errors
    ///
    /// If a requested package is unknown, if the release lacks a package that every sysroot needs, if something that a
    /// package needs is unavailable, if an index is unavailable, or if the work is cancelled.
    pub fn resolve_sysroot(&self, request: &SysrootRequest<'_>, host: Host<'_>) -> Result<SysrootSet, Error> {
        let set = |answer: CachedSet| {
            let at_run_time = answer.at_run_time.clone();
            SysrootSet { set: self.set(request.architecture, answer), at_run_time }
        };
        let architecture = request.architecture;
        let access = Access { host };
        let indexes = self.indexes(architecture, host.reporter)?;
        let kept = record(&indexes, request, access)?;
        if let Some(known) = get(&kept)? {
            return Ok(set(known));
        }
        let answer = self.with_universe(&indexes, architecture, access, |universe| {
            self.sysroot(universe, request, host.cancel)
        })?;
        put(&kept, &answer)?;
        Ok(set(answer))
    }

    /// Does the same while the packages are in memory for something else, for whoever asks later. If it fails, that is
    /// found out then.
    pub(super) fn resolve_sysroot_too(
        &self,
        universe: &Universe,
        indexes: &[Index<'_>],
        request: &SysrootRequest<'_>,
        access: Access<'_>,
    ) -> Result<(), Error> {
        match self.sysroot(universe, request, access.host.cancel) {
            Ok(answer) => put(&record(indexes, request, access)?, &answer),
            Err(Error::Cancelled(cancelled)) => Err(cancelled.into()),
            Err(_) => Ok(()),
        }
    }

    fn sysroot(
        &self,
        universe: &Universe,
        request: &SysrootRequest<'_>,
        cancel: &Cancel,
    ) -> Result<CachedSet, Error> {
        let architecture = request.architecture;
        let recipe = self.sysroot_recipe(universe, request)?;
        let choose = |packages: &[String], nowhere: &[String], installed: &[Installed]| {
            let without = recipe
                .iter()
                .map(|(name, known)| (name.as_str(), known.without.keys().map(String::as_str).collect()))
                .collect();
            resolve(
                universe,
                &resolve::Request { architecture, packages, without, nowhere, installed },
                cancel,
            )
        };
        // In two steps, so that the requested packages are added to the others and change nothing of them.
        let names: Vec<String> = recipe.keys().cloned().collect();
        let every = choose(&names, &[], &[])?;
        let installed: Vec<Installed> = every.iter().map(Installed::of).collect();
        let asked = self.asked_for(universe, architecture, &request.packages.iter().collect())?;
        let more = choose(&asked, &PARSED.requested.without, &installed)?;
        let of_recipe = |chosen: &Chosen<'_>| {
            let package = self.package(universe, chosen);
            let known = recipe.get(&package.name);
            let why = known.map_or_else(|| package.why.clone(), |known| known.why.clone());
            // Nothing in a sysroot runs, so no script of a package matters.
            Package { why, added: true, ..package }
        };
        let more: Vec<Package> = more.iter().map(|chosen| self.added(universe, chosen)).collect();
        let at_run_time = match request.base {
            Some(extra) if !more.is_empty() => {
                // What only compilers read is in packages of this ending.
                let names = more.iter().map(|package| package.name.clone());
                let names: Vec<String> = names.filter(|name| !name.ends_with("-dev")).collect();
                self.at_run_time(universe, architecture, (extra, &names), cancel)?
            }
            _ => Vec::new(),
        };
        let mut packages: Vec<Package> = every.iter().map(of_recipe).chain(more).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(CachedSet { packages, lacking: BTreeMap::new(), at_run_time })
    }

    /// The packages that a sysroot has whatever is requested, by their names in this release.
    fn sysroot_recipe(
        &self,
        universe: &Universe,
        request: &SysrootRequest<'_>,
    ) -> Result<BTreeMap<String, &'static DataPackage>, Error> {
        let gcc = gcc_of(universe);
        let mut recipe = BTreeMap::new();
        for package in PARSED.packages.iter().filter(|package| request.c_code || !package.c_code) {
            let name = package.named(&gcc);
            // Nobody asked for it by this name, so no similar one is suggested.
            if universe.candidate(&name).is_none() {
                return Err(Error::NoSysrootPackage {
                    suites: self.suites().iter().map(|suite| suite.source.suite.clone()).collect(),
                    architecture: request.architecture.to_owned(),
                    package: name,
                });
            }
            recipe.insert(name, package);
        }
        Ok(recipe)
    }
}

/// The record of the packages that were chosen from some indexes.
fn record(indexes: &[Index<'_>], request: &SysrootRequest<'_>, access: Access<'_>) -> Result<PathBuf, Error> {
    let purpose = if request.c_code { "compile" } else { "link" };
    // No digest of installed packages contains a space, so this is never the question of anything else.
    let mut data = format!("sysroot {purpose} {}", hex::encode(Sha256::digest(DATA)));
    if let Some(base) = request.base.filter(|_| !request.packages.is_empty()) {
        data = format!("{data} at run time {} {}", recipe_digest(), base.join(" "));
    }
    let extra = request.packages.iter().collect();
    Ok(access.dir("resolved")?.join(question(indexes, request.architecture, &extra, Some(&data))))
}

/// The major version of a release's GCC; empty without libgcc-s1, which is then the package that is missing.
fn gcc_of(universe: &Universe) -> String {
    let version = universe.candidate("libgcc-s1").map(|(_, version)| version.upstream_version);
    version.and_then(|version| version.split('.').next().map(str::to_owned)).unwrap_or_default()
}

/// `sha256:…` over everything that determines a sysroot's content.
fn identity(packages: &ResolvedBase) -> String {
    let mut hasher = Sha256::new();
    let mut line = |text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    line("sysroot");
    line(&LAYOUT.to_string());
    line(DATA);
    line(&packages.architecture);
    for package in &packages.packages {
        line(&package.name);
        line(&hex::encode(package.sha256));
    }
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

/// The sysroot of some packages: from the cache if it is there, otherwise they are downloaded and unpacked.
pub(crate) fn provide_sysroot(
    packages: &ResolvedBase,
    urls: &DownloadUrls,
    request: &ProvideRequest<'_>,
    host: Host<'_>,
) -> Result<Sysroot, Error> {
    let identity = identity(packages);
    let all = host.cache.join(DIRECTORY);
    store::dir(&all)?;
    let name = identity.trim_start_matches("sha256:").get(..32).unwrap_or(&identity).to_owned();
    let path = all.join(&name);
    usage::mark(&path);
    let found = |gcc: String| -> Result<Sysroot, Error> {
        Ok(Sysroot {
            path: path.clone(),
            identity: identity.clone(),
            release: packages.release.clone(),
            multiarch: request.multiarch.to_owned(),
            gcc,
            owners: serde_json::from_slice(&fs::read(path.join(OWNERS))?).map_err(std::io::Error::from)?,
        })
    };
    let _lock = store::lock(&all.join(format!("{name}.lock")), host.cancel)
        .map_err(fs::LockError::into_error::<Error>)?;
    // It gets its name when it is complete.
    if !request.verify
        && let Some(gcc) = known(&path)?
    {
        return found(gcc);
    }
    let entries = content(packages, urls, request.multiarch, host)?;
    let gcc = gcc_in(&entries).ok_or_else(|| Error::NoStartFiles {
        architecture: packages.architecture.clone(),
        release: packages.release.clone(),
    })?;
    if path.exists() {
        if tree::is(&path, &entries, host.cancel)? {
            return found(gcc);
        }
        if request.verify {
            host.reporter.report(Event::warning(format!(
                "the sysroot in `{}` is not what the pinned packages give: something else has written to it; it was made \
                 again",
                path.display()
            )));
        }
    }
    let made = fs::temporary_dir(&all).map_err(|error| store::lacking(&path, error))?;
    tree::write(made.path(), &entries, host.cancel)?;
    if path.exists() {
        fs::remove_dir_all(&path)?;
    }
    fs::rename(made.path(), &path)?;
    // It is not temporary any more.
    drop(made.keep());
    found(gcc)
}

/// The directory of the compiler's own files in a sysroot of the cache; `None` if there is no such sysroot.
fn known(path: &Path) -> Result<Option<String>, Error> {
    if let Err(error) = store::check(path) {
        return if error.kind() == std::io::ErrorKind::NotFound { Ok(None) } else { Err(error.into()) };
    }
    for target in names(path, GCC)? {
        let dir = format!("{GCC}/{target}");
        for version in names(path, &dir)? {
            let dir = format!("{dir}/{version}");
            if path.join(&dir).join(START_FILE).exists() {
                return Ok(Some(dir));
            }
        }
    }
    Ok(None)
}

/// The names in a directory of a sysroot, if it has the directory.
fn names(root: &Path, dir: &str) -> Result<Vec<String>, Error> {
    let Some(entries) = fs::unless_missing(fs::read_dir(root.join(dir)))? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

/// Everything that is unpacked of the packages, sorted by path.
fn content(
    packages: &ResolvedBase,
    urls: &DownloadUrls,
    multiarch: &str,
    host: Host<'_>,
) -> Result<Vec<Entry>, Error> {
    let mut tree = Tree::merged();
    lay(packages, urls, host, &mut tree)?;
    let below = |path: &str, dirs: &[String]| {
        dirs.iter().any(|dir| path.strip_prefix(dir.as_str()).is_some_and(|rest| rest.starts_with('/')))
    };
    let DataContent { keep, drop } = &PARSED.content;
    let drop: Vec<String> = drop.iter().map(|dir| dir.replace("{multiarch}", multiarch)).collect();
    let owners = owners(&tree, multiarch)?;
    let mut entries = tree.into_entries();
    tree::unlink(&mut entries);
    // The names at the top lead into `usr`: linker scripts name `/lib`.
    entries.retain(|entry| {
        let is_alias = !entry.path.contains('/') && tree::is_link(entry);
        is_alias || below(&entry.path, keep) && !below(&entry.path, &drop)
    });
    entries.push(file(OWNERS, owners.into()));
    alias(&mut entries);
    Ok(entries)
}

/// Which package has which shared library in the directories that a dynamic loader searches, as the text of [`OWNERS`].
fn owners(tree: &Tree, multiarch: &str) -> Result<Vec<u8>, Error> {
    let dirs = [format!("usr/lib/{multiarch}"), "usr/lib".into()];
    let library = |(path, owner): (&str, &str)| {
        let (dir, name) = path.rsplit_once('/')?;
        let is_library = name.contains(".so.") || Path::new(name).extension().is_some_and(|end| end == "so");
        (is_library && dirs.iter().any(|known| known == dir)).then(|| (name.to_owned(), owner.to_owned()))
    };
    let owners: BTreeMap<String, String> = tree.owned().filter_map(library).collect();
    Ok(serde_json::to_vec(&owners).map_err(std::io::Error::from)?)
}

/// Adds the names at the top that packages leave to `base-files` since all of them have their files in `usr`.
fn alias(entries: &mut Vec<Entry>) {
    for name in MERGED {
        let (real, below) = (format!("usr/{name}"), format!("usr/{name}/"));
        let is_there = entries.iter().any(|entry| entry.path.starts_with(&below));
        if is_there && !entries.iter().any(|entry| entry.path == *name) {
            entries.push(own(name, EntryKind::Symlink(real), 0o777));
        }
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
}

/// The directory of the compiler's own files among entries: `usr/lib/gcc/<target>/<version>`. GCC's name of the target is
/// not always that of the library directories: it is `i686-linux-gnu` where these are `i386-linux-gnu`.
fn gcc_in(entries: &[Entry]) -> Option<String> {
    entries.iter().find_map(|entry| {
        let dir = entry.path.strip_suffix(START_FILE)?.strip_suffix('/')?;
        let below = dir.strip_prefix(GCC)?.strip_prefix('/')?;
        (below.split('/').count() == 2).then(|| dir.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_newest_that_is_not_too_new() {
        for (glibc, release) in [
            (GlibcVersion(2, 30), None),
            (GlibcVersion(2, 31), Some("bullseye")),
            (GlibcVersion(2, 35), Some("bullseye")),
            (GlibcVersion(2, 36), Some("bookworm")),
            (GlibcVersion(2, 40), Some("bookworm")),
            (GlibcVersion(2, 41), Some("trixie")),
            (GlibcVersion(2, 99), Some("trixie")),
        ] {
            assert_eq!(release_for(glibc), release, "{glibc}");
        }
    }

    #[test]
    fn the_compilers_directory_is_that_of_the_target() {
        let of = |paths: &[&str]| {
            let entry = |path: &&str| Entry {
                path: (*path).into(),
                kind: EntryKind::Directory,
                mode: 0o644,
                uid: 0,
                gid: 0,
            };
            gcc_in(&paths.iter().map(entry).collect::<Vec<_>>())
        };
        let arm64 = [
            "usr/lib/gcc/aarch64-linux-gnu/12/32/crtbeginS.o",
            "usr/lib/gcc/aarch64-linux-gnu/12/crtbeginS.o",
        ];
        assert_eq!(of(&arm64).as_deref(), Some("usr/lib/gcc/aarch64-linux-gnu/12"));
        // The libraries of this one are in i386-linux-gnu.
        let i386 = of(&["usr/lib/gcc/i686-linux-gnu/12/crtbeginS.o"]);
        assert_eq!(i386.as_deref(), Some("usr/lib/gcc/i686-linux-gnu/12"));
        assert_eq!(
            of(&["usr/lib/gcc-cross/arm-linux-gnueabihf/12/crtbeginS.o", "usr/lib/gcc/crtbeginS.o"]),
            None
        );
    }
}
