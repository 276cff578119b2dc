//! dpkg's database of installed packages (deb-control(5), dpkg(1)): one file for all packages, or, in images without
//! dpkg, one file for each. Pure, over their contents.

use std::collections::BTreeMap;

use deb822_fast::Deb822;
use debversion::Version;
use sha2::{Digest as _, Sha256};

use super::resolve::Installed;

/// The packages installed in a root filesystem.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// The packages, sorted by name.
    pub installed: Vec<Installed>,
    /// The content of `/var/lib/dpkg/status`; `None` if there are only files in `status.d`.
    pub status: Option<String>,
    /// True if the names of files about a `Multi-Arch: same` package contain its architecture, as
    /// `/var/lib/dpkg/info/format` declares.
    pub qualified: bool,
}

impl Database {
    /// The database of a root with dpkg's own file.
    #[must_use]
    pub fn of_status(text: &str, qualified: bool) -> Self {
        let installed = named(paragraphs(text).filter_map(installed));
        Self { installed, status: Some(text.to_owned()), qualified }
    }

    /// The database of a root with one file per package.
    pub fn of_parts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let installed = named(texts.flat_map(paragraphs).filter_map(installed));
        Self { installed, status: None, qualified: false }
    }

    /// A digest of everything that determines what is added to it.
    #[must_use]
    pub(super) fn identity(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update([u8::from(self.status.is_some())]);
        for Installed { name, version, provides, conflicts, allowed } in &self.installed {
            hasher.update(format!("{name}\0{version}\0{provides}\0{conflicts}\0{allowed}\0"));
        }
        hex::encode(hasher.finalize())
    }

    /// dpkg's own file with further paragraphs, by package; `None` for a root without that file.
    #[must_use]
    pub(super) fn with(&self, added: &BTreeMap<&str, String>) -> Option<String> {
        // A package that was removed but not purged is replaced by the new paragraph.
        let stays =
            |paragraph: &&str| field(paragraph, "Package").is_none_or(|name| !added.contains_key(name));
        let known = paragraphs(self.status.as_ref()?).filter(stays).map(str::trim_end);
        let mut text = String::new();
        for paragraph in known.chain(added.values().map(|paragraph| paragraph.trim_end())) {
            text.push_str(paragraph);
            text.push_str("\n\n");
        }
        Some(text)
    }
}

fn named(packages: impl Iterator<Item = Installed>) -> Vec<Installed> {
    let by_name: BTreeMap<String, Installed> =
        packages.map(|package| (package.name.clone(), package)).collect();
    by_name.into_values().collect()
}

fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").map(|paragraph| paragraph.trim_matches('\n')).filter(|text| !text.trim().is_empty())
}

/// The first line of a field, without its continuation lines, which names do not have.
fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// The installed package that a paragraph describes. A paragraph that cannot be read is ignored.
fn installed(paragraph: &str) -> Option<Installed> {
    let document: Deb822 = format!("{paragraph}\n").parse().ok()?;
    let fields = document.iter().next()?;
    let value = |name: &str| fields.get(name).unwrap_or_default().trim().to_owned();
    // Without dpkg, files may lack this field.
    let status = value("Status");
    if !status.is_empty() && status.split_whitespace().nth(2) != Some("installed") {
        return None;
    }
    let both = [value("Conflicts"), value("Breaks")];
    Some(Installed {
        name: Some(value("Package")).filter(|name| !name.is_empty())?,
        version: Version::parse_lenient(&value("Version")).ok()?,
        provides: value("Provides"),
        conflicts: both.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", "),
        allowed: value("Multi-Arch") == "allowed",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2.36-9+deb12u13\n\
        Depends: libgcc-s1\nBreaks: old (<< 1),\n older\nDescription: x\n y\n .\n z\n\n\
        Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
        Package: held\nStatus: hold ok installed\nVersion: 1:2\nProvides: thing (= 3)\n\n";

    #[test]
    fn what_is_installed_is_told_from_what_was() {
        let database = Database::of_status(STATUS, true);
        let names: Vec<String> =
            database.installed.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
        assert_eq!(names, ["held 1:2", "libc6 2.36-9+deb12u13"]);
        assert_eq!(database.installed[0].provides, "thing (= 3)");
        assert!(database.installed[1].conflicts.contains("older"));
        let parts = ["Package: tzdata\nVersion: 2025b-0+deb12u2\n", "Package: base-files\nVersion: 12.4\n"];
        let database = Database::of_parts(parts.into_iter());
        assert_eq!(database.installed.len(), 2);
        assert!(database.status.is_none() && database.with(&BTreeMap::new()).is_none());
    }

    #[test]
    fn paragraphs_are_added_and_what_was_removed_comes_back() {
        let added = [("gone", "Package: gone\nStatus: install ok installed\nVersion: 2\n".to_owned())];
        let text = Database::of_status(STATUS, true).with(&added.into()).unwrap();
        assert!(text.starts_with(STATUS.split("\n\n").next().unwrap()), "{text}");
        assert!(!text.contains("config-files") && text.ends_with("Version: 2\n\n"), "{text}");
        let again = Database::of_status(&text, true);
        assert_eq!(again.installed.len(), 3);
        assert_ne!(again.identity(), Database::of_status(STATUS, true).identity());
    }
}
