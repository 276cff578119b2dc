//! What work on this machine needs beside its input, as one value.

use std::fmt;
use std::path::Path;

use crate::event::Reporter;
use crate::sys::cancel::Cancel;
use crate::sys::download::Client;
use crate::sys::env::Environment;

/// This process's environment, its cache and network, what stops the work, and where it reports.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// The environment of this process.
    pub environment: &'a Environment,
    /// xbuild's cache directory.
    pub cache: &'a Path,
    /// Downloads. Debian's packages and zig come through different proxies, so each has a client of its own.
    pub client: &'a Client,
    /// Stops the work.
    pub cancel: &'a Cancel,
    /// Takes the events.
    pub reporter: &'a dyn Reporter,
}

impl fmt::Debug for Host<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Host").field("cache", &self.cache).finish_non_exhaustive()
    }
}
