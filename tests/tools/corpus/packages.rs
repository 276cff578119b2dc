//! Debian's packages as layers: each package's files in its own tar, stored in the tests' cache.
//!
//! xbuild's client finds the packages; dpkg-deb reads their content. Nothing is configured, no script runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xbuild::event::{Event, Reporter};
use xbuild::internal::base::apt::{ReleaseRequest, open};
use xbuild::internal::host::Host;
use xbuild::internal::packages::debian::BaseRequest;
use xbuild::internal::packages::debian::DebianSettings;
use xbuild::internal::sys::download::{Client, Download};
use xbuild::{Cancel, Environment};

use super::image::Blob;
use crate::support::scratch_root;

/// Raised if the same packages are stored differently.
const FORMAT: u32 = 2;
/// The package of the image without a merged `/usr`.
pub(super) const SPLIT: &str = "dash";

/// Some packages of a release for an architecture, with all their dependencies.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Userland {
    packages: BTreeMap<String, Package>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Package {
    /// Its files as on a system with a merged `/usr`.
    merged: Blob,
    /// Its files with the package's own paths, for a few packages.
    split: Option<Blob>,
    /// The first alternative of each dependency.
    depends: Vec<String>,
}

struct Silent;

impl Reporter for Silent {
    fn report(&self, _: Event) {}
}

impl Userland {
    /// The packages and their dependencies; the network is used only the first time.
    pub(crate) fn get(suite: &str, architecture: &str, names: &[&str]) -> Self {
        let here = scratch_root();
        let question = format!("{FORMAT} {} {suite} {architecture} {}", here.display(), names.join(" "));
        let key = &crate::support::layout::digest_of(question.as_bytes())["sha256:".len()..][..16];
        let dir = here.join("cache/corpus").join(format!("{suite}-{architecture}-{key}"));
        let kept = dir.join("packages.json");
        if let Ok(bytes) = fs::read(&kept) {
            return serde_json::from_slice(&bytes).expect("a file that was renamed when it was whole");
        }
        fs::create_dir_all(&dir).expect("the cache is ours");
        let userland = Self { packages: download(suite, architecture, names, &dir) };
        let part = dir.join("packages.part");
        fs::write(&part, serde_json::to_vec(&userland).expect("JSON")).expect("the cache is ours");
        fs::rename(part, kept).expect("the cache is ours");
        userland
    }

    /// The layers of some packages and all their dependencies, sorted by name.
    pub(super) fn layers(&self, names: &[&str], merged: bool) -> Vec<Blob> {
        for name in names {
            assert!(self.packages.contains_key(*name), "there is no package `{name}` in the corpus");
        }
        let depends = |name: &str| self.packages.get(name).map(|package| package.depends.as_slice());
        let wanted = closure(names, depends);
        let blob = |name: &String| {
            let package = &self.packages[name];
            if merged { package.merged.clone() } else { package.split.clone().expect("a package of `SPLIT`") }
        };
        wanted.iter().map(blob).collect()
    }

    /// Unpacks some packages and all their dependencies below a merged `/usr`, owned by the user who runs the tests.
    pub(crate) fn unpack(&self, names: &[&str], root: &Path) {
        for dir in MERGED {
            fs::create_dir_all(root.join("usr").join(dir)).expect("the cache is ours");
            symlink(Path::new("usr").join(dir), root.join(dir)).expect("the cache is ours");
        }
        for layer in self.layers(names, true) {
            let file = fs::File::open(&layer.path).expect("a layer of the cache");
            tar::Archive::new(file).unpack(root).expect("the cache is ours");
        }
    }

    /// All regular files of all packages.
    pub(super) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let of = |package: &Package| {
            let mut archive =
                tar::Archive::new(fs::File::open(&package.merged.path).expect("a layer of the cache"));
            let entries = archive.entries().expect("a tar of ours").map(|entry| {
                let mut entry = entry.expect("a tar of ours");
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("a tar of ours");
                (entry.path().expect("a tar of ours").display().to_string(), bytes)
            });
            entries.collect::<Vec<_>>()
        };
        self.packages.values().flat_map(of).collect()
    }

    /// The bytes of a file of a package, by its path with a merged `/usr`.
    pub(super) fn file(&self, package: &str, path: &str) -> Vec<u8> {
        let file = fs::File::open(&self.packages[package].merged.path).expect("a layer of the cache");
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries().expect("a tar of ours") {
            let mut entry = entry.expect("a tar of ours");
            if entry.path().expect("a tar of ours") == Path::new(path) && entry.size() > 0 {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("a tar of ours");
                return bytes;
            }
        }
        panic!("`{package}` has no file `{path}`")
    }
}

fn download(suite: &str, architecture: &str, names: &[&str], dir: &Path) -> BTreeMap<String, Package> {
    let cache = scratch_root().join("cache/xbuild");
    let (environment, client, cancel) = (Environment::default(), Client::new(false), Cancel::new());
    let suites = [suite.to_owned()];
    let request = ReleaseRequest { release: suite, suites: &suites, components: &[], moment: None };
    let host = Host {
        environment: &environment,
        cache: &cache,
        client: &client,
        cancel: &cancel,
        reporter: &Silent,
    };
    let archive =
        open(&request, &DebianSettings::default(), host).unwrap_or_else(|error| panic!("{suite}: {error}"));
    let extra: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let resolved = archive
        .resolve_base(&BaseRequest { architecture, extra: &extra, sysroot: None }, host)
        .unwrap_or_else(|error| panic!("{suite} {architecture}: {error}"));
    let get = |package: &xbuild::internal::packages::debian::Package| {
        let deb = dir.join(format!("{}.deb", package.name));
        let (sha256, size) = (Some(package.sha256), Some(package.size));
        let url = archive.suites()[0].source.url(&package.path);
        let download = Download { url: &url, path: &deb, sha256, size, limit: package.size };
        client.file(&download, &cancel, &mut |_, _| {}).unwrap_or_else(|error| panic!("{url}: {error}"));
        (package.name.clone(), depends(&deb))
    };
    let found: BTreeMap<String, Vec<String>> = resolved.packages.par_iter().map(get).collect();
    // The base's own packages were resolved together with them.
    let depends = |name: &str| found.get(name).map(Vec::as_slice);
    let (wanted, split) = (closure(names, depends), closure(&[SPLIT], depends));
    let keep = |(name, depends): (&String, &Vec<String>)| {
        let deb = dir.join(format!("{name}.deb"));
        let package = wanted.contains(name).then(|| Package {
            merged: layer(&deb, &dir.join(format!("{name}.merged.tar")), true),
            split: split.contains(name).then(|| layer(&deb, &dir.join(format!("{name}.split.tar")), false)),
            depends: depends.clone(),
        });
        fs::remove_file(&deb).expect("the cache is ours");
        package.map(|package| (name.clone(), package))
    };
    found.par_iter().filter_map(keep).collect()
}

/// Packages and all their known dependencies.
fn closure<'a>(names: &[&str], depends: impl Fn(&str) -> Option<&'a [String]>) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    let mut open: VecDeque<String> = names.iter().map(|name| (*name).to_owned()).collect();
    while let Some(name) = open.pop_front() {
        if let Some(more) = depends(&name)
            && wanted.insert(name)
        {
            open.extend(more.iter().cloned());
        }
    }
    wanted
}

/// The first alternative of each dependency of a package.
fn depends(deb: &Path) -> Vec<String> {
    let fields = Command::new("dpkg-deb")
        .args(["--showformat=${Pre-Depends}, ${Depends}", "--show"])
        .arg(deb)
        .output()
        .expect("dpkg-deb is installed");
    assert!(fields.status.success(), "dpkg-deb cannot read {}", deb.display());
    let name = |group: &str| {
        let first = group.split('|').next()?.trim().split([' ', ':', '(']).next()?.to_owned();
        (!first.is_empty()).then_some(first)
    };
    String::from_utf8_lossy(&fields.stdout).split(',').filter_map(name).collect()
}

/// A package's files as a layer, without those below `/usr/share`.
fn layer(deb: &Path, to: &Path, merged: bool) -> Blob {
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .expect("dpkg-deb is installed");
    let mut archive = tar::Archive::new(child.stdout.take().expect("it was asked for"));
    let mut layer = tar::Builder::new(fs::File::create(to).expect("the cache is ours"));
    for entry in archive.entries().expect("a package's tar") {
        let mut entry = entry.expect("a package's tar");
        let path = place(&entry.path().expect("a package's tar"), merged);
        if path.as_os_str().is_empty() || path.starts_with("usr/share") {
            continue;
        }
        // The links of a merged /usr are a layer of their own.
        if merged && MERGED.iter().any(|name| path == Path::new(name)) {
            continue;
        }
        let mut header = entry.header().clone();
        match entry.link_name().expect("a package's tar") {
            Some(target) if entry.header().entry_type().is_hard_link() => {
                layer.append_link(&mut header, path, place(&target, merged)).expect("the cache is ours");
            }
            Some(target) => {
                layer.append_link(&mut header, path, target).expect("the cache is ours");
            }
            None => layer.append_data(&mut header, path, &mut entry).expect("the cache is ours"),
        }
    }
    layer.finish().expect("the cache is ours");
    assert!(child.wait().expect("a child of ours").success(), "dpkg-deb cannot read {}", deb.display());
    Blob::of_file(to)
}

/// The directories that are links into a merged `/usr`.
pub(super) const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

fn place(path: &Path, merged: bool) -> PathBuf {
    let path = path.strip_prefix(".").unwrap_or(path);
    if merged && MERGED.iter().any(|name| path.strip_prefix(name).is_ok_and(|rest| rest != Path::new(""))) {
        return Path::new("usr").join(path);
    }
    path.to_owned()
}
