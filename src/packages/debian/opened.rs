//! A release as a base needs it: opened from the mirrors that are configured here or on this machine, and the packages
//! that were chosen from it or are pinned, with the URLs to download them from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::additions::AdditionsRequest;
use super::archive::Archive;
use super::choose::{BaseRequest, BaseSet, Package, ResolvedBase, SuiteOrigin, sort_packages};
use super::error::Error;
use super::fetch::cache_dir;
use super::freshness::Dated;
use super::host::Host as Apt;
use super::options::DebianSettings;
use super::sources::{Configured, Source, Wanted, select, snapshot_root};
use super::sysroot::{SysrootRequest, SysrootSet};
use super::urls::{DownloadUrls, Snapshot};
use crate::event::{Event, Level, ReleaseFacts};
use crate::host::Host;
use crate::sys::store;

/// A Debian release, and which parts of it are used.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseRequest<'a> {
    /// The release's codename.
    pub release: &'a str,
    /// The suites; empty for the release with its updates and its security suite.
    pub suites: &'a [String],
    /// The components; empty for `main`.
    pub components: &'a [String],
    /// The date at which everything is taken, if one was requested.
    pub moment: Option<&'a str>,
}

/// The mirrors and suites of a release, and notes on what was ignored of this machine's apt configuration.
fn sources(
    request: &ReleaseRequest<'_>,
    settings: &DebianSettings,
    host: Host<'_>,
) -> Result<(Vec<Source>, Vec<Event>), Error> {
    // Marks the cache as in use, so that pruning leaves it alone.
    store::open(host.cache)?;
    let configured = Configured {
        archive: settings.mirror.clone(),
        security: settings.security_mirror.clone(),
        snapshot: settings.snapshot.clone(),
    };
    // A configured mirror does not need the host's configuration.
    let whole = configured.archive.is_some();
    let apt = if whole || request.moment.is_some() {
        Apt::default()
    } else {
        let apt = Apt::read(Path::new("/"));
        apt.with_lists(&cache_dir(host), host.client, host.cancel)?
    };
    let useless = apt.archive.is_empty() && apt.security.is_empty();
    // If other sources of the machine are used, few users care about the ignored ones.
    let level = if useless { Level::Info } else { Level::Detail };
    let passed = |reason: &String| Event::Note {
        level,
        platform: None,
        text: format!("ignored among the sources of this machine's apt: {reason}"),
    };
    let passed = apt.passed.iter().map(passed).collect();
    let sources = select(&Wanted {
        release: request.release,
        suites: request.suites,
        components: request.components,
        moment: request.moment,
        configured,
        host: apt,
        keyrings: settings.keyrings.clone(),
    })?;
    Ok((sources, passed))
}

/// Opens a release: downloads and verifies its suites. They serve every architecture.
///
/// # Errors
///
/// If no mirror can be chosen for a suite, if a release is unavailable, or if its signature or date is invalid.
pub fn open(
    request: &ReleaseRequest<'_>,
    settings: &DebianSettings,
    host: Host<'_>,
) -> Result<Archive, Error> {
    let (sources, passed) = sources(request, settings, host)?;
    for event in passed {
        host.reporter.report(event);
    }
    Archive::open(&sources, host)
}

/// Chooses the packages for a base from an opened release.
pub(crate) fn resolve_base(
    archive: &Archive,
    request: &BaseRequest<'_>,
    host: Host<'_>,
) -> Result<ResolvedPackages, Error> {
    let set = archive.resolve_base(request, host)?;
    Ok(ResolvedPackages { releases: dated(&set), set, urls: urls_of(archive), pinned: None, offer: None })
}

/// Chooses packages to add to an image from an opened release.
pub(crate) fn resolve_additions(
    archive: &Archive,
    request: &AdditionsRequest<'_>,
    host: Host<'_>,
) -> Result<ResolvedPackages, Error> {
    let set = archive.resolve_additions(request, host)?;
    Ok(ResolvedPackages { releases: dated(&set), set, urls: urls_of(archive), pinned: None, offer: None })
}

/// Chooses the packages of a sysroot from an opened release, and those that programs may need when they run.
pub(crate) fn resolve_sysroot(
    archive: &Archive,
    request: &SysrootRequest<'_>,
    host: Host<'_>,
) -> Result<(ResolvedPackages, Vec<Package>), Error> {
    let SysrootSet { set, at_run_time } = archive.resolve_sysroot(request, host)?;
    let (releases, urls) = (dated(&set), urls_of(archive));
    Ok((ResolvedPackages { releases, set, urls, pinned: None, offer: None }, at_run_time))
}

fn urls_of(archive: &Archive) -> DownloadUrls {
    let sources: Vec<Source> = archive.suites().iter().map(|suite| suite.source.clone()).collect();
    DownloadUrls::of(&sources, None)
}

/// The mirror and date of each release that the packages come from.
fn dated(set: &BaseSet) -> Vec<Dated> {
    let dated = |suite: &SuiteOrigin| Dated {
        suite: suite.suite.clone(),
        mirror: suite.mirror.clone(),
        date: suite.date,
    };
    set.suites.iter().map(dated).collect()
}

/// Packages in a lock.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    /// The packages.
    pub set: BaseSet,
    /// The date of a snapshot that has them.
    pub snapshot: Option<String>,
    /// The date of the newest release that contained them.
    pub date: Option<String>,
}

/// The pinned packages. No mirror is asked, as their digests are known. Only the URLs to download them from depend on
/// this machine.
pub(crate) fn resolve_pinned(
    pinned: Pinned,
    request: &ReleaseRequest<'_>,
    settings: &DebianSettings,
    host: Host<'_>,
) -> Result<ResolvedPackages, Error> {
    let root = snapshot_root(settings.snapshot.as_deref());
    let snapshot = pinned.snapshot.map(|date| Snapshot { root, date });
    let (sources, _) = sources(request, settings, host)?;
    let urls = DownloadUrls::of(&sources, snapshot);
    let date = pinned.date.as_deref().and_then(|date| date.get(..10)).unwrap_or_default().to_owned();
    Ok(ResolvedPackages { set: pinned.set, urls, releases: Vec::new(), pinned: Some(date), offer: None })
}

/// The packages that a base can be made of, and the URLs to download them from.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedPackages {
    /// The packages.
    pub set: BaseSet,
    /// The URLs to download them from.
    pub urls: DownloadUrls,
    /// The releases that they were chosen from; empty if they are pinned.
    pub releases: Vec<Dated>,
    /// The day of the newest release if the packages come from a lock; empty if the lock has no date.
    pub pinned: Option<String>,
    /// What else a base of them may get for libraries of the sysroot that programs are linked against.
    pub offer: Option<Arc<Offer>>,
}

/// Packages with libraries that a base gets if programs need them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    /// The packages, each with the names of those with the libraries for which it is there.
    pub packages: Vec<Package>,
    /// The package that has a library, by the library's file name.
    pub owners: BTreeMap<String, String>,
}

impl ResolvedPackages {
    /// The base for a payload that needs these libraries: see [`BaseSet::base`].
    pub(crate) fn base(&self, libraries: &BTreeSet<String>) -> Result<ResolvedBase, Error> {
        let mut base = self.set.base(libraries)?;
        for offered in self.offered(libraries) {
            if !base.packages.iter().any(|package| package.name == offered.name) {
                base.packages.push(offered.clone());
            }
        }
        sort_packages(&mut base.packages);
        Ok(base)
    }

    /// The libraries among `needed` for which [`ResolvedPackages::base`] adds a package or fails with a reason.
    #[must_use]
    pub(crate) fn obtainable(&self, needed: &BTreeSet<String>) -> BTreeSet<String> {
        let is_offered =
            |library: &&String| self.offered(&BTreeSet::from([(*library).clone()])).next().is_some();
        let mut obtainable = self.set.obtainable(needed);
        obtainable.extend(needed.iter().filter(is_offered).cloned());
        obtainable
    }

    /// What is offered for some libraries.
    fn offered(&self, libraries: &BTreeSet<String>) -> impl Iterator<Item = &Package> {
        let offer = self.offer.as_deref();
        let owner = |library: &String| offer?.owners.get(library);
        let owners: BTreeSet<&String> = libraries.iter().filter_map(owner).collect();
        let is_wanted = move |package: &&Package| package.libraries.iter().any(|name| owners.contains(name));
        offer.into_iter().flat_map(|offer| &offer.packages).filter(is_wanted)
    }

    /// `, pinned as of 2026-07-11`; empty if they do not come from a lock.
    #[must_use]
    pub(crate) fn pinned_text(&self) -> String {
        match self.pinned.as_deref() {
            None => String::new(),
            Some("") => ", pinned".into(),
            Some(date) => format!(", pinned as of {date}"),
        }
    }

    /// The releases that they were chosen from.
    #[must_use]
    pub(crate) fn releases(&self) -> Vec<ReleaseFacts> {
        self.releases.iter().map(Dated::facts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Silent;
    use crate::sys::cancel::Cancel;
    use crate::sys::download::Client;
    use crate::sys::env::Environment;
    use crate::sys::fs;

    /// A caller of the library, unlike the program, may not have opened the cache before. Without a lock on it, the
    /// temporary files written there would be removed by the next run that finds the cache unused.
    #[test]
    fn a_cache_that_is_asked_for_packages_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let request = ReleaseRequest { release: "bookworm", suites: &[], components: &[], moment: None };
        let settings =
            DebianSettings { mirror: Some("http://127.0.0.1:9/debian".into()), ..DebianSettings::default() };
        let (client, cancel, environment) = (Client::new(true), Cancel::new(), Environment::default());
        let (environment, client, cancel) = (&environment, &client, &cancel);
        let host = Host { environment, cache: &cache, client, cancel, reporter: &Silent };
        assert!(open(&request, &settings, host).is_err(), "nothing is kept");
        let lock = fs::File::open(cache.join("in-use")).unwrap().into_parts().0;
        assert!(matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock)));
    }
}
