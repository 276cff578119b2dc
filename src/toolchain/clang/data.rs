//! `toolchains/clang.toml`, typed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use semver::Version;
use serde::Deserialize;

/// Facts about Clang.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ClangData {
    /// The file's stem.
    pub name: String,
    /// The oldest version that is accepted.
    pub minimum: Version,
    /// The greatest number in a program's name that is looked for.
    pub newest_name: u64,
    /// The first version that reads a configuration file of the machine.
    pub configured_since: Version,
    /// The first version that gives directories in DWARF 5 of assembler files their other names.
    pub names_of_assembler_since: Version,
    /// Variables that it must not see.
    pub unset: Vec<String>,
    /// Its packages, separated by spaces, by the name of the distribution.
    pub packages: BTreeMap<String, String>,
    /// Options that it does not get.
    pub drop: Vec<Drop>,
}

/// An option of the caller that says what only the wrapper may say.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Drop {
    /// The option. With `=` at its end its value is in the same argument, otherwise in the next one.
    pub name: String,
    /// Why it is dropped.
    pub remark: String,
    /// What the wrapper says in its place; the same value is no reason for a remark.
    pub own: Own,
}

/// What the wrapper says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Own {
    /// The target.
    Target,
    /// The sysroot.
    Sysroot,
    /// The directory with the sysroot's GCC.
    Gcc,
    /// The linker.
    Linker,
}

static DATA: LazyLock<ClangData> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../toolchains/clang.toml"))
        .expect("clang.toml is part of the program and tested")
});

impl ClangData {
    /// The embedded data.
    #[must_use]
    pub(super) fn get() -> &'static Self {
        &DATA
    }
}
