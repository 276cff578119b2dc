//! What is in the cache. Links are looked at and not followed, and nothing is changed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{CacheError, Entries, KINDS, Kind};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, store, usage};

/// Something in the cache that is kept or removed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is; `None` for what a run makes, or has left when it was killed.
    pub kind: Option<&'static Kind>,
    /// The path below the cache.
    pub path: PathBuf,
    /// The suffixes of the files that belong to it: none for itself, `.partial`, `.lock`.
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

    /// Its parts' paths below the cache.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&'static str, PathBuf)> + '_ {
        self.parts.iter().map(|suffix| (*suffix, with_suffix(&self.path, suffix)))
    }
}

/// What is in a cache.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Everything that is xbuild's, in the order of the table and by path.
    pub entries: Vec<Entry>,
    /// What is there and is not xbuild's, or is a newer version's.
    pub unknown: Vec<PathBuf>,
    /// Links in the place of a kind's directory; what they lead to is not looked at.
    pub links: Vec<(&'static Kind, PathBuf)>,
}

/// The suffixes of what belongs to a file.
const LOCK: &str = ".lock";
const SUFFIXES: &[&str] = &[".partial", LOCK];

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Looks at everything in a cache. One that is not there is empty.
///
/// # Errors
///
/// If the cache is another user's or may be written to by others, if it cannot be read, or if `cancel` ends the work.
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

/// Where a kind's directory is.
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
    /// Whether a kind's directory is there and is ours.
    fn directory(&self, kind: &Kind) -> Result<Place, CacheError> {
        let mut path = self.cache.to_owned();
        let mut below = PathBuf::new();
        for part in Path::new(kind.name) {
            path.push(part);
            below.push(part);
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_symlink() => return Ok(Place::Link(below)),
                Ok(metadata) if metadata.is_dir() => store::check(&path)?,
                // A file in its place is nothing that was put there by us.
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

    /// The entries in a directory; what is being made there is no kind's.
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
            // A lock of nothing that is there is no more than what is being made.
            let kind = (parts != [LOCK]).then_some(kind);
            entries.extend(self.entry(kind, directory.join(name), parts)?);
        }
        Ok(())
    }

    /// One entry; `None` if it is gone meanwhile.
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

    /// What is beside the kinds: what runs make, and what nobody knows.
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

    /// The names in a directory of the cache, sorted. Those that are no text are not ours.
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
