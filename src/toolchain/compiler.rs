//! The C and C++ compiler of this machine that compiles against sysroots, by names that do not say which one it is. It is
//! Clang.

use std::path::Path;

use super::ToolchainChoice;
use super::choose::CompilerFacts;
use crate::error::Explain as _;
use crate::sys::cancel::{Cancel, Cancelled};
use crate::sys::env::Environment;
use crate::target::catalog::Libc;

pub(crate) use super::clang::wrapper::{Spec, Wrapper};
use super::clang::{self, Request};
pub(crate) use super::clang::{Found, NotFound};

/// Its name, in settings and messages.
pub(crate) const NAME: &str = "clang";

/// Looks for it on this machine.
pub(crate) fn find(environment: &Environment, cancel: &Cancel) -> Result<Found, NotFound> {
    clang::find(&Request { configured: None, environment, root: Path::new("/") }, cancel)
}

/// True if a platform's choice of toolchain depends on whether there is one. `libraries` says whether C code is compiled
/// against libraries of a sysroot.
#[must_use]
pub(crate) fn is_wanted(asked: ToolchainChoice, libc: Libc, libraries: bool) -> bool {
    let is_asked_for = match asked {
        ToolchainChoice::Clang => true,
        ToolchainChoice::Auto => libraries,
        ToolchainChoice::Lld | ToolchainChoice::Zig | ToolchainChoice::Cargo => false,
    };
    is_asked_for && libc == Libc::Gnu
}

/// What a choice needs to know of it.
pub(crate) fn facts(found: &Result<Found, NotFound>) -> Result<CompilerFacts, Cancelled> {
    Ok(match found {
        Ok(found) => CompilerFacts::Found(found.describe()),
        Err(NotFound::Cancelled(cancelled)) => return Err(cancelled.clone()),
        Err(error) => CompilerFacts::Missing { why: error.to_string(), hint: error.hint() },
    })
}

impl Found {
    /// Its name and version.
    #[must_use]
    pub(crate) fn describe(&self) -> String {
        format!("{NAME} {}", self.version)
    }
}
