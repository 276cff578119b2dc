//! Lets zig build its own libraries for a target before the first link needs them.
//!
//! zig compiles its C library's start-up code, its unwinder and its run-time library at the first link for a target.
//! This takes 10 to 150 seconds on one core, and cargo only links at the end. So an empty program is linked for each
//! target in the background. zig locks its cache, so a link that comes meanwhile waits for this work and does not
//! repeat it. rustc itself makes the link: with slightly different arguments (`-static -pie` instead of `-static`), zig
//! would build everything again.

use std::io;
use std::path::{Path, PathBuf};

use super::{PROGRAM_VARIABLE, REMARKS_VARIABLE, Wrapper};
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::process::{Command, ProcessError};
use crate::sys::{fs, store};

/// Why it failed. The build can go on: the first link will do the work, or report the error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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

/// The file that records that it was done for a wrapper's target and processors, which determine zig's libraries.
fn marker(wrapper: &Wrapper) -> PathBuf {
    let spec = &wrapper.spec;
    let cpu = spec.zig_cpu().map(|cpu| format!("-{cpu}")).unwrap_or_default();
    spec.zig_cache().join(format!("primed-{}-{}{cpu}", spec.zig_version(), spec.zig_target()))
}

/// True if it was done already.
#[must_use]
pub(crate) fn is_primed(wrapper: &Wrapper) -> bool {
    marker(wrapper).exists()
}

/// The parameters for linking an empty program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The target's wrapper.
    pub wrapper: &'a Wrapper,
    /// The target's triple.
    pub triple: &'a str,
    /// rustc, and the directory that determines which of rustup's toolchains it is.
    pub rustc: (&'a Path, &'a Path),
    /// rustc's flags for the target, including the linker.
    pub flags: &'a [String],
    /// xbuild.
    pub program: &'a Path,
    /// The file for the wrapper's remarks.
    pub remarks: &'a Path,
}

/// Links an empty program, unless that was done already.
pub(crate) fn prime(request: &Request<'_>, cancel: &Cancel) -> Result<(), Error> {
    let wrapper = request.wrapper;
    if is_primed(wrapper) {
        return Ok(());
    }
    let dir = wrapper.spec.zig_cache();
    store::dir(dir)?;
    let work = fs::temporary_dir(dir)?;
    let source = work.path().join("main.rs");
    fs::write_atomic(&source, b"fn main() {}\n", 0o644)?;
    let (rustc, project) = request.rustc;
    let command = Command::new(rustc)
        .dir(project)
        .args(["--crate-name=prime", "--crate-type=bin", "--edition=2021", "--target", request.triple])
        .arg(source)
        .arg("-o")
        .arg(work.path().join("main"))
        .args(request.flags.iter().cloned())
        .env(PROGRAM_VARIABLE, request.program)
        .env(REMARKS_VARIABLE, request.remarks);
    command.text(cancel)?;
    fs::write_atomic(&marker(wrapper), b"", 0o644)?;
    Ok(())
}
