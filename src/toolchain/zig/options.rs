//! How zig is found.

use std::path::PathBuf;

use serde::Serialize;

/// How zig is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZigSettings {
    /// A zig program that is to be used. Absolute, or a name on `PATH`.
    pub path: Option<PathBuf>,
    /// The ways to look for it, first to last; none twice.
    pub ways: Vec<ZigWay>,
}

/// A way to zig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ZigWay {
    /// The configured path.
    Configured,
    /// `zig` on `PATH`, or `python3 -m ziglang`.
    Installed,
    /// What an earlier run has kept in the cache.
    Cache,
    /// The project's official archive.
    Tarball,
    /// The package `ziglang`, through the user's own uv or pip.
    Package,
}

impl ZigWay {
    /// Every way, in the order that is taken where nothing says otherwise.
    pub const ALL: &'static [Self] =
        &[Self::Configured, Self::Installed, Self::Cache, Self::Tarball, Self::Package];
}
