//! The recipe of the base image: which packages it is made of, and what is added to them. It is data, `base.toml`,
//! whose bytes are part of every base's identity.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub(super) const RECIPE: &str = include_str!("base.toml");
/// Part of every identity: raise it when the code that assembles a base changes what comes out.
pub(super) const ASSEMBLY: u32 = 1;

static PARSED: LazyLock<Recipe> =
    LazyLock::new(|| toml::from_str(RECIPE).expect("base.toml is part of the program and tested"));

/// `base.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    pub(super) environment: Vec<String>,
    pub(super) packages: Vec<RecipePackage>,
    /// The packages that have a library which the base lacks, by the library's name.
    pub(super) libraries: BTreeMap<String, String>,
    pub(super) documentation: Documentation,
    pub(super) directories: Vec<RecipeDirectory>,
    pub(super) symlinks: Vec<RecipeSymlink>,
    pub(super) files: Vec<RecipeFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipePackage {
    pub(super) name: String,
    pub(super) why: String,
    /// Why its scripts need not run; a package without this must have none.
    pub(super) scripts: Option<String>,
    /// Dependencies that are left out, with the reason.
    #[serde(default)]
    pub(super) without: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Documentation {
    pub(super) drop: Vec<String>,
    pub(super) copyright: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeDirectory {
    pub(super) path: String,
    #[serde(default = "dir_mode")]
    pub(super) mode: u32,
    #[serde(default)]
    pub(super) uid: u64,
    #[serde(default)]
    pub(super) gid: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeSymlink {
    pub(super) path: String,
    pub(super) to: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipeFile {
    pub(super) path: String,
    pub(super) text: String,
}

const fn dir_mode() -> u32 {
    0o755
}

impl Recipe {
    /// The embedded data.
    pub(super) fn get() -> &'static Self {
        &PARSED
    }

    /// What the recipe says of a package, if it asks for it by name.
    pub(super) fn package(&self, name: &str) -> Option<&RecipePackage> {
        self.packages.iter().find(|package| package.name == name)
    }
}

/// `sha256:…` of the recipe and of how it is carried out. Another release of xbuild may have another, and then makes
/// other bases of the same packages.
#[must_use]
pub(crate) fn recipe_digest() -> String {
    let mut hasher = Sha256::new();
    hasher.update(ASSEMBLY.to_le_bytes());
    hasher.update(RECIPE);
    format!("sha256:{}", hex::encode(hasher.finalize()))
}
