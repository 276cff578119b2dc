//! The content of the cache. Links are not followed, and nothing is changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{CacheError, Entries, KINDS, Kind};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, store, usage};

/// An item of the cache that is stored and removed as a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its kind; `None` for a temporary file or directory of a run, possibly a killed one.
    pub kind: Option<&'static Kind>,
    /// The path below the cache.
    pub path: PathBuf,
    /// The suffixes of the files that belong to it: the empty one for itself, `.partial`, `.lock`.
    pub(super) parts: Vec<&'static str>,
    /// The sum of its files' lengths, in bytes.
    pub bytes: u64,
    /// When it was last used or written: seconds since 1970, and nanoseconds after that second.
    pub(super) used: (i64, i64),
}

impl Entry {
    /// When it was last used or written, in seconds since 1970.
    #[must_use]
    pub(crate) const fn last_used(&self) -> i64 {
        self.used.0
    }

    /// The paths of its parts below the cache.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        self.parts.iter().map(|suffix| (*suffix, with_suffix(&self.path, suffix)))
    }
}

/// The content of a cache.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Everything that is xbuild's, in the order of the table and by path.
    pub entries: Vec<Entry>,
    /// Paths that are not xbuild's, or belong to a newer version.
    pub unknown: Vec<PathBuf>,
    /// Links instead of a kind's directory; their targets are not examined.
    pub links: Vec<(&'static Kind, PathBuf)>,
}

/// The suffixes of files that belong to an entry.
const LOCK: &str = ".lock";
const SUFFIXES: &[&str] = &[".partial", LOCK];

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Lists everything in a cache. A missing cache is empty.
///
/// # Errors
///
/// If the cache belongs to another user or others may write to it, if it cannot be read, or if the work is cancelled.
pub(crate) fn survey(cache: &Path, cancel: &Cancel) -> Result<Survey, CacheError> {
    let mut survey = Survey::default();
    if !store::exists(cache)? {
        return Ok(survey);
    }
    let look = Look { cache, cancel };
    for kind in KINDS {
        match look.directory(kind)? {
            Place::None => {}
            Place::Link(path) => survey.links.push((kind, path)),
            Place::Here => look.kind(kind, &mut survey.entries)?,
        }
    }
    for parent in ["", "debian", "registry"] {
        look.others(Path::new(parent), &mut survey)?;
    }
    Ok(survey)
}

/// The state of a kind's directory.
enum Place {
    None,
    Here,
    Link(PathBuf),
}

struct Look<'a> {
    cache: &'a Path,
    cancel: &'a Cancel,
}

impl Look<'_> {
    /// Whether a kind's directory exists and is ours.
    fn directory(&self, kind: &Kind) -> Result<Place, CacheError> {
        let mut path = self.cache.to_owned();
        let mut below = PathBuf::new();
        for part in Path::new(kind.name) {
            path.push(part);
            below.push(part);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => return Ok(Place::Link(below)),
                Ok(metadata) if metadata.is_dir() => store::check(&path)?,
                // We did not put a file there.
                Ok(_) => return Ok(Place::None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Place::None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Place::Here)
    }

    fn kind(&self, kind: &'static Kind, entries: &mut Vec<Entry>) -> Result<(), CacheError> {
        let name = Path::new(kind.name);
        match kind.entries {
            Entries::Whole => entries.extend(self.entry(Some(kind), name.to_owned(), vec![""])?),
            Entries::Each => self.each(kind, name, entries)?,
            Entries::EachBelow => {
                for below in self.names(name)? {
                    let path = name.join(&below);
                    if fs::symlink_metadata(self.cache.join(&path)).is_ok_and(|found| found.is_dir()) {
                        self.each(kind, &path, entries)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the entries in a directory; temporary ones have no kind.
    fn each(
        &self,
        kind: &'static Kind,
        directory: &Path,
        entries: &mut Vec<Entry>,
    ) -> Result<(), CacheError> {
        let mut found: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
        for name in self.names(directory)? {
            if store::is_temporary(&name) {
                entries.extend(self.entry(None, directory.join(name), vec![""])?);
                continue;
            }
            let suffix = SUFFIXES.iter().copied().find(|suffix| name.ends_with(suffix)).unwrap_or("");
            found.entry(name[..name.len() - suffix.len()].to_owned()).or_default().push(suffix);
        }
        for (name, mut parts) in found {
            parts.sort_unstable();
            // A lock file without its entry counts as temporary.
            let kind = (parts != [LOCK]).then_some(kind);
            entries.extend(self.entry(kind, directory.join(name), parts)?);
        }
        Ok(())
    }

    /// One entry; `None` if it has disappeared meanwhile.
    fn entry(
        &self,
        kind: Option<&'static Kind>,
        path: PathBuf,
        parts: Vec<&'static str>,
    ) -> Result<Option<Entry>, CacheError> {
        let mut entry = Entry { kind, path, parts, bytes: 0, used: (i64::MIN, 0) };
        let paths: Vec<PathBuf> = entry.paths().map(|(_, path)| self.cache.join(path)).collect();
        let mut found = None;
        for path in paths {
            entry.bytes += self.bytes(&path)?;
            found = found.max(usage::last_used(&path)?);
        }
        Ok(found.map(|used| Entry { used, ..entry }))
    }

    /// The sum of the lengths of the files at and below a path.
    fn bytes(&self, path: &Path) -> Result<u64, CacheError> {
        let mut sum = 0;
        let mut paths = vec![path.to_owned()];
        while let Some(path) = paths.pop() {
            self.cancel.check()?;
            let Some(metadata) = fs::unless_missing(fs::symlink_metadata(&path))? else { continue };
            if metadata.is_file() {
                sum += metadata.len();
            } else if metadata.is_dir()
                && let Some(entries) = fs::unless_missing(fs::read_dir(&path))?
            {
                for entry in entries {
                    paths.extend(fs::unless_missing(entry)?.map(|entry| entry.path()));
                }
            }
        }
        Ok(sum)
    }

    /// Adds what is beside the kinds: temporary files of runs, and unknown paths.
    fn others(&self, parent: &Path, survey: &mut Survey) -> Result<(), CacheError> {
        let metadata = fs::unless_missing(fs::symlink_metadata(self.cache.join(parent)))?;
        if !parent.as_os_str().is_empty() && !metadata.is_some_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        for name in self.names(parent)? {
            let path = parent.join(&name);
            let is_known = KINDS.iter().any(|kind| Path::new(kind.name).starts_with(&path));
            if is_known || path == Path::new(store::USAGE) {
                continue;
            }
            if store::is_temporary(&name) {
                survey.entries.extend(self.entry(None, path, vec![""])?);
            } else {
                survey.unknown.push(path);
            }
        }
        Ok(())
    }

    /// The names in a directory of the cache, sorted. Names that are not UTF-8 are not ours and are skipped.
    fn names(&self, directory: &Path) -> Result<Vec<String>, CacheError> {
        self.cancel.check()?;
        let Some(entries) = fs::unless_missing(fs::read_dir(self.cache.join(directory)))? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(fs::unless_missing(entry)?.and_then(|entry| entry.file_name().into_string().ok()));
        }
        names.sort_unstable();
        Ok(names)
    }
}
