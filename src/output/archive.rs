//! `type=oci`: an image of a layout as a tar archive. The formats are `oci-archive` of skopeo and podman, and `docker save`.
//!
//! Both are the same file, except that an archive for Docker also has a `manifest.json`, which refers to the same
//! blobs. The archive's bytes depend only on the image and its names, and it appears by renaming.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Fault, Finished, Kind, Opened, OutputError, OutputWriter, Sink, described};
use crate::host::Host;
use crate::layer::{Content, Entry, EntryKind, tar};
use crate::layout::{self, reachable};
use crate::oci::{Descriptor, Digest, Reference, to_vec};
use crate::sys::cancel::Cancel;
use crate::sys::{fs, staging};

/// A layout as a tar archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ArchiveOutput {
    /// The file or standard output that it is written to.
    pub to: Sink,
}

impl Kind for ArchiveOutput {
    fn sink(&self) -> Option<&Sink> {
        Some(&self.to)
    }

    fn open(&self, host: Host<'_>) -> Result<Opened, Fault> {
        self.to.check(host.cancel)?;
        Ok(Opened::Later(Box::new(self.clone())))
    }

    fn describe(&self, _names: &[String]) -> String {
        described(self, "OCI archive")
    }
}

impl OutputWriter for ArchiveOutput {
    fn write(
        &self,
        from: &Finished<'_>,
        names: &[String],
        stdout: &mut dyn Write,
    ) -> Result<Option<Digest>, Fault> {
        let archive = Archive { layout: from.layout, root: from.index, names, flavour: Flavour::Oci };
        archive.write_to(&self.to, stdout, from.host.cancel)?;
        Ok(None)
    }
}

/// An archive to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a> {
    /// The layout that has the image.
    pub layout: &'a Path,
    /// The index or manifest.
    pub root: &'a Descriptor,
    /// The names that the archive gives it.
    pub names: &'a [String],
    /// The format.
    pub flavour: Flavour<'a>,
}

/// The format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour<'a> {
    /// For readers of OCI layouts only.
    Oci,
    /// For Docker too, which loads the image of this manifest.
    Docker(&'a Descriptor),
}

/// Checks that an archive may be written to `path`.
pub(crate) fn check(path: &Path, cancel: &Cancel) -> Result<(), OutputError> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(OutputError::Directory(path.to_owned()));
    }
    Ok(staging::check(path, cancel)?)
}

impl Archive<'_> {
    /// Writes the archive to a file or standard output.
    pub(super) fn write_to(
        &self,
        to: &Sink,
        stdout: &mut dyn Write,
        cancel: &Cancel,
    ) -> Result<(), OutputError> {
        match to {
            Sink::File(path) => self.write(path, cancel),
            Sink::Stdout => self.stream(stdout, cancel),
        }
    }

    /// Writes the archive to a file.
    pub(crate) fn write(&self, path: &Path, cancel: &Cancel) -> Result<(), OutputError> {
        staging::write(path, 0o644, cancel, |file| self.stream(file, cancel))
    }

    /// Writes the archive's bytes.
    pub(crate) fn stream(&self, sink: &mut dyn Write, cancel: &Cancel) -> Result<(), OutputError> {
        let document = document(self.layout, &self.root.digest)?;
        let mut digests = reachable::reachable(self.layout, &document)?;
        digests.insert(self.root.digest.clone());
        let entry = |path: &str, kind| {
            let mode = if matches!(kind, EntryKind::Directory) { 0o755 } else { 0o644 };
            Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0 }
        };
        let small = |bytes: Vec<u8>| EntryKind::File(Content::Bytes(Arc::from(bytes)));
        let mut entries =
            vec![entry("blobs", EntryKind::Directory), entry("blobs/sha256", EntryKind::Directory)];
        for digest in digests {
            let blob = layout::blob(self.layout, &digest);
            let size = fs::metadata(&blob)?.len();
            entries.push(entry(&member(&digest), EntryKind::File(Content::Path { path: blob, size })));
        }
        entries.push(entry("index.json", small(layout::index_document(self.root, self.names)?)));
        if let Flavour::Docker(manifest) = self.flavour {
            entries.push(entry("manifest.json", small(self.docker_manifest(manifest)?)));
        }
        entries.push(entry("oci-layout", small(layout::MARKER_TEXT.to_vec())));
        tar::write(&entries, 0, sink, cancel)?;
        Ok(())
    }

    /// `manifest.json` (Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset Format").
    fn docker_manifest(&self, manifest: &Descriptor) -> Result<Vec<u8>, OutputError> {
        let manifest = manifest_of(self.layout, manifest)?;
        let layers: Vec<String> = manifest.layers.iter().map(|layer| member(&layer.digest)).collect();
        let mut names = Vec::new();
        for name in self.names {
            let reference: Reference = name.parse().map_err(layout::LayoutError::from)?;
            // Docker does not accept a tag alone as a name.
            names.extend(reference.name().as_deref().map(familiar));
        }
        let item = json!({ "Config": member(&manifest.config.digest), "RepoTags": names, "Layers": layers });
        Ok(to_vec(&json!([item])))
    }
}

#[derive(serde::Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The digest of the configuration that a manifest of a layout names.
pub(crate) fn config_of(layout: &Path, manifest: &Descriptor) -> Result<Digest, OutputError> {
    Ok(manifest_of(layout, manifest)?.config.digest)
}

fn manifest_of(layout: &Path, manifest: &Descriptor) -> Result<Manifest, OutputError> {
    serde_json::from_value(document(layout, &manifest.digest)?)
        .map_err(|source| OutputError::Document { digest: manifest.digest.clone(), source })
}

fn document(layout: &Path, digest: &Digest) -> Result<Value, OutputError> {
    let bytes = fs::read(layout::blob(layout, digest))?;
    serde_json::from_slice(&bytes).map_err(|source| OutputError::Document { digest: digest.clone(), source })
}

/// The path of a blob in the archive.
fn member(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// A name in Docker's short form: without the parts that Docker completes.
pub(crate) fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_docker_shows_them() {
        for (full, short) in [
            ("docker.io/library/hello:1", "hello:1"),
            ("docker.io/me/hello:1", "me/hello:1"),
            ("ghcr.io/library/x:1", "ghcr.io/library/x:1"),
        ] {
            assert_eq!(familiar(full), short);
        }
    }
}
