//! Registries: the only room that speaks HTTP to them. Synchronous, on the caller's threads.
//!
//! ```no_run
//! use xbuild::registry::{Access, Client, Config};
//! use xbuild::oci::name::ImageName;
//! use xbuild::{Cancel, Environment};
//!
//! let client = Client::new(Config::default(), &Environment::of_process());
//! let (name, cancel): (ImageName, _) = ("debian:12".parse()?, Cancel::new());
//! let repository = client.repository(&name.repository, Access::Pull);
//! let index = repository.manifest(name.wanted(), &cancel)?;
//! println!("{} {}", index.digest(), index.bytes.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Client`] gives [`Repository`] handles. Reading: [`Repository::manifest`], [`Repository::head`],
//! [`Repository::has_blob`], [`Repository::small_blob`], [`Repository::blob`] (a stream), [`Repository::fetch_blob`]
//! (into a file), [`Repository::tags`], [`Repository::referrers`]. Writing: [`Repository::push_blob`] (present, mounted
//! or uploaded), [`Repository::put_manifest`], [`Repository::put_referrer`].
//!
//! For all of them: every byte is verified against its digest and size before it counts. Failures of a server or of the way to
//! it are tried again, with growing pauses, for as long as there is progress. A download is resumed where it broke off, an
//! upload where the registry says that it is. Every wait checks its `Cancel`. Credentials go to the registry and the token
//! service that it names, and nowhere else: not along redirects, not into errors or events. Attempts, redirects and resumed
//! bodies are `sys::http`'s, as for downloads; this room has the protocol, the logins and the errors.
//!
//! Deliberately absent: which blobs to copy and in what order (`output::push` and `base::registry` know that), and manifests
//! of schema version 1.

mod answer;
mod challenge;
mod client;
mod credentials;
mod endpoint;
mod error;
mod helper;
mod labels;
mod list;
pub(crate) mod parallel;
mod parts;
mod policy;
mod presence;
mod realm;
mod repository;
mod retry;
mod tags;
mod token;
mod trust;
mod upload;

pub use crate::sys::http::Patience;
pub use client::{Access, Client, Config};
pub use error::{HelperFault, HelperTrouble, KnownLogin, Limited, RegistryError};
pub(crate) use list::referrers_tag;
pub use policy::RegistrySettings;
pub use repository::Repository;
pub use upload::Pushed;
