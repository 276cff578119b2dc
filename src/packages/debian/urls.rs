//! The URLs from which a package can be downloaded: the mirrors and, if it is pinned and they no longer have it, the
//! snapshot archive. Pure.
//!
//! A package is identified by its path in one of Debian's two archives, which is the same on every mirror.

use serde::{Deserialize, Serialize};

use super::choose::Package;
use super::sources::{Mirrors, Source};

/// One of Debian's archives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// Debian itself.
    #[default]
    Debian,
    /// Its security updates.
    Security,
}

/// A date in the snapshot archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The URL that has `debian/<date>` and `debian-security/<date>` below it.
    pub root: String,
    /// The date: `20260801T000000Z`.
    pub date: String,
}

/// The URLs from which packages can be downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DownloadUrls {
    /// The mirrors in use.
    pub mirrors: Mirrors,
    /// The snapshot archive, for pinned packages that the mirrors no longer have. For packages from today's index it is
    /// `None`: they come from the configured mirror.
    pub snapshot: Option<Snapshot>,
}

impl DownloadUrls {
    /// The mirrors of these sources.
    #[must_use]
    pub(crate) fn of(sources: &[Source], snapshot: Option<Snapshot>) -> Self {
        let of = |security: bool| {
            let mut mirrors: Vec<String> = Vec::new();
            // Mirrors in use come before their alternatives.
            let sources = || sources.iter().filter(|source| source.is_security() == security);
            let others = sources().flat_map(|source| &source.others).map(|mirror| &mirror.address);
            for mirror in sources().map(|source| &source.mirror).chain(others) {
                if !mirrors.contains(mirror) {
                    mirrors.push(mirror.clone());
                }
            }
            mirrors
        };
        Self { mirrors: Mirrors { archive: of(false), security: of(true) }, snapshot }
    }

    /// The URLs of a package in the order in which they are tried, and how many of them are mirrors of its archive.
    /// Empty if no mirror of its archive is known.
    pub(super) fn for_package(&self, package: &Package) -> (Vec<String>, usize) {
        let (mirrors, dir) = match package.pool {
            Pool::Debian => (&self.mirrors.archive, "debian"),
            Pool::Security => (&self.mirrors.security, "debian-security"),
        };
        let mut urls: Vec<String> =
            mirrors.iter().map(|mirror| format!("{mirror}/{}", package.path)).collect();
        let count = urls.len();
        let Some(snapshot) = &self.snapshot else { return (urls, count) };
        // Packages that a point release takes over from the security archive are in Debian's own pool from then on.
        if let (Pool::Security, Some(path), Some(archive)) =
            (package.pool, package.path.strip_prefix("pool/updates/"), self.mirrors.archive.first())
        {
            urls.push(format!("{archive}/pool/{path}"));
        }
        urls.push(format!("{}/{dir}/{}/{}", snapshot.root, snapshot.date, package.path));
        (urls, count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sources::Mirror;
    use super::*;
    use crate::event::MirrorOrigin;

    fn package(pool: Pool, path: &str) -> Package {
        Package {
            name: "a".into(),
            version: "1".into(),
            pool,
            path: path.into(),
            sha256: [0; 32],
            size: 1,
            installed_size: None,
            why: String::new(),
            libraries: Vec::new(),
            added: false,
        }
    }

    fn urls_of(snapshot: bool) -> DownloadUrls {
        DownloadUrls {
            mirrors: Mirrors { archive: vec!["http://m/debian".into()], security: vec!["http://m/s".into()] },
            snapshot: snapshot.then(|| Snapshot { root: "http://s".into(), date: "20260801T000000Z".into() }),
        }
    }

    #[test]
    fn a_mirror_is_never_bypassed_for_what_is_not_pinned() {
        let (found, _) = urls_of(false).for_package(&package(Pool::Debian, "pool/main/a/a_1.deb"));
        assert_eq!(found, ["http://m/debian/pool/main/a/a_1.deb"]);
    }

    #[test]
    fn mirrors_in_use_come_before_those_that_stand_in_for_them() {
        let source = |mirror: &str, suite: &str, others: &[&str]| Source {
            mirror: mirror.into(),
            from: MirrorOrigin::Host,
            others: others
                .iter()
                .map(|address| Mirror { address: (*address).into(), from: MirrorOrigin::Official })
                .collect(),
            suite: suite.into(),
            components: Vec::new(),
            keyrings: Vec::new(),
        };
        let sources = [
            source("http://a", "x", &["http://b", "http://c"]),
            source("http://b", "x-updates", &["http://c"]),
            source("http://s", "x-security", &[]),
        ];
        let mirrors = DownloadUrls::of(&sources, None).mirrors;
        assert_eq!(mirrors.archive, ["http://a", "http://b", "http://c"]);
        assert_eq!(mirrors.security, ["http://s"]);
    }

    #[test]
    fn what_is_pinned_is_looked_for_where_it_goes_in_time() {
        let (found, _) = urls_of(true).for_package(&package(Pool::Debian, "pool/main/a/a_1.deb"));
        let snapshot = "http://s/debian/20260801T000000Z/pool/main/a/a_1.deb";
        assert_eq!(found, ["http://m/debian/pool/main/a/a_1.deb", snapshot]);
        let (found, _) = urls_of(true).for_package(&package(Pool::Security, "pool/updates/main/a/a_1.deb"));
        let expected = [
            "http://m/s/pool/updates/main/a/a_1.deb",
            "http://m/debian/pool/main/a/a_1.deb",
            "http://s/debian-security/20260801T000000Z/pool/updates/main/a/a_1.deb",
        ];
        assert_eq!(found, expected);
    }
}
