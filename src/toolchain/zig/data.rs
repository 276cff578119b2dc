//! `toolchains/zig.toml`, typed.

use std::sync::LazyLock;

use semver::Version;
use serde::Deserialize;

use crate::oci::Digest;
use crate::target::abi::GlibcVersion;

/// Facts about zig.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ZigData {
    /// The file's stem.
    pub name: String,
    /// The version that is provided if none is found.
    pub version: Version,
    /// The oldest version that is accepted.
    pub minimum: Version,
    /// The newest glibc of each series, oldest series first.
    pub glibc: Vec<SeriesGlibc>,
    /// The official archive.
    pub tarball: Tarball,
    /// The package of Python's package index.
    pub package: Package,
    /// Options that its linker does not support.
    pub linker: Linker,
    /// Options that its compiler driver does not support.
    pub driver: Driver,
}

/// The newest glibc that a series of zig can link for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeriesGlibc {
    /// `major.minor` of zig.
    pub series: String,
    /// The glibc.
    pub newest: GlibcVersion,
}

/// The official archive: an xz-compressed tar with one directory at its top, and its minisign signature.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Tarball {
    /// Its URL; `{version}` stands for the version.
    pub url: String,
    /// The URL of its signature.
    pub signature: String,
    /// The project's minisign key, in base64.
    pub public_key: String,
}

/// The package: a wheel, which is a zip archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Package {
    /// Its name in the index, which is also the name of the directory in the wheel.
    pub name: String,
    /// The wheel's file name.
    pub file: String,
    /// The wheel's SHA-256, in hexadecimal.
    pub sha256: String,
    /// The wheel's size in bytes.
    pub size: u64,
    /// The digest of zig's files in it, see [`super::files::digest`].
    #[serde(deserialize_with = "digest")]
    pub files: Digest,
}

fn digest<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// Options that the linker does not support.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Linker {
    /// Options whose value may be in the next argument.
    pub separate: Vec<String>,
    /// The options.
    pub argument: Vec<Rule>,
}

/// Options that the compiler driver does not support.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Driver {
    /// The options.
    pub argument: Vec<Rule>,
}

/// An option that zig treats differently from other compilers and linkers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rule {
    /// The option.
    pub name: String,
    /// How it is written.
    pub form: Form,
    /// What is done with it.
    pub action: Action,
    /// The replacement; only with [`Action::Replace`].
    #[serde(default)]
    pub with: Vec<String>,
    /// Other options that the replacement also replaces.
    #[serde(default)]
    pub instead_of: Vec<String>,
    /// Options that a [`Form::Prefix`] would match wrongly.
    #[serde(default)]
    pub except: Vec<String>,
    /// The first version of zig that supports it.
    pub until: Option<Version>,
    /// The reason, for users of the option.
    pub reason: String,
}

/// How an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// By itself.
    Flag,
    /// With a value, after `=` or in the next argument.
    Value,
    /// With a value directly after it.
    Prefix,
}

/// What is done with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// It is dropped: the program is equivalent without it.
    Drop,
    /// It is replaced.
    Replace,
    /// The link fails: the program would not be as requested.
    Refuse,
}

static DATA: LazyLock<ZigData> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../toolchains/zig.toml"))
        .expect("zig.toml is part of the program and tested")
});

impl ZigData {
    /// The embedded data.
    #[must_use]
    pub(crate) fn get() -> &'static Self {
        &DATA
    }

    /// The newest glibc that a version of zig can link for.
    #[must_use]
    pub(crate) fn newest_glibc(&self, version: &Version) -> GlibcVersion {
        let series = format!("{}.{}", version.major, version.minor);
        let of_series = self.glibc.iter().find(|entry| entry.series == series);
        of_series.or(self.glibc.last()).map_or(GlibcVersion(2, 17), |entry| entry.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_data_is_consistent() {
        let data = ZigData::get();
        assert_eq!(data.name, "zig");
        assert!(data.minimum <= data.version);
        assert_eq!(data.newest_glibc(&Version::new(0, 15, 2)), GlibcVersion(2, 42));
        assert_eq!(data.newest_glibc(&data.version), GlibcVersion(2, 44));
        assert_eq!(data.newest_glibc(&Version::new(0, 99, 0)), GlibcVersion(2, 44));
        assert_eq!(hex::decode(&data.package.sha256).unwrap().len(), 32);
        assert!(data.package.file.contains(&format!("{}-{}-", data.package.name, data.version)));
        for rule in data.linker.argument.iter().chain(&data.driver.argument) {
            assert_eq!(rule.with.is_empty(), rule.action != Action::Replace, "{}", rule.name);
            assert!(!rule.reason.is_empty() && !rule.reason.ends_with('.'), "{}", rule.name);
        }
    }
}
