//! xbuild builds multi-platform container images on one plain amd64 host with nothing emulated.
//!
//! It cross-compiles a cargo project's programs for every target triple in one cargo process, lays each platform's
//! programs on that platform's base image, and writes an OCI image layout with one multi-platform index. The same
//! input gives the same digest anywhere, and nothing foreign is executed.
//!
//! # Building
//!
//! [`settings::resolve`] makes one value of everything that says what is wanted: flags, the environment, the
//! configuration files. [`pipeline::plan_only`] tells what would be done, [`pipeline::run`] does it, and
//! [`pipeline::lock`] pins what it is made of.
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
//!         directory: std::env::current_dir()?,
//!         color: false,
//!     };
//!     let project = config::find_project(&host.directory, None, None, None)?;
//!     let user = config::load_user(&environment, &host.directory)?;
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
//! # Images that are there already
//!
//! [`transport`] opens an image wherever it is: in a layout or an archive, in podman's or Docker's storage, in a registry.
//! What it yields is verified when it is read, and can be copied, merged and inspected.
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
//! [`verify::verify`] tells of any image whether it is what it says, and whether it runs:
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
//! Every error implements [`error::Explain`]: an exit code, and the next step. What an error's variants carry from rooms that
//! are not public is for reading only. What happens is told to an [`event::Reporter`]; nothing is printed. All that waits is
//! ended by a [`Cancel`].
//!
//! | Public | Subject |
//! |---|---|
//! | [`config`], [`settings`] | what is wanted: the files' words, and what all words together mean |
//! | [`plan`], [`pipeline`] | what will be done, and doing it |
//! | [`transport`], [`registry`] | images that are there already, and the protocol of registries |
//! | [`verify`], [`linkcheck`], [`rootfs`] | whether an image is what it says, whether it runs, and what is on its root filesystem |
//! | [`oci`], [`target`], [`origin`], [`event`], [`error`], [`Cancel`], [`Environment`] | what all these speak of |
//! | [`cli`] | the programs `xbuild` and `cargo xbuild` |
//!
//! The other rooms, from what all use to what uses all; `docs/architecture.md` is the map:
//!
//! | Internal | Subject |
//! |---|---|
//! | `text` | words for people |
//! | `sys`, `cache`, `host` | the machine, what is kept between runs, and both as one value for all who need them |
//! | `archive`, `elf`, `machine_paths`, `layer` | formats |
//! | `image` | the documents of an image |
//! | `layout`, `output`, `engine` | where images are and go |
//! | `packages`, `toolchain` | what others provide: Debian's packages, zig and Rust |
//! | `lock` | what is pinned |
//! | `base`, `files`, `payload`, `vcs`, `kubernetes` | what goes in, and references to it |
//! | `repro` | whether a project builds to the same image again |
//!
//! Invariants that `tests/tidy.rs` holds the sources to: only `sys` touches files, processes, the environment, the
//! network and the clock; only [`cli`] prints; [`oci`] imports no other room; planning, assembling and
//! reading ELF files are pure.

pub(crate) mod archive;
pub(crate) mod base;
pub(crate) mod cache;
pub mod cli;
pub mod config;
pub(crate) mod elf;
pub(crate) mod engine;
pub mod error;
pub mod event;
pub(crate) mod files;
pub(crate) mod host;
pub(crate) mod image;
#[doc(hidden)]
pub mod internal;
pub(crate) mod kubernetes;
pub(crate) mod layer;
pub(crate) mod layout;
pub mod linkcheck;
pub(crate) mod lock;
pub(crate) mod machine_paths;
pub mod oci;
pub mod origin;
pub(crate) mod output;
pub(crate) mod packages;
pub(crate) mod payload;
pub mod pipeline;
pub mod plan;
pub mod registry;
pub(crate) mod repro;
pub mod rootfs;
pub mod settings;
pub(crate) mod sys;
pub mod target;
pub(crate) mod text;
pub(crate) mod toolchain;
pub mod transport;
pub(crate) mod vcs;
pub mod verify;

pub use sys::cancel::{Cancel, Cancelled};
pub use sys::env::Environment;
