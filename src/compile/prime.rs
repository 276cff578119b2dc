//! Has zig build its own libraries for a target before the first link needs them.
//!
//! zig compiles its C library's start-up code, its unwinder and its run-time library when a target is first
//! linked for: 10 to 150 seconds on one core, while cargo, which only links at the end, has nothing to gain from
//! waiting. So a program with nothing in it is linked for each target in the background. zig locks its cache,
//! so a link that comes meanwhile waits for the same work instead of doing it twice.

use std::io;
use std::path::{Path, PathBuf};

use super::wrapper::{PROGRAM_VARIABLE, Wrapper};
use crate::catalog::Libc;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::fs;
use crate::sys::process::{Command, ProcessError};

/// What rustc's own links ask for beyond the C library.
const LIBRARIES: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];
/// On musl everything is in the C library, but for the unwinder.
const STATIC: &[&str] = &["-static", "-pie", "-lunwind", "-lc"];

/// Why it could not be done. Nobody needs to stop for this: the first link will do it, or say more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// zig failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A file could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The work was stopped.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The file that says that it has been done for a wrapper's target.
fn marker(wrapper: &Wrapper, cache: &Path) -> PathBuf {
    let spec = &wrapper.spec;
    cache.join("zig").join(format!("primed-{}-{}", spec.zig_version(), spec.zig_target()))
}

/// True if it has been done.
#[must_use]
pub fn is_primed(wrapper: &Wrapper, cache: &Path) -> bool {
    marker(wrapper, cache).exists()
}

/// Links an empty program, unless that has been done. `program` is xbuild, `cache` its cache folder.
pub fn prime(
    wrapper: &Wrapper,
    libc: Libc,
    program: &Path,
    cache: &Path,
    cancel: &Cancel,
) -> Result<(), Error> {
    if is_primed(wrapper, cache) {
        return Ok(());
    }
    let folder = cache.join("zig");
    fs::create_dir_all(&folder)?;
    let work = fs::temporary_dir(&folder)?;
    let source = work.path().join("main.c");
    fs::write_atomic(&source, b"int main(void) { return 0; }\n", 0o644)?;
    let libraries = match libc {
        Libc::Gnu => LIBRARIES,
        Libc::Musl => STATIC,
    };
    let command = Command::new(&wrapper.linker)
        .arg(&source)
        .arg("-o")
        .arg(work.path().join("main"))
        .args(libraries.iter().copied())
        .env(PROGRAM_VARIABLE, program);
    command.text(cancel)?;
    fs::write_atomic(&marker(wrapper, cache), b"", 0o644)?;
    Ok(())
}
