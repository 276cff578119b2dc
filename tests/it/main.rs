//! xbuild as a user runs it, on any machine that can build it: with Rust, git and a shell, but without a network, other
//! tools, or Rust's targets for other platforms. Tests that need more are in `tests/tools`.

mod action;
mod bad_input;
mod commands;
mod harness;
mod host_tools;
mod hostile_images;
mod hostile_inputs;
mod hostile_layers;
mod hostile_records;
mod layers;
mod linkcheck;
mod logging;
mod merging;
mod registry_limits;
#[allow(dead_code, reason = "tests/tools uses the rest")]
#[path = "../support/mod.rs"]
mod support;
