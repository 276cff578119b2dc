//! The user's own file: the settings of the machine.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Text;
use crate::toolchain::provided::ProvidedWay;

/// `$XDG_CONFIG_HOME/xbuild/config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserFile {
    /// The directory of the cache, all of which can be made again. Default: `$XDG_CACHE_HOME/xbuild`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub cache_dir: Option<Text>,
    /// The default base of this user's projects.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub base: Option<Text>,
    /// The time limit of a run.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub timeout: Option<Text>,
    /// How zig is found.
    #[serde(rename = "zig")]
    pub provided: UserProvidedTable,
    /// Where Debian's packages come from.
    #[serde(rename = "debian")]
    pub distribution: UserDebianTable,
    /// Settings of registries: `[registry."docker.io"]`. A key may also be the beginning of a repository's name; the
    /// longest match is used.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, UserRegistryTable>"))]
    pub registry: BTreeMap<Text, UserRegistryTable>,
}

/// `[registry."host"]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserRegistryTable {
    /// Where to look for its images first, in this order: `mirror.example/path`.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub mirrors: Option<Vec<Text>>,
    /// Its real address, for reading and writing.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub rewrite: Option<Text>,
    /// True if it has no TLS.
    pub plain_http: Option<bool>,
    /// A PEM file with certificates to trust for it, in addition to the system's.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ca: Option<Text>,
    /// A PEM file with the certificate that identifies the client; its key is in `client-key`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub client_cert: Option<Text>,
    /// A PEM file with the private key of `client-cert`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub client_key: Option<Text>,
    /// The largest part of a blob in one upload request, for a proxy in front of it with a limit: `100MB`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub chunk_size: Option<Text>,
}

/// `[zig]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserProvidedTable {
    /// The zig program.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub path: Option<Text>,
    /// The ways to look for it, first to last: `configured`, `installed`, `cache`, `tarball`, `package`.
    #[cfg_attr(test, schemars(with = "Option<Vec<ProvidedWay>>"))]
    pub ways: Option<toml::Spanned<Vec<ProvidedWay>>>,
}

/// `[debian]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserDebianTable {
    /// The URL of a mirror of Debian's archive.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub mirror: Option<Text>,
    /// The URL of a mirror of Debian's security archive.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub security_mirror: Option<Text>,
    /// The URL of a Debian snapshot archive, for pinned packages that the mirrors no longer have and for projects that
    /// set `snapshot`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub snapshot: Option<Text>,
    /// The suites, if the project names none; suites of other releases than the base's are ignored.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub suites: Option<Vec<Text>>,
    /// Files with further keys that may sign the releases of the mirrors configured here.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub keyrings: Option<Vec<Text>>,
}
