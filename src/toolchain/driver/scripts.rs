//! What every compiler wrapper has: a directory of scripts that call xbuild back, and the files that build systems read.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{PROGRAM_VARIABLE, run};
use crate::sys::{fs, store, usage};
use crate::target::catalog::Target;

/// What build scripts get of a wrapper, whichever compiler is behind it: absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tools {
    /// C compiler.
    pub cc: PathBuf,
    /// C++ compiler.
    pub cxx: PathBuf,
    /// Archiver.
    pub ar: PathBuf,
    /// The program that makes the index of an archive.
    pub ranlib: PathBuf,
    /// `CMake`'s toolchain file.
    pub cmake: PathBuf,
    /// An empty directory, which is searched instead of the host's libraries if there is no [`root`](Self::root).
    pub empty: PathBuf,
    /// A wrapper for the host's pkg-config that decides whether it is called for the host or the target; only if the
    /// host has the target's triple.
    pub pkg_config: Option<PathBuf>,
    /// The target's own libraries, if there are any.
    pub root: Option<Root>,
}

impl Tools {
    /// pkg-config's variables with which it finds the target's libraries, see [`pkg_config`].
    #[must_use]
    pub(crate) fn pkg_config_variables(&self) -> Vec<(&'static str, Option<OsString>)> {
        pkg_config(&self.empty, self.root.as_ref())
    }
}

/// The directory with a target's headers and libraries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// The directory, absolute.
    pub path: PathBuf,
    /// The name of the directories with the target's libraries: `aarch64-linux-gnu`.
    pub multiarch: String,
}

/// pkg-config's variables, and those to remove, with which it finds what is in `root` and nothing of the host. Without a
/// root it finds nothing in `empty`, and crates fall back to their bundled sources.
pub(crate) fn pkg_config(empty: &Path, root: Option<&Root>) -> Vec<(&'static str, Option<OsString>)> {
    let (dirs, sysroot) = match root {
        None => (empty.into(), None),
        Some(Root { path, multiarch }) => {
            let mut dirs = path.join(format!("usr/lib/{multiarch}/pkgconfig")).into_os_string();
            dirs.push(":");
            dirs.push(path.join("usr/share/pkgconfig"));
            (dirs, Some(path.clone().into()))
        }
    };
    vec![
        ("PKG_CONFIG_LIBDIR", Some(dirs)),
        ("PKG_CONFIG_PATH", Some(OsString::new())),
        ("PKG_CONFIG_SYSROOT_DIR", sysroot),
    ]
}

/// The directory of a wrapper's scripts, named by a hash of what determines their behaviour.
pub(crate) struct Scripts<'a> {
    dir: PathBuf,
    /// The hidden command that the scripts call.
    command: &'a str,
    /// xbuild.
    program: &'a Path,
}

impl<'a> Scripts<'a> {
    /// Makes the directory in xbuild's cache. `spec` determines the scripts' behaviour and is stored with them. Each file
    /// is written by a rename if it is missing or differs, so that several processes can do this at once.
    pub(crate) fn in_cache(
        spec: &[u8],
        command: &'a str,
        program: &'a Path,
        cache: &Path,
    ) -> io::Result<Self> {
        let hash = hex::encode(Sha256::digest(spec));
        let scripts = Self { dir: cache.join("wrappers").join(&hash[..16]), command, program };
        usage::mark(&scripts.dir);
        store::dir(&scripts.empty())?;
        write_if_different(&scripts.spec(), spec, 0o644)?;
        Ok(scripts)
    }

    fn spec(&self) -> PathBuf {
        self.dir.join("spec.json")
    }

    /// The empty directory.
    pub(crate) fn empty(&self) -> PathBuf {
        self.dir.join("empty")
    }

    /// `CMake`'s toolchain file.
    pub(crate) fn cmake(&self) -> PathBuf {
        self.dir.join("toolchain.cmake")
    }

    /// Writes the script that calls a tool.
    pub(crate) fn write(&self, name: &str, tool: &str) -> io::Result<PathBuf> {
        let file = self.dir.join(name);
        let spec = self.spec();
        let words = [OsStr::new(self.command), spec.as_os_str(), OsStr::new(tool)];
        write_if_different(&file, script(self.program, &words).as_bytes(), 0o755)?;
        Ok(file)
    }

    /// Writes the scripts that are only needed if the host has the target's triple, and returns that for pkg-config.
    pub(crate) fn of_host(&self, is_host: bool) -> io::Result<Option<PathBuf>> {
        if !is_host {
            return Ok(None);
        }
        self.write("side", run::SIDE)?;
        self.write("pkg-config", run::PKG_CONFIG).map(Some)
    }
}

/// A script that calls the xbuild of the running build, whose path is in the environment, with these words before its own
/// arguments. The path in the script is for calls outside of a build, when a user repeats a command line that rustc has
/// shown.
pub(super) fn script(program: &Path, words: &[&OsStr]) -> String {
    let quote = |word: &OsStr| shell_words::quote(&word.to_string_lossy()).into_owned();
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!(
        "#!/bin/sh\nprogram={}\nexec \"${{{PROGRAM_VARIABLE}:-$program}}\" {} \"$@\"\n",
        quote(program.as_os_str()),
        words.join(" ")
    )
}

/// The size limit of scripts and their data, which have some hundred bytes.
const LARGEST_SCRIPT: u64 = 1 << 20;

/// Writes `CMake`'s toolchain file of a wrapper.
pub(crate) fn write_cmake(tools: &Tools, target: &Target) -> io::Result<()> {
    write_if_different(&tools.cmake, cmake(tools, target).as_bytes(), 0o644)
}

/// Writes a file that another process may read at the same time.
pub(super) fn write_if_different(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A script is executed, so one that others may write to is as bad as one with another content.
    match store::read(path, LARGEST_SCRIPT) {
        Ok(Some(existing)) if existing == content => Ok(()),
        Err(error) if crate::error::CacheFault::of(&error).is_none() => Err(error),
        _ => fs::write_atomic(path, content, mode),
    }
}

/// `CMake`'s toolchain file. Without a root path for searches, `CMake` would find the host's headers and libraries.
/// Code for the host needs only the compilers, which detect that they are called for the host, or the user's toolchain
/// file for the host.
fn cmake(tools: &Tools, target: &Target) -> String {
    let quote = |path: &Path| format!("[==[{}]==]", path.display());
    let multiarch =
        target.port.as_ref().map_or_else(|| target.zig.target.clone(), |port| port.multiarch.clone());
    let (cc, cxx) = (quote(&tools.cc), quote(&tools.cxx));
    let for_host = if tools.pkg_config.is_some() {
        let side = quote(&tools.cc.with_file_name("side"));
        format!(
            "execute_process(COMMAND {side} RESULT_VARIABLE xbuild_is_for_host)\n\
             if(NOT xbuild_is_for_host EQUAL 0)\n\
             \x20 if(DEFINED ENV{{HOST_CMAKE_TOOLCHAIN_FILE}})\n\
             \x20   include(\"$ENV{{HOST_CMAKE_TOOLCHAIN_FILE}}\")\n\
             \x20 elseif(DEFINED ENV{{CMAKE_TOOLCHAIN_FILE}} AND NOT \
             \"$ENV{{CMAKE_TOOLCHAIN_FILE}}\" STREQUAL CMAKE_CURRENT_LIST_FILE)\n\
             \x20   include(\"$ENV{{CMAKE_TOOLCHAIN_FILE}}\")\n\
             \x20 else()\n\
             \x20   set(CMAKE_C_COMPILER {cc})\n\
             \x20   set(CMAKE_CXX_COMPILER {cxx})\n\
             \x20   set(CMAKE_ASM_COMPILER {cc})\n\
             \x20 endif()\n\
             \x20 return()\n\
             endif()\n"
        )
    } else {
        String::new()
    };
    let (root, sysroot) = match &tools.root {
        None => (quote(&tools.empty), String::new()),
        // CMake names it to the compiler, too, which is a wrapper that knows it.
        Some(root) => (quote(&root.path), format!("set(CMAKE_SYSROOT {})\n", quote(&root.path))),
    };
    format!(
        "{for_host}\
         set(CMAKE_SYSTEM_NAME Linux)\n\
         set(CMAKE_SYSTEM_PROCESSOR {machine})\n\
         set(CMAKE_C_COMPILER {cc})\n\
         set(CMAKE_CXX_COMPILER {cxx})\n\
         set(CMAKE_ASM_COMPILER {cc})\n\
         set(CMAKE_AR {ar})\n\
         set(CMAKE_RANLIB {ranlib})\n\
         set(CMAKE_LIBRARY_ARCHITECTURE {multiarch})\n\
         {sysroot}set(CMAKE_FIND_ROOT_PATH {root})\n\
         set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)\n\
         set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)\n\
         set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)\n\
         set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)\n",
        machine = target.machine_name,
        ar = quote(&tools.ar),
        ranlib = quote(&tools.ranlib),
    )
}
