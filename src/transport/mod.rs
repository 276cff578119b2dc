//! Existing images, apart from the project that builds them: layouts, archives, engines, registries.
//!
//! A [`Location`] is what a user writes. An [`Opener`] turns it into a [`Source`], which yields documents and blobs in
//! the same way for every kind of storage: each is verified against its descriptor and read directly from the storage,
//! without unpacking.
//!
//! ```no_run
//! # use xbuild::{Cancel, Environment, registry, transport::{Location, Opener}};
//! # fn example() -> Result<(), xbuild::transport::TransportError> {
//! let (environment, cancel) = (Environment::of_process(), Cancel::new());
//! let location = Location::parse("oci:image:1.0", &|path| path.exists())?;
//! let registry = registry::Client::new(registry::Config::default(), &environment);
//! let opener = Opener { environment: &environment, registry: &registry, cancel: &cancel };
//! let source = opener.open(&location)?;
//! for manifest in source.manifests(source.root())? {
//!     let document = source.json(&manifest.descriptor)?;
//!     println!("{:?} has {} layers", manifest.platform, document["layers"].as_array().map_or(0, Vec::len));
//! }
//! # Ok(())
//! # }
//! ```

mod blob;
mod copy;
mod docker_archive;
mod error;
#[cfg(test)]
mod index_tests;
mod inspect;
mod kind;
mod location;
mod merge;
#[cfg(test)]
mod merge_tests;
mod opener;
mod partial;
mod push;
mod referrers;
mod source;
mod tar_index;
#[cfg(test)]
mod tests;
mod unpack;

pub use blob::Blob;
pub use copy::Image;
pub use error::TransportError;
pub use inspect::{
    ArtifactInspection, BaseInspection, FileInspection, ImageInspection, Inspection, LayerInspection,
    RunInspection, inspect, summary,
};
pub use location::{Location, LocationError};
pub use merge::{IndexAnnotations, Merged, merge};
pub use opener::Opener;
pub use referrers::Referrer;
pub use source::{Item, ManifestEntry, Source};
pub(crate) use unpack::unpack;

pub use crate::layout::Selector;
