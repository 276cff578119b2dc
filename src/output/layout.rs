//! `type=oci,tar=false`, or a path alone: an OCI image layout.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Fault, Kind, Opened, described};
use crate::host::Host;
use crate::layout::LayoutWriter;

/// An OCI image layout, a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LayoutOutput {
    /// The directory.
    pub path: PathBuf,
}

impl Kind for LayoutOutput {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        Ok(Opened::Layout(Box::new(LayoutWriter::open(&self.path, host.cancel)?)))
    }

    fn describe(&self, _names: &[String]) -> String {
        described(self, "OCI layout")
    }
}
