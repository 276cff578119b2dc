//! The base image: which packages it is made of, and what is added to them. The recipe is data: `base.toml`.
//!
//! It is made as distroless images are made: a program's libraries, certificates, time zones and users, and nothing
//! that runs by itself. What maintainer scripts would have done is in the recipe or in `certificates`; a package whose
//! scripts the recipe does not account for is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use debversion::Version;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::archive::{Archive, Index};
use super::certificates::{self, CertificateFile};
use super::error::Error;
use super::fetch::{self, Access};
use super::relation::parse_groups;
use super::resolve::{self, Chosen, resolve};
use super::tree::{Owner, Tree, TreeError};
use super::unpack::{UnpackError, Unpacked, unpack};
use crate::layer::{Content, Entry, EntryKind};
use crate::report::Reporter;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::fs;

const RECIPE: &str = include_str!("base.toml");
/// Part of every identity: raise it when the code that assembles a base changes what comes out.
const ASSEMBLY: u32 = 1;

static PARSED: LazyLock<Recipe> =
    LazyLock::new(|| toml::from_str(RECIPE).expect("base.toml is part of the program and tested"));

/// `base.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    environment: Vec<String>,
    packages: Vec<RecipePackage>,
    libraries: BTreeMap<String, String>,
    documentation: Documentation,
    directories: Vec<RecipeDirectory>,
    symlinks: Vec<RecipeSymlink>,
    files: Vec<RecipeFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipePackage {
    name: String,
    why: String,
    /// Why its scripts need not run; a package without this must have none.
    scripts: Option<String>,
    /// Dependencies that are left out, with the reason.
    #[serde(default)]
    without: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Documentation {
    drop: Vec<String>,
    copyright: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeDirectory {
    path: String,
    #[serde(default = "folder_mode")]
    mode: u32,
    #[serde(default)]
    uid: u64,
    #[serde(default)]
    gid: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeSymlink {
    path: String,
    to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    path: String,
    text: String,
}

const fn folder_mode() -> u32 {
    0o755
}

/// Which base.
#[derive(Clone, Copy, Debug)]
pub struct BaseRequest<'a> {
    /// Debian's name of the architecture: `amd64`, `arm64`, `armhf`, …
    pub architecture: &'a str,
    /// Packages beyond the recipe's, for libraries that the payload needs. Order and repetition do not matter.
    pub extra: &'a [String],
}

/// The packages of a base, from signed indexes. No package was downloaded for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedBase {
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The release's codename.
    pub release: String,
    /// The packages in the order in which they are laid.
    pub packages: Vec<Package>,
}

/// A package of a base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where its `.deb` is.
    pub url: String,
    /// The digest of its `.deb`, in hexadecimal.
    #[serde(with = "hex::serde")]
    pub sha256: [u8; 32],
    /// The size of its `.deb` in bytes.
    pub size: u64,
    /// What it takes when it is unpacked, in KiB, as it says itself.
    pub installed_size: Option<u64>,
    /// `Replaces`.
    pub replaces: String,
    /// Why it is here, for a person.
    pub why: String,
}

/// A base's root filesystem.
#[derive(Clone, Debug)]
pub struct AssembledBase {
    /// Everything in it, sorted by path; of several names of a file the first is the file.
    pub entries: Vec<Entry>,
    /// The fields of `/etc/os-release`.
    pub os_release: BTreeMap<String, String>,
    /// What the image's configuration should have as its environment: `NAME=value`.
    pub environment: Vec<String>,
}

/// The Debian package that has a library which the base lacks, if the recipe knows one: `libstdc++.so.6` is in
/// `libstdc++6`.
#[must_use]
pub fn package_for_library(soname: &str) -> Option<&'static str> {
    PARSED.libraries.get(soname).map(String::as_str)
}

impl ResolvedBase {
    /// The glibc that programs run on, for example `(2, 36)`: the version of libc6.
    #[must_use]
    pub fn glibc(&self) -> Option<(u32, u32)> {
        let libc = self.packages.iter().find(|package| package.name == "libc6")?;
        let version: Version = libc.version.parse().ok()?;
        let mut numbers = version.upstream_version.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// `sha256:…` over everything that decides the base's bytes: the recipe, the code's version, the architecture and
    /// the packages. The same identity means the same root filesystem, wherever the packages came from.
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

    /// What the packages are to download in all, in bytes.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }
}

impl Archive {
    /// Chooses the packages of a base. Needs the package indexes only the first time that it is asked for these: the
    /// answer is kept under the digests of everything that decides it.
    pub fn resolve_base(
        &self,
        request: &BaseRequest<'_>,
        client: &Client,
        cancel: &Cancel,
        reporter: &dyn Reporter,
    ) -> Result<ResolvedBase, Error> {
        let access = Access { cache: self.cache(), client, cancel, reporter };
        let indexes = self.indexes(request.architecture, reporter)?;
        let extra: BTreeSet<&String> = request.extra.iter().collect();
        let kept = access.folder("resolved")?.join(question(&indexes, request.architecture, &extra));
        if let Some(known) = recall(&kept)? {
            return Ok(known);
        }
        let packages: Vec<String> =
            PARSED.packages.iter().map(|package| &package.name).chain(extra).cloned().collect();
        let without = PARSED
            .packages
            .iter()
            .map(|package| (package.name.as_str(), package.without.keys().map(String::as_str).collect()))
            .collect();
        let universe = Self::universe(&indexes, request.architecture, access)?;
        let question = resolve::Request {
            architecture: request.architecture,
            packages: &packages,
            without,
            installed: &[],
        };
        let chosen = resolve(&universe, &question)?;
        let packages = chosen
            .iter()
            .map(|chosen| Package {
                name: chosen.record.name.to_string(),
                version: chosen.record.version.to_string(),
                url: universe.url(chosen.record),
                sha256: chosen.record.sha256,
                size: chosen.record.size,
                installed_size: chosen.record.installed_size,
                replaces: chosen.record.replaces.to_string(),
                why: why(chosen),
            })
            .collect();
        let release = self.suites().first().map(|suite| suite.release.codename.clone()).unwrap_or_default();
        let resolved = ResolvedBase { architecture: request.architecture.to_owned(), release, packages };
        remember(&kept, &resolved)?;
        Ok(resolved)
    }
}

fn why(chosen: &Chosen<'_>) -> String {
    match chosen.because.last() {
        Some(parent) => format!("needed by {parent}"),
        None => PARSED
            .packages
            .iter()
            .find(|package| package.name == *chosen.record.name)
            .map_or_else(|| "the payload needs it".to_owned(), |package| package.why.clone()),
    }
}

/// The name of a kept answer: a digest of all that decides it.
fn question(indexes: &[Index<'_>], architecture: &str, extra: &BTreeSet<&String>) -> String {
    let indexes: Vec<_> = indexes
        .iter()
        .map(|index| {
            (&index.suite.source.mirror, &index.suite.release.codename, hex::encode(index.file.sha256))
        })
        .collect();
    let version = (env!("CARGO_PKG_VERSION"), ASSEMBLY);
    let question = serde_json::json!([version, RECIPE, architecture, extra, indexes]);
    hex::encode(Sha256::digest(question.to_string()))
}

/// Keeps an answer: its digest, a line end, and the answer as JSON.
fn remember(path: &Path, resolved: &ResolvedBase) -> Result<(), Error> {
    let text = serde_json::to_string(resolved).map_err(std::io::Error::other)?;
    let digest = hex::encode(Sha256::digest(&text));
    Ok(fs::write_atomic(path, format!("{digest}\n{text}").as_bytes(), 0o644)?)
}

/// A kept answer, if it is there and whole. Derived from verified data by ourselves, it is as good as the cache folder
/// is the user's own; the packages that it names are still verified by their digests.
fn recall(path: &Path) -> Result<Option<ResolvedBase>, Error> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let whole = text.split_once('\n').filter(|(digest, text)| *digest == hex::encode(Sha256::digest(text)));
    Ok(whole.and_then(|(_, text)| serde_json::from_str(text).ok()))
}

/// Downloads the packages of a base, which are kept in `cache`, and lays out its root filesystem.
///
/// The same [`ResolvedBase::identity`] always gives the same entries: keep the layer under it, and this needs to be
/// called once.
pub fn assemble_base(
    resolved: &ResolvedBase,
    cache: &Path,
    client: &Client,
    cancel: &Cancel,
    reporter: &dyn Reporter,
) -> Result<AssembledBase, Error> {
    let access = Access { cache, client, cancel, reporter };
    let wanted: Vec<fetch::Wanted> = resolved
        .packages
        .iter()
        .map(|package| fetch::Wanted {
            what: format!("{} {} ({})", package.name, package.version, resolved.architecture),
            url: package.url.clone(),
            sha256: package.sha256,
            size: package.size,
        })
        .collect();
    let architecture = || resolved.architecture.clone();
    let undelivered = |package: &Package, source| Error::PackageDownload {
        architecture: architecture(),
        package: package.name.clone(),
        version: package.version.clone(),
        source: Box::new(source),
    };
    access.packages(&wanted).map_err(|(at, source)| undelivered(&resolved.packages[at], source))?;
    let mut tree = Tree::merged();
    let mut controls = Vec::new();
    for (package, wanted) in resolved.packages.iter().zip(&wanted) {
        let deb = access.package(wanted).map_err(|source| undelivered(package, source))?;
        let mut unpacked = unpack_package(package, &deb, cancel, &resolved.architecture)?;
        drop_documentation(&mut unpacked.entries);
        let entries = std::mem::take(&mut unpacked.entries);
        tree.add(owner(package), entries)
            .map_err(|source| Error::Tree { architecture: architecture(), source })?;
        controls.push((package, unpacked));
    }
    add_certificates(&mut tree, &resolved.architecture)?;
    let own = |source| Error::Tree { architecture: architecture(), source };
    add_recipe(&mut tree).map_err(own)?;
    for (package, unpacked) in &controls {
        add_metadata(&mut tree, package, unpacked).map_err(own)?;
    }
    let os_release =
        tree.content("usr/lib/os-release").map(|bytes| parse_os_release(&bytes)).unwrap_or_default();
    Ok(AssembledBase { entries: tree.into_entries(), os_release, environment: PARSED.environment.clone() })
}

fn owner(package: &Package) -> Owner {
    // What is no relation replaces nothing: the overlap, if there is one, is then reported.
    let replaces = parse_groups(&package.replaces).unwrap_or_default();
    let version = Version::parse_lenient(&package.version).unwrap_or_else(|_| Version {
        epoch: None,
        upstream_version: package.version.clone(),
        debian_revision: None,
    });
    Owner { name: package.name.clone(), version, replaces }
}

fn unpack_package(
    package: &Package,
    deb: &[u8],
    cancel: &Cancel,
    architecture: &str,
) -> Result<Unpacked, Error> {
    let identity = (package.name.as_str(), package.version.as_str());
    let unpacked = unpack(deb, identity, package.installed_size, cancel).map_err(|source| match source {
        UnpackError::Cancelled(cancelled) => Error::Cancelled(cancelled),
        source => Error::Unpack {
            architecture: architecture.to_owned(),
            package: package.name.clone(),
            version: package.version.clone(),
            source: Box::new(source),
        },
    })?;
    let accounted = PARSED.packages.iter().any(|known| known.name == package.name && known.scripts.is_some());
    match unpacked.scripts.first() {
        Some(script) if !accounted => Err(Error::Script {
            architecture: architecture.to_owned(),
            package: package.name.clone(),
            script: script.clone(),
        }),
        _ => Ok(unpacked),
    }
}

/// Leaves out what the recipe drops. A hard link whose file is left out becomes a file.
fn drop_documentation(entries: &mut Vec<Entry>) {
    let rules = &PARSED.documentation;
    let kept = |entry: &Entry| {
        let below = |folder: &String| {
            entry.path.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/'))
        };
        if !rules.drop.iter().any(|folder| below(folder).is_some()) {
            return true;
        }
        match below(&rules.copyright).map(|rest| rest.split_once('/')) {
            Some(Some((_, "copyright"))) => true,
            Some(None) => matches!(entry.kind, EntryKind::Symlink(_)),
            _ => false,
        }
    };
    let dropped: BTreeMap<String, Content> = entries
        .iter()
        .filter(|entry| !kept(entry))
        .filter_map(|entry| match &entry.kind {
            EntryKind::File(content) => Some((entry.path.clone(), content.clone())),
            _ => None,
        })
        .collect();
    entries.retain(kept);
    for entry in entries {
        if let EntryKind::HardLink(target) = &entry.kind
            && let Some(content) = dropped.get(target)
        {
            entry.kind = EntryKind::File(content.clone());
        }
    }
}

fn add_recipe(tree: &mut Tree) -> Result<(), TreeError> {
    for directory in &PARSED.directories {
        let RecipeDirectory { path, mode, uid, gid } = directory;
        let (kind, path) = (EntryKind::Directory, path.clone());
        tree.add_own(Entry { path, kind, mode: *mode, uid: *uid, gid: *gid })?;
    }
    for RecipeSymlink { path, to } in &PARSED.symlinks {
        tree.add_own(own(path, EntryKind::Symlink(to.clone()), 0o777))?;
    }
    for RecipeFile { path, text } in &PARSED.files {
        tree.add_own(file(path, text.as_bytes().into()))?;
    }
    Ok(())
}

fn own(path: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0 }
}

fn file(path: &str, bytes: Arc<[u8]>) -> Entry {
    own(path, EntryKind::File(Content::Bytes(bytes)), 0o644)
}

/// The bundle and links that ca-certificates' script would have made.
fn add_certificates(tree: &mut Tree, architecture: &str) -> Result<(), Error> {
    const FOLDER: &str = "usr/share/ca-certificates";
    let files: Vec<CertificateFile> = tree
        .entries_below(FOLDER)
        .filter(|entry| Path::new(&entry.path).extension().is_some_and(|extension| extension == "crt"))
        .filter_map(|entry| {
            let name = entry.path[FOLDER.len() + 1..].to_owned();
            Some(CertificateFile { name, pem: tree.content(&entry.path)? })
        })
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let store = certificates::store(files)
        .map_err(|source| Error::Certificate { architecture: architecture.to_owned(), source })?;
    let mut names = String::from("# Certificates of /usr/share/ca-certificates that are trusted.\n");
    for name in &store.names {
        names.push_str(name);
        names.push('\n');
    }
    let links = store
        .links
        .into_iter()
        .map(|(link, target)| own(&format!("etc/ssl/certs/{link}"), EntryKind::Symlink(target), 0o777));
    let entries = [
        file("etc/ca-certificates.conf", names.into_bytes().into()),
        file("etc/ssl/certs/ca-certificates.crt", store.bundle.into()),
    ];
    for entry in entries.into_iter().chain(links) {
        tree.add_own(entry)
            .map_err(|source| Error::Tree { architecture: architecture.to_owned(), source })?;
    }
    Ok(())
}

/// What scanners read where there is no dpkg: the package's control paragraph, and the digests of its files. They are of
/// the files that are in the image, so that nothing is said of what was left out.
fn add_metadata(tree: &mut Tree, package: &Package, unpacked: &Unpacked) -> Result<(), TreeError> {
    let mut status = String::new();
    for line in unpacked.control.trim_end().lines() {
        status.push_str(line);
        status.push('\n');
        if line.starts_with("Package:") {
            status.push_str("Status: install ok installed\n");
        }
    }
    let mut sums = String::new();
    for path in tree.files_of(&package.name) {
        // As in Debian's own lists, configuration is not in it, for it may change.
        if !unpacked.conffiles.iter().any(|conffile| conffile == path)
            && let Some(content) = tree.content(path)
        {
            sums.extend([hex::encode(Md5::digest(&content)).as_str(), "  ", path, "\n"]);
        }
    }
    let stem = format!("var/lib/dpkg/status.d/{}", package.name);
    tree.add_own(file(&stem, status.into_bytes().into()))?;
    tree.add_own(file(&format!("{stem}.md5sums"), sums.into_bytes().into()))
}

/// `NAME="value"` lines (os-release(5)), without the shell's escapes, which Debian does not use.
fn parse_os_release(bytes: &[u8]) -> BTreeMap<String, String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}
