//! The user's own file: what belongs to the machine and not to a project.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Text;
use crate::toolchain::zig::ZigWay;

/// `$XDG_CONFIG_HOME/xbuild/config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserFile {
    /// The directory for what can be made again. Default: `$XDG_CACHE_HOME/xbuild`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub cache_dir: Option<Text>,
    /// The default base of this user's projects.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub base: Option<Text>,
    /// How long a run may take.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub timeout: Option<Text>,
    /// How zig is found.
    pub zig: UserZigTable,
    /// Where Debian's packages come from.
    pub debian: UserDebianTable,
    /// What is special about registries: `[registry."docker.io"]`. A key may also be the beginning of a repository's
    /// name, and the longest one counts.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, UserRegistryTable>"))]
    pub registry: BTreeMap<Text, UserRegistryTable>,
}

/// `[registry."host"]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserRegistryTable {
    /// Where its images are looked for first, in this order: `mirror.example/path`.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub mirrors: Option<Vec<Text>>,
    /// Where it really is, for reading and writing.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub rewrite: Option<Text>,
    /// True if it has no TLS.
    pub plain_http: Option<bool>,
    /// A PEM file with certificates that it is trusted by, beside the system's.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub ca: Option<Text>,
    /// A PEM file with the certificate that tells it who we are; its key is in `client-key`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub client_cert: Option<Text>,
    /// A PEM file with the private key of `client-cert`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub client_key: Option<Text>,
    /// The most of a blob that one request may carry to it, where a proxy before it has a limit: `100MB`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub chunk_size: Option<Text>,
}

/// `[zig]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UserZigTable {
    /// The zig program.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub path: Option<Text>,
    /// The ways to look for it, first to last: `configured`, `installed`, `cache`, `tarball`, `package`.
    #[cfg_attr(test, schemars(with = "Option<Vec<ZigWay>>"))]
    pub ways: Option<toml::Spanned<Vec<ZigWay>>>,
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
    /// The URL of an archive of Debian's snapshots, for pinned packages that the mirrors have dropped and for projects that
    /// ask for a moment.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub snapshot: Option<Text>,
    /// The suites, where the project does not say; those of other releases than the base's are passed over.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub suites: Option<Vec<Text>>,
    /// Files with further keys that may sign the releases of the mirrors that are configured here.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub keyrings: Option<Vec<Text>>,
}
