//! The project's file. The doc comment of each field becomes the description in the JSON schema, so it is written for
//! the author of the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Text;
use crate::config::OnFailure;

/// `xbuild.toml`, `[package.metadata.xbuild]` or `[workspace.metadata.xbuild]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[cfg_attr(test, schemars(title = "xbuild.toml"))]
pub struct ProjectFile {
    /// The platforms to build for, for example `["linux/amd64", "linux/arm64"]`. `"all"` stands for every
    /// platform that xbuild knows, `"local"` for the machine's own. Default: linux/amd64, linux/arm64 and
    /// linux/arm/v7.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub platforms: Option<Vec<Text>>,
    /// The base image: `apt:SUITE` (assembled from Debian's packages), `scratch` (empty; programs must be static), an
    /// image in a registry, `registry/repository[:tag][@digest]`, or one on this disk, with paths relative to this
    /// file: `oci:PATH[:TAG]`, `oci:PATH@DIGEST`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`, or a path
    /// that begins with `./`, `../` or `/`. Default: `apt:bookworm`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub base: Option<Text>,
    /// What compiles and links: `auto`, `zig` or `cargo` (only what cargo's own configuration sets up).
    /// Default: `auto`.
    #[cfg_attr(test, schemars(with = "Option<crate::toolchain::ToolchainChoice>"))]
    pub toolchain: Option<Text>,
    /// The oldest glibc that programs must run with, for example `"2.28"`. Default: that of the base.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub glibc: Option<Text>,
    /// The image's names, for example `["registry.example/team/app:1.2"]`.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub tags: Option<Vec<Text>>,
    /// How layers are compressed: `gzip`, `zstd` or `none`, with an optional level: `zstd:9`.
    /// Default: `gzip`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub compression: Option<Text>,
    /// What happens to the other platforms when one fails: `keep-going` or `fail-fast`.
    /// Default: `keep-going`.
    pub on_failure: Option<OnFailure>,
    /// The time limit of the whole run, for example `"45m"`. Default: two hours.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub timeout: Option<Text>,
    /// The time limit of each platform. Default: what is left of `timeout`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub platform_timeout: Option<Text>,
    /// What cargo builds.
    pub payload: PayloadTable,
    /// The image's configuration.
    pub image: ImageTable,
    /// Files that go into the image in addition to the programs.
    pub files: Option<Vec<FileTable>>,
    /// The check of every finished image: will it run? It comes before publishing.
    pub check: CheckTable,
    /// Debian packages that go into the image.
    #[serde(rename = "debian")]
    pub distribution: DebianTable,
    /// Settings of one platform: `[platform."linux/arm/v7"]`.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, PlatformTable>"))]
    pub platform: BTreeMap<Text, PlatformTable>,
}

/// `[payload]`: what cargo builds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PayloadTable {
    /// The packages whose programs go into the image, as cargo package specifications: `app`, `app@1.2`, a URL, or a
    /// pattern of names. Default: cargo's own choice in this directory.
    pub packages: Option<Vec<String>>,
    /// Selects the programs of all members of the workspace.
    pub workspace: Option<bool>,
    /// Members that `workspace` leaves out, as cargo package specifications.
    pub exclude: Option<Vec<String>>,
    /// The programs that go into the image. Default: the only program, if there is just one.
    pub bins: Option<Vec<String>>,
    /// Puts every program of the packages into the image that can be built with the enabled features.
    pub all_bins: Option<bool>,
    /// Examples that go into the image like programs.
    pub examples: Option<Vec<String>>,
    /// Puts every example of the packages into the image.
    pub all_examples: Option<bool>,
    /// Cargo features to enable.
    pub features: Option<Vec<String>>,
    /// Enables all features.
    pub all_features: Option<bool>,
    /// Disables the default features.
    pub no_default_features: Option<bool>,
    /// The cargo profile. Default: `release`.
    pub profile: Option<String>,
    /// Fails if `Cargo.lock` would have to change.
    pub locked: Option<bool>,
    /// Allows flags that compile for the build machine's processor (`-Ctarget-cpu=native`, `-march=native`).
    pub allow_native_cpu: Option<bool>,
}

/// `[image]`: the image's configuration. What is not set stays as in the base.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageTable {
    /// The program to run, with its first arguments. Default: the program, if there is only one.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments that the user may replace.
    pub cmd: Option<Vec<String>>,
    /// Environment variables, by name.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub env: BTreeMap<Text, String>,
    /// The working directory. Absolute.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub workdir: Option<Text>,
    /// The user to run as: a name or number, and optionally a group: `nonroot`, `65532:65532`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub user: Option<Text>,
    /// Ports that the program listens on: `8080`, `"53/udp"`.
    #[cfg_attr(test, schemars(with = "Option<Vec<Port>>"))]
    pub expose: Option<Vec<toml::Spanned<Port>>>,
    /// Directories for data that outlives a container. Absolute.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub volumes: Option<Vec<Text>>,
    /// Labels, by key.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub labels: BTreeMap<Text, String>,
    /// Annotations of the manifests and the index, by key.
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub annotations: BTreeMap<Text, String>,
    /// The signal that asks the program to stop: `SIGINT`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub stop_signal: Option<Text>,
    /// How an engine checks whether the program is healthy.
    pub healthcheck: Option<HealthcheckTable>,
}

/// A port, with or without its protocol.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Port {
    /// A TCP port.
    Number(u16),
    /// `PORT/PROTOCOL`, `FIRST-LAST/PROTOCOL` or just the port.
    Text(String),
}

/// `[image.healthcheck]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HealthcheckTable {
    /// The program and its arguments. An empty list switches off the base's check.
    pub command: Vec<String>,
    /// The time between two checks: `"30s"`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub interval: Option<Text>,
    /// The time limit of a check.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub timeout: Option<Text>,
    /// The time after the start in which failures do not count.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub start_period: Option<Text>,
    /// The time between two checks during the start period.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub start_interval: Option<Text>,
    /// How many failures in a row make the program unhealthy.
    pub retries: Option<u32>,
}

/// `[[files]]`: a file, a directory or a pattern of files that goes into the image.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileTable {
    /// The source, relative to this file and below its directory. May be a pattern: `static/**/*.html`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub from: Option<Text>,
    /// Instead of `from`: a package, as a cargo package specification, and after a colon a file that its build creates.
    /// That is a path or pattern below its `OUT_DIR`, or the name of a library that cargo builds from it:
    /// `part:lib/libpart.so`, `engine:libengine.so`. The Rust toolchain's own libraries belong to `std`:
    /// `std:libstd-*.so`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub from_build: Option<Text>,
    /// The absolute path in the image. With a trailing `/`: the directory that the files go into.
    #[cfg_attr(test, schemars(with = "String"))]
    pub to: Text,
    /// The permission bits as octal digits: `"0644"`. Default: 0755 for directories and for files that you may execute,
    /// otherwise 0644.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub mode: Option<Text>,
    /// The owner, as numbers: `"65532"` or `"65532:65532"`. Default: `"0:0"`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub owner: Option<Text>,
    /// Patterns of files to leave out.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub exclude: Vec<Text>,
}

/// `[check]`: the link check of every finished image.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CheckTable {
    /// What errors do: `error` (the platform fails), `warn` or `off` (nothing is checked). Default: `error`.
    #[cfg_attr(test, schemars(with = "Option<crate::linkcheck::CheckMode>"))]
    pub mode: Option<Text>,
    /// Findings to accept.
    pub allow: Vec<AllowTable>,
}

/// An element of `allow`: findings to accept. All given keys must match.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AllowTable {
    /// The kind of finding, as shown in brackets in messages: `missing-library`.
    #[serde(default)]
    pub check: Option<String>,
    /// The file that was checked: its path in the image. `*` stands for any characters.
    #[serde(default)]
    pub file: Option<String>,
    /// What is missing or wrong: `libcuda.so.1`. `*` stands for any characters.
    #[serde(default)]
    pub missing: Option<String>,
    /// The platform. Default: all.
    #[serde(default)]
    pub platform: Option<String>,
    /// Why it is right as it is.
    #[cfg_attr(test, schemars(with = "String"))]
    pub reason: Text,
}

/// `[debian]`: Debian packages that go into the image. Where they come from is a setting of the machine: see the user's
/// own file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DebianTable {
    /// The suites: `["bookworm"]` alone changes only with Debian's point releases. Default: the release,
    /// its updates and its security suite.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub suites: Option<Vec<Text>>,
    /// The components. Default: `["main"]`.
    pub components: Option<Vec<String>>,
    /// The moment as of which everything is taken from Debian's snapshot archive: `20260801T000000Z`. Default: packages
    /// are current.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub snapshot: Option<Text>,
    /// Packages to install in addition to those of the base, with all their dependencies: `["libsqlite3-0"]`. The base
    /// is `apt:SUITE` or an image that is Debian.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub packages: Option<Vec<Text>>,
    /// Development packages that the programs are compiled and linked against: `["libssl-dev"]`. `"auto"`, also as one of
    /// the list, stands for those that the crates of the project are known to need. Default: `"auto"`.
    #[cfg_attr(test, schemars(with = "Option<BuildPackagesText>"))]
    pub build_packages: Option<BuildPackages>,
}

/// The word for development packages that nobody names.
pub(crate) const AUTO: &str = "auto";

/// Development packages.
#[derive(Clone, Debug, PartialEq)]
pub enum BuildPackages {
    /// `"auto"`.
    Auto,
    /// A list, which may contain `"auto"`.
    List(Vec<Text>),
}

impl<'de> Deserialize<'de> for BuildPackages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not an untagged enum, in which texts would have no place.
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = BuildPackages;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of packages, or \"{AUTO}\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text == AUTO {
                    return Ok(BuildPackages::Auto);
                }
                Err(E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(BuildPackages::List(texts))
            }
        }
        deserializer.deserialize_any(Both)
    }
}

/// What [`BuildPackages`] looks like in a file.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its schema is read")]
enum BuildPackagesText {
    /// `"auto"`.
    Auto(String),
    /// Names of packages, or `"auto"` among them.
    List(Vec<String>),
}

/// `[platform."os/architecture"]`: settings of one platform.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PlatformTable {
    /// The target triple, if it should not follow from platform and base.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub triple: Option<Text>,
    /// Like the general `base`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub base: Option<Text>,
    /// Like the general `toolchain`.
    #[cfg_attr(test, schemars(with = "Option<crate::toolchain::ToolchainChoice>"))]
    pub toolchain: Option<Text>,
    /// Like the general `glibc`.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub glibc: Option<Text>,
    /// The time limit of this platform.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub timeout: Option<Text>,
    /// Replaces values of the general `image`; maps are merged key by key.
    pub image: ImageTable,
    /// Debian packages that only this platform gets, in addition to those of `[debian]`.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub packages: Option<Vec<Text>>,
    /// Development packages that only this platform is compiled with, in addition to those of `[debian]`.
    #[cfg_attr(test, schemars(with = "Option<BuildPackagesText>"))]
    pub build_packages: Option<BuildPackages>,
    /// Files that only this platform gets, after the general ones.
    pub files: Option<Vec<FileTable>>,
}
