//! LLVM's objcopy, which Rust brings and which knows every target. zig's linker takes out all symbols with the debug
//! information, and builds its own libraries another time for either.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::process::Command;

/// LLVM's objcopy, as Rust brings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Objcopy {
    /// The program.
    pub program: PathBuf,
    /// The directory of LLVM's library. The program's own `RUNPATH` does not lead there: where it is not run by way of
    /// rustup, which sets `LD_LIBRARY_PATH`, it does not start.
    pub libraries: PathBuf,
}

/// What is taken out of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strip {
    /// The debug information.
    Debug,
    /// All symbols, and the debug information.
    All,
}

impl Strip {
    const fn option(self) -> &'static str {
        match self {
            Self::Debug => "--strip-debug",
            Self::All => "--strip-all",
        }
    }
}

impl Objcopy {
    /// Takes this out of `file`, in place. `search` is the value of `LD_LIBRARY_PATH`, if it has one.
    #[must_use]
    pub(crate) fn strip(&self, what: Strip, file: &Path, search: Option<&OsStr>) -> Command {
        let mut path = self.libraries.clone().into_os_string();
        if let Some(search) = search {
            path.push(":");
            path.push(search);
        }
        Command::new(&self.program).env("LD_LIBRARY_PATH", path).arg(what.option()).arg(file)
    }
}
