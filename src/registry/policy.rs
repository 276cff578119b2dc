//! The user's settings for a registry.

use std::path::PathBuf;

use serde::Serialize;

/// The user's settings for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistrySettings {
    /// Mirrors that are asked first, `host[:port][/path]` each.
    pub mirrors: Vec<String>,
    /// The registry to use instead, `host[:port][/path]`, for reading and writing.
    pub rewrite: Option<String>,
    /// True if it has no TLS, false if it has. `None` means TLS, except on loopback, where both are tried.
    pub plain_http: Option<bool>,
    /// A PEM file with certificates that vouch for it, in addition to the system's. Absolute.
    pub ca: Option<PathBuf>,
    /// A PEM file with our client certificate for it. Absolute; only with its key.
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the key of the client certificate. Absolute.
    pub client_key: Option<PathBuf>,
    /// The most bytes of a blob that one request may carry to it.
    pub chunk_size: Option<u64>,
}
