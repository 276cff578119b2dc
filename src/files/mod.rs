//! `[[files]]`: from the configuration to the entries of a layer.
//!
//! All files that are read must be within the project, even behind symbolic links. Modes come from the configuration or
//! from the one bit that version control stores (the owner's execute permission), never from the umask of whoever
//! checked the project out. Symbolic links inside a directory stay links and are not followed.

mod built;

use std::io;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::error::{ExitCode, Explain, io_hint};
use crate::layer::{Content, Entry, EntryKind};
use crate::origin::Origin;
use crate::settings::FileSettings;
use crate::sys::fs::{self, PermissionsExt};

pub(crate) use built::{Made, STANDARD, built};

/// Why files cannot be added to the image.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The path does not exist.
    #[error("`{from}` does not exist in `{}` ({origin})", root.display())]
    Missing {
        /// The path, as configured.
        from: String,
        /// The directory that it is relative to.
        root: PathBuf,
        /// The origin of the configuration.
        origin: Origin,
    },
    /// The pattern matches nothing.
    #[error("`{from}` matches no file in `{}` ({origin})", root.display())]
    NoMatch {
        /// The pattern, as configured.
        from: String,
        /// The directory that it is relative to.
        root: PathBuf,
        /// The origin of the configuration.
        origin: Origin,
    },
    /// The path leads out of the project, through `..` or a symbolic link.
    #[error("`{from}` leads out of the project, to `{}` ({origin})", leads_to.display())]
    Escapes {
        /// The path, as configured.
        from: String,
        /// The target.
        leads_to: PathBuf,
        /// The origin of the configuration.
        origin: Origin,
    },
    /// The path is not a file, directory or symbolic link.
    #[error("`{}` is neither a file nor a directory nor a symbolic link", path.display())]
    Special {
        /// The path.
        path: PathBuf,
    },
    /// A name or the target of a link is not UTF-8.
    #[error("the name `{}` is not UTF-8", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A pattern is invalid.
    #[error("`{pattern}` is not a pattern: {reason} ({origin})")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
        /// The origin of the configuration.
        origin: Origin,
    },
    /// The build of a package has not made the file.
    #[error("the build of `{package}` did not make `{from}` for this platform ({origin})")]
    NotBuilt {
        /// The path or pattern, as configured.
        from: String,
        /// The package, as configured.
        package: String,
        /// Some names of files that it made.
        made: Vec<String>,
        /// The origin of the configuration.
        origin: Origin,
    },
    /// A package was not built for the platform, or its build makes no files.
    #[error("the build of `{package}` made no files for this platform ({origin})")]
    NothingBuilt {
        /// The package, as configured.
        package: String,
        /// The origin of the configuration.
        origin: Origin,
    },
    /// A file could not be read.
    #[error("cannot read the project's files: {0}")]
    Io(#[from] io::Error),
}

impl Explain for FilesError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing { .. }
            | Self::NoMatch { .. }
            | Self::NotBuilt { .. }
            | Self::NothingBuilt { .. } => ExitCode::MissingFile,
            Self::Escapes { .. } => ExitCode::PathEscape,
            Self::Special { .. } | Self::NotUtf8 { .. } | Self::Pattern { .. } => ExitCode::Config,
            Self::Io(error) => ExitCode::of_io(error),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { root, .. } | Self::NoMatch { root, .. } => Some(format!(
                "`from` is relative to `{}`; create the file or correct the path",
                root.display()
            )),
            Self::NotBuilt { made, .. } if made.is_empty() => {
                Some("check what its build script writes to OUT_DIR: it made no files at all".into())
            }
            Self::NotBuilt { made, .. } => Some(format!(
                "the pattern is relative to OUT_DIR, or the name of a library; it made {}",
                made.join(", ")
            )),
            Self::NothingBuilt { .. } => Some(
                "name a package with a build script, or a `cdylib` or `dylib`, that the programs are built with".into(),
            ),
            Self::Escapes { .. } => Some("copy what the image needs into the project".into()),
            Self::Special { .. } | Self::NotUtf8 { .. } => Some("leave it out with `exclude`".into()),
            Self::Pattern { .. } => Some("use only `*`, `**`, `?`, `[…]` and `{a,b}`".into()),
            Self::Io(error) => io_hint(error),
        }
    }
}

/// The entries for all configured files of the project, in the order of the configuration. Their content is read only
/// when the layer is written.
pub(crate) fn entries(files: &[FileSettings]) -> Result<Vec<Entry>, FilesError> {
    let mut entries = Vec::new();
    for file in files.iter().filter(|file| file.from_build.is_none()) {
        Expansion::new(file)?.collect(&mut entries)?;
    }
    Ok(entries)
}

/// One `[[files]]` table that is being expanded.
struct Expansion<'a> {
    file: &'a FileSettings,
    /// The project's directory without symbolic links.
    root: PathBuf,
    exclude: GlobSet,
}

/// A pattern below a directory.
struct Wanted {
    pattern: GlobMatcher,
    /// No path with more components can match.
    depth: usize,
}

impl<'a> Expansion<'a> {
    fn new(file: &'a FileSettings) -> Result<Self, FilesError> {
        let mut exclude = GlobSetBuilder::new();
        for pattern in &file.exclude {
            exclude.add(glob(pattern, file)?);
        }
        let exclude = exclude.build().map_err(|error| bad_pattern("exclude", &error, file))?;
        Ok(Self { file, root: fs::canonicalize(&file.root)?, exclude })
    }

    fn collect(&self, entries: &mut Vec<Entry>) -> Result<(), FilesError> {
        let from = self.file.from.trim_end_matches('/');
        if is_pattern(from) {
            return self.collect_pattern(from, entries);
        }
        let source = self.inside(from)?;
        let to = self.file.to.trim_start_matches('/');
        if fs::metadata(&source)?.is_dir() {
            let to = to.trim_end_matches('/');
            // The image's root directory is not an entry of a layer.
            if !to.is_empty() {
                entries.push(self.entry(to.to_owned(), &source)?);
            }
            return self.collect_dir(&source, &source, (to, None), entries);
        }
        let path = match to.strip_suffix('/') {
            Some(dir) => join(dir, file_name(&source)?),
            None if to.is_empty() => file_name(&source)?.to_owned(),
            None => to.to_owned(),
        };
        entries.push(self.entry(path, &source)?);
        Ok(())
    }

    /// Adds everything below `dir`, or only the wanted files, in the order of names. Patterns are relative to `start`,
    /// which corresponds to `to`.
    fn collect_dir(
        &self,
        start: &Path,
        dir: &Path,
        (to, wanted): (&str, Option<&Wanted>),
        entries: &mut Vec<Entry>,
    ) -> Result<(), FilesError> {
        for source in sorted(dir)? {
            let below = source.strip_prefix(start).unwrap_or(&source);
            if self.exclude.is_match(below) {
                continue;
            }
            let is_dir = fs::symlink_metadata(&source)?.is_dir();
            if wanted.is_none_or(|wanted| !is_dir && wanted.pattern.is_match(below)) {
                let name = below.to_str().ok_or_else(|| FilesError::NotUtf8 { path: source.clone() })?;
                entries.push(self.entry(join(to, name), &source)?);
            }
            if is_dir && wanted.is_none_or(|wanted| below.components().count() < wanted.depth) {
                self.collect_dir(start, &source, (to, wanted), entries)?;
            }
        }
        Ok(())
    }

    /// Adds the files that match. They keep their paths below the pattern's leading directories without a wildcard.
    fn collect_pattern(&self, pattern: &str, entries: &mut Vec<Entry>) -> Result<(), FilesError> {
        let fixed: Vec<&str> = pattern.split('/').take_while(|part| !is_pattern(part)).collect();
        let start = self.inside(&fixed.join("/"))?;
        let rest = pattern.split('/').skip(fixed.len()).collect::<Vec<_>>().join("/");
        let depth = if rest.contains("**") { usize::MAX } else { rest.split('/').count() };
        let wanted = Wanted { pattern: glob(&rest, self.file)?.compile_matcher(), depth };
        let before = entries.len();
        let to = self.file.to.trim_matches('/');
        self.collect_dir(&start, &start, (to, Some(&wanted)), entries)?;
        if entries.len() == before {
            return Err(FilesError::NoMatch {
                from: self.file.from.clone(),
                root: self.file.root.clone(),
                origin: self.file.origin.clone(),
            });
        }
        Ok(())
    }

    /// The path of `from` without symbolic links; an error if it is missing or outside the project.
    fn inside(&self, from: &str) -> Result<PathBuf, FilesError> {
        let path = self.root.join(from);
        let source = fs::canonicalize(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FilesError::Missing {
                from: self.file.from.clone(),
                root: self.file.root.clone(),
                origin: self.file.origin.clone(),
            },
            _ => error.into(),
        })?;
        if source.starts_with(&self.root) {
            return Ok(source);
        }
        Err(FilesError::Escapes {
            from: self.file.from.clone(),
            leads_to: source,
            origin: self.file.origin.clone(),
        })
    }

    fn entry(&self, path: String, source: &Path) -> Result<Entry, FilesError> {
        let metadata = fs::symlink_metadata(source)?;
        let executable = metadata.permissions().mode() & 0o100 != 0;
        let (kind, mode) = if metadata.is_dir() {
            // A directory with read permission also needs execute permission.
            let mode = self.file.mode.map_or(0o755, |mode| mode | ((mode & 0o444) >> 2));
            (EntryKind::Directory, mode)
        } else if metadata.is_file() {
            let mode = self.file.mode.unwrap_or(if executable { 0o755 } else { 0o644 });
            (EntryKind::File(Content::Path { path: source.to_owned(), size: metadata.len() }), mode)
        } else if metadata.is_symlink() {
            let text = fs::read_link(source)?;
            let text = text.to_str().ok_or_else(|| FilesError::NotUtf8 { path: source.to_owned() })?;
            (EntryKind::Symlink(text.to_owned()), 0o777)
        } else {
            return Err(FilesError::Special { path: source.to_owned() });
        };
        let owner = self.file.owner;
        Ok(Entry { path, kind, mode, uid: owner.uid.into(), gid: owner.gid.into() })
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// A pattern in which `*` stays within a directory and `**` does not, as in a shell.
fn glob(pattern: &str, file: &FileSettings) -> Result<globset::Glob, FilesError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| bad_pattern(pattern, &error, file))
}

fn bad_pattern(pattern: &str, error: &globset::Error, file: &FileSettings) -> FilesError {
    FilesError::Pattern {
        pattern: pattern.to_owned(),
        reason: error.kind().to_string(),
        origin: file.origin.clone(),
    }
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>, FilesError> {
    let mut paths =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, io::Error>>()?;
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> Result<&str, FilesError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| FilesError::NotUtf8 { path: path.to_owned() })
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Owner;

    struct Setup(fs::TempDir);

    impl Setup {
        fn new() -> Self {
            let setup = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(setup.0.path().join("p/assets/deep")).unwrap();
            for (path, mode) in [
                ("p/run.sh", 0o700),
                ("p/assets/b.css", 0o600),
                ("p/assets/a.html", 0o664),
                ("p/assets/deep/c.css", 0o640),
                ("secret", 0o600),
            ] {
                fs::write_atomic(&setup.0.path().join(path), path.as_bytes(), mode).unwrap();
            }
            fs::symlink("a.html", setup.0.path().join("p/assets/index.html")).unwrap();
            fs::symlink("../secret", setup.0.path().join("p/out")).unwrap();
            setup
        }

        fn file(&self, from: &str, to: &str) -> FileSettings {
            FileSettings {
                root: self.0.path().join("p"),
                from: from.into(),
                from_build: None,
                to: to.into(),
                mode: None,
                owner: Owner { uid: 7, gid: 8 },
                exclude: Vec::new(),
                origin: Origin::Default,
            }
        }

        fn expand(&self, from: &str, to: &str) -> Result<Vec<String>, FilesError> {
            shown(&self.file(from, to))
        }
    }

    fn shown(file: &FileSettings) -> Result<Vec<String>, FilesError> {
        Ok(entries(std::slice::from_ref(file))?
            .into_iter()
            .map(|entry| format!("{:o} {}:{} {}", entry.mode, entry.uid, entry.gid, entry.path))
            .collect())
    }

    #[test]
    fn a_file_goes_to_a_path_or_into_a_directory() {
        let setup = Setup::new();
        assert_eq!(setup.expand("run.sh", "/opt/start").unwrap(), ["755 7:8 opt/start"]);
        assert_eq!(setup.expand("assets/b.css", "/srv/").unwrap(), ["644 7:8 srv/b.css"]);
    }

    #[test]
    fn a_directory_brings_its_content_sorted_and_keeps_links() {
        let setup = Setup::new();
        let expected = [
            "755 7:8 srv",
            "644 7:8 srv/a.html",
            "644 7:8 srv/b.css",
            "755 7:8 srv/deep",
            "644 7:8 srv/deep/c.css",
            "777 7:8 srv/index.html",
        ];
        assert_eq!(setup.expand("assets", "/srv").unwrap(), expected);
        assert_eq!(setup.expand("assets/", "/srv/").unwrap(), expected);
    }

    #[test]
    fn a_pattern_keeps_the_path_behind_its_fixed_directories() {
        let setup = Setup::new();
        // Files that do not match are not checked: a name that is not UTF-8, a socket such as that of git's daemon.
        let odd = setup.0.path().join("p/odd");
        fs::create_dir_all(&odd).unwrap();
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
        fs::write_atomic(&odd.join(name), b"", 0o644).unwrap();
        drop(std::os::unix::net::UnixListener::bind(odd.join("socket")).unwrap());
        assert_eq!(setup.expand("*.sh", "/srv/").unwrap(), ["755 7:8 srv/run.sh"]);
        assert_eq!(setup.expand("**/*.sh", "/srv/").unwrap(), ["755 7:8 srv/run.sh"]);
        assert!(setup.expand("odd/*", "/srv/").is_err());
        assert_eq!(setup.expand("assets/*.css", "/srv/").unwrap(), ["644 7:8 srv/b.css"]);
        assert_eq!(
            setup.expand("assets/**/*.css", "/srv").unwrap(),
            ["644 7:8 srv/b.css", "644 7:8 srv/deep/c.css"]
        );
    }

    #[test]
    fn modes_and_exclusions_are_the_configuration_s() {
        let setup = Setup::new();
        let file = FileSettings {
            mode: Some(0o640),
            exclude: vec!["**/*.css".into(), "index.html".into()],
            ..setup.file("assets", "/srv")
        };
        assert_eq!(shown(&file).unwrap(), ["750 7:8 srv", "640 7:8 srv/a.html", "750 7:8 srv/deep"]);
    }

    #[test]
    fn what_is_missing_or_outside_is_told_apart() {
        let setup = Setup::new();
        assert_eq!(setup.expand("nope", "/x").unwrap_err().exit_code(), ExitCode::MissingFile);
        assert_eq!(setup.expand("*.nope", "/x").unwrap_err().exit_code(), ExitCode::MissingFile);
        assert_eq!(setup.expand("../secret", "/x").unwrap_err().exit_code(), ExitCode::PathEscape);
        assert_eq!(setup.expand("out", "/x").unwrap_err().exit_code(), ExitCode::PathEscape);
        assert_eq!(setup.expand("[", "/x").unwrap_err().exit_code(), ExitCode::Config);
    }
}
