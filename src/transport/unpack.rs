//! Archives unpacked as layouts, for code that reads an image's blobs as files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::TransportError;
use super::docker_archive::DockerArchive;
use super::tar_index::{LIMIT, TarIndex};
use crate::oci::{Descriptor, Digest, media_type, to_vec};
use crate::rootfs::StreamError;
use crate::sys::cancel::Cancel;
use crate::sys::fs;

/// The size of the write buffer, in bytes.
const PIECE: usize = 256 << 10;

/// Unpacks an archive of a layout, or one of `docker save`, into an empty directory as a layout. Only files that belong
/// to a layout are unpacked, each under its name in the layout, so that nothing can be written elsewhere. Nothing is
/// verified.
pub(crate) fn unpack(archive: &Path, dir: &Path, cancel: &Cancel) -> Result<(), TransportError> {
    let shown = archive.display().to_string();
    let members = TarIndex::open(archive, cancel).map_err(|error| TransportError::stream(&shown, error))?;
    let unpacking = Unpacking { dir, shown: &shown, cancel };
    // Checked before anything is written: holes of sparse files take no space in an archive, but their full size
    // outside of it.
    unpacking.check_room(members.total())?;
    if members.has("oci-layout") {
        unpacking.layout(&members)
    } else if DockerArchive::is_one(&members) {
        let (docker, entries) = DockerArchive::open(members, &shown, cancel)?;
        unpacking.docker(&docker, &entries)
    } else {
        let reason = "it has neither a file `oci-layout` nor `manifest.json`".into();
        Err(TransportError::NotAnImage { shown, reason })
    }
}

struct Unpacking<'a> {
    dir: &'a Path,
    shown: &'a str,
    cancel: &'a Cancel,
}

impl Unpacking<'_> {
    /// Checks that so many bytes are within the limit and fit on the disk.
    fn check_room(&self, bytes: u64) -> Result<(), TransportError> {
        if bytes > LIMIT {
            return Err(TransportError::stream(self.shown, StreamError::TooLarge { limit: LIMIT }));
        }
        let free = fs::free_bytes(self.dir).map_err(|source| self.fault(source))?;
        if bytes > free {
            let text = format!("it takes {bytes} bytes, and {free} are free in `{}`", self.dir.display());
            let error = io::Error::new(io::ErrorKind::StorageFull, text);
            return Err(TransportError::stream(self.shown, StreamError::NoRoom(error)));
        }
        Ok(())
    }

    fn fault(&self, source: io::Error) -> TransportError {
        TransportError::Io { shown: self.shown.to_owned(), source }
    }

    fn layout(&self, members: &TarIndex) -> Result<(), TransportError> {
        for name in members.names() {
            let Some(place) = place(name) else { continue };
            if let Some(bytes) = members.read(name) {
                self.write(&place, bytes)?;
            }
        }
        Ok(())
    }

    fn docker(&self, archive: &DockerArchive, entries: &[Descriptor]) -> Result<(), TransportError> {
        // Several digests may be those of one file.
        let sizes = archive.digests().filter_map(|digest| archive.read(digest)).map(|(_, size)| size);
        self.check_room(sizes.fold(0, u64::saturating_add))?;
        let blob = |digest: &Digest| Path::new("blobs").join(digest.algorithm().name()).join(digest.hex());
        for digest in archive.digests() {
            if let Some((bytes, _)) = archive.read(digest) {
                self.write(&blob(digest), bytes)?;
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": media_type::INDEX, "manifests": entries });
        self.write(Path::new("index.json"), to_vec(&index).as_slice())?;
        self.write(Path::new("oci-layout"), &br#"{"imageLayoutVersion":"1.0.0"}"#[..])
    }

    fn write(&self, place: &Path, mut bytes: impl io::Read) -> Result<(), TransportError> {
        let fault = |source| match StreamError::of(source) {
            StreamError::Broken(source) => self.fault(source),
            error => TransportError::stream(self.shown, error),
        };
        let path = self.dir.join(place);
        fs::create_dir_all(path.parent().unwrap_or(self.dir)).map_err(fault)?;
        let mut file = fs::File::create(&path).map_err(fault)?;
        let mut piece = vec![0; PIECE];
        loop {
            self.cancel.check()?;
            match bytes.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => file.write_all(&piece[..count]).map_err(fault)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(error)),
            }
        }
    }
}

/// The path of an archive's file in a layout; `None` for a file that does not belong to one.
fn place(name: &str) -> Option<PathBuf> {
    let blob = |name: &str| {
        let (algorithm, digits) = name.split_once('/')?;
        format!("{algorithm}:{digits}").parse::<Digest>().ok()
    };
    let known =
        matches!(name, "oci-layout" | "index.json") || name.strip_prefix("blobs/").and_then(blob).is_some();
    known.then(|| PathBuf::from(name))
}
