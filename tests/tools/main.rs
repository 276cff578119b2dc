//! xbuild as a user runs it: the real program, real toolchains, and third-party tools.
//!
//! `tests/run` installs those tools, and a plain `cargo test` leaves these tests out. Nothing is skipped if a tool is missing:
//! the test fails and says so.

mod action;
mod bad_input;
mod bases;
mod buildx;
mod cache_commands;
mod caches;
mod cargo_projects;
mod client_certificates;
mod commands;
mod corpus;
mod determinism;
mod engines;
mod explanations;
mod harness;
mod hello;
mod histories;
mod host_builds;
mod hostile_images;
mod hostile_records;
mod image_stores;
mod interrupt;
mod killed;
mod killed_images;
mod layers;
mod levels;
mod linkcheck;
mod lock;
mod logging;
mod machines;
mod manifests;
mod merging;
mod mirrors;
mod outputs;
mod packages;
mod packages_on_images;
mod platforms;
mod proxies;
mod publish;
mod registry;
mod registry_faults;
mod registry_input;
mod registry_limits;
mod remote_images;
mod repro;
mod service;
mod support;
mod sysroots;
mod system_faults;
mod transports;
mod traps;
mod verify;
mod verify_places;
mod workspace;
