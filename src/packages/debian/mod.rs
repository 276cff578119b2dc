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
//! | [`places`] | where a package's file is looked for |
//! | [`base`], [`certificates`] | laying a base out, and what maintainer scripts would have made |
//! | [`database`], [`additions`] | what is installed somewhere, and laying packages on it |
//! | [`scripts`] | what the scripts of other packages would have done |
//!
//! Trust goes one way: a key that is embedded or configured signs the release, the release has the digest of each
//! index, an index has the digest of each package. A link that does not hold ends the build; nothing falls back to
//! something unverified. A pinned package (`lock`) has its digest from such a chain of an earlier day: the bytes are as
//! sure as they were then, and only that they are current is given up, on purpose. Deliberately absent: running maintainer scripts, `Recommends`, more than one architecture in
//! one root, and upgrading what a base has.

pub mod additions;
pub mod apt_conf;
pub mod archive;
pub mod base;
mod bounded;
pub mod certificates;
pub mod choose;
pub mod database;
pub mod error;
mod fetch;
pub mod freshness;
pub mod host;
pub mod index;
pub mod keys;
mod listed;
mod newest;
mod official;
mod options;
pub mod places;
mod recipe;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod scripts;
pub mod sources;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod unpack;

pub use additions::{Additions, AdditionsRequest, assemble_additions};
pub use archive::{Archive, Suite};
pub use base::{AssembledBase, assemble_base};
pub use choose::{
    BaseRequest, BaseSet, Package, ResolvedBase, SuiteOrigin, packages_of_answer, sort_packages,
};
pub use database::Database;
pub use error::Error;
pub use fetch::Access;
pub use freshness::{Dated, Stale, stale};
pub use host::Host;
pub use options::DebianSettings;
pub use places::{Places, Pool, Snapshot};
pub use recipe::{package_for_library, recipe_digest};
pub use scripts::Unrun;
pub use sources::{
    Configured, Mirror, Mirrors, Source, Wanted, is_of_release, is_snapshot_date, select, snapshot_root,
    suites_of,
};
