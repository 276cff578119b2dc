//! The recipe of the base image: the packages that it is made of, and what is added to them. It is data, `base.toml`,
//! whose bytes are part of every base's identity.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub(super) const RECIPE: &str = include_str!("base.toml");
/// Part of every identity. Must be raised when the code that assembles a base changes its output.
pub(super) const ASSEMBLY: u32 = 1;

static PARSED: LazyLock<Recipe> =
    LazyLock::new(|| toml::from_str(RECIPE).expect("base.toml is part of the program and tested"));

/// `base.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    pub(super) environment: Vec<String>,
    pub(super) packages: Vec<RecipePackage>,
    /// The packages with libraries that the base lacks, by the library's name.
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
    /// Why its scripts need not run. A package without this must not have scripts.
    pub(super) scripts: Option<String>,
    /// Dependencies that are left out, with the reason for each.
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

    /// The recipe's entry for a package, if it names the package.
    pub(super) fn package(&self, name: &str) -> Option<&RecipePackage> {
        self.packages.iter().find(|package| package.name == name)
    }
}

/// `sha256:…` of the recipe and of the code that executes it. Another release of xbuild may have a different one, and
/// then makes different bases of the same packages.
#[must_use]
pub(crate) fn recipe_digest() -> String {
    let mut hasher = Sha256::new();
    hasher.update(ASSEMBLY.to_le_bytes());
    hasher.update(RECIPE);
    format!("sha256:{}", hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A changed comment is enough: all images on this base get another digest, and locks no longer match. A change on
    /// purpose goes into the changelog.
    #[test]
    fn the_recipe_changes_only_on_purpose() {
        let digest = "sha256:ada90f14b6c43f40f3d51ba2220a2fd0f641326c880d9c15cec1315361128702";
        assert_eq!(recipe_digest(), digest);
    }
}
