//! ELF programs and libraries: loader, libraries, versions and symbols.

use std::sync::Arc;

use super::closure::{self, Closure};
use super::finding::{Problem, Severity};
use super::processor;
use super::search::{Container, Loaded, Search};
use super::{Role, Run, Unseen};
use crate::elf::{Loader, Object};
use crate::rootfs::{Content, File, Kind, Lookup, Node};
use crate::sys::cancel::Cancelled;
use crate::target::catalog::Libc;

/// Functions that load libraries when they are called.
const OPENERS: [&str; 2] = ["dlopen", "dlmopen"];
/// Functions that use the name service switch.
const NAME_SERVICE: [&str; 6] =
    ["getaddrinfo", "gethostbyname", "getpwnam_r", "getpwuid_r", "getpwnam", "getgrnam"];

impl Run<'_> {
    /// Checks a program. `path` is the path that it was called by, `real` is the same without links.
    pub(super) fn program(
        &mut self,
        path: &str,
        real: &str,
        node: &Node,
        object: &Arc<Object>,
        role: Role,
    ) -> Result<(), Cancelled> {
        let elf = &object.elf;
        let foreign = self.check_alone(path, object, role);
        // If it is for another machine, so is what it would load.
        if foreign || !elf.is_program() {
            return Ok(());
        }
        let Some(interpreter) = &elf.interpreter else {
            if !elf.needed.is_empty() && elf.kind == crate::elf::Kind::Executable {
                let reason = format!("it needs {} and names no loader", elf.needed.join(", "));
                self.report(path, Problem::BrokenElf { path: path.to_owned(), reason }, None);
            }
            return Ok(());
        };
        let Some((loader, loader_real)) = self.loader(path, interpreter, object) else { return Ok(()) };
        self.unseen_by(path, object);
        let interpreter = self.execution.absolute(interpreter);
        // The kernel reports this to the loader by the mode alone. If the user is the owner already, nothing changes.
        let secure = node.mode & 0o4000 != 0 && node.uid != self.who.uid
            || node.mode & 0o2010 == 0o2010 && !self.who.gids.contains(&node.gid);
        let dir = real.rsplit_once('/').map_or("/".to_owned(), |(dir, _)| format!("/{dir}"));
        let program = Loaded {
            path: path.to_owned(),
            real: real.to_owned(),
            object: Arc::clone(object),
            parent: None,
            origin: dir,
        };
        let loader = Loaded {
            path: interpreter.clone(),
            real: loader_real,
            object: loader,
            parent: None,
            origin: interpreter.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned()),
        };
        let baseline = processor::hardware(self.platform);
        let problems = self.load(&program, &loader, &baseline, secure)?;
        let newest = processor::newest_hardware(self.platform);
        let known: Vec<Problem> = problems.clone();
        for problem in problems {
            self.report(path, problem, None);
        }
        // On a newer processor the loader takes other files, if the image has directories for it.
        if newest != baseline && self.has_dirs_of(&newest.names_beyond(&baseline)) {
            for problem in self.load(&program, &loader, &newest, secure)? {
                if !known.contains(&problem) {
                    self.report(path, problem, None);
                }
            }
        }
        Ok(())
    }

    /// Checks a program by itself, without its libraries. True if it is for another machine.
    fn check_alone(&mut self, path: &str, object: &Object, role: Role) -> bool {
        let elf = &object.elf;
        let mut foreign = false;
        for problem in processor::problems(self.platform, path, elf) {
            let compatible = role == Role::Starts && processor::is_compatible(self.platform, elf);
            foreign |= matches!(problem, Problem::WrongArchitecture { .. }) && !compatible;
            self.report(path, problem, compatible.then_some(Severity::Warning));
        }
        for problem in processor::instructions(self.platform, path, object) {
            self.report(path, problem, None);
        }
        if processor::chooses(self.platform, object) {
            self.unseen.insert(Unseen::Neon { file: path.to_owned() });
        }
        if !elf.is_program() {
            let reason = format!("it is {}, not a program", elf.kind);
            self.report(path, Problem::BrokenElf { path: path.to_owned(), reason }, None);
        }
        foreign
    }

    /// Loads a program and returns the problems.
    fn load(
        &mut self,
        program: &Loaded,
        loader: &Loaded,
        hardware: &processor::Processor,
        secure: bool,
    ) -> Result<Vec<Problem>, Cancelled> {
        let (root, who) = (self.root, &self.who.clone());
        let container = Container { root, who, execution: self.execution };
        let search = Search::new(container, loader, &program.origin, (self.platform, hardware), secure);
        let preloaded = self.preloaded(search.musl, secure);
        let mut closure = closure::load(&search, program.clone(), loader.clone(), &preloaded, self.cancel)?;
        closure.bind(self.cancel)?;
        self.look_elsewhere(&mut closure.problems, &program.object);
        let dirs: Vec<String> = search.common_dirs().filter_map(|dir| root.real_path(dir)).collect();
        self.note(&closure, &search);
        self.dirs.extend(dirs);
        let abi = processor::float_abi(&program.object.elf);
        for file in &closure.files[1..] {
            let other = processor::float_abi(&file.object.elf);
            if let (Some(found), Some(wanted)) = (other, abi)
                && found != wanted
            {
                let (path, found) = (file.path.clone(), found.to_owned());
                closure.problems.push(Problem::FloatAbi { path, found, wanted: wanted.to_owned() });
            }
            if *hardware != processor::hardware(self.platform) {
                continue;
            }
            closure.problems.extend(processor::instructions(self.platform, &file.path, &file.object));
            // Arm's attributes of a library cover all its code, including code that runs only after a check of the
            // processor.
            if file.object.elf.arm.is_none() {
                closure.problems.extend(processor::problems(self.platform, &file.path, &file.object.elf));
            }
        }
        Ok(closure.problems)
    }

    /// Fills in the paths in the image of files that could serve as a missing library.
    fn look_elsewhere(&self, problems: &mut [Problem], program: &Object) {
        let would_do = |object: &Object| {
            let (elf, own) = (&object.elf, &program.elf);
            (elf.machine, elf.class, elf.endianness) == (own.machine, own.class, own.endianness)
        };
        for problem in problems {
            let Problem::MissingLibrary { library, skipped, elsewhere, .. } = problem else { continue };
            let end = format!("/{library}");
            let found = self.root.nodes().filter(|(path, _)| path.ends_with(&end)).filter_map(|(path, _)| {
                let (real, node) = self.root.resolve_path(&path, &self.who).found()?;
                // A library for another processor exists, but cannot be used.
                let usable = would_do(node.file()?.elf()?) && !real.contains("/glibc-hwcaps/");
                usable.then(|| format!("/{path}"))
            });
            elsewhere.extend(found.filter(|path| !skipped.iter().any(|skipped| skipped.path == *path)));
        }
    }

    fn note(&mut self, closure: &Closure, search: &Search<'_>) {
        for file in &closure.files {
            self.loaded.insert(file.real.clone());
            for path in file.object.elf.soname.iter().flat_map(|name| search.cached(name)) {
                self.loaded.extend(self.root.real_path(path));
            }
        }
    }

    /// The libraries that are preloaded, by a variable and by a file of glibc's.
    fn preloaded(&self, musl: bool, secure: bool) -> Vec<String> {
        let variable = self.execution.variable("LD_PRELOAD").filter(|_| !secure).unwrap_or_default();
        let file = self.root.file("etc/ld.so.preload").and_then(File::bytes).filter(|_| !musl);
        // The file may have comments.
        let text = String::from_utf8_lossy(file.unwrap_or_default()).into_owned();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let file = lines.collect::<Vec<_>>().join(" ");
        let words = |text: &str| -> Vec<String> {
            let parts = text.split(|c: char| c == ':' || c.is_whitespace());
            parts.filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
        };
        words(variable).into_iter().chain(words(&file)).collect()
    }

    /// True if the image has library directories for certain processors.
    fn has_dirs_of(&self, names: &[&str]) -> bool {
        let name = |path: &str| path.rsplit('/').next().is_some_and(|name| names.contains(&name));
        self.root.nodes().any(|(path, node)| node.is_dir() && name(&path))
    }

    /// The loader that a program names, with its path without links, if it is a loader.
    fn loader(
        &mut self,
        path: &str,
        interpreter: &str,
        program: &Arc<Object>,
    ) -> Option<(Arc<Object>, String)> {
        let at = self.execution.absolute(interpreter);
        let (real, node) = match self.root.resolve_path(&at, &self.who) {
            Lookup::Found { path, node } => (path, node),
            lookup @ (Lookup::Missing { .. } | Lookup::NotADirectory { .. }) => {
                let problem = self.missing_loader(interpreter, &at, &lookup);
                self.report(path, problem, None);
                return None;
            }
            lookup @ (Lookup::Denied { .. } | Lookup::Circle) => {
                let reason = self.barrier(&lookup);
                let loader = interpreter.to_owned();
                self.report(path, Problem::LoaderNotExecutable { loader, reason }, None);
                return None;
            }
        };
        let object = match (self.may_execute(node), node.file().map(|file| &file.content)) {
            (None, Some(Content::Elf(object))) => object,
            (reason, content) => {
                let broken = match content {
                    Some(Content::BrokenElf(reason)) => reason.clone(),
                    _ => "it is not an ELF file".to_owned(),
                };
                let (loader, reason) =
                    (interpreter.to_owned(), reason.map_or(broken, |reason| reason.to_string()));
                self.report(path, Problem::LoaderNotExecutable { loader, reason }, None);
                return None;
            }
        };
        let (elf, own) = (&program.elf, &object.elf);
        let identity = |elf: &crate::elf::Elf| (elf.machine, elf.class, elf.endianness);
        if identity(elf) != identity(own) {
            let (found, wanted) = (processor::describe_elf(own), processor::describe_elf(elf));
            self.report(path, Problem::WrongArchitecture { path: at, found, wanted }, None);
            return None;
        }
        if object.loader.is_none() {
            self.report(path, Problem::UnknownLoader { loader: interpreter.to_owned() }, None);
            return None;
        }
        Some((Arc::clone(object), real))
    }

    fn missing_loader(&self, interpreter: &str, at: &str, lookup: &Lookup<'_>) -> Problem {
        let loader = interpreter.to_owned();
        let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
        let libc = if name.starts_with("ld-musl-") {
            Some(Libc::Musl)
        } else if name.starts_with("ld-linux") || name.starts_with("ld64.so") || name.starts_with("ld.so") {
            Some(Libc::Gnu)
        } else {
            None
        };
        match (libc, self.libc) {
            (Some(program), Some(image)) if program != image => Problem::OtherLibc { loader, program, image },
            _ => {
                let is_link = self.root.entry(at).is_some_and(|node| matches!(node.kind, Kind::Symlink(_)));
                let leads_to = match lookup {
                    Lookup::Missing { path } if is_link => Some(format!("/{path}")),
                    _ => None,
                };
                Problem::MissingLoader { loader, leads_to, libc }
            }
        }
    }

    fn unseen_by(&mut self, path: &str, object: &Object) {
        let calls =
            |names: &[&str]| object.symbols.undefined.iter().any(|symbol| names.contains(&symbol.0.as_str()));
        let file = path.to_owned();
        if calls(&OPENERS) {
            self.unseen.insert(Unseen::Dlopen { file: file.clone() });
        }
        if calls(&NAME_SERVICE) {
            self.unseen.insert(Unseen::NameService { file });
        }
    }

    /// Checks a library that was added and that no checked program loads.
    pub(super) fn library(&mut self, real: &str, object: &Arc<Object>) -> Result<(), Cancelled> {
        let path = format!("/{real}");
        let mut foreign = false;
        for problem in processor::problems(self.platform, &path, &object.elf) {
            foreign |= matches!(problem, Problem::WrongArchitecture { .. });
            self.report(&path, problem, None);
        }
        for problem in processor::instructions(self.platform, &path, object) {
            self.report(&path, problem, None);
        }
        if processor::chooses(self.platform, object) {
            self.unseen.insert(Unseen::Neon { file: path.clone() });
        }
        self.checked.insert(path.clone());
        if foreign || self.loaded.contains(real) {
            return Ok(());
        }
        let Some(loader) = self.loader_of(object) else { return Ok(()) };
        let (root, who) = (self.root, &self.who.clone());
        let container = Container { root, who, execution: self.execution };
        let hardware = processor::hardware(self.platform);
        let origin = path.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned());
        let search = Search::new(container, &loader, &origin, (self.platform, &hardware), false);
        let file = Loaded {
            path: path.clone(),
            real: real.to_owned(),
            object: Arc::clone(object),
            parent: None,
            origin,
        };
        let mut closure = closure::load(&search, file, loader, &[], self.cancel)?;
        closure.bind_library();
        self.look_elsewhere(&mut closure.problems, object);
        let name = real.rsplit('/').next().unwrap_or(real);
        let cached = search.cached(name).any(|path| root.real_path(path).as_deref() == Some(real));
        let dirs: Vec<String> = search.common_dirs().filter_map(|dir| root.real_path(dir)).collect();
        self.dirs.extend(dirs);
        for problem in std::mem::take(&mut closure.problems) {
            self.report(&path, problem, None);
        }
        let dir = real.rsplit_once('/').map_or("", |(dir, _)| dir);
        let of_libraries = dir == "usr/local/lib"
            || dir == "usr/local/lib64"
            || dir
                .strip_prefix("usr/local/lib/")
                .is_some_and(|rest| rest.ends_with("-linux-gnu") || rest.contains("-linux-"));
        if of_libraries && !cached && !self.dirs.contains(dir) {
            self.report(&path, Problem::UnreachableLibrary { path: path.clone() }, None);
        }
        Ok(())
    }

    /// A loader in the image that would load a library: one for the C library that it needs.
    fn loader_of(&self, library: &Object) -> Option<Loaded> {
        let needs = |name: &str| library.elf.needed.iter().any(|needed| needed.starts_with(name));
        let wants_musl = needs("libc.musl-") || library.elf.needed.iter().any(|needed| needed == "libc.so");
        let fits = |object: &Object| {
            let (elf, own) = (&object.elf, &library.elf);
            let same = (elf.machine, elf.class, elf.endianness) == (own.machine, own.class, own.endianness);
            let glibc = matches!(object.loader, Some(Loader::Glibc { .. }));
            same && object.loader.is_some() && (!needs("libc.so.6") || glibc) && (!wants_musl || !glibc)
        };
        self.root.nodes().find_map(|(real, node)| {
            let object = node.file()?.elf().filter(|object| fits(object))?;
            let path = format!("/{real}");
            let origin = path.rsplit_once('/').map_or_else(String::new, |(dir, _)| dir.to_owned());
            Some(Loaded { path, real, object: Arc::clone(object), parent: None, origin })
        })
    }
}
