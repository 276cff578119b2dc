//! xbuild as a person uses it: the real program, real toolchains, and tools that we did not write.
//!
//! `tests/run` installs those tools. Nothing is skipped where one is missing: the test fails and says so.

mod action;
mod bad_input;
mod bases;
mod buildx;
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
mod hostile_layers;
mod image_stores;
mod interrupt;
mod killed;
mod layers;
mod levels;
mod linkcheck;
mod lock;
mod machines;
mod manifests;
mod merging;
mod mirrors;
mod outputs;
mod packages;
mod packages_on_images;
mod proxies;
mod publish;
mod registry;
mod registry_faults;
mod registry_input;
mod remote_images;
mod repro;
mod service;
mod support;
mod transports;
mod traps;
mod verify;
mod verify_places;
mod workspace;
