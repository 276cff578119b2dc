//! `[[files]] from-build`: files that the build of a package makes for a platform. Only cargo's messages have their
//! paths, and a checkout that was never built has none of them, so they are looked up after cargo has ended.
//!
//! The files of a build script are those in its `OUT_DIR`. Libraries that cargo itself makes of a package (`cdylib`,
//! `dylib`) are found by their names. The toolchain's own, `libstd-….so`, are attributed to a package `std`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Expansion, FilesError, file_name, glob, is_pattern};
use crate::layer::{Content, Entry, EntryKind};
use crate::linkcheck::plain_path as plain;
use crate::settings::FileSettings;
use crate::sys::fs;

/// The package name for the Rust toolchain's libraries, unless a real package has it.
pub(crate) const STANDARD: &str = "std";
/// The maximum number of files that are searched for one name.
const MOST_FILES: usize = 100_000;
/// The number of names of files that a message shows.
const SHOWN: usize = 8;

/// The files that builds have made for one platform, by the package's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    by_package: BTreeMap<String, OfPackage>,
}

/// The files that the build of one package has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfPackage {
    /// Directories: `OUT_DIR`, or that of the toolchain's libraries.
    dirs: BTreeSet<PathBuf>,
    /// Single files.
    files: BTreeSet<PathBuf>,
}

impl Made {
    /// Adds a directory with a package's files.
    pub(crate) fn add_dir(&mut self, package_id: &str, dir: PathBuf) {
        self.by_package.entry(package_id.to_owned()).or_default().dirs.insert(dir);
    }

    /// Adds a file of a package.
    pub(crate) fn add_file(&mut self, package_id: &str, file: PathBuf) {
        self.by_package.entry(package_id.to_owned()).or_default().files.insert(file);
    }

    /// The package that has made a library of this name, and the library's path in the form of `from-build`.
    #[must_use]
    pub(crate) fn library(&self, name: &str) -> Option<(&str, String)> {
        self.by_package.iter().find_map(|(package, made)| {
            let named = |path: &PathBuf| path.file_name().is_some_and(|own| own == name);
            if made.files.iter().any(named) {
                return Some((package.as_str(), name.to_owned()));
            }
            let path = made.dirs.iter().find_map(|dir| below(dir, name))?;
            // The toolchain's libraries have a hash in their names, which is different in each release.
            let path = match path.split_once('-').filter(|_| package == STANDARD) {
                Some((stem, _)) => format!("{stem}-*.so"),
                None => path,
            };
            Some((package.as_str(), path))
        })
    }
}

/// The path of a file in a directory or below it, relative to the directory. A link is found like a file.
fn below(dir: &Path, name: &str) -> Option<String> {
    let mut open = vec![dir.to_owned()];
    let mut seen = 0;
    while let Some(current) = open.pop() {
        for entry in fs::read_dir(&current).ok()?.flatten() {
            seen += 1;
            let path = entry.path();
            let kind = entry.file_type().ok()?;
            if kind.is_dir() {
                open.push(path);
            } else if entry.file_name() == name {
                return Some(path.strip_prefix(dir).ok()?.to_str()?.to_owned());
            }
        }
        if seen > MOST_FILES {
            return None;
        }
    }
    None
}

/// The entries for the configured files that builds make. `ids` has the package's id for each specification.
pub(crate) fn built(
    files: &[FileSettings],
    made: &Made,
    ids: &BTreeMap<String, String>,
) -> Result<Vec<Entry>, FilesError> {
    let mut entries: Vec<Entry> = Vec::new();
    for file in files {
        let Some(package) = &file.from_build else { continue };
        let of_package = ids.get(package).and_then(|id| made.by_package.get(id));
        let Some(of_package) = of_package else {
            return Err(FilesError::NothingBuilt { package: package.clone(), origin: file.origin.clone() });
        };
        for entry in of_one(file, package, of_package)? {
            // A library is reported twice if it is in two directories.
            entries.retain(|other| other.path != entry.path);
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The entries for one `[[files]]` table.
fn of_one(file: &FileSettings, package: &str, made: &OfPackage) -> Result<Vec<Entry>, FilesError> {
    let mut entries = Vec::new();
    for dir in made.dirs.iter().filter(|dir| dir.is_dir()) {
        let mut inside = FileSettings { root: dir.clone(), ..file.clone() };
        // A link keeps the name under which it is requested, because loaders search for that name.
        if !is_pattern(&file.from) && file.to.ends_with('/') && dir.join(&file.from).is_file() {
            inside.to.push_str(file.from.rsplit('/').next().unwrap_or(&file.from));
        }
        let mut found = Vec::new();
        match Expansion::new(&inside)?.collect(&mut found) {
            Ok(()) => entries.extend(whole(found, &inside)?),
            Err(FilesError::Missing { .. } | FilesError::NoMatch { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let pattern = glob(&file.from, file)?.compile_matcher();
    for path in &made.files {
        let Some(dir) = path.parent() else { continue };
        if pattern.is_match(file_name(path)?) {
            let single =
                FileSettings { root: dir.to_owned(), from: file_name(path)?.to_owned(), ..file.clone() };
            // The destination of several files is a directory, as for a pattern of the project's files.
            let into = is_pattern(&file.from) && !file.to.ends_with('/');
            let to = if into { format!("{}/", file.to) } else { file.to.clone() };
            Expansion::new(&FileSettings { to, ..single })?.collect(&mut entries)?;
        }
    }
    if entries.is_empty() {
        return Err(FilesError::NotBuilt {
            from: file.from.clone(),
            package: package.to_owned(),
            made: names(made),
            origin: file.origin.clone(),
        });
    }
    Ok(entries)
}

/// Replaces links by their targets if the targets are not among the entries, for example `libx.so`, which points to a
/// versioned file beside it.
fn whole(entries: Vec<Entry>, file: &FileSettings) -> Result<Vec<Entry>, FilesError> {
    let paths: BTreeSet<String> = entries.iter().map(|entry| entry.path.clone()).collect();
    let to = file.to.trim_matches('/');
    entries
        .into_iter()
        .map(|entry| {
            let EntryKind::Symlink(text) = &entry.kind else { return Ok(entry) };
            let dir = entry.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            let beside = plain(&format!("{dir}/{text}"));
            if !text.starts_with('/') && paths.contains(beside.trim_start_matches('/')) {
                return Ok(entry);
            }
            let relative = entry.path.strip_prefix(to).unwrap_or(&entry.path).trim_start_matches('/');
            // The part before the first wildcard is not in the image's path.
            let fixed: Vec<&str> = file.from.split('/').take_while(|part| !is_pattern(part)).collect();
            let source = file.root.join(fixed.join("/")).join(relative);
            // A link that is dangling here may have a target in the image.
            let Some(real) = fs::unless_missing(fs::canonicalize(&source))? else { return Ok(entry) };
            if !real.starts_with(fs::canonicalize(&file.root)?) {
                let (from, origin) = (file.from.clone(), file.origin.clone());
                return Err(FilesError::Escapes { from, leads_to: real, origin });
            }
            let metadata = fs::metadata(&real)?;
            if !metadata.is_file() {
                return Ok(entry);
            }
            let kind = EntryKind::File(Content::Path { path: real, size: metadata.len() });
            Ok(Entry { kind, mode: file.mode.unwrap_or(0o755), ..entry })
        })
        .collect()
}

/// Some names of files that a package has made.
fn names(made: &OfPackage) -> Vec<String> {
    let in_dirs = made.dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    let in_dirs = in_dirs.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let files = made.files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = in_dirs.chain(files).collect();
    names.sort();
    names.dedup();
    names.truncate(SHOWN);
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ExitCode, Explain};
    use crate::origin::Origin;
    use crate::settings::Owner;

    struct Setup(fs::TempDir);

    impl Setup {
        /// A package `part` with files in two directories and a library that cargo made.
        fn new() -> Self {
            let setup = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(setup.path("out/lib")).unwrap();
            fs::create_dir_all(setup.path("deps")).unwrap();
            for path in ["out/lib/libpart.so.1.2", "out/data.bin", "deps/libplug.so", "secret"] {
                fs::write_atomic(&setup.path(path), path.as_bytes(), 0o755).unwrap();
            }
            fs::symlink("libpart.so.1.2", setup.path("out/lib/libpart.so.1")).unwrap();
            fs::symlink("../../secret", setup.path("out/lib/escape.so")).unwrap();
            setup
        }

        fn path(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn made(&self) -> Made {
            let mut made = Made::default();
            made.add_dir("id", self.path("out"));
            made.add_file("id", self.path("deps/libplug.so"));
            made
        }

        fn files(&self, from: &str, to: &str) -> Result<Vec<String>, FilesError> {
            let file = FileSettings {
                root: self.path("project"),
                from: from.into(),
                from_build: Some("part".into()),
                to: to.into(),
                mode: None,
                owner: Owner::default(),
                exclude: Vec::new(),
                origin: Origin::Default,
            };
            let ids = [("part".to_owned(), "id".to_owned())].into();
            let shown = |entry: Entry| match entry.kind {
                EntryKind::Symlink(text) => format!("{} -> {text}", entry.path),
                EntryKind::File(content) => format!("{} {}", entry.path, content.size()),
                _ => entry.path,
            };
            Ok(built(&[file], &self.made(), &ids)?.into_iter().map(shown).collect())
        }
    }

    #[test]
    fn files_of_a_build_script_and_of_cargo_are_found() {
        let setup = Setup::new();
        assert_eq!(setup.files("data.bin", "/srv/").unwrap(), ["srv/data.bin 12"]);
        assert_eq!(setup.files("libplug.so", "/usr/lib/").unwrap(), ["usr/lib/libplug.so 15"]);
        assert_eq!(setup.files("*plug*", "/usr/lib").unwrap(), ["usr/lib/libplug.so 15"]);
        assert_eq!(
            setup.files("lib/libpart.so*", "/usr/lib/").unwrap(),
            ["usr/lib/libpart.so.1 -> libpart.so.1.2", "usr/lib/libpart.so.1.2 22"]
        );
    }

    #[test]
    fn a_link_alone_becomes_what_it_leads_to() {
        let setup = Setup::new();
        assert_eq!(setup.files("lib/libpart.so.1", "/usr/lib/").unwrap(), ["usr/lib/libpart.so.1 22"]);
        assert_eq!(setup.files("lib/*.so.1", "/usr/lib/").unwrap(), ["usr/lib/libpart.so.1 22"]);
        for from in ["lib/escape.so", "lib"] {
            let error = setup.files(from, "/usr/lib/").unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::PathEscape, "{from}");
        }
    }

    #[test]
    fn links_in_a_directory_come_along_or_become_what_they_lead_to() {
        let setup = Setup::new();
        fs::remove_file(setup.path("out/lib/escape.so")).unwrap();
        fs::create_dir_all(setup.path("out/more")).unwrap();
        fs::create_dir_all(setup.path("out/lib/below")).unwrap();
        fs::write_atomic(&setup.path("out/more/real.so"), b"real", 0o755).unwrap();
        fs::symlink("../more/real.so", setup.path("out/lib/far.so")).unwrap();
        fs::symlink("../libpart.so.1.2", setup.path("out/lib/below/up.so")).unwrap();
        fs::symlink("/nowhere/x.so", setup.path("out/lib/nowhere.so")).unwrap();
        assert_eq!(
            setup.files("lib", "/usr/lib/").unwrap(),
            [
                "usr/lib",
                "usr/lib/below",
                "usr/lib/below/up.so -> ../libpart.so.1.2",
                "usr/lib/far.so 4",
                "usr/lib/libpart.so.1 -> libpart.so.1.2",
                "usr/lib/libpart.so.1.2 22",
                "usr/lib/nowhere.so -> /nowhere/x.so",
            ]
        );
    }

    #[test]
    fn what_was_not_made_is_told_with_what_was() {
        let setup = Setup::new();
        let error = setup.files("libpart.so", "/usr/lib/").unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::MissingFile);
        assert!(error.hint().unwrap().contains("data.bin, lib, libplug.so"), "{:?}", error.hint());
    }

    #[test]
    fn a_library_is_found_by_its_name() {
        let setup = Setup::new();
        assert_eq!(setup.made().library("libplug.so"), Some(("id", "libplug.so".to_owned())));
        assert_eq!(setup.made().library("libpart.so.1"), Some(("id", "lib/libpart.so.1".to_owned())));
        assert_eq!(setup.made().library("libother.so"), None);
    }
}
