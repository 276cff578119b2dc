//! Tools for the tests of this program: those that all integration tests share, and engines, servers and examples.

#[path = "../../support/mod.rs"]
mod shared;

pub(crate) mod docker;
pub(crate) mod docker26;
pub(crate) mod example;
pub(crate) mod fault;
pub(crate) mod http;
pub(crate) mod mirror;
pub(crate) mod podman;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod token;
pub(crate) mod tools;

pub(crate) use shared::*;
