//! What is special about a registry.

use std::path::PathBuf;

use serde::Serialize;

/// What is special about a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistrySettings {
    /// Where its images are looked for first, `host[:port][/path]` each.
    pub mirrors: Vec<String>,
    /// Where it really is, `host[:port][/path]`, for reading and writing.
    pub rewrite: Option<String>,
    /// True if it has no TLS, false if it has; `None` for TLS, except on loopback, where it is tried.
    pub plain_http: Option<bool>,
    /// A PEM file with certificates that it is trusted by, beside the system's. Absolute.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate that tells it who we are. Absolute; only with its key.
    pub client_cert: Option<PathBuf>,
    /// A PEM file with the key of this certificate. Absolute.
    pub client_key: Option<PathBuf>,
    /// The most bytes of a blob that one request may carry to it.
    pub chunk_size: Option<u64>,
}
