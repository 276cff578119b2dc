//! What `xbuild toolchain` and `xbuild doctor` find out about toolchains.

use std::path::Path;

use serde::Serialize;

use crate::settings::Machine;
use crate::sys::cancel::Cancel;
use crate::sys::env::{self, Environment};
use crate::toolchain::provided;
use crate::toolchain::rust::{self, Rust};

/// A row of `xbuild toolchain list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ToolchainRow {
    pub(super) name: &'static str,
    /// The installed version, or the version that would be provided.
    pub(super) version: String,
    /// Its path; `None` if it is not installed.
    pub(super) path: Option<String>,
    /// How it is found, or would be provided.
    pub(super) from: String,
}

/// A request for the toolchain that xbuild can provide, without a project: any version that works.
pub(super) fn provided_request<'a>(
    machine: &'a Machine,
    environment: &'a Environment,
) -> provided::Request<'a> {
    let (settings, cache) = (&machine.provided, &machine.cache);
    provided::Request { settings, cache, environment, pinned: None, verified: None }
}

/// Detects the toolchain of the project in the current directory, or that of the machine. Outside a project, files in
/// the current directory must not decide which rustc is run or where it is.
pub(super) fn detect(environment: &Environment, cancel: &Cancel) -> Result<Rust, rust::Error> {
    let current = env::current_dir()?;
    let project = current.ancestors().find(|directory| directory.join("Cargo.toml").is_file());
    rust::detect(project.unwrap_or(Path::new("/")), environment, cancel)
}

pub(super) fn provided_row(request: &provided::Request<'_>, cancel: &Cancel) -> ToolchainRow {
    match provided::find(request, cancel) {
        Ok(provided::Found { toolchain: found, .. }) => ToolchainRow {
            name: provided::NAME,
            version: found.version.to_string(),
            path: Some(found.program.display().to_string()),
            from: format!("{:?}", found.way).to_lowercase(),
        },
        Err(_) => ToolchainRow {
            name: provided::NAME,
            version: provided::own_version().to_string(),
            path: None,
            from: "provided when a build needs it, or by `xbuild toolchain install zig`".into(),
        },
    }
}

pub(super) fn rust_row(environment: &Environment, cancel: &Cancel) -> ToolchainRow {
    match detect(environment, cancel) {
        Ok(rust) => ToolchainRow {
            name: "rust",
            version: rust.version.to_string(),
            path: Some(rust.sysroot.display().to_string()),
            from: rust
                .rustup
                .map_or_else(|| "no rustup".into(), |rustup| format!("rustup, {}", rustup.toolchain)),
        },
        Err(error) => {
            ToolchainRow { name: "rust", version: "none".into(), path: None, from: error.to_string() }
        }
    }
}
