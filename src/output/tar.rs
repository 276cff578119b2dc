//! `type=tar`, or `-`: the root filesystem as a tar archive.

use std::io::{BufWriter, Write};

use serde::Serialize;

use super::{Fault, Finished, Kind, Opened, OutputError, OutputWriter, Sink, described};
use crate::host::Host;
use crate::oci::Digest;
use crate::rootfs::unpack;
use crate::sys::staging;

/// The root filesystem as a tar archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TarOutput {
    /// The file or standard output that it is written to.
    pub to: Sink,
    /// Whether each platform has its own directory in it; by default if there are several.
    pub split: Option<bool>,
}

impl Kind for TarOutput {
    fn sink(&self) -> Option<&Sink> {
        Some(&self.to)
    }

    fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        self.to.check(host.cancel)?;
        Ok(Opened::Later(Box::new(self.clone())))
    }

    fn describe(&self, _names: &[String]) -> String {
        described(self, "archive of the root filesystem")
    }
}

impl OutputWriter for TarOutput {
    fn write(
        &self,
        from: &Finished<'_>,
        _names: &[String],
        stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault> {
        let (images, cancel) = (from.filesystems(), from.host.cancel);
        match &self.to {
            Sink::Stdout => unpack::write_tar(&images, self.split, stdout, cancel),
            Sink::File(path) => staging::write(path, 0o644, cancel, |file| {
                unpack::write_tar(&images, self.split, &mut BufWriter::new(file), cancel)
            }),
        }
        .map_err(OutputError::from)?;
        Ok(None)
    }
}
