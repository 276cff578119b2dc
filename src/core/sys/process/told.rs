//! What is logged about a process: what was started, where, and how it ended. Its input is never logged, and only the
//! names of its environment variables are.

use std::ffi::OsString;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Command, Directory, NEUTRAL, ProcessError};
use crate::sys::clock::Instant;
use crate::sys::log::{self, Seconds};

/// Numbers distinguish processes that run at the same time.
static COUNT: AtomicU64 = AtomicU64::new(1);

/// A process that is being logged; `None` if the log does not want it.
pub(super) struct Told(Option<(u64, String, Instant)>);

impl Told {
    /// Logs that a program is started.
    pub(super) fn starting(command: &Command) -> Self {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Self(None);
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let words = std::iter::once(command.program.as_os_str());
        let line = log::command_line(words.chain(command.arguments.iter().map(OsString::as_os_str)));
        let directory = match &command.directory {
            Directory::Neutral => NEUTRAL.into(),
            Directory::Current => ".".into(),
            Directory::At(directory) => directory.display().to_string(),
        };
        tracing::debug!(directory, "#{number} starts {line}");
        let sets = |set: bool| {
            let names = command.environment.iter().filter(|(_, value)| value.is_some() == set);
            names.map(|(name, _)| name.to_string_lossy()).collect::<Vec<_>>().join(",")
        };
        if !command.environment.is_empty() {
            tracing::trace!(sets = sets(true), removes = sets(false), "#{number} environment");
        }
        let name = command.program.file_name().unwrap_or(command.program.as_os_str());
        Self(Some((number, name.to_string_lossy().into_owned(), Instant::now())))
    }

    /// Logs that it has ended, was not started, or was stopped.
    pub(super) fn ended(self, result: &Result<ExitStatus, ProcessError>) {
        let Some((number, name, since)) = self.0 else { return };
        let time = Seconds(since.elapsed());
        match result {
            Ok(status) => tracing::debug!(%time, "#{number} {name} ended: {status}"),
            Err(error) => tracing::debug!(%error, %time, "#{number} {name} did not run to its end"),
        }
    }
}
