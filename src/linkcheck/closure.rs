//! A program with everything that its loader loads, and whether these files fit together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::finding::Problem;
use super::search::{Found, Loaded, Search};
use crate::elf::{Elf, Loader, Object, Undefined};
use crate::sys::cancel::{Cancel, Cancelled};

/// Stop at this many libraries.
const MOST: usize = 4096;
/// List at most this many missing symbols.
const MOST_SYMBOLS: usize = 100;
/// The version that a file with packed relocations must need from its glibc.
const PACKED: &str = "GLIBC_ABI_DT_RELR";
/// The library that the kernel maps into every program, by its names.
const VDSO: [&str; 3] = ["linux-vdso.so.1", "linux-vdso64.so.1", "linux-gate.so.1"];
/// The first musl that supports packed relocations.
const PACKED_MUSL: (u32, u32, u32) = (1, 2, 4);
/// The version of glibc's private symbols.
const PRIVATE: &str = "GLIBC_PRIVATE";

/// The files that a loader loads for a program.
#[derive(Debug)]
pub(super) struct Closure {
    /// The program first, its loader second.
    pub(super) files: Vec<Loaded>,
    /// Which of them are searched for definitions. The loader is included only if something needs it.
    scope: Vec<bool>,
    /// The names that each file was requested by.
    names: BTreeMap<String, usize>,
    musl: bool,
    /// The problems found.
    pub(super) problems: Vec<Problem>,
    /// True if every library was found.
    complete: bool,
}

/// Loads a program's libraries as its loader would.
pub(super) fn load(
    search: &Search<'_>,
    program: Loaded,
    loader: Loaded,
    preloaded: &[String],
    cancel: &Cancel,
) -> Result<Closure, Cancelled> {
    let mut closure = Closure {
        files: vec![program, loader],
        scope: vec![true, search.musl],
        names: BTreeMap::new(),
        musl: search.musl,
        problems: Vec::new(),
        complete: true,
    };
    let interpreter = closure.files[1].path.clone();
    closure.names.insert(interpreter, 1);
    let mut queue = VecDeque::from([0]);
    for name in preloaded {
        // glibc searches for these as if the program needed them.
        match closure.add(search, name, (!search.musl).then_some(0)) {
            Ok(Some(index)) => queue.push_back(index),
            Ok(None) => {}
            Err(_) => closure.problems.push(Problem::MissingPreload { library: name.clone() }),
        }
    }
    while let Some(index) = queue.pop_front() {
        cancel.check()?;
        let object = Arc::clone(&closure.files[index].object);
        if !search.musl {
            for name in &object.elf.auxiliaries {
                if let Ok(Some(new)) = closure.add(search, name, Some(index)) {
                    queue.push_back(new);
                }
            }
        }
        let filters = object.elf.filters.iter().filter(|_| !search.musl);
        for name in filters.chain(&object.elf.needed) {
            match closure.add(search, name, Some(index)) {
                Ok(Some(new)) if closure.files.len() < MOST => queue.push_back(new),
                Ok(_) => {}
                Err(problem) => {
                    closure.complete = false;
                    closure.problems.push(problem);
                }
            }
        }
    }
    Ok(closure)
}

impl Closure {
    /// Loads a library that a file needs. Returns its index if it was not loaded before.
    fn add(&mut self, search: &Search<'_>, name: &str, by: Option<usize>) -> Result<Option<usize>, Problem> {
        // The kernel has mapped it already, and glibc uses that.
        if !self.musl && VDSO.contains(&name) {
            return Ok(None);
        }
        if let Some(known) = self.known(name) {
            self.scope[known] = true;
            return Ok(None);
        }
        let needed_by = || by.map_or_else(String::new, |by| self.files[by].path.clone());
        let (path, real, object) = match search.find(name, &self.files, by) {
            Found::File { path, real, object } => (path, real, object),
            Found::Unusable { path, reason } => {
                let (library, needed_by) = (name.to_owned(), needed_by());
                return Err(Problem::UnusableLibrary { library, needed_by, path, reason });
            }
            Found::Nowhere { searched, skipped } => {
                return Err(Problem::MissingLibrary {
                    library: name.to_owned(),
                    needed_by: needed_by(),
                    searched,
                    skipped,
                    elsewhere: Vec::new(),
                });
            }
        };
        // The same file under another name, such as a symbolic or hard link, is not loaded twice; nor is a second musl.
        let same = |file: &Loaded| file.real == real || Arc::ptr_eq(&file.object, &object);
        let again = self.files.iter().position(same);
        let again = again.or((self.musl && matches!(object.loader, Some(Loader::Musl { .. }))).then_some(1));
        if let Some(known) = again {
            self.names.insert(name.to_owned(), known);
            self.scope[known] = true;
            return Ok(None);
        }
        let origin = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let origin = if origin.is_empty() { "/".to_owned() } else { origin.to_owned() };
        self.files.push(Loaded { path, real, object, parent: by, origin });
        self.scope.push(true);
        self.names.insert(name.to_owned(), self.files.len() - 1);
        Ok(Some(self.files.len() - 1))
    }

    /// The loaded file with a name: it was requested by that name, or (for glibc) has it as its soname.
    fn known(&self, name: &str) -> Option<usize> {
        if let Some(index) = self.names.get(name) {
            return Some(*index);
        }
        if self.musl {
            // musl contains all of these libraries.
            let own = ["c.", "pthread.", "rt.", "m.", "dl.", "util.", "xnet."];
            let rest = name.strip_prefix("lib")?;
            return own.iter().any(|own| rest.starts_with(own)).then_some(1);
        }
        self.files.iter().position(|file| file.object.elf.soname.as_deref() == Some(name))
    }

    /// Checks that versions and symbols are defined.
    pub(super) fn bind(&mut self, cancel: &Cancel) -> Result<(), Cancelled> {
        for index in 0..self.files.len() {
            cancel.check()?;
            if !self.musl {
                self.versions(index);
            }
            self.packed(index);
            // The definitions of a missing library are missing as well, which need not be reported.
            if self.complete && index != 1 {
                self.symbols(index, |_| true);
            }
        }
        Ok(())
    }

    /// The same as [`Self::bind`] for a library without its program. The program may define symbols too, so only
    /// versions and symbols with a version are checked.
    pub(super) fn bind_library(&mut self) {
        if !self.musl {
            self.versions(0);
        }
        self.packed(0);
        if self.complete {
            self.symbols(0, |symbol| symbol.1.is_some());
        }
    }

    fn versions(&mut self, index: usize) {
        let (file, mut found) = (&self.files[index], Vec::new());
        let elf = &file.object.elf;
        let needed_by = || file.path.clone();
        let mut private = BTreeSet::new();
        for need in &elf.versions_needed {
            if VDSO.contains(&need.library.as_str()) {
                continue;
            }
            let Some(library) = self.known(&need.library) else {
                // A missing library is reported by itself, without its versions.
                if self.complete {
                    found.push(Problem::VersionOfNothing {
                        version: need.version.clone(),
                        library: need.library.clone(),
                        needed_by: needed_by(),
                    });
                }
                continue;
            };
            let library = &self.files[library];
            let defined = &library.object.elf.versions_defined;
            if index == 0 && need.version == PRIVATE && private.insert(&need.library) {
                found.push(Problem::PrivateVersion { library: library.path.clone(), needed_by: needed_by() });
            }
            // A library without any versions satisfies every reference.
            if !need.weak && !defined.is_empty() && !defined.contains(&need.version) {
                found.push(Problem::MissingVersion {
                    version: need.version.clone(),
                    library: library.path.clone(),
                    needed_by: needed_by(),
                    newest: newest(defined, &need.version),
                });
            }
        }
        self.problems.extend(found);
    }

    /// Checks that the loader supports the file's packed relocations. An old loader silently ignores them, unless the
    /// file also needs a version that the loader lacks.
    fn packed(&mut self, index: usize) {
        let file = &self.files[index];
        let elf = &file.object.elf;
        if !elf.relr || index == 1 || elf.versions_needed.iter().any(|need| need.version == PACKED) {
            return;
        }
        let libc = if let Some(Loader::Musl { version }) = &self.files[1].object.loader {
            let old = version.filter(|version| *version < PACKED_MUSL);
            old.map(|(major, minor, patch)| format!("musl {major}.{minor}.{patch}"))
        } else {
            let libc = self.known("libc.so.6").map(|libc| &self.files[libc].object);
            let knows = |libc: &Object| libc.elf.versions_defined.iter().any(|version| version == PACKED);
            let old = libc.filter(|libc| !knows(libc)).and_then(|libc| libc.glibc());
            old.map(|version| format!("glibc {version}"))
        };
        if let Some(libc) = libc {
            self.problems.push(Problem::PackedRelocations { path: file.path.clone(), libc });
        }
    }

    fn symbols(&mut self, index: usize, wanted: impl Fn(&Undefined) -> bool) {
        let file = &self.files[index];
        let elf = &file.object.elf;
        let mut missing = Vec::new();
        for symbol in file.object.symbols.undefined.iter().filter(|symbol| wanted(symbol)) {
            let Undefined(name, version) = symbol;
            let version = version.and_then(|version| elf.versions_needed.get(usize::from(version)));
            // The library that the version is needed from. glibc's loader fails if that library defines the symbol but
            // has lost all its versions.
            let of = version.filter(|_| !self.musl).and_then(|need| self.known(&need.library));
            let asked = version.map(|version| version.version.as_str()).filter(|_| !self.musl);
            let scope =
                self.files.iter().zip(&self.scope).enumerate().filter(|(_, (_, in_scope))| **in_scope);
            let mut found = scope.filter(|(_, (file, _))| file.object.symbols.defines(name, asked));
            if found.next().is_some_and(|(at, (file, _))| Some(at) != of || file.object.symbols.versioned) {
                continue;
            }
            // If the version itself is missing, that has been reported.
            let said = asked.is_some_and(|asked| lacks(&self.problems, &file.path, asked));
            if !said && missing.len() < MOST_SYMBOLS {
                missing.push(asked.map_or_else(|| name.clone(), |asked| format!("{name}@{asked}")));
            }
        }
        if !missing.is_empty() {
            self.problems.push(Problem::MissingSymbol { symbols: missing, needed_by: file.path.clone() });
        }
    }
}

/// True if a version that a file needs was already reported as missing.
fn lacks(problems: &[Problem], file: &str, asked: &str) -> bool {
    problems.iter().any(|problem| match problem {
        Problem::MissingVersion { version, needed_by, .. }
        | Problem::VersionOfNothing { version, needed_by, .. } => needed_by == file && version == asked,
        _ => false,
    })
}

/// The newest defined version of the same family: `GLIBC_2.36` if `GLIBC_2.38` is needed.
fn newest(defined: &[String], asked: &str) -> Option<String> {
    let numbers = |version: &str| -> Vec<u32> {
        version.split(['.', '_']).filter_map(|part| part.parse().ok()).collect()
    };
    let family = asked.rsplit_once('_').map_or(asked, |(family, _)| family);
    let same = |version: &&String| version.rsplit_once('_').is_some_and(|(known, _)| known == family);
    let versions = defined.iter().filter(same).filter(|version| !numbers(version).is_empty());
    versions.max_by_key(|version| numbers(version)).cloned()
}

/// True for a shared library that is not a program.
pub(super) fn is_library(elf: &Elf) -> bool {
    elf.kind == crate::elf::Kind::Shared && !elf.is_program()
}
