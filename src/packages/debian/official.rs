//! The URLs that Debian itself publishes: `official.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

/// A fault in the data is a fault of the build, which a test detects.
static OFFICIAL: LazyLock<Official> = LazyLock::new(|| {
    toml::from_str(include_str!("official.toml")).expect("official.toml is part of the program and tested")
});

/// Debian's own URLs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Official {
    /// Mirrors of the archive, in the order in which they are tried.
    pub(super) archive: Vec<String>,
    /// Mirrors of the security archive.
    pub(super) security: Vec<String>,
    /// The archive of snapshots.
    pub(super) snapshot: String,
    /// The archive of releases that are no longer supported.
    pub(super) old: String,
}

impl Official {
    pub(super) fn get() -> &'static Self {
        &OFFICIAL
    }
}

#[cfg(test)]
mod tests {
    use super::Official;

    #[test]
    fn there_are_several_and_all_are_addresses() {
        let Official { archive, security, snapshot, old } = Official::get();
        assert!(archive.len() > 1 && security.len() > 1);
        for address in archive.iter().chain(security).chain([snapshot, old]) {
            assert!(address.starts_with("http") && !address.ends_with('/'), "{address}");
        }
    }
}
