//! Looks for programs and libraries on this machine where those who need them look.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet};

use super::{Distribution, HostTool, HostToolsData, Library, Misnamed, NeededBy, Prefix, Tool};
use crate::sys::cancel::Cancel;
use crate::sys::fs;
use crate::sys::process::{self, Command, ProcessError};

/// The files with the distribution's name, the first of which counts (os-release(5)).
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// The distribution of a machine, if it is known. `root` is `/`, except in tests.
pub(crate) fn distribution_at(root: &Path) -> Option<&'static Distribution> {
    let text = OS_RELEASE.iter().find_map(|path| fs::read_to_string(root.join(path)).ok())?;
    HostToolsData::get().distribution_of(&text)
}

/// The machine as build scripts see it.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    /// `/`, except in tests.
    pub root: &'a Path,
    /// The value of a variable that build scripts get.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The host's triple.
    pub host: &'a str,
    /// The triples of the targets.
    pub targets: &'a [&'a str],
    /// Stops a program that was asked.
    pub cancel: &'a Cancel,
}

impl Machine<'_> {
    /// The command that installs a tool on this machine, if that is known.
    #[must_use]
    pub(crate) fn install(&self, tool: &Tool) -> Option<String> {
        tool.install(distribution_at(self.root)?)
    }

    /// Looks for a tool that these packages may need.
    pub(crate) fn find(&self, tool: &Tool, needed_by: Vec<NeededBy>) -> Result<HostTool, ProcessError> {
        let (mut path, mut misnamed) = (None, None);
        // Each target may have a tool of its own. All must exist.
        for names in self.variables(tool) {
            let set = names.iter().find_map(|name| Some((name, (self.variable)(name)?)));
            path = match (&set, &tool.library) {
                (Some((_, value)), Some(library)) => Names::of(library).at(Path::new(value)),
                (Some((_, value)), None) => self.program(Path::new(value))?,
                (None, Some(library)) => self.library(library)?,
                (None, None) => self.first_program(&tool.programs)?,
            };
            if path.is_none() {
                misnamed = set.map(|(name, value)| Misnamed { variable: name.clone(), value: value.into() });
                break;
            }
        }
        let install = self.install(tool);
        let variables = tool.variables.clone();
        let is_library = tool.library.is_some();
        Ok(HostTool { name: tool.name.clone(), is_library, needed_by, path, misnamed, variables, install })
    }

    /// For each target the names of the variables that count for it, in their order.
    fn variables(&self, tool: &Tool) -> Vec<Vec<String>> {
        if !tool.scoped {
            return vec![tool.variables.clone()];
        }
        let of_target = |triple: &&str| {
            let side = if *triple == self.host { "HOST" } else { "TARGET" };
            let scoped = |name: &String| {
                let underscored = triple.replace('-', "_");
                [
                    format!("{name}_{triple}"),
                    format!("{name}_{underscored}"),
                    format!("{side}_{name}"),
                    name.clone(),
                ]
            };
            tool.variables.iter().flat_map(scoped).collect()
        };
        self.targets.iter().map(of_target).collect()
    }

    fn first_program(&self, names: &[String]) -> Result<Option<PathBuf>, ProcessError> {
        for name in names {
            if let Some(found) = self.program(Path::new(name))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A program by its name or path. A relative path is relative to the directory of whatever runs it, which is not known
    /// here, so it is taken to exist.
    fn program(&self, program: &Path) -> Result<Option<PathBuf>, ProcessError> {
        if program.is_relative() && program.components().count() > 1 {
            return Ok(Some(program.to_owned()));
        }
        process::find_any(program, (self.variable)("PATH").as_deref())
    }

    /// A library in the directories in which it is looked for, those first that are quickly read.
    fn library(&self, library: &Library) -> Result<Option<PathBuf>, ProcessError> {
        let Some(search) = HostToolsData::get().search.get(&library.search) else { return Ok(None) };
        let names = Names::of(library);
        let further = search.paths.iter().filter_map(|name| (self.variable)(name));
        if let Some(found) = further.flat_map(|dirs| search_path(&dirs)).find_map(|dir| names.below(&dir)) {
            return Ok(Some(found));
        }
        if let Some(found) = self.below(&search.prefix)?.iter().find_map(|dir| names.below(dir)) {
            return Ok(Some(found));
        }
        let mut dirs = search.directories.iter().flat_map(|pattern| directories(self.root, pattern));
        Ok(dirs.find_map(|dir| names.below(&dir)))
    }

    /// The directories below the prefix that a program prints; none if there is no such program, or if it fails.
    fn below(&self, prefix: &Prefix) -> Result<Vec<PathBuf>, ProcessError> {
        let named = (self.variable)(&prefix.variable).unwrap_or_else(|| prefix.program.clone().into());
        let Some(program) = self.program(Path::new(&named))?.filter(|program| program.is_absolute()) else {
            return Ok(Vec::new());
        };
        let said = match Command::new(program).args(prefix.arguments.iter()).text(self.cancel) {
            Ok(said) => said,
            Err(error @ ProcessError::Cancelled(_)) => return Err(error),
            Err(_) => return Ok(Vec::new()),
        };
        let Some(line) = said.lines().next().filter(|line| !line.is_empty()) else { return Ok(Vec::new()) };
        Ok(prefix.below.iter().map(|dir| Path::new(line).join(dir)).collect())
    }
}

/// The absolute directories of a variable like `PATH`.
fn search_path(value: &OsStr) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let dirs = value.as_bytes().split(|byte| *byte == b':').map(|dir| PathBuf::from(OsStr::from_bytes(dir)));
    dirs.filter(|dir| dir.is_absolute()).collect()
}

/// The names of a library's files.
struct Names<'a> {
    patterns: GlobSet,
    except: Option<&'a str>,
}

impl<'a> Names<'a> {
    fn of(library: &'a Library) -> Self {
        let patterns = patterns(library.files.iter().map(String::as_str));
        Self { patterns, except: library.except.as_deref() }
    }

    fn has(&self, name: &OsStr) -> bool {
        let excepted = || {
            let contains = |except| name.to_str().is_some_and(|name| name.contains(except));
            self.except.is_some_and(contains)
        };
        self.patterns.is_match(name) && !excepted()
    }

    /// The library that a variable names: its file, or the directory with it.
    fn at(&self, path: &Path) -> Option<PathBuf> {
        let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        let is_library = is_file && path.file_name().is_some_and(|name| self.has(name));
        if is_library { Some(path.to_owned()) } else { self.below(path) }
    }

    /// The library in a directory, the first of its files by name.
    fn below(&self, dir: &Path) -> Option<PathBuf> {
        let entries = fs::read_dir(dir).ok()?;
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        Some(dir.join(names.filter(|name| self.has(name)).min()?))
    }
}

/// The existing directories that a pattern means, with at most one wildcard's level for each of its parts.
fn directories(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut dirs = vec![root.to_owned()];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let glob = part.contains('*').then(|| patterns([part]));
        let below = |dir: PathBuf| {
            let Some(glob) = &glob else { return vec![dir.join(part)] };
            let entries = fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok);
            let mut found: Vec<PathBuf> = entries
                .filter(|entry| glob.is_match(entry.file_name()))
                .map(|entry| dir.join(entry.file_name()))
                .filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()))
                .collect();
            found.sort();
            found
        };
        dirs = dirs.into_iter().flat_map(below).collect();
    }
    dirs
}

fn patterns<'a>(texts: impl IntoIterator<Item = &'a str>) -> GlobSet {
    let globs = texts.into_iter().map(|text| Glob::new(text).expect("the patterns are data that is tested"));
    GlobSet::new(globs).expect("the patterns are data that is tested")
}
