//! LLVM's objcopy, which Rust brings and which knows every target. zig's own takes out all symbols with the debug
//! information.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sys::process::Command;

/// LLVM's objcopy, as Rust brings it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objcopy {
    /// The program.
    pub program: PathBuf,
    /// The folder of LLVM's library. The program's own `RUNPATH` does not lead there: where it is not run by way of
    /// rustup, which sets `LD_LIBRARY_PATH`, it does not start.
    pub libraries: PathBuf,
}

impl Objcopy {
    /// Takes the debug information out of `file`, in place, and leaves the symbols. `search` is the value of
    /// `LD_LIBRARY_PATH`, if it has one.
    #[must_use]
    pub fn strip_debug(&self, file: &Path, search: Option<&OsStr>) -> Command {
        let mut path = self.libraries.clone().into_os_string();
        if let Some(search) = search {
            path.push(":");
            path.push(search);
        }
        Command::new(&self.program).env("LD_LIBRARY_PATH", path).arg("--strip-debug").arg(file)
    }
}
