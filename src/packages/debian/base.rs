//! Lays out a base image: packages are downloaded, unpacked and merged, and missing files are added.
//!
//! It is made like distroless images: libraries, certificates, time zones and users for a program, and nothing that
//! runs by itself. What maintainer scripts would have done is in the recipe or in `certificates`. A package of the base
//! with scripts that the recipe does not account for is refused; for a requested package this is reported.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use debversion::Version;
use md5::{Digest as _, Md5};

use super::certificates::{self, CertificateFile};
use super::choose::{Package, ResolvedBase};
use super::error::Error;
use super::fetch::{Access, PackageFault, Wanted};
use super::recipe::{Recipe, RecipeDirectory, RecipeFile, RecipeSymlink};
use super::relation::parse_groups;
use super::scripts::{Unrun, unrun};
use super::tree::{Owner, Tree, TreeError};
use super::unpack::{UnpackError, Unpacked, unpack};
use super::urls::DownloadUrls;
use crate::host::Host;
use crate::layer::{Content, Entry, EntryKind};
use crate::sys::cancel::Cancel;

/// A base's root filesystem.
#[derive(Clone, Debug)]
pub(crate) struct AssembledBase {
    /// All its entries, sorted by path. If a file has several names, the first one is the file.
    pub entries: Vec<Entry>,
    /// The environment for the image's configuration: `NAME=value`.
    pub environment: Vec<String>,
    /// The requested packages whose scripts would have had an effect.
    pub unrun: Vec<Unrun>,
}

/// Downloads the packages of a base from `urls` and lays out its root filesystem.
///
/// The same [`ResolvedBase::identity`] always gives the same entries. If the layer is stored under it, this needs to be
/// called only once.
pub(crate) fn assemble_base(
    resolved: &ResolvedBase,
    urls: &DownloadUrls,
    host: Host<'_>,
) -> Result<AssembledBase, Error> {
    let architecture = || resolved.architecture.clone();
    let mut tree = Tree::merged();
    let controls = lay(resolved, urls, host, &mut tree)?;
    add_certificates(&mut tree, &resolved.architecture)?;
    let own = |source| Error::Tree { architecture: architecture(), source };
    add_recipe(&mut tree).map_err(own)?;
    for (package, unpacked) in &controls {
        add_metadata(&mut tree, package, unpacked).map_err(own)?;
    }
    let unrun = unrun_of(&controls);
    Ok(AssembledBase { entries: tree.into_entries(), environment: Recipe::get().environment.clone(), unrun })
}

/// Downloads packages and lays them into `tree` in order. Returns their control data.
pub(super) fn lay<'a>(
    resolved: &'a ResolvedBase,
    urls: &DownloadUrls,
    host: Host<'_>,
    tree: &mut Tree,
) -> Result<Vec<(&'a Package, Unpacked)>, Error> {
    let access = Access { host };
    let wanted: Vec<Wanted> = resolved
        .packages
        .iter()
        .map(|package| {
            let (urls, mirrors) = urls.for_package(package);
            let what = format!("{} {} ({})", package.name, package.version, resolved.architecture);
            Wanted { what, urls, mirrors, sha256: package.sha256, size: package.size }
        })
        .collect();
    let architecture = || resolved.architecture.clone();
    let undelivered = |package: &Package, fault| {
        let (architecture, package, version) =
            (architecture(), package.name.clone(), package.version.clone());
        match fault {
            PackageFault::Download(source) => {
                Error::PackageDownload { architecture, package, version, source: Box::new(source) }
            }
            PackageFault::Superseded { tried, last } => {
                Error::Superseded { architecture, package, version, tried, source: Box::new(last) }
            }
            PackageFault::NoPlace => Error::NoPlace { architecture, package, version },
        }
    };
    access.packages(&wanted).map_err(|(at, fault)| undelivered(&resolved.packages[at], fault))?;
    let mut controls = Vec::new();
    for (package, wanted) in resolved.packages.iter().zip(&wanted) {
        let deb = access.package(wanted).map_err(|source| undelivered(package, source.into()))?;
        let mut unpacked = unpack_package(package, &deb, host.cancel, &resolved.architecture)?;
        drop_documentation(&mut unpacked.entries);
        let entries = std::mem::take(&mut unpacked.entries);
        tree.add(owner(package, &unpacked.replaces), entries)
            .map_err(|source| Error::Tree { architecture: architecture(), source })?;
        controls.push((package, unpacked));
    }
    Ok(controls)
}

/// The requested packages whose scripts would have had an effect.
pub(super) fn unrun_of(controls: &[(&Package, Unpacked)]) -> Vec<Unrun> {
    let accounted =
        |package: &Package| Recipe::get().package(&package.name).is_some_and(|known| known.scripts.is_some());
    controls
        .iter()
        .filter(|(package, _)| package.added && !accounted(package))
        .filter_map(|(package, unpacked)| {
            unrun((&package.name, &package.version), unpacked.scripts.get("postinst")?)
        })
        .collect()
}

/// The properties of a package that the tree needs. `Replaces` decides whose file stays. It is read from the package
/// itself, which is covered by its digest, and not from an index or a lock. So the same packages give the same bytes,
/// wherever they are listed.
fn owner(package: &Package, replaces: &str) -> Owner {
    // A malformed field replaces nothing. An overlap is then reported.
    let replaces = parse_groups(replaces).unwrap_or_default();
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
    let accounted = Recipe::get().package(&package.name).is_some_and(|known| known.scripts.is_some());
    match unpacked.scripts.keys().next() {
        Some(script) if !accounted && !package.added => Err(Error::Script {
            architecture: architecture.to_owned(),
            package: package.name.clone(),
            script: (*script).to_owned(),
        }),
        _ => Ok(unpacked),
    }
}

/// Removes the files that the recipe drops. A hard link whose file is removed becomes a file.
fn drop_documentation(entries: &mut Vec<Entry>) {
    let rules = &Recipe::get().documentation;
    let kept = |entry: &Entry| {
        let below =
            |dir: &String| entry.path.strip_prefix(dir.as_str()).and_then(|rest| rest.strip_prefix('/'));
        if !rules.drop.iter().any(|dir| below(dir).is_some()) {
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
    for directory in &Recipe::get().directories {
        let RecipeDirectory { path, mode, uid, gid } = directory;
        let (kind, path) = (EntryKind::Directory, path.clone());
        tree.add_own(Entry { path, kind, mode: *mode, uid: *uid, gid: *gid })?;
    }
    for RecipeSymlink { path, to } in &Recipe::get().symlinks {
        tree.add_own(own(path, EntryKind::Symlink(to.clone()), 0o777))?;
    }
    for RecipeFile { path, text } in &Recipe::get().files {
        tree.add_own(file(path, text.as_bytes().into()))?;
    }
    Ok(())
}

pub(super) fn own(path: &str, kind: EntryKind, mode: u32) -> Entry {
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0 }
}

pub(super) fn file(path: &str, bytes: Arc<[u8]>) -> Entry {
    own(path, EntryKind::File(Content::Bytes(bytes)), 0o644)
}

/// Adds the bundle and links that ca-certificates' script would have made.
pub(super) fn add_certificates(tree: &mut Tree, architecture: &str) -> Result<(), Error> {
    const DIR: &str = "usr/share/ca-certificates";
    let files: Vec<CertificateFile> = tree
        .entries_below(DIR)
        .filter(|entry| Path::new(&entry.path).extension().is_some_and(|extension| extension == "crt"))
        .filter_map(|entry| {
            let name = entry.path[DIR.len() + 1..].to_owned();
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

/// Adds what scanners read if there is no dpkg: the package's control paragraph, and the digests of its files. Only
/// files in the image are listed, not those that were left out.
pub(super) fn add_metadata(tree: &mut Tree, package: &Package, unpacked: &Unpacked) -> Result<(), TreeError> {
    let stem = format!("var/lib/dpkg/status.d/{}", package.name);
    let sums = sums(tree, package, unpacked);
    tree.add_own(file(&stem, paragraph(unpacked).into_bytes().into()))?;
    tree.add_own(file(&format!("{stem}.md5sums"), sums.into_bytes().into()))
}

/// A package's control paragraph in the form in which dpkg stores it for an installed package.
pub(super) fn paragraph(unpacked: &Unpacked) -> String {
    let mut status = String::new();
    for line in unpacked.control.trim_end().lines() {
        status.push_str(line);
        status.push('\n');
        if line.starts_with("Package:") {
            status.push_str("Status: install ok installed\n");
        }
    }
    status
}

/// The digests of a package's files that are in the image, in dpkg's form.
pub(super) fn sums(tree: &Tree, package: &Package, unpacked: &Unpacked) -> String {
    let mut sums = String::new();
    for path in tree.files_of(&package.name) {
        // As in Debian's own lists, configuration files are left out, since they may change.
        if !unpacked.conffiles.iter().any(|conffile| conffile == path)
            && let Some(content) = tree.content(path)
        {
            sums.extend([hex::encode(Md5::digest(&content)).as_str(), "  ", path, "\n"]);
        }
    }
    sums
}
