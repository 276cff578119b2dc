//! Packages for a root filesystem that is already Debian: they are chosen to fit what is installed there, and laid out
//! as one layer on top of it.
//!
//! Installed packages are never changed. A package that needs a newer version of an installed one is refused: a base is
//! upgraded by using a newer base, and never silently.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::Archive;
use super::base::{add_certificates, add_metadata, file, lay, paragraph, sums, unrun_of};
use super::choose::{BaseSet, CachedSet, ResolvedBase, get, put, question};
use super::database::Database;
use super::error::Error;
use super::fetch::Access;
use super::recipe::Recipe;
use super::resolve::{self, resolve};
use super::scripts::Unrun;
use super::tree::{Tree, TreeError};
use super::urls::DownloadUrls;
use crate::host::Host;
use crate::layer::Entry;

/// Must be raised when the layout of the same packages on the same base changes.
pub(crate) const LAYOUT: u32 = 1;

/// The packages to add, and what is installed.
#[derive(Clone, Copy, Debug)]
pub struct AdditionsRequest<'a> {
    /// Debian's name for the architecture.
    pub architecture: &'a str,
    /// The requested packages.
    pub packages: &'a [String],
    /// What is installed.
    pub database: &'a Database,
}

/// The files of added packages.
#[derive(Clone, Debug)]
pub(crate) struct Additions {
    /// All their files, sorted by path. The paths are those in the packages: if the base has a link to a directory in a
    /// path, the entry still has to be moved behind that link.
    pub entries: Vec<Entry>,
    /// The packages whose scripts would have had an effect.
    pub unrun: Vec<Unrun>,
}

impl Archive {
    /// Chooses packages to add, including those that they need and the root lacks. Downloads no package.
    ///
    /// # Errors
    ///
    /// If a package is unknown, if something that it needs is unavailable or does not fit what is installed, if an
    /// index is unavailable, or if the work is cancelled.
    pub fn resolve_additions(
        &self,
        request: &AdditionsRequest<'_>,
        host: Host<'_>,
    ) -> Result<BaseSet, Error> {
        let AdditionsRequest { architecture, packages, database } = *request;
        let access = Access { host };
        let indexes = self.indexes(architecture, host.reporter)?;
        let extra: BTreeSet<&String> = packages.iter().collect();
        let question = question(&indexes, architecture, &extra, Some(&database.identity()));
        let kept = access.dir("resolved")?.join(question);
        if let Some(known) = get(&kept)? {
            return Ok(self.set(architecture, known));
        }
        let answer = self.with_universe(&indexes, architecture, access, |universe| {
            let asked = self.asked_for(universe, architecture, &extra)?;
            // If there is a dpkg, its database must not have broken dependencies. Otherwise packages that are needed
            // only by other packages' scripts are left out, as in our own bases.
            let recipe = Recipe::get().packages.iter().filter(|_| database.status.is_none());
            let without = recipe
                .map(|package| (package.name.as_str(), package.without.keys().map(String::as_str).collect()))
                .collect();
            let (packages, installed) = (asked.as_slice(), database.installed.as_slice());
            let chosen = resolve(
                universe,
                &resolve::Request { architecture, packages, without, nowhere: &[], installed },
                host.cancel,
            )?;
            let mut packages: Vec<_> = chosen.iter().map(|chosen| self.added(universe, chosen)).collect();
            packages.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(CachedSet { packages, lacking: BTreeMap::new(), at_run_time: Vec::new() })
        })?;
        put(&kept, &answer)?;
        Ok(self.set(architecture, answer))
    }
}

/// Downloads packages and lays them out, with the metadata that dpkg and scanners read.
pub(crate) fn assemble_additions(
    resolved: &ResolvedBase,
    database: &Database,
    urls: &DownloadUrls,
    host: Host<'_>,
) -> Result<Additions, Error> {
    let architecture = &resolved.architecture;
    let own = |source| Error::Tree { architecture: architecture.clone(), source };
    let mut tree = Tree::plain();
    let controls = lay(resolved, urls, host, &mut tree)?;
    add_certificates(&mut tree, architecture)?;
    if database.status.is_some() {
        let mut paragraphs = BTreeMap::new();
        for (package, unpacked) in &controls {
            let several = unpacked.control.lines().any(|line| line == "Multi-Arch: same");
            let stem = if several && database.qualified {
                format!("var/lib/dpkg/info/{}:{architecture}", package.name)
            } else {
                format!("var/lib/dpkg/info/{}", package.name)
            };
            let list = tree.paths_of(&package.name);
            let list = list.iter().fold("/.\n".to_owned(), |text, path| format!("{text}/{path}\n"));
            let conffiles =
                unpacked.conffiles.iter().fold(String::new(), |text, path| format!("{text}/{path}\n"));
            let texts =
                [("list", list), ("md5sums", sums(&tree, package, unpacked)), ("conffiles", conffiles)];
            paragraphs.insert(package.name.as_str(), paragraph(unpacked));
            for (suffix, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
                add_file(&mut tree, &format!("{stem}.{suffix}"), text).map_err(own)?;
            }
        }
        if let Some(status) = database.with(&paragraphs) {
            add_file(&mut tree, "var/lib/dpkg/status", status).map_err(own)?;
        }
    } else {
        for (package, unpacked) in &controls {
            add_metadata(&mut tree, package, unpacked).map_err(own)?;
        }
    }
    Ok(Additions { unrun: unrun_of(&controls), entries: tree.into_entries() })
}

fn add_file(tree: &mut Tree, path: &str, text: String) -> Result<(), TreeError> {
    tree.add_own(file(path, text.into_bytes().into()))
}
