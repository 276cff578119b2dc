//! LLVM's objcopy, which is part of Rust and supports every target. It is used because zig's linker strips all symbols
//! together with debug information, and builds its own libraries again for either option.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::process::Command;

/// LLVM's objcopy from a Rust toolchain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Objcopy {
    /// The program.
    pub program: PathBuf,
    /// The directory of LLVM's library. The program's own `RUNPATH` does not contain it, so the program starts only
    /// with `LD_LIBRARY_PATH`, which rustup would set.
    pub libraries: PathBuf,
}

/// What is stripped from a program.
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
    /// Strips `file` in place. `search` is the present value of `LD_LIBRARY_PATH`, if it is set.
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
