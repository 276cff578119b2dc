//! `type=docker,dest=FILE`: an archive that `docker load` reads as well.

use std::io::Write;

use serde::Serialize;

use super::archive::{Archive, Flavour};
use super::{Fault, Finished, Kind, Opened, OutputWriter, Sink, Unfit, described};
use crate::host::Host;
use crate::oci::Digest;

/// An archive that `docker load` reads as well, with one platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DockerArchiveOutput {
    /// The file or standard output that it is written to.
    pub to: Sink,
}

impl Kind for DockerArchiveOutput {
    fn sink(&self) -> Option<&Sink> {
        Some(&self.to)
    }

    fn check(&self, _names: &[String], platforms: usize) -> Result<(), Unfit> {
        if platforms > 1 { Err(Unfit::OnePlatform { platforms }) } else { Ok(()) }
    }

    fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        self.to.check(host.cancel)?;
        Ok(Opened::Later(Box::new(self.clone())))
    }

    fn describe(&self, _names: &[String]) -> String {
        described(self, "archive for Docker")
    }
}

impl OutputWriter for DockerArchiveOutput {
    fn write(
        &self,
        from: &Finished<'_>,
        names: &[String],
        stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault> {
        let manifest = from.images.first().map(|image| &image.manifest.descriptor);
        let flavour = manifest.map_or(Flavour::Oci, Flavour::Docker);
        let archive = Archive { layout: from.layout, root: from.index, names, flavour };
        archive.write_to(&self.to, stdout, from.host.cancel)?;
        Ok(None)
    }
}
