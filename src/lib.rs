//! xbuild builds multi-platform container images on one plain amd64 host with nothing emulated.
//!
//! It cross-compiles a cargo project's programs for every target triple in one cargo process, lays each platform's
//! programs on that platform's base image, and writes an OCI image layout with one multi-platform index. The same
//! input gives the same digest anywhere, and nothing foreign is executed.
//!
//! Begin with [`settings::resolve`] (what is wanted), [`build::plan_only`] (what would be done) and [`build::run`]
//! (doing it). `docs/architecture.md` is the map of the rooms:
//!
//! | Rooms | Subject |
//! |---|---|
//! | [`config`], [`settings`], [`lock`], [`facts`], [`plan`] | what is wanted, what is pinned, what is there, what will be done |
//! | [`toolchain`], [`compile`], [`elf`], [`machine_paths`], [`payload`] | from sources to verified programs |
//! | [`debian`], [`base`] | what they lie on |
//! | [`rootfs`] | what is on the filesystem that layers make together |
//! | [`linkcheck`] | whether what is there runs |
//! | [`files`], [`layer`], [`image`], [`index`], [`oci`] | from programs to documents and blobs |
//! | [`layout`], [`output`], [`engine`], [`registry`] | where those go |
//! | [`kubernetes`] | references to projects in manifests |
//! | [`transport`] | images that are there already: copied, looked at, merged |
//! | [`verify`] | whether any image is what it says, and runs |
//! | [`repro`] | whether a project builds to the same image again |
//! | [`cache`] | what is kept between runs, how much of it there is, and what goes |
//! | [`build`], [`report`], [`cli`] | who coordinates, who tells, who asks |
//! | [`platform`], [`catalog`], [`error`], [`sys`] | what all use |
//!
//! Invariants that `tests/tidy.rs` holds the sources to: only [`sys`] touches files, processes, the environment, the
//! network and the clock; only [`cli`] and the views print; [`oci`] imports no other room; planning, assembling and
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
