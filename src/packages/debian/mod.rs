//! A client of Debian's archive: signed release → package index → resolve → fetch → unpack.
//!
//! One client with two uses, and more to come: base images assembled from signed packages ([`Archive::resolve_base`],
//! [`assemble_base`]), so that no registry is needed, and packages added to an image that is Debian already
//! ([`Archive::resolve_additions`], [`assemble_additions`]).
//!
//! | Module | What it knows |
//! |---|---|
//! | [`sources`], [`host`] | which mirrors and suites, and what this machine's apt says of them |
//! | [`freshness`] | whether what is taken is old |
//! | [`keys`], [`release`], [`archive`] | who signed what, until when, and which indexes that gives |
//! | [`index`], [`relation`], [`resolve`] | which packages there are, and which of them are needed |
//! | `fetch` | the network and the cache |
//! | [`unpack`], [`tree`] | what is in a package, and how packages lie on each other |
//! | [`choose`], `recipe` | which packages a base is made of |
//! | [`urls`] | from where a package can be downloaded |
//! | [`base`], [`certificates`] | laying a base out, and what maintainer scripts would have made |
//! | [`database`], [`additions`] | what is installed somewhere, and laying packages on it |
//! | [`scripts`] | what the scripts of other packages would have done |
//!
//! Trust goes one way: a key that is embedded or configured signs the release, the release has the digest of each
//! index, an index has the digest of each package. A link that does not hold ends the build; nothing falls back to
//! something unverified. A pinned package (`lock`) has its digest from such a chain of an earlier day: the bytes are as
//! sure as they were then, and only that they are current is given up, on purpose. Deliberately absent: running maintainer scripts, `Recommends`, more than one architecture in
//! one root, and upgrading what a base has.

pub(crate) mod additions;
pub(crate) mod apt_conf;
pub(crate) mod archive;
pub(crate) mod base;
mod bounded;
pub(crate) mod certificates;
pub(crate) mod choose;
pub(crate) mod database;
pub(crate) mod error;
mod fetch;
pub(crate) mod freshness;
pub(crate) mod host;
pub(crate) mod index;
pub(crate) mod keys;
mod listed;
mod newest;
mod official;
mod options;
mod recipe;
pub(crate) mod relation;
pub(crate) mod release;
pub(crate) mod resolve;
pub(crate) mod scripts;
pub(crate) mod sources;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
pub(crate) mod unpack;
pub(crate) mod urls;

pub(crate) use additions::{AdditionsRequest, assemble_additions};
pub use archive::Archive;
pub(crate) use archive::Suite;
pub(crate) use base::assemble_base;
pub use choose::{BaseRequest, BaseSet, Package, packages_of_record};
pub(crate) use choose::{ResolvedBase, SuiteOrigin, sort_packages};
pub use database::Database;
pub use error::Error;
pub(crate) use fetch::cache_dir;
pub(crate) use freshness::{Dated, stale};
pub(crate) use host::Host;
pub use options::DebianSettings;
pub(crate) use recipe::recipe_digest;
pub(crate) use scripts::Unrun;
pub(crate) use sources::{
    Configured, Source, Wanted, is_of_release, is_snapshot_date, select, snapshot_root, suites_of,
};
pub(crate) use urls::{DownloadUrls, Pool, Snapshot};
