//! How zig is found.

use std::path::PathBuf;

use serde::Serialize;

/// How zig is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ZigSettings {
    /// The zig program to use: absolute, or a name on `PATH`.
    pub path: Option<PathBuf>,
    /// The ways to find or provide it, in order; each at most once.
    pub ways: Vec<ZigWay>,
}

/// A way to find or provide zig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ZigWay {
    /// The configured path.
    Configured,
    /// `zig` on `PATH`, or `python3 -m ziglang`.
    Installed,
    /// The version that an earlier run has stored in the cache.
    Cache,
    /// The project's official archive.
    Tarball,
    /// The package `ziglang`, through the user's own uv or pip.
    Package,
}

impl ZigWay {
    /// All ways, in the default order.
    pub const ALL: &'static [Self] =
        &[Self::Configured, Self::Installed, Self::Cache, Self::Tarball, Self::Package];
}
