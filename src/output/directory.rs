//! `type=local`: the files of the root filesystem, in a directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Fault, Finished, Kind, Opened, OutputError, OutputWriter, described};
use crate::event::{Event, Level};
use crate::host::Host;
use crate::oci::Digest;
use crate::rootfs::unpack;
use crate::sys::staging::Staging;

/// The files of the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DirectoryOutput {
    /// The directory.
    pub path: PathBuf,
    /// Whether each platform has its own directory in it; by default if there are several.
    pub split: Option<bool>,
}

impl Kind for DirectoryOutput {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        Staging::beside(&self.path, host.cancel).map_err(OutputError::from)?;
        Ok(Opened::Later(Box::new(self.clone())))
    }

    fn describe(&self, _names: &[String]) -> String {
        described(self, "root filesystem")
    }
}

impl OutputWriter for DirectoryOutput {
    fn write(
        &self,
        from: &Finished<'_>,
        _names: &[String],
        _stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault> {
        let Host { cancel, reporter, .. } = from.host;
        let skipped = unpack::write_dir(&from.filesystems(), self.split, &self.path, cancel)
            .map_err(OutputError::from)?;
        if !skipped.is_empty() {
            let text = format!("devices and pipes are not written to a directory: {}", skipped.join(", "));
            reporter.report(Event::Note { level: Level::Warning, platform: None, text });
        }
        Ok(None)
    }
}
