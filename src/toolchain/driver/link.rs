//! The program that rustc and build systems call as compiler driver to link for a target with a sysroot.
//!
//! A C compiler's driver knows the start files, library directories and loader of its target, and calls a linker with
//! them. This is such a driver without a compiler: everything that it adds comes from the sysroot, in the order of GCC's
//! driver, and nothing from this machine. What is said to the linker itself is passed on.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::run::{Error, append};
use super::translate::Remark;
use super::work::Note;
use super::{lld, response, scripts};
use crate::packages::Sysroot;
use crate::sys::env::Environment;
use crate::sys::process::Command;
use crate::sys::{fs, store, usage};
use crate::target::catalog::Target;

/// The hidden command with which the programs are called as this driver.
pub(crate) const COMMAND: &str = "__link";

/// Incremented when the driver changes in a way that changes programs.
const FORMAT: u32 = 1;

/// Everything that determines what the driver does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LinkSpec {
    /// [`FORMAT`].
    format: u32,
    /// The target's triple.
    triple: String,
    /// The linker.
    lld: PathBuf,
    /// The sysroot's directory.
    sysroot: PathBuf,
    /// What determines the sysroot's content, so that programs are linked again when it changes.
    identity: String,
    /// The name of the directories with the target's libraries.
    multiarch: String,
    /// The directory of GCC's own files, below the sysroot.
    gcc: String,
    /// The path of the dynamic loader.
    loader: Option<String>,
}

impl LinkSpec {
    /// The driver for a target, in front of a linker and with a sysroot.
    #[must_use]
    pub(crate) fn new(lld: &Path, target: &Target, sysroot: &Sysroot) -> Self {
        Self {
            format: FORMAT,
            triple: target.triple.clone(),
            lld: lld.to_owned(),
            sysroot: sysroot.path.clone(),
            identity: sysroot.identity.clone(),
            multiarch: sysroot.multiarch.clone(),
            gcc: sysroot.gcc.clone(),
            loader: target.elf.interpreter.clone(),
        }
    }

    /// A file of the sysroot.
    fn file(&self, dir: &str, name: &str) -> OsString {
        self.sysroot.join(dir).join(name).into()
    }

    /// A start file of the C library.
    fn of_libc(&self, name: &str) -> OsString {
        self.file(&format!("usr/lib/{}", self.multiarch), name)
    }

    /// The directories that are searched for libraries after those that the caller names.
    fn libraries(&self) -> [PathBuf; 5] {
        let multiarch = &self.multiarch;
        [
            self.gcc.clone(),
            format!("lib/{multiarch}"),
            format!("usr/lib/{multiarch}"),
            "lib".into(),
            "usr/lib".into(),
        ]
        .map(|dir| self.sysroot.join(dir))
    }
}

/// Writes the script that rustc calls and returns its path, which depends on what the driver does.
pub(crate) fn install(spec: &LinkSpec, program: &Path, cache: &Path) -> io::Result<PathBuf> {
    let document = serde_json::to_vec_pretty(spec)?;
    let hash = hex::encode(Sha256::digest(&document));
    let dir = cache.join("wrappers").join(&hash[..16]);
    usage::mark(&dir);
    store::dir(&dir)?;
    let file = dir.join("spec.json");
    scripts::write_if_different(&file, &document, 0o644)?;
    // rustc guesses from a linker's name how to speak to it (`link` and `ld` are bare linkers). From this name it guesses
    // nothing, and speaks as to the target's usual linker, a compiler driver.
    let path = dir.join("sysroot-linker");
    let script = scripts::script(program, &[OsStr::new(COMMAND), file.as_os_str()]);
    scripts::write_if_different(&path, script.as_bytes(), 0o755)?;
    Ok(path)
}

/// Replaces this process with the linker. Returns only if that fails.
pub(crate) fn run(arguments: Vec<OsString>, environment: &Environment) -> Result<u8, Error> {
    let mut arguments = arguments.into_iter();
    let path = arguments.next().map(PathBuf::from).ok_or(Error::Usage)?;
    let spec: LinkSpec = serde_json::from_slice(&fs::read(&path)?)?;
    let read = |path: &OsStr| fs::read(Path::new(path));
    let said = Said::of(response::expand(arguments, &read)?)?;
    append(&Note::remarks("rust-lld", &spec.triple, &said.remarks), environment)?;
    lld::replaced_by(&Command::new(&spec.lld), said.arguments(&spec))
}

/// The unwinder and the compiler's helpers. Programs have them inside, so that the base need not have `libgcc_s`; nothing of
/// them is visible to libraries, which have their own.
const UNWINDER: [&str; 3] = ["-lgcc_eh", "-lgcc", "--exclude-libs=libgcc_eh.a:libgcc.a"];
/// Options that have their value in the next argument.
const VALUES: &[&str] = &["-o", "-L", "-u", "-T", "-e", "-z", "-m", "-soname", "-rpath", "-Xlinker"];
/// The same for those that only a compiler reads.
const COMPILERS_VALUES: &[&str] = &[
    "-target",
    "-x",
    "-I",
    "-D",
    "-U",
    "-isystem",
    "-idirafter",
    "-include",
    "-MF",
    "-MT",
    "-MQ",
    "--param",
];
/// What rustc always says to a compiler driver: for which variant of the processor to link, and by which linker.
const EXPECTED: &[&str] = &["-m64", "-m32", "-fuse-ld=lld"];
/// Endings of files that have to be compiled.
const SOURCES: &[&str] = &["c", "cc", "cpp", "cxx", "C", "S", "s", "i", "ii", "m"];
/// Options with which a driver compiles and does not link.
const COMPILE: &[&str] = &["-c", "-S", "-E", "-fsyntax-only", "-M", "-MM"];

/// What is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A program at any address, as compilers of distributions link it unless they are told otherwise.
    Pie,
    /// A program at a fixed address.
    Fixed,
    Shared,
    Static,
    StaticPie,
    /// An object file.
    Relocatable,
}

impl Kind {
    /// The kind after one more option. A static program stays one; `-pie` and `-no-pie` after
    /// that say at which address.
    fn told(self, word: &str) -> Self {
        match (self, word) {
            (Self::Shared | Self::Relocatable, _) => self,
            (_, "-static-pie") | (Self::Static, "-pie") => Self::StaticPie,
            (Self::StaticPie, "-no-pie" | "-nopie") | (Self::Pie | Self::Fixed, "-static") => Self::Static,
            (Self::Static | Self::StaticPie, _) => self,
            (_, "-no-pie" | "-nopie") => Self::Fixed,
            _ => Self::Pie,
        }
    }
}

/// What a driver was told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    kind: Kind,
    start_files: bool,
    /// False if every library is named.
    libraries: bool,
    /// False if the C library is not to be linked.
    libc: bool,
    threads: bool,
    /// True if exceptions may pass through C++ libraries, which have the shared unwinder.
    shared_unwinder: bool,
    /// For the linker, in order.
    rest: Vec<OsString>,
    remarks: Vec<Remark>,
}

impl Said {
    fn of(arguments: Vec<OsString>) -> Result<Self, Error> {
        let mut said = Self {
            kind: Kind::Pie,
            start_files: true,
            libraries: true,
            libc: true,
            threads: false,
            shared_unwinder: false,
            rest: Vec::new(),
            remarks: Vec::new(),
        };
        let mut own = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(word) = argument.to_str() else {
                own.push(argument);
                continue;
            };
            if COMPILERS_VALUES.contains(&word) {
                arguments.next();
            } else if word == "-l" {
                let mut library = argument;
                library.push(arguments.next().unwrap_or_default());
                said.shared_unwinder |= library == "-lstdc++";
                own.push(library);
            } else if VALUES.contains(&word) {
                own.push(argument);
                own.extend(arguments.next());
            } else if !said.is_told(word)? {
                own.push(argument);
            }
        }
        (said.rest, said.remarks) = lld::translate(own);
        Ok(said)
    }

    /// Takes an argument that is for a driver alone. False for all others.
    fn is_told(&mut self, word: &str) -> Result<bool, Error> {
        match word {
            // Nothing makes a program of what is to be a library or an object file, as with clang.
            "-r" => self.kind = Kind::Relocatable,
            "-shared" if self.kind != Kind::Relocatable => self.kind = Kind::Shared,
            "-static" | "-static-pie" | "-pie" | "-no-pie" | "-nopie" => self.kind = self.kind.told(word),
            "-nostartfiles" => self.start_files = false,
            "-nodefaultlibs" => self.libraries = false,
            "-nostdlib" => (self.start_files, self.libraries) = (false, false),
            "-nolibc" => self.libc = false,
            "-pthread" => self.threads = true,
            "-shared-libgcc" | "-lstdc++" => {
                self.shared_unwinder = true;
                return Ok(word != "-lstdc++");
            }
            // The unwinder is linked statically unless something asks for the shared one.
            "-shared" | "-static-libgcc" => {}
            _ if COMPILE.contains(&word) => return Err(Error::NoCompiler(word.to_owned())),
            _ if is_source(word) => return Err(Error::NoCompiler(word.to_owned())),
            // The directory in which rustc has its linker under the name that compilers look for.
            _ if EXPECTED.contains(&word) || word.starts_with("-B") && word.ends_with("/gcc-ld") => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The linker's arguments.
    fn arguments(&self, spec: &LinkSpec) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        // rustup's linker is several linkers in one.
        if spec.lld.file_name().is_some_and(|name| name == "rust-lld") {
            all.extend(["-flavor", "gnu"].map(Into::into));
        }
        let mut sysroot = OsString::from("--sysroot=");
        sysroot.push(&spec.sysroot);
        all.push(sysroot);
        let kind: &[&str] = match self.kind {
            Kind::Pie => &["-pie"],
            Kind::Fixed => &["-no-pie"],
            Kind::Shared => &["-shared"],
            Kind::Static => &["-static"],
            Kind::StaticPie => &["-static", "-pie", "--no-dynamic-linker", "-z", "text"],
            Kind::Relocatable => &["-r"],
        };
        all.extend(kind.iter().map(Into::into));
        if self.kind == Kind::Relocatable {
            all.extend(self.rest.iter().cloned());
            return all;
        }
        // Options of the caller come later and take precedence.
        all.extend(["--eh-frame-hdr", "--hash-style=gnu", "-z", "relro", "-z", "now"].map(Into::into));
        if let (Kind::Pie | Kind::Fixed, Some(loader)) = (self.kind, &spec.loader) {
            all.extend(["-dynamic-linker".into(), loader.into()]);
        }
        let (start, end) = self.start_files(spec);
        all.extend(start);
        for argument in &self.rest {
            if argument == "-lgcc_s" && !self.shared_unwinder {
                all.extend(UNWINDER.map(Into::into));
            } else {
                all.push(argument.clone());
            }
        }
        all.extend(spec.libraries().map(|dir| {
            let mut argument = OsString::from("-L");
            argument.push(dir);
            argument
        }));
        all.extend(self.default_libraries().into_iter().map(Into::into));
        all.extend(end);
        all
    }

    /// What comes before everything else, and what comes after it.
    fn start_files(&self, spec: &LinkSpec) -> (Vec<OsString>, Vec<OsString>) {
        if !self.start_files {
            return (Vec::new(), Vec::new());
        }
        let first = match self.kind {
            Kind::Pie => Some("Scrt1.o"),
            Kind::Fixed | Kind::Static => Some("crt1.o"),
            Kind::StaticPie => Some("rcrt1.o"),
            Kind::Shared | Kind::Relocatable => None,
        };
        let (begin, end) = match self.kind {
            Kind::Fixed => ("crtbegin.o", "crtend.o"),
            Kind::Static => ("crtbeginT.o", "crtend.o"),
            Kind::Pie | Kind::Shared | Kind::StaticPie | Kind::Relocatable => ("crtbeginS.o", "crtendS.o"),
        };
        let first = first.into_iter().chain(["crti.o"]).map(|name| spec.of_libc(name));
        let start = first.chain([spec.file(&spec.gcc, begin)]).collect();
        (start, vec![spec.file(&spec.gcc, end), spec.of_libc("crtn.o")])
    }

    /// What a driver links by itself.
    fn default_libraries(&self) -> Vec<&'static str> {
        let mut libraries = Vec::new();
        if !self.libraries {
            return libraries;
        }
        if self.threads {
            libraries.push("-lpthread");
        }
        let libc = self.libc.then_some("-lc");
        match self.kind {
            Kind::Static | Kind::StaticPie => {
                libraries.extend(["--start-group", "-lgcc", "-lgcc_eh"]);
                libraries.extend(libc);
                libraries.push("--end-group");
            }
            _ if self.shared_unwinder => {
                libraries.extend(["-lgcc", "--push-state", "--as-needed", "-lgcc_s", "--pop-state"]);
                libraries.extend(libc);
                libraries.push("-lgcc");
            }
            _ => {
                libraries.extend(UNWINDER);
                libraries.extend(libc);
                libraries.push("-lgcc");
            }
        }
        libraries
    }
}

fn is_source(word: &str) -> bool {
    let ending = Path::new(word).extension().and_then(OsStr::to_str);
    !word.starts_with('-') && ending.is_some_and(|ending| SOURCES.contains(&ending))
}

#[cfg(test)]
mod tests;
