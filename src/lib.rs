//! xbuild builds multi-platform container images on one plain amd64 host with nothing emulated.
//!
//! It cross-compiles a cargo project's programs for every target triple in one cargo process, adds each platform's
//! programs to that platform's base image, and writes an OCI image layout with one multi-platform index. The same input
//! gives the same digest anywhere, and no foreign code is executed.
//!
//! # Building
//!
//! [`settings::resolve`] combines all configuration into one value: flags, the environment, the configuration files.
//! [`pipeline::plan_only`] reports what would be done, [`pipeline::run`] does it, and [`pipeline::lock`] pins the
//! inputs.
//!
//! ```no_run
//! use xbuild::event::Silent;
//! use xbuild::settings::{self, Flags, Host};
//! use xbuild::target::platform::Platform;
//! use xbuild::{Cancel, Environment, config, pipeline};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let environment = Environment::of_process();
//!     // cargo calls the program that builds as compiler and linker.
//!     let arguments: Vec<_> = std::env::args_os().skip(1).collect();
//!     if let Some(code) = pipeline::called(&arguments, &environment, &mut std::io::stderr()) {
//!         std::process::exit(code.into());
//!     }
//!     let host = Host {
//!         platform: Platform::new("linux", std::env::consts::ARCH, None),
//!         dir: std::env::current_dir()?,
//!         color: false,
//!     };
//!     let project = config::find_project(&host.dir, None, None, None)?;
//!     let user = config::load_user(&environment, &host.dir)?;
//!     let flags = Flags {
//!         platforms: vec!["linux/amd64,linux/arm64".into()],
//!         tags: vec!["registry.example/team/app:1.0".into()],
//!         ..Flags::default()
//!     };
//!     let settings = settings::resolve(&flags, &environment, &project, user.as_ref(), &host)?;
//!     let (cancel, stdout) = (Cancel::new(), &mut std::io::stdout());
//!     let outcome = pipeline::run(&settings, &environment, &Silent, &cancel, stdout)?;
//!     println!("{}@{}", outcome.reference, outcome.digest);
//!     Ok(())
//! }
//! ```
//!
//! # Existing images
//!
//! [`transport`] opens an image in any storage: in a layout or an archive, in podman's or Docker's storage, in a
//! registry. Its documents and blobs are verified when they are read, and the image can be copied, merged and
//! inspected.
//!
//! ```no_run
//! use xbuild::event::Silent;
//! use xbuild::transport::{Image, Location, Opener};
//! use xbuild::{Cancel, Environment, registry};
//!
//! # fn main() -> Result<(), xbuild::transport::TransportError> {
//! let (environment, cancel) = (Environment::of_process(), Cancel::new());
//! let registry = registry::Client::new(registry::Config::default(), &environment);
//! let opener = Opener { environment: &environment, registry: &registry, cancel: &cancel };
//! let source = opener.open(&Location::parse("oci:image:1.0", &|path| path.exists())?)?;
//! let destination = Location::parse_destination("docker://registry.example/team/app:1.0")?;
//! opener.write(&Image::whole(&source), &destination, &Silent)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`verify::verify`] checks any image for consistency, and whether it runs:
//!
//! ```no_run
//! use xbuild::transport::{Location, Opener};
//! use xbuild::verify::{Options, verify};
//! use xbuild::{Cancel, Environment, registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (environment, cancel) = (Environment::of_process(), Cancel::new());
//! let registry = registry::Client::new(registry::Config::default(), &environment);
//! let opener = Opener { environment: &environment, registry: &registry, cancel: &cancel };
//! let source = opener.open(&Location::parse("docker://debian:12", &|path| path.exists())?)?;
//! let report = verify(&source, &Options::default(), &cancel)?;
//! for finding in report.all() {
//!     println!("{}: {}", finding.what.check(), finding.message);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Rooms
//!
//! Every error implements [`error::Explain`], which gives an exit code and the next step. Data in an error's variants
//! that comes from private rooms is only for reading. Progress is reported to an [`event::Reporter`]; nothing is
//! printed. Every wait can be ended by a [`Cancel`].
//!
//! | Public | Subject |
//! |---|---|
//! | [`config`], [`settings`] | the configuration: the files' content, and the settings that result from all sources |
//! | [`plan`], [`pipeline`] | what will be done, and doing it |
//! | [`transport`], [`registry`] | existing images, and the protocol of registries |
//! | [`verify`], [`linkcheck`], [`rootfs`] | whether an image is consistent and runs, and the files on its root filesystem |
//! | [`oci`], [`target`], [`origin`], [`event`], [`error`], [`Cancel`], [`Environment`] | types that all of these use |
//! | [`cli`] | the programs `xbuild` and `cargo xbuild` |
//!
//! The other rooms, from those that all others use to those that use all others; `docs/architecture.md` is the map:
//!
//! | Internal | Subject |
//! |---|---|
//! | `text` | text for users |
//! | `sys` | the machine |
//! | `archive`, `machine_paths`, `layer`, `debian`, `elf` | formats: with [`rootfs`], the packages `xbuild-formats` and `xbuild-elf` |
//! | `cache`, `host` | what is stored between runs, and what all work needs as one value |
//! | `image` | the documents of an image |
//! | `layout`, `output` | storage of images |
//! | `packages`, `toolchain` | external inputs: Debian's packages, zig and Rust |
//! | `lock` | pinned inputs |
//! | `base`, `files`, `payload`, `vcs`, `kubernetes` | the content of images, and references to projects |
//! | `repro` | whether a project builds reproducibly |
//!
//! Invariants that `tests/tidy.rs` enforces: only `sys` accesses files, processes, the environment, the network and the
//! clock; only [`cli`] prints; [`oci`] imports no other room; planning, assembling and reading ELF files are pure.

pub(crate) mod base;
pub(crate) mod cache;
pub mod cli;
pub mod config;
pub mod event;
pub(crate) mod files;
pub(crate) mod host;
pub(crate) mod image;
#[doc(hidden)]
pub mod internal;
pub(crate) mod kubernetes;
pub(crate) mod layout;
pub mod linkcheck;
pub(crate) mod lock;
pub(crate) mod output;
pub(crate) mod packages;
pub(crate) mod payload;
pub mod pipeline;
pub mod plan;
pub mod registry;
pub(crate) mod repro;
pub mod settings;
pub(crate) mod toolchain;
pub mod transport;
pub(crate) mod vcs;
pub mod verify;

#[doc(inline)]
pub use xbuild_core::origin;
#[doc(inline)]
pub use xbuild_core::sys::cancel::{Cancel, Cancelled};
#[doc(inline)]
pub use xbuild_core::sys::env::Environment;

pub(crate) use xbuild_core::{elf, sys, text};
pub(crate) use xbuild_formats::{archive, debian, layer, machine_paths};

/// What an error tells beside its message: an exit code and the next step.
pub mod error {
    #[doc(inline)]
    pub use xbuild_core::error::{CacheFault, ExitCode, Explain, Snippet};

    pub(crate) use xbuild_core::error::*;
}

/// OCI documents: digests, descriptors, references, and one stable way to encode JSON.
pub mod oci {
    #[doc(inline)]
    pub use xbuild_core::oci::{
        Algorithm, Descriptor, Digest, Encoded, Hasher, InvalidDigest, InvalidReference, MANIFEST_LIMIT,
        PlatformFields, Reference, annotation, is_tag, media_type, name,
    };

    pub(crate) use xbuild_core::oci::*;
}

/// A root filesystem as an image's layers make it, and how names on it are resolved.
pub mod rootfs {
    #[doc(inline)]
    pub use xbuild_formats::rootfs::{
        Change, Content, File, Kind, LayerIndex, Limits, Node, Refused, Root, StreamError, System, scan,
    };

    pub(crate) use xbuild_formats::rootfs::*;
}

/// Platforms and targets as data: `targets/*.toml`.
pub mod target {
    #[doc(inline)]
    pub use xbuild_core::target::{abi, catalog, platform};

    pub(crate) use xbuild_core::target::*;
}
