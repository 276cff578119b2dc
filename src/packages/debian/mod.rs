//! A client of Debian's archive: signed release → package index → resolve → fetch → unpack.
//!
//! It has two uses so far: base images that are assembled from signed packages ([`Archive::resolve_base`],
//! [`assemble_base`]), so that no registry is needed, and packages that are added to an image that is already Debian
//! ([`Archive::resolve_additions`], [`assemble_additions`]).
//!
//! | Module | What it knows |
//! |---|---|
//! | [`sources`], [`host`] | which mirrors and suites to use, and this machine's apt configuration for them |
//! | `opened` | a release as a base needs it: its mirrors, and the packages that are chosen or pinned |
//! | [`freshness`] | whether an archive is out of date |
//! | [`keys`], [`release`], [`archive`] | who signed a release, how long it is valid, and which indexes it has |
//! | [`index`], [`relation`], [`resolve`] | which packages exist, and which of them are needed: in `xbuild-formats` |
//! | `fetch` | the network and the cache |
//! | [`unpack`], [`tree`] | what is in a package, and how packages are merged |
//! | [`choose`], `recipe` | which packages a base is made of |
//! | [`urls`] | the URLs to download a package from |
//! | [`base`], [`certificates`] | the layout of a base, and what maintainer scripts would have made |
//! | `examine`, [`database`], `additions` | what is installed in an image, and how packages are added to it |
//! | [`sysroot`] | what programs are linked against |
//! | [`libraries`] | which development packages crates need |
//! | `spelling` | how suites, packages and moments are written in configurations |
//! | [`scripts`] | what the scripts of other packages would have done |
//!
//! Trust goes one way: an embedded or configured key signs the release, the release has the digest of each index, and
//! an index has the digest of each package. If a link of this chain fails, the build fails; there is no fallback to
//! anything unverified. A pinned package (`lock`) has its digest from such a chain of an earlier day. Its bytes are as
//! trustworthy as they were then; it may no longer be current, which is the purpose of pinning. Deliberately not
//! supported: running maintainer scripts, `Recommends`, more than one architecture in one root, and upgrading a base's
//! packages.

mod additions;
mod apt_conf;
pub(crate) mod archive;
pub(crate) mod base;
mod bounded;
pub(crate) mod certificates;
pub(crate) mod choose;
pub(crate) mod database;
pub(crate) mod error;
mod examine;
mod fetch;
pub(crate) mod freshness;
pub(crate) mod host;
pub(crate) mod keys;
mod libraries;
mod listed;
mod newest;
mod official;
mod opened;
mod options;
mod recipe;
pub(crate) mod release;
pub(crate) mod scripts;
pub(crate) mod sources;
mod spelling;
pub(crate) mod sysroot;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
pub(crate) mod unpack;
pub(crate) mod urls;

pub(crate) use crate::debian::{index, relation, resolve};

pub(crate) use additions::{AdditionsRequest, LAYOUT as ADDITIONS_LAYOUT, assemble_additions};
pub(crate) use apt_conf::client;
pub use archive::Archive;
pub(crate) use base::assemble_base;
pub use choose::{BaseRequest, BaseSet, Package, packages_of_record};
pub(crate) use choose::{ResolvedBase, SuiteOrigin, sort_packages};
pub use database::Database;
pub use error::Error;
pub(crate) use examine::{AdditionsError, Examined, examine};
pub(crate) use freshness::{Dated, stale};
pub(crate) use libraries::{Development, NativeCrate, crates_by_name, development, remedy};
pub(crate) use opened::{
    Offer, Pinned, ResolvedPackages, resolve_additions, resolve_base, resolve_pinned, resolve_sysroot,
};
pub use opened::{ReleaseRequest, open};
pub use options::{DebianSettings, DebianSources};
pub(crate) use recipe::recipe_digest;
pub(crate) use scripts::Unrun;
pub(crate) use sources::{is_of_release, is_snapshot_date, suites_of};
pub(crate) use spelling::{check_package_name, is_suite_name, parse_snapshot};
pub(crate) use sysroot::{ProvideRequest, Sysroot, SysrootRequest, provide_sysroot, release_for};
pub(crate) use urls::{DownloadUrls, Pool};
