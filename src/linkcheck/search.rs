//! Where a dynamic loader searches for a library, and which file it takes: the rules of glibc (`elf/dl-load.c`, the
//! manual page ld.so(8)) and of musl (`ldso/dynlink.c`).

use std::sync::Arc;

use super::cache::{Cache, Hardware};
use super::execution::Execution;
use super::obstacle::Skipped;
use super::processor::{self, Processor};
use crate::elf::{Elf, Kind, Loader, Object};
use crate::rootfs::{Content, File, Identity, Kind as EntryKind, Lookup, Node, Permission, Root};
use crate::target::catalog::Target;
use crate::target::platform::Platform;

/// glibc's search path if it cannot be read from the loader: the directories of all distributions without multiarch
/// directories.
const COMMON: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// musl's search path without a path file.
const MUSL: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

/// A file that a loader has loaded, or would load.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// The absolute path by which the loader found it, with its links.
    pub(super) path: String,
    /// Its path without links, relative.
    pub(super) real: String,
    /// The file.
    pub(super) object: Arc<Object>,
    /// The index of the file that needed it first; `None` for the program and for what is preloaded.
    pub(super) parent: Option<usize>,
    /// `$ORIGIN`: the directory that contains it.
    pub(super) origin: String,
}

/// The result of a search for a library.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// This file is loaded.
    File { path: String, real: String, object: Arc<Object> },
    /// The loader fails at this file.
    Unusable { path: String, reason: String },
    /// There is no such file.
    Nowhere { searched: Vec<String>, skipped: Vec<Skipped> },
}

/// The environment of a loader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container<'a> {
    pub(super) root: &'a Root,
    pub(super) who: &'a Identity,
    pub(super) execution: &'a Execution,
}

/// A loader in an image, with everything that determines its search path.
#[derive(Debug)]
pub(super) struct Search<'a> {
    root: &'a Root,
    who: &'a Identity,
    execution: &'a Execution,
    /// The loader itself. What it loads must be for the same machine.
    pub(super) loader: Arc<Object>,
    /// True for musl's loader.
    pub(super) musl: bool,
    /// `LD_LIBRARY_PATH`.
    library_path: Vec<String>,
    cache: Option<(String, Cache)>,
    dirs: Vec<String>,
    processor: Processor,
    /// The subdirectories for the processor that are searched before each directory, in order.
    before: Vec<String>,
    /// True if the program is set-user-ID or set-group-ID.
    secure: bool,
    platform: &'static str,
}

impl<'a> Search<'a> {
    /// `secure` is true for a set-user-ID or set-group-ID program: variables are ignored then. `origin` is the
    /// program's directory.
    pub(super) fn new(
        container: Container<'a>,
        loader: &Loaded,
        origin: &str,
        (platform, processor): (&Platform, &Processor),
        secure: bool,
    ) -> Self {
        let Container { root, who, execution } = container;
        let variable = execution.variable("LD_LIBRARY_PATH").filter(|_| !secure).unwrap_or_default();
        let (path, loader) = (loader.path.as_str(), &loader.object);
        let musl = !matches!(loader.loader, Some(Loader::Glibc { .. }));
        let separators: &[char] = if musl { &[':', '\n'] } else { &[':', ';'] };
        let mut search = Self {
            root,
            who,
            execution,
            loader: Arc::clone(loader),
            musl,
            library_path: Vec::new(),
            cache: None,
            dirs: Vec::new(),
            processor: processor.clone(),
            before: Vec::new(),
            secure,
            platform: processor::platform_name(platform, &loader.elf),
        };
        match &loader.loader {
            Some(Loader::Glibc { dirs, cache, hwcaps, legacy }) => {
                if *hwcaps {
                    let dir = |name: &&str| format!("glibc-hwcaps/{name}");
                    search.before.extend(processor.hwcaps.iter().map(dir));
                }
                if *legacy {
                    search.before.extend(processor.legacy_dirs());
                }
                let known = dirs.iter().map(|dir| format!("/{dir}"));
                search.dirs = known.collect();
                if search.dirs.is_empty() {
                    search.dirs = COMMON.map(ToOwned::to_owned).to_vec();
                }
                let cache = cache.as_deref().unwrap_or("etc/ld.so.cache");
                let bytes = root.file(cache).and_then(File::bytes);
                let cache =
                    bytes.and_then(|bytes| Some((cache, Cache::parse(bytes, loader.elf.endianness)?)));
                search.cache = cache.map(|(path, cache)| (format!("/{path}"), cache));
            }
            _ => search.dirs = musl_dirs(root, path),
        }
        if !variable.is_empty() {
            let parts = variable.split(separators);
            search.library_path = if musl {
                // musl skips empty parts, and takes the others literally.
                parts.filter(|part| !part.is_empty()).map(|part| execution.absolute(part)).collect()
            } else {
                // An empty part is the working directory.
                parts.filter_map(|part| search.expand(part, origin)).collect()
            };
        }
        search
    }

    /// The directories that it searches for every file, with `LD_LIBRARY_PATH`.
    pub(super) fn common_dirs(&self) -> impl Iterator<Item = &str> {
        self.library_path.iter().chain(&self.dirs).map(String::as_str)
    }

    /// The paths of a name in its cache.
    pub(super) fn cached(&self, name: &str) -> impl Iterator<Item = &str> {
        self.cache.iter().flat_map(|(_, cache)| cache.find(name)).map(|entry| entry.path.as_str())
    }

    /// Searches for a library that a file needs. `loaded` are all files so far, `by` is the one that needs it.
    pub(super) fn find(&self, name: &str, loaded: &[Loaded], by: Option<usize>) -> Found {
        let mut attempt = Attempt { search: self, searched: Vec::new(), skipped: Vec::new() };
        let found = if name.contains('/') {
            let origin = by.map_or("/", |by| loaded[by].origin.as_str());
            let expanded = if self.musl { None } else { self.expand(name, origin) };
            let path = expanded.unwrap_or_else(|| self.execution.absolute(name));
            let found = attempt.file(&path);
            if found.is_none() {
                attempt.searched.push(path);
            }
            found
        } else if self.musl {
            attempt.musl(name, loaded, by)
        } else {
            attempt.glibc(name, loaded, by)
        };
        found.unwrap_or(Found::Nowhere { searched: attempt.searched, skipped: attempt.skipped })
    }

    /// The directories of a file's `RPATH` or `RUNPATH`.
    fn run_path(&self, path: &str, file: &Loaded) -> Vec<String> {
        if self.musl {
            // One part that musl does not understand invalidates all of them.
            let parts = path.split([':', '\n']).filter(|part| !part.is_empty());
            return parts
                .map(|part| self.expand(part, &file.origin))
                .collect::<Option<_>>()
                .unwrap_or_default();
        }
        // In a secure program, `$ORIGIN` counts only if the result is one of the loader's own directories.
        let program = file.parent.is_none() && file.object.elf.is_program();
        let trusted = |part: &&str| {
            !(self.secure && program && part.contains("ORIGIN"))
                || self.expand(part, &file.origin).is_some_and(|dir| self.is_own(&dir))
        };
        path.split(':').filter(trusted).filter_map(|part| self.expand(part, &file.origin)).collect()
    }

    /// True if a directory is one of the loader's own, or below one.
    fn is_own(&self, dir: &str) -> bool {
        let mut parts: Vec<&str> = Vec::new();
        for part in dir.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." {
                parts.pop();
            } else {
                parts.push(part);
            }
        }
        let dir = format!("/{}/", parts.join("/"));
        self.dirs.iter().any(|own| dir.starts_with(&format!("{}/", own.trim_end_matches('/'))))
    }

    /// Expands `$ORIGIN`, `$LIB` and `$PLATFORM` in a path and makes it absolute; `None` if musl does not understand
    /// it.
    fn expand(&self, path: &str, origin: &str) -> Option<String> {
        let mut text = String::new();
        let mut rest = path;
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (name, after) = braced.unwrap_or_else(|| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                rest.split_at(end.unwrap_or(rest.len()))
            });
            match name {
                "ORIGIN" => text.push_str(origin),
                // musl compares only the beginning of the name.
                name if self.musl && name.starts_with("ORIGIN") && braced.is_none() => {
                    text.push_str(origin);
                    text.push_str(&name["ORIGIN".len()..]);
                }
                "LIB" if !self.musl => text.push_str(&self.lib()),
                "PLATFORM" if !self.musl => text.push_str(self.platform),
                _ if self.musl => return None,
                // Anything else stays unchanged.
                _ => {
                    text.push('$');
                    continue;
                }
            }
            rest = after;
        }
        text.push_str(rest);
        let absolute = self.execution.absolute(&text);
        let trimmed = absolute.trim_end_matches('/');
        Some(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
    }

    /// `$LIB`: the last part of the directory that glibc was configured to be installed in.
    fn lib(&self) -> String {
        let first = self.dirs.first().map_or("lib", |dir| dir.trim_start_matches('/'));
        first.strip_prefix("usr/").unwrap_or(first).to_owned()
    }
}

/// musl's directories: from `/etc/ld-musl-ARCH.path`, in the `etc` that is a sibling of the loader's directory.
fn musl_dirs(root: &Root, loader: &str) -> Vec<String> {
    let (dir, name) = loader.rsplit_once('/').unwrap_or(("", loader));
    let prefix = dir.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let stem = name.split(".so").next().unwrap_or(name);
    let file = root.file(&format!("{prefix}/etc/{stem}.path"));
    match file.and_then(File::bytes) {
        Some(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            text.split([':', '\n']).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
        }
        None => MUSL.map(ToOwned::to_owned).to_vec(),
    }
}

/// One search.
struct Attempt<'s, 'a> {
    search: &'s Search<'a>,
    searched: Vec<String>,
    skipped: Vec<Skipped>,
}

impl Attempt<'_, '_> {
    fn glibc(&mut self, name: &str, loaded: &[Loaded], by: Option<usize>) -> Option<Found> {
        let asking = by.map(|by| &loaded[by]);
        let has_runpath = asking.is_some_and(|file| file.object.elf.runpath.is_some());
        if !has_runpath {
            // The RPATHs of the file that needs it, of the file that needed that one, and so on; finally the program's.
            let (mut next, mut program_done) = (by, false);
            while let Some(index) = next {
                program_done |= index == 0;
                if let Some(found) = self.rpath(name, &loaded[index]) {
                    return Some(found);
                }
                next = loaded[index].parent;
            }
            if !program_done
                && let Some(program) = loaded.first()
                && let Some(found) = self.rpath(name, program)
            {
                return Some(found);
            }
        }
        let search = self.search;
        if let Some(found) = self.dirs(name, &search.library_path) {
            return Some(found);
        }
        if let Some(file) = asking
            && let Some(runpath) = &file.object.elf.runpath
        {
            let dirs = search.run_path(runpath, file);
            if let Some(found) = self.dirs(name, &dirs) {
                return Some(found);
            }
        }
        let no_defaults = asking.is_some_and(|file| file.object.elf.no_default_dirs);
        if let Some((path, cache)) = &search.cache {
            self.searched.push(path.clone());
            let legacy = matches!(search.loader.loader, Some(Loader::Glibc { legacy: true, .. }));
            let entry = cache.find(name).iter().filter(|entry| {
                let here = match &entry.hardware {
                    Hardware::Any => true,
                    Hardware::Directory(dir) => search.processor.hwcaps.contains(&dir.as_str()),
                    Hardware::Features(bits) => legacy && bits & !search.processor.bits == 0,
                };
                here && cache_mark(&search.loader.elf).is_none_or(|mark| mark == entry.flags)
            });
            let best = entry.min_by_key(|entry| match &entry.hardware {
                Hardware::Directory(dir) => search.processor.hwcaps.iter().position(|known| *known == dir),
                Hardware::Features(_) => Some(usize::MAX - 1),
                Hardware::Any => Some(usize::MAX),
            });
            if let Some(entry) = best
                && !(no_defaults && search.is_own(&entry.path))
                && let Some(found) = self.file(&entry.path)
            {
                return Some(found);
            }
        }
        if no_defaults { None } else { self.dirs(name, &search.dirs) }
    }

    fn rpath(&mut self, name: &str, file: &Loaded) -> Option<Found> {
        let elf = &file.object.elf;
        let rpath = elf.rpath.as_ref().filter(|_| elf.runpath.is_none())?;
        let dirs = self.search.run_path(rpath, file);
        self.dirs(name, &dirs)
    }

    fn musl(&mut self, name: &str, loaded: &[Loaded], by: Option<usize>) -> Option<Found> {
        let search = self.search;
        if let Some(found) = self.dirs(name, &search.library_path) {
            return Some(found);
        }
        // musl treats RPATH and RUNPATH alike, and applies both to indirectly needed libraries too.
        let mut next = by;
        while let Some(index) = next {
            let file = &loaded[index];
            let elf = &file.object.elf;
            if let Some(path) = elf.runpath.as_ref().or(elf.rpath.as_ref()) {
                let dirs = search.run_path(path, file);
                if let Some(found) = self.dirs(name, &dirs) {
                    return Some(found);
                }
            }
            next = file.parent;
        }
        self.dirs(name, &search.dirs)
    }

    fn dirs(&mut self, name: &str, dirs: &[String]) -> Option<Found> {
        for dir in dirs {
            let base = if dir == "/" { "" } else { dir };
            for before in &self.search.before {
                if let Some(found) = self.file(&format!("{base}/{before}/{name}")) {
                    return Some(found);
                }
            }
            if let Some(found) = self.file(&format!("{base}/{name}")) {
                return Some(found);
            }
            if !self.searched.contains(dir) {
                self.searched.push(dir.clone());
            }
        }
        None
    }

    /// The file at a path, if the loader takes it or fails at it; `None` if the loader continues.
    fn file(&mut self, path: &str) -> Option<Found> {
        let (real, node) = match self.search.root.resolve_path(path, self.search.who) {
            Lookup::Found { path, node } => (path, node),
            Lookup::Missing { .. } | Lookup::NotADirectory { .. } => {
                // A dangling link is worth reporting, a missing file is not.
                if let Some(EntryKind::Symlink(to)) = self.search.root.entry(path).map(|node| &node.kind) {
                    self.skip(path, &format!("a link to {to}, which is not there"));
                }
                return None;
            }
            Lookup::Circle => {
                self.skip(path, "its symbolic links form a loop");
                return None;
            }
            Lookup::Denied { path: dir } => {
                self.deny(path, &format!("the user may not enter /{dir}"));
                return None;
            }
        };
        if !self.search.who.may(Permission::Read, node) {
            self.deny(path, "the user may not read it");
            return None;
        }
        match self.search.judge(node) {
            Judgement::Take(object) => Some(Found::File { path: path.to_owned(), real, object }),
            Judgement::Skip(reason) => {
                self.skip(path, &reason);
                None
            }
            Judgement::GiveUp(reason) => Some(Found::Unusable { path: path.to_owned(), reason }),
        }
    }

    fn skip(&mut self, path: &str, reason: &str) {
        self.pass_over(Skipped { path: path.to_owned(), reason: reason.to_owned(), denied: false });
    }

    fn deny(&mut self, path: &str, reason: &str) {
        self.pass_over(Skipped { path: path.to_owned(), reason: reason.to_owned(), denied: true });
    }

    fn pass_over(&mut self, skipped: Skipped) {
        if !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
    }
}

/// What a loader does with a file that it has opened.
enum Judgement {
    Take(Arc<Object>),
    Skip(String),
    GiveUp(String),
}

impl Search<'_> {
    /// glibc skips files for another machine and fails at files that are not libraries; musl takes the first file.
    fn judge(&self, node: &Node) -> Judgement {
        use Judgement::{GiveUp, Skip, Take};
        let object = match &node.kind {
            EntryKind::File(file) => match &file.content {
                Content::Elf(object) => object,
                Content::BrokenElf(reason) => return GiveUp(reason.clone()),
                _ => return GiveUp("it is not an ELF file".into()),
            },
            EntryKind::Directory => return GiveUp("it is a directory".into()),
            _ => return GiveUp("it is not a regular file".into()),
        };
        let (elf, own) = (&object.elf, &self.loader.elf);
        let other = |reason: String| if self.musl { GiveUp(reason) } else { Skip(reason) };
        if elf.class != own.class {
            return other(format!("it has {} bits", elf.class));
        }
        if elf.endianness != own.endianness {
            return GiveUp("it has another byte order".into());
        }
        if !matches!(elf.os_abi, 0 | 3) {
            return GiveUp(format!("its OS ABI is {}", elf.os_abi));
        }
        if elf.machine != own.machine {
            return other(format!("it is for {}", crate::target::identity::machine_name(elf.machine)));
        }
        let bits = Target::of_machine(elf.machine, elf.class).and_then(|target| target.loader.abi.as_ref());
        if let Some(bits) = bits.filter(|bits| !bits.none_fits || elf.flags & bits.mask != 0)
            && elf.flags & bits.mask != own.flags & bits.mask
        {
            return other("it is for another ABI".into());
        }
        match elf.kind {
            Kind::Shared if elf.pie_flag && !self.musl => GiveUp("it is a program, not a library".into()),
            Kind::Shared => Take(Arc::clone(object)),
            Kind::Executable => GiveUp("it is a program, not a library".into()),
            Kind::Relocatable | Kind::Other(_) => GiveUp(format!("it is {}", elf.kind)),
        }
    }
}

/// The flags of the cache entries that the loader can use; `None` for machines whose flags are unknown. For these the
/// files themselves are examined.
fn cache_mark(elf: &Elf) -> Option<u32> {
    let marks = &Target::of_machine(elf.machine, elf.class)?.loader.cache;
    marks.iter().find(|mark| elf.flags & mark.mask == mark.value).map(|mark| mark.mark)
}
